//! The microkernel of f32, for vectors of any length.

use pulp::{Simd, WithSimd};

use super::microkernel::{MR, Microkernel, Task, Tile, Vector};
use crate::processor::SimdLevel;

/// Inputs per iteration of the loop.
const UNROLL: usize = 4;

const KC: usize = 384;

/// The microkernel of f32, in the vectors of `S`.
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
    type PanelRow = [f32; KC + 16];
    const KC: usize = KC;
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
    fn strip_index(input: usize, output: usize, outputs: usize) -> usize {
        input * outputs + output
    }

    #[inline(always)]
    fn load(self, elements: &[f32]) -> Vector<Self> {
        self.load_f32(elements)
    }

    #[inline(always)]
    fn store(self, values: Vector<Self>, out: &mut [f32]) {
        self.store_f32(values, out);
    }

    #[inline(always)]
    fn multiply<R: AsRef<[f32]>, const VECTORS: usize>(
        self,
        initial: &Tile<Self, VECTORS>,
        pixels: &[R; MR],
        strip: &[f32],
    ) -> Tile<Self, VECTORS> {
        let mut tile = *initial;
        let iterations = S::as_simd_f32s(strip).0.as_chunks::<VECTORS>().0.as_chunks::<UNROLL>().0;
        // Each pixel is cut to as many iterations as the weights have, so that the compiler omits all bounds checks.
        let pixels = pixels.each_ref().map(|pixel| &pixel.as_ref().as_chunks::<UNROLL>().0[..iterations.len()]);
        for (iteration, steps) in iterations.iter().enumerate() {
            for (step, weights) in steps.iter().enumerate() {
                for (pixel, accumulators) in pixels.iter().zip(&mut tile) {
                    let value = self.splat(pixel[iteration][step]);
                    for (accumulator, &weight) in accumulators.iter_mut().zip(weights) {
                        *accumulator = self.mul_add(value, weight, *accumulator);
                    }
                }
            }
        }
        tile
    }
}
