//! A sweep on disk: a run for each head, and sweep.json with the results. [`Chosen`] is a run, or the best run of a
//! sweep.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use feature_cache::{Durability, write_atomically};

use super::config::RunConfig;
use super::error::RunError;
use super::files::{not_written, read_json};
use super::record::{CONFIG, Run};
use crate::summary::SweepResults;

const RESULTS: &str = "sweep.json";

/// The folder of a sweep.
#[derive(Debug, Clone)]
pub struct SweepFolder(PathBuf);

/// A run that was opened by its own path or by that of its sweep.
#[derive(Debug)]
pub struct Chosen {
    /// The run's folder.
    pub path: PathBuf,
    /// The run.
    pub run: Run,
}

/// The parts of the name of a run's folder in a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct HeadName {
    /// Index of its settings among all combinations, from 0 on.
    config_index: usize,
    seed: u64,
}

impl Chosen {
    /// Loads a run. If `path` is a sweep, loads the run of its best settings, with the lowest seed whose head did not
    /// diverge.
    ///
    /// # Errors
    /// When there is neither, the sweep has no run of its best settings, or a file is damaged.
    pub fn open(path: &Path) -> Result<Self, RunError> {
        let path = match SweepFolder::find(path) {
            Some(sweep) => sweep.best_run()?,
            None => path.to_owned(),
        };
        let run = Run::load(&path)?;
        Ok(Self { path, run })
    }
}

impl SweepFolder {
    /// Creates the folder of a new sweep, and the folders above it. Of several processes only one can create it.
    ///
    /// # Errors
    /// When it exists, or cannot be created.
    pub fn create(path: &Path) -> Result<Self, RunError> {
        if let Some(above) = path.parent() {
            fs::create_dir_all(above).map_err(|cause| not_written(path, cause))?;
        }
        match fs::create_dir(path) {
            Ok(()) => Ok(Self(path.to_owned())),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(RunError::Exists(path.to_owned())),
            Err(cause) => Err(not_written(path, cause)),
        }
    }

    /// The sweep in this folder; `None` if there is no sweep.json.
    pub fn find(path: &Path) -> Option<Self> {
        path.join(RESULTS).is_file().then(|| Self(path.to_owned()))
    }

    /// The path of the sweep.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The folder of a head's run, by the index of its settings among all combinations and by its seed.
    pub fn run_path(&self, config_index: usize, seed: u64) -> PathBuf {
        self.0.join(HeadName { config_index, seed }.to_string())
    }

    /// Writes sweep.json.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_results(&self, results: &SweepResults) -> Result<(), RunError> {
        let path = self.0.join(RESULTS);
        let json = serde_json::to_vec_pretty(results)
            .map_err(|error| RunError::Format { path: path.clone(), problem: error.to_string() })?;
        write_atomically(&path, Durability::Unsynced, |file| file.write_all(&json))
            .map_err(|cause| not_written(&path, cause))
    }

    /// Reads sweep.json.
    ///
    /// # Errors
    /// When it cannot be read, or is not as [`SweepFolder::write_results`] writes it.
    pub fn results(&self) -> Result<SweepResults, RunError> {
        read_json(&self.0.join(RESULTS))
    }

    /// The folder of a run with the settings of the highest mean validation accuracy, and the lowest seed that has a
    /// run: a head that diverged has none.
    ///
    /// # Errors
    /// When there is no such run, or a file is damaged.
    pub fn best_run(&self) -> Result<PathBuf, RunError> {
        let no_run = || RunError::NoBestRun(self.0.clone());
        // The best settings come first. If all their heads diverged, every head of the sweep diverged.
        let results = self.results()?;
        let best = results.configs.first().filter(|result| result.val_accuracy.is_some()).ok_or_else(no_run)?;
        // sweep.json does not have the index of the settings, so they are read from the first run of each index.
        let mut last_index = None;
        for head in self.heads()? {
            if last_index == Some(head.config_index) {
                continue;
            }
            last_index = Some(head.config_index);
            let path = self.run_path(head.config_index, head.seed);
            let config: RunConfig = read_json(&path.join(CONFIG))?;
            if config.trained().is_some_and(|from| from.config == best.config) {
                return Ok(path);
            }
        }
        Err(no_run())
    }

    /// The heads that have a run, by settings and seed.
    fn heads(&self) -> Result<Vec<HeadName>, RunError> {
        let not_read = |cause| RunError::Io { action: "read", path: self.0.clone(), cause };
        let mut heads = Vec::new();
        for entry in fs::read_dir(&self.0).map_err(not_read)? {
            let entry = entry.map_err(not_read)?;
            if let Some(head) = entry.file_name().to_str().and_then(HeadName::parse)
                && entry.path().join(CONFIG).is_file()
            {
                heads.push(head);
            }
        }
        heads.sort_unstable();
        Ok(heads)
    }
}

impl HeadName {
    /// `None` if the name is not that of a run in a sweep.
    fn parse(name: &str) -> Option<Self> {
        let (number, seed) = name.split_once("-seed-")?;
        let config_index = number.parse::<usize>().ok()?.checked_sub(1)?;
        let head = Self { config_index, seed: seed.parse().ok()? };
        // The parsed numbers could also come from a name like `+1-seed-01`.
        (head.to_string() == name).then_some(head)
    }
}

impl std::fmt::Display for HeadName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:03}-seed-{}", self.config_index + 1, self.seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweeps_folder_is_created_once() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("runs/sweep");
        assert_eq!(SweepFolder::create(&path).unwrap().path(), path);
        assert!(matches!(SweepFolder::create(&path), Err(RunError::Exists(_))));
        // A file in place of the folder above it does not make the sweep's own path taken.
        fs::write(parent.path().join("file"), "").unwrap();
        assert!(matches!(SweepFolder::create(&parent.path().join("file/sweep")), Err(RunError::Io { .. })));
        assert!(matches!(SweepFolder::create(&parent.path().join("file")), Err(RunError::Exists(_))));
    }
}
