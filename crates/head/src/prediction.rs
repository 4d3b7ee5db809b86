//! Predictions for new rows: classes with their probabilities, and whether a row is unlike the training rows.

use feature_cache::ClassNames;

use crate::calibration::Calibration;
use crate::data::Rows;
use crate::layers::Classifier;
use crate::loss::argmax;
use crate::probability::probabilities;
use crate::run::Run;

/// A head that is ready to predict.
#[derive(Debug, Clone)]
pub struct Predictor {
    classes: ClassNames,
    classifier: Classifier,
    calibration: Option<Calibration>,
}

/// The prediction for one row.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// (classes,): the head's outputs.
    pub logits: Vec<f32>,
    /// (classes,): softmax(logits / temperature). Without calibration, the temperature is 1.
    pub probabilities: Vec<f32>,
    /// The index of the largest logit, the first of equal ones.
    pub class: usize,
    /// The score: the higher, the more unlike the training rows. `None` for a head without calibration.
    pub unfamiliarity: Option<f32>,
    /// Whether the score is above the head's threshold. `None` for a head without calibration.
    pub unfamiliar: Option<bool>,
}

/// A class with its probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClassProbability {
    /// The class's index.
    pub class: usize,
    /// From 0 to 1.
    pub probability: f32,
}

impl Predictor {
    /// A predictor with the head of a run.
    pub fn new(run: &Run) -> Self {
        Self::from_parts(run.config.class_indices.clone(), run.classifier.clone(), run.calibration.clone())
    }

    /// A predictor from its parts. The names of the classes are in the order of the logits.
    ///
    /// # Panics
    /// When the number of names is not the number of logits.
    pub fn from_parts(classes: ClassNames, classifier: Classifier, calibration: Option<Calibration>) -> Self {
        assert_eq!(classes.len(), classifier.classes(), "a name for each class");
        Self { classes, classifier, calibration }
    }

    /// The names of the classes, in the order of the logits.
    pub fn classes(&self) -> &ClassNames {
        &self.classes
    }

    /// The head.
    pub fn classifier(&self) -> &Classifier {
        &self.classifier
    }

    /// The length of a row.
    pub fn inputs(&self) -> usize {
        self.classifier.inputs()
    }

    /// The temperature of the probabilities: 1 for a head without one.
    pub fn temperature(&self) -> f32 {
        self.calibration.as_ref().map_or(1.0, |calibration| calibration.constants.temperature)
    }

    /// The head's calibration; `None` if it has none.
    pub fn calibration(&self) -> Option<&Calibration> {
        self.calibration.as_ref()
    }

    /// The predictions for these rows, in order. A row's prediction is bit-identical whatever the other rows are.
    ///
    /// # Panics
    /// When the length of a row is not [`Predictor::inputs`].
    pub fn predict(&self, rows: &[&[f32]]) -> Vec<Prediction> {
        assert!(rows.iter().all(|row| row.len() == self.inputs()), "rows of {} features", self.inputs());
        let logits = self.classifier.logits(rows);
        let scores = self.calibration.as_ref().map(|calibration| calibration.scores(rows, &logits));
        let temperature = self.temperature();
        let mut predictions = Vec::with_capacity(rows.len());
        for (k, logits) in logits.chunks_exact(self.classes.len()).enumerate() {
            let unfamiliarity = scores.as_ref().map(|scores| scores[k]);
            let unfamiliar = match (&self.calibration, unfamiliarity) {
                (Some(calibration), Some(score)) => Some(calibration.is_unfamiliar(score)),
                _ => None,
            };
            predictions.push(Prediction {
                logits: logits.to_vec(),
                probabilities: probabilities(logits, temperature),
                class: argmax(logits),
                unfamiliarity,
                unfamiliar,
            });
        }
        predictions
    }

    /// The [`Prediction::unfamiliarity`] of each row, computed on all threads; `None` for a head without calibration. At
    /// most a window of rows is in memory.
    pub fn unfamiliarity(&self, rows: &Rows<'_>) -> Option<Vec<f32>> {
        Some(self.calibration.as_ref()?.par_scores(&self.classifier, rows))
    }

    /// The fraction of these rows that are unfamiliar; `None` for a head without calibration.
    pub fn unfamiliar_fraction(&self, rows: &Rows<'_>) -> Option<f64> {
        let calibration = self.calibration.as_ref()?;
        let scores = calibration.par_scores(&self.classifier, rows);
        let unfamiliar = scores.iter().filter(|&&score| calibration.is_unfamiliar(score)).count();
        Some(unfamiliar as f64 / rows.len().max(1) as f64)
    }
}

impl Prediction {
    /// The `count` most probable classes, by descending logit, then by index; all classes if there are no more.
    pub fn top(&self, count: usize) -> Vec<ClassProbability> {
        let mut classes: Vec<usize> = (0..self.logits.len()).collect();
        // The sort is stable, so among equal logits the lower index stays first. Adding 0 turns -0 into 0.
        let logit = |class: usize| self.logits[class] + 0.0;
        classes.sort_by(|&a, &b| logit(b).total_cmp(&logit(a)));
        classes.truncate(count);
        classes.into_iter().map(|class| ClassProbability { class, probability: self.probabilities[class] }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::Dense;

    /// The logits are the features themselves.
    fn identity(classes: usize) -> Predictor {
        let kernel: Vec<f32> = (0..classes * classes).map(|k| f32::from(u8::from(k % (classes + 1) == 0))).collect();
        let layer = Dense::from_keras(classes, &kernel, &vec![0.0; classes]).unwrap();
        let names = ClassNames::new((0..classes).map(|k| format!("class {k}")).collect()).unwrap();
        Predictor::from_parts(names, Classifier::from_layers(vec![layer]).unwrap(), None)
    }

    #[test]
    fn classes_are_ordered_by_logit_then_by_index() {
        let predictions = identity(4).predict(&[&[-0.0, 2.0, 0.0, 2.0], &[1.0; 4]]);
        let order = |prediction: &Prediction, count| -> Vec<usize> {
            prediction.top(count).into_iter().map(|top| top.class).collect()
        };
        assert_eq!((predictions[0].class, order(&predictions[0], 9)), (1, vec![1, 3, 0, 2]));
        assert_eq!((predictions[1].class, order(&predictions[1], 2)), (0, vec![0, 1]));
        let [first, ..] = predictions[1].top(1)[..] else { panic!("one class") };
        assert_eq!(first, ClassProbability { class: 0, probability: 0.25 });
    }

    #[test]
    fn a_head_without_calibration_gives_plain_softmax() {
        let predictor = identity(3);
        assert_eq!((predictor.temperature(), predictor.inputs()), (1.0, 3));
        let [prediction] = &predictor.predict(&[&[0.0, 1.0, 2.0]])[..] else { panic!("one row") };
        let sum: f64 = [0.0f64, 1.0, 2.0].map(f64::exp).iter().sum();
        for (k, probability) in prediction.probabilities.iter().enumerate() {
            assert!((f64::from(*probability) - (k as f64).exp() / sum).abs() < 1e-7);
        }
        assert_eq!((prediction.unfamiliarity, prediction.unfamiliar), (None, None));
        let values = [0.0; 3];
        assert_eq!(predictor.unfamiliar_fraction(&Rows::new(vec![&values], vec![0])), None);
        assert_eq!(predictor.predict(&[]), []);
    }
}
