//! A run's head, behind the network that its training rows came from.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use backbone::pixels::{Limit, Limits};
use backbone::{
    Compute, EmbedReport, EmbedSpec, Embedder, EmbedderError, Event, NetworkError, Photo, PhotoError, Precision,
    UnsupportedFingerprint, Weights,
};
use feature_cache::{ClassNames, Difference, Fingerprint};
use head::prediction::{Prediction, Predictor};
use head::run::Run;

/// Answers for photos: from a photo's bytes to what the head says of it.
pub struct Model {
    embedder: Embedder,
    predictor: Predictor,
    precision: Precision,
}

/// Why a run's head cannot be used here.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// Its training rows were computed in a way that this version does not know.
    #[error("the run's {0}")]
    Fingerprint(UnsupportedFingerprint),
    /// Its training rows were computed with other weights.
    #[error(
        "these are not the weights that the head's training rows were computed with:\n{}",
        Difference::table(differences, "run", "here")
    )]
    OtherWeights {
        /// The fields of the fingerprint that differ: the run's values, then those at hand.
        differences: Vec<Difference>,
    },
    /// The head takes rows of another length.
    #[error("the head takes rows of {expected} features, and the network gives {found}")]
    Columns {
        /// What the network gives.
        found: usize,
        /// What the head takes.
        expected: usize,
    },
    /// The network cannot be run like this here.
    #[error(transparent)]
    Embedder(#[from] EmbedderError),
}

/// Why there is no answer for a photo.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// The photo cannot be used.
    #[error(transparent)]
    Photo(#[from] PhotoError),
    /// The network or the head gives NaN or an infinity for it.
    #[error("its {0} are not finite: the weights or the run are broken")]
    NotFinite(&'static str),
}

impl AnswerError {
    /// The limit that the photo exceeds, if that is the reason.
    pub fn limit(&self) -> Option<Limit> {
        match self {
            Self::Photo(error) => error.limit(),
            Self::NotFinite(_) => None,
        }
    }
}

impl Model {
    /// The run's head with these weights of the network. Rows are computed in the precision of the training rows where
    /// `compute` gives it, else in f32.
    ///
    /// # Errors
    /// When the photos' rows would not be comparable with the training rows, or the network cannot be run.
    pub fn new(run: &Run, weights: &Weights, compute: Compute, limits: Limits) -> Result<Self, ModelError> {
        let spec = spec_of_run(run, weights, compute)?;
        let embedder = Embedder::new(&spec, weights, compute)?.with_limits(limits);
        Ok(Self { embedder, predictor: Predictor::new(run), precision: spec.precision })
    }

    /// The classes, in the order of the probabilities.
    pub fn classes(&self) -> &ClassNames {
        self.predictor.classes()
    }

    /// The head.
    pub fn predictor(&self) -> &Predictor {
        &self.predictor
    }

    /// The precision that rows are computed in.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Calls `each` with the number of each photo and what the head says of it, in the order of the photos. When `cancel`
    /// is set, the batches under way are finished and no more are begun.
    ///
    /// # Errors
    /// When the network fails. A photo that fails is an answer.
    pub fn answer<B>(
        &self,
        photos: impl IntoIterator<Item = PathBuf, IntoIter: Send>,
        cancel: &AtomicBool,
        mut each: impl FnMut(usize, Result<Prediction, AnswerError>) -> ControlFlow<B>,
    ) -> Result<EmbedReport<B>, NetworkError> {
        let photos = photos.into_iter().map(Photo::from_path);
        self.embedder.embed(photos, cancel, |event| match event {
            Event::Failed { photo, error } => each(photo, Err(error.into())),
            Event::Row { photo, row, .. } => each(photo, self.predict(row)),
        })
    }

    fn predict(&self, row: &[f32]) -> Result<Prediction, AnswerError> {
        if !row.iter().all(|value| value.is_finite()) {
            return Err(AnswerError::NotFinite("features"));
        }
        let prediction = self.predictor.predict(&[row]).pop().expect("one row gives one prediction");
        let logits_are_finite = prediction.logits.iter().all(|logit| logit.is_finite());
        if !logits_are_finite || prediction.unfamiliarity.is_some_and(|score| !score.is_finite()) {
            return Err(AnswerError::NotFinite("logits"));
        }
        Ok(prediction)
    }
}

/// How rows for a run's head are computed with these weights: in the precision of the training rows where `compute`
/// gives it, else in f32.
///
/// # Errors
/// When the rows would not be comparable with the training rows.
pub(crate) fn spec_of_run(run: &Run, weights: &Weights, compute: Compute) -> Result<EmbedSpec, ModelError> {
    let of_run = &run.config.fingerprint;
    let spec = spec_of_fingerprint(of_run, compute).map_err(ModelError::Fingerprint)?;
    // All but the weights is as in the run: the spec was made from its fingerprint. Precision and device may differ.
    let here = spec.fingerprint(weights.digest(), compute.device);
    let here = Fingerprint { precision: of_run.precision.clone(), ..here };
    let differences = of_run.differences(&here);
    if !differences.is_empty() {
        return Err(ModelError::OtherWeights { differences });
    }
    let (found, expected) = (backbone::xception::COLUMNS, run.classifier.inputs());
    if found != expected {
        return Err(ModelError::Columns { found, expected });
    }
    Ok(spec)
}

/// How rows are computed that can be compared with those of the fingerprint: in its precision, or in f32 if `compute`
/// does not give that.
fn spec_of_fingerprint(fingerprint: &Fingerprint, compute: Compute) -> Result<EmbedSpec, UnsupportedFingerprint> {
    let in_f32 = Fingerprint { precision: Precision::F32.name().to_owned(), ..fingerprint.clone() };
    let (of_f32, _) = EmbedSpec::from_fingerprint(&in_f32)?;
    Ok(match EmbedSpec::from_fingerprint(fingerprint) {
        Ok((spec, _)) if compute.check(spec.precision).is_ok() => spec,
        _ => of_f32,
    })
}
