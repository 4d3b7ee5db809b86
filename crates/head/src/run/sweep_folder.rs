//! A sweep on disk: a run for each head, and sweep.json with the results; and the run that a run or a sweep stands for.

use std::fs;
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

/// A run that was opened by its own path, or by that of a sweep.
#[derive(Debug)]
pub struct Chosen {
    /// The run's folder: the one that was asked for, or one in the sweep.
    pub path: PathBuf,
    /// The run.
    pub run: Run,
}

/// A run's place in a sweep, as the name of its folder has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct HeadName {
    /// The place of its setting among all, from 0 on.
    setting: usize,
    seed: u64,
}

impl Chosen {
    /// Loads a run or, of a sweep, the run of the setting with the highest mean validation accuracy, from the first seed whose
    /// head did not diverge.
    ///
    /// # Errors
    /// When there is neither, the sweep has no run of its best setting, or a file is damaged.
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
    /// The folder that a new sweep goes to.
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// The sweep in this folder, if there are the results of one.
    pub fn find(path: &Path) -> Option<Self> {
        path.join(RESULTS).is_file().then(|| Self::new(path))
    }

    /// Where the run of a head is: that of the setting at this place among all, from 0 on, from this seed.
    pub fn run_path(&self, setting: usize, seed: u64) -> PathBuf {
        self.0.join(HeadName { setting, seed }.to_string())
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

    /// The folder of the run of the setting with the highest mean validation accuracy, from the lowest seed that has one: a
    /// head that diverged has no run.
    ///
    /// # Errors
    /// When there is no such run, or a file is damaged.
    pub fn best_run(&self) -> Result<PathBuf, RunError> {
        let no_run = || RunError::NoBestRun(self.0.clone());
        // The best setting comes first; where every head of it diverged, every other head has diverged, too.
        let results = self.results()?;
        let best = results.settings.first().filter(|result| result.val_accuracy.is_some()).ok_or_else(no_run)?;
        // sweep.json does not have the settings' places: the first run of each tells its setting.
        let mut last = None;
        for head in self.heads()? {
            if last == Some(head.setting) {
                continue;
            }
            last = Some(head.setting);
            let path = self.run_path(head.setting, head.seed);
            let config: RunConfig = read_json(&path.join(CONFIG))?;
            if config.trained().is_some_and(|from| from.setting == best.setting) {
                return Ok(path);
            }
        }
        Err(no_run())
    }

    /// The heads that have a run, by setting and seed.
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
    /// None for any other name.
    fn parse(name: &str) -> Option<Self> {
        let (number, seed) = name.split_once("-seed-")?;
        let head = Self { setting: number.parse::<usize>().ok()?.checked_sub(1)?, seed: seed.parse().ok()? };
        // `+1-seed-01` would be the name of no run.
        (head.to_string() == name).then_some(head)
    }
}

impl std::fmt::Display for HeadName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:03}-seed-{}", self.setting + 1, self.seed)
    }
}
