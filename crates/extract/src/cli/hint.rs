//! Hints for errors: the libraries state what happened, the command line adds which option helps.

use anyhow::{Error, anyhow};
use backbone::{ComputeError, EmbedderError, Precision};
use command_line::{compute_hint, embedder_hint, limits_hint};
use extract::error::ExtractError;
use extract::merge::MergeError;
use extract::verify::VerifyError;
use feature_cache::{CacheError, Difference};
use stdio::{invocation, shell_word};

/// Adds a hint to the error, if there is one.
pub fn with_hint(error: Error) -> Error {
    match hint(&error) {
        Some(hint) => anyhow!("{error:#}{hint}"),
        None => error,
    }
}

/// The hint, with the separator that goes between it and the error.
fn hint(error: &Error) -> Option<String> {
    if let Some(error) = error.downcast_ref::<ExtractError>() {
        return extraction_hint(error);
    }
    if let Some(error) = error.downcast_ref::<VerifyError>() {
        return verify_hint(error);
    }
    if let Some(error) = error.downcast_ref::<MergeError>() {
        return merge_hint(error);
    }
    if let Some(error) = error.downcast_ref::<EmbedderError>() {
        return embedder_hint(error);
    }
    if let Some(error) = error.downcast_ref::<ComputeError>() {
        return Some(compute_hint(error));
    }
    error.downcast_ref::<CacheError>().and_then(cache_hint)
}

fn extraction_hint(error: &ExtractError) -> Option<String> {
    match error {
        ExtractError::CacheInDataset { .. } => {
            Some("; choose an --out outside of it, and move the cache there if there is one".to_owned())
        }
        ExtractError::Cache(error) => cache_hint(error),
        ExtractError::Compute(error) => Some(compute_hint(error)),
        ExtractError::Embedder(error) => embedder_hint(error),
        ExtractError::NotFinite { weights, precision: Precision::F16, .. } => {
            Some(format!(": they overflow f16, or {} is broken; use --precision f32", weights.display()))
        }
        ExtractError::NotFinite { weights, .. } => Some(format!(
            ": the weights or the network are broken; run: {} doctor --weights {}",
            invocation("extract"),
            shell_word(weights)
        )),
        ExtractError::Broken { exceeded, .. } => {
            Some(format!("\nfix or remove them, or skip them with --on-error skip{}", limits_hint(exceeded)))
        }
        ExtractError::OtherPhotos { .. } => Some("; choose another --out, or overwrite it with --replace".to_owned()),
        ExtractError::Cancelled { .. } => Some("; run the same command again to continue".to_owned()),
        _ => None,
    }
}

fn verify_hint(error: &VerifyError) -> Option<String> {
    match error {
        // Of the fingerprint's fields only the weights can differ: the others are the cache's own.
        VerifyError::Cache(CacheError::OtherFingerprint { .. }) => {
            Some("\nname the weights that its rows were computed with by --weights, or omit --sample".to_owned())
        }
        VerifyError::Cache(error) => cache_hint(error),
        VerifyError::UnsupportedFingerprint { .. } | VerifyError::UnknownViews(_) => Some("; omit --sample".to_owned()),
        VerifyError::CannotCompute { .. } => Some("; omit --sample, or check them where they were computed".to_owned()),
        _ => None,
    }
}

fn merge_hint(error: &MergeError) -> Option<String> {
    let hint = match error {
        MergeError::Cache(CacheError::Locked { .. }) => "; merge again when that process is done",
        // The caches that a merge reads are shards.
        MergeError::Cache(CacheError::NotACache(_)) => "; extract it with --shard I/N",
        MergeError::Cache(CacheError::Damaged { .. } | CacheError::Version { .. }) => {
            "; extract this shard again with --shard I/N --replace"
        }
        MergeError::Cache(error) => return cache_hint(error),
        MergeError::NoShards(path) => {
            let (extract, cache) = (invocation("extract"), shell_word(path));
            return Some(format!("; make them with: {extract} DATASET --out {cache} --shard I/N"));
        }
        MergeError::Incomplete { .. } | MergeError::NoRecord { .. } => "\nextract them with --shard I/N",
        MergeError::SeveralCounts { .. } => "; remove those that are not wanted",
        MergeError::OtherDataSet { .. } | MergeError::OtherClasses { .. } => {
            "\nextract all shards again, which computes only what is new"
        }
        MergeError::WrongShard { .. } => "; remove it, and extract it with --shard I/N",
        MergeError::OtherFingerprint { differences, .. } if are_kinds_of_bf16(differences) => {
            "\nextract one of them again with --replace and the other --kernels"
        }
        MergeError::OtherFingerprint { .. } | MergeError::OtherViews { .. } => {
            "\nextract one of them again with --replace"
        }
        MergeError::ClassWithoutPhotos { .. } => return None,
    };
    Some(hint.to_owned())
}

fn cache_hint(error: &CacheError) -> Option<String> {
    let hint = match error {
        CacheError::NotACache(path) => {
            return Some(format!("; make one with: {} DATASET --out {}", invocation("extract"), shell_word(path)));
        }
        CacheError::Version { .. } => "; extract again into another --out, or with --replace",
        CacheError::Damaged { .. } => "; extract again with --replace to rebuild the cache",
        CacheError::OtherFingerprint { differences, .. } if are_kinds_of_bf16(differences) => {
            "\nomit --kernels to go on with the cache's, choose another --out, or overwrite it with --replace"
        }
        CacheError::OtherFingerprint { .. } => "\nkeep it and choose another --out, or overwrite it with --replace",
        CacheError::OtherViews { .. } => {
            let head = invocation("head");
            return Some(format!(
                "\nto train on fewer of them: {head} train --views N; to drop them and keep the rows: --replace"
            ));
        }
        CacheError::Locked { .. } => "; wait for it with --wait",
        CacheError::WaitCancelled(_) => "; run the same command again",
        CacheError::Unmerged(path) => {
            return Some(format!(
                "; merge them: {} merge {}; or remove the folder of shards",
                invocation("extract"),
                shell_word(path)
            ));
        }
        CacheError::OtherShards { .. } => "; merge those that are there, or remove their folder",
        CacheError::NoName(_) => "; choose another --out",
        CacheError::DanglingLink { .. } => "; create that folder, remove the link, or choose another --out",
        CacheError::Foreign(_) => "; move it away, or choose another --out",
        CacheError::ReplacedTooOften { .. } => "; run the command again when it is no longer being written",
        _ => return None,
    };
    Some(hint.to_owned())
}

/// Whether fingerprints differ only in whose kernels computed bf16.
fn are_kinds_of_bf16(differences: &[Difference]) -> bool {
    let kind = |precision: &str| precision.parse().ok().and_then(Precision::other_bf16);
    matches!(differences, [one] if one.field == "precision" && kind(&one.this).is_some() && kind(&one.other).is_some())
}
