//! Against Pillow's pixels: the fixtures and their script are in tests/fixtures/pixels.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use ndarray::{Array3, Array4};
use ndarray_npy::ReadNpyExt;
use proptest::prelude::*;

use super::decode::Photo;
use super::resize::resize;
use super::*;

/// Decodes a photo as it is.
fn decode(bytes: &[u8], limits: Limits) -> Result<RgbPicture, PixelError> {
    Photo::open(bytes, limits, None)?.decode()
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pixels")
}

fn pixels_of(file: &Path) -> Array3<u8> {
    Array3::read_npy(File::open(file).unwrap()).unwrap()
}

fn worst_difference(ours: &[u8], theirs: &Array3<u8>) -> u8 {
    assert_eq!(ours.len(), theirs.len());
    ours.iter().zip(theirs).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}

#[test]
fn every_kind_of_picture_gives_pillows_pixels() {
    let mut tried = 0;
    for entry in fs::read_dir(fixtures()).unwrap() {
        let path = entry.unwrap().path();
        let golden = PathBuf::from(format!("{}.npy", path.display()));
        if !golden.exists() {
            continue;
        }
        let name = path.file_name().unwrap().to_str().unwrap();
        let tolerance = match name {
            "lossy.webp" => 8,
            "cmyk.tif" => 1,
            _ => 0,
        };
        let picture =
            decode(&fs::read(&path).unwrap(), Limits::DEFAULT).unwrap_or_else(|error| panic!("{name}: {error}"));
        let theirs = pixels_of(&golden);
        assert_eq!((picture.height as usize, picture.width as usize, 3), theirs.dim(), "{name}");
        let worst = worst_difference(&picture.pixels, &theirs);
        assert!(worst <= tolerance, "{name}: off by {worst}");
        tried += 1;
    }
    assert_eq!(tried, 44);
}

#[test]
fn every_interpolation_gives_pillows_pixels() {
    let source = decode(&fs::read(fixtures().join("resize.png")).unwrap(), Limits::DEFAULT).unwrap();
    for interpolation in Interpolation::ALL {
        for side in [1, 30, 97, 128] {
            let mut ours = vec![0; 3 * (side * side) as usize];
            resize(&source, side, interpolation, &mut ours);
            let golden = fixtures().join(format!("resized_{interpolation}_{side}.npy"));
            assert_eq!(worst_difference(&ours, &pixels_of(&golden)), 0, "{}", golden.display());
        }
    }
}

#[test]
fn photos_give_kerass_pixels() {
    let Some(shared) = end_to_end::shared_folder() else { return };
    let files: serde_json::Value =
        serde_json::from_reader(File::open(shared.join("reference/validation_files.json")).unwrap()).unwrap();
    let golden = File::open(shared.join("reference/validation_pixels_nearest_150_every8th.npy")).unwrap();
    let golden = Array4::<u8>::read_npy(golden).unwrap();
    for (file, theirs) in files["files"].as_array().unwrap().iter().step_by(8).zip(golden.outer_iter()) {
        let path = shared.join("data/clothing-dataset-small/validation").join(file.as_str().unwrap());
        let picture = decode(&fs::read(path).unwrap(), Limits::DEFAULT).unwrap();
        let mut ours = vec![0; theirs.len()];
        resize(&picture, 150, Interpolation::Nearest, &mut ours);
        assert_eq!(worst_difference(&ours, &theirs.to_owned()), 0, "{file}");
    }
}

#[test]
fn a_cut_picture_of_any_format_is_an_error() {
    for name in ["rgb_420.jpg", "progressive.jpg", "rgb.png", "rgb.bmp", "palette.gif", "lossless.webp", "lzw.tiff"] {
        let whole = fs::read(fixtures().join(name)).unwrap();
        for length in [0, 1, whole.len() / 4, whole.len() / 2, whole.len() - 40] {
            assert!(decode(&whole[..length], Limits::DEFAULT).is_err(), "{name} cut to {length}");
        }
    }
    let jpeg = fs::read(fixtures().join("rgb_444.jpg")).unwrap();
    assert_eq!(decode(&jpeg[..jpeg.len() - 20], Limits::DEFAULT), Err(PixelError::Truncated));
    assert_eq!(decode(b"no picture at all", Limits::DEFAULT), Err(PixelError::NotAPicture));
}

#[test]
fn a_harmless_warning_is_no_error() {
    let mut jpeg = fs::read(fixtures().join("rgb_444.jpg")).unwrap();
    let whole = decode(&jpeg, Limits::DEFAULT).unwrap();
    jpeg.extend(b"something behind the end");
    assert_eq!(decode(&jpeg, Limits::DEFAULT).unwrap(), whole);
}

#[test]
fn a_picture_over_the_limit_is_refused_by_its_header() {
    let limits = Limits { max_pixels: 23 * 17 - 1, ..Limits::DEFAULT };
    for name in ["rgb_420.jpg", "rgb.png", "rgb.bmp", "palette.gif", "lossless.webp", "rgb.tif"] {
        let error = decode(&fs::read(fixtures().join(name)).unwrap(), limits).unwrap_err();
        assert_eq!(error, PixelError::TooManyPixels { width: 23, height: 17, limit: 390 }, "{name}");
    }
    // A PNG that claims 65,535 x 65,535 pixels and ends there.
    let mut bomb = fs::read(fixtures().join("rgb.png")).unwrap();
    bomb[16..24].copy_from_slice(&[0, 0, 255, 255, 0, 0, 255, 255]);
    assert!(decode(&bomb, Limits::DEFAULT).is_err());
}

/// Headers that claim much are refused before the decoder believes them.
#[test]
fn what_a_header_claims_is_counted() {
    let limits = Limits { max_pixels: 1 << 20, max_bytes: 4 << 20 };
    let fixture = |name: &str| fs::read(fixtures().join(name)).unwrap();
    let refused = |name: &str, bytes: &[u8]| {
        let error = decode(bytes, limits).unwrap_err();
        assert_eq!(error.limit(), Some(Limit::Bytes), "{name}: {error}");
    };
    for name in ["rgb.png", "rgb.tif", "lossy.webp", "palette.gif"] {
        decode(&fixture(name), limits).unwrap_or_else(|error| panic!("{name}: {error}"));
    }

    // A profile of 64 MiB in a PNG; its decoder gives up on it alone.
    let mut png = std::io::Cursor::new(Vec::new());
    let mut encoder = image::codecs::png::PngEncoder::new(&mut png);
    image::ImageEncoder::set_icc_profile(&mut encoder, vec![0; 64 << 20]).unwrap();
    image::ImageEncoder::write_image(encoder, &[0; 12], 2, 2, image::ExtendedColorType::Rgb8).unwrap();
    decode(png.get_ref(), limits).unwrap();

    // A frame of 65,535 x 65,535 pixels in a small GIF.
    let mut gif = fixture("palette.gif");
    let frame = gif.windows(2).rposition(|bytes| bytes == [0x2C, 0]).unwrap();
    gif[frame + 5..frame + 9].fill(0xFF);
    refused("palette.gif", &gif);

    // A frame of 16,383 x 16,383 pixels in a small extended WebP.
    let mut lossy = fixture("lossy.webp");
    lossy[26..30].copy_from_slice(&[0xFF, 0x3F, 0xFF, 0x3F]);
    let extended = b"VP8X\x0a\0\0\0\0\0\0\0\x16\0\0\x10\0\0";
    let webp = [&lossy[..12], extended, &lossy[12..]].concat();
    refused("lossy.webp", &webp);

    // Ten million offsets of strips in a TIFF; and a strip whose rows are 4 GiB wide, of pixels that have more samples than
    // are kept.
    let tiff = fixture("rgb.tif");
    let entry = |tag: u16| {
        let place = tiff.windows(4).position(|bytes| bytes[..2] == tag.to_le_bytes() && bytes[3] == 0 && bytes[2] < 13);
        place.unwrap_or_else(|| panic!("no tag {tag}"))
    };
    let mut many_strips = tiff.clone();
    many_strips[entry(273) + 4..][..4].copy_from_slice(&10_000_000u32.to_le_bytes());
    refused("rgb.tif with many strips", &many_strips);
}

/// The data of a lossless WebP of 4 x 4 pixels with so many groups of prefix codes. In each group, 10 bytes of the file, a
/// code has 2048 symbols of 11 bits, whose tables are 68 KiB.
fn lossless_data(groups: u32) -> Vec<u8> {
    let (red, green) = ((groups - 1) >> 8, (groups - 1) & 0xFF);
    let single = |symbol: u32| [(1, 1), (0, 1), (1, 1), (symbol, 8)];
    // Signature, width and height less 1, no alpha, version; no transform; a cache of 2 ^ 11 colours.
    let mut values = vec![(0x2F, 8), (3, 14), (3, 14), (0, 1), (0, 3), (0, 1), (1, 1), (11, 4)];
    // A picture of one block, without a cache, whose pixel says how many groups there are.
    values.extend([(1, 1), (0, 3), (0, 1)]);
    values.extend([green, red, 0, 0, 0].into_iter().flat_map(single));
    for _ in 0..groups {
        // The code of lengths has the length 11 alone; so no bits say that 2048 symbols have it.
        values.extend([(0, 1), (11, 4)]);
        values.extend([(0, 3); 14]);
        values.extend([(1, 3), (1, 1), (5, 3), (2046, 12)]);
        values.extend([(0b0001, 4); 4]);
    }
    // 16 pixels of the first symbol.
    values.extend([(0, 11); 16]);

    let mut data = Vec::new();
    let mut place = 0;
    for (value, bits) in values {
        for k in 0..bits {
            if place % 8 == 0 {
                data.push(0);
            }
            data[place / 8] |= ((value >> k & 1) as u8) << (place % 8);
            place += 1;
        }
    }
    data
}

fn webp(lossless: &[u8]) -> Vec<u8> {
    let length = |bytes: usize| (bytes as u32).to_le_bytes();
    let (file, chunk) = (length(lossless.len() + 12), length(lossless.len()));
    [&b"RIFF"[..], &file, b"WEBPVP8L", &chunk, lossless, &[0][lossless.len() % 2 ^ 1..]].concat()
}

/// This one took 3 GB before anything was known of it.
#[test]
fn the_prefix_codes_of_a_webp_are_counted_before_the_decoder_makes_tables_of_them() {
    let data = lossless_data(1 << 16);
    assert!(data.len() < 700_000);
    let error = decode(&webp(&data), Limits::DEFAULT).unwrap_err();
    let needed = match error {
        PixelError::TooManyBytes { width: 4, height: 4, needed, .. } => needed,
        error => panic!("{error}"),
    };
    assert!((68 << 26..70 << 26).contains(&needed), "{needed}");

    let data = lossless_data(300);
    assert_eq!(decode(&webp(&data), Limits::DEFAULT).unwrap().pixels, [0; 3 * 16]);
    let memory = prefix_codes::memory(&data, None).unwrap();
    assert!((300 * (68 << 10)..300 * (70 << 10)).contains(&memory), "{memory}");

    // Cut off before the pixels, and within the codes.
    let data = lossless_data(3);
    let codes = data.len() - 22;
    assert!(prefix_codes::memory(&data[..codes], None).is_some());
    for end in 0..codes {
        assert_eq!(prefix_codes::memory(&data[..end], None), None, "{end}");
    }
}

#[test]
fn jpegs_within_tiffs_are_refused() {
    let mut tiff = fs::read(fixtures().join("rgb.tif")).unwrap();
    let compression = tiff.windows(4).position(|bytes| bytes == [0x03, 0x01, 0x03, 0x00]).unwrap();
    tiff[compression + 8] = 7;
    let error = decode(&tiff, Limits::DEFAULT).unwrap_err();
    assert_eq!(error.to_string(), "is a TIFF with JPEGs within, which is not supported");
}

#[test]
fn floating_point_pictures_are_refused() {
    let mut tiff = std::io::Cursor::new(Vec::new());
    image::Rgb32FImage::new(2, 2).write_to(&mut tiff, image::ImageFormat::Tiff).unwrap();
    let message = decode(tiff.get_ref(), Limits::DEFAULT).unwrap_err().to_string();
    assert!(message.ends_with("values, which have no 8-bit form"), "{message}");
}

proptest! {
    #[test]
    fn damaged_pictures_are_decoded_or_refused(
        which in 0usize..7,
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let name = ["rgb_420.jpg", "cmyk.jpg", "palette.png", "rgb.bmp", "palette.gif", "lossy.webp", "lzw.tiff"][which];
        let mut bytes = fs::read(fixtures().join(name)).unwrap();
        for (place, value) in flips {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        let _ = decode(&bytes, Limits { max_pixels: 1 << 20, max_bytes: 64 << 20 });
    }

    #[test]
    fn arbitrary_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(decode(&bytes, Limits::DEFAULT).is_err());
    }
}
