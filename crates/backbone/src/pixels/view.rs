//! Augmented views: a photo as it might have been taken as well, cropped, mirrored, lighter or darker.
//!
//! A view is drawn from a seed, the photo's bytes and a number, and from nothing else: neither the file's name nor how
//! many views there are change it.

use feature_cache::Augmentation;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::interpolation::Interpolation;
use super::picture::RgbPicture;
use super::resize::resize_region;

/// What is done with the numbers of a [`Variation`], for the manifest: another wording is another kind of view.
const METHOD: &str = "window of 1 - u of both sides, u up to crop; resize; mirror half; brightness as Pillow; drawn by \
    ChaCha8 from seed, picture, number";

/// How views may differ from their photo.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Variation {
    flip: bool,
    crop: f64,
    brightness: f64,
    seed: u64,
}

/// Why views cannot be drawn like this.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum VariationError {
    /// Every view would be the photo.
    #[error("the views would all be the photo itself")]
    Nothing,
    /// A part that is no part.
    #[error("{name} {value}: must be 0 or more and less than 1")]
    OutOfRange {
        /// Which one.
        name: &'static str,
        /// What was asked for.
        value: f64,
    },
}

/// One view of a photo.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct View {
    /// The sides of its window, as parts of the photo's.
    scale: f64,
    /// Where the window is, from 0 at the left to, and without, 1 at the right.
    across: f64,
    /// The same from top to bottom.
    down: f64,
    mirrored: bool,
    /// What every value is multiplied by.
    brightness: f32,
}

impl Variation {
    /// Views that are mirrored half of the time, lose up to `crop` of both sides, and are lighter or darker by up to
    /// `brightness`.
    ///
    /// # Errors
    /// When a part is not from 0 to, and without, 1, or nothing may differ.
    pub fn new(flip: bool, crop: f64, brightness: f64, seed: u64) -> Result<Self, VariationError> {
        for (name, value) in [("crop", crop), ("brightness", brightness)] {
            if !(0.0..1.0).contains(&value) {
                return Err(VariationError::OutOfRange { name, value });
            }
        }
        if !flip && crop == 0.0 && brightness == 0.0 {
            return Err(VariationError::Nothing);
        }
        Ok(Self { flip, crop, brightness, seed })
    }

    /// Draws a view of the picture. Whatever may not differ is drawn as well: so a view's window is the same with
    /// mirroring as without.
    pub fn view(&self, picture: &blake3::Hash, number: usize) -> View {
        let mut hasher = blake3::Hasher::new_derive_key("icebox 2026 drawing of an augmented view");
        hasher.update(&self.seed.to_le_bytes()).update(picture.as_bytes()).update(&(number as u64).to_le_bytes());
        let mut random = ChaCha8Rng::from_seed(*hasher.finalize().as_bytes());
        let mut uniform = || random.random::<f64>();
        View {
            scale: 1.0 - self.crop * uniform(),
            across: uniform(),
            down: uniform(),
            mirrored: uniform() < 0.5 && self.flip,
            brightness: (1.0 + self.brightness * (2.0 * uniform() - 1.0)) as f32,
        }
    }

    /// As the manifest has it.
    pub fn to_augmentation(&self) -> Augmentation {
        let Self { flip, crop, brightness, seed } = *self;
        let (crop, brightness) = (crop.to_string(), brightness.to_string());
        Augmentation { flip, crop, brightness, seed, method: METHOD.to_owned() }
    }

    /// What the manifest means; none if it is not this version's kind of view.
    pub fn from_augmentation(manifest: &Augmentation) -> Option<Self> {
        let (crop, brightness) = (manifest.crop.parse().ok()?, manifest.brightness.parse().ok()?);
        let variation = Self::new(manifest.flip, crop, brightness, manifest.seed).ok()?;
        (variation.to_augmentation() == *manifest).then_some(variation)
    }
}

impl View {
    /// The view of this picture, `side` x `side` pixels: the pixels that Pillow gives for `crop`, `resize`, `transpose` and
    /// `ImageEnhance.Brightness`, one after the other.
    pub fn draw(&self, picture: &RgbPicture, side: u32, interpolation: Interpolation, out: &mut [u8]) {
        let ((left, width), (top, height)) =
            (self.window(picture.width, self.across), self.window(picture.height, self.down));
        resize_region(picture.region(left, top, width, height), side, interpolation, out);
        if self.mirrored {
            out.chunks_exact_mut(3 * side as usize).for_each(|row| row.as_chunks_mut::<3>().0.reverse());
        }
        // The cast truncates, and ends at 255, as Pillow's blend with black does (src/libImaging/Blend.c).
        out.iter_mut().for_each(|value| *value = (self.brightness * f32::from(*value)) as u8);
    }

    /// Where the window begins on a side of this length, and how long it is there: whole pixels, at least one.
    fn window(&self, length: u32, place: f64) -> (u32, u32) {
        let extent = ((f64::from(length) * self.scale).round() as u32).clamp(1, length);
        let free = length - extent;
        (((f64::from(free) + 1.0) * place) as u32, extent)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use ndarray::Array5;
    use ndarray_npy::ReadNpyExt;

    use super::super::decode::Photo;
    use super::super::limits::Limits;
    use super::super::orientation::Orientation;
    use super::*;

    fn variation() -> Variation {
        Variation::new(true, 0.3, 0.2, 42).unwrap()
    }

    fn views(variation: Variation, picture: &[u8]) -> Vec<View> {
        (0..1000).map(|number| variation.view(&blake3::hash(picture), number)).collect()
    }

    #[test]
    fn views_fill_their_range_and_stay_within_it() {
        let views = views(variation(), b"photo");
        let mirrored = views.iter().filter(|view| view.mirrored).count();
        assert!((440..560).contains(&mirrored), "{mirrored}");
        let mean = |value: fn(&View) -> f64| views.iter().map(value).sum::<f64>() / 1000.0;
        assert!((mean(|view| view.scale) - 0.85).abs() < 0.01);
        assert!((mean(|view| view.across) - 0.5).abs() < 0.03);
        assert!((mean(|view| f64::from(view.brightness)) - 1.0).abs() < 0.01);
        assert!(views.iter().all(|view| view.scale > 0.7 && view.scale <= 1.0));
        assert!(views.iter().all(|view| (0.8..=1.2).contains(&view.brightness)));
        for (length, view) in (1..).zip(&views) {
            let (start, extent) = view.window(length, view.across);
            assert!(extent >= 1 && start + extent <= length);
        }
        let starts = views.iter().map(|view| view.window(10, view.across).0);
        assert_eq!((starts.clone().min(), starts.max()), (Some(0), Some(3)), "up to the last pixel");
    }

    #[test]
    fn seed_bytes_and_number_decide_and_each_change_is_drawn_apart() {
        let expected = views(variation(), b"photo");
        assert_eq!(views(variation(), b"photo"), expected);
        assert_ne!(views(variation(), b"other"), expected);
        assert_ne!(views(Variation { seed: 43, ..variation() }, b"photo"), expected);
        let only_cropped = views(Variation { flip: false, brightness: 0.0, ..variation() }, b"photo");
        for (view, cropped) in expected.iter().zip(only_cropped) {
            assert_eq!(cropped, View { mirrored: false, brightness: 1.0, ..*view });
        }
    }

    #[test]
    fn a_view_has_pillows_pixels() {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pixels");
        let source = fs::read(fixtures.join("resize.png")).unwrap();
        let source = Photo::open(&source, Limits::DEFAULT, None, Orientation::Stored).unwrap().decode().unwrap();
        let golden = Array5::<u8>::read_npy(fs::File::open(fixtures.join("views.npy")).unwrap()).unwrap();
        let view = |scale, (across, down), mirrored, brightness| View { scale, across, down, mirrored, brightness };
        let views = [
            (view(1.0, (0.3, 0.7), true, 1.0), (0, 0, 97, 61)),
            (view(0.7, (0.5, 0.99), false, 1.3), (15, 18, 68, 43)),
            (view(0.8, (0.0, 0.25), true, 0.65), (0, 3, 78, 49)),
            (view(0.35, (0.999, 0.5), false, 1.9999), (63, 20, 34, 21)),
        ];
        for ((view, window), golden) in views.into_iter().zip(golden.outer_iter()) {
            let ((left, width), (top, height)) = (view.window(97, view.across), view.window(61, view.down));
            assert_eq!((left, top, width, height), window);
            let interpolations = [Interpolation::Nearest, Interpolation::Bilinear, Interpolation::Lanczos];
            for (interpolation, golden) in interpolations.into_iter().zip(golden.outer_iter()) {
                let mut ours = vec![0; 34 * 34 * 3];
                view.draw(&source, 34, interpolation, &mut ours);
                assert!(ours.iter().eq(&golden), "{view:?}, {interpolation:?}");
            }
        }
    }

    /// What caches hold was drawn like this: another version of a library must draw the same.
    #[test]
    fn the_drawing_does_not_change() {
        let view = variation().view(&blake3::hash(b"photo"), 7);
        let expected = View {
            scale: 0.8298200253562297,
            across: 0.7531919982417674,
            down: 0.7433058821638057,
            mirrored: false,
            brightness: 0.8921299,
        };
        assert_eq!(view, expected);
    }

    #[test]
    fn the_manifest_says_everything() {
        let manifest = variation().to_augmentation();
        assert_eq!(Variation::from_augmentation(&manifest), Some(variation()));
        for other in ["1", "0.30", "words"] {
            assert_eq!(Variation::from_augmentation(&Augmentation { crop: other.into(), ..manifest.clone() }), None);
        }
        assert_eq!(Variation::from_augmentation(&Augmentation { method: "another".into(), ..manifest }), None);
    }

    #[test]
    fn what_is_no_variation_is_refused() {
        let refused = |flip, crop, brightness| Variation::new(flip, crop, brightness, 1).unwrap_err().to_string();
        assert_eq!(refused(false, 0.0, 0.0), "the views would all be the photo itself");
        assert_eq!(refused(true, 1.0, 0.0), "crop 1: must be 0 or more and less than 1");
        assert_eq!(refused(true, 0.0, -0.1), "brightness -0.1: must be 0 or more and less than 1");
        assert_eq!(refused(true, f64::NAN, 0.0), "crop NaN: must be 0 or more and less than 1");
    }
}
