//! Pixels compared with Pillow's. The fixtures and the script that made them are in tests/fixtures/pixels.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder};
use ndarray::{Array3, Array4, Array5, Axis};
use ndarray_npy::ReadNpyExt;
use proptest::prelude::*;

use super::decode::OpenedPhoto;
use super::resize::resize;
use super::*;

/// Decodes a photo, without scaling and without its orientation.
fn decode(bytes: &[u8], limits: Limits) -> Result<RgbPicture, PixelError> {
    OpenedPhoto::open(bytes, limits, None, Orientation::Stored)?.decode()
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
    let mut compared = 0;
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
        compared += 1;
    }
    assert_eq!(compared, 45);
}

/// A GIF's screen may have no pixels although its frame has some; resizing such a picture panicked.
#[test]
fn a_picture_without_pixels_is_damaged() {
    // Width and height of the screen, 16 bits each, follow the signature of six bytes.
    for (at, size) in [(6, "0 x "), (8, " x 0")] {
        for name in ["palette.gif", "animated.gif"] {
            let mut gif = fs::read(fixtures().join(name)).unwrap();
            gif[at..at + 2].fill(0);
            let error = decode(&gif, Limits::DEFAULT).unwrap_err().to_string();
            assert!(error.contains("its size is ") && error.contains(size), "{name}: {error}");
        }
    }
}

#[test]
fn every_interpolation_gives_pillows_pixels() {
    let resized: [(&str, &[u32]); 5] = [
        ("resize", &[1, 30, 97, 128]),
        // The height loses more than twice as many pixels as the width, so Pillow 13 begins with the height.
        ("tall", &[15, 23, 64]),
        ("wide", &[15, 23, 64]),
        // The height loses 80 pixels and the width 40, exactly twice as many: the width first.
        ("twice", &[20]),
        // 81 and 40: the height first.
        ("taller", &[20]),
    ];
    for (name, sides) in resized {
        let source = fs::read(fixtures().join(format!("{name}.png"))).unwrap();
        let source = decode(&source, Limits::DEFAULT).unwrap();
        for &side in sides {
            let golden = File::open(fixtures().join(format!("resized_{name}_{side}.npy"))).unwrap();
            let golden = Array4::<u8>::read_npy(golden).unwrap();
            assert_eq!(golden.len_of(Axis(0)), Interpolation::ALL.len());
            for (interpolation, theirs) in Interpolation::ALL.into_iter().zip(golden.outer_iter()) {
                let mut ours = vec![0; theirs.len()];
                resize(&source, side, interpolation, &mut ours);
                assert_eq!(worst_difference(&ours, &theirs.to_owned()), 0, "{name}.png, {interpolation}, {side}");
            }
        }
    }
}

/// Settings that turn photos upright, as for the fixtures in tests/fixtures/orientation.
fn upright(interpolation: Interpolation, fast_decode: bool) -> Preprocess {
    Preprocess { side: 12, interpolation, orientation: Orientation::Exif, limits: Limits::DEFAULT, fast_decode }
}

fn turned_photos() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/orientation")
}

/// The names and bytes of the photos of tests/fixtures/orientation that have `part` in their names, in order.
fn turned_photos_with(part: &str) -> Vec<(String, Vec<u8>)> {
    let mut photos = Vec::new();
    for entry in fs::read_dir(turned_photos()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.contains(part) && !name.ends_with(".py") && !name.ends_with(".npy") {
            photos.push((name, fs::read(path).unwrap()));
        }
    }
    photos.sort();
    photos
}

#[test]
fn photos_are_turned_upright_as_pillow_turns_them() {
    for (golden, part, fast_decode) in [("upright.npy", "", false), ("drafts.npy", ".jpg", true)] {
        let golden = Array5::<u8>::read_npy(File::open(turned_photos().join(golden)).unwrap()).unwrap();
        let photos = turned_photos_with(part);
        assert_eq!(photos.len(), golden.len_of(Axis(0)));
        for ((name, photo), golden) in photos.iter().zip(golden.outer_iter()) {
            for (interpolation, theirs) in
                [Interpolation::Nearest, Interpolation::Bilinear].iter().zip(golden.outer_iter())
            {
                let preprocess = upright(*interpolation, fast_decode);
                let picture = preprocess.decode(photo).unwrap_or_else(|error| panic!("{name}: {error}"));
                let mut ours = vec![0; preprocess.input_len()];
                preprocess.resize(&picture, None, &mut ours).unwrap();
                assert_eq!(worst_difference(&ours, &theirs.to_owned()), 0, "{name}, {interpolation}");
            }
        }
    }
}

#[test]
fn photos_whose_exif_block_is_damaged_are_taken_as_stored() {
    let preprocess = upright(Interpolation::Nearest, false);
    for (name, mut photo) in turned_photos_with("_6.") {
        assert_ne!(preprocess.decode(&photo), decode(&photo, Limits::DEFAULT), "{name}");
        // The byte order that the block begins with. A TIFF has no separate block, and begins with it: it is left out.
        let is_byte_order = |bytes: &[u8]| bytes == b"II*\0" || bytes == b"MM\0*";
        let block = photo.windows(4).position(is_byte_order).unwrap();
        if block > 0 {
            photo[block] = b'?';
            assert_eq!(preprocess.decode(&photo), decode(&photo, Limits::DEFAULT), "{name}");
        }
    }
}

#[test]
fn memory_for_turning_a_photo_by_90_degrees_is_counted() {
    // Besides the decoder's 1 MiB, a JPEG takes 3 bytes a pixel, one that is turned 6; 5 are allowed.
    let limits = Limits { max_bytes: (1 << 20) + 5 * 600 * 400, ..Limits::DEFAULT };
    for (number, refused_by) in [(1, None), (3, None), (6, Some(Limit::Bytes))] {
        let mut photo = Vec::new();
        let mut encoder = JpegEncoder::new(&mut photo);
        // One entry: the orientation, one short number.
        let header = [b'M', b'M', 0, 42, 0, 0, 0, 8, 0, 1];
        let exif = [&header[..], &[0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, number, 0, 0], &[0; 4]].concat();
        encoder.set_exif_metadata(exif).unwrap();
        encoder.write_image(&[0; 3 * 600 * 400], 600, 400, ExtendedColorType::Rgb8).unwrap();
        let stored = Preprocess { limits, orientation: Orientation::Stored, ..upright(Interpolation::Nearest, false) };
        assert_eq!(stored.check(&photo), Ok(()));
        let checked = Preprocess { orientation: Orientation::Exif, ..stored }.check(&photo);
        assert_eq!(checked.err().and_then(|error| error.limit()), refused_by, "{number}");
    }
}

#[test]
fn pixels_match_keras() {
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
    // A small PNG whose header claims 65,535 x 65,535 pixels, with the header's checksum.
    let mut bomb = fs::read(fixtures().join("rgb.png")).unwrap();
    bomb[16..24].copy_from_slice(&[0, 0, 255, 255, 0, 0, 255, 255]);
    let checksum = crc32(&bomb[12..29]);
    bomb[29..33].copy_from_slice(&checksum.to_be_bytes());
    let error = decode(&bomb, Limits::DEFAULT).unwrap_err();
    let limit = Limits::DEFAULT.max_pixels;
    assert_eq!(error, PixelError::TooManyPixels { width: 65_535, height: 65_535, limit });
}

/// The checksum of a PNG's chunk (PNG specification, annex D).
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

/// Headers that claim much memory are errors before the decoder allocates it.
#[test]
fn what_a_header_claims_is_counted() {
    let limits = Limits { max_pixels: 1 << 20, max_bytes: 4 << 20 };
    let fixture = |name: &str| fs::read(fixtures().join(name)).unwrap();
    let refused = |name: &str, bytes: &[u8]| {
        let error = decode(bytes, limits).unwrap_err();
        assert_eq!(error.limit(), Some(Limit::Bytes), "{name}: {error}");
        error
    };
    for name in ["rgb.png", "rgb.tif", "lossy.webp", "palette.gif"] {
        decode(&fixture(name), limits).unwrap_or_else(|error| panic!("{name}: {error}"));
    }

    // A profile of 64 MiB in a PNG: the decoder skips it and goes on.
    let mut png = std::io::Cursor::new(Vec::new());
    let mut encoder = image::codecs::png::PngEncoder::new(&mut png);
    ImageEncoder::set_icc_profile(&mut encoder, vec![0; 64 << 20]).unwrap();
    ImageEncoder::write_image(encoder, &[0; 12], 2, 2, ExtendedColorType::Rgb8).unwrap();
    decode(png.get_ref(), limits).unwrap();

    // An EXIF block of 33 MiB in a PNG, over an eighth of these limits.
    let mut png = std::io::Cursor::new(Vec::new());
    let mut encoder = image::codecs::png::PngEncoder::new(&mut png);
    ImageEncoder::set_exif_metadata(&mut encoder, vec![0; 33 << 20]).unwrap();
    ImageEncoder::write_image(encoder, &[0; 12], 2, 2, ExtendedColorType::Rgb8).unwrap();
    let error = refused("a PNG with much metadata", png.get_ref());
    assert_eq!(error.to_string(), "its metadata may take more memory than the limit of 524288 bytes");
    // Over 32 MiB it is refused whatever the limits are, so the error names none to raise.
    for max_bytes in [256 << 20, Limits::DEFAULT.max_bytes, u64::MAX] {
        let error = decode(png.get_ref(), Limits { max_bytes, ..limits }).unwrap_err();
        assert_eq!(error, PixelError::TooMuchMetadata { limit: 32 << 20 });
        assert_eq!(error.limit(), None);
    }

    // A PNG of 4 billion x 4 billion pixels, whose number of bytes needs more than 64 bits.
    let ihdr = b"IHDR\xff\xff\xff\xff\xff\xff\xff\xff\x10\x06\0\0\0";
    let huge = [b"\x89PNG\r\n\x1a\n\0\0\0\x0d", &ihdr[..], &0x8266_f27d_u32.to_be_bytes()].concat();
    let error = decode(&huge, Limits::DEFAULT).unwrap_err();
    assert_eq!(error.limit(), Some(Limit::Pixels), "{error}");

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

    // Ten million offsets of strips in a TIFF.
    let tiff = fixture("rgb.tif");
    // An entry begins with the tag and a type below 13, each of 16 bits.
    let entry = |tag: u16| {
        let place = tiff.windows(4).position(|bytes| bytes[..2] == tag.to_le_bytes() && bytes[3] == 0 && bytes[2] < 13);
        place.unwrap_or_else(|| panic!("no tag {tag}"))
    };
    let mut many_strips = tiff.clone();
    many_strips[entry(273) + 4..][..4].copy_from_slice(&10_000_000u32.to_le_bytes());
    refused("rgb.tif with many strips", &many_strips);
}

/// The data of a lossless WebP of 4 x 4 pixels with this many groups of prefix codes. A group has 10 bytes in the file;
/// one of its codes has 2048 symbols of 11 bits, which take 68 KiB of memory.
fn lossless_data(groups: u32) -> Vec<u8> {
    let (red, green) = ((groups - 1) >> 8, (groups - 1) & 0xFF);
    let single = |symbol: u32| [(1, 1), (0, 1), (1, 1), (symbol, 8)];
    // Signature, width and height less 1, no alpha, version; no transform; a cache of 2 ^ 11 colours.
    let mut values = vec![(0x2F, 8), (3, 14), (3, 14), (0, 1), (0, 3), (0, 1), (1, 1), (11, 4)];
    // An entropy image of one pixel, without a cache: the pixel has the highest number of a group.
    values.extend([(1, 1), (0, 3), (0, 1)]);
    values.extend([green, red, 0, 0, 0].into_iter().flat_map(single));
    for _ in 0..groups {
        // The length code has only the symbol 11, whose code has no bits; 2048 symbols have this length.
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
    // Chunks begin at even places.
    let padding: &[u8] = if lossless.len() % 2 == 1 { &[0] } else { &[] };
    let (file, chunk) = (length(12 + lossless.len() + padding.len()), length(lossless.len()));
    [&b"RIFF"[..], &file, b"WEBPVP8L", &chunk, lossless, padding].concat()
}

/// Until prefix codes were counted, decoding this file took 3 GB.
#[test]
fn the_prefix_codes_of_a_webp_are_counted_before_the_decoder_makes_tables_of_them() {
    let data = lossless_data(1 << 16);
    assert!(data.len() < 700_000);
    let error = decode(&webp(&data), Limits::DEFAULT).unwrap_err();
    let needed = match error {
        PixelError::TooMuchMemory { width: 4, height: 4, needed, .. } => needed,
        error => panic!("{error}"),
    };
    assert!(((68 << 10) << 16..(70 << 10) << 16).contains(&needed), "{needed}");

    let data = lossless_data(300);
    assert_eq!(decode(&webp(&data), Limits::DEFAULT).unwrap().pixels, [0; 3 * 16]);
    let memory = prefix_codes::memory(&data, None).unwrap();
    assert!((300 * (68 << 10)..300 * (70 << 10)).contains(&memory), "{memory}");

    // Data that ends before the pixels is valid, data that ends within the codes is not.
    let data = lossless_data(3);
    let codes = data.len() - 22;
    assert!(prefix_codes::memory(&data[..codes], None).is_some());
    for end in 0..codes {
        assert_eq!(prefix_codes::memory(&data[..end], None), None, "{end}");
    }
}

/// The frame of an animation can claim to be larger than its canvas. Reading the prefix codes of its alpha channel,
/// where a pixel may take no bits, then took hours.
#[test]
fn a_webp_frame_larger_than_its_canvas_is_an_error() {
    let chunk = |name: &[u8; 4], data: &[u8]| {
        let length = (data.len() as u32).to_le_bytes();
        [&name[..], &length, data].concat()
    };
    // Compressed: a predictor transform of blocks of 4 x 4 pixels, whose image has five codes of one symbol each.
    let alpha = chunk(b"ALPH", &[1, 0x81, 0x88, 0x88, 0, 0]);
    // Position; width and height less 1, so 16,777,216 each; duration and flags.
    let frame = [&[0u8; 6][..], &[0xFF; 6], &[0; 4], &alpha[..]].concat();
    // The flags of alpha and animation, and a canvas of one pixel.
    let extended = b"\x12\0\0\0\0\0\0\0\0\0";
    let chunks = [chunk(b"VP8X", extended), chunk(b"ANIM", &[0; 6]), chunk(b"ANMF", &frame)].concat();
    let length = (chunks.len() as u32 + 4).to_le_bytes();
    let file = [&b"RIFF"[..], &length, b"WEBP", &chunks[..]].concat();
    assert!(decode(&file, Limits::DEFAULT).is_err());
}

/// What fuzzing begins with, and all that it has found.
#[test]
fn no_seed_of_fuzzing_makes_the_program_panic() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/photos");
    for entry in fs::read_dir(seeds).unwrap() {
        let path = entry.unwrap().path();
        let photo = fs::read(&path).unwrap();
        for fast_decode in [false, true] {
            let decoded = upright(Interpolation::Nearest, fast_decode).decode(&photo);
            assert!(!matches!(decoded, Err(PixelError::Panicked { .. })), "{}: {decoded:?}", path.display());
        }
    }
}

#[test]
fn jpegs_within_tiffs_are_refused() {
    let mut tiff = fs::read(fixtures().join("rgb.tif")).unwrap();
    // The entry of tag 259, compression, a short integer.
    let compression = tiff.windows(4).position(|bytes| bytes == [0x03, 0x01, 0x03, 0x00]).unwrap();
    tiff[compression + 8] = 7;
    let error = decode(&tiff, Limits::DEFAULT).unwrap_err();
    assert_eq!(error.to_string(), "is a TIFF with JPEG compression, which is not supported");
}

/// Such a TIFF was reported as damaged.
#[test]
fn tiffs_with_a_palette_are_not_supported() {
    let mut tiff = fs::read(fixtures().join("grey.tif")).unwrap();
    // The entry of tag 262, photometric interpretation, a short integer.
    let interpretation = tiff.windows(4).position(|bytes| bytes == [0x06, 0x01, 0x03, 0x00]).unwrap();
    tiff[interpretation + 8] = 3;
    let error = decode(&tiff, Limits::DEFAULT).unwrap_err().to_string();
    assert!(error.starts_with("is a TIFF of a kind that is not supported: ") && error.contains("Palette"), "{error}");
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
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let names = ["rgb_420.jpg", "cmyk.jpg", "palette.png", "rgb.bmp", "palette.gif", "lossy.webp", "lzw.tiff"];
        let name = names[which];
        let mut bytes = fs::read(fixtures().join(name)).unwrap();
        for (place, value) in changes {
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
