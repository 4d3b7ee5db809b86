//! `head compare RUN…` and `head runs DIR`.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::Args;
use head::run::{Run, RunConfig, RunError, RunMetrics};
use head::summary::{differing, plain, verdict};
use head::text::table;
use serde_json::{Map, Value, json};
use stdio::output;

use super::places::RUNS;

/// `head compare RUN…`.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Runs that head train or head sweep has made
    #[arg(required = true)]
    runs: Vec<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// `head runs DIR`.
#[derive(Debug, Args)]
pub struct RunsArgs {
    /// Folder with runs in it, at any depth
    #[arg(default_value = RUNS)]
    folder: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Sweeps have their runs one level down; nothing that this program writes is deeper.
const MAX_DEPTH: usize = 4;

/// What is shown of a run: the weights are let go.
struct Shown {
    path: PathBuf,
    config: RunConfig,
    metrics: RunMetrics,
}

impl Shown {
    fn load(path: &Path) -> Result<Self, RunError> {
        let Run { config, metrics, .. } = Run::load(path)?;
        Ok(Self { path: path.to_owned(), config, metrics })
    }

    /// On the validation rows; none of an imported head.
    fn accuracy(&self) -> Option<f64> {
        self.metrics.validation().map(|validation| validation.accuracy)
    }
}

pub fn compare(args: &CompareArgs) -> anyhow::Result<()> {
    let runs = args.runs.iter().map(|path| Shown::load(path)).collect::<Result<_, _>>()?;
    show(runs, args.json)
}

pub fn runs(args: &RunsArgs) -> anyhow::Result<()> {
    let mut found = Vec::new();
    find(&args.folder, MAX_DEPTH, &mut found)?;
    ensure!(!found.is_empty(), "{}: no runs here; make one with: head train CACHE", args.folder.display());
    show(found, args.json)
}

/// The runs below a folder; those whose name starts with a dot are not complete.
fn find(folder: &Path, depth: usize, found: &mut Vec<Shown>) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("{}: cannot be read", folder.display()))?;
    let mut folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    folders.retain(|path| path.file_name().is_some_and(|name| !name.as_encoded_bytes().starts_with(b".")));
    folders.sort();
    for path in folders {
        match Shown::load(&path) {
            Ok(run) => found.push(run),
            Err(RunError::NotARun(_)) if depth > 0 => find(&path, depth - 1, found)?,
            Err(RunError::NotARun(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn show(mut runs: Vec<Shown>, json: bool) -> anyhow::Result<()> {
    let score = |run: &Shown| run.accuracy().unwrap_or(-1.0);
    runs.sort_by(|a, b| score(b).total_cmp(&score(a)));
    let configs: Vec<Map<String, Value>> =
        runs.iter().filter_map(|run| serde_json::to_value(&run.config).ok()?.as_object().cloned()).collect();
    let columns = differing(&configs);
    if json {
        let mut shown = Vec::new();
        for (k, run) in runs.iter().enumerate() {
            let settings: Map<String, Value> =
                columns.iter().map(|(name, values)| (name.clone(), values[k].clone())).collect();
            shown.push(json!({"run": run.path, "val_accuracy": run.accuracy(), "differs": settings}));
        }
        output!("{}", Value::from(shown))?;
        return Ok(());
    }
    // Digests and fingerprints are long; that they differ is what counts, and the cache's name tells.
    let columns: Vec<_> = columns.into_iter().filter(|(name, _)| name != "cache_digest").collect();
    let header: Vec<&str> = ["run", "val_accuracy", "95 %", "val_loss", "epoch"]
        .into_iter()
        .chain(columns.iter().map(|(name, _)| name.as_str()))
        .collect();
    let mut rows = Vec::new();
    for (k, run) in runs.iter().enumerate() {
        let mut row = vec![run.path.display().to_string()];
        match run.metrics.validation() {
            Some(validation) => row.extend([
                format!("{:.4}", validation.accuracy),
                format!("{:.3} to {:.3}", validation.accuracy_interval.low, validation.accuracy_interval.high),
                format!("{:.4}", validation.loss),
            ]),
            None => row.extend(vec!["-".to_owned(); 3]),
        }
        row.push(run.metrics.kept_epoch.map_or_else(|| "-".to_owned(), |epoch| epoch.to_string()));
        row.extend(columns.iter().map(|(_, values)| plain(&values[k])));
        rows.push(row);
    }
    output!("{}", table(&header, rows))?;
    let photos = runs.iter().filter_map(|run| Some(run.metrics.validation()?.rows)).min().unwrap_or(0);
    let accuracies: Vec<f64> = runs.iter().filter_map(Shown::accuracy).collect();
    if let Some(verdict) = verdict(&accuracies, photos) {
        output!("\n{verdict}")?;
    }
    if runs.iter().any(|run| run.config.trained().is_none()) {
        output!("\nof imported heads no accuracy is known; evaluate them: head evaluate RUN --cache CACHE")?;
    }
    Ok(())
}
