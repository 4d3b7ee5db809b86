//! Pooling.

use super::feature_maps::{FeatureMaps, GROUP};
use super::microkernel::{Microkernel, Task};

/// Max pooling 3x3 with stride 2 of `x`, to `out`. If the side is even, the first window starts at the picture's edge;
/// if it is odd, a pixel before it. Pixels outside the picture are ignored.
pub(super) struct MaxPool<'a> {
    pub x: &'a FeatureMaps,
    pub out: &'a mut FeatureMaps,
}

impl Task for MaxPool<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Microkernel>(self, kernel: K) {
        let (side, out_side) = (self.x.side, self.out.side);
        let window = |n: usize| (2 * n).saturating_sub(side % 2)..(2 * n + 3 - side % 2).min(side);
        let (plane_len, out_plane_len) = (self.x.plane_len(), self.out.plane_len());
        let planes = self.x.elements::<K>().chunks_exact(plane_len);
        for (plane, out) in planes.zip(self.out.elements_mut::<K>().chunks_exact_mut(out_plane_len)) {
            let plane = plane.as_chunks::<GROUP>().0;
            for (pixel, out) in out.as_chunks_mut::<GROUP>().0.iter_mut().enumerate() {
                let (rows, columns) = (window(pixel / out_side), window(pixel % out_side));
                for lane in (0..GROUP).step_by(K::LANES) {
                    let mut largest = kernel.splat(f32::NEG_INFINITY);
                    for row in rows.clone() {
                        for column in columns.clone() {
                            largest = kernel.max(kernel.load(&plane[row * side + column][lane..]), largest);
                        }
                    }
                    kernel.store(largest, &mut out[lane..]);
                }
            }
        }
    }
}

/// The mean of each channel of `x` over each picture: (pictures, channels).
pub(super) struct GlobalAveragePool<'a> {
    pub x: &'a FeatureMaps,
}

impl Task for GlobalAveragePool<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn run<K: Microkernel>(self, kernel: K) -> Vec<f32> {
        let x = self.x;
        let pixels = (x.side * x.side) as f32;
        let mut rows = vec![0.0; x.pictures * x.channels];
        for (row, picture) in rows.chunks_exact_mut(x.channels).zip(x.elements::<K>().chunks_exact(x.picture_len())) {
            for (means, plane) in row.chunks_mut(GROUP).zip(picture.chunks_exact(x.plane_len())) {
                let mut sums = [0.0; GROUP];
                for lane in (0..GROUP).step_by(K::LANES) {
                    let mut sum = kernel.zero();
                    for pixel in plane.as_chunks::<GROUP>().0 {
                        sum = kernel.add(sum, kernel.load(&pixel[lane..]));
                    }
                    kernel.store_f32(sum, &mut sums[lane..]);
                }
                // The last group may have fewer channels than it has room for.
                for (mean, sum) in means.iter_mut().zip(sums) {
                    *mean = sum / pixels;
                }
            }
        }
        rows
    }
}
