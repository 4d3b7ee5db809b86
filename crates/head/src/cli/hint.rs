//! What to do about an error, in the command line's words: libraries state the facts.

use anyhow::{Error, anyhow};
use feature_cache::CacheError;
use head::data::DataError;
use head::run::{CacheMismatch, RunError};

/// The error, and what to do about it where there is something to say.
pub fn with_hint(error: Error) -> Error {
    let text = format!("{error:#}");
    match hint(&error) {
        // Below a table.
        Some(hint) if text.contains('\n') => anyhow!("{text}\n{hint}"),
        Some(hint) => anyhow!("{text}; {hint}"),
        None => error,
    }
}

fn hint(error: &Error) -> Option<String> {
    if let Some(error) = error.downcast_ref::<CacheError>() {
        return of_cache(error);
    }
    if let Some(error) = error.downcast_ref::<RunError>() {
        return of_run(error);
    }
    if let Some(error) = error.downcast_ref::<CacheMismatch>() {
        return Some(of_mismatch(error));
    }
    error.downcast_ref::<DataError>().and_then(of_data)
}

fn of_cache(error: &CacheError) -> Option<String> {
    match error {
        CacheError::NotACache(path) => Some(format!("make one with: extract DATASET --out {}", path.display())),
        CacheError::Version { .. } => Some("extract again into another --out, or with --replace".to_owned()),
        CacheError::Damaged { .. } => Some("extract again with --replace to rebuild the cache".to_owned()),
        _ => None,
    }
}

fn of_run(error: &RunError) -> Option<String> {
    match error {
        RunError::Exists(_) => Some("choose another --out".to_owned()),
        RunError::NotARun(path) => Some(format!("make one with: head train CACHE --out {}", path.display())),
        RunError::Damaged { .. } => Some("train the head again".to_owned()),
        RunError::NoBestRun(_) => Some("sweep again, with lower learning rates if every head diverged".to_owned()),
        RunError::Io { .. } | RunError::Format { .. } => None,
    }
}

fn of_mismatch(error: &CacheMismatch) -> String {
    let hint = match error {
        CacheMismatch::Fingerprint { .. } => "choose another --cache, or train a head on this one",
        CacheMismatch::Classes { .. } | CacheMismatch::Columns { .. } => "train a head on it",
    };
    hint.to_owned()
}

fn of_data(error: &DataError) -> Option<String> {
    match error {
        DataError::NoTrain { .. } => Some("extract one first".to_owned()),
        DataError::NotFinite { cache, .. } => Some(format!("check the cache with: extract verify {cache}")),
        DataError::TooManyViews { .. } => {
            let add = "extract --views N adds more, with the same --flip, --crop, --brightness and --seed";
            Some(format!("choose fewer with --views; {add}"))
        }
        DataError::Empty { .. } | DataError::OneClass { .. } => None,
        DataError::Fraction { .. } | DataError::TooFew { .. } => Some("choose another --validation-split".to_owned()),
    }
}
