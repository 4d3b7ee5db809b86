//! The cache that a head was trained on, as its run records it.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::ensure;
use feature_cache::{Difference, FeatureCache, Split};
use head::data::{Rows, TrainingData};
use head::fit::Trained;
use head::metrics::SplitMetrics;
use head::run::{Run, RunConfig, RunMetrics};
use head::sweep::Setting;

/// A cache, and how the user named it.
pub struct Source<'a> {
    pub cache: &'a FeatureCache,
    pub named: &'a Path,
}

impl Source<'_> {
    /// The run of a head that was trained on this cache, evaluated on the training, validation and `test` rows.
    pub fn run(
        &self,
        setting: &Setting,
        seed: u64,
        data: &TrainingData<'_>,
        test: Option<&Rows<'_>>,
        trained: Trained,
    ) -> Run {
        let Trained { classifier, history, kept_epoch } = trained;
        let measure = |rows: &Rows<'_>| SplitMetrics::measure(&classifier, rows, self.cache.classes());
        let mut splits =
            BTreeMap::from([(Split::Train, measure(&data.train)), (Split::Validation, measure(&data.validation))]);
        if let Some(test) = test {
            splits.insert(Split::Test, measure(test));
        }
        let config = RunConfig {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cache: std::path::absolute(self.named).unwrap_or_else(|_| self.named.to_owned()),
            cache_digest: self.cache.digest().to_owned(),
            fingerprint: self.cache.fingerprint().clone(),
            class_indices: self.cache.classes().clone(),
            hidden: setting.hidden.clone(),
            batch_size: setting.batch_size,
            views: setting.views,
            fit: setting.fit,
            validation_split: data.held_out,
            seed,
        };
        Run { config, history, classifier, metrics: RunMetrics { kept_epoch, splits } }
    }

    /// That a run's head can be used on this cache: rows made in the same way, and the same classes.
    pub fn check_belongs(&self, run: &Run) -> anyhow::Result<()> {
        let differences = run.config.fingerprint.differences(self.cache.fingerprint());
        ensure!(
            differences.is_empty(),
            "{}: its rows were made differently from those that the head was trained on:\n{}\nchoose another --cache, or \
             train a head on this one",
            self.named.display(),
            Difference::table(&differences, "run", "cache"),
        );
        let (of_run, of_cache) = (&run.config.class_indices, self.cache.classes());
        let only = |these: &feature_cache::ClassNames, those: &feature_cache::ClassNames| -> Vec<String> {
            these.iter().filter(|class| those.label(class).is_none()).map(str::to_owned).collect()
        };
        ensure!(
            of_run == of_cache,
            "{}: its classes are not the run's: only in the cache {:?}, only in the run {:?}; train a head on it",
            self.named.display(),
            only(of_cache, of_run),
            only(of_run, of_cache),
        );
        ensure!(
            run.classifier.inputs() == self.cache.columns(),
            "{}: its rows have {} features, the run's head takes {}; train a head on it",
            self.named.display(),
            self.cache.columns(),
            run.classifier.inputs(),
        );
        Ok(())
    }
}
