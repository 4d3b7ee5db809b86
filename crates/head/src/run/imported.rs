//! The run of a head that another program trained.

use feature_cache::{ClassNames, ClassNamesError, Fingerprint};

use super::config::{ImportedFrom, ModelFile, Origin, RunConfig};
use super::record::{Run, RunMetrics};
use crate::history::History;
use crate::layers::{Classifier, Dense, ShapeError};

/// A head that another program trained.
#[derive(Debug, Clone, PartialEq)]
pub struct ImportedHead {
    /// The file that it was read from.
    pub model: ModelFile,
    /// Its layers in order.
    pub layers: Vec<Dense>,
    /// The class of each output, in the order of the outputs.
    pub classes: Vec<String>,
    /// The fingerprint of its input rows.
    pub fingerprint: Fingerprint,
}

/// Why an imported head cannot become a run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportedHeadError {
    /// Names that cannot be class names.
    #[error(transparent)]
    Classes(#[from] ClassNamesError),
    /// Layers that do not fit.
    #[error(transparent)]
    Layers(#[from] ShapeError),
    /// The number of classes is not the number of outputs.
    #[error("the model has {outputs} outputs, {classes} classes are named")]
    Outputs {
        /// Outputs of the last layer.
        outputs: usize,
        /// The number of class names.
        classes: usize,
    },
}

impl Run {
    /// The run of an imported head. A run's classes are sorted, so the last layer's outputs are reordered.
    ///
    /// # Errors
    /// When the layers do not fit, or their outputs do not fit the classes.
    pub fn imported(head: ImportedHead) -> Result<Self, ImportedHeadError> {
        let ImportedHead { model, mut layers, classes, fingerprint } = head;
        let class_indices = ClassNames::new(classes.clone())?;
        let outputs = layers.last().map_or(0, Dense::outputs);
        if outputs != classes.len() {
            return Err(ImportedHeadError::Outputs { outputs, classes: classes.len() });
        }
        let mut order: Vec<usize> = (0..classes.len()).collect();
        order.sort_by_key(|&output| &classes[output]);
        if let Some(last) = layers.last_mut() {
            *last = last.reordered(&order);
        }
        let classifier = Classifier::from_layers(layers)?;
        let (_, hidden) = classifier.layers().split_last().expect("a classifier has at least one layer");
        let hidden = hidden.iter().map(Dense::outputs).collect();
        let config = RunConfig {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            fingerprint,
            class_indices,
            origin: Origin::Imported(ImportedFrom { model, hidden }),
        };
        let (history, metrics) = (History::default(), RunMetrics::default());
        Ok(Self { config, history, classifier, metrics, calibration: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(classes: &[&str]) -> ImportedHead {
        let hidden = Dense::from_keras(1, &[1.0, 2.0], &[0.0, 0.0]).unwrap();
        // Output k is k + 1 times the first hidden unit, plus k.
        let last = Dense::from_keras(2, &[1.0, 2.0, 3.0, 0.0, 0.0, 0.0], &[0.0, 1.0, 2.0]).unwrap();
        ImportedHead {
            model: ModelFile { file: "model.h5".to_owned(), blake3: "00".to_owned(), keras_version: None },
            layers: vec![hidden, last],
            classes: classes.iter().map(|&class| class.to_owned()).collect(),
            fingerprint: end_to_end::sample_fingerprint(),
        }
    }

    #[test]
    fn outputs_are_reordered_with_their_classes() {
        let run = Run::imported(head(&["shoe", "hat", "tie"])).unwrap();
        assert_eq!(run.config.class_indices.iter().collect::<Vec<_>>(), ["hat", "shoe", "tie"]);
        assert_eq!(run.classifier.logits(&[&[1.0]]), [3.0, 1.0, 5.0]);
        assert_eq!(run.config.hidden(), [2]);
    }

    #[test]
    fn missing_and_repeated_classes_are_errors() {
        let outputs = ImportedHeadError::Outputs { outputs: 3, classes: 2 };
        assert_eq!(Run::imported(head(&["hat", "shoe"])), Err(outputs));
        let message = Run::imported(head(&["hat", "shoe", "hat"])).unwrap_err().to_string();
        assert_eq!(message, "class \"hat\" is listed twice");
    }

    #[test]
    fn an_imported_run_is_saved_and_loaded() {
        let folder = end_to_end::temporary();
        let path = folder.path().join("run");
        let run = Run::imported(head(&["a", "b", "c"])).unwrap();
        run.save(&path).unwrap();
        assert_eq!(Run::load(&path).unwrap(), run);
        let mut files: Vec<_> = std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        files.sort();
        assert_eq!(files, ["config.json", "head.safetensors"], "no history and no metrics");
    }
}
