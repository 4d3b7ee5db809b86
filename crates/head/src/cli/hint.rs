//! What to do about an error, in the command line's words: libraries state the facts.

use anyhow::{Error, anyhow};
use feature_cache::CacheError;

/// The error, and what to do about it where there is something to say.
pub fn with_hint(error: Error) -> Error {
    let hint = match error.downcast_ref::<CacheError>() {
        Some(CacheError::NotACache(path)) => format!("make one with: extract DATASET --out {}", path.display()),
        Some(CacheError::Version { .. }) => "extract again into another --out, or with --replace".to_owned(),
        Some(CacheError::Damaged { .. }) => "extract again with --replace to rebuild the cache".to_owned(),
        _ => return error,
    };
    anyhow!("{error:#}; {hint}")
}
