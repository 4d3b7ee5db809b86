//! Many heads at once: every combination of settings, each with several seeds.
//!
//! Heads with the same seed, batch size and number of views train on the same batches, so they train together: each
//! batch is read from memory once for the group. Each core trains one group at a time. Groups and cores do not change a
//! head: it is bit for bit the one that `fit` gives.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;

use crate::data::TrainValSplit;
use crate::fit::{FitData, FitError, HeadSpec, Trained, fit_together};
use crate::layers::Classifier;
use crate::sampler::{EpochOrder, ViewSampler};
use crate::settings::{FitConfig, Fraction, HeadConfig, Positive, SharedFitConfig};

/// Heads that train together: enough to share a batch, few enough to keep all cores busy until the end.
const HEADS_PER_GROUP: usize = 2;

/// The values to combine.
#[derive(Debug, Clone)]
pub struct Grid {
    /// Adam's learning rates.
    pub learning_rates: Vec<Positive>,
    /// Hidden layers: for each shape the widths in order, empty for a linear head.
    pub hidden: Vec<Vec<usize>>,
    /// Dropout rates.
    pub dropout: Vec<Fraction>,
    /// Weight decays.
    pub weight_decay: Vec<Option<Positive>>,
    /// Amounts of label smoothing.
    pub label_smoothing: Vec<Fraction>,
    /// Batch sizes.
    pub batch_sizes: Vec<NonZeroUsize>,
    /// All other settings.
    pub shared: SharedFitConfig,
}

impl Grid {
    /// The number of combinations, each also with each of `view_counts` numbers of views; `usize::MAX` if there are
    /// more.
    pub fn combinations(&self, view_counts: usize) -> usize {
        let counts = [
            self.hidden.len(),
            self.batch_sizes.len(),
            self.dropout.len(),
            self.weight_decay.len(),
            self.label_smoothing.len(),
            self.learning_rates.len(),
        ];
        counts.into_iter().fold(view_counts, usize::saturating_mul)
    }

    /// Every combination, also with each of these numbers of views. The learning rate changes fastest.
    pub fn configs(&self, view_counts: &[usize]) -> Vec<HeadConfig> {
        let mut configs = Vec::new();
        for hidden in &self.hidden {
            for &batch_size in &self.batch_sizes {
                for &view_count in view_counts {
                    for &dropout in &self.dropout {
                        for &weight_decay in &self.weight_decay {
                            for &label_smoothing in &self.label_smoothing {
                                for &learning_rate in &self.learning_rates {
                                    let shared = self.shared.fit_config(learning_rate);
                                    let fit = FitConfig { dropout, weight_decay, label_smoothing, ..shared };
                                    configs.push(HeadConfig { hidden: hidden.clone(), batch_size, view_count, fit });
                                }
                            }
                        }
                    }
                }
            }
        }
        configs
    }
}

/// A head of the sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeadId {
    /// Index of its settings in `configs`.
    pub config_index: usize,
    /// Index of its seed in `seeds`.
    pub seed_index: usize,
}

/// A seed, and the rows that heads with this seed train on.
#[derive(Debug, Clone)]
pub struct SeedData<'a> {
    /// The seed.
    pub seed: u64,
    /// Training and validation rows. A held-out part is drawn by the seed.
    pub data: &'a TrainValSplit<'a>,
}

/// Trains a head for each of the `configs` with each of the `seeds`, on all threads of the rayon pool. Calls `finished`
/// for each head, on the thread that trained it, and returns its results in the order of the heads. When `stop` is set,
/// groups that have begun are finished and no others begin.
pub fn sweep<T: Send>(
    configs: &[HeadConfig],
    seeds: &[SeedData<'_>],
    stop: &AtomicBool,
    finished: impl Fn(HeadId, Result<Trained, FitError>) -> T + Sync,
) -> Vec<(HeadId, T)> {
    let mut results: Vec<(HeadId, T)> = groups(configs, seeds.len())
        .into_par_iter()
        .filter(|_| !stop.load(Ordering::Relaxed))
        .flat_map_iter(|group| train_group(&group, configs, &seeds[group[0].seed_index], &finished))
        .collect();
    results.sort_by_key(|(id, _)| *id);
    results
}

/// Trains the heads of a group together.
fn train_group<T>(
    group: &[HeadId],
    configs: &[HeadConfig],
    SeedData { seed, data }: &SeedData<'_>,
    finished: &impl Fn(HeadId, Result<Trained, FitError>) -> T,
) -> Vec<(HeadId, T)> {
    let mut heads = Vec::with_capacity(group.len());
    for id in group {
        let HeadConfig { hidden, fit, .. } = &configs[id.config_index];
        let classifier = Classifier::new(data.train.columns(), hidden, data.classes, *seed);
        heads.push(HeadSpec { classifier, config: *fit, seed: *seed });
    }
    // The heads of a group have the same batch size and number of views.
    let HeadConfig { batch_size, view_count, .. } = configs[group[0].config_index];
    let fit_data = FitData {
        train: &data.train,
        validation: &data.validation,
        order: EpochOrder::Shuffled { seed: *seed },
        view_sampler: ViewSampler::new(view_count, *seed),
        batch_size,
    };

    let mut results = Vec::with_capacity(group.len());
    for (&id, trained) in group.iter().zip(fit_together(heads, fit_data)) {
        results.push((id, finished(id, trained)));
    }
    results
}

/// The heads in groups that train together: up to [`HEADS_PER_GROUP`] with the same seed, batch size and number of
/// views.
fn groups(configs: &[HeadConfig], seed_count: usize) -> Vec<Vec<HeadId>> {
    let mut same_batches: BTreeMap<(NonZeroUsize, usize), Vec<usize>> = BTreeMap::new();
    for (config_index, config) in configs.iter().enumerate() {
        same_batches.entry((config.batch_size, config.view_count)).or_default().push(config_index);
    }
    let mut groups = Vec::new();
    for seed_index in 0..seed_count {
        for config_indices in same_batches.values() {
            for group in config_indices.chunks(HEADS_PER_GROUP) {
                groups.push(group.iter().map(|&config_index| HeadId { config_index, seed_index }).collect());
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use feature_cache::Split;

    use super::*;
    use crate::data::{RowOrigin, Rows};
    use crate::fit::fit;
    use crate::schedule::Schedule;
    use crate::settings::{ClassWeights, KeepWeights};

    fn number(n: usize) -> NonZeroUsize {
        NonZeroUsize::new(n).unwrap()
    }

    fn grid() -> Grid {
        let positive = |value| Positive::new("number", value).unwrap();
        Grid {
            learning_rates: [0.001, 0.01, 0.1].map(positive).to_vec(),
            hidden: vec![vec![], vec![4]],
            dropout: [0.0, 0.5].map(|rate| Fraction::new("dropout", rate).unwrap()).to_vec(),
            weight_decay: vec![None, Some(positive(0.1))],
            label_smoothing: vec![Fraction::default()],
            batch_sizes: vec![number(8), number(5)],
            shared: SharedFitConfig {
                schedule: Schedule::Constant,
                epochs: number(3),
                class_weights: ClassWeights::None,
                clip_norm: None,
                keep: KeepWeights::Last,
            },
        }
    }

    #[test]
    fn every_head_equals_one_trained_alone() {
        let values: Vec<[f32; 3]> = (0..60).map(|k| [(k % 7) as f32, (k % 5) as f32, (k % 3) as f32]).collect();
        let features = values.iter().map(|row| &row[..]).collect();
        let views: Vec<[f32; 6]> = values.iter().map(|[a, b, c]| [*a, *b, *c + 1.0, *a + 1.0, *b, *c]).collect();
        let mut rows = Rows::new(features, (0..60).map(|k| k % 3).collect());
        rows.views = views.iter().map(|views| &views[..]).collect();
        let validation_origin = RowOrigin { split: Split::Validation, row_numbers: Vec::new() };
        let (train, validation) = (rows.clone(), rows.clone());
        let data = TrainValSplit { train, validation, validation_origin, held_out: None, classes: 3 };
        let seeds = [7, 8].map(|seed| SeedData { seed, data: &data });
        let configs = grid().configs(&[0, 2]);
        assert_eq!(configs.len(), 96);
        assert_eq!(grid().combinations(2), 96);
        let heads = sweep(&configs, &seeds, &AtomicBool::new(false), |_, trained| trained);
        assert_eq!(heads.len(), 192);
        for (id, trained) in heads {
            let HeadConfig { hidden, batch_size, view_count, fit: config } = &configs[id.config_index];
            let seed = seeds[id.seed_index].seed;
            let classifier = Classifier::new(3, hidden, 3, seed);
            let data = FitData {
                train: &rows,
                validation: &rows,
                order: EpochOrder::Shuffled { seed },
                view_sampler: ViewSampler::new(*view_count, seed),
                batch_size: *batch_size,
            };
            assert_eq!(trained, fit(HeadSpec { classifier, config: *config, seed }, data, |_| {}), "{id:?}");
        }
    }

    #[test]
    fn a_stopped_sweep_trains_no_head() {
        let validation_origin = RowOrigin { split: Split::Validation, row_numbers: Vec::new() };
        let (train, validation) = (Rows::default(), Rows::default());
        let data = TrainValSplit { train, validation, validation_origin, held_out: None, classes: 2 };
        let seeds = [SeedData { seed: 1, data: &data }];
        let heads = sweep(&grid().configs(&[0]), &seeds, &AtomicBool::new(true), |_, trained| trained);
        assert!(heads.is_empty());
    }
}
