//! Hints for errors: the libraries state what happened, the command line adds which option helps.

use std::path::Path;

use anyhow::{Error, anyhow};
use feature_cache::CacheError;
use head::data::DataError;
use head::run::{CacheMismatch, RunError, SweepFolder};
use stdio::{invocation, shell_word};

/// Adds a hint to the error, if there is one.
pub fn with_hint(error: Error) -> Error {
    match hint(&error) {
        Some(hint) => anyhow!("{error:#}{hint}"),
        None => error,
    }
}

/// The hint, with the separator that goes between it and the error.
fn hint(error: &Error) -> Option<String> {
    if let Some(error) = error.downcast_ref::<CacheError>() {
        return cache_hint(error);
    }
    if let Some(error) = error.downcast_ref::<RunError>() {
        return run_hint(error);
    }
    if let Some(error) = error.downcast_ref::<CacheMismatch>() {
        return Some(mismatch_hint(error).to_owned());
    }
    error.downcast_ref::<DataError>().and_then(data_hint)
}

fn cache_hint(error: &CacheError) -> Option<String> {
    let hint = match error {
        CacheError::NotACache(path) => {
            return Some(format!("; make one with: {} DATASET --out {}", invocation("extract"), shell_word(path)));
        }
        CacheError::Version { .. } => "; extract again into another --out, or with --replace",
        CacheError::Damaged { .. } => "; extract again with --replace to rebuild the cache",
        _ => return None,
    };
    Some(hint.to_owned())
}

fn run_hint(error: &RunError) -> Option<String> {
    let hint = match error {
        RunError::Exists(_) => "; choose another --out",
        RunError::NotARun(path) if SweepFolder::find(path).is_some() => {
            return Some(format!("; choose one of the sweep's: {} runs {}", invocation("head"), shell_word(path)));
        }
        RunError::NotARun(path) if path.exists() => {
            return Some(format!("; make one with: {} train CACHE", invocation("head")));
        }
        RunError::NotARun(path) => {
            return Some(format!("; make one with: {} train CACHE --out {}", invocation("head"), shell_word(path)));
        }
        RunError::Damaged { .. } => "; train the head again",
        RunError::NoBestRun(_) => "; sweep again, with lower learning rates if every head diverged",
        RunError::Io { .. } | RunError::Format { .. } => return None,
    };
    Some(hint.to_owned())
}

fn mismatch_hint(error: &CacheMismatch) -> &'static str {
    match error {
        CacheMismatch::Fingerprint { .. } => "\nchoose another --cache, or train a head on this one",
        CacheMismatch::Classes { .. } | CacheMismatch::Columns { .. } => "; train a head on it",
    }
}

fn data_hint(error: &DataError) -> Option<String> {
    let hint = match error {
        DataError::NoTrain { .. } => "; extract one first",
        DataError::NotFinite { cache, .. } => {
            let cache = shell_word(Path::new(cache));
            return Some(format!("; check the cache with: {} verify {cache}", invocation("extract")));
        }
        DataError::TooManyViews { .. } => {
            return Some(format!(
                "; choose fewer with --views; {} --views N adds more, with the same --flip, --crop, --brightness and \
                 --seed",
                invocation("extract")
            ));
        }
        DataError::Empty { .. } | DataError::OneClass { .. } => return None,
        DataError::Fraction { .. } | DataError::TooFew { .. } => "; choose another --validation-split",
    };
    Some(hint.to_owned())
}
