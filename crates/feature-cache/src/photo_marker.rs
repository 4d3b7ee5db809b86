//! Which photo is being computed: after a crash (a kill and running out of memory count, too) the next runs find the
//! photo that caused it.
//!
//! ```text
//! line     blake3 of a photo's bytes in hexadecimal, a space, a digit
//! ```
//!
//! The first line is the photo that was begun last, or spaces if none is being computed. Its digit is 0 if other photos
//! were being computed with it; otherwise it counts the processes that have crashed while they computed this photo
//! alone. The other lines are the crashing photos: those whose digit has reached `MAX_CRASHES`. The file is not synced:
//! it must survive the process, not a power cut.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::error::{CacheError, IoContext};
use crate::regular_file::open_regular;

const LINE_LEN: usize = 2 * blake3::OUT_LEN + 3;

/// A photo is not tried again after this many processes have crashed while they computed it alone.
const MAX_CRASHES: u8 = 2;

/// The file that names the photo that is being computed.
#[derive(Debug)]
pub struct PhotoMarker {
    path: PathBuf,
    file: File,
    interrupted: Option<InterruptedPhoto>,
    crashing: BTreeSet<[u8; blake3::OUT_LEN]>,
}

/// The photo that a process had begun last when it crashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InterruptedPhoto {
    /// blake3 of its bytes.
    pub photo: blake3::Hash,
    /// How many processes have crashed while they computed this photo alone; 0 if others were computed with it.
    pub crashes_alone: u8,
}

impl PhotoMarker {
    /// Opens the file, or creates it. What is not readable in it is ignored.
    pub(crate) fn open(path: &Path) -> Result<Self, CacheError> {
        let opened = open_regular(OpenOptions::new().read(true).write(true).create(true).truncate(false), path);
        let mut file = opened.context("open", path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).context("read", path)?;
        let mut interrupted = None;
        let mut crashing = BTreeSet::new();
        for (number, line) in bytes.chunks_exact(LINE_LEN).enumerate() {
            let Some(line) = parse(line) else { continue };
            if number == 0 && line.crashes_alone < MAX_CRASHES {
                interrupted = Some(line);
            } else {
                crashing.insert(*line.photo.as_bytes());
            }
        }
        let marker = Self { path: path.to_owned(), file, interrupted, crashing };
        marker.rewrite()?;
        Ok(marker)
    }

    /// The photo that the last run had begun last, if that run crashed and the photo is not one of the crashing ones.
    pub fn interrupted(&self) -> Option<InterruptedPhoto> {
        self.interrupted
    }

    /// Whether several processes have crashed while they computed this photo alone.
    pub fn is_crashing(&self, photo: &blake3::Hash) -> bool {
        self.crashing.contains(photo.as_bytes())
    }

    /// Records that the photo is begun, perhaps while others are not finished.
    pub fn begin(&self, photo: blake3::Hash) {
        self.write_line(line(InterruptedPhoto { photo, crashes_alone: 0 }));
    }

    /// Records that the photo is begun while no other is being computed.
    pub fn begin_alone(&self, photo: blake3::Hash) {
        let crashes_before = match self.interrupted {
            Some(interrupted) if interrupted.photo == photo => interrupted.crashes_alone,
            _ => 0,
        };
        // If the process crashes now, this is the number of crashes.
        self.write_line(line(InterruptedPhoto { photo, crashes_alone: crashes_before + 1 }));
    }

    /// Records that no photo is being computed.
    pub fn end(&self) {
        self.write_line([b' '; LINE_LEN]);
    }

    fn write_line(&self, line: [u8; LINE_LEN]) {
        // The file only helps to find what a crash was caused by: a run that has begun does not fail because it cannot
        // be written.
        let _ = self.file.write_all_at(&line, 0);
    }

    /// Writes the whole file.
    fn rewrite(&self) -> Result<(), CacheError> {
        let mut bytes = self.interrupted.map_or([b' '; LINE_LEN], line).to_vec();
        for photo in &self.crashing {
            bytes
                .extend(line(InterruptedPhoto { photo: blake3::Hash::from_bytes(*photo), crashes_alone: MAX_CRASHES }));
        }
        self.file.write_all_at(&bytes, 0).context("write", &self.path)?;
        self.file.set_len(bytes.len() as u64).context("write", &self.path)
    }
}

/// A photo's line in the file.
fn line(InterruptedPhoto { photo, crashes_alone }: InterruptedPhoto) -> [u8; LINE_LEN] {
    let text = format!("{} {crashes_alone}\n", photo.to_hex());
    text.into_bytes().try_into().expect("the number has one digit: after MAX_CRASHES the photo is not begun again")
}

/// The photo of a line; `None` if the line is not readable.
fn parse(line: &[u8]) -> Option<InterruptedPhoto> {
    let (photo, crashes) = str::from_utf8(line).ok()?.strip_suffix('\n')?.split_once(' ')?;
    let crashes_alone = crashes.parse().ok().filter(|&crashes| crashes <= MAX_CRASHES)?;
    Some(InterruptedPhoto { photo: blake3::Hash::from_hex(photo).ok()?, crashes_alone })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_photo_that_crashes_two_processes_alone_is_crashing_and_stays_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("photo");
        let open = || PhotoMarker::open(&path).unwrap();
        let [one, two] = [blake3::hash(b"one"), blake3::hash(b"two")];

        assert_eq!(open().interrupted(), None);
        open().begin(one);
        assert_eq!(open().interrupted(), Some(InterruptedPhoto { photo: one, crashes_alone: 0 }));
        open().end();
        assert_eq!(open().interrupted(), None, "it ended in order");

        open().begin_alone(one);
        open().begin_alone(one);
        let marker = open();
        assert!(marker.is_crashing(&one) && !marker.is_crashing(&two));
        assert_eq!(marker.interrupted(), None);
        // Another process crashes, in another photo.
        marker.begin_alone(two);
        let marker = open();
        assert!(marker.is_crashing(&one) && !marker.is_crashing(&two));
        assert_eq!(marker.interrupted(), Some(InterruptedPhoto { photo: two, crashes_alone: 1 }));
        marker.end();
        assert!(open().is_crashing(&one));
    }

    #[test]
    fn what_is_not_readable_is_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("photo");
        let hash = blake3::hash(b"one").to_hex();
        for content in ["x", "", &format!("{hash} 9\n"), &format!("{hash} "), &"z".repeat(3 * LINE_LEN)] {
            std::fs::write(&path, content).unwrap();
            let marker = PhotoMarker::open(&path).unwrap();
            assert_eq!(marker.interrupted(), None, "{content}");
            assert!(marker.crashing.is_empty());
        }
    }
}
