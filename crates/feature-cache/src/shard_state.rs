//! Which shards of a cache are there, and which are finished.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use crate::error::{CacheError, IoContext};
use crate::lock::{WORKING_PREFIX, WORKING_SUFFIX};
use crate::shard::Shard;

/// What is there of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShardState {
    /// A cache that no run is changing.
    Finished,
    /// A run is writing it, or has failed or was interrupted: it has a working folder.
    Unfinished,
}

impl ShardState {
    /// The shards of the cache at `cache`, finished or not, in order.
    ///
    /// # Errors
    /// When the folder of shards holds anything else, or cannot be read.
    pub fn list(cache: &Path) -> Result<BTreeMap<Shard, Self>, CacheError> {
        let folder = Shard::all_folders(cache);
        let mut shards = BTreeMap::new();
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(shards),
            entries => entries.context("open", &folder)?,
        };
        for entry in entries {
            let path = entry.context("read", &folder)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let working = name.strip_prefix(WORKING_PREFIX).and_then(|name| name.strip_suffix(WORKING_SUFFIX));
            if let Some(shard) = working.and_then(|name| Shard::from_folder_name(name.as_ref())) {
                shards.insert(shard, Self::Unfinished);
            } else if let Some(shard) = Shard::from_folder_name(name.as_ref()) {
                shards.entry(shard).or_insert(Self::Finished);
            } else if name.strip_suffix(".json").and_then(|name| Shard::from_folder_name(name.as_ref())).is_none() {
                return Err(CacheError::Foreign(path));
            }
        }
        Ok(shards)
    }
}
