//! The answer for a photo: its most probable classes, or `unsure` or `unfamiliar`.

use std::num::NonZeroUsize;
use std::path::Path;

use feature_cache::ClassNames;
use head::prediction::{ClassProbability, Prediction};
use serde::Serialize;

/// Stands in place of the class if no class reaches the threshold.
pub const UNSURE: &str = "unsure";

/// Stands in place of the class, in the table and as the name of the folder, for a photo unlike all training photos.
pub const UNFAMILIAR: &str = "unfamiliar";

/// How a prediction becomes an answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AnswerOptions {
    /// How many classes are listed, the most probable first; all, if there are fewer.
    pub top: NonZeroUsize,
    /// If the most probable class has a lower probability than this, the answer is [`UNSURE`].
    pub threshold: f32,
}

/// The answer for a photo; [`Line`] adds its path for `--json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer<'a> {
    /// The most probable class, or [`UNSURE`].
    pub class: &'a str,
    /// The probability of the most probable class.
    pub probability: f32,
    /// The classes with the largest probabilities, the largest first.
    pub top: Vec<Ranked<'a>>,
    /// Whether it is unlike all training photos; `None` if the run has no calibration.
    pub unfamiliar: Option<bool>,
    /// Its score, a sum of two z-scores over the validation photos: 0 is their mean, larger is less familiar. `None` if
    /// the run has no calibration.
    pub unfamiliarity: Option<f32>,
}

/// A class and its probability.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ranked<'a> {
    /// The class.
    pub class: &'a str,
    /// Its probability.
    pub probability: f32,
}

/// A line of `classify --json`.
#[derive(Debug, Serialize)]
pub struct Line<'a> {
    /// The photo's path, with invalid UTF-8 replaced.
    path: String,
    #[serde(flatten)]
    answer: Option<&'a Answer<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl<'a> Answer<'a> {
    /// The answer that a prediction gives; `classes` are those of the head.
    pub fn new(prediction: &Prediction, classes: &'a ClassNames, options: AnswerOptions) -> Self {
        let name = |label: usize| classes.name(label).expect("a head has a logit for each of its classes");
        let mut top = Vec::new();
        for ClassProbability { class, probability } in prediction.top(options.top.get()) {
            top.push(Ranked { class: name(class), probability });
        }
        let Ranked { class, probability } = top[0];
        Self {
            class: if probability < options.threshold { UNSURE } else { class },
            probability,
            unfamiliar: prediction.unfamiliar,
            unfamiliarity: prediction.unfamiliarity,
            top,
        }
    }

    /// Whether the answer is a class, neither [`UNSURE`] nor [`UNFAMILIAR`]; a class may have one of these names.
    pub fn has_class(&self) -> bool {
        self.unfamiliar != Some(true) && self.top.first().is_some_and(|most_probable| most_probable.class == self.class)
    }

    /// The folder that a photo with this answer is sorted into.
    pub fn folder(&self) -> &'a str {
        if self.unfamiliar == Some(true) { UNFAMILIAR } else { self.class }
    }
}

impl<'a> Line<'a> {
    /// The line for a photo with this answer, or with this error in place of one.
    pub fn new<E: ToString>(photo: &Path, answer: Result<&'a Answer<'a>, &E>) -> Self {
        let path = photo.to_string_lossy().into_owned();
        match answer {
            Ok(answer) => Self { path, answer: Some(answer), error: None },
            Err(error) => Self { path, answer: None, error: Some(error.to_string()) },
        }
    }
}
