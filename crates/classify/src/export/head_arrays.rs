//! A head alone as numpy arrays, for programs that multiply matrices themselves.

use half::slice::HalfFloatSliceExt;
use head::calibration::Spread;
use head::prediction::Predictor;
use zip::result::ZipResult;

use super::npz::NpzWriter;

/// The bytes of the .npz file: for each layer `kernel_0` (inputs, outputs), `bias_0` (outputs,), …, with ReLU between
/// the layers; `temperature` and `class_names`; for a head with calibration also `threshold`, `centroids` (centroids,
/// inputs), and `energy` and `distance`, each (2,): mean and standard deviation.
pub(super) fn head_npz(predictor: &Predictor) -> Vec<u8> {
    write(predictor).expect("a zip archive can be written to memory")
}

fn write(predictor: &Predictor) -> ZipResult<Vec<u8>> {
    let mut npz = NpzWriter::new();
    for (k, layer) in predictor.classifier().layers().iter().enumerate() {
        npz.float32(&format!("kernel_{k}"), &[layer.inputs(), layer.outputs()], &layer.kernel())?;
        npz.float32(&format!("bias_{k}"), &[layer.outputs()], layer.bias())?;
    }
    npz.float32("temperature", &[], &[predictor.temperature()])?;
    npz.texts("class_names", &predictor.classes().iter().collect::<Vec<_>>())?;
    if let Some(calibration) = predictor.calibration() {
        let (constants, centroids) = (calibration.constants, &calibration.centroids);
        let values = centroids.values().to_f32_vec();
        npz.float32("threshold", &[], &[constants.threshold])?;
        npz.float32("centroids", &[centroids.len(), centroids.columns()], &values)?;
        for (name, Spread { mean, deviation }) in [("energy", constants.energy), ("distance", constants.distance)] {
            npz.float32(name, &[2], &[mean, deviation])?;
        }
    }
    npz.finish()
}
