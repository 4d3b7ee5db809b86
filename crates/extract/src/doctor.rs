//! Whether this machine computes what it should: the network on a built-in picture against what Keras gives for it.

use crate::arithmetic::Arithmetic;
use crate::audit::distance;
use crate::pipeline::{Network, NetworkError};
use crate::weights::Weights;
use crate::xception::{COLUMNS, Xception};

/// Keras's features of [`picture`] with the ImageNet weights; tests/fixtures/kitchenware/make.py made the file.
const GOLDEN: &[u8] = include_bytes!("doctor_golden.npy");

const SIDE: usize = 150;

/// What the network made of the built-in picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Examination {
    /// How far its features are from Keras's, relative to their length.
    pub difference: f64,
    /// Whose code carried out its layers.
    pub kernels: &'static str,
}

/// Runs the network on the built-in picture.
///
/// # Errors
/// When the network cannot be run.
pub fn examine(weights: &Weights, arithmetic: Arithmetic) -> Result<Examination, NetworkError> {
    let network = Xception::new(weights, SIDE as u32, 1, arithmetic)?;
    let row = network.rows(&picture())?;
    let (_, values) = GOLDEN.split_at(GOLDEN.len() - COLUMNS * size_of::<f32>());
    let golden: Vec<f32> = values.as_chunks().0.iter().map(|&value| f32::from_le_bytes(value)).collect();
    Ok(Examination { difference: distance(&row, &golden), kernels: network.kernels() })
}

/// Stripes and a slow wave in three colours: `(x (c + 1) + y (3 - c) + x y / 16) mod 256`.
fn picture() -> Vec<u8> {
    let place = |k: usize| (k / 3 / SIDE, k / 3 % SIDE, k % 3);
    let value = |(y, x, c): (usize, usize, usize)| (x * (c + 1) + y * (3 - c) + x * y / 16) as u8;
    (0..SIDE * SIDE * 3).map(place).map(value).collect()
}

/// The processor's vector instructions that the network is faster with.
pub fn processor_features() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    let known = [
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
        ("avx512bf16", is_x86_feature_detected!("avx512bf16")),
    ];
    #[cfg(not(target_arch = "x86_64"))]
    let known = [
        ("neon", cfg!(target_feature = "neon")),
        #[cfg(target_arch = "aarch64")]
        ("bf16", std::arch::is_aarch64_feature_detected!("bf16")),
    ];
    known.into_iter().filter(|(_, there)| *there).map(|(name, _)| name).collect()
}

/// The version of libtorch that this was linked with, as far as its folder says.
pub fn libtorch_version() -> &'static str {
    option_env!("LINKED_LIBTORCH").unwrap_or("of unknown version")
}
