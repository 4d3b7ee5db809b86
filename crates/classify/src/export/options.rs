//! What is exported, and how.

use std::str::FromStr;

use backbone::Weights;
use head::prediction::Predictor;

use super::error::ExportError;

/// Which part of a model a file has.
#[derive(Debug, Clone, Copy)]
pub enum Part<'a> {
    /// The network and the head.
    Whole {
        /// The network's weights.
        weights: &'a Weights,
        /// What it takes.
        input: PictureInput,
    },
    /// The head, which takes rows of features, (N, inputs) float32.
    Head,
}

/// What a model with the network takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PictureInput {
    /// (N, H, W, 3) uint8 RGB, of any height and width: it is resized inside, to Pillow's pixels.
    #[default]
    Pixels,
    /// (N, side, side, 3) float32 from -1 to 1: what a Keras model takes after `preprocess_input`.
    Keras,
}

impl PictureInput {
    /// Both choices.
    pub const ALL: [Self; 2] = [Self::Pixels, Self::Keras];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pixels => "pixels",
            Self::Keras => "keras",
        }
    }
}

/// How kernels are stored. In both formats the model computes in float32.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WeightFormat {
    /// As float32.
    #[default]
    F32,
    /// As float16, in half the space, rounded to three digits.
    F16,
}

impl WeightFormat {
    /// Both choices.
    pub const ALL: [Self; 2] = [Self::F32, Self::F16];

    /// Its name on the command line and in the file's metadata.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
        }
    }
}

/// What a model computes for each picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// (N, classes): the outputs of the last dense layer.
    Logits,
    /// (N, classes): the softmax of the logits at the run's temperature.
    Probabilities,
    /// (N,): how unlike the training photos a picture is.
    Unfamiliarity,
}

impl Output {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Logits, Self::Probabilities, Self::Unfamiliarity];

    /// Its name on the command line, and in a file whose outputs were not named otherwise.
    pub fn name(self) -> &'static str {
        match self {
            Self::Logits => "logits",
            Self::Probabilities => "probabilities",
            Self::Unfamiliarity => "unfamiliarity",
        }
    }
}

/// An output under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedOutput {
    /// The output.
    pub output: Output,
    /// Its name in the file.
    pub name: String,
}

impl NamedOutput {
    /// The output under its default name.
    pub fn of(output: Output) -> Self {
        Self { output, name: output.name().to_owned() }
    }
}

/// A text that names no output.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?}: expected logits, probabilities or unfamiliarity, alone or as in probabilities=NAME")]
pub struct UnknownOutput(String);

/// `logits`, or `logits=NAME`.
impl FromStr for NamedOutput {
    type Err = UnknownOutput;

    fn from_str(text: &str) -> Result<Self, UnknownOutput> {
        let (output, name) = text.split_once('=').unwrap_or((text, text));
        let found = Output::ALL.into_iter().find(|candidate| candidate.name() == output);
        match found {
            Some(output) if !name.is_empty() => Ok(Self { output, name: name.to_owned() }),
            _ => Err(UnknownOutput(text.to_owned())),
        }
    }
}

/// How an ONNX file is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OnnxOptions {
    /// The name of the input; `pixels`, or `features` of a head, if it is not given.
    pub input_name: Option<String>,
    /// The outputs, in their order; if none is given all, without unfamiliarity if the run has no calibration.
    pub outputs: Vec<NamedOutput>,
    /// How kernels are stored.
    pub weights: WeightFormat,
}

impl OnnxOptions {
    /// The outputs of a file with this head.
    ///
    /// # Errors
    /// When unfamiliarity is asked for and the head has no calibration.
    pub(super) fn outputs_of(&self, predictor: &Predictor) -> Result<Vec<NamedOutput>, ExportError> {
        let has_calibration = predictor.calibration().is_some();
        let outputs: Vec<NamedOutput> = if self.outputs.is_empty() {
            let possible = Output::ALL.into_iter().filter(|&output| has_calibration || output != Output::Unfamiliarity);
            possible.map(NamedOutput::of).collect()
        } else {
            self.outputs.clone()
        };
        if !has_calibration && outputs.iter().any(|named| named.output == Output::Unfamiliarity) {
            return Err(ExportError::NoCalibration);
        }
        Ok(outputs)
    }
}
