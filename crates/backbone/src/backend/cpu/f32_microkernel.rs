//! The microkernel of f32, for vectors of any length.

use pulp::{Simd, WithSimd};

use super::microkernel::{MR, Microkernel, NR_VECTORS, Task, Tile, Vector};
use crate::processor::Vectors;

/// Inputs per turn of the loop.
const UNROLL: usize = 4;

/// f32 numbers, in this processor's vectors.
#[derive(Clone, Copy)]
struct F32<S>(S);

/// Runs a task in f32 with these vectors.
#[inline]
pub(super) fn run<T: Task>(vectors: Vectors, task: T) -> T::Output {
    vectors.dispatch(InF32(task))
}

struct InF32<T>(T);

impl<T: Task> WithSimd for InF32<T> {
    type Output = T::Output;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> T::Output {
        self.0.run(F32(simd))
    }
}

impl<S: Simd> Microkernel for F32<S> {
    type Element = f32;
    type Simd = S;
    const UNROLL: usize = UNROLL;
    const MULTIPLIES_SUMS: bool = true;

    #[inline(always)]
    fn simd(self) -> S {
        self.0
    }

    #[inline(always)]
    fn element(value: f32) -> f32 {
        value
    }

    #[inline(always)]
    fn strip_index(input: usize, output: usize) -> usize {
        input * Self::NR + output
    }

    #[inline(always)]
    fn pack(self, values: Vector<Self>, place: &mut [f32]) {
        self.store(values, place);
    }

    #[inline(always)]
    fn unpack(self, elements: &[f32]) -> Vector<Self> {
        self.load(elements)
    }

    #[inline(always)]
    fn pack_slice(values: &[f32], place: &mut [f32]) {
        place.copy_from_slice(values);
    }

    #[inline(always)]
    fn multiply<const ROW: usize>(self, sums: &Tile<Self>, pixels: &[[f32; ROW]; MR], strip: &[f32]) -> Tile<Self> {
        let mut sums = *sums;
        let inputs = S::as_simd_f32s(strip).0.as_chunks::<NR_VECTORS>().0;
        let turns = inputs.as_chunks::<UNROLL>().0;
        // No strip has more turns than a row: said so, the compiler leaves out all checks of the pixels' indices.
        for (turn, inputs) in turns.iter().enumerate().take(ROW / UNROLL) {
            for (step, weights) in inputs.iter().enumerate() {
                for (pixel, sums) in pixels.iter().zip(&mut sums) {
                    let value = self.splat(pixel[turn * UNROLL + step]);
                    for (sum, &weight) in sums.iter_mut().zip(weights) {
                        *sum = self.mul_add(value, weight, *sum);
                    }
                }
            }
        }
        sums
    }
}
