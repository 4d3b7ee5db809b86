//! Writes the initial weights and the row order of a run of `head train`, so that another program can train the same
//! head: `cargo run --release --package head --example start -- RUN START.npz`.
//!
//! START.npz holds, of each layer k from 0 on, `kernel_k` (inputs, outputs) and `bias_k` (outputs,), float32; `train`
//! (epochs, rows), the order in which each epoch takes the rows of the cache's `train` or `all` split; and `validation`
//! (rows,), row numbers of the cache's `validation` split or, if it has none, the held-out ones of `train` or `all`.
//! Row numbers are int64. A run on augmented views is an error, and so is a cache that has changed since the run.

use std::fs::File;
use std::path::PathBuf;

use feature_cache::FeatureCache;
use head::data::{TrainValSplit, WINDOW};
use head::layers::Classifier;
use head::run::Run;
use head::sampler::{EpochOrder, RowSampler};
use ndarray::{Array1, Array2, ArrayView1, ArrayView2};
use ndarray_npy::NpzWriter;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [run, out] = &arguments[..] else { return Err("usage: start RUN START.npz".into()) };
    let config = Run::load(run)?.config;
    let Some(from) = config.trained() else { return Err("the run has an imported head".into()) };
    if from.config.view_count > 0 {
        return Err("the run was trained on augmented views".into());
    }

    // The rows that `head train` used. A held-out part is drawn by the run's seed.
    let cache = FeatureCache::open(&from.cache)?;
    if cache.digest() != from.cache_digest {
        return Err("the cache has changed since the run was trained".into());
    }
    let data = TrainValSplit::from_cache(&cache, from.validation_split.unwrap_or_default(), from.seed)?;
    let validation = &data.validation_origin.row_numbers;
    let train = if data.held_out.is_some() {
        all_but(validation, data.train.len() + validation.len())
    } else {
        (0..data.train.len()).collect()
    };

    // The sampler's row numbers are translated to the cache's.
    let mut sampler = RowSampler::new(EpochOrder::Shuffled { seed: from.seed }, data.train.len(), WINDOW);
    let mut order = Vec::new();
    for _ in 0..from.config.fit.epochs.get() {
        order.extend(sampler.next_epoch().iter().map(|&row| train[row] as i64));
    }
    let order = Array2::from_shape_vec((from.config.fit.epochs.get(), data.train.len()), order)?;
    let validation: Array1<i64> = validation.iter().map(|&row| row as i64).collect();

    let mut file = NpzWriter::new(File::create(out)?);
    let classifier = Classifier::new(cache.columns(), &from.config.hidden, data.classes, from.seed);
    for (k, layer) in classifier.layers().iter().enumerate() {
        let kernel = layer.kernel();
        let kernel = ArrayView2::from_shape((layer.inputs(), layer.outputs()), &kernel)?;
        file.add_array(format!("kernel_{k}"), &kernel)?;
        file.add_array(format!("bias_{k}"), &ArrayView1::from(layer.bias()))?;
    }
    file.add_array("train", &order)?;
    file.add_array("validation", &validation)?;
    file.finish()?;
    Ok(())
}

/// The numbers below `count` that are not among `rows`, ascending.
fn all_but(rows: &[usize], count: usize) -> Vec<usize> {
    let mut is_included = vec![true; count];
    for &row in rows {
        is_included[row] = false;
    }
    (0..count).filter(|&row| is_included[row]).collect()
}
