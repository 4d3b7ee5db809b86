//! Errors of runs, and of caches that do not fit a run.

use std::io;
use std::path::PathBuf;

use feature_cache::Difference;

/// Why a run cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The path of a new run exists.
    #[error("{}: already exists", .0.display())]
    Exists(PathBuf),
    /// The folder has no config.json.
    #[error("{}: no run here", .0.display())]
    NotARun(PathBuf),
    /// An error of the operating system.
    #[error("{}: cannot be {action}: {cause}", path.display())]
    Io {
        /// `read` or `written`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's error.
        cause: io::Error,
    },
    /// A value that the file's format cannot hold.
    #[error("{}: cannot be written: {problem}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The error of the format's writer.
        problem: String,
    },
    /// A sweep without a run of its best settings: every head diverged, or these runs were removed.
    #[error("{}: a sweep without a run of its best settings", .0.display())]
    NoBestRun(PathBuf),
    /// A file that is not as [`Run::save`](super::Run::save) writes it.
    #[error("{}: damaged: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// Why a run's head cannot be used on a cache.
#[derive(Debug, thiserror::Error)]
pub enum CacheMismatch {
    /// Another fingerprint.
    #[error(
        "{}: its rows were made differently from those that the head was trained on:\n{}",
        cache.display(),
        Difference::table(differences, "run", "cache")
    )]
    Fingerprint {
        /// The cache.
        cache: PathBuf,
        /// The fields of the fingerprint that differ: the run's values, then the cache's.
        differences: Vec<Difference>,
    },
    /// Other classes.
    #[error(
        "{}: its classes are not the run's: only in the cache {only_in_cache:?}, only in the run {only_in_run:?}",
        cache.display()
    )]
    Classes {
        /// The cache.
        cache: PathBuf,
        /// Classes that the run does not have.
        only_in_cache: Vec<String>,
        /// Classes that the cache does not have.
        only_in_run: Vec<String>,
    },
    /// The length of the rows is not that of the head's input.
    #[error("{}: its rows have {found} features, the run's head takes {expected}", cache.display())]
    Columns {
        /// The cache.
        cache: PathBuf,
        /// The length of the cache's rows.
        found: usize,
        /// The length of the head's input.
        expected: usize,
    },
}
