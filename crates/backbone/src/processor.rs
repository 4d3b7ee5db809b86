//! What this CPU has: vector instructions, and instructions for other number formats than f32.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{__cpuid, __cpuid_count};
use std::fmt;

#[cfg(target_arch = "x86_64")]
use pulp::simd_type;
#[cfg(target_arch = "x86_64")]
use pulp::x86::{V3, V4};
use pulp::{Scalar, Simd, WithSimd};

/// Number format and vector instructions that our own kernels run with.
#[derive(Debug, Clone, Copy)]
pub enum Instructions {
    /// f32 in vectors of any length.
    F32(SimdLevel),
    /// bf16 in vectors of 16 pairs.
    #[cfg(target_arch = "x86_64")]
    Bf16(Avx512Bf16),
}

impl Instructions {
    /// All that this CPU has.
    pub fn available() -> Vec<Self> {
        SimdLevel::available().into_iter().map(Self::F32).chain(Self::bf16()).collect()
    }

    /// The fastest for f32.
    pub fn best_f32() -> Self {
        Self::F32(SimdLevel::best())
    }

    /// Those for bf16, if this CPU has any that our own kernels know.
    pub fn bf16() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        return Avx512Bf16::try_new().map(Self::Bf16);
        #[cfg(not(target_arch = "x86_64"))]
        return None;
    }
}

/// Name and vectors, as in `AVX2, vectors of 8 floats`.
impl fmt::Display for Instructions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::F32(simd) => simd.fmt(f),
            #[cfg(target_arch = "x86_64")]
            Self::Bf16(_) => f.write_str("AVX-512 bf16, vectors of 16 pairs"),
        }
    }
}

/// The vector instructions that our own kernels run with. Rows have the same bits with each.
#[derive(Debug, Clone, Copy)]
pub enum SimdLevel {
    /// One value at a time, on any processor.
    Scalar,
    /// 8 values: AVX2 with FMA (x86-64-v3).
    #[cfg(target_arch = "x86_64")]
    Avx2(V3),
    /// 16 values: AVX-512 (x86-64-v4).
    #[cfg(target_arch = "x86_64")]
    Avx512(V4),
    /// 4 values.
    #[cfg(target_arch = "aarch64")]
    Neon(pulp::aarch64::Neon),
}

impl SimdLevel {
    /// All that this CPU has, the longest vectors first.
    pub fn available() -> Vec<Self> {
        #[cfg(target_arch = "x86_64")]
        let vectors = [V4::try_new().map(Self::Avx512), V3::try_new().map(Self::Avx2)];
        #[cfg(target_arch = "aarch64")]
        let vectors = [pulp::aarch64::Neon::try_new().map(Self::Neon)];
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let vectors: [Option<Self>; 0] = [];
        vectors.into_iter().flatten().chain([Self::Scalar]).collect()
    }

    /// The longest vectors that this CPU has.
    pub fn best() -> Self {
        Self::available()[0]
    }

    /// f32 values in a vector.
    pub fn lanes(self) -> usize {
        struct Lanes;
        impl WithSimd for Lanes {
            type Output = usize;

            fn with_simd<S: Simd>(self, _: S) -> usize {
                S::F32_LANES
            }
        }
        self.dispatch(Lanes)
    }

    /// Runs `work`, compiled for these instructions.
    #[inline]
    pub(crate) fn dispatch<W: WithSimd>(self, work: W) -> W::Output {
        match self {
            Self::Scalar => Simd::vectorize(Scalar::new(), work),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(simd) => Simd::vectorize(simd, work),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(simd) => Simd::vectorize(simd, work),
            #[cfg(target_arch = "aarch64")]
            Self::Neon(simd) => Simd::vectorize(simd, work),
        }
    }
}

/// Name and length, as in `AVX2, vectors of 8 floats`.
impl fmt::Display for SimdLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Scalar => return f.write_str("no vector instructions"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => "AVX2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => "AVX-512",
            #[cfg(target_arch = "aarch64")]
            Self::Neon(_) => "NEON",
        };
        write!(f, "{name}, vectors of {} floats", self.lanes())
    }
}

#[cfg(target_arch = "x86_64")]
simd_type!({
    /// AVX-512 with its instructions for bf16 (avx512_bf16).
    pub struct Avx512Bf16 {
        sse: f!("sse"),
        sse2: f!("sse2"),
        fxsr: f!("fxsr"),
        sse3: f!("sse3"),
        ssse3: f!("ssse3"),
        sse4_1: f!("sse4.1"),
        sse4_2: f!("sse4.2"),
        popcnt: f!("popcnt"),
        avx: f!("avx"),
        avx2: f!("avx2"),
        bmi1: f!("bmi1"),
        bmi2: f!("bmi2"),
        fma: f!("fma"),
        lzcnt: f!("lzcnt"),
        avx512f: f!("avx512f"),
        avx512bw: f!("avx512bw"),
        avx512cd: f!("avx512cd"),
        avx512dq: f!("avx512dq"),
        avx512vl: f!("avx512vl"),
        avx512bf16: f!("avx512bf16"),
    }
});

/// Whether the CPU has bfloat16 instructions; CPUs with AMX do.
pub fn has_bf16() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx512bf16");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("bf16");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

/// Whether the CPU multiplies whole tiles of bfloat16 (AMX), which oneDNN uses.
pub fn has_amx() -> bool {
    // AMX-BF16 is bit 22 of EDX in CPUID's leaf 7. Leaf 0 has the largest number in EAX.
    #[cfg(target_arch = "x86_64")]
    return __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx >> 22 & 1 == 1;
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

/// Names of this CPU's instruction sets that make the network faster.
pub fn instruction_sets() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    let known = [
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
        ("avx512bf16", is_x86_feature_detected!("avx512bf16")),
        ("amx-bf16", has_amx()),
    ];
    #[cfg(not(target_arch = "x86_64"))]
    let known = [("neon", cfg!(target_feature = "neon")), ("bf16", has_bf16())];
    known.into_iter().filter(|(_, present)| *present).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_vectors_come_first_and_every_processor_has_some() {
        let lengths: Vec<usize> = SimdLevel::available().into_iter().map(SimdLevel::lanes).collect();
        assert!(lengths.is_sorted_by(|longer, shorter| longer > shorter), "{lengths:?}");
        assert_eq!(lengths.last(), Some(&1));
        assert_eq!(SimdLevel::best().lanes(), lengths[0]);
    }
}
