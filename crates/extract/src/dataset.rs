//! Scanning a data set: which photos it holds, in which split and class.
//!
//! `DATASET/{train,validation,test}/CLASS/**/*.jpg`, or a folder of classes without splits. The classes and their
//! order are those of Keras's `flow_from_directory`: the sorted names of the folders in `train`. Hidden folders, which
//! are classes to Keras, are left out.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use backbone::photo::has_photo_extension;
use feature_cache::{ClassNames, Shard, Split};
use walkdir::{DirEntry, WalkDir};

/// Folder names of splits.
const SPLIT_FOLDERS: [(&str, Split); 5] = [
    ("train", Split::Train),
    ("validation", Split::Validation),
    ("val", Split::Validation),
    ("valid", Split::Validation),
    ("test", Split::Test),
];

/// The photos of a data set or of one of its shards, by split; within a split by class, then by path, bytewise. If no
/// class has subfolders, that is the order of Keras's `flow_from_directory`, which puts a folder's files before those
/// of its subfolders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    /// The folder.
    pub root: PathBuf,
    /// The classes of `train`, or of the folder itself.
    pub classes: ClassNames,
    /// Every split that has a photo.
    pub splits: BTreeMap<Split, Vec<LabeledPhoto>>,
    /// A summary of the paths of all photos, also of those in other shards.
    pub listing: Listing,
    /// What was left out, and why: other folders beside those of the splits, symbolic links to outside and link loops.
    /// Hidden files and files that are no photos are not listed.
    pub ignored: Vec<Ignored>,
}

/// The number of a data set's photos and a hash of their paths, to see whether two shards are of the same data set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Listing {
    /// How many photos there are.
    pub photos: usize,
    /// The exclusive or of the blake3 hashes of all paths, which does not depend on their order.
    hash: [u8; blake3::OUT_LEN],
}

/// A file with a photo's extension in a class's folder, and its label. Its content has not been read yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabeledPhoto {
    /// Relative to the data set.
    pub path: PathBuf,
    /// Its class's index.
    pub label: i64,
}

/// A folder or a symbolic link that was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ignored {
    /// Relative to the data set.
    pub path: PathBuf,
    /// Why it was ignored.
    pub reason: &'static str,
}

/// Why a folder is not a data set.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// The folder, or something in it, cannot be read.
    #[error("{}: cannot be read: {cause}", path.display())]
    Io {
        /// What cannot be read.
        path: PathBuf,
        /// The operating system's error.
        cause: io::Error,
    },
    /// It holds no folders.
    #[error("{}: no classes here; expected one folder of photos per class, or train/CLASS/…", .0.display())]
    NoClasses(PathBuf),
    /// There is only one class.
    #[error("{}: only one class, {class:?}; expected at least two folders of photos", path.display())]
    OneClass {
        /// The folder of classes.
        path: PathBuf,
        /// Its only class.
        class: String,
    },
    /// A class without photos.
    #[error("{}: no photos in this class; add some, or remove the folder", .0.display())]
    EmptyClass(PathBuf),
    /// There is a validation or test split, but no train split.
    #[error("{}: has {found}/ but no train/, which defines the classes", path.display())]
    NoTrain {
        /// The data set.
        path: PathBuf,
        /// The split that is there.
        found: String,
    },
    /// A class that has no training photos.
    #[error("{}: class {class:?} is not in train/; add it there, or remove it here", path.display())]
    UnknownClass {
        /// The split's folder.
        path: PathBuf,
        /// The class.
        class: String,
    },
    /// Two folders for the same split.
    #[error("{}: {first}/ and {second}/ are both the {split} split; merge them", path.display())]
    RepeatedSplit {
        /// The data set.
        path: PathBuf,
        /// One folder.
        first: String,
        /// The other.
        second: String,
        /// The split.
        split: Split,
    },
    /// A folder whose name is not UTF-8, so that it cannot be in class_indices.
    #[error("{}: a class's name must be UTF-8; rename the folder", .0.display())]
    ClassName(PathBuf),
}

impl Listing {
    /// Adds a photo by the hash of its path.
    fn add(&mut self, path_hash: blake3::Hash) {
        self.photos += 1;
        for (byte, other) in self.hash.iter_mut().zip(path_hash.as_bytes()) {
            *byte ^= other;
        }
    }

    /// The hash in hexadecimal.
    pub fn digest(&self) -> String {
        blake3::Hash::from_bytes(self.hash).to_hex().to_string()
    }
}

impl Dataset {
    /// Lists the photos below `root`.
    ///
    /// Hidden files are ignored. Symbolic links are followed as long as they stay within the data set and do not lead
    /// to a folder that they are in.
    ///
    /// # Errors
    /// When the folder is not a data set, or cannot be read.
    pub fn scan(root: &Path) -> Result<Self, DatasetError> {
        Self::scan_shard(root, None)
    }

    /// Lists the photos of one shard; `None` for all. Classes, [`Self::listing`] and errors are those of the whole data
    /// set.
    ///
    /// # Errors
    /// As [`Self::scan`].
    pub fn scan_shard(root: &Path, shard: Option<Shard>) -> Result<Self, DatasetError> {
        let root = canonical_root(root)?;
        let mut ignored = Vec::new();
        let folders = split_folders(&root, &mut ignored)?;
        let training_folder = folders.get(&Split::Train).or_else(|| folders.get(&Split::All)).unwrap_or(&root);
        let classes = read_classes(training_folder, &root, &mut ignored)?;
        let listing = Listing::default();
        let mut dataset = Self { root: root.clone(), classes, splits: BTreeMap::new(), listing, ignored };
        for (split, folder) in &folders {
            let photos = dataset.scan_split(*split, folder, shard)?;
            if !photos.is_empty() {
                dataset.splits.insert(*split, photos);
            }
        }
        Ok(dataset)
    }

    /// Whether a scan of the data set at `root` would take a folder at `path` for a class or a split, or search it for
    /// photos. Neither the folder nor those that it is in need exist yet.
    ///
    /// # Errors
    /// When the data set's folder cannot be read, or its splits are not those of a data set.
    pub fn would_scan(root: &Path, path: &Path) -> Result<bool, DatasetError> {
        let root = canonical_root(root)?;
        let Some(path) = resolve(path).filter(|path| path.starts_with(&root)) else { return Ok(false) };
        // A new folder with the name of a split would be that split.
        let possible_splits = SPLIT_FOLDERS.map(|(name, _)| root.join(name));
        if path == root || possible_splits.iter().any(|folder| is_scanned(folder, &path)) {
            return Ok(true);
        }
        let mut folders = split_folders(&root, &mut Vec::new())?.into_values();
        Ok(folders.any(|folder| folder.canonicalize().is_ok_and(|folder| is_scanned(&folder, &path))))
    }

    /// The number of photos.
    pub fn len(&self) -> usize {
        self.splits.values().map(Vec::len).sum()
    }

    /// Whether there is no photo; never after [`Dataset::scan`], but a shard may have none.
    pub fn is_empty(&self) -> bool {
        self.splits.is_empty()
    }

    /// Every photo with its split, in the order of the rows.
    pub fn photos(&self) -> impl Iterator<Item = (Split, &LabeledPhoto)> {
        self.splits.iter().flat_map(|(&split, photos)| photos.iter().map(move |photo| (split, photo)))
    }

    /// The photos of one split that are in the shard, in the order of the rows.
    fn scan_split(
        &mut self,
        split: Split,
        folder: &Path,
        shard: Option<Shard>,
    ) -> Result<Vec<LabeledPhoto>, DatasetError> {
        let classes = if split.is_training() {
            self.classes.iter().map(str::to_owned).collect()
        } else {
            class_folders(folder, &self.root, &mut self.ignored)?
        };
        let mut photos = Vec::new();
        for class in classes {
            // The classes are those of the training photos: others cannot be evaluated.
            let Some(label) = self.classes.label(&class) else {
                return Err(DatasetError::UnknownClass { path: folder.to_owned(), class });
            };
            let folder = folder.join(class);
            let paths = photos_below(&folder, &self.root, &mut self.ignored)?;
            if paths.is_empty() && split.is_training() {
                return Err(DatasetError::EmptyClass(folder));
            }
            for path in paths {
                let path_hash = blake3::hash(path.as_os_str().as_bytes());
                self.listing.add(path_hash);
                if shard.is_none_or(|shard| shard.contains(path_hash)) {
                    photos.push(LabeledPhoto { path, label: label as i64 });
                }
            }
        }
        Ok(photos)
    }
}

/// The data set's folder, with symbolic links resolved.
fn canonical_root(root: &Path) -> Result<PathBuf, DatasetError> {
    root.canonicalize().map_err(|cause| DatasetError::Io { path: root.to_owned(), cause })
}

/// The absolute path, with symbolic links resolved as far as it exists; `None` if no part of it does.
fn resolve(path: &Path) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    let (existing, mut resolved) = path.ancestors().find_map(|folder| Some((folder, folder.canonicalize().ok()?)))?;
    for component in path.strip_prefix(existing).ok()?.components() {
        if component == Component::ParentDir {
            resolved.pop();
        } else {
            resolved.push(component);
        }
    }
    Some(resolved)
}

/// Whether `path` is in the folder of a split and not hidden. A hidden path is scanned, too, if folders on the way to
/// it do not exist yet: they would be classes without photos.
fn is_scanned(folder: &Path, path: &Path) -> bool {
    let Ok(below) = path.strip_prefix(folder) else { return false };
    let visible: PathBuf = below.iter().take_while(|name| !is_hidden(name)).collect();
    visible == below || !folder.join(visible).is_dir()
}

/// The folder of each split; the data set itself if there are none.
fn split_folders(root: &Path, ignored: &mut Vec<Ignored>) -> Result<BTreeMap<Split, PathBuf>, DatasetError> {
    let mut folders: BTreeMap<Split, PathBuf> = BTreeMap::new();
    let mut left_out = Vec::new();
    for name in folders_in(root, root, &mut left_out)? {
        let Some(&(_, split)) = SPLIT_FOLDERS.iter().find(|(folder, _)| name == *folder) else {
            left_out.push(Ignored { path: name.into(), reason: "not train, validation, val, valid or test" });
            continue;
        };
        // `val` and `validation`, say, are the same split.
        if let Some(first) = folders.insert(split, root.join(&name)) {
            let (first, second) = (file_name(&first), file_name(name.as_ref()));
            return Err(DatasetError::RepeatedSplit { path: root.to_owned(), first, second, split });
        }
    }
    let Some(first) = folders.values().next() else {
        // No folder has the name of a split: they are the classes. `read_classes` lists what is left out.
        return Ok([(Split::All, root.to_owned())].into());
    };
    if !folders.contains_key(&Split::Train) {
        return Err(DatasetError::NoTrain { path: root.to_owned(), found: file_name(first) });
    }
    ignored.extend(left_out);
    Ok(folders)
}

/// The classes of the training photos: at least two.
fn read_classes(folder: &Path, root: &Path, ignored: &mut Vec<Ignored>) -> Result<ClassNames, DatasetError> {
    let classes = ClassNames::new(class_folders(folder, root, ignored)?)
        .map_err(|_| DatasetError::NoClasses(folder.to_owned()))?;
    if classes.len() == 1 {
        let class = classes.name(0).expect("there is one class").to_owned();
        return Err(DatasetError::OneClass { path: folder.to_owned(), class });
    }
    Ok(classes)
}

/// The names of the classes in a split's folder.
fn class_folders(folder: &Path, root: &Path, ignored: &mut Vec<Ignored>) -> Result<Vec<String>, DatasetError> {
    let mut classes = Vec::new();
    for name in folders_in(folder, root, ignored)? {
        classes.push(name.into_string().map_err(|name| DatasetError::ClassName(folder.join(name)))?);
    }
    Ok(classes)
}

/// The names of the folders in a folder, sorted.
fn folders_in(folder: &Path, root: &Path, ignored: &mut Vec<Ignored>) -> Result<Vec<OsString>, DatasetError> {
    let failed = |cause| DatasetError::Io { path: folder.to_owned(), cause };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if is_hidden(&entry.file_name()) || !entry.path().is_dir() {
            continue;
        }
        match why_not_followed(root, &entry.path()) {
            None => names.push(entry.file_name()),
            Some(reason) => ignored.push(Ignored { path: relative(root, &entry.path()), reason }),
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// The photos below a class's folder, relative to the data set, sorted bytewise.
fn photos_below(folder: &Path, root: &Path, ignored: &mut Vec<Ignored>) -> Result<Vec<PathBuf>, DatasetError> {
    let mut photos = Vec::new();
    let mut walk = WalkDir::new(folder).min_depth(1).follow_links(true).into_iter();
    while let Some(entry) = walk.next() {
        match entry {
            Ok(entry) if is_hidden(entry.file_name()) => skip(&mut walk, &entry),
            Ok(entry) => {
                let reason = if entry.path_is_symlink() { why_not_followed(root, entry.path()) } else { None };
                if let Some(reason) = reason {
                    ignored.push(Ignored { path: relative(root, entry.path()), reason });
                    skip(&mut walk, &entry);
                } else if entry.file_type().is_file() && has_photo_extension(entry.path()) {
                    photos.push(relative(root, entry.path()));
                }
            }
            Err(error) => {
                let path = error.path().unwrap_or(folder).to_owned();
                if is_hidden(path.file_name().unwrap_or_default()) {
                    // The broken link that is Emacs's lock of a file, say.
                } else if error.loop_ancestor().is_some() {
                    ignored.push(Ignored { path: relative(root, &path), reason: LINK_LOOP });
                } else if has_photo_extension(&path) {
                    // A broken link, say: it has a photo's name, so it is reported with the photos that cannot be read.
                    photos.push(relative(root, &path));
                } else {
                    return Err(DatasetError::Io { path, cause: error.into() });
                }
            }
        }
    }
    photos.sort_unstable_by(|a, b| a.as_os_str().as_bytes().cmp(b.as_os_str().as_bytes()));
    Ok(photos)
}

/// If the entry is a folder, leaves out everything in it.
fn skip(walk: &mut walkdir::IntoIter, entry: &DirEntry) {
    if entry.file_type().is_dir() {
        walk.skip_current_dir();
    }
}

/// Why a symbolic link is left out that leads to a folder that it is in.
const LINK_LOOP: &str = "a symbolic link loop";

/// Why a path in the data set, which may be a symbolic link, is left out; `None` if it is followed.
fn why_not_followed(root: &Path, path: &Path) -> Option<&'static str> {
    let Some(target) = path.canonicalize().ok().filter(|target| target.starts_with(root)) else {
        return Some("a symbolic link to outside the data set");
    };
    // walkdir knows only the loops that begin in the class's folder: a link to a folder above it would lead to the
    // photos of all classes.
    let is_in_target = |folder: &Path| folder.canonicalize().is_ok_and(|folder| folder.starts_with(&target));
    let is_loop = target.is_dir() && path.ancestors().skip(1).any(is_in_target);
    is_loop.then_some(LINK_LOOP)
}

/// The path relative to the data set.
fn relative(root: &Path, path: &Path) -> PathBuf {
    path.strip_prefix(root).unwrap_or(path).to_owned()
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b".")
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A data set with these (empty) files.
    fn folder(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        root
    }

    fn listed(dataset: &Dataset) -> Vec<(Split, String, i64)> {
        dataset.photos().map(|(split, photo)| (split, photo.path.to_string_lossy().into_owned(), photo.label)).collect()
    }

    fn error(files: &[&str]) -> String {
        let root = folder(files);
        let message = Dataset::scan(root.path()).unwrap_err().to_string();
        message.replace(root.path().canonicalize().unwrap().to_str().unwrap(), "DATA")
    }

    #[test]
    fn splits_are_listed_by_class_then_path() {
        let root = folder(&[
            "train/hat/b.JPG",
            "train/hat/a/z.png",
            "train/hat/a.jpeg",
            "train/dress/1.tif",
            "train/dress/notes.txt",
            "train/dress/.hidden.jpg",
            "train/.git/x.jpg",
            "val/hat/1.webp",
            "README.md",
        ]);
        let dataset = Dataset::scan(root.path()).unwrap();
        assert_eq!(dataset.classes.iter().collect::<Vec<_>>(), ["dress", "hat"]);
        let expected = [
            (Split::Train, "train/dress/1.tif", 0),
            (Split::Train, "train/hat/a.jpeg", 1),
            (Split::Train, "train/hat/a/z.png", 1),
            (Split::Train, "train/hat/b.JPG", 1),
            (Split::Validation, "val/hat/1.webp", 1),
        ];
        assert_eq!(listed(&dataset), expected.map(|(split, path, label)| (split, path.to_owned(), label)));
    }

    #[test]
    fn a_folder_of_classes_is_one_split() {
        let root = folder(&["cat/1.jpg", "dog/1.jpg"]);
        let dataset = Dataset::scan(root.path()).unwrap();
        let expected = [(Split::All, "cat/1.jpg".to_owned(), 0), (Split::All, "dog/1.jpg".to_owned(), 1)];
        assert_eq!(listed(&dataset), expected);
    }

    #[test]
    fn a_folder_that_is_not_a_data_set_is_an_error_that_says_why() {
        assert_eq!(
            error(&["a.jpg"]),
            "DATA: no classes here; expected one folder of photos per class, or train/CLASS/…"
        );
        assert_eq!(
            error(&["train/hat/a.jpg"]),
            "DATA/train: only one class, \"hat\"; expected at least two folders of photos"
        );
        assert_eq!(
            error(&["cat/1.jpg", "dog/notes.txt"]),
            "DATA/dog: no photos in this class; add some, or remove the folder"
        );
        assert_eq!(
            error(&["train/a/1.jpg", "train/b/1.jpg", "validation/c/1.jpg"]),
            "DATA/validation: class \"c\" is not in train/; add it there, or remove it here"
        );
        assert_eq!(error(&["test/a/1.jpg"]), "DATA: has test/ but no train/, which defines the classes");
        let both = error(&["train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg", "validation/a/1.jpg"]);
        assert!(both.contains("are both the validation split; merge them"), "{both}");
        let missing = Dataset::scan("no/such/folder".as_ref()).unwrap_err().to_string();
        assert!(missing.starts_with("no/such/folder: cannot be read: No such file"), "{missing}");
    }

    #[test]
    fn links_are_followed_only_within_the_data_set() {
        let outside = folder(&["secret.jpg", "more/secret.jpg"]);
        let root = folder(&["cat/1.jpg", "dog/1.jpg", "cat/deep/2.jpg"]);
        let link = |target: &Path, name: &str| symlink(target, root.path().join(name)).unwrap();
        link(&root.path().join("dog/1.jpg"), "cat/inside.jpg");
        link(&outside.path().join("secret.jpg"), "cat/outside.jpg");
        link(&outside.path().join("more"), "cat/outside");
        link(&root.path().join("cat"), "cat/deep/circle");
        link(Path::new("nowhere.jpg"), "dog/dangling.jpg");
        link(Path::new("nowhere"), "dog/.#1.jpg");
        link(outside.path(), "bird");
        link(outside.path(), "fish");

        let dataset = Dataset::scan(root.path()).unwrap();
        let paths: Vec<String> = listed(&dataset).into_iter().map(|(_, path, _)| path).collect();
        assert_eq!(paths, ["cat/1.jpg", "cat/deep/2.jpg", "cat/inside.jpg", "dog/1.jpg", "dog/dangling.jpg"]);
        let mut ignored: Vec<_> = dataset.ignored.iter().map(|l| (l.path.to_str().unwrap(), l.reason)).collect();
        ignored.sort_unstable();
        let outside = "a symbolic link to outside the data set";
        let circle = ("cat/deep/circle", "a symbolic link loop");
        let in_cat = [("cat/outside", outside), ("cat/outside.jpg", outside)];
        assert_eq!(ignored, [&[("bird", outside), circle], &in_cat[..], &[("fish", outside)]].concat());
    }

    #[test]
    fn a_link_to_a_folder_that_it_is_in_is_a_loop() {
        let root = folder(&["cat/1.jpg", "cat/deep/2.jpg", "dog/1.jpg"]);
        let link = |target: &str, name: &str| symlink(target, root.path().join(name)).unwrap();
        link("..", "cat/up");
        link("../..", "cat/deep/up");
        link(".", "all");
        link("../dog", "cat/dogs");
        let dataset = Dataset::scan(root.path()).unwrap();
        assert_eq!(dataset.classes.iter().collect::<Vec<_>>(), ["cat", "dog"]);
        let paths: Vec<String> = listed(&dataset).into_iter().map(|(_, path, _)| path).collect();
        assert_eq!(paths, ["cat/1.jpg", "cat/deep/2.jpg", "cat/dogs/1.jpg", "dog/1.jpg"]);
        let mut ignored: Vec<_> = dataset.ignored.iter().map(|l| (l.path.to_str().unwrap(), l.reason)).collect();
        ignored.sort_unstable();
        assert_eq!(ignored, ["all", "cat/deep/up", "cat/up"].map(|path| (path, LINK_LOOP)));

        // In a split, and through another folder's link.
        let root = folder(&["train/cat/1.jpg", "train/dog/1.jpg", "data/bird/1.jpg"]);
        let link = |target: &str, name: &str| symlink(target, root.path().join(name)).unwrap();
        link("../data/bird", "train/bird");
        link("../../train", "data/bird/up");
        link("../..", "train/cat/up");
        let dataset = Dataset::scan(root.path()).unwrap();
        let paths: Vec<String> = listed(&dataset).into_iter().map(|(_, path, _)| path).collect();
        assert_eq!(paths, ["train/bird/1.jpg", "train/cat/1.jpg", "train/dog/1.jpg"]);
    }

    #[test]
    fn a_path_that_a_scan_would_find_is_recognised_before_it_exists() {
        let outside = folder(&[]);
        let would_scan =
            |root: &tempfile::TempDir, path: &str| Dataset::would_scan(root.path(), &root.path().join(path)).unwrap();

        let classes = folder(&["cat/1.jpg", "dog/1.jpg", ".caches/notes.txt"]);
        symlink(outside.path(), classes.path().join("elsewhere")).unwrap();
        symlink(classes.path(), outside.path().join("here")).unwrap();
        for path in ["", "cache", "cat", "cat/cache", "new/cache", "new/../cache", "train", "new/.cache"] {
            assert!(would_scan(&classes, path), "{path}");
        }
        for path in ["../cache", ".cache", ".caches/a/b", "cat/.cache", "elsewhere/cache", "new/../../cache"] {
            assert!(!would_scan(&classes, path), "{path}");
        }
        assert!(Dataset::would_scan(classes.path(), &outside.path().join("here/cache")).unwrap());

        let splits = folder(&["data/cat/1.jpg", "data/dog/1.jpg", "more/notes.txt"]);
        symlink("data", splits.path().join("train")).unwrap();
        for path in ["", "train", "train/cache", "data/cache", "train/cat/cache", "val", "val/cache", "val/.cache"] {
            assert!(would_scan(&splits, path), "{path}");
        }
        for path in ["cache", "more/cache", "new/cache", ".cache", "train/.cache", "train/cat/.cache", "../cache"] {
            assert!(!would_scan(&splits, path), "{path}");
        }
    }

    #[test]
    fn a_split_does_not_follow_links_to_classes_outside() {
        let outside = folder(&["secret.jpg"]);
        let root = folder(&["train/cat/1.jpg", "train/dog/1.jpg", "test/dog/2.jpg", "more/3.jpg"]);
        symlink(outside.path(), root.path().join("test/cat")).unwrap();
        let dataset = Dataset::scan(root.path()).unwrap();
        let test: Vec<&Path> = dataset.splits[&Split::Test].iter().map(|photo| photo.path.as_path()).collect();
        assert_eq!(test, [Path::new("test/dog/2.jpg")]);
        let ignored: Vec<&Path> = dataset.ignored.iter().map(|ignored| ignored.path.as_path()).collect();
        assert_eq!(ignored, [Path::new("more"), Path::new("test/cat")]);
    }
}
