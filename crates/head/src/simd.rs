//! Strips of 16 values, and the vector instructions that training runs on them with.
//!
//! A strip is one vector of AVX-512 or two of AVX2. Every kernel computes with whole strips, so the order of a sum does
//! not depend on the length of the processor's vectors: results are bit-identical on every x86-64 processor with AVX2.

use pulp::{Scalar512b, Simd, WithSimd};

/// Values in a strip.
pub const LANES: usize = 16;

/// Neighbouring values of a row. Beyond the row's end they are 0.
pub type Strip = [f32; LANES];

/// The number of strips that hold this many values.
pub fn strip_count(values: usize) -> usize {
    values.div_ceil(LANES)
}

/// Copies rows of one length. Each copy is padded to whole strips.
pub(crate) fn copy_rows(rows: &[&[f32]], copies: &mut Vec<Strip>) {
    let length = rows.first().map_or(0, |row| row.len());
    copies.clear();
    copies.resize(rows.len() * strip_count(length), [0.0; LANES]);
    for (copy, row) in copies.chunks_exact_mut(strip_count(length).max(1)).zip(rows) {
        copy.as_flattened_mut()[..length].copy_from_slice(row);
    }
}

/// Rows whose length is a multiple of 16 as strips, (rows, strips), without a copy.
pub(crate) fn as_strips<'a>(rows: &[&'a [f32]]) -> Vec<&'a [Strip]> {
    rows.iter().map(|row| row.as_chunks().0).collect()
}

/// Runs `work`, compiled for the longest vectors that the processor has. The `S` that `work` gets has an
/// `S::f32s` of one [`Strip`].
#[inline]
pub(crate) fn dispatch<W: WithSimd>(work: W) -> W::Output {
    #[cfg(target_arch = "x86_64")]
    {
        if let Some(simd) = pulp::x86::V4::try_new() {
            return Simd::vectorize(simd, work);
        }
        if let Some(simd) = pulp::x86::V3::try_new() {
            return Simd::vectorize(simd, WithVectors { simd: pulp::x86::V3_512b(simd), work });
        }
    }
    // Other processors run loops over 16 values, which the compiler vectorises.
    pulp::Arch::new().dispatch(WithVectors { simd: Scalar512b, work })
}

/// Runs `work` with `simd` in place of the vectors that pulp chose. A vector of `simd` may take several registers.
struct WithVectors<T, W> {
    simd: T,
    work: W,
}

impl<T: Simd, W: WithSimd> WithSimd for WithVectors<T, W> {
    type Output = W::Output;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> W::Output {
        self.work.with_simd(self.simd)
    }
}

/// The results of `work` without vector instructions and, if the processor has them, with those of AVX2.
#[cfg(test)]
pub(crate) fn with_shorter_vectors<W: WithSimd>(work: impl Fn() -> W) -> Vec<W::Output> {
    let mut results = vec![work().with_simd(Scalar512b)];
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = pulp::x86::V3::try_new() {
        results.push(work().with_simd(pulp::x86::V3_512b(simd)));
    }
    results
}

/// A strip as a vector.
#[inline(always)]
pub(crate) fn load<S: Simd>(strip: &Strip) -> S::f32s {
    pulp::cast(*strip)
}

/// A vector as a strip.
#[inline(always)]
pub(crate) fn store<S: Simd>(vector: S::f32s) -> Strip {
    pulp::cast(vector)
}
