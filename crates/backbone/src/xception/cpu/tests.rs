//! The layers against their definitions in double precision.

use std::array;

use end_to_end::relative_distance;
use pulp::Scalar;

use super::buffers::Buffer;
use super::maps::side_by_side;
use super::product::{Results, Whole, by_input};
use super::strassen::Strassen;
use super::*;

/// Numbers from -1 to 1, the same every time.
fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn maps(pictures: usize, side: usize, channels: usize) -> Maps {
    let mut maps = Maps { pictures, side, channels, values: Buffers::default().take(0) };
    maps.values = maps.values.another(pictures * maps.groups() * maps.plane());
    for (n, value) in numbers(pictures * side * side * channels, 1).into_iter().enumerate() {
        let place = place(&maps, n / channels / (side * side), n / channels % (side * side), n % channels);
        maps.values[place] = value;
    }
    maps
}

/// Where a value is.
fn place(x: &Maps, picture: usize, pixel: usize, channel: usize) -> usize {
    let group = side_by_side(x.channels);
    x.place(picture, channel / group, pixel) + channel % group
}

/// All values, NHWC.
fn values(x: &Maps) -> Vec<f32> {
    let pixels = x.side * x.side;
    let of_pixel = |n: usize| (0..x.channels).map(move |channel| x.values[place(x, n / pixels, n % pixels, channel)]);
    (0..x.pictures * pixels).flat_map(of_pixel).collect()
}

fn kernel(side: usize, inputs: usize, outputs: usize) -> Kernel {
    let values = numbers(side * side * inputs * outputs, 2);
    Kernel { side, inputs, outputs, values, bias: numbers(outputs, 3) }
}

/// A value of the maps, zero around them.
fn at(x: &Maps, picture: usize, [row, column]: [usize; 2], offset: [usize; 2], channel: usize) -> f64 {
    let inside = |place: usize, offset: usize| (place + offset).checked_sub(1).filter(|place| *place < x.side);
    match (inside(row, offset[0]), inside(column, offset[1])) {
        (Some(row), Some(column)) => f64::from(x.values[place(x, picture, row * x.side + column, channel)]),
        _ => 0.0,
    }
}

fn relu(value: f64, activation: Activation) -> f64 {
    match activation {
        Activation::None => value,
        Activation::Relu => value.max(0.0),
    }
}

/// The places of a result, in their order.
fn places(pictures: usize, side: usize) -> impl Iterator<Item = (usize, [usize; 2])> {
    (0..pictures * side * side).map(move |pixel| (pixel / (side * side), [pixel / side % side, pixel % side]))
}

/// (pixels, inputs) x (inputs, outputs) + bias, to compare with.
fn product(inputs: &[Vec<f64>], kernel: &Kernel, after: Activation) -> Vec<f64> {
    let of_pixel = |inputs: &Vec<f64>| {
        let mut sums: Vec<f64> = kernel.bias.iter().copied().map(f64::from).collect();
        for (input, weights) in inputs.iter().zip(kernel.values.chunks_exact(kernel.outputs)) {
            sums.iter_mut().zip(weights).for_each(|(sum, &weight)| *sum += input * f64::from(weight));
        }
        sums.into_iter().map(|sum| relu(sum, after)).collect::<Vec<_>>()
    };
    inputs.iter().flat_map(of_pixel).collect()
}

#[track_caller]
fn assert_close(found: &[f32], expected: &[f64]) {
    let expected: Vec<f32> = expected.iter().map(|&value| value as f32).collect();
    let relative = relative_distance(found, &expected);
    assert!(relative < 2e-6, "{relative:e}");
}

fn separable(depthwise: &[f32], pointwise: &Kernel, before: Activation, after: Activation) -> Separable {
    let depthwise = Kernel {
        side: 3,
        inputs: pointwise.inputs,
        outputs: pointwise.inputs,
        values: depthwise.to_vec(),
        bias: vec![],
    };
    let shape = Shape { pictures: 1, side: 1, channels: pointwise.inputs };
    Cpu::default().separable(before, [depthwise, pointwise.clone()], after, shape).unwrap()
}

/// Sides even and odd, one pixel and more than a band; layers too small to be cut into halves, and large ones whose
/// halves differ, fill no vector, and do not fit into one panel.
const SEPARABLE: [(usize, usize, usize, usize); 8] = [
    (2, 5, 7, 5),
    (1, 14, 40, 70),
    (3, 1, 16, 16),
    (5, 9, 257, 263),
    (1, 19, 256, 300),
    (2, 1, 300, 256),
    (2, 3, 800, 259),
    (1, 3, 400, 5),
];

#[test]
fn pixels_are_brought_to_the_range_from_minus_one_to_one() {
    let input = Cpu::default().input(&[0, 51, 255], Shape { pictures: 1, side: 1, channels: 3 }).unwrap();
    assert_eq!(&*input.values, [-1.0, 51.0f32 / 127.5 - 1.0, 1.0]);
}

#[test]
fn a_separable_convolution_is_what_its_definition_says() {
    use Activation::{None, Relu};
    for (pictures, side, inputs, outputs) in SEPARABLE {
        for (before, after) in [(None, Relu), (Relu, None)] {
            let (x, pointwise) = (maps(pictures, side, inputs), kernel(1, inputs, outputs));
            let depthwise = numbers(9 * inputs, 4);
            let sums = |(picture, place): (usize, [usize; 2])| {
                let of_channel = |channel: usize| {
                    let value = |tap: usize| relu(at(&x, picture, place, [tap / 3, tap % 3], channel), before);
                    (0..9).map(|tap| value(tap) * f64::from(depthwise[tap * inputs + channel])).sum()
                };
                (0..inputs).map(of_channel).collect()
            };
            let expected = product(&places(pictures, side).map(sums).collect::<Vec<_>>(), &pointwise, after);
            let found = separable(&depthwise, &pointwise, before, after);
            assert_close(&values(&found.forward(&x).unwrap()), &expected);

            let sum = maps(pictures, side, outputs);
            let onto: Vec<f64> = match after {
                None => expected.iter().zip(values(&sum)).map(|(value, sum)| value + f64::from(sum)).collect(),
                Relu => continue,
            };
            assert_close(&values(&found.forward_onto(&x, sum).unwrap()), &onto);
        }
    }
}

#[test]
fn a_convolution_is_what_its_definition_says() {
    for (pictures, side, window, stride, inputs, outputs) in [
        (2, 9, 3, 2, 3, 5),
        (1, 12, 3, 1, 32, 64),
        (3, 7, 1, 2, 20, 33),
        (2, 11, 1, 2, 257, 300),
        (1, 5, 3, 1, 60, 20),
        (2, 17, 3, 1, 20, 33),
    ] {
        let (x, kernel) = (maps(pictures, side, inputs), kernel(window, inputs, outputs));
        let leaving = (side - window) / stride + 1;
        let window_of = |(picture, [row, column]): (usize, [usize; 2])| {
            let value = |input: usize| {
                let (tap, channel) = (input / inputs, input % inputs);
                let offset = [tap / window + 1, tap % window + 1];
                at(&x, picture, [row * stride, column * stride], offset, channel)
            };
            (0..window * window * inputs).map(value).collect()
        };
        let inputs: Vec<_> = places(pictures, leaving).map(window_of).collect();
        let expected = product(&inputs, &kernel, Activation::Relu);
        let shape = Shape { pictures, side, channels: x.channels };
        let layer = Cpu::default().convolution(kernel, stride, Activation::Relu, shape).unwrap();
        assert_close(&values(&layer.forward(&x).unwrap()), &expected);
    }
}

#[test]
fn a_result_is_the_same_bits_in_any_batch() {
    let (inputs, outputs, side) = (300, 280, 9);
    let layer = separable(&numbers(9 * inputs, 4), &kernel(1, inputs, outputs), Activation::Relu, Activation::None);
    let together = layer.forward(&maps(9, side, inputs)).unwrap();
    for picture in 0..9 {
        let mut alone = maps(1, side, inputs);
        let of_picture = alone.values.len();
        alone.values.copy_from_slice(&maps(9, side, inputs).values[picture * of_picture..][..of_picture]);
        let alone = layer.forward(&alone).unwrap();
        let [alone, together] = [&alone, &together].map(values);
        assert_eq!(alone, together[picture * alone.len()..][..alone.len()]);
    }
}

#[test]
fn a_result_is_the_same_bits_whatever_the_length_of_a_vector() {
    /// The product of a depthwise convolution's sums by either way, its input pooled, and other maps convolved by blocks,
    /// in vectors of this length.
    struct By<'a>(Depthwise<'a>, &'a Kernel, &'a Maps, &'a Kernel);

    impl WithSimd for By<'_> {
        type Output = [Vec<f32>; 4];

        fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
            let Self(sums @ Depthwise { x, .. }, kernel, few, window) = self;
            let columns = Columns.with_simd(simd);
            let results = Results::new(kernel, Activation::Relu);
            let mut out: [Maps; 2] = array::from_fn(|_| x.beside(x.side, kernel.outputs));
            let [whole, halved] = &mut out;
            Whole::pack(&by_input(kernel), kernel.outputs, columns).run(simd, &sums, &results, whole, false);
            Strassen::pack(&by_input(kernel), kernel.outputs, columns).run(simd, &sums, &results, halved, false);
            let layer = Winograd::pack(window, 1, Activation::Relu, columns).unwrap();
            let mut convolved = few.beside(few.side - 2, window.outputs);
            winograd::Run { layer: &layer, x: few, out: &mut convolved, onto: false }.with_simd(simd);
            let mut pooled = x.beside(x.side.div_ceil(2), x.channels);
            pool::Halve { x, out: &mut pooled }.with_simd(simd);
            let [whole, halved] = out;
            let all = [whole, halved, convolved, pooled];
            assert!(all.iter().flat_map(|maps| &*maps.values).all(|value| value.is_finite()));
            all.map(|maps| values(&maps))
        }
    }

    let (x, kernel, depthwise) = (maps(2, 5, 71), kernel(1, 71, 75), numbers(9 * 80, 4));
    let (few, window) = (maps(2, 9, 20), self::kernel(3, 20, 30));
    // Buffers are used again: nothing of what is in them may be left, not even behind the last channel.
    for maps in [&x, &few] {
        let mut used: [Buffer; 8] = array::from_fn(|_| maps.values.another(200_000));
        used.iter_mut().for_each(|buffer| buffer.fill(f32::NAN));
    }
    let by = || By(Depthwise { x: &x, before: Activation::Relu, kernel: &depthwise }, &kernel, &few, &window);
    assert_eq!(by().with_simd(Scalar::new()), Arch::new().dispatch(by()));
}

#[test]
fn what_is_no_number_stays_so() {
    let mut x = maps(1, 5, 300);
    let layer = separable(&numbers(9 * 300, 4), &kernel(1, 300, 280), Activation::Relu, Activation::Relu);
    assert!(values(&layer.forward(&x).unwrap()).iter().all(|value| value.is_finite()));
    let place = place(&x, 0, 12, 7);
    x.values[place] = f32::NAN;
    assert!(values(&layer.forward(&x).unwrap())[280 * 12..][..280].iter().all(|value| value.is_nan()));
}

#[test]
fn pooling_takes_the_largest_of_what_is_there() {
    for (side, first) in [(6, 0), (7, -1), (1, -1), (2, 0)] {
        let x = maps(2, side, 11);
        let largest = |(picture, [row, column]): (usize, [usize; 2])| {
            let x = &x;
            let of_channel = move |channel: usize| {
                let window = |place: usize| {
                    (0..3).filter_map(move |offset| usize::try_from(2 * place as i64 + first + offset).ok())
                };
                let inside = |place: &usize| *place < side;
                let rows = window(row).filter(inside);
                let values = rows.flat_map(|row| window(column).filter(inside).map(move |column| (row, column)));
                let value = |(row, column)| x.values[place(x, picture, row * side + column, channel)];
                values.map(value).fold(f32::NEG_INFINITY, f32::max)
            };
            (0..11).map(of_channel).collect::<Vec<_>>()
        };
        let expected: Vec<f32> = places(2, side.div_ceil(2)).flat_map(largest).collect();
        assert_eq!(values(&pool::halve(&x)), expected);
    }
}
