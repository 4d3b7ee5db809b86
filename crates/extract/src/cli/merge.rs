//! `extract merge CACHE`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use command_line::catch_file_size_signal;
use extract::merge::merge;
use stdio::{invocation, note, output, shell_word};

use super::count::count;

/// `extract merge CACHE`.
#[derive(Debug, Args)]
pub struct MergeArgs {
    /// Cache whose shards are all done; they are removed when the merged cache is in place
    cache: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &MergeArgs) -> anyhow::Result<ExitCode> {
    catch_file_size_signal()?;
    let merged = merge(&args.cache)?;
    if merged.skipped > 0 {
        note!("warning: {} skipped, listed in skipped.csv", count(merged.skipped, "photo"));
    }
    if merged.kernels.len() > 1 {
        note!("note: rows were computed by different kernels, so equal photos may have rows that differ by rounding:");
        for kernels in &merged.kernels {
            note!("  {kernels}");
        }
    }
    if args.json {
        output!(
            "{}",
            serde_json::json!({
                // A path that is not UTF-8 would make `json!` panic.
                "cache": args.cache.to_string_lossy(),
                "shards": merged.shards,
                "rows": merged.rows,
                "skipped": merged.skipped,
                "kernels": merged.kernels,
                "seconds": merged.elapsed.as_secs_f64(),
            })
        )?;
        return Ok(ExitCode::SUCCESS);
    }
    output!("merged   {}, {:.1} s", count(merged.shards, "shard"), merged.elapsed.as_secs_f64())?;
    for (split, rows) in &merged.rows {
        output!("{split:<8} {rows} rows in {}", args.cache.join(split.name()).join("features.npy").display())?;
    }
    output!("\nnext: {} train {}", invocation("head"), shell_word(&args.cache))?;
    Ok(ExitCode::SUCCESS)
}
