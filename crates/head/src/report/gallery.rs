//! A head's most confident mistakes, with the photos if they are at hand.

use std::fmt::Write;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::{ImageFormat, ImageReader, Limits};

use crate::data::Rows;
use crate::fit::each_batch;
use crate::layers::Classifier;
use crate::loss::largest;
use crate::markup::escape;
use crate::metrics::confidence;

/// Side of a thumbnail in pixels: sharp on a screen with two to a point.
const SIDE: u32 = 256;
/// Decoding a photo for its thumbnail may take this much memory.
const MAX_BYTES: u64 = 1 << 30;

/// A photo that is predicted as another class than its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Mistake {
    /// Its place among the rows.
    pub row: usize,
    /// Relative to the data set; empty until the caller, who knows the index, fills it in.
    pub path: PathBuf,
    /// The class it is in.
    pub label: String,
    /// The class that is predicted.
    pub predicted: String,
    /// The probability of the predicted class.
    pub confidence: f64,
}

/// The `count` most confident mistakes among the rows, without their paths. `name` gives a class's name.
pub fn mistakes(
    classifier: &Classifier,
    rows: &Rows<'_>,
    count: usize,
    name: impl Fn(usize) -> String,
) -> Vec<Mistake> {
    struct Found {
        row: usize,
        label: usize,
        predicted: usize,
        confidence: f64,
    }
    let mut found = Vec::new();
    let mut row = 0;
    each_batch(classifier, rows, |logits, labels| {
        for (logits, &label) in logits.chunks_exact(classifier.classes()).zip(labels) {
            let predicted = largest(logits);
            if predicted != label {
                found.push(Found { row, label, predicted, confidence: confidence(logits) });
            }
            row += 1;
        }
    });
    found.sort_by(|a, b| b.confidence.total_cmp(&a.confidence).then(a.row.cmp(&b.row)));
    found.truncate(count);
    let mistake = |Found { row, label, predicted, confidence }| Mistake {
        row,
        path: PathBuf::new(),
        label: name(label),
        predicted: name(predicted),
        confidence,
    };
    found.into_iter().map(mistake).collect()
}

/// The mistakes as HTML, with thumbnails where `photos`, the data set, has them.
pub(super) fn figures(mistakes: &[Mistake], photos: Option<&Path>) -> String {
    let mut html = "<div class=\"gallery\">".to_owned();
    for mistake in mistakes {
        let (label, predicted) = (escape(&mistake.label), escape(&mistake.predicted));
        let path = escape(&mistake.path.to_string_lossy());
        html += "<figure>";
        if let Some(jpeg) = photos.and_then(|photos| thumbnail(&photos.join(&mistake.path))) {
            let jpeg = STANDARD.encode(jpeg);
            let _ =
                write!(html, "<img alt=\"{label}, predicted as {predicted}\" src=\"data:image/jpeg;base64,{jpeg}\">");
        }
        let _ = write!(
            html,
            "<figcaption>{label}, predicted as <strong>{predicted}</strong> with probability {:.1} %<small>{path}</small>\
             </figcaption></figure>",
            100.0 * mistake.confidence
        );
    }
    html + "</div>"
}

/// A small JPEG of the photo; none when it cannot be read.
fn thumbnail(path: &Path) -> Option<Vec<u8>> {
    let mut reader = ImageReader::open(path).ok()?.with_guessed_format().ok()?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits);
    let small = reader.decode().ok()?.thumbnail(SIDE, SIDE).to_rgb8();
    let mut jpeg = Cursor::new(Vec::new());
    small.write_to(&mut jpeg, ImageFormat::Jpeg).ok()?;
    Some(jpeg.into_inner())
}
