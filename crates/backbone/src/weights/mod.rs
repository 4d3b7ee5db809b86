//! Xception's weights: Keras's files in, one canonical form out.
//!
//! ```text
//! .h5, .weights.h5, .keras  →  tensors by layer and place  →  Weights  →  xception.safetensors
//! ```
//!
//! Keras numbers layers differently in each of its formats, and a mix-up can have all the right shapes; so whatever the
//! source, the tensors get our names and one digest, which for the ImageNet weights is known.

mod spec;
mod keras;
mod keras2;
mod keras3;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

pub use self::keras::import;
pub use self::spec::{LAYERS, Layer, LayerKind, TensorSpec, layers, tensors};

/// The digest of the weights that Keras publishes for ImageNet, without the top.
pub const IMAGENET_DIGEST: &str = "bbbff5d0f992c927cb20ac5460615d003bb3c494660a67849a7464c53bf4af6a";

/// No file with Xception's weights comes near this; a larger one is not read.
const MOST_BYTES: u64 = 1 << 30;

/// Every tensor of the network, under the names of [`tensors`] and in Keras's layout: convolutions HWIO, depthwise
/// kernels (3, 3, channels, 1), pointwise ones (1, 1, inputs, outputs).
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    values: BTreeMap<String, Vec<f32>>,
}

/// Why a file did not give the network's weights.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The operating system refused.
    #[error("{}: cannot {action} the weights: {cause}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What it answered.
        cause: std::io::Error,
    },
    /// It is none of the formats, or a damaged one.
    #[error("{}: not readable as {format}: {problem}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What it was taken for.
        format: &'static str,
        /// What its reader said.
        problem: String,
    },
    /// It is larger than any file of these weights.
    #[error("{}: {found} bytes, too large for Xception's weights", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its length.
        found: u64,
    },
    /// Its tensors are not the network's.
    #[error("{}: not the weights of Xception without its top: {mismatch}", path.display())]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// What is missing, extra or of another shape.
        mismatch: Mismatch,
    },
    /// A weight that is infinite or no number.
    #[error("{}: {tensor} holds a value that is not finite", path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
    },
}

/// How a file's tensors differ from the network's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mismatch {
    /// Tensors of the network that the file does not have.
    pub missing: Vec<String>,
    /// Tensors of the file that the network does not have.
    pub extra: Vec<String>,
    /// Tensors with another shape: name, expected, found.
    pub misshapen: Vec<(String, Vec<usize>, Vec<usize>)>,
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const LISTED: usize = 5;
        let misshapen: Vec<String> = self
            .misshapen
            .iter()
            .map(|(name, expected, found)| format!("{name} (expected {expected:?}, found {found:?})"))
            .collect();
        let lists = [("missing", &self.missing), ("extra", &self.extra), ("of another shape", &misshapen)];
        let mut parts = Vec::new();
        for (what, names) in lists.into_iter().filter(|(_, names)| !names.is_empty()) {
            let more = names.len().saturating_sub(LISTED);
            let listed = names.iter().take(LISTED).cloned().collect::<Vec<_>>().join(", ");
            let and_more = if more > 0 { format!(" and {more} more") } else { String::new() };
            parts.push(format!("{what}: {listed}{and_more}"));
        }
        f.write_str(&parts.join("; "))
    }
}

impl Weights {
    /// Reads the weights from our safetensors file or from any of Keras's.
    ///
    /// # Errors
    /// When the file cannot be read, or its tensors are not the network's.
    pub fn load(path: &Path) -> Result<Self, WeightsError> {
        match path.extension().is_some_and(|extension| extension == "safetensors") {
            true => Self::load_safetensors(path),
            false => import(path),
        }
    }

    /// Writes them as safetensors, beside the place first; equal weights give equal bytes.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), WeightsError> {
        let failed = |cause| WeightsError::Io { action: "write", path: path.to_owned(), cause };
        let views = tensors().into_iter().filter_map(|spec| {
            let values = bytemuck::cast_slice(self.values.get(&spec.name)?);
            Some((TensorView::new(Dtype::F32, spec.shape, values), spec.name))
        });
        let format = |error: safetensors::SafeTensorError| WeightsError::Format {
            path: path.to_owned(),
            format: "safetensors",
            problem: error.to_string(),
        };
        let views: Vec<_> =
            views.map(|(view, name)| view.map(|view| (name, view))).collect::<Result<_, _>>().map_err(format)?;
        let bytes = safetensors::serialize(views, None).map_err(format)?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let beside = path.with_extension("safetensors.new");
        let mut file = File::create(&beside).map_err(failed)?;
        file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(failed)?;
        fs::rename(&beside, path).map_err(failed)
    }

    /// A tensor's values, row-major in the shape that [`tensors`] gives for it; none for a name that is not there.
    pub fn values(&self, name: &str) -> Option<&[f32]> {
        self.values.get(name).map(Vec::as_slice)
    }

    /// blake3 over every tensor's name, shape and little-endian values, in the order of [`tensors`]: the same
    /// whatever file they came from.
    pub fn digest(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        for TensorSpec { name, shape } in tensors() {
            hasher.update(format!("{name} {shape:?}\n").as_bytes());
            hasher.update_rayon(bytemuck::cast_slice(self.values(&name).unwrap_or_default()));
        }
        hasher.finalize()
    }

    /// Takes tensors of any origin: every one of the network must be there, in its shape, and no other.
    fn new(path: &Path, mut found: BTreeMap<String, (Vec<usize>, Vec<f32>)>) -> Result<Self, WeightsError> {
        let mut mismatch = Mismatch::default();
        let mut values = BTreeMap::new();
        for TensorSpec { name, shape: expected } in tensors() {
            match found.remove(&name) {
                None => mismatch.missing.push(name),
                Some((shape, _)) if shape != expected => mismatch.misshapen.push((name, expected, shape)),
                Some((_, data)) if data.iter().any(|value| !value.is_finite()) => {
                    return Err(WeightsError::NotFinite { path: path.to_owned(), tensor: name });
                }
                Some((_, data)) => drop(values.insert(name, data)),
            }
        }
        mismatch.extra.extend(found.into_keys());
        match mismatch == Mismatch::default() {
            true => Ok(Self { values }),
            false => Err(WeightsError::Mismatch { path: path.to_owned(), mismatch }),
        }
    }

    fn load_safetensors(path: &Path) -> Result<Self, WeightsError> {
        let bytes = map(path)?;
        let format = |problem: String| WeightsError::Format { path: path.to_owned(), format: "safetensors", problem };
        let file = SafeTensors::deserialize(&bytes).map_err(|error| format(error.to_string()))?;
        let mut found = BTreeMap::new();
        for (name, view) in file.iter() {
            if view.dtype() != Dtype::F32 {
                return Err(format(format!("{name}: expected F32 values, found {:?}", view.dtype())));
            }
            let values = view.data().as_chunks().0.iter().map(|&value| f32::from_le_bytes(value)).collect();
            found.insert(name.to_owned(), (view.shape().to_vec(), values));
        }
        Self::new(path, found)
    }
}

/// Maps a file of weights, if it is no larger than they are.
fn map(path: &Path) -> Result<Mmap, WeightsError> {
    let failed = |cause| WeightsError::Io { action: "read", path: path.to_owned(), cause };
    let file = File::open(path).map_err(failed)?;
    let found = file.metadata().map_err(failed)?.len();
    if found > MOST_BYTES {
        return Err(WeightsError::TooLarge { path: path.to_owned(), found });
    }
    #[allow(unsafe_code)]
    // SAFETY: `save` replaces the file by a rename and never writes into it; a user who edits a weights file during
    // the second in which it is read gets what memory maps give in that case, as with every reader of safetensors.
    let bytes = unsafe { Mmap::map(&file) };
    bytes.map_err(failed)
}
