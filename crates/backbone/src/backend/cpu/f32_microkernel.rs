//! The microkernel of f32, for vectors of any length.

use pulp::{Simd, WithSimd};

use super::microkernel::{MR, Microkernel, NR_VECTORS, Task, Tile, Vector};
use crate::processor::SimdLevel;

/// Inputs per iteration of the loop.
const UNROLL: usize = 4;

/// f32 numbers, in the vectors of `S`.
#[derive(Clone, Copy)]
struct F32<S>(S);

/// Runs a task in f32 with these vector instructions.
#[inline]
pub(super) fn run<T: Task>(simd: SimdLevel, task: T) -> T::Output {
    simd.dispatch(InF32(task))
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
    const SUMS_FIT_ELEMENTS: bool = true;

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
    fn pack(self, values: Vector<Self>, out: &mut [f32]) {
        self.store(values, out);
    }

    #[inline(always)]
    fn unpack(self, elements: &[f32]) -> Vector<Self> {
        self.load(elements)
    }

    #[inline(always)]
    fn pack_slice(values: &[f32], out: &mut [f32]) {
        out.copy_from_slice(values);
    }

    #[inline(always)]
    fn multiply<const ROW: usize>(self, initial: &Tile<Self>, pixels: &[[f32; ROW]; MR], strip: &[f32]) -> Tile<Self> {
        let mut tile = *initial;
        let inputs = S::as_simd_f32s(strip).0.as_chunks::<NR_VECTORS>().0;
        let iterations = inputs.as_chunks::<UNROLL>().0;
        // No strip has more inputs than a row. `take` tells the compiler, which then omits all bounds checks of
        // `pixel`.
        for (iteration, inputs) in iterations.iter().enumerate().take(ROW / UNROLL) {
            for (step, weights) in inputs.iter().enumerate() {
                for (pixel, accumulators) in pixels.iter().zip(&mut tile) {
                    let value = self.splat(pixel[iteration * UNROLL + step]);
                    for (accumulator, &weight) in accumulators.iter_mut().zip(weights) {
                        *accumulator = self.mul_add(value, weight, *accumulator);
                    }
                }
            }
        }
        tile
    }
}
