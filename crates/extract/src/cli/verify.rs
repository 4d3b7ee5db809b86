//! `extract verify CACHE`.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use command_line::{KernelsArg, LimitsArgs, WeightsArg, limits_hint};
use extract::verify::{self as check, Discrepancy};
use feature_cache::{CacheContents, Damage, FeatureCache, photos_in_two_splits, verify};
use stdio::output;

use super::count::count;

/// `extract verify CACHE`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Cache to check
    cache: PathBuf,
    /// Also hash the cache's photos in this data set and compare them with the index; photos that are new there are not
    /// looked for
    #[arg(long, value_name = "DATASET")]
    against: Option<PathBuf>,
    /// Also recompute N rows spread over the cache, with one view of each, and compare (needs --against)
    #[arg(long, value_name = "N", requires = "against")]
    sample: Option<NonZeroUsize>,
    #[command(flatten)]
    kernels: KernelsArg,
    #[command(flatten)]
    weights: WeightsArg,
    #[command(flatten)]
    limits: LimitsArgs,
}

pub fn run(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let findings = verify(&args.cache)?;
    for finding in &findings {
        output!("{}: {}", finding.file.display(), finding.damage)?;
    }
    if !findings.is_empty() {
        // --replace refuses a folder with files that are not the cache's.
        let unexpected = findings.iter().filter(|finding| matches!(finding.damage, Damage::Unexpected)).count();
        let advice = if unexpected == findings.len() {
            "move these files away"
        } else if unexpected > 0 {
            "move the files away that are not in the manifest, and extract again with --replace to rebuild the cache"
        } else {
            "extract again with --replace to rebuild the cache"
        };
        output!("{} found; {advice}", count(findings.len(), "problem"))?;
        return Ok(ExitCode::FAILURE);
    }
    let cache = FeatureCache::open(&args.cache)?;
    let contents = CacheContents::from_cache(&cache)?;
    for photo in photos_in_two_splits(contents.photos()) {
        let paths: Vec<String> = photo.paths.iter().map(|(_, path)| path.display().to_string()).collect();
        output!("in more than one split: {}", paths.join(" = "))?;
    }
    if let Some(dataset) = &args.against
        && !matches_data_set(args, &cache, &contents, dataset)?
    {
        return Ok(ExitCode::FAILURE);
    }
    let rows: usize = cache.splits().map(|(_, split)| split.rows()).sum();
    let views =
        cache.views().map_or_else(String::new, |views| format!(", {} views of each training photo", views.count));
    output!("{}: {rows} rows{views}, all files intact", args.cache.display())?;
    Ok(ExitCode::SUCCESS)
}

/// Compares the cache with the data set's photos, and a sample of its rows with the network's if that is asked for.
/// Prints what differs; returns whether nothing does.
fn matches_data_set(
    args: &VerifyArgs,
    cache: &FeatureCache,
    contents: &CacheContents,
    dataset: &Path,
) -> anyhow::Result<bool> {
    let mut wrong_photos = HashSet::new();
    for wrong in check::compare_photos(contents, dataset) {
        // Printed before any row is computed: if `compare_rows` fails, these lines would be lost.
        output!("{wrong}")?;
        wrong_photos.insert(wrong.path().to_owned());
    }
    let Some(rows) = args.sample else { return Ok(wrong_photos.is_empty()) };
    let mut same = wrong_photos.is_empty();
    let (weights, kernels, limits) = (&args.weights.weights, args.kernels.kernels, args.limits.limits());
    for wrong in check::compare_rows(cache, dataset, weights, kernels, limits, rows.get())? {
        if !wrong_photos.contains(wrong.path()) {
            output!("{wrong}{}", hint(&wrong))?;
            same = false;
        }
    }
    Ok(same)
}

/// How to raise the limit that a photo exceeds; empty if it exceeds none.
fn hint(wrong: &Discrepancy) -> String {
    match wrong {
        Discrepancy::Unreadable { reason, .. } => limits_hint(&reason.limit().into_iter().collect()),
        Discrepancy::Changed(_) | Discrepancy::Row { .. } => String::new(),
    }
}
