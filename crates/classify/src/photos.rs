//! The photos that were named: files, folders, and lists of them.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use backbone::photo::has_photo_extension;
use walkdir::{DirEntry, WalkDir};

/// Why photos cannot be listed.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// A folder without photos.
    #[error("{}: no photos here", .0.display())]
    NoPhotos(PathBuf),
    /// A folder that cannot be read.
    #[error("{}: cannot be read: {cause}", path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// The operating system's error.
        cause: io::Error,
    },
}

/// The photos that a path names: of a folder all photos below it, sorted bytewise, but for hidden files and folders; of
/// anything else the path itself, so that a file is tried whatever its name is, and one that is missing is that photo's
/// error.
///
/// # Errors
/// When a folder cannot be read or holds no photo.
pub fn photos_at(path: &Path) -> Result<Vec<PathBuf>, ListError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut photos = Vec::new();
    for entry in WalkDir::new(path).min_depth(1).follow_links(true).into_iter().filter_entry(is_visible) {
        match entry {
            Ok(entry) if entry.file_type().is_file() && has_photo_extension(entry.path()) => {
                photos.push(entry.into_path());
            }
            Ok(_) => {}
            // A link that leads to a folder around it: its photos are listed there.
            Err(error) if error.loop_ancestor().is_some() => {}
            Err(error) => {
                let failed = error.path().unwrap_or(path).to_owned();
                // A broken link with a photo's name is reported with the photos that cannot be read.
                if has_photo_extension(&failed) {
                    photos.push(failed);
                } else {
                    return Err(ListError::Io { path: failed, cause: error.into() });
                }
            }
        }
    }
    if photos.is_empty() {
        return Err(ListError::NoPhotos(path.to_owned()));
    }
    photos.sort_unstable_by(|a, b| a.as_os_str().as_bytes().cmp(b.as_os_str().as_bytes()));
    Ok(photos)
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

    #[test]
    fn a_folders_photos_are_listed_in_order_without_hidden_ones() {
        let files = ["b/2.PNG", "b/1.jpg", "a.webp", "notes.txt", ".hidden.jpg", ".git/1.jpg", "b.jpg/1.tif"];
        let root = folder(&files);
        let photos = photos_at(root.path()).unwrap();
        let names: Vec<&Path> = photos.iter().map(|path| path.strip_prefix(root.path()).unwrap()).collect();
        assert_eq!(names, ["a.webp", "b.jpg/1.tif", "b/1.jpg", "b/2.PNG"].map(Path::new));
    }

    #[test]
    fn links_are_followed_but_not_in_circles() {
        let root = folder(&["a/1.jpg"]);
        symlink(root.path().join("a"), root.path().join("a/again")).unwrap();
        symlink("nowhere.jpg", root.path().join("broken.jpg")).unwrap();
        symlink("nowhere", root.path().join("a/other")).unwrap();
        assert!(matches!(photos_at(root.path()), Err(ListError::Io { .. })));
        fs::remove_file(root.path().join("a/other")).unwrap();
        let photos = photos_at(root.path()).unwrap();
        assert_eq!(photos, ["a/1.jpg", "broken.jpg"].map(|name| root.path().join(name)));
    }

    #[test]
    fn files_are_tried_whatever_their_name_and_empty_folders_are_refused() {
        let root = folder(&["photo", "empty/notes.txt"]);
        let file = root.path().join("photo");
        assert_eq!(photos_at(&file).unwrap(), [file]);
        let missing = root.path().join("missing.jpg");
        assert_eq!(photos_at(&missing).unwrap(), [missing]);
        let error = photos_at(&root.path().join("empty")).unwrap_err();
        assert!(error.to_string().ends_with("empty: no photos here"), "{error}");
    }
}
