//! The golden file of an ONNX model: inputs, and the answers of `classify` for them. Where the model resizes pictures,
//! they are of several sizes.

use std::io::Cursor;
use std::ops::ControlFlow;
use std::sync::atomic::AtomicBool;

use backbone::pixels::Limits;
use backbone::xception::HALF_RANGE;
use backbone::{Embedder, EndReason, Event, Photo, PhotoError};
use head::prediction::{Prediction, Predictor};
use image::{ImageFormat, Rgb, RgbImage};

use super::error::ExportError;
use super::network::{Network, own_kernels};
use super::npz::NpzWriter;
use super::options::PictureInput;

/// Widths and heights of the pictures: a square, wide and tall ones, and a single pixel. For some of them ONNX's
/// `Resize` would pick other pixels than Pillow.
const SIZES: [(u32, u32); 6] = [(150, 150), (400, 300), (301, 467), (75, 200), (640, 97), (1, 1)];

/// The number of rows of features for a head alone.
const ROWS: usize = 6;

/// Inputs of a model, and the expected answers.
pub(super) struct Golden {
    inputs: Vec<Input>,
    predictions: Vec<Prediction>,
}

/// An input of the model.
enum Input {
    /// (1, H, W, 3) uint8
    Pixels(RgbImage),
    /// (1, side, side, 3) float32 from -1 to 1
    Scaled { side: u32, values: Vec<f32> },
    /// (1, features) float32
    Features(Vec<f32>),
}

impl Golden {
    /// For the network with the head: generated pictures, and the predictions of `classify` for them in f32.
    pub(super) fn of_network(network: &Network<'_>, predictor: &Predictor) -> Result<Self, ExportError> {
        let pictures: Vec<RgbImage> = (0..).zip(SIZES).map(|(seed, size)| picture(seed, size)).collect();
        let photos: Vec<Vec<u8>> = pictures.iter().map(as_bmp).collect();
        let embedder = Embedder::new(&network.spec, network.weights, own_kernels())?;
        let mut predictions = Vec::with_capacity(photos.len());
        let report =
            embedder.embed(photos.iter().cloned().map(Photo::from_bytes), &AtomicBool::new(false), |event| {
                match event {
                    Event::Row { row, .. } => predictions.extend(predictor.predict(&[row])),
                    Event::Failed { error, .. } => return ControlFlow::Break(error),
                }
                ControlFlow::Continue(())
            })?;
        if let EndReason::ByCaller(error) = report.end {
            return Err(error.into());
        }
        let inputs = match network.input {
            PictureInput::Pixels => pictures.into_iter().map(Input::Pixels).collect(),
            PictureInput::Keras => {
                let mut inputs = Vec::with_capacity(photos.len());
                for photo in &photos {
                    inputs.push(scaled(network, photo)?);
                }
                inputs
            }
        };
        Ok(Self { inputs, predictions })
    }

    /// For a head alone: generated rows, the last one of zeros, and the predictions for them.
    pub(super) fn of_head(predictor: &Predictor) -> Self {
        let (mut inputs, mut predictions) = (Vec::new(), Vec::new());
        for row in 0..ROWS {
            // Features are never negative: they are means of ReLU outputs.
            let scale = if row + 1 < ROWS { 1.0 / 300.0 } else { 0.0 };
            let value = |column: usize| ((row * 37 + column * 11 + column * column) % 409) as f32 * scale;
            let features: Vec<f32> = (0..predictor.inputs()).map(value).collect();
            predictions.extend(predictor.predict(&[&features]));
            inputs.push(Input::Features(features));
        }
        Self { inputs, predictions }
    }

    /// The bytes of the .npz file: `input_0`, …, each a batch of one; `logits`, `probabilities` and, for a head with
    /// calibration, `unfamiliarity`, each with a row for every input; `model_blake3`, the hash of the model's bytes.
    ///
    /// # Errors
    /// When an answer is not finite.
    pub(super) fn to_npz(&self, model: &[u8]) -> Result<Vec<u8>, ExportError> {
        for Prediction { logits, unfamiliarity, .. } in &self.predictions {
            if !logits.iter().chain(unfamiliarity).all(|value| value.is_finite()) {
                return Err(ExportError::NotFinite);
            }
        }
        Ok(self.write(model).expect("a zip archive can be written to memory"))
    }

    fn write(&self, model: &[u8]) -> zip::result::ZipResult<Vec<u8>> {
        let mut npz = NpzWriter::new();
        for (k, input) in self.inputs.iter().enumerate() {
            let name = format!("input_{k}");
            match input {
                Input::Pixels(picture) => {
                    let shape = [1, picture.height() as usize, picture.width() as usize, 3];
                    npz.uint8(&name, &shape, picture.as_raw())?;
                }
                Input::Scaled { side, values } => {
                    npz.float32(&name, &[1, *side as usize, *side as usize, 3], values)?;
                }
                Input::Features(features) => npz.float32(&name, &[1, features.len()], features)?,
            }
        }
        let rows = self.predictions.len();
        let (mut logits, mut probabilities) = (Vec::new(), Vec::new());
        for prediction in &self.predictions {
            logits.extend_from_slice(&prediction.logits);
            probabilities.extend_from_slice(&prediction.probabilities);
        }
        let shape = [rows, logits.len() / rows];
        npz.float32("logits", &shape, &logits)?;
        npz.float32("probabilities", &shape, &probabilities)?;
        let scores: Option<Vec<f32>> = self.predictions.iter().map(|prediction| prediction.unfamiliarity).collect();
        if let Some(scores) = scores {
            npz.float32("unfamiliarity", &[rows], &scores)?;
        }
        npz.uint8("model_blake3", &[blake3::OUT_LEN], blake3::hash(model).as_bytes())?;
        npz.finish()
    }
}

/// The network's input for a photo: resized, from -1 to 1.
fn scaled(network: &Network<'_>, photo: &[u8]) -> Result<Input, ExportError> {
    let preprocess = network.spec.preprocess(Limits::DEFAULT);
    let mut pixels = vec![0; preprocess.input_len()];
    let decoded = preprocess.decode(photo).and_then(|picture| preprocess.resize(&picture, None, &mut pixels));
    decoded.map_err(PhotoError::from)?;
    let values = pixels.into_iter().map(|pixel| f32::from(pixel) / HALF_RANGE - 1.0).collect();
    Ok(Input::Scaled { side: network.spec.side, values })
}

/// A picture of stripes, a slow wave and spots of noise in three colours, a different one for each seed.
fn picture(seed: u32, (width, height): (u32, u32)) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        Rgb([0, 1, 2].map(|c| {
            let stripes = x * (c + 1 + seed) + y * (3 - c) + x * y / (16 + seed);
            let noise = (x * 7 + y * 13 + seed * 29) ^ (x * y + c);
            if x / 32 % 2 == y / 32 % 3 { noise as u8 } else { stripes as u8 }
        }))
    })
}

/// The picture as the bytes of a BMP file.
fn as_bmp(picture: &RgbImage) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Bmp).expect("a small picture fits into memory");
    bytes.into_inner()
}
