//! What happens to maps without weights.

use pulp::{Arch, Simd, WithSimd};

use super::maps::{GROUP, Maps};
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
        let (side, halved) = (self.x.side, self.out.side);
        let window = |n: usize| (2 * n).saturating_sub(side % 2)..(2 * n + 3 - side % 2).min(side);
        let (before, after) = (self.x.plane(), self.out.plane());
        for (plane, out) in self.x.values.chunks_exact(before).zip(self.out.values.chunks_exact_mut(after)) {
            let plane = plane.as_chunks::<GROUP>().0;
            for (pixel, out) in out.as_chunks_mut::<GROUP>().0.iter_mut().enumerate() {
                for lane in (0..GROUP).step_by(S::F32_LANES) {
                    let mut most = simd.splat_f32s(f32::NEG_INFINITY);
                    for row in window(pixel / halved) {
                        for column in window(pixel % halved) {
                            most = simd.max_f32s(load(simd, &plane[row * side + column][lane..]), most);
                        }
                    }
                    store(simd, &mut out[lane..], most);
                }
            }
        }
    }
}

/// The mean of each channel over each picture: (pictures, channels).
pub(super) fn mean(x: &Maps) -> Vec<f32> {
    let pixels = (x.side * x.side) as f32;
    let mut rows = vec![0.0; x.pictures * x.channels];
    let pictures = x.values.chunks_exact(x.groups() * x.plane());
    for (row, picture) in rows.chunks_exact_mut(x.channels).zip(pictures) {
        for (means, plane) in row.chunks_mut(GROUP).zip(picture.chunks_exact(x.plane())) {
            for pixel in plane.as_chunks::<GROUP>().0 {
                means.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += value);
            }
            means.iter_mut().for_each(|sum| *sum /= pixels);
        }
    }
    rows
}
