//! `head inspect CACHE`: what `train_ds.class_indices` and `next(train_ds)` tell a Keras user.

use std::path::PathBuf;

use clap::Args;
use feature_cache::{CachedSplit, FeatureCache, Split};
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
    /// Print it as JSON
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
    let views = cache.views().filter(|_| split.is_learnt_from());
    let views =
        views.map_or_else(String::new, |views| format!(", views ({count}, {}, {columns}) float32", views.count));
    output!("\n{split}: features ({count}, {columns}) float32{views}, labels ({count},) int64")?;
    for (class, count) in cache.classes().iter().zip(counts(cache, rows)) {
        output!("  {count:>6}  {class}")?;
    }
    for (row, entry) in rows.index()?.iter().enumerate().take(SHOWN_ROWS) {
        let values = rows.row(row).unwrap_or_default().iter().take(SHOWN_VALUES);
        let values: Vec<String> = values.map(|value| format!("{value:.4}")).collect();
        output!("  row {row}: label {}, [{}, …]  {}", entry.label, values.join(", "), entry.path.display())?;
    }
    Ok(())
}

fn to_json(cache: &FeatureCache) -> serde_json::Value {
    let splits: serde_json::Map<String, serde_json::Value> = cache
        .splits()
        .map(|(split, rows)| {
            let counts: serde_json::Map<String, serde_json::Value> = cache
                .classes()
                .iter()
                .map(str::to_owned)
                .zip(counts(cache, rows).into_iter().map(Into::into))
                .collect();
            (split.to_string(), serde_json::json!({"rows": rows.rows(), "counts": counts}))
        })
        .collect();
    serde_json::json!({
        "class_indices": cache.classes(),
        "columns": cache.columns(),
        "digest": cache.digest(),
        "fingerprint": cache.fingerprint(),
        "splits": splits,
        "views": cache.views(),
    })
}

fn counts(cache: &FeatureCache, rows: &CachedSplit) -> Vec<usize> {
    let count = |class: i64| rows.labels().iter().filter(|&&label| label == class).count();
    (0..cache.classes().len() as i64).map(count).collect()
}
