//! The layers against their definitions in f64, and with vectors of every length against each other.

use super::direct::Direct;
use super::feature_maps::group_width;
use super::strassen::Strassen;
use super::weight_matrix::WeightMatrix;
use super::*;
use crate::distance::relative_l2;
use crate::processor::SimdLevel;

/// Numbers from -1 to 1, the same every time.
fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut numbers = Vec::with_capacity(count);
    for _ in 0..count {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        numbers.push((state >> 8) as f32 / (1 << 23) as f32 - 1.0);
    }
    numbers
}

fn cpu() -> Cpu {
    Cpu::new(Instructions::best_f32())
}

/// The number formats that this processor has, each with the relative L2 distance that its rounding may cause.
fn formats() -> Vec<(Cpu, f64)> {
    let bf16 = Instructions::bf16().map(|instructions| (Cpu::new(instructions), 6e-3));
    [(cpu(), 2e-6)].into_iter().chain(bf16).collect()
}

/// Feature maps of numbers.
fn maps(cpu: &Cpu, pictures: usize, side: usize, channels: usize) -> FeatureMaps {
    let mut maps = empty_maps(cpu, pictures, side, channels);
    for (n, value) in numbers(pictures * side * side * channels, 1).into_iter().enumerate() {
        let (pixel, channel) = (n / channels, n % channels);
        let start = index(&maps, pixel / (side * side), pixel % (side * side), channel);
        set(cpu, &mut maps, start, value);
    }
    maps
}

/// Feature maps of zeros.
fn empty_maps(cpu: &Cpu, pictures: usize, side: usize, channels: usize) -> FeatureMaps {
    struct ElementSize;

    impl Task for ElementSize {
        type Output = usize;

        fn run<K: Microkernel>(self, _: K) -> usize {
            size_of::<K::Element>()
        }
    }

    let groups = channels.div_ceil(group_width(channels));
    let elements = pictures * groups * side * side * group_width(channels);
    let bytes = Buffers::default().take(elements * cpu.run(ElementSize));
    FeatureMaps { pictures, side, channels, bytes }
}

/// Rounds a value to the format's elements and writes it.
fn set(cpu: &Cpu, maps: &mut FeatureMaps, index: usize, value: f32) {
    struct Set<'a>(&'a mut FeatureMaps, usize, f32);

    impl Task for Set<'_> {
        type Output = ();

        fn run<K: Microkernel>(self, _: K) {
            self.0.elements_mut::<K>()[self.1] = K::element(self.2);
        }
    }

    cpu.run(Set(maps, index, value));
}

/// All elements.
fn elements(cpu: &Cpu, maps: &FeatureMaps) -> Vec<f32> {
    struct Elements<'a>(&'a FeatureMaps);

    impl Task for Elements<'_> {
        type Output = Vec<f32>;

        fn run<K: Microkernel>(self, kernel: K) -> Vec<f32> {
            let mut values = Vec::new();
            for elements in self.0.elements::<K>().chunks(K::LANES) {
                let mut vector = vec![K::element(0.0); K::LANES];
                vector[..elements.len()].copy_from_slice(elements);
                let mut loaded = vec![0.0; K::LANES];
                kernel.store_f32(kernel.load(&vector), &mut loaded);
                values.extend(&loaded[..elements.len()]);
            }
            values
        }
    }

    cpu.run(Elements(maps))
}

/// Where a value is.
fn index(x: &FeatureMaps, picture: usize, pixel: usize, channel: usize) -> usize {
    let group = group_width(x.channels);
    x.index(picture, channel / group, pixel) + channel % group
}

/// All values, NHWC.
fn nhwc(cpu: &Cpu, x: &FeatureMaps) -> Vec<f32> {
    let elements = elements(cpu, x);
    let mut values = Vec::new();
    for picture in 0..x.pictures {
        for pixel in 0..x.side * x.side {
            for channel in 0..x.channels {
                values.push(elements[index(x, picture, pixel, channel)]);
            }
        }
    }
    values
}

/// Weights of numbers.
fn weights(side: usize, inputs: usize, outputs: usize) -> ConvWeights {
    let kernel = numbers(side * side * inputs * outputs, 2);
    ConvWeights { side, inputs, outputs, kernel, bias: numbers(outputs, 3) }
}

/// Weights of a depthwise 3x3 convolution.
fn depthwise_weights(channels: usize) -> ConvWeights {
    ConvWeights { side: 3, inputs: channels, outputs: channels, kernel: numbers(9 * channels, 4), bias: Vec::new() }
}

/// A separable convolution of numbers, prepared.
fn separable(cpu: &Cpu, inputs: usize, outputs: usize, activations: [Activation; 2]) -> SeparableConv2d {
    let [input_activation, activation] = activations;
    let (depthwise, pointwise) = (depthwise_weights(inputs), weights(1, inputs, outputs));
    let params = SeparableConv2dParams { name: String::new(), input_activation, depthwise, pointwise, activation };
    cpu.prepare_separable_conv2d(&params, Shape { pictures: 1, side: 1, channels: inputs }).unwrap()
}

fn activated(value: f64, activation: Activation) -> f64 {
    match activation {
        Activation::Linear => value,
        Activation::Relu => value.max(0.0),
    }
}

/// A convolution by its definition, NHWC, of maps that are surrounded by `padding` pixels of zeros.
fn defined_conv2d(x: &[f64], shape: Shape, weights: &ConvWeights, stride: usize, padding: usize) -> Vec<f64> {
    let Shape { pictures, side, channels } = shape;
    let out_side = (side + 2 * padding - weights.side) / stride + 1;
    let mut results = Vec::new();
    for picture in 0..pictures {
        for out_row in 0..out_side {
            for out_column in 0..out_side {
                let mut sums: Vec<f64> = weights.bias.iter().map(|&bias| f64::from(bias)).collect();
                for tap in 0..weights.side * weights.side {
                    let (row, column) =
                        (out_row * stride + tap / weights.side, out_column * stride + tap % weights.side);
                    let inside = padding..side + padding;
                    if !inside.contains(&row) || !inside.contains(&column) {
                        continue;
                    }
                    let pixel = (picture * side + row - padding) * side + column - padding;
                    for channel in 0..channels {
                        let of_input = &weights.kernel[(tap * channels + channel) * weights.outputs..];
                        for (sum, &weight) in sums.iter_mut().zip(of_input) {
                            *sum += x[pixel * channels + channel] * f64::from(weight);
                        }
                    }
                }
                results.append(&mut sums);
            }
        }
    }
    results
}

/// A depthwise 3x3 convolution that keeps the side, by its definition: channel by channel.
fn defined_depthwise(x: &[f64], shape: Shape, weights: &ConvWeights) -> Vec<f64> {
    let Shape { channels, .. } = shape;
    let mut results = vec![0.0; x.len()];
    for channel in 0..channels {
        let plane: Vec<f64> = x.iter().skip(channel).step_by(channels).copied().collect();
        let taps = weights.kernel.iter().skip(channel).step_by(channels).copied().collect();
        let weights = ConvWeights { side: 3, inputs: 1, outputs: 1, kernel: taps, bias: vec![0.0] };
        let sums = defined_conv2d(&plane, Shape { channels: 1, ..shape }, &weights, 1, 1);
        for (pixel, sum) in sums.into_iter().enumerate() {
            results[pixel * channels + channel] = sum;
        }
    }
    results
}

#[track_caller]
fn assert_close(found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    let expected: Vec<f32> = expected.iter().map(|&value| value as f32).collect();
    let relative = relative_l2(found, &expected);
    assert!(relative < tolerance, "{relative:e}");
}

/// (pictures, side, inputs, outputs): sides even and odd, one pixel and more than a band; layers too small to be cut
/// into halves, and large ones whose halves differ, fill no vector, and do not fit into one panel.
const SEPARABLE: [(usize, usize, usize, usize); 9] = [
    (2, 5, 7, 5),
    (1, 14, 40, 70),
    (3, 1, 16, 16),
    (5, 9, 257, 263),
    (1, 19, 256, 300),
    (2, 1, 300, 256),
    (2, 3, 800, 259),
    (1, 3, 400, 5),
    (1, 2, 1600, 5),
];

/// (pictures, side, window, stride, inputs, outputs).
const CONV2D: [(usize, usize, usize, usize, usize, usize); 6] = [
    (2, 9, 3, 2, 3, 5),
    (1, 12, 3, 1, 32, 64),
    (3, 7, 1, 2, 20, 33),
    (2, 11, 1, 2, 257, 300),
    (1, 5, 3, 1, 60, 20),
    (2, 17, 3, 1, 20, 33),
];

#[test]
fn pixels_are_brought_to_the_range_from_minus_one_to_one() {
    for (cpu, tolerance) in formats() {
        let input = cpu.input(&[0, 51, 255], Shape { pictures: 2, side: 1, channels: 3 }).unwrap();
        assert_eq!(input.pictures, 1);
        assert_close(&elements(&cpu, &input), &[-1.0, 51.0 / 127.5 - 1.0, 1.0], tolerance);
    }
}

/// Fills the memory that the next layers of these maps will use with NaN: none of it may get into a result.
fn spoil_memory(maps: &FeatureMaps) {
    let mut used: Vec<_> = (0..8).map(|_| maps.take_buffer::<f32>(600_000)).collect();
    used.iter_mut().for_each(|buffer| buffer.fill(f32::NAN));
}

#[test]
fn a_separable_convolution_is_what_its_definition_says() {
    use Activation::{Linear, Relu};
    for (cpu, tolerance) in formats() {
        for (pictures, side, inputs, outputs) in SEPARABLE {
            let shape = Shape { pictures, side, channels: inputs };
            let x = maps(&cpu, pictures, side, inputs);
            spoil_memory(&x);
            for [before, after] in [[Linear, Relu], [Relu, Linear]] {
                let values = nhwc(&cpu, &x).into_iter().map(|value| activated(f64::from(value), before));
                let sums = defined_depthwise(&values.collect::<Vec<_>>(), shape, &depthwise_weights(inputs));
                let mut expected = defined_conv2d(&sums, shape, &weights(1, inputs, outputs), 1, 0);
                for value in &mut expected {
                    *value = activated(*value, after);
                }
                let layer = separable(&cpu, inputs, outputs, [before, after]);
                let found = cpu.separable_conv2d(&layer, &x).unwrap();
                assert_close(&nhwc(&cpu, &found), &expected, tolerance);

                if after == Linear {
                    let sum = maps(&cpu, pictures, side, outputs);
                    for (value, sum) in expected.iter_mut().zip(nhwc(&cpu, &sum)) {
                        *value += f64::from(sum);
                    }
                    let found = cpu.separable_conv2d_accumulate(&layer, &x, sum).unwrap();
                    assert_close(&nhwc(&cpu, &found), &expected, tolerance);
                }
            }
        }
    }
}

#[test]
fn a_convolution_is_what_its_definition_says() {
    for (cpu, tolerance) in formats() {
        for (pictures, side, window, stride, inputs, outputs) in CONV2D {
            let (x, weights) = (maps(&cpu, pictures, side, inputs), weights(window, inputs, outputs));
            spoil_memory(&x);
            let shape = Shape { pictures, side, channels: inputs };
            let values: Vec<f64> = nhwc(&cpu, &x).into_iter().map(f64::from).collect();
            let mut expected = defined_conv2d(&values, shape, &weights, stride, 0);
            for value in &mut expected {
                *value = value.max(0.0);
            }
            let params = Conv2dParams { name: String::new(), weights, stride, activation: Activation::Relu };
            let layer = cpu.prepare_conv2d(&params, shape).unwrap();
            assert_close(&nhwc(&cpu, &cpu.conv2d(&layer, &x).unwrap()), &expected, tolerance);
        }
    }
}

#[test]
fn a_result_is_the_same_bits_in_any_batch() {
    let (inputs, outputs, side) = (300, 280, 9);
    for (cpu, _) in formats() {
        let layer = separable(&cpu, inputs, outputs, [Activation::Relu, Activation::Linear]);
        let all = maps(&cpu, 9, side, inputs);
        let together = nhwc(&cpu, &cpu.separable_conv2d(&layer, &all).unwrap());
        let picture_bytes = all.bytes.len() / 9;
        for picture in 0..9 {
            let mut x = empty_maps(&cpu, 1, side, inputs);
            x.bytes.copy_from_slice(&all.bytes[picture * picture_bytes..][..picture_bytes]);
            let alone = nhwc(&cpu, &cpu.separable_conv2d(&layer, &x).unwrap());
            assert_eq!(alone, together[picture * alone.len()..][..alone.len()]);
        }
    }
}

/// Sums of one input's products: what is rounded, and how, and that nothing else is.
#[test]
fn bf16_rounds_to_the_nearest_and_ties_to_even() {
    let Some(cpu) = Instructions::bf16().map(Cpu::new) else { return };
    let one = 1.0f32;
    let ulp = 1.0 / 128.0;
    let cases = [
        (one + ulp / 2.0, one),
        (one + ulp * 1.5, one + 2.0 * ulp),
        (one + ulp * 0.51, one + ulp),
        (-one - ulp * 0.49, -one),
        (f32::INFINITY, f32::INFINITY),
        (f32::MAX, f32::INFINITY),
        (1e-3, 0.000_999_450_7),
    ];
    for (value, expected) in cases {
        // As a weight, and as a value of the maps.
        let mut x = empty_maps(&cpu, 1, 1, 16);
        x.bytes.fill(0);
        for [pixel, weight] in [[1.0, value], [value, 1.0]] {
            set(&cpu, &mut x, 0, pixel);
            let mut weights = weights(1, 16, 16);
            weights.kernel.fill(0.0);
            weights.kernel[0] = weight;
            weights.bias.fill(0.0);
            let params = Conv2dParams { name: String::new(), weights, stride: 1, activation: Activation::Linear };
            let layer = cpu.prepare_conv2d(&params, Shape { pictures: 1, side: 1, channels: 16 }).unwrap();
            assert_eq!(nhwc(&cpu, &cpu.conv2d(&layer, &x).unwrap())[0], expected, "{value}");
        }
    }
}

/// The pointwise convolution of a depthwise one's output, by both algorithms.
struct BothProducts<'a> {
    pixels: Depthwise<'a>,
    weights: &'a ConvWeights,
    direct: &'a mut FeatureMaps,
    strassen: &'a mut FeatureMaps,
}

impl Task for BothProducts<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Microkernel>(self, kernel: K) {
        let weights = WeightMatrix::new(self.weights);
        let epilogue = &Epilogue::new(&self.weights.bias, Activation::Relu);
        let output = Output { epilogue, maps: self.direct, accumulate: false };
        Direct::pack::<K>(&weights).run(kernel, &self.pixels, output);
        let output = Output { epilogue, maps: self.strassen, accumulate: false };
        Strassen::pack::<K>(&weights).run(kernel, &self.pixels, output);
    }
}

#[test]
fn a_row_has_the_same_bits_with_any_vector_length() {
    let (x, pointwise) = (maps(&cpu(), 2, 5, 71), weights(1, 71, 75));
    let (few, kernel) = (maps(&cpu(), 2, 9, 20), weights(3, 20, 30));
    // Memory is reused: no old value may be left in it, not even in the channels that pad the last group.
    [&x, &few].into_iter().for_each(spoil_memory);
    let taps = numbers(9 * 80, 4);
    let results = |simd: SimdLevel| {
        let cpu = Cpu::new(Instructions::F32(simd));
        let [mut direct, mut strassen] = [0, 1].map(|_| x.new_like(x.side, pointwise.outputs));
        let pixels = Depthwise { x: &x, activation: Activation::Relu, taps: &taps };
        cpu.run(BothProducts { pixels, weights: &pointwise, direct: &mut direct, strassen: &mut strassen });
        let params =
            Conv2dParams { name: String::new(), weights: kernel.clone(), stride: 1, activation: Activation::Relu };
        let winograd = cpu.prepare_conv2d(&params, Shape { pictures: 2, side: 9, channels: 20 }).unwrap();
        let convolved = cpu.conv2d(&winograd, &few).unwrap();
        let pooled = cpu.max_pool(&x).unwrap();
        let all = [direct, strassen, convolved, pooled];
        assert!(all.iter().flat_map(|maps| elements(&cpu, maps)).all(f32::is_finite));
        all.map(|maps| nhwc(&cpu, &maps))
    };
    let best = results(SimdLevel::best());
    for simd in SimdLevel::available() {
        assert!(results(simd) == best, "{simd}");
    }
}

#[test]
fn nan_stays_nan() {
    for instructions in Instructions::available() {
        let cpu = Cpu::new(instructions);
        let mut x = maps(&cpu, 1, 5, 300);
        let start = index(&x, 0, 12, 7);
        let layer = separable(&cpu, 300, 280, [Activation::Relu, Activation::Relu]);
        set(&cpu, &mut x, start, 0.5);
        assert!(nhwc(&cpu, &cpu.separable_conv2d(&layer, &x).unwrap()).iter().all(|value| value.is_finite()));
        set(&cpu, &mut x, start, f32::NAN);
        let pixel = &nhwc(&cpu, &cpu.separable_conv2d(&layer, &x).unwrap())[280 * 12..280 * 13];
        assert!(pixel.iter().all(|value| value.is_nan()), "{instructions}");
    }
}

#[test]
fn max_pooling_takes_the_largest_value_inside_the_picture() {
    for (cpu, _) in formats() {
        // If the side is odd, the first window starts a pixel outside.
        for (side, padding) in [(6, 0), (7, 1), (1, 1), (2, 0)] {
            let x = maps(&cpu, 2, side, 11);
            let values = elements(&cpu, &x);
            let mut expected = Vec::new();
            for picture in 0..2 {
                for pixel in 0..side.div_ceil(2) * side.div_ceil(2) {
                    let (out_row, out_column) = (pixel / side.div_ceil(2), pixel % side.div_ceil(2));
                    for channel in 0..11 {
                        let mut largest = f32::NEG_INFINITY;
                        for row in 2 * out_row..2 * out_row + 3 {
                            for column in 2 * out_column..2 * out_column + 3 {
                                let inside = padding..side + padding;
                                if inside.contains(&row) && inside.contains(&column) {
                                    let pixel = (row - padding) * side + column - padding;
                                    largest = largest.max(values[index(&x, picture, pixel, channel)]);
                                }
                            }
                        }
                        expected.push(largest);
                    }
                }
            }
            assert_eq!(nhwc(&cpu, &cpu.max_pool(&x).unwrap()), expected);
        }
    }
}

#[test]
fn global_average_pooling_takes_the_mean_of_each_channel() {
    for (cpu, tolerance) in formats() {
        let x = maps(&cpu, 2, 5, 23);
        let values = nhwc(&cpu, &x);
        let mut expected = vec![0.0; 2 * 23];
        for (n, value) in values.into_iter().enumerate() {
            expected[n / (25 * 23) * 23 + n % 23] += f64::from(value) / 25.0;
        }
        assert_close(&cpu.global_average_pool(&x).unwrap(), &expected, tolerance);
    }
}
