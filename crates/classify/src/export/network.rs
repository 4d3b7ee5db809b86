//! The network in front of an exported head.

use backbone::pixels::Interpolation;
use backbone::{Compute, EmbedSpec, Kernels, Weights};
use head::run::Run;

use super::error::ExportError;
use super::options::PictureInput;
use crate::model::comparable_spec;

/// The network, and what it takes.
pub(super) struct Network<'a> {
    pub weights: &'a Weights,
    /// How photos become rows that the run's head takes, in f32.
    pub spec: EmbedSpec,
    pub input: PictureInput,
}

impl<'a> Network<'a> {
    /// The network of a run.
    ///
    /// # Errors
    /// When these are not the run's weights, or a file that takes pixels could not give the run's answers.
    pub(super) fn new(run: &Run, weights: &'a Weights, input: PictureInput) -> Result<Self, ExportError> {
        let spec = comparable_spec(run, weights, in_f32())?;
        if input == PictureInput::Pixels {
            if spec.fast_decode {
                return Err(ExportError::FastDecode);
            }
            if spec.interpolation != Interpolation::Nearest {
                return Err(ExportError::Interpolation(spec.interpolation));
            }
        }
        Ok(Self { weights, spec, input })
    }
}

/// icebox's own kernels on the CPU, which compute every run's rows in f32.
pub(super) fn in_f32() -> Compute {
    Compute { kernels: Kernels::Own, ..Compute::cpu() }
}
