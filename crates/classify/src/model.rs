//! A run's head on top of the network that its training rows came from.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use backbone::pixels::{Limit, Limits};
use backbone::weights::IMAGENET_DIGEST;
use backbone::{
    Compute, EmbedReport, EmbedSpec, Embedder, EmbedderError, Event, NetworkError, Photo, PhotoError, Precision,
    ThreadEmbedder, UnsupportedFingerprint, Weights, golden,
};
use feature_cache::{ClassNames, Difference, Fingerprint};
use head::prediction::{Prediction, Predictor};
use head::run::Run;

/// A run's head with the network in front of it: from a photo's bytes to its prediction.
pub struct Model {
    embedder: Embedder,
    predictor: Arc<Predictor>,
    precision: Precision,
}

/// A [`Model`] that computes on the thread that calls it: for callers whose photos come one by one. It shares the
/// weights with the model that it was made from.
pub struct ThreadModel {
    embedder: ThreadEmbedder,
    predictor: Arc<Predictor>,
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
    /// The network or the head gives NaN or an infinity for it; the text is `features are`, `logits are` or
    /// `unfamiliarity is`.
    #[error("its {0} not finite: the weights or the run are damaged")]
    NotFinite(&'static str),
}

/// Why the network cannot be relied on.
#[derive(Debug, thiserror::Error)]
pub enum GoldenError {
    /// It computes something else than Keras.
    #[error("the network is wrong: a known picture's features are {found:.1e} from Keras's, more than {allowed:.0e}")]
    Wrong {
        /// The relative L2 distance.
        found: f64,
        /// The largest that rounding causes.
        allowed: f64,
    },
    /// It cannot be run.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// It gives no answer.
    #[error(transparent)]
    Answer(#[from] AnswerError),
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
    /// Combines the run's head with the network. Rows are computed in the run's precision if this machine and `compute`
    /// allow it, otherwise in f32.
    ///
    /// # Errors
    /// When the photos' rows would not be comparable with the training rows, or the network cannot be run.
    pub fn new(run: &Run, weights: &Weights, compute: Compute, limits: Limits) -> Result<Self, ModelError> {
        let spec = comparable_spec(run, weights, compute)?;
        let embedder = Embedder::new(&spec, weights, compute)?.with_limits(limits);
        Ok(Self { embedder, predictor: Arc::new(Predictor::new(run)), precision: spec.precision })
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

    /// Calls `on_answer` with the number of each photo and its prediction, in the order of the photos. When `cancel` is
    /// set, the batches in the pipeline are finished and no more are begun.
    ///
    /// # Errors
    /// When the network fails. A photo that cannot be used is an answer with an error.
    pub fn answer<B>(
        &self,
        photos: impl IntoIterator<Item = PathBuf, IntoIter: Send>,
        cancel: &AtomicBool,
        mut on_answer: impl FnMut(usize, Result<Prediction, AnswerError>) -> ControlFlow<B>,
    ) -> Result<EmbedReport<B>, NetworkError> {
        let photos = photos.into_iter().map(Photo::from_path);
        self.embedder.embed(photos, cancel, |event| match event {
            Event::Failed { photo, error } => on_answer(photo, Err(error.into())),
            Event::Row { photo, row, .. } => on_answer(photo, predict(&self.predictor, row)),
        })
    }

    /// The fingerprint of its rows.
    pub fn fingerprint(&self) -> &Fingerprint {
        self.embedder.fingerprint()
    }

    /// The kernels that run the network and their vector instructions, in words.
    pub fn kernels(&self) -> String {
        self.embedder.kernels()
    }

    /// The limits on a photo's pixels and memory.
    pub fn limits(&self) -> Limits {
        self.embedder.limits()
    }

    /// The prediction for a built-in picture. If the network has Keras's ImageNet weights and the picture's size, the
    /// picture's row is compared with Keras's.
    ///
    /// # Errors
    /// If the network is wrong, or fails.
    pub fn golden(&self) -> Result<Prediction, GoldenError> {
        let row = self.embedder.for_thread().rows([golden::picture_file()])?.pop().expect("one for each picture");
        let row = row.map_err(|error| AnswerError::from(PhotoError::from(error)))?;
        let fingerprint = self.embedder.fingerprint();
        if fingerprint.weights == IMAGENET_DIGEST && fingerprint.size == golden::SIDE {
            let (found, allowed) = (golden::distance_from_keras(&row), self.precision.tolerance());
            if found.is_nan() || found > allowed {
                return Err(GoldenError::Wrong { found, allowed });
            }
        }
        Ok(predict(&self.predictor, &row)?)
    }

    /// A model for one thread, which shares the weights with this one.
    pub fn for_thread(&self) -> ThreadModel {
        ThreadModel { embedder: self.embedder.for_thread(), predictor: Arc::clone(&self.predictor) }
    }

    /// How many threads should compute at a time: one for each core, one on a GPU.
    pub fn threads(&self) -> usize {
        self.embedder.workers()
    }
}

impl ThreadModel {
    /// Pictures per forward pass: the number to pass to [`Self::answer`] where there are as many.
    pub fn batch_size(&self) -> usize {
        self.embedder.batch_size()
    }

    /// The prediction for each picture file, or why there is none, in the order of the files. The predictions are those
    /// of [`Model::answer`]. Each file is dropped as soon as it is decoded.
    ///
    /// # Errors
    /// When the network fails.
    pub fn answer(
        &self,
        files: impl IntoIterator<Item: AsRef<[u8]>>,
    ) -> Result<Vec<Result<Prediction, AnswerError>>, NetworkError> {
        let mut answers = Vec::new();
        for row in self.embedder.rows(files)? {
            answers.push(match row {
                Ok(row) => predict(&self.predictor, &row),
                Err(error) => Err(PhotoError::from(error).into()),
            });
        }
        Ok(answers)
    }
}

/// The head's prediction for a row of features.
///
/// # Errors
/// When the row or the prediction is not finite.
fn predict(predictor: &Predictor, row: &[f32]) -> Result<Prediction, AnswerError> {
    if !row.iter().all(|value| value.is_finite()) {
        return Err(AnswerError::NotFinite("features are"));
    }
    let prediction = predictor.predict(&[row]).pop().expect("one row gives one prediction");
    if !prediction.logits.iter().all(|logit| logit.is_finite()) {
        return Err(AnswerError::NotFinite("logits are"));
    }
    if prediction.unfamiliarity.is_some_and(|score| !score.is_finite()) {
        return Err(AnswerError::NotFinite("unfamiliarity is"));
    }
    Ok(prediction)
}

/// How to compute rows that are comparable with the training rows of the run: with the same weights and settings, and
/// in the same precision if `compute` can do that, else in f32.
///
/// # Errors
/// When `weights` are not those of the training rows, this version does not know a setting of theirs, or the head takes
/// rows of another length.
pub(crate) fn comparable_spec(run: &Run, weights: &Weights, compute: Compute) -> Result<EmbedSpec, ModelError> {
    let run_fingerprint = &run.config.fingerprint;
    let spec = spec_in_possible_precision(run_fingerprint, compute).map_err(ModelError::Fingerprint)?;
    // The spec was made from the run's fingerprint, so only the weights can differ, and the precision, which may.
    let here = spec.fingerprint(weights.digest(), compute.device);
    let here = Fingerprint { precision: run_fingerprint.precision.clone(), ..here };
    let differences = run_fingerprint.differences(&here);
    if !differences.is_empty() {
        return Err(ModelError::OtherWeights { differences });
    }
    let (found, expected) = (backbone::xception::COLUMNS, run.classifier.inputs());
    if found != expected {
        return Err(ModelError::Columns { found, expected });
    }
    Ok(spec)
}

/// The settings of the fingerprint, with its precision if `compute` can compute that, else with f32.
fn spec_in_possible_precision(
    fingerprint: &Fingerprint,
    compute: Compute,
) -> Result<EmbedSpec, UnsupportedFingerprint> {
    let in_f32 = Fingerprint { precision: Precision::F32.name().to_owned(), ..fingerprint.clone() };
    let (f32_spec, _) = EmbedSpec::from_fingerprint(&in_f32)?;
    match EmbedSpec::from_fingerprint(fingerprint) {
        Ok((spec, _)) if compute.check(spec.precision).is_ok() => Ok(spec),
        // This version or this machine does not have the precision.
        _ => Ok(f32_spec),
    }
}
