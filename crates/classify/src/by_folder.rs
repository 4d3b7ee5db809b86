//! Photos whose folder names their class: how many answers are right, and which are wrong.

use std::path::{Path, absolute};

use feature_cache::ClassNames;
use head::evaluation::{Evaluation, Evaluator};
use head::prediction::{Prediction, Predictor};
use serde::Serialize;

/// Compares answers with the names of the photos' folders.
#[derive(Debug)]
pub struct ByFolder<'a> {
    classes: &'a ClassNames,
    evaluator: Evaluator<'a>,
    wrong: Vec<Wrong>,
    without_class: usize,
}

/// What the comparison came to.
#[derive(Debug, Serialize)]
pub struct Comparison {
    /// What `head evaluate` says of a cache's split; `None` if no photo is in a class's folder.
    pub evaluation: Option<Evaluation>,
    /// The photos whose most probable class is another than that of their folder.
    pub wrong: Vec<Wrong>,
    /// How many photos are in no class's folder.
    pub without_class: usize,
}

/// A photo whose most probable class is not that of its folder.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Wrong {
    /// The photo; what is not UTF-8 in its path is replaced.
    pub path: String,
    /// The class of its folder.
    pub folder: String,
    /// Its most probable class.
    pub class: String,
    /// The probability of that.
    pub probability: f32,
    /// Whether it is unlike all training photos; `None` if the head cannot tell.
    pub unfamiliar: Option<bool>,
}

impl<'a> ByFolder<'a> {
    /// Without an answer yet.
    pub fn new(predictor: &'a Predictor) -> Self {
        let evaluator = Evaluator::new(predictor);
        Self { classes: predictor.classes(), evaluator, wrong: Vec::new(), without_class: 0 }
    }

    /// Compares the prediction for a photo with the name of its folder.
    pub fn add(&mut self, photo: &Path, prediction: &Prediction) {
        let Some(label) = class_of_folder(photo, self.classes) else {
            self.without_class += 1;
            return;
        };
        self.evaluator.add(prediction, label);
        if prediction.class != label {
            let name = |class| self.classes.name(class).expect("an index of a class").to_owned();
            self.wrong.push(Wrong {
                path: photo.to_string_lossy().into_owned(),
                folder: name(label),
                class: name(prediction.class),
                probability: prediction.probabilities[prediction.class],
                unfamiliar: prediction.unfamiliar,
            });
        }
    }

    /// What it came to.
    pub fn finish(self) -> Comparison {
        let Self { evaluator, wrong, without_class, .. } = self;
        Comparison { evaluation: evaluator.finish(), wrong, without_class }
    }
}

/// The class with the name of the innermost folder around the photo that has a class's name.
fn class_of_folder(photo: &Path, classes: &ClassNames) -> Option<usize> {
    let photo = absolute(photo).ok()?;
    photo.ancestors().skip(1).find_map(|folder| classes.label(folder.file_name()?.to_str()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_folder_with_a_classs_name_counts() {
        let classes = ClassNames::new(["hat", "shoe"].map(str::to_owned).to_vec()).unwrap();
        for (photo, expected) in [
            ("/photos/hat/1.jpg", Some(0)),
            ("/photos/hat/shoe/1.jpg", Some(1)),
            ("/photos/shoe/old/1.jpg", Some(1)),
            ("shoe/1.jpg", Some(1)),
            ("/photos/hats/1.jpg", None),
            ("/photos/hat", None),
        ] {
            assert_eq!(class_of_folder(Path::new(photo), &classes), expected, "{photo}");
        }
    }
}
