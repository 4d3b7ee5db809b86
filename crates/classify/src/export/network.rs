//! The network in front of an exported head.

use backbone::pixels::Interpolation;
use backbone::{Compute, EmbedSpec, Kernels, Weights};
use head::run::Run;

use super::error::ExportError;
use super::options::PictureInput;
use crate::model::spec_of_run;

/// The network, and how pictures come to it.
pub(super) struct Network<'a> {
    pub weights: &'a Weights,
    /// How the run's photos become rows, in f32.
    pub spec: EmbedSpec,
    pub input: PictureInput,
}

impl<'a> Network<'a> {
    /// The network of a run.
    ///
    /// # Errors
    /// When these are not the run's weights, or a file that takes pixels could not give the run's answers.
    pub(super) fn new(run: &Run, weights: &'a Weights, input: PictureInput) -> Result<Self, ExportError> {
        let spec = spec_of_run(run, weights, in_f32())?;
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

/// Icebox's own kernels on the CPU, which give every row in f32.
pub(super) fn in_f32() -> Compute {
    Compute { kernels: Kernels::Own, ..Compute::cpu() }
}
