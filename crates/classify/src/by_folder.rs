//! Photos whose folder names their class: how many answers are right, and which are wrong.

use std::path::Path;

use feature_cache::ClassNames;
use head::evaluation::{Evaluation, Evaluator};
use head::prediction::{Prediction, Predictor};
use serde::Serialize;

use crate::photos::NamedPhoto;

/// Compares answers with the names of the photos' folders.
#[derive(Debug)]
pub struct ByFolder<'a> {
    classes: &'a ClassNames,
    evaluator: Evaluator<'a>,
    wrong: Vec<Misclassified>,
    without_class: usize,
}

/// The result of the comparison.
#[derive(Debug, Serialize)]
pub struct Comparison {
    /// The evaluation, as of `head evaluate`; `None` if no photo is in a class's folder.
    pub evaluation: Option<Evaluation>,
    /// The photos whose most probable class is another than that of their folder.
    pub wrong: Vec<Misclassified>,
    /// The number of photos that are in no class's folder.
    pub without_class: usize,
}

/// A photo whose most probable class is not that of its folder.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Misclassified {
    /// The photo; what is not UTF-8 in its path is replaced.
    pub path: String,
    /// The class of its folder.
    pub folder: String,
    /// Its most probable class.
    pub class: String,
    /// The probability of that class.
    pub probability: f32,
    /// Whether it is unlike all training photos; `None` if the run has no calibration.
    pub unfamiliar: Option<bool>,
}

impl<'a> ByFolder<'a> {
    /// A comparison without predictions yet.
    pub fn new(predictor: &'a Predictor) -> Self {
        let evaluator = Evaluator::new(predictor);
        Self { classes: predictor.classes(), evaluator, wrong: Vec::new(), without_class: 0 }
    }

    /// Compares the prediction for a photo with the name of its folder.
    pub fn add(&mut self, photo: &NamedPhoto, prediction: &Prediction) {
        let Some(label) = class_of_folder(photo, self.classes) else {
            self.without_class += 1;
            return;
        };
        self.evaluator.add(prediction, label);
        if prediction.class != label {
            let name = |class| self.classes.name(class).expect("an index of a class").to_owned();
            self.wrong.push(Misclassified {
                path: photo.path.to_string_lossy().into_owned(),
                folder: name(label),
                class: name(prediction.class),
                probability: prediction.probabilities[prediction.class],
                unfamiliar: prediction.unfamiliar,
            });
        }
    }

    /// The result, over all predictions that were added.
    pub fn finish(self) -> Comparison {
        let Self { evaluator, wrong, without_class, .. } = self;
        Comparison { evaluation: evaluator.finish(), wrong, without_class }
    }
}

/// The class whose name a folder of the photo has: the innermost one, from the folder that the photo is in up to the one
/// that was named.
fn class_of_folder(photo: &NamedPhoto, classes: &ClassNames) -> Option<usize> {
    let label = |folder: &Path| classes.label(folder.file_name()?.to_str()?);
    let mut folder = photo.path.parent()?;
    while folder != photo.folder {
        if let Some(label) = label(folder) {
            return Some(label);
        }
        folder = folder.parent()?;
    }
    // It may have been named as `.` or `hat/..`; without a parent it is the current folder.
    let named = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    label(named).or_else(|| label(&named.canonicalize().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_folder_with_a_classs_name_counts() {
        let classes = ClassNames::new(["hat", "shoe"].map(str::to_owned).to_vec()).unwrap();
        let root = tempfile::tempdir().unwrap();
        let root = root.path().join("hat");
        for folder in ["shoe/old", "other", "x"] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        std::os::unix::fs::symlink(root.join("other"), root.join("x/hat")).unwrap();
        for (folder, photo, expected) in [
            ("", "1.jpg", Some(0)),
            ("", "shoe/1.jpg", Some(1)),
            ("", "shoe/old/1.jpg", Some(1)),
            ("", "other/1.jpg", Some(0)),
            ("shoe", "1.jpg", Some(1)),
            ("x/../shoe", "1.jpg", Some(1)),
            ("x/hat", "1.jpg", Some(0)),
            // Folders above the one that was named do not count.
            ("other", "1.jpg", None),
        ] {
            let folder = root.join(folder);
            let photo = NamedPhoto { path: folder.join(photo), folder };
            assert_eq!(class_of_folder(&photo, &classes), expected, "{photo:?}");
        }
    }
}
