//! The options of an export: which part of a model, its input and outputs, the format of weights.

use std::str::FromStr;

use backbone::Weights;
use head::prediction::Predictor;

use super::error::ExportError;

/// The part of a model that is exported.
#[derive(Debug, Clone, Copy)]
pub enum Part<'a> {
    /// The network and the head.
    Whole {
        /// The network's weights.
        weights: &'a Weights,
        /// What the exported model takes.
        input: PictureInput,
    },
    /// The head alone, which takes rows of features, (N, inputs) float32.
    Head,
}

/// What a model with the network takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PictureInput {
    /// (N, H, W, 3) uint8 RGB, of any height and width. The model resizes them itself, to the pixels that Pillow gives.
    #[default]
    Pixels,
    /// (N, side, side, 3) float32 from -1 to 1, the result of Keras's `preprocess_input`.
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

/// How kernels and centroids are stored; biases always as float32. The model computes in float32 in either case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WeightFormat {
    /// As float32.
    #[default]
    F32,
    /// As float16: half the size, rounded to three digits, below 6e-5 to fewer.
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

/// An output of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// (N, classes): the head's logits.
    Logits,
    /// (N, classes): the softmax of the logits at the run's temperature.
    Probabilities,
    /// (N,): the score of how unlike the training photos a picture is.
    Unfamiliarity,
}

impl Output {
    /// All outputs.
    pub const ALL: [Self; 3] = [Self::Logits, Self::Probabilities, Self::Unfamiliarity];

    /// The output's name on the command line, and by default in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Logits => "logits",
            Self::Probabilities => "probabilities",
            Self::Unfamiliarity => "unfamiliarity",
        }
    }
}

/// An output and its name in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedOutput {
    /// The output.
    pub output: Output,
    /// Its name in the file.
    pub name: String,
}

impl NamedOutput {
    /// An output with its default name.
    pub fn with_default_name(output: Output) -> Self {
        Self { output, name: output.name().to_owned() }
    }
}

/// A text that is not the name of an output.
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
    /// The name of the input; by default `pixels`, or `features` for a head alone.
    pub input_name: Option<String>,
    /// The outputs in order. If there are none, the model has all outputs that the head supports.
    pub outputs: Vec<NamedOutput>,
    /// How kernels and centroids are stored.
    pub weights: WeightFormat,
}

impl OnnxOptions {
    /// The outputs of a model with this head.
    ///
    /// # Errors
    /// When they include an output twice, or unfamiliarity for a head without calibration.
    pub(super) fn outputs_of(&self, predictor: &Predictor) -> Result<Vec<NamedOutput>, ExportError> {
        let has_score = predictor.calibration().is_some();
        let outputs: Vec<NamedOutput> = if self.outputs.is_empty() {
            let all = Output::ALL.into_iter().filter(|&output| has_score || output != Output::Unfamiliarity);
            all.map(NamedOutput::with_default_name).collect()
        } else {
            self.outputs.clone()
        };
        if !has_score && outputs.iter().any(|named| named.output == Output::Unfamiliarity) {
            return Err(ExportError::NoCalibration);
        }
        for output in Output::ALL {
            if outputs.iter().filter(|named| named.output == output).count() > 1 {
                return Err(ExportError::OutputTwice(output.name()));
            }
        }
        Ok(outputs)
    }
}
