//! Which weights of the network a run is used with.

use std::path::Path;

use backbone::Weights;
use backbone::weights::WeightsError;
use classify::import::BACKBONE;
use command_line::{WeightsArg, default_weights};

/// Reads the weights: those that `--weights` names, or else those that `classify import` has written into the run of a
/// fine-tuned model, or else Keras's. That they are the run's is checked by their digest when the model is made.
///
/// # Errors
/// If the file cannot be read as weights.
pub fn weights_for(run: &Path, arg: &WeightsArg) -> Result<Weights, WeightsError> {
    let of_run = run.join(BACKBONE);
    let is_default = arg.weights == default_weights();
    Weights::load(if is_default && of_run.is_file() { &of_run } else { &arg.weights })
}
