//! `head compare RUN…` and `head runs DIR`.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::Args;
use head::run::{Run, RunConfig, RunError, RunMetrics};
use head::summary::{DifferingField, differing_fields, json_fields, significance_sentence, value_text};
use head::text::table;
use serde_json::{Map, Value, json};
use stdio::{invocation, note, output};

use super::default_paths::RUNS;

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

/// How deep `runs` searches. Runs of a sweep are one level below the other runs.
const MAX_DEPTH: usize = 4;
/// Fields of config.json that are too long for the table; with --json they are listed.
const NOT_IN_TABLE: [&str; 2] = ["fingerprint", "class_indices"];
/// The table shows this many characters of a cache's digest.
const DIGEST_CHARACTERS: usize = 8;

/// A run in the list, without its weights.
struct ListedRun {
    path: PathBuf,
    config: RunConfig,
    metrics: RunMetrics,
}

impl ListedRun {
    fn load(path: &Path) -> Result<Self, RunError> {
        let Run { config, metrics, .. } = Run::load(path)?;
        Ok(Self { path: path.to_owned(), config, metrics })
    }

    /// Validation accuracy; `None` for an imported head.
    fn accuracy(&self) -> Option<f64> {
        self.metrics.validation().map(|validation| validation.accuracy)
    }
}

/// Runs `head compare`.
pub fn compare(args: &CompareArgs) -> anyhow::Result<()> {
    let runs = args.runs.iter().map(|path| ListedRun::load(path)).collect::<Result<_, _>>()?;
    print_runs(runs, args.json)
}

/// Runs `head runs`.
pub fn runs(args: &RunsArgs) -> anyhow::Result<()> {
    let mut found = Vec::new();
    find_runs(&args.folder, MAX_DEPTH, &mut found)?;
    let folder = args.folder.display();
    ensure!(!found.is_empty(), "{folder}: no runs here; make one with: {} train CACHE", invocation("head"));
    print_runs(found, args.json)
}

/// Adds the runs below a folder to `found`; `depth` is the number of levels to search below its subfolders. Folders
/// whose name starts with a dot are skipped, since they are not complete.
fn find_runs(folder: &Path, depth: usize, found: &mut Vec<ListedRun>) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("{}: cannot be read", folder.display()))?;
    let mut folders = Vec::new();
    for entry in entries {
        folders.push(entry.with_context(|| format!("{}: cannot be read", folder.display()))?.path());
    }
    folders.retain(|path| path.is_dir());
    folders.retain(|path| path.file_name().is_some_and(|name| !name.as_encoded_bytes().starts_with(b".")));
    folders.sort();
    for path in folders {
        match ListedRun::load(&path) {
            Ok(run) => found.push(run),
            Err(RunError::NotARun(_)) if depth > 0 => find_runs(&path, depth - 1, found)?,
            Err(RunError::NotARun(_)) => {}
            // Another program's config.json, or a damaged run.
            Err(error) => note!("warning: {error}; not listed"),
        }
    }
    Ok(())
}

/// Prints the runs by descending validation accuracy, with the fields in which they differ; imported runs come last.
fn print_runs(mut runs: Vec<ListedRun>, json: bool) -> anyhow::Result<()> {
    let score = |run: &ListedRun| run.accuracy().unwrap_or(-1.0);
    runs.sort_by(|a, b| score(b).total_cmp(&score(a)));
    let configs: Vec<Map<String, Value>> = runs.iter().map(|run| json_fields(&run.config)).collect();
    let mut fields = differing_fields(&configs);
    if json {
        let mut list = Vec::new();
        for (k, run) in runs.iter().enumerate() {
            let mut differs = Map::new();
            for DifferingField { name, values } in &fields {
                differs.insert(name.clone(), values[k].clone());
            }
            list.push(json!({"run": run.path.to_string_lossy(), "val_accuracy": run.accuracy(), "differs": differs}));
        }
        output!("{}", Value::from(list))?;
        return Ok(());
    }
    fields.retain(|field| !NOT_IN_TABLE.contains(&field.name.as_str()));
    let mut header = vec!["run", "val_accuracy", "95 %", "val_loss", "epoch"];
    header.extend(fields.iter().map(|field| field.name.as_str()));
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
        for field in &fields {
            let mut text = value_text(&field.values[k]);
            if field.name == "cache_digest" {
                text = text.chars().take(DIGEST_CHARACTERS).collect();
            }
            row.push(text);
        }
        rows.push(row);
    }
    output!("{}", table(&header, rows))?;
    let photos = runs.iter().filter_map(|run| Some(run.metrics.validation()?.rows)).min().unwrap_or(0);
    let accuracies: Vec<f64> = runs.iter().filter_map(ListedRun::accuracy).collect();
    if let Some(sentence) = significance_sentence(&accuracies, photos) {
        output!("\n{sentence}")?;
    }
    if runs.iter().any(|run| run.config.trained().is_none()) {
        output!(
            "\nimported heads have no accuracy yet; evaluate them: {} evaluate RUN --cache CACHE",
            invocation("head")
        )?;
    }
    Ok(())
}
