//! The network's rows do not depend on the kernels, except for rounding, nor on the rest of the batch.

use std::fs;

use backbone::compute::Engine;
use backbone::network::Network;
use backbone::pixels::Limits;
use backbone::processor::{Instructions, SimdLevel};
use backbone::xception::{COLUMNS, MAX_SIDE, MIN_SIDE, Xception};
use backbone::{Compute, EmbedSpec, Kernels, NetworkError, Precision, relative_l2};

use super::{photos, weights};

/// The pixels of the first photos, (photos, side, side, 3).
fn pictures(count: usize, side: u32) -> Vec<u8> {
    let preprocess = EmbedSpec { side, ..EmbedSpec::default() }.preprocess(Limits::DEFAULT);
    let mut pixels = vec![0; count * preprocess.input_len()];
    for (path, place) in photos().iter().zip(pixels.chunks_exact_mut(preprocess.input_len())) {
        let photo = preprocess.decode(&fs::read(path).unwrap()).unwrap();
        preprocess.resize(&photo, None, place).unwrap();
    }
    pixels
}

/// The network on the CPU with these kernels.
fn network(side: u32, batch: usize, kernels: Kernels) -> Xception {
    let compute = Compute { kernels, ..Compute::cpu() };
    Xception::new(&weights(), side, batch, compute.engine(Precision::F32).unwrap()).unwrap()
}

#[test]
fn our_kernels_give_the_rows_that_libtorch_gives() {
    // Each max pooling has inputs of odd and of even sides.
    for side in [71, 86, 96, 117] {
        let pixels = pictures(2, side);
        let ours = network(side, 2, Kernels::Own).forward(&pixels).unwrap();
        let libtorchs = network(side, 2, Kernels::Libtorch).forward(&pixels).unwrap();
        assert_eq!(ours.len(), 2 * COLUMNS);
        for (ours, libtorchs) in ours.chunks_exact(COLUMNS).zip(libtorchs.chunks_exact(COLUMNS)) {
            let difference = relative_l2(ours, libtorchs);
            assert!(difference < 5e-6, "side {side}: {difference:e}");
        }
    }
}

#[test]
fn our_kernels_give_a_picture_the_same_row_in_any_batch() {
    let (side, weights) = (75, weights());
    let pixels = pictures(11, side);
    let values = pixels.len() / 11;
    for instructions in [Some(Instructions::best_f32()), Instructions::bf16()].into_iter().flatten() {
        let network = |batch_size| Xception::new(&weights, side, batch_size, Engine::Own(instructions)).unwrap();
        let together = network(11).forward(&pixels).unwrap();
        let alone = network(1).clone_for_thread();
        for (row, pixels) in together.chunks_exact(COLUMNS).zip(pixels.chunks_exact(values)) {
            assert_eq!(alone.forward(pixels).unwrap(), row, "{instructions}");
        }
    }
}

#[test]
fn our_kernels_give_the_same_bits_with_vectors_of_every_length() {
    let (weights, pixels) = (weights(), pictures(1, MIN_SIDE));
    let row = |simd| {
        let network = Xception::new(&weights, MIN_SIDE, 1, Engine::Own(Instructions::F32(simd))).unwrap();
        network.forward(&pixels).unwrap()
    };
    let best = row(SimdLevel::best());
    for simd in SimdLevel::available() {
        assert!(row(simd) == best, "{simd}");
    }
}

#[test]
fn a_batch_may_be_smaller_and_not_larger() {
    let pixels = pictures(3, MIN_SIDE);
    let values = pixels.len() / 3;
    for kernels in [Kernels::Own, Kernels::Libtorch] {
        let network = network(MIN_SIDE, 2, kernels);
        let both = network.forward(&pixels[..2 * values]).unwrap();
        assert_eq!(network.forward(&pixels[..values]).unwrap(), both[..COLUMNS]);
        for wrong in [&pixels[..], &pixels[..values + 1], &[]] {
            let expected = NetworkError::Pixels { batch_size: 2, picture_len: values, found: wrong.len() };
            assert_eq!(network.forward(wrong), Err(expected));
        }
    }
}

#[test]
fn pictures_too_small_for_the_strides_are_an_error() {
    let engine = Engine::Own(Instructions::best_f32());
    let error = Xception::new(&weights(), MIN_SIDE - 1, 1, engine).err();
    assert_eq!(error, Some(NetworkError::Side { side: MIN_SIDE - 1, min_side: MIN_SIDE, max_side: MAX_SIDE }));
}

#[test]
fn the_network_names_its_kernels_and_their_vectors() {
    for instructions in Instructions::available() {
        let network = Xception::new(&weights(), MIN_SIDE, 1, Engine::Own(instructions)).unwrap();
        assert_eq!(network.kernels(), format!("icebox's own ({instructions}, tiles of 6 pixels x 2 vectors)"));
    }
}
