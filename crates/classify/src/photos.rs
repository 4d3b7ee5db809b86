//! The photos that were named: files, folders, and lists of them.

use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use backbone::photo::has_photo_extension;
use walkdir::{DirEntry, WalkDir};

/// A photo that was named, or is in a folder that was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedPhoto {
    /// The file.
    pub path: PathBuf,
    /// The folder that was named; of a file that was named, the folder that it is in.
    pub folder: PathBuf,
}

/// The photos that a path names: of a folder all photos below it, sorted bytewise, without hidden files and folders and
/// without what is in the folder `leave_out` (in canonical form), unless that is the named one; of anything else the
/// path itself, so that a file is tried whatever its name is. What is missing or cannot be read is listed, too: it is an
/// error of that photo.
pub fn photos_at(path: &Path, leave_out: Option<&Path>) -> Vec<NamedPhoto> {
    if !path.is_dir() {
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        return vec![NamedPhoto { path: path.to_owned(), folder }];
    }
    let is_wanted = |entry: &DirEntry| {
        let is_left_out = || leave_out.is_some() && entry.path().canonicalize().ok().as_deref() == leave_out;
        is_visible(entry) && !(entry.file_type().is_dir() && is_left_out())
    };
    let mut paths = Vec::new();
    for entry in WalkDir::new(path).min_depth(1).follow_links(true).into_iter().filter_entry(is_wanted) {
        match entry {
            Ok(entry) if entry.file_type().is_file() && has_photo_extension(entry.path()) => {
                paths.push(entry.into_path());
            }
            Ok(_) => {}
            // A link that leads to a folder around it: its photos are listed there.
            Err(error) if error.loop_ancestor().is_some() => {}
            Err(error) => {
                let failed = error.path().unwrap_or(path);
                // A link that leads nowhere is a photo only by its name.
                let leads_nowhere = error.io_error().is_some_and(|cause| cause.kind() == ErrorKind::NotFound);
                if !leads_nowhere || has_photo_extension(failed) {
                    paths.push(failed.to_owned());
                }
            }
        }
    }
    paths.sort_unstable_by(|a, b| a.as_os_str().as_bytes().cmp(b.as_os_str().as_bytes()));
    let mut photos = Vec::new();
    for photo in paths {
        photos.push(NamedPhoto { path: photo, folder: path.to_owned() });
    }
    photos
}

fn is_visible(entry: &DirEntry) -> bool {
    !entry.file_name().as_bytes().starts_with(b".")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        root
    }

    /// The photos at a path, relative to the folder.
    fn listed(folder: &Path, path: &Path, leave_out: Option<&Path>) -> Vec<String> {
        let mut names = Vec::new();
        for photo in photos_at(path, leave_out) {
            names.push(photo.path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned());
        }
        names
    }

    #[test]
    fn a_folders_photos_are_listed_in_order_without_hidden_ones() {
        let files = ["b/2.PNG", "b/1.jpg", "a.webp", "notes.txt", ".hidden.jpg", ".git/1.jpg", "b.jpg/1.tif"];
        let root = folder(&files);
        let all = ["a.webp", "b.jpg/1.tif", "b/1.jpg", "b/2.PNG"];
        assert_eq!(listed(root.path(), root.path(), None), all);
        let left_out = root.path().canonicalize().unwrap().join("b");
        assert_eq!(listed(root.path(), root.path(), Some(&left_out)), all[..2]);
    }

    #[test]
    fn links_are_followed_but_not_in_circles() {
        let root = folder(&["a/1.jpg"]);
        symlink(root.path().join("a"), root.path().join("a/again")).unwrap();
        symlink("nowhere.jpg", root.path().join("broken.jpg")).unwrap();
        symlink("nowhere", root.path().join("a/other")).unwrap();
        assert_eq!(listed(root.path(), root.path(), None), ["a/1.jpg", "broken.jpg"]);
    }

    #[test]
    fn files_are_tried_whatever_their_name() {
        let root = folder(&["photo", "empty/notes.txt"]);
        for name in ["photo", "missing.jpg"] {
            assert_eq!(listed(root.path(), &root.path().join(name), None), [name]);
        }
        assert_eq!(photos_at(&root.path().join("photo"), None)[0].folder, root.path());
        assert_eq!(photos_at(&root.path().join("empty"), None), []);
    }
}
