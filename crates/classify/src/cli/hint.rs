//! Hints for errors: the libraries state what happened, the command line adds which option helps.

use anyhow::{Error, anyhow};
use backbone::weights::WeightsError;
use classify::import::ImportError;
use classify::model::ModelError;
use classify::serve::ServerError;
use classify::sort::SortError;
use command_line::embedder_hint;
use head::run::RunError;
use stdio::called;

/// Adds a hint to the error, if there is one.
pub fn with_hint(error: Error) -> Error {
    match hint(&error) {
        Some(hint) => anyhow!("{error:#}{hint}"),
        None => error,
    }
}

/// The hint, with the separator that goes between it and the error.
fn hint(error: &Error) -> Option<String> {
    if let Some(error) = error.downcast_ref::<ModelError>() {
        return model_hint(error);
    }
    if let Some(error) = error.downcast_ref::<RunError>() {
        return run_hint(error);
    }
    if let Some(error) = error.downcast_ref::<ImportError>() {
        return import_hint(error);
    }
    if let Some(ServerError::Address { .. }) = error.downcast_ref() {
        return Some("; choose another --port or --host".to_owned());
    }
    match error.downcast_ref() {
        Some(SortError::Link { .. }) => Some("; leave out --link to copy".to_owned()),
        Some(SortError::ClassName(_) | SortError::Reserved(_)) => Some("; leave out --sort-into".to_owned()),
        _ => None,
    }
}

fn model_hint(error: &ModelError) -> Option<String> {
    match error {
        ModelError::OtherWeights { .. } => Some("\nname the run's weights with --weights FILE".to_owned()),
        ModelError::Fingerprint(_) => Some("; use the version that made the run, or train a head again".to_owned()),
        ModelError::Embedder(error) => embedder_hint(error),
        ModelError::Columns { .. } => None,
    }
}

fn import_hint(error: &ImportError) -> Option<String> {
    let hint = match error {
        ImportError::NoSide(_) => "; say with --size how many its photos had",
        ImportError::OtherSide { .. } => "; leave out --size",
        ImportError::Classes { .. } => "; name the class of each output, in their order, with --classes",
        ImportError::Run(error) => return run_hint(error),
        ImportError::Weights(WeightsError::NoConfig { .. }) => {
            "; save the whole model in Keras, with model.save, and not its weights alone"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

fn run_hint(error: &RunError) -> Option<String> {
    match error {
        RunError::Exists(_) => Some("; choose another --out".to_owned()),
        RunError::NotARun(_) => Some(format!("; make one with: {} train CACHE", called("head"))),
        RunError::Damaged { .. } => Some("; train the head again".to_owned()),
        _ => None,
    }
}
