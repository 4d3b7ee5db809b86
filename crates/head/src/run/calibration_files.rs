//! calibration.json and familiar.safetensors. A run has both or neither.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use half::f16;
use half::slice::HalfFloatSliceExt;
use safetensors::SafeTensorError;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::error::RunError;
use super::files::{damaged, parse_json, read_if_exists, write, write_json};
use crate::calibration::{Calibration, Constants};
use crate::centroids::Centroids;

const CALIBRATION: &str = "calibration.json";
const FAMILIAR: &str = "familiar.safetensors";
/// The only tensor of familiar.safetensors, (centroids, columns) float16.
const CENTROIDS: &str = "centroids";

/// For each `Centroids`, the first run that was saved with them by [`Run::save_sharing`](super::Run::save_sharing).
/// Later runs share its familiar.safetensors, so that it is on disk only once.
#[derive(Debug, Default)]
pub struct SharedCentroids(Mutex<Vec<FirstRun>>);

#[derive(Debug)]
struct FirstRun {
    centroids: Arc<Centroids>,
    path: PathBuf,
}

impl SharedCentroids {
    /// Calls `save` to save a run at `path`, with the path of an earlier run that has the same centroids, if there is
    /// one. While the first run is being saved, the others wait: `save` must not use the rayon pool, whose thread could
    /// begin with another head meanwhile, and wait for itself.
    pub(super) fn save(
        &self,
        centroids: &Arc<Centroids>,
        path: &Path,
        save: impl FnOnce(Option<&Path>) -> Result<(), RunError>,
    ) -> Result<(), RunError> {
        let mut saved = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(first) = saved.iter().find(|first| Arc::ptr_eq(&first.centroids, centroids)) {
            let first = first.path.clone();
            drop(saved);
            return save(Some(&first));
        }
        save(None)?;
        saved.push(FirstRun { centroids: Arc::clone(centroids), path: path.to_owned() });
        Ok(())
    }
}

/// Writes both files into a run's folder. `same_centroids` is a run with the same centroids: familiar.safetensors
/// becomes a hard link to its file, if the file system supports that.
pub(super) fn write_calibration(
    folder: &Path,
    calibration: &Calibration,
    same_centroids: Option<&Path>,
) -> Result<(), RunError> {
    write_json(&folder.join(CALIBRATION), &calibration.constants)?;
    let path = folder.join(FAMILIAR);
    if same_centroids.is_some_and(|run| fs::hard_link(run.join(FAMILIAR), &path).is_ok()) {
        return Ok(());
    }
    let bytes = to_bytes(&calibration.centroids)
        .map_err(|error| RunError::Format { path: path.clone(), problem: error.to_string() })?;
    write(&path, &bytes)
}

/// Reads both files, for a head with `inputs` inputs; `None` if there are no such files.
pub(super) fn read_calibration(folder: &Path, inputs: usize) -> Result<Option<Calibration>, RunError> {
    let (json, tensors) = (folder.join(CALIBRATION), folder.join(FAMILIAR));
    let (constants, centroids) = match (read_if_exists(&json)?, read_if_exists(&tensors)?) {
        (None, None) => return Ok(None),
        (Some(constants), Some(centroids)) => (constants, centroids),
        (None, Some(_)) => return Err(damaged(json, format!("missing, although {FAMILIAR} is there"))),
        (Some(_), None) => return Err(damaged(tensors, format!("missing, although {CALIBRATION} is there"))),
    };
    let constants: Constants = parse_json(&json, &constants)?;
    if let Some(problem) = constants.problem() {
        return Err(damaged(json, problem));
    }
    let centroids = from_bytes(&centroids, inputs).map_err(|problem| damaged(tensors, problem))?;
    Ok(Some(Calibration { constants, centroids: Arc::new(centroids) }))
}

fn to_bytes(centroids: &Centroids) -> Result<Vec<u8>, SafeTensorError> {
    let bytes = bytemuck::cast_slice(centroids.values().reinterpret_cast());
    let tensor = TensorView::new(Dtype::F16, vec![centroids.len(), centroids.columns()], bytes)?;
    safetensors::serialize([(CENTROIDS, tensor)], None)
}

/// The centroids in the file. The error says what is wrong with it.
fn from_bytes(bytes: &[u8], inputs: usize) -> Result<Centroids, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    if file.len() != 1 {
        return Err(format!("expected 1 tensor, found {}", file.len()));
    }
    let tensor = file.tensor(CENTROIDS).map_err(|error| error.to_string())?;
    if tensor.dtype() != Dtype::F16 {
        return Err(format!("{CENTROIDS}: expected float16, found {:?}", tensor.dtype()));
    }
    let shape = tensor.shape();
    if shape.len() != 2 || shape[1] != inputs {
        return Err(format!("{CENTROIDS}: expected rows of {inputs} values, found the shape {shape:?}"));
    }
    let (values, _) = tensor.data().as_chunks();
    let values: Vec<f16> = values.iter().map(|&value| f16::from_le_bytes(value)).collect();
    Centroids::from_f16(inputs, values).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibration::Spread;
    use crate::data::Rows;

    fn calibration() -> Calibration {
        let values: Vec<f32> = (0..60).map(|k| 1.0 + (k * 37 % 11) as f32).collect();
        let centroids = Centroids::fit(&Rows::new(values.chunks_exact(3).collect(), vec![0; 20]), 1);
        let spread = |mean, deviation| Spread { mean, deviation };
        let constants =
            Constants { temperature: 1.1, threshold: 0.3, energy: spread(-1e-7, 0.7), distance: spread(0.2, 1e-3) };
        Calibration { constants, centroids: Arc::new(centroids) }
    }

    #[test]
    fn calibrations_survive_a_round_trip() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read_calibration(folder.path(), 3).unwrap(), None);
        write_calibration(folder.path(), &calibration(), None).unwrap();
        assert_eq!(read_calibration(folder.path(), 3).unwrap(), Some(calibration()));
    }

    #[test]
    fn an_existing_file_is_linked_and_a_missing_one_written() {
        let folder = tempfile::tempdir().unwrap();
        let [first, second, third] = ["first", "second", "third"].map(|name| folder.path().join(name));
        for run in [&first, &second, &third] {
            fs::create_dir(run).unwrap();
        }
        write_calibration(&first, &calibration(), None).unwrap();
        write_calibration(&second, &calibration(), Some(&first)).unwrap();
        write_calibration(&third, &calibration(), Some(&folder.path().join("removed"))).unwrap();
        let bytes = [&first, &second, &third].map(|run| fs::read(run.join(FAMILIAR)).unwrap());
        assert!(bytes[0] == bytes[1] && bytes[1] == bytes[2]);
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            let inode = |run: &Path| fs::metadata(run.join(FAMILIAR)).unwrap().ino();
            assert_eq!(inode(&first), inode(&second));
            assert_ne!(inode(&first), inode(&third));
        }
    }

    #[test]
    fn one_of_the_two_files_alone_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        for (name, message) in [
            (FAMILIAR, "familiar.safetensors: damaged: missing, although calibration.json is there"),
            (CALIBRATION, "calibration.json: damaged: missing, although familiar.safetensors is there"),
        ] {
            write_calibration(folder.path(), &calibration(), None).unwrap();
            fs::remove_file(folder.path().join(name)).unwrap();
            let error = read_calibration(folder.path(), 3).unwrap_err().to_string();
            assert!(error.ends_with(message), "{error}");
        }
    }

    #[test]
    fn damaged_files_are_errors_that_name_the_file() {
        let folder = tempfile::tempdir().unwrap();
        write_calibration(folder.path(), &calibration(), None).unwrap();
        let json = fs::read_to_string(folder.path().join(CALIBRATION)).unwrap();
        let edited = |from: &str, to: &str| {
            assert!(json.contains(from), "{json}");
            json.replace(from, to).into_bytes()
        };
        let tensor = |name: &str, dtype, shape: Vec<usize>, bytes: &[u8]| {
            safetensors::serialize([(name, TensorView::new(dtype, shape, bytes).unwrap())], None).unwrap()
        };
        // A unit vector, a longer vector, and one that is not finite.
        let unit: Vec<u8> = [0.6, 0.8, 0.0].into_iter().flat_map(|v| f16::from_f32(v).to_le_bytes()).collect();
        let long: Vec<u8> = [0.6, 0.8, 1.0].into_iter().flat_map(|v| f16::from_f32(v).to_le_bytes()).collect();
        let nan: Vec<u8> = [0.6, 0.8, f32::NAN].into_iter().flat_map(|v| f16::from_f32(v).to_le_bytes()).collect();
        let two = safetensors::serialize(
            ["a", CENTROIDS].map(|name| (name, TensorView::new(Dtype::F16, vec![1, 3], &unit).unwrap())),
            None,
        );
        let whole = tensor(CENTROIDS, Dtype::F16, vec![1, 3], &unit);
        for (name, bytes, message) in [
            (CALIBRATION, b"{".to_vec(), "EOF while parsing"),
            (CALIBRATION, edited("\"threshold\"", "\"limit\""), "missing field `threshold`"),
            (CALIBRATION, edited("1.1", "0.1"), "temperature: expected 0.25 to 4, found 0.1"),
            (CALIBRATION, edited("0.3", "1e60"), "threshold: is not finite"),
            (CALIBRATION, edited("0.7", "-0.7"), "energy: expected a finite deviation above 0, found -0.7"),
            (FAMILIAR, whole[..whole.len() - 1].to_vec(), ""),
            (FAMILIAR, two.unwrap(), "expected 1 tensor, found 2"),
            (FAMILIAR, tensor("rows", Dtype::F16, vec![1, 3], &unit), "centroids"),
            (FAMILIAR, tensor(CENTROIDS, Dtype::BF16, vec![1, 3], &unit), "centroids: expected float16, found BF16"),
            (
                FAMILIAR,
                tensor(CENTROIDS, Dtype::F16, vec![3, 1], &unit),
                "expected rows of 3 values, found the shape [3, 1]",
            ),
            (FAMILIAR, tensor(CENTROIDS, Dtype::F16, vec![3], &unit), "expected rows of 3 values, found the shape [3]"),
            (FAMILIAR, tensor(CENTROIDS, Dtype::F16, vec![1, 3], &long), "centroid 0 is not a vector of length 1"),
            (FAMILIAR, tensor(CENTROIDS, Dtype::F16, vec![1, 3], &nan), "centroid 0 is not a vector of length 1"),
        ] {
            let path = folder.path().join(name);
            let before = fs::read(&path).unwrap();
            fs::write(&path, bytes).unwrap();
            let error = read_calibration(folder.path(), 3).unwrap_err().to_string();
            let start = format!("{}: damaged: ", path.display());
            assert!(error.starts_with(&start) && error[start.len()..].contains(message), "{error}; {message}");
            fs::write(&path, before).unwrap();
        }
        read_calibration(folder.path(), 3).unwrap().unwrap();
        read_calibration(folder.path(), 4).unwrap_err();
    }
}
