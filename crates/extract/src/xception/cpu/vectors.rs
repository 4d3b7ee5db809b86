//! Vectors of values, whole or not.

use pulp::Simd;

/// The first values, as many as so many vectors have or there are; zeros for those missing.
#[inline(always)]
pub(super) fn load<S: Simd, const N: usize>(simd: S, values: &[f32]) -> [S::f32s; N] {
    if let Some(whole) = S::as_simd_f32s(values).0.first_chunk() {
        return *whole;
    }
    let mut vectors = [simd.splat_f32s(0.0); N];
    for (vector, values) in vectors.iter_mut().zip(values.chunks(S::F32_LANES)) {
        *vector = simd.partial_load_f32s(values);
    }
    vectors
}

/// Writes the first values, as many as there is room for.
#[inline(always)]
pub(super) fn store<S: Simd, const N: usize>(simd: S, place: &mut [f32], vectors: [S::f32s; N]) {
    if let Some(whole) = S::as_mut_simd_f32s(place).0.first_chunk_mut() {
        *whole = vectors;
        return;
    }
    for (place, vector) in place.chunks_mut(S::F32_LANES).zip(vectors) {
        simd.partial_store_f32s(place, vector);
    }
}

/// What is above zero, and zero for the rest. What is no number stays so: of a processor's two it is the second that is
/// taken then.
#[inline(always)]
pub(super) fn relu<S: Simd, const N: usize>(simd: S, mut vectors: [S::f32s; N]) -> [S::f32s; N] {
    for vector in &mut vectors {
        *vector = simd.max_f32s(simd.splat_f32s(0.0), *vector);
    }
    vectors
}

/// The sums of as many vectors.
#[inline(always)]
pub(super) fn add<S: Simd, const N: usize>(simd: S, mut a: [S::f32s; N], b: &[S::f32s; N]) -> [S::f32s; N] {
    for (a, &b) in a.iter_mut().zip(b) {
        *a = simd.add_f32s(*a, b);
    }
    a
}
