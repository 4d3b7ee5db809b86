//! From every kind of picture to 8-bit RGB, as Pillow's `convert("RGB")` does it.

use image::DynamicImage;

use super::limits::PixelError;

/// Grey is repeated, alpha dropped (not composited), of 16-bit colour the high byte is taken; but 16-bit grey is
/// clipped at 255, since Pillow goes by way of "L" (src/libImaging/Convert.c, `I16L_L`).
pub(super) fn to_rgb(picture: DynamicImage) -> Result<Vec<u8>, PixelError> {
    let high = |value: u16| (value >> 8) as u8;
    let clipped = |value: u16| value.min(255) as u8;
    Ok(match picture {
        DynamicImage::ImageRgb8(picture) => picture.into_raw(),
        DynamicImage::ImageRgba8(picture) => without_alpha(&picture),
        DynamicImage::ImageLuma8(picture) => grey(picture.iter().copied()),
        DynamicImage::ImageLumaA8(picture) => grey(picture.iter().copied().step_by(2)),
        DynamicImage::ImageLuma16(picture) => grey(picture.iter().copied().map(clipped)),
        DynamicImage::ImageLumaA16(picture) => grey(picture.iter().copied().step_by(2).map(high)),
        DynamicImage::ImageRgb16(picture) => picture.iter().copied().map(high).collect(),
        DynamicImage::ImageRgba16(picture) => {
            let pixels = picture.as_chunks::<4>().0.iter();
            pixels.flat_map(|&[red, green, blue, _]| [red, green, blue].map(high)).collect()
        }
        _ => return Err(PixelError::Unsupported("holds floating-point values, which have no 8-bit form")),
    })
}

fn grey(values: impl Iterator<Item = u8>) -> Vec<u8> {
    values.flat_map(|value| [value; 3]).collect()
}

fn without_alpha(rgba: &[u8]) -> Vec<u8> {
    rgba.as_chunks::<4>().0.iter().flat_map(|&[red, green, blue, _]| [red, green, blue]).collect()
}

/// CMYK as JPEG has it, inverted, which Pillow takes every CMYK JPEG to be (PIL/JpegImagePlugin.py, rawmode
/// "CMYK;I"); then src/libImaging/Convert.c, `cmyk2rgb`.
pub(super) fn inverted_cmyk_to_rgb(cmyk: &[u8]) -> Vec<u8> {
    let ink = |color: u8, key: u8| key - multiply(255 - color, key);
    cmyk.as_chunks::<4>().0.iter().flat_map(|&[c, m, y, key]| [ink(c, key), ink(m, key), ink(y, key)]).collect()
}

/// `a * b / 255`, rounded (src/libImaging/ImagingUtils.h, `MULDIV255`); never more than `b`.
fn multiply(a: u8, b: u8) -> u8 {
    let product = u32::from(a) * u32::from(b) + 128;
    (((product >> 8) + product) >> 8) as u8
}
