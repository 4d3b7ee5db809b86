//! Augmented views: a photo cropped, mirrored, lighter or darker.
//!
//! A view is drawn from a seed, the photo's bytes and a number, and from nothing else: it does not depend on the file's
//! name or on how many views there are.

use feature_cache::Augmentation;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::interpolation::Interpolation;
use super::picture::RgbPicture;
use super::resize::resize_region;

/// How views are made, in words. Stored in the manifest and compared: a changed text makes the views of existing caches
/// unusable.
const METHOD: &str = "window of 1 - u of both sides, u up to crop; resize; mirror half; brightness as Pillow; drawn by \
    ChaCha8 from seed, picture, number";

/// Augmentation settings as numbers. [`Augmentation`] has the same settings as the manifest stores them, as text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AugmentConfig {
    flip: bool,
    crop: f64,
    brightness: f64,
    seed: u64,
}

/// Why augmentation settings are invalid.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum AugmentConfigError {
    /// Every view would be the photo.
    #[error("the views would all be the photo itself")]
    NoChange,
    /// A fraction outside [0, 1).
    #[error("{name} {value}: must be 0 or more and less than 1")]
    OutOfRange {
        /// `crop` or `brightness`.
        name: &'static str,
        /// The value that was given.
        value: f64,
    },
}

/// An augmented view of a photo.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct View {
    /// Width and height of its crop window, as a fraction of the photo's.
    scale: f64,
    /// Horizontal position of the window, in [0, 1): 0 is at the left.
    x: f64,
    /// Vertical position of the window, in [0, 1): 0 is at the top.
    y: f64,
    mirrored: bool,
    /// Factor of every value.
    brightness: f32,
}

impl AugmentConfig {
    /// Settings for views that are mirrored half of the time if `flip` is set, lose up to the fraction `crop` of width
    /// and height, and are lighter or darker by up to the fraction `brightness`.
    ///
    /// # Errors
    /// When `crop` or `brightness` is outside [0, 1), or every view would equal the photo.
    pub fn new(flip: bool, crop: f64, brightness: f64, seed: u64) -> Result<Self, AugmentConfigError> {
        for (name, value) in [("crop", crop), ("brightness", brightness)] {
            if !(0.0..1.0).contains(&value) {
                return Err(AugmentConfigError::OutOfRange { name, value });
            }
        }
        if !flip && crop == 0.0 && brightness == 0.0 {
            return Err(AugmentConfigError::NoChange);
        }
        Ok(Self { flip, crop, brightness, seed })
    }

    /// Draws view number `number` of the photo whose bytes have the hash `photo_hash`. All values are drawn even if
    /// unused, so that a view has the same window with mirroring as without.
    pub fn sample_view(&self, photo_hash: &blake3::Hash, number: usize) -> View {
        let mut hasher = blake3::Hasher::new_derive_key("icebox 2026 drawing of an augmented view");
        hasher.update(&self.seed.to_le_bytes()).update(photo_hash.as_bytes()).update(&(number as u64).to_le_bytes());
        let mut random = ChaCha8Rng::from_seed(*hasher.finalize().as_bytes());
        let mut uniform = || random.random::<f64>();
        View {
            scale: 1.0 - self.crop * uniform(),
            x: uniform(),
            y: uniform(),
            mirrored: uniform() < 0.5 && self.flip,
            brightness: (1.0 + self.brightness * (2.0 * uniform() - 1.0)) as f32,
        }
    }

    /// The settings in the form that the manifest stores.
    pub fn to_augmentation(&self) -> Augmentation {
        let Self { flip, crop, brightness, seed } = *self;
        let (crop, brightness) = (crop.to_string(), brightness.to_string());
        Augmentation { flip, crop, brightness, seed, method: METHOD.to_owned() }
    }

    /// Parses the manifest's form; `None` if this version cannot make such views.
    pub fn from_augmentation(manifest: &Augmentation) -> Option<Self> {
        let (crop, brightness) = (manifest.crop.parse().ok()?, manifest.brightness.parse().ok()?);
        let config = Self::new(manifest.flip, crop, brightness, manifest.seed).ok()?;
        (config.to_augmentation() == *manifest).then_some(config)
    }
}

impl View {
    /// Renders the view of a decoded photo into `out`, (side, side, 3): Pillow's pixels after `crop`, `resize`,
    /// `transpose` and `ImageEnhance.Brightness`.
    pub fn render(&self, picture: &RgbPicture, side: u32, interpolation: Interpolation, out: &mut [u8]) {
        let (left, width) = self.crop_window(picture.width, self.x);
        let (top, height) = self.crop_window(picture.height, self.y);
        resize_region(picture.region(left, top, width, height), side, interpolation, out);
        if self.mirrored {
            for row in out.chunks_exact_mut(3 * side as usize) {
                row.as_chunks_mut::<3>().0.reverse();
            }
        }
        // The cast truncates and saturates at 255, as Pillow's blend with black does (src/libImaging/Blend.c).
        for value in out {
            *value = (self.brightness * f32::from(*value)) as u8;
        }
    }

    /// Start and length in pixels of the crop window along an edge of `length` pixels; it is at least one pixel long.
    /// `position` is in [0, 1).
    fn crop_window(&self, length: u32, position: f64) -> (u32, u32) {
        let extent = ((f64::from(length) * self.scale).round() as u32).clamp(1, length);
        let free = length - extent;
        (((f64::from(free) + 1.0) * position) as u32, extent)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use ndarray::Array5;
    use ndarray_npy::ReadNpyExt;

    use super::super::decode::OpenedPhoto;
    use super::super::limits::Limits;
    use super::super::orientation::Orientation;
    use super::*;

    fn config() -> AugmentConfig {
        AugmentConfig::new(true, 0.3, 0.2, 42).unwrap()
    }

    fn views(config: AugmentConfig, photo: &[u8]) -> Vec<View> {
        (0..1000).map(|number| config.sample_view(&blake3::hash(photo), number)).collect()
    }

    #[test]
    fn views_fill_their_range_and_stay_within_it() {
        let views = views(config(), b"photo");
        let mirrored = views.iter().filter(|view| view.mirrored).count();
        assert!((440..560).contains(&mirrored), "{mirrored}");
        let mean = |value: fn(&View) -> f64| views.iter().map(value).sum::<f64>() / 1000.0;
        assert!((mean(|view| view.scale) - 0.85).abs() < 0.01);
        assert!((mean(|view| view.x) - 0.5).abs() < 0.03);
        assert!((mean(|view| f64::from(view.brightness)) - 1.0).abs() < 0.01);
        assert!(views.iter().all(|view| view.scale > 0.7 && view.scale <= 1.0));
        assert!(views.iter().all(|view| (0.8..=1.2).contains(&view.brightness)));
        for (length, view) in (1..).zip(&views) {
            let (start, extent) = view.crop_window(length, view.x);
            assert!(extent >= 1 && start + extent <= length);
        }
        let starts = views.iter().map(|view| view.crop_window(10, view.x).0);
        assert_eq!((starts.clone().min(), starts.max()), (Some(0), Some(3)), "up to the last pixel");
    }

    #[test]
    fn seed_bytes_and_number_decide_and_settings_do_not_shift_the_draws() {
        let expected = views(config(), b"photo");
        assert_eq!(views(config(), b"photo"), expected);
        assert_ne!(views(config(), b"other"), expected);
        assert_ne!(views(AugmentConfig { seed: 43, ..config() }, b"photo"), expected);
        let only_cropped = views(AugmentConfig { flip: false, brightness: 0.0, ..config() }, b"photo");
        for (view, cropped) in expected.iter().zip(only_cropped) {
            assert_eq!(cropped, View { mirrored: false, brightness: 1.0, ..*view });
        }
    }

    #[test]
    fn a_view_has_pillows_pixels() {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pixels");
        let source = fs::read(fixtures.join("resize.png")).unwrap();
        let source = OpenedPhoto::open(&source, Limits::DEFAULT, None, Orientation::Stored).unwrap().decode().unwrap();
        let golden = Array5::<u8>::read_npy(fs::File::open(fixtures.join("views.npy")).unwrap()).unwrap();
        let view = |scale, (x, y), mirrored, brightness| View { scale, x, y, mirrored, brightness };
        let views = [
            (view(1.0, (0.3, 0.7), true, 1.0), (0, 0, 97, 61)),
            (view(0.7, (0.5, 0.99), false, 1.3), (15, 18, 68, 43)),
            (view(0.8, (0.0, 0.25), true, 0.65), (0, 3, 78, 49)),
            (view(0.35, (0.999, 0.5), false, 1.9999), (63, 20, 34, 21)),
        ];
        for ((view, window), golden) in views.into_iter().zip(golden.outer_iter()) {
            let ((left, width), (top, height)) = (view.crop_window(97, view.x), view.crop_window(61, view.y));
            assert_eq!((left, top, width, height), window);
            let interpolations = [Interpolation::Nearest, Interpolation::Bilinear, Interpolation::Lanczos];
            for (interpolation, golden) in interpolations.into_iter().zip(golden.outer_iter()) {
                let mut ours = vec![0; 34 * 34 * 3];
                view.render(&source, 34, interpolation, &mut ours);
                assert!(ours.iter().eq(&golden), "{view:?}, {interpolation:?}");
            }
        }
    }

    /// Existing caches hold views drawn like this: another version of a library must draw the same ones.
    #[test]
    fn the_drawing_does_not_change() {
        let view = config().sample_view(&blake3::hash(b"photo"), 7);
        let expected = View {
            scale: 0.8298200253562297,
            x: 0.7531919982417674,
            y: 0.7433058821638057,
            mirrored: false,
            brightness: 0.8921299,
        };
        assert_eq!(view, expected);
    }

    #[test]
    fn the_manifest_says_everything() {
        let manifest = config().to_augmentation();
        assert_eq!(AugmentConfig::from_augmentation(&manifest), Some(config()));
        for other in ["1", "0.30", "words"] {
            assert_eq!(
                AugmentConfig::from_augmentation(&Augmentation { crop: other.into(), ..manifest.clone() }),
                None
            );
        }
        assert_eq!(AugmentConfig::from_augmentation(&Augmentation { method: "another".into(), ..manifest }), None);
    }

    #[test]
    fn wrong_settings_are_refused() {
        let refused = |flip, crop, brightness| AugmentConfig::new(flip, crop, brightness, 1).unwrap_err().to_string();
        assert_eq!(refused(false, 0.0, 0.0), "the views would all be the photo itself");
        assert_eq!(refused(true, 1.0, 0.0), "crop 1: must be 0 or more and less than 1");
        assert_eq!(refused(true, 0.0, -0.1), "brightness -0.1: must be 0 or more and less than 1");
        assert_eq!(refused(true, f64::NAN, 0.0), "crop NaN: must be 0 or more and less than 1");
    }
}
