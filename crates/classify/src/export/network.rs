//! The network of an exported model.

use backbone::pixels::Interpolation;
use backbone::{Compute, EmbedSpec, Kernels, Precision, Weights};
use head::run::Run;

use super::error::ExportError;
use super::options::PictureInput;
use crate::model::comparable_spec;

/// The network of a run's model, and the input that the exported file takes.
pub(super) struct Network<'a> {
    pub weights: &'a Weights,
    /// The settings with which the run's photos become rows, in f32.
    pub spec: EmbedSpec,
    pub input: PictureInput,
}

impl<'a> Network<'a> {
    /// The network of a run.
    ///
    /// # Errors
    /// When these are not the run's weights, or a model that takes pixels cannot preprocess them as the run does.
    pub(super) fn new(run: &Run, weights: &'a Weights, input: PictureInput) -> Result<Self, ExportError> {
        // Our own kernels may compute the run's bf16 here, but the exported file computes in f32.
        let comparable = comparable_spec(run, weights, own_kernels())?;
        let spec = EmbedSpec { precision: Precision::F32, ..comparable };
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

/// Icebox's own kernels, on the CPU.
pub(super) fn own_kernels() -> Compute {
    Compute { kernels: Kernels::Own, ..Compute::cpu() }
}
