//! A vector of values, as long as the processor has them.

use pulp::Simd;

/// The first values.
#[inline(always)]
pub(super) fn load<S: Simd>(_: S, values: &[f32]) -> S::f32s {
    S::as_simd_f32s(values).0[0]
}

/// Writes the first values.
#[inline(always)]
pub(super) fn store<S: Simd>(_: S, place: &mut [f32], vector: S::f32s) {
    S::as_mut_simd_f32s(place).0[0] = vector;
}

/// What is above zero, and zero for the rest. What is no number stays so: of a processor's two it is the second that is
/// taken then.
#[inline(always)]
pub(super) fn relu<S: Simd>(simd: S, vector: S::f32s) -> S::f32s {
    simd.max_f32s(simd.splat_f32s(0.0), vector)
}
