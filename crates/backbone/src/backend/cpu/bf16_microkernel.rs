//! The microkernel of bf16, for processors with AVX-512 and its instructions for bf16 (avx512_bf16).
//!
//! Feature maps and weights are bf16, and a depthwise convolution's output is rounded when it is packed; sums stay in f32.
//! vdpbf16ps multiplies the bf16 numbers of two inputs at a time, so the weights of a pair of inputs lie beside each
//! other: (inputs / 2, outputs, 2).

use std::arch::x86_64::{
    __m256bh, __m512, __m512bh, __m512i, _mm512_cvtneps_pbh, _mm512_cvtpbh_ps, _mm512_dpbf16_ps, _mm512_set1_epi32,
};
use std::mem::transmute;

use bytemuck::cast;
use pulp::NullaryFnOnce;
use pulp::x86::V4;

use super::microkernel::{MR, Microkernel, Task, Tile, Vector};
use crate::processor::Avx512Bf16;

/// The microkernel of bf16. Its elements are the upper halves of f32 numbers, as `u16`.
#[derive(Clone, Copy)]
struct Bf16(V4);

/// Inputs that one instruction multiplies.
const PAIR: usize = 2;

/// Pairs of inputs per iteration of the loop.
const UNROLL_PAIRS: usize = 4;

/// The most inputs of a pointwise convolution in Xception. More would be cut into blocks, and the sums over one block
/// rounded to bf16 before the next block's are added.
const KC: usize = 1536;

/// Values in a vector.
const LANES: usize = 16;

/// Runs a task in bf16.
#[inline]
pub(super) fn run<T: Task>(simd: Avx512Bf16, task: T) -> T::Output {
    struct InBf16<T>(T, V4);

    impl<T: Task> NullaryFnOnce for InBf16<T> {
        type Output = T::Output;

        #[inline(always)]
        fn call(self) -> T::Output {
            self.0.run(Bf16(self.1))
        }
    }

    let vectors = V4::try_new().expect("processors with avx512_bf16 have AVX-512");
    simd.vectorize(InBf16(task, vectors))
}

/// The instructions for bf16.
#[allow(unsafe_code)]
impl Bf16 {
    /// Rounds to the nearest, ties to even; subnormal numbers become zero.
    #[inline(always)]
    fn round(self, values: Vector<Self>) -> [u16; LANES] {
        // SAFETY: a `Bf16` exists only where `run` makes it, and so only on processors with avx512_bf16. The types
        // that are converted have the same size and no invalid values.
        unsafe { transmute::<__m256bh, [u16; LANES]>(_mm512_cvtneps_pbh(transmute::<Vector<Self>, __m512>(values))) }
    }

    /// Converts to f32.
    #[inline(always)]
    fn widen(self, elements: [u16; LANES]) -> Vector<Self> {
        // SAFETY: as in `round`.
        unsafe { transmute::<__m512, Vector<Self>>(_mm512_cvtpbh_ps(transmute::<[u16; LANES], __m256bh>(elements))) }
    }

    /// `sums` plus the products of a pair of inputs of one pixel with the weights to a vector of outputs.
    #[inline(always)]
    fn multiply_pair(self, sums: Vector<Self>, pair: [u16; PAIR], weights: [u16; PAIR * LANES]) -> Vector<Self> {
        // SAFETY: as in `round`.
        unsafe {
            let pair = transmute::<__m512i, __m512bh>(_mm512_set1_epi32(cast::<[u16; PAIR], i32>(pair)));
            let weights = transmute::<[u16; PAIR * LANES], __m512bh>(weights);
            transmute::<__m512, Vector<Self>>(_mm512_dpbf16_ps(transmute::<Vector<Self>, __m512>(sums), pair, weights))
        }
    }
}

impl Microkernel for Bf16 {
    type Element = u16;
    type Simd = V4;
    type PanelRow = [u16; KC + 32];
    const KC: usize = KC;
    const UNROLL: usize = PAIR * UNROLL_PAIRS;
    const SUMS_FIT_ELEMENTS: bool = false;

    #[inline(always)]
    fn simd(self) -> V4 {
        self.0
    }

    #[inline(always)]
    fn element(value: f32) -> u16 {
        if value.is_nan() {
            return 0x7fc0;
        }
        // Rounds to the nearest, ties to even: adds half a unit in the last place if the upper half is odd, a little less
        // if it is even.
        let bits = value.to_bits();
        ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
    }

    #[inline(always)]
    fn strip_index(input: usize, output: usize, outputs: usize) -> usize {
        (input / PAIR * outputs + output) * PAIR + input % PAIR
    }

    #[inline(always)]
    fn load(self, elements: &[u16]) -> Vector<Self> {
        self.widen(*elements.first_chunk::<LANES>().expect("a vector of elements"))
    }

    #[inline(always)]
    fn store(self, values: Vector<Self>, out: &mut [u16]) {
        out[..LANES].copy_from_slice(&self.round(values));
    }

    #[inline(always)]
    fn multiply<R: AsRef<[u16]>, const VECTORS: usize>(
        self,
        initial: &Tile<Self, VECTORS>,
        pixels: &[R; MR],
        strip: &[u16],
    ) -> Tile<Self, VECTORS> {
        let mut tile = *initial;
        let vectors = strip.as_chunks::<{ PAIR * LANES }>().0;
        let iterations = vectors.as_chunks::<VECTORS>().0.as_chunks::<UNROLL_PAIRS>().0;
        // Each pixel is cut to as many iterations as the weights have, so that the compiler omits all bounds checks.
        let pixels = pixels.each_ref().map(|pixel| {
            let pairs = pixel.as_ref().as_chunks::<PAIR>().0;
            &pairs.as_chunks::<UNROLL_PAIRS>().0[..iterations.len()]
        });
        for (iteration, steps) in iterations.iter().enumerate() {
            for (step, weights) in steps.iter().enumerate() {
                for (pixel, accumulators) in pixels.iter().zip(&mut tile) {
                    for (accumulator, &weights) in accumulators.iter_mut().zip(weights) {
                        *accumulator = self.multiply_pair(*accumulator, pixel[iteration][step], weights);
                    }
                }
            }
        }
        tile
    }
}
