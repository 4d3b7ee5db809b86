//! Default output folders.

use std::path::{Path, PathBuf};

use head::run::next_free;

/// The folder of runs and sweeps.
pub const RUNS: &str = "runs";

/// The first of `runs/CACHE-1`, `runs/CACHE-2`, … that does not exist. `suffix` follows the name of the cache.
pub fn default_out(cache: &Path, suffix: &str) -> PathBuf {
    let path = cache.canonicalize().unwrap_or_else(|_| cache.to_owned());
    let name = path.file_name().map_or_else(|| "run".into(), |name| name.to_string_lossy());
    next_free(RUNS.as_ref(), &format!("{name}{suffix}"))
}
