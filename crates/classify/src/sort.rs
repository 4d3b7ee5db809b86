//! Sorting photos into a folder for each class: DIR/CLASS/photo.jpg.
//!
//! Nothing is overwritten: a photo whose name is taken gets `-2` added to it, and one whose bytes are there already is
//! not copied again. A copy appears under its name once it is complete.

use std::collections::HashMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};

use feature_cache::ClassNames;
use tempfile::TempPath;

use crate::answer::{UNFAMILIAR, UNSURE};

/// What a copy's name begins with until it is complete.
const TEMPORARY_PREFIX: &str = ".icebox-";

/// How a photo gets into its folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transfer {
    /// A copy, which shares the photo's blocks on file systems that can do that.
    Copy,
    /// A hard link: another name of the same file.
    HardLink,
}

/// Puts photos into the folders of their classes.
#[derive(Debug)]
pub struct Sorter {
    root: PathBuf,
    transfer: Transfer,
    folders: HashMap<String, Folder>,
}

/// Why photos cannot be sorted.
#[derive(Debug, thiserror::Error)]
pub enum SortError {
    /// A class whose name cannot be that of a folder.
    #[error("class {0:?}: its name cannot be a folder's")]
    ClassName(String),
    /// A class with the name of the folder for unfamiliar photos, or for unsure ones.
    #[error("class {0:?}: a folder of this name is for photos that are in no class")]
    Reserved(String),
    /// The photo cannot be read; other photos can still be sorted.
    #[error("{}: cannot be read: {cause}", photo.display())]
    Photo {
        /// The photo.
        photo: PathBuf,
        /// The operating system's error.
        cause: io::Error,
    },
    /// The operating system refused.
    #[error("{}: cannot be written: {cause}", path.display())]
    Io {
        /// The folder, or the photo's new name.
        path: PathBuf,
        /// The operating system's error.
        cause: io::Error,
    },
    /// The hard link cannot be made, because the photo and the folder are on different file systems, say.
    #[error("{}: cannot be a hard link of {}: {cause}", path.display(), photo.display())]
    Link {
        /// The photo.
        photo: PathBuf,
        /// Its new name.
        path: PathBuf,
        /// The operating system's error.
        cause: io::Error,
    },
}

/// A folder of sorted photos.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    /// Its files by length: only those of a photo's length can have the same bytes.
    by_length: HashMap<u64, Vec<File>>,
}

/// A file in a folder.
#[derive(Debug)]
struct File {
    path: PathBuf,
    /// blake3 of its bytes; `None` until it is needed.
    hash: Option<blake3::Hash>,
}

impl Sorter {
    /// Makes the folder `root`, and checks that photos of these classes can be sorted into it.
    ///
    /// # Errors
    /// When it cannot be written, or a class's name cannot be a folder's.
    pub fn new(root: &Path, transfer: Transfer, classes: &ClassNames) -> Result<Self, SortError> {
        for class in classes.iter() {
            // The names are from a file: none of them may lead out of the folder.
            let mut components = Path::new(class).components();
            let is_name = components.next() == Some(Component::Normal(class.as_ref())) && components.next().is_none();
            if !is_name || class.contains('\0') {
                return Err(SortError::ClassName(class.to_owned()));
            }
            if [UNSURE, UNFAMILIAR].contains(&class) {
                return Err(SortError::Reserved(class.to_owned()));
            }
        }
        // A temporary file, which is removed at once, shows that the folder can be written to.
        let probe = fs::create_dir_all(root).and_then(|()| temporary_file(root)).map(drop);
        probe.map_err(|cause| SortError::Io { path: root.to_owned(), cause })?;
        for folder in classes.iter().chain([UNSURE, UNFAMILIAR]) {
            let path = root.join(folder);
            if path.symlink_metadata().is_ok() && !path.is_dir() {
                return Err(SortError::Io { path, cause: ErrorKind::NotADirectory.into() });
            }
        }
        Ok(Self { root: root.to_owned(), transfer, folders: HashMap::new() })
    }

    /// Puts the photo into the folder of this name, unless a file with its bytes is there. Returns the file's path.
    ///
    /// # Errors
    /// When the photo cannot be read or the folder cannot be written. No part of a copy is left.
    pub fn put(&mut self, photo: &Path, folder: &str) -> Result<PathBuf, SortError> {
        if !self.folders.contains_key(folder) {
            let path = self.root.join(folder);
            let opened = Folder::open(&path).map_err(|cause| SortError::Io { path, cause })?;
            self.folders.insert(folder.to_owned(), opened);
        }
        let folder = self.folders.get_mut(folder).expect("the folder was just opened");
        folder.put(photo, self.transfer)
    }
}

impl Folder {
    /// Makes the folder if it is not there, and lists its files, except unfinished copies.
    fn open(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        let mut by_length: HashMap<u64, Vec<File>> = HashMap::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            if entry.file_name().as_encoded_bytes().starts_with(TEMPORARY_PREFIX.as_bytes()) {
                continue;
            }
            let metadata = match entry.metadata() {
                // It has been removed meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                metadata => metadata?,
            };
            if metadata.is_file() {
                by_length.entry(metadata.len()).or_default().push(File { path: entry.path(), hash: None });
            }
        }
        Ok(Self { path: path.to_owned(), by_length })
    }

    fn put(&mut self, photo: &Path, transfer: Transfer) -> Result<PathBuf, SortError> {
        let unreadable = |cause| SortError::Photo { photo: photo.to_owned(), cause };
        let length = fs::metadata(photo).map_err(unreadable)?.len();
        let same_length = self.by_length.entry(length).or_default();
        // Most photos are the only ones of their length, and need not be hashed.
        let mut hash = None;
        if !same_length.is_empty() {
            hash = Some(hash_of(photo).map_err(unreadable)?);
            for file in same_length.iter_mut() {
                if file.hash.is_none() {
                    // Stays `None` if the file has been removed meanwhile.
                    file.hash = hash_of(&file.path).ok();
                }
                if file.hash == hash && file.path.is_file() {
                    return Ok(file.path.clone());
                }
            }
        }

        let mut number = 1;
        let path = loop {
            let path = self.path.join(numbered(photo, number));
            // `copy` and `link` fail if the name is taken. Each looks and creates in one atomic step, so that no
            // process comes in between.
            let written = match transfer {
                Transfer::Copy => copy(photo, &path),
                Transfer::HardLink => link(photo, &path),
            };
            match (written, transfer) {
                (Ok(()), _) => break path,
                (Err(cause), _) if cause.kind() == ErrorKind::AlreadyExists => number += 1,
                // The error does not say which side failed: it is the photo's if that cannot be opened.
                (Err(cause), _) if fs::File::open(photo).is_err() => return Err(unreadable(cause)),
                (Err(cause), Transfer::Copy) => return Err(SortError::Io { path, cause }),
                (Err(cause), Transfer::HardLink) => {
                    return Err(SortError::Link { photo: photo.to_owned(), path, cause });
                }
            }
        };
        same_length.push(File { path: path.clone(), hash });
        Ok(path)
    }
}

/// The photo's name; from number 2 on with `-NUMBER` before the extension.
fn numbered(photo: &Path, number: usize) -> PathBuf {
    let name = PathBuf::from(photo.file_name().unwrap_or_default());
    if number == 1 {
        return name;
    }
    let mut numbered = name.file_stem().unwrap_or_default().to_owned();
    numbered.push(format!("-{number}"));
    if let Some(extension) = name.extension() {
        numbered.push(".");
        numbered.push(extension);
    }
    numbered.into()
}

/// Copies the photo into a hidden file in the folder of `path`, then renames that to `path`, unless such a file exists.
/// On Linux `fs::copy` lets the copy share the photo's blocks on file systems that can do that.
fn copy(photo: &Path, path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    if path.symlink_metadata().is_ok() {
        // Saves a copy that could not get its name.
        return Err(ErrorKind::AlreadyExists.into());
    }
    let copied = temporary_file(folder)?;
    fs::copy(photo, &copied)?;
    copied.persist_noclobber(path).map_err(|error| error.error)
}

/// Gives the photo's file another name, if that is free; a symbolic link is followed.
fn link(photo: &Path, path: &Path) -> io::Result<()> {
    fs::hard_link(photo.canonicalize()?, path)
}

/// A hidden file that is removed when it is dropped.
fn temporary_file(folder: &Path) -> io::Result<TempPath> {
    Ok(tempfile::Builder::new().prefix(TEMPORARY_PREFIX).tempfile_in(folder)?.into_temp_path())
}

fn hash_of(path: &Path) -> io::Result<blake3::Hash> {
    Ok(blake3::Hasher::new().update_reader(fs::File::open(path)?)?.finalize())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn classes(names: &[&str]) -> ClassNames {
        ClassNames::new(names.iter().map(|&name| name.to_owned()).collect()).unwrap()
    }

    fn listed(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn taken_names_get_a_number_and_bytes_that_are_there_are_not_copied_again() {
        let scratch = tempfile::tempdir().unwrap();
        let photo = |folder: &str, bytes: &[u8]| {
            let path = scratch.path().join(folder).join("photo.tar.jpg");
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, bytes).unwrap();
            path
        };
        let photos = [photo("a", b"one"), photo("b", b"two"), photo("c", b"three"), photo("d", b"one")];
        let root = scratch.path().join("sorted");
        let expected = ["photo.tar-2.jpg", "photo.tar-3.jpg", "photo.tar.jpg"];
        for _ in 0..2 {
            // A second time everything is there.
            let mut sorter = Sorter::new(&root, Transfer::Copy, &classes(&["hat", "shoe"])).unwrap();
            for photo in &photos {
                sorter.put(photo, "hat").unwrap();
            }
            assert_eq!(sorter.put(&photos[3], "hat").unwrap(), root.join("hat/photo.tar.jpg"));
            assert_eq!(listed(&root.join("hat")), expected);
        }
        assert_eq!(fs::read(root.join("hat/photo.tar-2.jpg")).unwrap(), b"two");
        assert_eq!(listed(&root), ["hat"]);
        assert_eq!(fs::read(&photos[0]).unwrap(), b"one");
    }

    #[test]
    fn links_are_other_names_of_the_same_file() {
        let scratch = tempfile::tempdir().unwrap();
        let photo = scratch.path().join("photo");
        fs::write(&photo, "bytes").unwrap();
        let mut sorter = Sorter::new(&scratch.path().join("sorted"), Transfer::HardLink, &classes(&["hat"])).unwrap();
        let path = sorter.put(&photo, UNSURE).unwrap();
        assert_eq!(path, scratch.path().join("sorted/unsure/photo"));
        assert_eq!(path.metadata().unwrap().ino(), photo.metadata().unwrap().ino());
        assert_eq!(sorter.put(&photo, UNSURE).unwrap(), path, "it is there already");
    }

    #[test]
    fn class_names_do_not_lead_out_of_the_folder() {
        let scratch = tempfile::tempdir().unwrap();
        for name in ["..", ".", "", "a/b", "/etc", "a/", "a\0b", UNSURE, UNFAMILIAR] {
            let sorter = Sorter::new(scratch.path(), Transfer::Copy, &classes(&["hat", name]));
            assert!(matches!(sorter, Err(SortError::ClassName(_) | SortError::Reserved(_))), "{name:?}");
        }
    }

    #[test]
    fn a_photo_that_is_gone_leaves_nothing() {
        let scratch = tempfile::tempdir().unwrap();
        let mut sorter = Sorter::new(scratch.path(), Transfer::Copy, &classes(&["hat"])).unwrap();
        let error = sorter.put(&scratch.path().join("gone.jpg"), "hat").unwrap_err();
        assert!(matches!(error, SortError::Photo { .. }), "{error}");
        assert!(listed(&scratch.path().join("hat")).is_empty());
    }

    #[test]
    fn a_hidden_photo_is_copied_once() {
        let scratch = tempfile::tempdir().unwrap();
        let (photo, root) = (scratch.path().join(".photo.jpg"), scratch.path().join("sorted"));
        fs::write(&photo, "bytes").unwrap();
        for _ in 0..2 {
            let mut sorter = Sorter::new(&root, Transfer::Copy, &classes(&["hat"])).unwrap();
            assert_eq!(sorter.put(&photo, "hat").unwrap(), root.join("hat/.photo.jpg"));
        }
        assert_eq!(listed(&root.join("hat")), [".photo.jpg"]);
    }

    #[test]
    fn copies_that_were_not_finished_or_are_gone_do_not_count() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("sorted");
        fs::create_dir_all(root.join("hat")).unwrap();
        fs::write(root.join("hat/.icebox-x"), "bytes").unwrap();
        let photos = ["1", "2"].map(|name| scratch.path().join(name));
        for photo in &photos {
            fs::write(photo, "bytes").unwrap();
        }
        let mut sorter = Sorter::new(&root, Transfer::Copy, &classes(&["hat"])).unwrap();
        assert_eq!(sorter.put(&photos[0], "hat").unwrap(), root.join("hat/1"));
        fs::remove_file(root.join("hat/1")).unwrap();
        assert_eq!(sorter.put(&photos[1], "hat").unwrap(), root.join("hat/2"));

        fs::write(root.join("unsure"), "no folder").unwrap();
        let error = Sorter::new(&root, Transfer::Copy, &classes(&["hat"])).unwrap_err().to_string();
        assert!(error.contains("unsure: cannot be written: not a directory"), "{error}");
    }
}
