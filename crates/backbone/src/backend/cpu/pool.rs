//! Pooling.

use super::feature_maps::{FeatureMaps, GROUP};
use super::microkernel::{Microkernel, Task, Vector};

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
        let (plane_len, out_plane_len) = (self.x.plane_len(), self.out.plane_len());
        let mut column_maxima = self.x.take_buffer::<Vector<K>>(side);
        let column_maxima: &mut [Vector<K>] = &mut column_maxima;
        let planes = self.x.elements::<K>().chunks_exact(plane_len);
        for (plane, out) in planes.zip(self.out.elements_mut::<K>().chunks_exact_mut(out_plane_len)) {
            let plane = plane.as_chunks::<GROUP>().0;
            for (out_row, out) in out.as_chunks_mut::<GROUP>().0.chunks_exact_mut(out_side).enumerate() {
                let [above, middle, below] = window(out_row, side).map(|row| &plane[row * side..][..side]);
                for lane in (0..GROUP).step_by(K::LANES) {
                    for (column, largest) in column_maxima.iter_mut().enumerate() {
                        let [above, middle, below] =
                            [above, middle, below].map(|row| kernel.load(&row[column][lane..]));
                        *largest = kernel.max(below, kernel.max(middle, above));
                    }
                    for (out_column, out) in out.iter_mut().enumerate() {
                        let [left, middle, right] = window(out_column, side).map(|column| column_maxima[column]);
                        kernel.store(kernel.max(right, kernel.max(middle, left)), &mut out[lane..]);
                    }
                }
            }
        }
    }
}

/// The rows (or columns) of a window of max pooling that are inside the picture; some come twice if there are fewer than
/// three.
fn window(number: usize, side: usize) -> [usize; 3] {
    let first = (2 * number).saturating_sub(side % 2);
    let last = (2 * number + 2 - side % 2).min(side - 1);
    [first, last.min(first + 1), last]
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
