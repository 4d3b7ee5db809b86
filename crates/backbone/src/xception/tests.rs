//! The network as a whole, in each backend.

use super::*;
use crate::backend::cpu::Cpu;
use crate::processor::Instructions;

#[test]
fn a_picture_takes_as_many_multiply_adds_as_keras_counts() {
    // Of Keras's model, summed over its layers.
    assert_eq!(multiply_adds(150).iter().sum::<u64>() / 1_000_000, 1924);
    assert_eq!(multiply_adds(299).iter().sum::<u64>() / 1_000_000, 8355);
    // 8 times 3 separable convolutions over 9x9 pixels.
    let middle = 3 * 81 * (728 * 728 + 9 * 728);
    assert_eq!(multiply_adds(150)[4..12], [middle; 8]);
}

fn weights() -> Weights {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../data/weights/xception.safetensors");
    Weights::load(path.as_ref()).expect("run scripts/setup first")
}

/// Different pictures of the smallest size.
fn pixels(pictures: usize) -> Vec<u8> {
    (0..pictures * 71 * 71 * 3).map(|n| (n / 7 * 31 % 256) as u8).collect()
}

fn architecture<B: Backend>(
    backend: B,
    weights: &Weights,
    batch_size: usize,
    entry_pictures: usize,
) -> Architecture<B> {
    let input = Shape { pictures: batch_size, side: 71, channels: 3 };
    Architecture::new(backend, weights, input, entry_pictures).unwrap()
}

#[test]
fn any_number_of_pictures_can_go_through_the_entry_flow_at_a_time() {
    let (weights, pixels) = (weights(), pixels(5));
    let cpu = || Cpu::new(Instructions::best_f32());
    let expected = architecture(cpu(), &weights, 5, 1).forward(&pixels, &mut |_| {}).unwrap();
    for entry_pictures in [2, 3, usize::MAX] {
        let mut entered = 0;
        let network = architecture(cpu(), &weights, 5, entry_pictures);
        let rows = network.forward(&pixels, &mut |block| entered += usize::from(block == 4)).unwrap();
        assert_eq!(entered, 5usize.div_ceil(entry_pictures), "{entry_pictures} at a time");
        assert_eq!(rows, expected, "{entry_pictures} at a time");
    }
}

#[test]
fn the_operations_are_those_of_the_paper() {
    let operations = operations(&weights(), 71).unwrap();
    let count = |matches: fn(&Operation) -> bool| operations.iter().filter(|operation| matches(operation)).count();
    assert_eq!(count(|operation| matches!(operation, Operation::Conv2d { .. })), 2 + 4);
    assert_eq!(count(|operation| matches!(operation, Operation::SeparableConv2d { .. })), 3 * 2 + 8 * 3 + 2 + 2);
    assert_eq!(count(|operation| matches!(operation, Operation::Add { .. })), 4 + 8);
    let mut pooled_sides = Vec::new();
    for (number, operation) in operations.iter().enumerate() {
        let inputs = match *operation {
            Operation::Input => {
                assert_eq!(number, 0);
                vec![]
            }
            Operation::Conv2d { x, .. } | Operation::SeparableConv2d { x, .. } => vec![x],
            Operation::MaxPool { x, side } => {
                pooled_sides.push(side);
                vec![x]
            }
            Operation::Add { x, y } => vec![x, y],
            Operation::GlobalAveragePool { x } => {
                assert_eq!(number + 1, operations.len());
                vec![x]
            }
        };
        assert!(inputs.into_iter().all(|input| input < number), "{number}");
    }
    assert_eq!(pooled_sides, [33, 17, 9, 5]);
    assert!(super::operations(&weights(), 70).is_err());
}

#[cfg(feature = "libtorch")]
mod with_libtorch {
    use super::*;
    use crate::backend::libtorch::Libtorch;
    use crate::compute::Device;
    use crate::distance::relative_l2;
    use crate::precision::NumberFormat;

    #[test]
    fn any_number_of_pictures_can_go_through_the_entry_flow_at_a_time() {
        let (weights, pixels) = (weights(), pixels(5));
        let libtorch = Libtorch::new(Device::Cpu, NumberFormat::F32);
        let expected = architecture(libtorch, &weights, 5, usize::MAX).forward(&pixels, &mut |_| {}).unwrap();
        for entry_pictures in [1, 2, 3] {
            let rows = architecture(libtorch, &weights, 5, entry_pictures).forward(&pixels, &mut |_| {}).unwrap();
            for (row, expected) in rows.chunks_exact(COLUMNS).zip(expected.chunks_exact(COLUMNS)) {
                assert!(relative_l2(row, expected) < 5e-6, "{entry_pictures} at a time");
            }
            assert_eq!(rows.len(), expected.len());
        }
    }

    /// What runs on a GPU, here on the CPU.
    #[test]
    fn unfused_convolutions_give_the_rows_of_our_kernels_in_each_precision() {
        let (weights, pixels) = (weights(), pixels(2));
        let own =
            architecture(Cpu::new(Instructions::best_f32()), &weights, 2, 1).forward(&pixels, &mut |_| {}).unwrap();
        let expected =
            [(NumberFormat::F32, 1e-8..5e-6), (NumberFormat::F16, 1e-4..1e-2), (NumberFormat::Bf16, 1e-3..4e-2)];
        for (format, expected) in expected {
            let unfused = Libtorch::new(Device::Cpu, format).without_onednn();
            let rows = architecture(unfused, &weights, 2, usize::MAX).forward(&pixels, &mut |_| {}).unwrap();
            let difference = relative_l2(&rows, &own);
            assert!(expected.contains(&difference), "{}: {difference:e}", format.name());
        }
    }
}
