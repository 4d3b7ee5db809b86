//! Atomic writes: a new file or folder is written under a hidden name and then renamed, so that a reader opens either
//! the old content or the new, never a part of it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Whether a file must survive a power cut from the moment that the call returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The file and the name in its folder are on the disk: fsync on both. Takes milliseconds.
    Synced,
    /// The operating system writes it later: after a power cut the file may be the old one, or empty.
    Unsynced,
}

/// Writes the file at `path` with the content that `write` writes: replaces it, or creates it and the folders above it.
///
/// The content goes to a hidden file in the same folder, whose name contains the process id and which is then renamed
/// to `path`. So a reader sees the old file or the new one, and a file that is already open or mapped does not change.
///
/// # Errors
/// Those of `write` and of the operating system. The hidden file is then removed and the file at `path` is unchanged,
/// unless the fsync of its folder failed: then the new file is in place, but may not survive a power cut.
pub fn write_atomically(
    path: &Path,
    durability: Durability,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let hidden = hidden_sibling(path)?;
    fs::create_dir_all(parent(path))?;
    write_then_rename(&hidden, path, durability, write)
}

/// [`write_atomically`] with `hidden` as the temporary file, which must be on the same file system as `path`.
pub(crate) fn write_then_rename(
    hidden: &Path,
    path: &Path,
    durability: Durability,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let written = write_new(hidden, durability, write).and_then(|()| fs::rename(hidden, path));
    if written.is_err() {
        // Of two errors the first one is returned.
        let _ = fs::remove_file(hidden);
    }
    written?;
    if durability == Durability::Synced { sync_folder(parent(path)) } else { Ok(()) }
}

fn write_new(
    path: &Path,
    durability: Durability,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut buffered = BufWriter::new(File::create(path)?);
    write(&mut buffered)?;
    let file = buffered.into_inner().map_err(io::IntoInnerError::into_error)?;
    if durability == Durability::Synced { file.sync_all() } else { Ok(()) }
}

/// Syncs a folder, so that new and renamed entries in it survive a power cut.
///
/// # Errors
/// When the folder cannot be opened or synced.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Writes several files (path and content), synced: all of them under hidden names before the first one is renamed. So
/// all are written or, when the disk is full, say, none. They appear in the order in which they are given.
///
/// # Errors
/// The first file that cannot be written, and why. If that is known only when the files are renamed, those before it
/// are there.
pub fn write_together(files: &[(&Path, &[u8])]) -> Result<(), (PathBuf, io::Error)> {
    let mut hidden_files = Vec::new();
    for &(path, content) in files {
        let hidden = HiddenFile::write(path, content).map_err(|cause| (path.to_owned(), cause))?;
        hidden_files.push(hidden);
    }
    for hidden in hidden_files {
        hidden.publish().map_err(|cause| (hidden.destination.clone(), cause))?;
    }
    Ok(())
}

/// A written file that does not have its name yet. If it is dropped before it has, it is removed.
struct HiddenFile {
    path: PathBuf,
    destination: PathBuf,
}

impl HiddenFile {
    fn write(path: &Path, content: &[u8]) -> io::Result<Self> {
        let hidden = Self { path: hidden_sibling(path)?, destination: path.to_owned() };
        fs::create_dir_all(parent(path))?;
        write_new(&hidden.path, Durability::Synced, |file| file.write_all(content))?;
        Ok(hidden)
    }

    fn publish(&self) -> io::Result<()> {
        fs::rename(&self.path, &self.destination)?;
        sync_folder(parent(&self.destination))
    }
}

impl Drop for HiddenFile {
    /// Does nothing after the file was renamed.
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// A new folder that appears under its name when all of its files are written: [`write_atomically`] for many files at
/// once, without fsync.
///
/// If it is dropped before [`NewFolder::publish`], the folder and its files are removed.
#[derive(Debug)]
pub struct NewFolder {
    path: PathBuf,
    destination: PathBuf,
}

impl NewFolder {
    /// Creates a hidden, empty folder in the same directory as `path`, and the folders above it.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn create(path: &Path) -> io::Result<Self> {
        let hidden = hidden_sibling(path)?;
        // A killed process with the same id may have left its folder behind.
        match fs::remove_dir_all(&hidden) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => fs::create_dir_all(&hidden)?,
        }
        Ok(Self { path: hidden, destination: path.to_owned() })
    }

    /// Where to write the files.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Renames the folder to its final name.
    ///
    /// # Errors
    /// When there is already a file or a folder that is not empty, or the operating system fails otherwise; the new
    /// folder is then removed.
    pub fn publish(self) -> io::Result<()> {
        fs::rename(&self.path, &self.destination)
    }
}

impl Drop for NewFolder {
    /// Does nothing after the folder was renamed.
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// `FOLDER/.NAME.PROCESS` for `FOLDER/NAME`.
fn hidden_sibling(path: &Path) -> io::Result<PathBuf> {
    let file_name = path.file_name().ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "the path has no name"))?;
    let mut hidden = OsString::from(".");
    hidden.push(file_name);
    hidden.push(format!(".{}", std::process::id()));
    Ok(path.with_file_name(hidden))
}

/// The folder that a file is in.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// The names in a folder, hidden ones too.
    fn names(folder: &Path) -> Vec<OsString> {
        let mut names: Vec<OsString> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn a_file_is_created_with_its_folder_and_replaced_and_readers_keep_the_old_one() {
        for durability in [Durability::Synced, Durability::Unsynced] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("new/folder/table.csv");
            write_atomically(&path, durability, |file| file.write_all(b"old")).unwrap();
            let mut open = File::open(&path).unwrap();
            write_atomically(&path, durability, |file| {
                file.write_all(b"half, ")?;
                file.flush()?;
                assert_eq!(fs::read(&path)?, b"old", "nothing is seen before the end");
                file.write_all(b"whole")
            })
            .unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"half, whole");
            let mut old = String::new();
            open.read_to_string(&mut old).unwrap();
            assert_eq!(old, "old");
            assert_eq!(names(path.parent().unwrap()), ["table.csv"]);
        }
    }

    #[test]
    fn a_failure_leaves_the_old_file_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table.csv");
        fs::write(&path, "old").unwrap();
        let error = write_atomically(&path, Durability::Synced, |file| {
            file.write_all(b"half")?;
            Err(io::Error::other("no more"))
        });
        assert_eq!(error.unwrap_err().to_string(), "no more");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["table.csv"]);

        // The rename fails: a folder is in the place.
        let taken = folder.path().join("taken");
        fs::create_dir(&taken).unwrap();
        write_atomically(&taken, Durability::Unsynced, |file| file.write_all(b"new")).unwrap_err();
        assert_eq!(names(folder.path()), ["table.csv", "taken"]);
    }

    #[test]
    fn of_files_that_are_written_together_none_is_there_if_one_cannot_be() {
        let folder = tempfile::tempdir().unwrap();
        let [first, second] = ["new/first", "second"].map(|name| folder.path().join(name));
        fs::write(&second, "old").unwrap();
        write_together(&[(&first, b"1"), (&second, b"2")]).unwrap();
        assert_eq!((fs::read(&first).unwrap(), fs::read(&second).unwrap()), (b"1".to_vec(), b"2".to_vec()));
        assert_eq!(names(folder.path()), ["new", "second"]);

        // A file is where a folder would have to be.
        let third = second.join("third");
        let (path, _) = write_together(&[(&first, b"3"), (&third, b"3")]).unwrap_err();
        assert_eq!((path, fs::read(&first).unwrap()), (third, b"1".to_vec()));
        assert_eq!(names(first.parent().unwrap()), ["first"]);
    }

    #[test]
    fn a_path_without_a_name_is_an_error_and_a_bare_name_is_in_the_current_folder() {
        for path in ["", "/", "..", "folder/.."] {
            let error = write_atomically(path.as_ref(), Durability::Unsynced, |_| Ok(())).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{path}");
        }
        assert_eq!(parent("name".as_ref()), Path::new("."));
        assert_eq!(parent("folder/name".as_ref()), Path::new("folder"));
    }

    #[test]
    fn a_folder_appears_whole_or_not_at_all() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("runs/first");
        let stale = hidden_sibling(&path).unwrap();
        fs::create_dir_all(&stale).unwrap();
        fs::write(stale.join("of a killed process"), "").unwrap();

        let folder = NewFolder::create(&path).unwrap();
        assert!(names(folder.path()).is_empty());
        fs::write(folder.path().join("config.json"), "{}").unwrap();
        assert!(!path.exists());
        folder.publish().unwrap();
        assert_eq!(names(&path), ["config.json"]);

        // One that is dropped, and one whose name is taken.
        drop(NewFolder::create(&path).unwrap());
        NewFolder::create(&path).unwrap().publish().unwrap_err();
        assert_eq!(names(&path), ["config.json"]);
        assert_eq!(names(path.parent().unwrap()), ["first"]);
    }
}
