//! What can be wrong with a model that is to be imported.

use std::fmt;
use std::path::PathBuf;

use backbone::weights::WeightsError;
use backbone::xception::{MAX_SIDE, MIN_SIDE};
use head::run::{ImportedHeadError, RunError};

/// Why a model was not imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file cannot be read as a Keras model, or its weights are not what its configuration promises.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The model is not the network with a head of dense layers on it.
    #[error("{}: {problem}", path.display())]
    Model {
        /// The file.
        path: PathBuf,
        /// Why not.
        problem: Box<ModelProblem>,
    },
    /// The side that the pictures had is not known.
    #[error("{}: takes pictures of any width and height, so the side of its photos is not known", .0.display())]
    NoSide(PathBuf),
    /// Another side is asked for than the model's.
    #[error("{}: takes pictures of {expected} x {expected} pixels, not {asked} x {asked}", path.display())]
    OtherSide {
        /// The file.
        path: PathBuf,
        /// The width and height of the model's input.
        expected: u32,
        /// What was asked for.
        asked: u32,
    },
    /// The network does not take pictures of that side.
    #[error("{}: pictures of {side} x {side} pixels: from {MIN_SIDE} to {MAX_SIDE} are supported", path.display())]
    Side {
        /// The file.
        path: PathBuf,
        /// The side.
        side: u32,
    },
    /// The classes do not fit the head.
    #[error("{}: {problem}", path.display())]
    Classes {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        problem: ImportedHeadError,
    },
    /// The run cannot be written.
    #[error(transparent)]
    Run(#[from] RunError),
}

/// Why a model is not one that can be imported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelProblem {
    /// The configuration is not as Keras writes it.
    #[error("configuration of {of}: {expected} expected")]
    Config {
        /// The model or layer whose configuration it is.
        of: String,
        /// What is not there.
        expected: &'static str,
    },
    /// Several inputs or outputs, or none.
    #[error("model {model:?} has {found} {what}, 1 is supported")]
    Ends {
        /// The model, which may be a layer of another.
        model: String,
        /// `inputs` or `outputs`.
        what: &'static str,
        /// How many it has.
        found: usize,
    },
    /// No layer computes the logits.
    #[error("no Dense layer follows the pooling")]
    NoDense,
    /// A layer that is not supported, or not where it is.
    #[error("layer {layer}: {why}")]
    Refused {
        /// The layer.
        layer: LayerName,
        /// Why.
        why: Refusal,
    },
}

/// A layer as its user knows it: by the name in `model.summary()`, and its class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerName {
    /// The name, after those of the models around it.
    pub name: String,
    /// Keras's class.
    pub class: String,
}

impl fmt::Display for LayerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ({})", self.name, self.class)
    }
}

/// Why a layer is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not one of the layers of a head.
    #[error(
        "not supported on the way from the pooling to the output: that may be Dense with relu, Dropout, and a last Dense \
         with softmax or without activation"
    )]
    InHead,
    /// Not one of the layers that scale pixels.
    #[error(
        "not supported before the network: that may be what preprocess_input computes, x / 127.5 - 1, as Rescaling or as \
         a division and a subtraction"
    )]
    BeforeNetwork,
    /// Another layer than Keras's Xception has there.
    #[error("not Xception without its top, which has {expected} here")]
    NotXception {
        /// The layer that Xception has, with its class.
        expected: String,
    },
    /// A setting with another value than supported.
    #[error("{setting} is {found}, {expected} is supported")]
    Setting {
        /// The setting.
        setting: &'static str,
        /// Its value, as JSON.
        found: String,
        /// The supported one.
        expected: String,
    },
    /// An activation that stands where another is needed.
    #[error("its activation is {found}, {expected} is supported here")]
    Activation {
        /// What it has.
        found: String,
        /// What it may have.
        expected: &'static str,
    },
    /// The output of several layers comes in, as in a residual connection, or none.
    #[error("takes the outputs of {found} layers, 1 is supported here")]
    Inputs {
        /// How many.
        found: usize,
    },
    /// It takes the output of a layer that does not come before it.
    #[error("takes the output of {of:?}, which does not come before it")]
    Unknown {
        /// The name that it calls the other layer by.
        of: String,
    },
    /// It is used in several places.
    #[error("used {times} times, 1 is supported")]
    Shared {
        /// How often.
        times: usize,
    },
    /// It reads another layer than the one that Xception connects it to.
    #[error("not connected as in Xception")]
    Wiring,
    /// Pixels come in scaled otherwise than the network's training photos were.
    #[error("pixels become x * {scale} + {offset}, x / 127.5 - 1 is supported")]
    Scaling {
        /// What pixels are multiplied by.
        scale: String,
        /// What is added then.
        offset: String,
    },
    /// Pictures that are not square, or not in RGB.
    #[error("takes pictures of the shape {shape}, (side, side, 3) is supported")]
    Pictures {
        /// The shape, as JSON.
        shape: String,
    },
}
