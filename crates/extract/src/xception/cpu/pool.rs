//! What happens to maps without weights.

use pulp::{Arch, Simd, WithSimd};

use super::Maps;
use super::vectors::{load, store};

/// Max pooling 3x3 with stride 2. On an even side the first window starts at the picture's edge, on an odd one a pixel
/// before it; what lies outside is no candidate.
pub(super) fn halve(x: &Maps) -> Maps {
    let mut out = x.beside(x.side.div_ceil(2), x.channels);
    Arch::new().dispatch(Halve { x, out: &mut out });
    out
}

pub(super) struct Halve<'a> {
    pub x: &'a Maps,
    pub out: &'a mut Maps,
}

impl WithSimd for Halve<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let &Maps { side, channels, ref values, .. } = self.x;
        let halved = self.out.side;
        let window = |n: usize| (2 * n).saturating_sub(side % 2)..(2 * n + 3 - side % 2).min(side);
        for (pixel, out) in self.out.values.chunks_exact_mut(channels).enumerate() {
            let (picture, row, column) = (pixel / (halved * halved), pixel / halved % halved, pixel % halved);
            for channel in (0..channels).step_by(S::F32_LANES) {
                let mut most = simd.splat_f32s(f32::NEG_INFINITY);
                for y in window(row) {
                    for x in window(column) {
                        let pixel = &values[((picture * side + y) * side + x) * channels..][..channels];
                        most = simd.max_f32s(load::<_, 1>(simd, &pixel[channel..])[0], most);
                    }
                }
                store(simd, &mut out[channel..], [most]);
            }
        }
    }
}

/// The mean of each channel over each picture: (pictures, channels).
pub(super) fn mean(x: &Maps) -> Vec<f32> {
    let pixels = x.side * x.side;
    let mut rows = vec![0.0; x.pictures * x.channels];
    for (row, picture) in rows.chunks_exact_mut(x.channels).zip(x.values.chunks_exact(pixels * x.channels)) {
        for pixel in picture.chunks_exact(x.channels) {
            row.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += value);
        }
        row.iter_mut().for_each(|sum| *sum /= pixels as f32);
    }
    rows
}
