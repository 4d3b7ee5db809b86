//! The network: whoever carries out its layers, and whatever else is in the batch.

use std::fs;

use extract::arithmetic::{Arithmetic, Kernels, Precision};
use extract::audit::distance;
use extract::pipeline::{Network, NetworkError};
use extract::pixels::{Interpolation, Limits, decode, resize};
use extract::xception::{COLUMNS, Xception};
use tch::Device;

use super::{photos, weights};

/// The first photos, one behind the other.
fn pictures(count: usize, side: u32) -> Vec<u8> {
    let values = 3 * (side as usize).pow(2);
    let mut pixels = vec![0; count * values];
    for (path, place) in photos().iter().zip(pixels.chunks_exact_mut(values)) {
        let photo = decode(&fs::read(path).unwrap(), Limits::PILLOW).unwrap();
        resize(&photo, side, Interpolation::Nearest, place);
    }
    pixels
}

#[test]
fn our_kernels_give_the_rows_that_libtorch_gives() {
    let weights = weights();
    let f32s = Arithmetic::new(Device::Cpu, Precision::F32, Kernels::Auto).unwrap();
    // Each pooling meets odd and even sides.
    for side in [71, 86, 96, 117] {
        let pixels = pictures(2, side);
        let ours = Xception::by_own_kernels(&weights, side, 2).unwrap().rows(&pixels).unwrap();
        let libtorchs = Xception::by_libtorch(&weights, side, 2, f32s).unwrap().rows(&pixels).unwrap();
        assert_eq!(ours.len(), 2 * COLUMNS);
        for (ours, libtorchs) in ours.chunks_exact(COLUMNS).zip(libtorchs.chunks_exact(COLUMNS)) {
            let difference = distance(ours, libtorchs);
            assert!(difference < 5e-6, "side {side}: {difference:e}");
        }
    }
}

#[test]
fn our_kernels_give_a_picture_the_same_row_in_any_batch_and_after_any_other() {
    let (weights, side) = (weights(), 75);
    let pixels = pictures(11, side);
    let values = pixels.len() / 11;
    let together = Xception::by_own_kernels(&weights, side, 11).unwrap().rows(&pixels).unwrap();
    let alone = Xception::by_own_kernels(&weights, side, 1).unwrap().share();
    for (row, pixels) in together.chunks_exact(COLUMNS).zip(pixels.chunks_exact(values)) {
        assert_eq!(alone.rows(pixels).unwrap(), row);
    }
}

#[test]
fn a_batch_of_another_length_is_an_error() {
    let weights = weights();
    let f32s = Arithmetic::new(Device::Cpu, Precision::F32, Kernels::Auto).unwrap();
    let ours = Xception::by_own_kernels(&weights, 71, 2).unwrap();
    let libtorchs = Xception::by_libtorch(&weights, 71, 2, f32s).unwrap();
    let problem = "a batch of 15123 values, where 2 pictures have 30246".to_owned();
    for network in [ours, libtorchs] {
        assert_eq!(network.rows(&[0; 15_123]), Err(NetworkError(problem.clone())));
    }
    let nothing = Err(NetworkError("a batch without pictures".to_owned()));
    assert_eq!(Xception::by_own_kernels(&weights, 71, 0).unwrap().rows(&[]), nothing);
}
