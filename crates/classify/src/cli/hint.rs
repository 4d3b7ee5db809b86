//! Hints for errors: the libraries state what happened, the command line adds which option helps.

use anyhow::{Error, anyhow};
use backbone::weights::WeightsError;
use classify::export::{CheckError, ExportError};
use classify::import::ImportError;
use classify::model::ModelError;
use classify::serve::ServerError;
use classify::sort::SortError;
use command_line::embedder_hint;
use head::run::RunError;
use stdio::invocation;

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
    if let Some(error) = error.downcast_ref::<ExportError>() {
        return export_hint(error);
    }
    if let Some(error) = error.downcast_ref::<CheckError>() {
        return check_hint(error);
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
        ImportError::NoSide(_) => "; name it with --size",
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

fn export_hint(error: &ExportError) -> Option<String> {
    let hint = match error {
        ExportError::Model(error) => return model_hint(error),
        ExportError::Embedder(error) => return embedder_hint(error),
        ExportError::Interpolation(_) | ExportError::FastDecode => {
            "; use --input keras, and prepare photos as in the Python example that is then printed"
        }
        ExportError::NoCalibration => "; leave unfamiliarity out of --outputs",
        ExportError::OutputTwice(_) => "; name it once in --outputs",
        ExportError::NameTaken(_) => "; choose other names with --input-name and --outputs",
        ExportError::TooLargeForF16 { .. } => "; use --precision f32",
        ExportError::Exists(_) => "; overwrite it with --replace, or choose another --out",
        _ => return None,
    };
    Some(hint.to_owned())
}

fn check_hint(error: &CheckError) -> Option<String> {
    match error {
        CheckError::NoPython { .. } => Some("; choose an interpreter with --python".to_owned()),
        CheckError::Missing { python, .. } => Some(format!(
            "; install what is needed with scripts/setup --peers, or with {} -m pip install onnxruntime onnx numpy, or \
             choose another interpreter with --python",
            python.display()
        )),
        CheckError::NotGolden { .. } | CheckError::OtherModel { .. } => Some("; export the model again".to_owned()),
        _ => None,
    }
}

fn run_hint(error: &RunError) -> Option<String> {
    match error {
        RunError::Exists(_) => Some("; choose another --out".to_owned()),
        RunError::NotARun(_) => Some(format!("; make one with: {} train CACHE", invocation("head"))),
        RunError::Damaged { .. } => Some("; train the head again".to_owned()),
        _ => None,
    }
}
