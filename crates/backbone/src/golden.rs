//! Compares the row that this machine computes for a built-in picture with the row that Keras computed.

use std::io::Cursor;
use std::ops::ControlFlow;
use std::sync::atomic::AtomicBool;

use image::{ImageFormat, RgbImage};

use crate::compute::Compute;
use crate::distance::relative_l2;
use crate::embedder::{Embedder, EmbedderError};
use crate::photo::Photo;
use crate::pipeline::Event;
use crate::precision::Precision;
use crate::spec::EmbedSpec;
use crate::weights::Weights;
use crate::xception::COLUMNS;

/// Keras's features of the [`picture`] with the ImageNet weights; tests/fixtures/kitchenware/make.py made the file.
const GOLDEN: &[u8] = include_bytes!("golden.npy");

/// Width and height of the picture, and of the network's input.
pub const SIDE: u32 = 150;

/// The result of [`compare_with_keras`].
#[derive(Debug, Clone, PartialEq)]
pub struct KerasComparison {
    /// Relative L2 distance of the picture's features to Keras's.
    pub distance: f64,
    /// The kernels that ran the network, and their vector length.
    pub kernels: String,
}

/// Embeds the built-in picture and compares its row with Keras's. `weights` are the ImageNet weights: others give
/// another row.
///
/// # Errors
/// When this machine cannot compute the precision on the device, or the network fails.
pub fn compare_with_keras(
    weights: &Weights,
    precision: Precision,
    compute: Compute,
) -> Result<KerasComparison, EmbedderError> {
    let spec = EmbedSpec { side: SIDE, precision, ..EmbedSpec::default() };
    let embedder = Embedder::new(&spec, weights, compute)?;
    let mut distance = None;
    embedder.embed([picture()], &AtomicBool::new(false), |event| {
        if let Event::Row { row, .. } = event {
            distance = Some(distance_from_keras(row));
        }
        ControlFlow::<()>::Continue(())
    })?;
    let distance = distance.expect("the built-in picture is a whole BMP within the default limits");
    Ok(KerasComparison { distance, kernels: embedder.kernels() })
}

/// Relative L2 distance of a row to the one that Keras computes of the [`picture`] with the ImageNet weights, at
/// [`SIDE`].
pub fn distance_from_keras(row: &[f32]) -> f64 {
    relative_l2(row, &golden_row())
}

/// The values of golden.npy: all that follows its header.
fn golden_row() -> Vec<f32> {
    let (_, values) = GOLDEN.split_at(GOLDEN.len() - COLUMNS * size_of::<f32>());
    values.as_chunks().0.iter().map(|&value| f32::from_le_bytes(value)).collect()
}

/// The built-in picture, 150 x 150 pixels: stripes and a slow wave in three colours, `(x (c + 1) + y (3 - c) + x y /
/// 16) mod 256`.
pub fn picture() -> Photo {
    Photo::from_bytes(picture_file())
}

/// The built-in picture's file, a BMP.
pub fn picture_file() -> Vec<u8> {
    let value = |x: u32, y: u32, c: u32| (x * (c + 1) + y * (3 - c) + x * y / 16) as u8;
    let picture = RgbImage::from_fn(SIDE, SIDE, |x, y| image::Rgb([0, 1, 2].map(|c| value(x, y, c))));
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Bmp).expect("a small picture fits into memory");
    bytes.into_inner()
}
