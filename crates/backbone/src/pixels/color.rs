//! Conversion of every kind of picture to 8-bit RGB, as Pillow's `convert("RGB")`.

use image::DynamicImage;

use super::limits::PixelError;

/// The pixels as RGB, (height, width, 3). Grey is repeated for the three channels and alpha is dropped, not composited.
/// 16-bit values keep their high byte, except grey without alpha, which is clipped at 255, since Pillow converts it to
/// "L" first (src/libImaging/Convert.c, `I16L_L`). `stored_as_grey` says that the alpha of a grey picture is not in the
/// file: the decoder has made it of a transparent value.
pub(super) fn to_rgb(picture: DynamicImage, stored_as_grey: bool) -> Result<Vec<u8>, PixelError> {
    let high = |value: u16| (value >> 8) as u8;
    let clipped = |value: u16| value.min(255) as u8;
    Ok(match picture {
        DynamicImage::ImageRgb8(picture) => picture.into_raw(),
        DynamicImage::ImageRgba8(picture) => without_alpha(&picture),
        DynamicImage::ImageLuma8(picture) => grey(picture.iter().copied()),
        DynamicImage::ImageLumaA8(picture) => grey(picture.iter().copied().step_by(2)),
        DynamicImage::ImageLuma16(picture) => grey(picture.iter().copied().map(clipped)),
        DynamicImage::ImageLumaA16(picture) if stored_as_grey => grey(picture.iter().copied().step_by(2).map(clipped)),
        DynamicImage::ImageLumaA16(picture) => grey(picture.iter().copied().step_by(2).map(high)),
        DynamicImage::ImageRgb16(picture) => picture.iter().copied().map(high).collect(),
        DynamicImage::ImageRgba16(picture) => {
            let pixels = picture.as_chunks::<4>().0.iter();
            pixels.flat_map(|&[red, green, blue, _]| [red, green, blue].map(high)).collect()
        }
        _ => return Err(PixelError::Unsupported("holds floating-point values, which have no 8-bit form")),
    })
}

/// Each value three times.
fn grey(values: impl Iterator<Item = u8>) -> Vec<u8> {
    values.flat_map(|value| [value; 3]).collect()
}

fn without_alpha(rgba: &[u8]) -> Vec<u8> {
    rgba.as_chunks::<4>().0.iter().flat_map(|&[red, green, blue, _]| [red, green, blue]).collect()
}

/// Inverted CMYK to RGB (src/libImaging/Convert.c, `cmyk2rgb`). Pillow treats every CMYK JPEG as inverted
/// (PIL/JpegImagePlugin.py, rawmode "CMYK;I").
pub(super) fn inverted_cmyk_to_rgb(cmyk: &[u8]) -> Vec<u8> {
    let channel = |color: u8, key: u8| key - multiply(255 - color, key);
    let to_rgb = |&[c, m, y, key]: &[u8; 4]| [c, m, y].map(|color| channel(color, key));
    cmyk.as_chunks::<4>().0.iter().flat_map(to_rgb).collect()
}

/// `a * b / 255`, rounded (src/libImaging/ImagingUtils.h, `MULDIV255`); never more than `b`.
fn multiply(a: u8, b: u8) -> u8 {
    let product = u32::from(a) * u32::from(b) + 128;
    (((product >> 8) + product) >> 8) as u8
}
