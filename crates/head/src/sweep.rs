//! Many heads at once: every combination of settings, each from several seeds.
//!
//! Heads with the same seed, batch size and views take the same rows in the same order, so they are trained together: a
//! batch is fetched once for all of them. The groups are spread over the cores. A head depends on neither: it is the one
//! that training it alone gives.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;

use crate::data::TrainingData;
use crate::fit::{FitError, HeadSpec, TrainData, Trained, fit_together};
use crate::layers::Classifier;
use crate::sampler::{EpochOrder, ViewSampler};
use crate::settings::{FitConfig, Fraction, Positive, Setting};

/// Heads that are trained together: enough to share a batch, few enough to keep all cores busy to the end.
const HEADS_PER_GROUP: usize = 2;

/// The values to combine.
#[derive(Debug, Clone)]
pub struct Grid {
    /// Adam's.
    pub learning_rates: Vec<Positive>,
    /// Widths of hidden layers, a list for each kind of head.
    pub hidden: Vec<Vec<usize>>,
    /// Rates of dropout.
    pub dropout: Vec<Fraction>,
    /// Weight decays.
    pub weight_decay: Vec<Option<Positive>>,
    /// Amounts of label smoothing.
    pub label_smoothing: Vec<Fraction>,
    /// Batch sizes.
    pub batch_sizes: Vec<NonZeroUsize>,
    /// Numbers of views to train on.
    pub views: Vec<usize>,
    /// What all have in common.
    pub common: FitConfig,
}

impl Grid {
    /// Every combination; the learning rate changes fastest.
    pub fn settings(&self) -> Vec<Setting> {
        let mut settings = Vec::new();
        for hidden in &self.hidden {
            for &batch_size in &self.batch_sizes {
                for &views in &self.views {
                    for &dropout in &self.dropout {
                        for &weight_decay in &self.weight_decay {
                            for &label_smoothing in &self.label_smoothing {
                                for &learning_rate in &self.learning_rates {
                                    let rates = FitConfig { learning_rate, dropout, ..self.common };
                                    let fit = FitConfig { weight_decay, label_smoothing, ..rates };
                                    settings.push(Setting { hidden: hidden.clone(), batch_size, views, fit });
                                }
                            }
                        }
                    }
                }
            }
        }
        settings
    }
}

/// A head of the sweep: which setting, and which of the seeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeadId {
    /// Place among the settings.
    pub setting: usize,
    /// Place among the seeds.
    pub seed: usize,
}

/// Trains a head from each seed for each setting, on all threads of the rayon pool, and calls `finished` with each as it
/// is done; `seeds` holds the rows for each seed. When `stop` is set, heads under way are finished and no more are started.
pub fn sweep<T: Send>(
    settings: &[Setting],
    seeds: &[(u64, TrainingData<'_>)],
    stop: &AtomicBool,
    finished: impl Fn(HeadId, Result<Trained, FitError>) -> T + Sync,
) -> Vec<(HeadId, T)> {
    let mut done: Vec<(HeadId, T)> = groups(settings, seeds.len())
        .into_par_iter()
        .filter(|_| !stop.load(Ordering::Relaxed))
        .flat_map_iter(|group| {
            let (seed, data) = &seeds[group[0].seed];
            let Setting { batch_size, views, .. } = settings[group[0].setting];
            let train_data = TrainData {
                train: &data.train,
                validation: &data.validation,
                order: EpochOrder::Shuffled { seed: *seed },
                views: ViewSampler::new(views, *seed),
                batch_size,
            };
            let head = |id: &HeadId| {
                let Setting { hidden, fit, .. } = &settings[id.setting];
                let classifier = Classifier::new(data.train.columns(), hidden, data.classes, *seed);
                HeadSpec { classifier, config: *fit, seed: *seed }
            };
            let trained = fit_together(group.iter().map(head).collect(), train_data);
            let finished = &finished;
            group.into_iter().zip(trained).map(move |(id, trained)| (id, finished(id, trained)))
        })
        .collect();
    done.sort_by_key(|(id, _)| *id);
    done
}

/// The heads in groups that are trained together: a few of one seed, one batch size and one number of views.
fn groups(settings: &[Setting], seeds: usize) -> Vec<Vec<HeadId>> {
    let batches = |setting: &Setting| (setting.batch_size, setting.views);
    let mut kinds: Vec<(NonZeroUsize, usize)> = settings.iter().map(batches).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let mut groups = Vec::new();
    for seed in 0..seeds {
        for &kind in &kinds {
            let of_kind = (0..settings.len()).filter(|&k| batches(&settings[k]) == kind);
            let heads: Vec<HeadId> = of_kind.map(|setting| HeadId { setting, seed }).collect();
            groups.extend(heads.chunks(HEADS_PER_GROUP).map(<[HeadId]>::to_vec));
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use feature_cache::Split;

    use super::*;
    use crate::data::{Origin, Rows};
    use crate::fit::fit;

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
            views: vec![0, 2],
            common: FitConfig::new(positive(1.0), number(3)),
        }
    }

    #[test]
    fn every_head_is_what_it_becomes_alone() {
        let values: Vec<[f32; 3]> = (0..60).map(|k| [(k % 7) as f32, (k % 5) as f32, (k % 3) as f32]).collect();
        let features = values.iter().map(|row| &row[..]).collect();
        let views: Vec<[f32; 6]> = values.iter().map(|[a, b, c]| [*a, *b, *c + 1.0, *a + 1.0, *b, *c]).collect();
        let mut rows = Rows::new(features, (0..60).map(|k| k % 3).collect());
        rows.views = views.iter().map(|views| &views[..]).collect();
        let validation_origin = Origin { split: Split::Validation, rows: Vec::new() };
        let data = || TrainingData {
            train: rows.clone(),
            validation: rows.clone(),
            validation_origin: validation_origin.clone(),
            held_out: None,
            classes: 3,
        };
        let settings = grid().settings();
        assert_eq!(settings.len(), 96);
        let seeds = [(7, data()), (8, data())];
        let heads = sweep(&settings, &seeds, &AtomicBool::new(false), |_, trained| trained);
        assert_eq!(heads.len(), 192);
        for (id, trained) in heads {
            let (Setting { hidden, batch_size, views, fit: config }, seed) = (&settings[id.setting], seeds[id.seed].0);
            let classifier = Classifier::new(3, hidden, 3, seed);
            let order = EpochOrder::Shuffled { seed };
            let views = ViewSampler::new(*views, seed);
            let data = TrainData { train: &rows, validation: &rows, order, views, batch_size: *batch_size };
            assert_eq!(trained, fit(HeadSpec { classifier, config: *config, seed }, data, |_| {}), "{id:?}");
        }
    }

    #[test]
    fn a_stopped_sweep_starts_no_head() {
        let validation_origin = Origin { split: Split::Validation, rows: Vec::new() };
        let (train, validation) = (Rows::default(), Rows::default());
        let data = TrainingData { train, validation, validation_origin, held_out: None, classes: 2 };
        let heads = sweep(&grid().settings(), &[(1, data)], &AtomicBool::new(true), |_, trained| trained);
        assert!(heads.is_empty());
    }
}
