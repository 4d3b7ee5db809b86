//! Which photo is being computed: what is left of it after a crash says which photos may have caused it.
//!
//! ```text
//! line     blake3 of a photo's bytes in hexadecimal, a blank, a digit
//! ```
//!
//! The first line is the photo that was begun last, with 0 if others may have been begun before it and are not finished,
//! and else the number of times that the process has ended while it computed this photo alone. The other lines are the
//! photos for which that has happened too often. The file is not synced: it must survive the process, not a power cut.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::error::{CacheError, IoContext};

const LINE_LEN: usize = 2 * blake3::OUT_LEN + 3;

/// A photo that has ended so many processes which computed it alone is not tried again.
const MAX_DEATHS: u8 = 2;

/// The file that names the photo that is being computed.
#[derive(Debug)]
pub struct PhotoMarker {
    path: PathBuf,
    file: File,
    left: Option<Left>,
    deadly: BTreeSet<[u8; blake3::OUT_LEN]>,
}

/// What a process left that ended while it computed photos.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// The photo that was begun last.
    pub photo: blake3::Hash,
    /// How many processes have ended while they computed this photo alone.
    pub alone: u8,
}

impl PhotoMarker {
    /// Opens the file, or creates it. What is not readable in it is ignored.
    pub(crate) fn open(path: &Path) -> Result<Self, CacheError> {
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).clone();
        let mut file = options.open(path).context("open", path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).context("read", path)?;
        let mut lines = bytes.chunks_exact(LINE_LEN).map(parse);
        let mut left = lines.next().flatten();
        let mut deadly: BTreeSet<_> = lines.flatten().map(|line| *line.photo.as_bytes()).collect();
        if let Some(line) = left
            && line.alone >= MAX_DEATHS
        {
            deadly.insert(*line.photo.as_bytes());
            left = None;
        }
        let marker = Self { path: path.to_owned(), file, left, deadly };
        marker.rewrite()?;
        Ok(marker)
    }

    /// What the last run left, if it ended while it computed a photo.
    pub fn left(&self) -> Option<Left> {
        self.left
    }

    /// Whether this photo has ended several processes that computed it alone.
    pub fn is_deadly(&self, photo: &blake3::Hash) -> bool {
        self.deadly.contains(photo.as_bytes())
    }

    /// Notes that the photo is begun, perhaps while others are not finished.
    pub fn begin(&self, photo: blake3::Hash) {
        self.write_line(line(Left { photo, alone: 0 }));
    }

    /// Notes that the photo is begun while no other is being computed.
    pub fn begin_alone(&self, photo: blake3::Hash) {
        let before = self.left.filter(|left| left.photo == photo).map_or(0, |left| left.alone);
        self.write_line(line(Left { photo, alone: before + 1 }));
    }

    /// Notes that no photo is being computed.
    pub fn end(&self) {
        self.write_line([b' '; LINE_LEN]);
    }

    fn write_line(&self, line: [u8; LINE_LEN]) {
        // The file only helps to find what a crash was caused by: no run fails because it cannot be written.
        let _ = self.file.write_all_at(&line, 0);
    }

    /// Writes the whole file.
    fn rewrite(&self) -> Result<(), CacheError> {
        let mut bytes = self.left.map_or([b' '; LINE_LEN], line).to_vec();
        for photo in &self.deadly {
            bytes.extend(line(Left { photo: blake3::Hash::from_bytes(*photo), alone: MAX_DEATHS }));
        }
        self.file.write_all_at(&bytes, 0).context("write", &self.path)?;
        self.file.set_len(bytes.len() as u64).context("write", &self.path)
    }
}

fn line(left: Left) -> [u8; LINE_LEN] {
    let text = format!("{} {}\n", left.photo.to_hex(), left.alone);
    text.into_bytes().try_into().expect("the number has one digit: after MAX_DEATHS the photo is not begun again")
}

fn parse(line: &[u8]) -> Option<Left> {
    let (photo, alone) = str::from_utf8(line).ok()?.strip_suffix('\n')?.split_once(' ')?;
    Some(Left { photo: blake3::Hash::from_hex(photo).ok()?, alone: alone.parse().ok().filter(|&n| n <= MAX_DEATHS)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_photo_that_ends_two_processes_alone_is_deadly_and_stays_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("photo");
        let open = || PhotoMarker::open(&path).unwrap();
        let [one, two] = [blake3::hash(b"one"), blake3::hash(b"two")];

        assert_eq!(open().left(), None);
        open().begin(one);
        assert_eq!(open().left(), Some(Left { photo: one, alone: 0 }));
        open().end();
        assert_eq!(open().left(), None, "it ended in order");

        open().begin_alone(one);
        open().begin_alone(one);
        let marker = open();
        assert!(marker.is_deadly(&one) && !marker.is_deadly(&two));
        assert_eq!(marker.left(), None);
        // Another process dies, in another photo.
        marker.begin_alone(two);
        let marker = open();
        assert!(marker.is_deadly(&one) && !marker.is_deadly(&two));
        assert_eq!(marker.left(), Some(Left { photo: two, alone: 1 }));
        marker.end();
        assert!(open().is_deadly(&one));
    }

    #[test]
    fn what_is_not_readable_is_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("photo");
        let hash = blake3::hash(b"one").to_hex();
        for content in ["x", "", &format!("{hash} 9\n"), &format!("{hash} "), &"z".repeat(3 * LINE_LEN)] {
            std::fs::write(&path, content).unwrap();
            let marker = PhotoMarker::open(&path).unwrap();
            assert_eq!(marker.left(), None, "{content}");
            assert!(marker.deadly.is_empty());
        }
    }
}
