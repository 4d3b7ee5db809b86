//! The vector instructions that training runs with.

use pulp::WithSimd;

/// Runs `work` with vectors of 8 values (AVX2), also where the processor has longer ones: the order in which a dot product
/// is summed depends on their length, and the same head must get the same bits from every build and on every processor.
pub(crate) fn dispatch<W: WithSimd>(work: W) -> W::Output {
    #[cfg(target_arch = "x86_64")]
    return match pulp::x86::V3::try_new() {
        Some(simd) => pulp::Simd::vectorize(simd, work),
        None => pulp::Simd::vectorize(pulp::Scalar::new(), work),
    };
    #[cfg(not(target_arch = "x86_64"))]
    return pulp::Arch::new().dispatch(work);
}
