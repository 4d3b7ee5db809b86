//! The innermost loop of every matrix product, and all that depends on the number format and the length of vectors.
//!
//! Pixels times weights is multiplied as Goto and van de Geijn (2008, "Anatomy of High-Performance Matrix Multiplication")
//! do it, with the names of BLIS (Van Zee and van de Geijn 2015):
//!
//! ```text
//!                          NR outputs
//!                         ┌──────────┐
//!                         │  strip   │  packed weights, input after input: in the first-level cache
//!           inputs (≤ KC) │          │
//!          ┌────────────┐ └──────────┘
//! MR pixels│            │ ┌──────────┐
//!          ├── panel ───┤ │   tile   │  sums, in registers
//!          │            │ └──────────┘
//! MC pixels└────────────┘  packed pixels, each one's inputs side by side: in the second-level cache
//! ```
//!
//! A number format is one implementation of [`Microkernel`]; everything else here is written in terms of it.

use bytemuck::Pod;
use pulp::Simd;

/// Pixels of a tile. AVX2 has sixteen registers: twelve for the sums, two for weights and one for a pixel. With AVX-512,
/// which has twice as many, larger tiles were no faster.
pub(super) const MR: usize = 6;

/// Vectors of outputs of a tile.
pub(super) const NR_VECTORS: usize = 2;

/// Inputs of a pixel in a panel, at most.
pub(super) const KC: usize = 384;

/// A pixel of a panel, with room for [`KC`] inputs: an odd number of cache lines, so that the pixels of a tile lie in
/// different sets of the cache.
pub(super) type Row<K> = [<K as Microkernel>::Element; KC + 16];

/// A vector of f32 values.
pub(super) type Vector<K> = <<K as Microkernel>::Simd as Simd>::f32s;

/// The sums of [`MR`] pixels and [`Microkernel::NR`] outputs.
pub(super) type Tile<K> = [[Vector<K>; NR_VECTORS]; MR];

/// How numbers are packed and multiplied. Sums and feature maps are f32 in all formats.
pub(super) trait Microkernel: Copy {
    /// What panels and strips hold.
    type Element: Pod + Send;

    /// The processor's vector instructions for f32.
    type Simd: Simd;

    /// Values of a vector: divides a group of channels.
    const LANES: usize = <Self::Simd as Simd>::F32_LANES;

    /// Outputs of a tile.
    const NR: usize = NR_VECTORS * Self::LANES;

    /// Inputs that the loop takes in one turn. Panels and strips have zeros behind their last input up to a whole turn.
    const UNROLL: usize;

    /// Whether sums of elements are precise enough as elements again: Strassen's and Winograd's algorithms multiply such.
    const MULTIPLIES_SUMS: bool;

    /// The vector instructions.
    fn simd(self) -> Self::Simd;

    /// Rounds a value to an element.
    fn element(value: f32) -> Self::Element;

    /// Where a strip has the weight of an input for an output of the tile.
    fn strip_index(input: usize, output: usize) -> usize;

    /// Rounds a vector of values to elements, which are written to the front of `place`.
    fn pack(self, values: Vector<Self>, place: &mut [Self::Element]);

    /// The values of the first elements.
    fn unpack(self, elements: &[Self::Element]) -> Vector<Self>;

    /// Rounds values to as many elements.
    fn pack_slice(values: &[f32], place: &mut [Self::Element]);

    /// `sums` and the products of some pixels with a strip, added up input after input: so a result is the same bits
    /// whatever the length of a vector.
    fn multiply<const ROW: usize>(
        self,
        sums: &Tile<Self>,
        pixels: &[[Self::Element; ROW]; MR],
        strip: &[Self::Element],
    ) -> Tile<Self>;

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
    fn zeros(self) -> Tile<Self> {
        [[self.zero(); NR_VECTORS]; MR]
    }

    /// The first values of a slice.
    #[inline(always)]
    fn load(self, values: &[f32]) -> Vector<Self> {
        Self::Simd::as_simd_f32s(values).0[0]
    }

    /// Writes a vector to the front of `place`.
    #[inline(always)]
    fn store(self, values: Vector<Self>, place: &mut [f32]) {
        Self::Simd::as_mut_simd_f32s(place).0[0] = values;
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

    /// Elementwise the larger of a and b; which of them where one is NaN depends on the processor.
    #[inline(always)]
    fn max(self, a: Vector<Self>, b: Vector<Self>) -> Vector<Self> {
        self.simd().max_f32s(a, b)
    }

    /// Elementwise the value, or zero where that is larger; NaN stays NaN.
    #[inline(always)]
    fn relu(self, values: Vector<Self>) -> Vector<Self> {
        if Self::LANES == 1 {
            // f32::max would make NaN zero.
            return self.simd().select_f32s(self.simd().less_than_f32s(values, self.zero()), self.zero(), values);
        }
        // With NaN, x86 takes the second operand, and NEON takes NaN.
        self.max(self.zero(), values)
    }
}

/// A computation that is compiled for each microkernel.
pub(super) trait Task {
    /// What it gives.
    type Output;

    /// Runs it. Implementations are `#[inline(always)]`, and so is what they call in loops: only what is inlined is
    /// compiled for the microkernel's instructions.
    fn run<K: Microkernel>(self, kernel: K) -> Self::Output;
}
