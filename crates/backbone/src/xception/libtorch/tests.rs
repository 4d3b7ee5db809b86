//! What a GPU is given to do, here on the CPU: plain convolutions, in each of its precisions.

use super::*;
use crate::distance::relative_l2;
use crate::weights::Weights;
use crate::xception::cpu::Cpu;
use crate::xception::layers::Layers;

fn plain(kind: Kind) -> Libtorch {
    Libtorch { device: Device::Cpu, kind, fused: false }
}

#[test]
fn pixels_are_brought_to_the_range_from_minus_one_to_one_and_stay_in_place() {
    let shape = Shape { pictures: 2, side: 2, channels: 3 };
    let pixels: Vec<u8> = (0..24).map(|n| n * 11).collect();
    for (kind, allowed) in [(Kind::Float, 0.0), (Kind::Half, 5e-4)] {
        let input = plain(kind).input(&pixels, shape).unwrap();
        assert_eq!((input.kind(), input.size()), (kind, vec![2, 3, 2, 2]));
        for (n, &pixel) in pixels.iter().enumerate() {
            let [picture, row, column, channel] = [n / 12, n / 6 % 2, n / 3 % 2, n % 3].map(|place| place as i64);
            let value = input.double_value(&[picture, channel, row, column]) as f32;
            let expected = f32::from(pixel) / 127.5 - 1.0;
            assert!((value - expected).abs() <= allowed, "{kind:?}, {n}: {value} and {expected}");
        }
    }
}

#[test]
fn only_a_processors_convolutions_are_fused() {
    let f32s = Libtorch::new(compute::Device::Cpu, Precision::F32);
    assert_eq!((f32s.kind, f32s.fused), (Kind::Float, onednn::AVAILABLE));
    let halves = Libtorch::new(compute::Device::Cuda(0), Precision::F16);
    assert_eq!((halves.kind, halves.fused), (Kind::Half, false));
}

#[test]
fn the_network_of_plain_convolutions_gives_the_rows_of_our_kernels() {
    let weights = concat!(env!("CARGO_MANIFEST_DIR"), "/../../data/weights/xception.safetensors");
    let weights = Weights::load(weights.as_ref()).expect("run scripts/setup first");
    let shape = Shape { pictures: 2, side: 71, channels: 3 };
    let pixels: Vec<u8> = (0..2 * 71 * 71 * 3).map(|n| (n / 7 * 31 % 256) as u8).collect();
    let ours = Layers::new(Cpu::default(), &weights, shape).unwrap().forward(&pixels, |_| {}).unwrap();
    for (kind, expected) in [(Kind::Float, 1e-8..5e-6), (Kind::Half, 1e-4..1e-2), (Kind::BFloat16, 1e-3..4e-2)] {
        let network = Layers::new(plain(kind), &weights, shape).unwrap();
        let difference = relative_l2(&network.forward(&pixels, |_| {}).unwrap(), &ours);
        assert!(expected.contains(&difference), "{kind:?}: {difference:e}");
    }
}
