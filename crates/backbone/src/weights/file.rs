//! A file of weights, mapped into memory.

use std::fs::File;
use std::io::{Error, ErrorKind};
use std::path::Path;

use memmap2::Mmap;

use super::collect::WeightsError;

/// The maximum length of a file in bytes, far more than Xception's weights take.
pub(super) const MAX_BYTES: u64 = 1 << 30;

/// Maps a file of weights.
///
/// # Errors
/// When it cannot be opened, is a folder, or is larger than 1 GiB.
pub(super) fn map(path: &Path) -> Result<Mmap, WeightsError> {
    let failed = |cause| WeightsError::Io { action: "read", path: path.to_owned(), cause };
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    // A folder can be opened, and only mapping it fails: "No such device".
    if metadata.is_dir() {
        return Err(failed(Error::from(ErrorKind::IsADirectory)));
    }
    let found = metadata.len();
    if found > MAX_BYTES {
        return Err(WeightsError::TooLarge { path: path.to_owned(), found });
    }
    #[allow(unsafe_code)]
    // SAFETY: `Weights::save` replaces the file by a rename and never writes into it. That no other program writes into
    // it while it is read, for about a second, is assumed, as by every reader of safetensors.
    let bytes = unsafe { Mmap::map(&file) };
    bytes.map_err(failed)
}
