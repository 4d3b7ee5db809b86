//! A head's most confident mistakes and the photos most unlike its training photos, with the photos if they are at hand.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::{ImageFormat, ImageReader, Limits};

use crate::data::Rows;
use crate::fit::each_batch;
use crate::kernels::Cores;
use crate::loss::largest;
use crate::markup::escape;
use crate::prediction::Predictor;
use crate::probability::confidence;

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

/// A photo that is unlike the training photos.
#[derive(Debug, Clone, PartialEq)]
pub struct Unfamiliar {
    /// Its place among the rows.
    pub row: usize,
    /// Relative to the data set; empty until the caller, who knows the index, fills it in.
    pub path: PathBuf,
    /// The class it is in.
    pub label: String,
    /// How unlike the training photos it is.
    pub score: f32,
    /// Whether the score is above the head's threshold.
    pub above_threshold: bool,
}

/// Validation photos to show in a report.
#[derive(Debug, Clone, Default)]
pub struct Gallery<'a> {
    /// The most confident mistakes, the most confident first.
    pub mistakes: Vec<Mistake>,
    /// The photos most unlike the training photos, the most unlike first.
    pub unfamiliar: Vec<Unfamiliar>,
    /// The data set to take their thumbnails from.
    pub photos: Option<&'a Path>,
}

/// The `count` most confident mistakes among the rows, without their paths.
pub fn mistakes(predictor: &Predictor, rows: &Rows<'_>, count: usize) -> Vec<Mistake> {
    struct Found {
        row: usize,
        label: usize,
        predicted: usize,
        confidence: f64,
    }
    let (classifier, temperature) = (predictor.classifier(), predictor.temperature());
    let mut found = Vec::new();
    let mut row = 0;
    each_batch(Cores::of_caller(), classifier, rows, |logits, labels| {
        for (logits, &label) in logits.chunks_exact(classifier.classes()).zip(labels) {
            let predicted = largest(logits);
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
        row,
        path: PathBuf::new(),
        label: name(label),
        predicted: name(predicted),
        confidence,
    };
    found.into_iter().map(mistake).collect()
}

/// The `count` rows most unlike the training rows, without their paths; none where the head cannot tell.
pub fn most_unfamiliar(predictor: &Predictor, rows: &Rows<'_>, count: usize) -> Vec<Unfamiliar> {
    let (Some(calibration), Some(scores)) = (predictor.calibration(), predictor.unfamiliarity(rows)) else {
        return Vec::new();
    };
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
    order.truncate(count);
    let unfamiliar = |row: usize| Unfamiliar {
        row,
        path: PathBuf::new(),
        label: predictor.classes().name(rows.labels[row]).unwrap_or_default().to_owned(),
        score: scores[row],
        above_threshold: calibration.is_unfamiliar(scores[row]),
    };
    order.into_iter().map(unfamiliar).collect()
}

impl Gallery<'_> {
    /// The mistakes as HTML; nothing where there is none.
    pub(super) fn mistakes_section(&self) -> Option<String> {
        let mut figures = String::new();
        for Mistake { path, label, predicted, confidence, .. } in &self.mistakes {
            let (label, predicted, percent) = (escape(label), escape(predicted), 100.0 * confidence);
            let caption = format!("{label}, predicted as <strong>{predicted}</strong> with probability {percent:.1} %");
            figures += &self.figure(path, &format!("{label}, predicted as {predicted}"), &caption);
        }
        (!figures.is_empty()).then(|| format!("<div class=\"gallery\">{figures}</div>"))
    }

    /// The unfamiliar photos as HTML; nothing where there is none.
    pub(super) fn unfamiliar_section(&self) -> Option<String> {
        let mut figures = String::new();
        for Unfamiliar { path, label, score, above_threshold, .. } in &self.unfamiliar {
            let label = escape(label);
            let mark = if *above_threshold { ", <strong>unfamiliar</strong>" } else { "" };
            figures += &self.figure(path, &label, &format!("{label}, score {score:.2}{mark}"));
        }
        (!figures.is_empty()).then(|| {
            format!(
                "<p>The score says how unlike the training photos a photo is: 0 is usual among the validation photos. Look \
                 here for photos that belong to no class.</p><div class=\"gallery\">{figures}</div>"
            )
        })
    }

    /// A photo above its caption, which is HTML, as `alt` is.
    fn figure(&self, path: &Path, alt: &str, caption: &str) -> String {
        let mut html = "<figure>".to_owned();
        if let Some(jpeg) = self.photos.and_then(|photos| thumbnail(&photos.join(path))) {
            let jpeg = STANDARD.encode(jpeg);
            html += &format!("<img alt=\"{alt}\" src=\"data:image/jpeg;base64,{jpeg}\">");
        }
        let path = escape(&path.to_string_lossy());
        html + &format!("<figcaption>{caption}<small>{path}</small></figcaption></figure>")
    }
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
