//! The network's input in f32 and f16, tested on the CPU, and which devices fuse convolutions.

use super::*;

fn on_cpu(format: NumberFormat) -> Libtorch {
    Libtorch::new(compute::Device::Cpu, format)
}

#[test]
fn pixels_are_scaled_to_minus_one_to_one_in_nchw() {
    let shape = Shape { pictures: 2, side: 2, channels: 3 };
    let pixels: Vec<u8> = (0..24).map(|n| n * 11).collect();
    for (format, kind, allowed) in [(NumberFormat::F32, Kind::Float, 0.0), (NumberFormat::F16, Kind::Half, 5e-4)] {
        let input = on_cpu(format).input(&pixels, shape).unwrap();
        assert_eq!((input.kind(), input.size()), (kind, vec![2, 3, 2, 2]));
        for (n, &pixel) in pixels.iter().enumerate() {
            let [picture, row, column, channel] = [n / 12, n / 6 % 2, n / 3 % 2, n % 3].map(|index| index as i64);
            let value = input.double_value(&[picture, channel, row, column]) as f32;
            let expected = f32::from(pixel) / 127.5 - 1.0;
            assert!((value - expected).abs() <= allowed, "{kind:?}, {n}: {value} and {expected}");
        }
    }
}

#[test]
fn a_smaller_batch_is_filled_up_with_black_pictures() {
    let shape = Shape { pictures: 3, side: 2, channels: 3 };
    let input = on_cpu(NumberFormat::F32).input(&[255; 12], shape).unwrap();
    assert_eq!(input.size(), [3, 3, 2, 2]);
    let picture = |n| input.get(n).mean(Kind::Float).double_value(&[]);
    assert_eq!([picture(0), picture(1), picture(2)], [1.0, -1.0, -1.0]);
}

#[test]
fn only_convolutions_on_the_cpu_are_fused() {
    let on_cpu = Libtorch::new(compute::Device::Cpu, NumberFormat::F32);
    assert_eq!((on_cpu.kind, on_cpu.fused), (Kind::Float, onednn::AVAILABLE));
    let on_gpu = Libtorch::new(compute::Device::Cuda(0), NumberFormat::F16);
    assert_eq!((on_gpu.kind, on_gpu.fused), (Kind::Half, false));
}
