//! What a GPU is given to do, here on the CPU: plain convolutions, and half precision.

use super::*;

const SHAPE: Shape = Shape { pictures: 2, side: 7, channels: 5 };

/// Numbers from -1 to 1, the same every time.
fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|n| (n * 37 % 101) as f32 / 50.0 - 1.0).collect()
}

fn kernel(side: usize, inputs: usize, outputs: usize) -> Kernel {
    Kernel { side, inputs, outputs, values: numbers(side * side * inputs * outputs), bias: numbers(outputs) }
}

fn on_cpu(kind: Kind, fused: bool) -> Libtorch {
    Libtorch { device: Device::Cpu, kind, fused }
}

/// What each kind of layer makes of the same maps, in f32.
fn results(backend: Libtorch) -> Vec<Tensor> {
    let Shape { pictures, side, channels } = SHAPE;
    let maps = Tensor::from_slice(&numbers(pictures * side * side * channels));
    let maps = maps.view([2, 7, 7, 5]).permute([0, 3, 1, 2]).to_kind(backend.kind);
    let convolution = backend.convolution(kernel(3, 5, 6), 2, Activation::Relu, SHAPE).unwrap();
    let depthwise = Kernel { outputs: 5, bias: vec![], ..kernel(3, 5, 1) };
    let separable =
        |before, after| backend.separable(before, [depthwise.clone(), kernel(1, 5, 5)], after, SHAPE).unwrap();
    let added = separable(Activation::Relu, Activation::None);
    let all = [
        convolution.forward(&maps),
        separable(Activation::None, Activation::Relu).forward(&maps),
        added.forward_onto(&maps, maps.copy()),
        Libtorch::halve(&maps),
    ];
    all.map(|result| result.unwrap().to_kind(Kind::Float)).into()
}

/// The largest difference, relative to the largest value.
fn difference(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.size(), b.size());
    f64::try_from((a - b).abs().max() / b.abs().max()).unwrap()
}

#[test]
fn plain_convolutions_give_what_fused_ones_give_and_half_precision_is_near() {
    let fused = results(on_cpu(Kind::Float, onednn::AVAILABLE));
    for (kind, allowed) in [(Kind::Float, 1e-6), (Kind::Half, 2e-3)] {
        for (n, (plain, fused)) in results(on_cpu(kind, false)).iter().zip(&fused).enumerate() {
            let difference = difference(plain, fused);
            assert!(difference < allowed, "{kind:?}, layer {n}: {difference:e}");
        }
    }
}

#[test]
fn pixels_are_brought_to_the_range_from_minus_one_to_one() {
    for (kind, allowed) in [(Kind::Float, 0.0), (Kind::Half, 5e-4)] {
        let shape = Shape { pictures: 1, side: 1, channels: 3 };
        let input = on_cpu(kind, false).input(&[0, 51, 255], shape).unwrap();
        assert_eq!((input.kind(), input.size()), (kind, vec![1, 3, 1, 1]));
        let values = Vec::<f32>::try_from(input.to_kind(Kind::Float).flatten(0, -1)).unwrap();
        let expected = [-1.0, 51.0f32 / 127.5 - 1.0, 1.0];
        assert!(values.iter().zip(expected).all(|(value, expected)| (value - expected).abs() <= allowed), "{values:?}");
    }
}
