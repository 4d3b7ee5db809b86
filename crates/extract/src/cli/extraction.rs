//! `extract DATASET --out CACHE`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use backbone::pixels::{Interpolation, Orientation};
use backbone::xception::{MAX_SIDE, MIN_SIDE};
use backbone::{BatchSize, EmbedSpec, Times};
use clap::Args;
use command_line::{LimitsArgs, ThreadsArg, WeightsArg, cancel_on_signals, choice, limits_hint};
use extract::extraction::{CRASHING, Extraction, OnError, Summary};
use feature_cache::Shard;
use stdio::{OutputError, invocation, note, output, shell_word};

use super::compute::ComputeArgs;
use super::count::count;
use super::dry_run;
use super::shard;
use super::views::ViewsArgs;

/// `extract DATASET --out CACHE`.
#[derive(Debug, Args)]
pub struct ExtractionArgs {
    /// Folder of photos, by class or by split and class
    #[arg(value_name = "DATASET", required = true)]
    dataset: Option<PathBuf>,
    /// Cache to write or bring up to date, outside the folders of photos
    #[arg(long, value_name = "CACHE", required_unless_present = "dry_run")]
    out: Option<PathBuf>,
    /// Extract only shard I of N, counted from 0, into CACHE/shards/I-of-N: several machines can extract one data set.
    /// auto: the number of this task in its Slurm job array or Kubernetes Indexed Job. Then: extract merge CACHE
    #[arg(long, value_name = "I/N", value_parser = shard::parse)]
    shard: Option<Shard>,
    #[command(flatten)]
    weights: WeightsArg,
    /// Side of the network's input in pixels, 71 or more
    #[arg(long, value_name = "PIXELS", default_value_t = 150, value_parser = clap::value_parser!(u32).range(i64::from(MIN_SIDE)..=i64::from(MAX_SIDE)))]
    size: u32,
    /// How photos are resized to it
    #[arg(long, default_value = "nearest", value_parser = choice(&Interpolation::ALL, Interpolation::name))]
    interpolation: Interpolation,
    /// Which way up photos are taken: as their pixels are stored, as in Keras, or turned upright by the EXIF
    /// orientation that phones write
    #[arg(long, default_value = "stored", value_parser = choice(&Orientation::ALL, Orientation::name))]
    orientation: Orientation,
    /// Photos per forward pass: auto (8 on the CPU, on a GPU the largest of 256, 128, 64, … that fits) or a number; on
    /// the CPU rows do not depend on it, on a GPU they differ by rounding
    #[arg(long, value_name = "PHOTOS", default_value = "auto")]
    batch_size: BatchSize,
    /// Scale JPEGs down to 1/2, 1/4 or 1/8 while decoding, if enough pixels are left: for photos of many megapixels,
    /// where decoding takes longer than the network; pixels and features then differ from Keras's
    #[arg(long)]
    fast_decode: bool,
    #[command(flatten)]
    views: ViewsArgs,
    #[command(flatten)]
    compute: ComputeArgs,
    #[command(flatten)]
    threads: ThreadsArg,
    /// What to do about photos that cannot be read: fail with the list of all, or skip and list them in skipped.csv
    #[arg(long, default_value = "fail", value_parser = choice(&OnError::ALL, OnError::name))]
    on_error: OnError,
    #[command(flatten)]
    limits: LimitsArgs,
    /// Read every photo again, also those whose size and modification time have not changed
    #[arg(long)]
    rehash: bool,
    /// Overwrite a cache with another fingerprint or other photos. If only the views differ, its rows are kept
    #[arg(long)]
    replace: bool,
    /// If another extract is writing the cache, wait for it
    #[arg(long)]
    wait: bool,
    /// Count the photos and estimate the time; write nothing
    #[arg(long)]
    dry_run: bool,
    /// Say at the end where the time went
    #[arg(long)]
    profile: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &ExtractionArgs) -> anyhow::Result<ExitCode> {
    let threads = args.threads.threads();
    rayon::ThreadPoolBuilder::new().num_threads(threads.get()).build_global().context("cannot start threads")?;
    let compute = args.compute.compute(args.batch_size, threads);
    let extraction = Extraction {
        // clap requires both, except --out with --dry-run, which writes nothing.
        dataset: args.dataset.clone().unwrap_or_default(),
        cache: args.out.clone().unwrap_or_default(),
        weights: args.weights.weights.clone(),
        spec: EmbedSpec {
            side: args.size,
            interpolation: args.interpolation,
            orientation: args.orientation,
            fast_decode: args.fast_decode,
            precision: compute.precision(args.compute.precision),
        },
        compute,
        limits: args.limits.limits(),
        shard: args.shard,
        views: args.views.views()?,
        on_error: args.on_error,
        rehash: args.rehash,
        replace: args.replace,
        wait: args.wait,
    };
    if args.dry_run {
        return dry_run::run(&extraction);
    }
    let cancel = cancel_on_signals()?;
    let summary = extraction.run(&cancel)?;
    warn(&summary);
    if args.json {
        output!("{}", to_json(&summary))?;
    } else {
        report(&summary)?;
    }
    if args.profile {
        profile(&summary);
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints warnings and notes to stderr.
fn warn(summary: &Summary) {
    const LISTED: usize = 5;
    if !summary.skipped.is_empty() {
        note!(
            "warning: {} skipped, listed in skipped.csv and tried again next time{}:",
            count(summary.skipped.len(), "photo"),
            limits_hint(&summary.exceeded)
        );
        for photo in summary.skipped.iter().take(LISTED) {
            note!("  {}: {}", photo.path.display(), photo.reason);
        }
        if summary.skipped.iter().any(|photo| photo.reason == CRASHING) {
            note!("note: a photo that {CRASHING} is tried again only with --rehash, or when it has changed");
        }
    }
    for ignored in summary.ignored.iter().take(LISTED) {
        note!("note: {} ignored: {}", ignored.path.display(), ignored.reason);
    }
    if summary.ignored.len() > LISTED {
        note!("note: {} more ignored; --dry-run lists all", summary.ignored.len() - LISTED);
    }
    if !summary.shared.is_empty() {
        note!(
            "warning: {} in more than one split, so accuracy there will be too high:",
            count(summary.shared.len(), "photo")
        );
        for photo in summary.shared.iter().take(LISTED) {
            let paths: Vec<String> = photo.paths.iter().map(|(_, path)| path.display().to_string()).collect();
            note!("  {}", paths.join(" = "));
        }
    }
}

/// Prints the result to stdout, and the next command.
fn report(summary: &Summary) -> Result<(), OutputError> {
    output!("photos   {}", summary.changes)?;
    output!("computed {} rows, {:.1} s", summary.computed, summary.elapsed.as_secs_f64())?;
    for (&split, rows) in &summary.rows {
        let folder = summary.cache.join(split.name());
        let views = summary.views;
        if views > 0 && split.is_training() {
            output!("{split:<8} {rows} rows, {views} views of each, in {}/{{features,views}}.npy", folder.display())?;
        } else {
            output!("{split:<8} {rows} rows in {}", folder.join("features.npy").display())?;
        }
    }
    match summary.shard {
        None => output!("\nnext: {} train {}", invocation("head"), shell_word(&summary.cache)),
        Some(shard) => {
            output!("\nnext, when all {} shards are done: {} merge CACHE", shard.count(), invocation("extract"))
        }
    }
}

fn to_json(summary: &Summary) -> serde_json::Value {
    let changes = summary.changes;
    serde_json::json!({
        // A path that is not UTF-8 would make `json!` panic.
        "cache": summary.cache.to_string_lossy(),
        "shard": summary.shard.map(|shard| shard.to_string()),
        "rows": summary.rows,
        "views": summary.views,
        "photos": {
            "unchanged": changes.unchanged,
            "added": changes.added,
            "changed": changes.changed,
            "renamed": changes.renamed,
            "moved": changes.moved,
            "removed": changes.removed,
        },
        "hashed": summary.hashed,
        "computed": summary.computed,
        "forward_passes": summary.batches,
        "kernels": summary.kernels,
        "skipped": summary.skipped.len(),
        "in_two_splits": summary.shared.len(),
        "workers": summary.workers,
        "times": {
            "decode": summary.times.decode.as_secs_f64(),
            "network": summary.times.network.as_secs_f64(),
            "waiting": summary.times.waiting.as_secs_f64(),
            "write": summary.times.write.as_secs_f64(),
        },
        "computing_seconds": summary.computing.as_secs_f64(),
        "seconds": summary.elapsed.as_secs_f64(),
    })
}

/// Prints the kernels and the time spent in each stage to stderr.
fn profile(summary: &Summary) {
    let Times { decode, network, waiting, write } = &summary.times;
    if let Some(kernels) = &summary.kernels {
        note!("profile: kernels: {kernels}");
    }
    let seconds = |time: &std::time::Duration| time.as_secs_f64();
    note!(
        "profile: network {:.2} s and waiting {:.2} s over all workers, decode {:.2} s, write {:.2} s",
        seconds(network),
        seconds(waiting),
        seconds(decode),
        seconds(write)
    );
}
