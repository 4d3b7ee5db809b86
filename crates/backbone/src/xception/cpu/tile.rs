//! The innermost loop: a few pixels by two vectors of results, whose sums stay in the registers.
//!
//! What is multiplied is laid out for it, as Goto and van de Geijn (2008, "Anatomy of High-Performance Matrix
//! Multiplication") do: the inputs of some pixels side by side in a panel, the weights of a tile in the order in which
//! they are read, a strip that stays in the first-level cache while one tile after the other uses it.

use pulp::{Simd, WithSimd};

/// Inputs of a pixel in a panel, at most.
pub(super) const DEPTH: usize = 384;

/// Values from one pixel of a panel to the next: an odd number of cache lines, so that the pixels of a tile lie in
/// different sets of the cache.
pub(super) const STRIDE: usize = DEPTH + 16;

/// A pixel of a panel.
pub(super) type Row = [f32; STRIDE];

/// Inputs per turn of the loop.
pub(super) const UNROLLED: usize = 4;

/// Pixels of a tile, and vectors of results of each. AVX2 has sixteen registers: twelve for the sums, two for weights and
/// one for a pixel.
pub(super) const TALL: usize = 6;
pub(super) const WIDE: usize = 2;

/// The results of a tile.
pub(super) type Sums<S> = [[<S as Simd>::f32s; WIDE]; TALL];

/// `from`, and the products of the pixels with a tile's weights added to it: input after input, so that a result is the
/// same bits whatever the length of a vector.
///
/// The weights come in whole turns of [`UNROLLED`] inputs.
#[inline(always)]
pub(super) fn tile<S: Simd, const APART: usize>(
    simd: S,
    from: &Sums<S>,
    pixels: &[[f32; APART]; TALL],
    weights: &[[S::f32s; WIDE]],
) -> Sums<S> {
    let mut sums = *from;
    for (turn, weights) in weights.as_chunks::<UNROLLED>().0.iter().enumerate().take(APART / UNROLLED) {
        for (step, weights) in weights.iter().enumerate() {
            for (pixel, sums) in pixels.iter().zip(&mut sums) {
                let value = simd.splat_f32s(pixel[turn * UNROLLED + step]);
                for (sum, &weight) in sums.iter_mut().zip(weights) {
                    *sum = simd.mul_add_f32s(value, weight, *sum);
                }
            }
        }
    }
    sums
}

/// Sums of nothing.
#[inline(always)]
pub(super) fn zeros<S: Simd>(simd: S) -> Sums<S> {
    [[simd.splat_f32s(0.0); WIDE]; TALL]
}

/// How many results of a pixel are in a tile.
pub(super) struct Columns;

impl WithSimd for Columns {
    type Output = usize;

    fn with_simd<S: Simd>(self, _: S) -> usize {
        WIDE * S::F32_LANES
    }
}
