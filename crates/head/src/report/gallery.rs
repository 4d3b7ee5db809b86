//! The most confident mistakes, and the photos most unlike the training photos, with thumbnails if the data set is
//! given.

use std::io::Cursor;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use crate::data::Rows;
use crate::fit::for_each_batch;
use crate::loss::argmax;
use crate::markup::escape;
use crate::prediction::Predictor;
use crate::probability::confidence;

/// Longer side of a thumbnail in pixels. The page shows it 150 CSS pixels wide or a little more; the rest is for
/// high-DPI screens.
const SIDE: u32 = 256;
/// Limit on the memory for decoding a photo.
const MAX_BYTES: u64 = 1 << 30;

/// A photo that is predicted as a wrong class.
#[derive(Debug, Clone, PartialEq)]
pub struct Mistake {
    /// Relative to the data set.
    pub path: PathBuf,
    /// The true class.
    pub label: String,
    /// The predicted class.
    pub predicted: String,
    /// The probability of the predicted class.
    pub confidence: f64,
}

/// A photo that is unlike the training photos.
#[derive(Debug, Clone, PartialEq)]
pub struct Unfamiliar {
    /// Relative to the data set.
    pub path: PathBuf,
    /// The true class.
    pub label: String,
    /// How unlike the training photos it is.
    pub score: f32,
    /// Whether the score is above the head's threshold.
    pub above_threshold: bool,
}

/// The data set that thumbnails are made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PhotoFolder<'a> {
    /// The folder.
    pub path: &'a Path,
    /// Whether photos are turned upright by their EXIF orientation, as they were for the rows.
    pub upright: bool,
}

/// Validation photos to show in a report.
#[derive(Debug, Clone, Default)]
pub struct Gallery<'a> {
    /// The mistakes, by descending confidence.
    pub mistakes: Vec<Mistake>,
    /// The photos most unlike the training photos, by descending score.
    pub unfamiliar: Vec<Unfamiliar>,
    /// The data set; `None`: no thumbnails.
    pub photos: Option<PhotoFolder<'a>>,
}

/// The `count` most confident mistakes among the rows. `path(k)` is the path of the photo of row k of `rows`.
pub fn mistakes(predictor: &Predictor, rows: &Rows<'_>, count: usize, path: impl Fn(usize) -> PathBuf) -> Vec<Mistake> {
    struct Found {
        row: usize,
        label: usize,
        predicted: usize,
        confidence: f64,
    }
    let (classifier, temperature) = (predictor.classifier(), predictor.temperature());
    let mut found = Vec::new();
    let mut row = 0;
    for_each_batch(classifier, rows, |logits, labels| {
        for (logits, &label) in logits.chunks_exact(classifier.classes()).zip(labels) {
            let predicted = argmax(logits);
            if predicted != label {
                found.push(Found { row, label, predicted, confidence: confidence(logits, temperature) });
            }
            row += 1;
        }
    });
    found.sort_by(|a, b| b.confidence.total_cmp(&a.confidence).then(a.row.cmp(&b.row)));
    found.truncate(count);
    let name = |class: usize| predictor.classes().name(class).unwrap_or_default().to_owned();
    let mistake = |Found { row, label, predicted, confidence }| Mistake {
        path: path(row),
        label: name(label),
        predicted: name(predicted),
        confidence,
    };
    found.into_iter().map(mistake).collect()
}

/// The `count` photos most unlike the training photos; none for a head without calibration. `path(k)` is the path of
/// the photo of row k of `rows`.
pub fn most_unfamiliar(
    predictor: &Predictor,
    rows: &Rows<'_>,
    count: usize,
    path: impl Fn(usize) -> PathBuf,
) -> Vec<Unfamiliar> {
    let (Some(calibration), Some(scores)) = (predictor.calibration(), predictor.unfamiliarity(rows)) else {
        return Vec::new();
    };
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
    order.truncate(count);
    let unfamiliar = |row: usize| Unfamiliar {
        path: path(row),
        label: predictor.classes().name(rows.labels[row]).unwrap_or_default().to_owned(),
        score: scores[row],
        above_threshold: calibration.is_unfamiliar(scores[row]),
    };
    order.into_iter().map(unfamiliar).collect()
}

impl Gallery<'_> {
    /// The mistakes as HTML; `None` if there are none.
    pub(super) fn mistakes_section(&self) -> Option<String> {
        let mut figures = String::new();
        for Mistake { path, label, predicted, confidence } in &self.mistakes {
            let (label, predicted, percent) = (escape(label), escape(predicted), 100.0 * confidence);
            let caption = format!("{label}, predicted as <strong>{predicted}</strong> with probability {percent:.1} %");
            figures += &self.figure(path, &format!("{label}, predicted as {predicted}"), &caption);
        }
        (!figures.is_empty()).then(|| format!("<div class=\"gallery\">{figures}</div>"))
    }

    /// The unfamiliar photos as HTML; `None` if there are none.
    pub(super) fn unfamiliar_section(&self) -> Option<String> {
        let mut figures = String::new();
        for Unfamiliar { path, label, score, above_threshold } in &self.unfamiliar {
            let label = escape(label);
            let note = if *above_threshold { ", <strong>unfamiliar</strong>" } else { "" };
            figures += &self.figure(path, &label, &format!("{label}, score {score:.2}{note}"));
        }
        (!figures.is_empty()).then(|| {
            format!(
                "<p>The score says how unlike the training photos a photo is; its mean over the validation photos is \
                 0. Photos that belong to no class are likely to be among these.</p>\
                 <div class=\"gallery\">{figures}</div>"
            )
        })
    }

    /// A thumbnail above its caption. `alt` and `caption` are HTML.
    fn figure(&self, path: &Path, alt: &str, caption: &str) -> String {
        let mut html = "<figure>".to_owned();
        // Decoders of damaged photos may panic.
        let thumbnail = |photos: PhotoFolder<'_>| catch_unwind(|| photos.thumbnail(path)).unwrap_or_default();
        if let Some(jpeg) = self.photos.and_then(thumbnail) {
            let jpeg = STANDARD.encode(jpeg);
            html += &format!("<img alt=\"{alt}\" src=\"data:image/jpeg;base64,{jpeg}\">");
        }
        let path = escape(&path.to_string_lossy());
        html + &format!("<figcaption>{caption}<small>{path}</small></figcaption></figure>")
    }
}

impl PhotoFolder<'_> {
    /// A small JPEG of the photo; `None` if it cannot be read.
    fn thumbnail(&self, photo: &Path) -> Option<Vec<u8>> {
        let mut reader = ImageReader::open(self.path.join(photo)).ok()?.with_guessed_format().ok()?;
        let mut limits = Limits::default();
        limits.max_alloc = Some(MAX_BYTES);
        reader.limits(limits.clone());
        let mut decoder = reader.into_decoder().ok()?;
        limits.reserve(decoder.total_bytes()).ok()?;
        decoder.set_limits(limits).ok()?;
        let orientation = decoder.orientation();
        let mut small = DynamicImage::from_decoder(decoder).ok()?.thumbnail(SIDE, SIDE);
        // Damaged metadata leave the photo as it is stored.
        if self.upright
            && let Ok(orientation) = orientation
        {
            small.apply_orientation(orientation);
        }
        let mut jpeg = Cursor::new(Vec::new());
        small.to_rgb8().write_to(&mut jpeg, ImageFormat::Jpeg).ok()?;
        Some(jpeg.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use image::codecs::png::PngEncoder;
    use image::{ExtendedColorType, ImageEncoder, Rgb, RgbImage};

    use super::*;

    /// An EXIF block with the orientation "turn by 90 degrees clockwise".
    const TURN_CLOCKWISE: &[u8] = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";

    #[test]
    fn thumbnails_are_upright_if_the_rows_are() {
        // Stored: 300 wide, 200 high, red on the left. Upright: 200 wide, 300 high, red at the top.
        let stored = RgbImage::from_fn(300, 200, |x, _| if x < 150 { Rgb([255, 0, 0]) } else { Rgb([0, 0, 255]) });
        let folder = tempfile::tempdir().unwrap();
        let mut png = Vec::new();
        let mut encoder = PngEncoder::new(&mut png);
        encoder.set_exif_metadata(TURN_CLOCKWISE.to_vec()).unwrap();
        encoder.write_image(&stored, 300, 200, ExtendedColorType::Rgb8).unwrap();
        std::fs::write(folder.path().join("photo.png"), png).unwrap();

        for (upright, size, red, blue) in
            [(true, (171, 256), (85, 10), (85, 245)), (false, (256, 171), (10, 85), (245, 85))]
        {
            let photos = PhotoFolder { path: folder.path(), upright };
            let thumbnail = photos.thumbnail("photo.png".as_ref()).unwrap();
            let thumbnail = image::load_from_memory(&thumbnail).unwrap().to_rgb8();
            assert_eq!(thumbnail.dimensions(), size);
            let [red, blue] = [red, blue].map(|(x, y)| thumbnail.get_pixel(x, y).0);
            assert!(red[0] > 200 && red[2] < 50 && blue[2] > 200 && blue[0] < 50, "{red:?} {blue:?}");
        }
        assert_eq!(PhotoFolder { path: folder.path(), upright: true }.thumbnail("missing.png".as_ref()), None);
    }
}
