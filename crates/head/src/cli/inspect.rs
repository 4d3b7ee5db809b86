//! `head inspect CACHE`: what `train_ds.class_indices` and `next(train_ds)` are for in Keras.

use std::path::PathBuf;

use clap::Args;
use feature_cache::{CachedSplit, FeatureCache, Split};
use head::text::{shown, shown_path};
use serde_json::{Map, Value, json};
use stdio::output;

/// Rows that are shown of each split.
const SHOWN_ROWS: usize = 3;
/// Values that are shown of each row.
const SHOWN_VALUES: usize = 6;

/// `head inspect CACHE`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Cache that extract has made
    cache: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &InspectArgs) -> anyhow::Result<()> {
    let cache = FeatureCache::open(&args.cache)?;
    if args.json {
        output!("{}", to_json(&cache))?;
        return Ok(());
    }
    output!("class_indices: {}", serde_json::to_string(cache.classes())?)?;
    for (name, value) in cache.fingerprint().fields() {
        output!("{name}: {value}")?;
    }
    for (name, value) in cache.views().iter().flat_map(|views| views.fields()) {
        output!("{}{name}: {value}", if name == "views" { "" } else { "  " })?;
    }
    for (split, rows) in cache.splits() {
        print_split(&cache, split, rows)?;
    }
    Ok(())
}

fn print_split(cache: &FeatureCache, split: Split, rows: &CachedSplit) -> anyhow::Result<()> {
    let (count, columns) = (rows.rows(), cache.columns());
    let views = cache.views().filter(|_| split.is_training());
    let views =
        views.map_or_else(String::new, |views| format!(", views ({count}, {}, {columns}) float32", views.count));
    output!("\n{split}: features ({count}, {columns}) float32{views}, labels ({count},) int64")?;
    for (class, count) in cache.classes().iter().zip(counts(cache, rows)) {
        output!("  {count:>6}  {}", shown(class))?;
    }
    for (row, entry) in rows.index()?.iter().enumerate().take(SHOWN_ROWS) {
        let values = rows.row(row).expect("the index has a line for each row").iter().take(SHOWN_VALUES);
        let values: Vec<String> = values.map(|value| format!("{value:.4}")).collect();
        output!("  row {row}: label {}, [{}, …]  {}", entry.label, values.join(", "), shown_path(&entry.path))?;
    }
    Ok(())
}

fn to_json(cache: &FeatureCache) -> Value {
    let mut splits = Map::new();
    for (split, rows) in cache.splits() {
        let mut by_class = Map::new();
        for (class, count) in cache.classes().iter().zip(counts(cache, rows)) {
            by_class.insert(class.to_owned(), count.into());
        }
        splits.insert(split.to_string(), json!({"rows": rows.rows(), "counts": by_class}));
    }
    json!({
        "class_indices": cache.classes(),
        "columns": cache.columns(),
        "digest": cache.digest(),
        "fingerprint": cache.fingerprint(),
        "splits": splits,
        "views": cache.views(),
    })
}

/// Rows of each class.
fn counts(cache: &FeatureCache, rows: &CachedSplit) -> Vec<usize> {
    let mut counts = vec![0; cache.classes().len()];
    for &label in rows.labels() {
        counts[label as usize] += 1;
    }
    counts
}
