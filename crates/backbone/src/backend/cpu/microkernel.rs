//! The innermost loop of every matrix product, and everything that depends on number format and vector length.
//!
//! Pixels are multiplied by weights as in Goto and van de Geijn (2008, "Anatomy of High-Performance Matrix
//! Multiplication"). MR, NR, KC and MC are named as in BLIS (Van Zee and van de Geijn 2015); a strip is its micropanel
//! of B, a tile its microtile.
//!
//! ```text
//!                          NR outputs
//!                         ┌──────────┐
//!                         │  strip   │  packed weights, input after input: in the first- or second-level cache
//!           inputs (≤ KC) │          │
//!          ┌────────────┐ └──────────┘
//! MR pixels│            │ ┌──────────┐
//!          ├── panel ───┤ │   tile   │  accumulators, in registers
//!          │            │ └──────────┘
//! MC pixels└────────────┘  packed pixels, the inputs of each contiguous: in the second-level cache
//! ```
//!
//! A number format is one implementation of [`Microkernel`]; everything else here is written in terms of it.

use bytemuck::Pod;
use pulp::Simd;

/// Pixels in a tile. AVX2 has sixteen registers: twelve for accumulators, two for weights and one for a pixel. With
/// AVX-512, which has twice as many, larger tiles were no faster.
pub(super) const MR: usize = 6;

/// Vectors of outputs in a tile.
pub(super) const NR_VECTORS: usize = 2;

/// A pixel of a panel.
pub(super) type PanelRow<K> = <K as Microkernel>::PanelRow;

/// A vector of f32 values.
pub(super) type Vector<K> = <<K as Microkernel>::Simd as Simd>::f32s;

/// Accumulators of [`MR`] pixels and `VECTORS` vectors of outputs: [`Microkernel::NR`] outputs, or fewer where a layer has
/// no more.
pub(super) type Tile<K, const VECTORS: usize = NR_VECTORS> = [[Vector<K>; VECTORS]; MR];

/// How numbers are kept and multiplied. Accumulators are f32 in all formats.
pub(super) trait Microkernel: Copy {
    /// The numbers in feature maps, panels and strips.
    type Element: Pod + Send;

    /// The processor's vector instructions for f32.
    type Simd: Simd;

    /// Maximum number of inputs per pixel in a panel.
    const KC: usize;

    /// A pixel of a panel, with room for [`KC`](Self::KC) inputs: an odd number of cache lines, so that the pixels of a
    /// tile lie in different sets of the cache.
    type PanelRow: Pod + Send + AsRef<[Self::Element]> + AsMut<[Self::Element]>;

    /// f32 values in a vector. It divides the 16 channels of a group (`GROUP` in feature_maps.rs).
    const LANES: usize = <Self::Simd as Simd>::F32_LANES;

    /// Outputs in a tile.
    const NR: usize = NR_VECTORS * Self::LANES;

    /// Inputs per iteration of the inner loop. Panels and strips are padded with zeros to a multiple of it.
    const UNROLL: usize;

    /// Whether the sum of two elements, rounded to an element, is still precise enough. Strassen's and Winograd's
    /// algorithms need it.
    const SUMS_FIT_ELEMENTS: bool;

    /// The vector instructions.
    fn simd(self) -> Self::Simd;

    /// Rounds a value to an element.
    fn element(value: f32) -> Self::Element;

    /// Index of the weight from `input` to `output` in a strip of `outputs` outputs.
    fn strip_index(input: usize, output: usize, outputs: usize) -> usize;

    /// Loads a vector from the front of `elements`.
    fn load(self, elements: &[Self::Element]) -> Vector<Self>;

    /// Rounds a vector to elements and writes them to the front of `out`.
    fn store(self, values: Vector<Self>, out: &mut [Self::Element]);

    /// `initial` plus pixels times strip. Products are added input by input (in bf16 pair by pair), so the bits do not
    /// depend on the vector length.
    fn multiply<R: AsRef<[Self::Element]>, const VECTORS: usize>(
        self,
        initial: &Tile<Self, VECTORS>,
        pixels: &[R; MR],
        strip: &[Self::Element],
    ) -> Tile<Self, VECTORS>;

    /// A vector of one value.
    #[inline(always)]
    fn splat(self, value: f32) -> Vector<Self> {
        self.simd().splat_f32s(value)
    }

    /// A vector of zeros.
    #[inline(always)]
    fn zero(self) -> Vector<Self> {
        self.splat(0.0)
    }

    /// A tile of zeros.
    #[inline(always)]
    fn zeros<const VECTORS: usize>(self) -> Tile<Self, VECTORS> {
        [[self.zero(); VECTORS]; MR]
    }

    /// Loads a vector from the front of f32 `values`.
    #[inline(always)]
    fn load_f32(self, values: &[f32]) -> Vector<Self> {
        Self::Simd::as_simd_f32s(values).0[0]
    }

    /// Writes a vector to the front of f32 `out`.
    #[inline(always)]
    fn store_f32(self, values: Vector<Self>, out: &mut [f32]) {
        Self::Simd::as_mut_simd_f32s(out).0[0] = values;
    }

    /// Elementwise a + b.
    #[inline(always)]
    fn add(self, a: Vector<Self>, b: Vector<Self>) -> Vector<Self> {
        self.simd().add_f32s(a, b)
    }

    /// Elementwise a - b.
    #[inline(always)]
    fn sub(self, a: Vector<Self>, b: Vector<Self>) -> Vector<Self> {
        self.simd().sub_f32s(a, b)
    }

    /// Elementwise a * b + c, rounded once.
    #[inline(always)]
    fn mul_add(self, a: Vector<Self>, b: Vector<Self>, c: Vector<Self>) -> Vector<Self> {
        self.simd().mul_add_f32s(a, b, c)
    }

    /// Elementwise max(a, b); if one is NaN, the result depends on the processor.
    #[inline(always)]
    fn max(self, a: Vector<Self>, b: Vector<Self>) -> Vector<Self> {
        self.simd().max_f32s(a, b)
    }

    /// Elementwise max(value, 0); NaN stays NaN.
    #[inline(always)]
    fn relu(self, values: Vector<Self>) -> Vector<Self> {
        if Self::LANES == 1 {
            // f32::max would make NaN zero.
            return self.simd().select_f32s(self.simd().less_than_f32s(values, self.zero()), self.zero(), values);
        }
        // If one operand is NaN, x86 returns the second, here `values`; NEON returns NaN.
        self.max(self.zero(), values)
    }
}

/// A computation that is compiled for each microkernel.
pub(super) trait Task {
    /// Its result.
    type Output;

    /// Runs it. Implementations are `#[inline(always)]`, and so is what they call in loops: only what is inlined is
    /// compiled for the microkernel's instructions.
    fn run<K: Microkernel>(self, kernel: K) -> Self::Output;
}
