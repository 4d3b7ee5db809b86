//! What decoding and resizing take is what the limit of memory counts: never more, and not much less. A process of its own,
//! since the operating system counts by process.

#![cfg(target_os = "linux")]
#![allow(clippy::print_stdout)]

use std::fs;
use std::io::Cursor;
use std::path::Path;

use backbone::pixels::{Interpolation, Limits, Preprocess};
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use mozjpeg::{ColorSpace, Compress};

const WIDTH: u32 = 1600;
const HEIGHT: u32 = 1200;
const SIDE: u32 = 150;

fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    picture.write_to(&mut file, format).unwrap();
    file.into_inner()
}

fn jpeg(colors: ColorSpace, channels: u32, progressive: bool) -> Vec<u8> {
    let mut jpeg = Compress::new(colors);
    jpeg.set_size(WIDTH as usize, HEIGHT as usize);
    if progressive {
        jpeg.set_progressive_mode();
    } else {
        jpeg.set_fastest_defaults();
    }
    let mut rows = jpeg.start_compress(Vec::new()).unwrap();
    let pixels: Vec<u8> = (0..WIDTH * HEIGHT * channels).map(|k| (k / 7) as u8).collect();
    rows.write_scanlines(&pixels).unwrap();
    rows.finish().unwrap()
}

fn photos() -> Vec<(&'static str, Vec<u8>)> {
    let rgb = DynamicImage::from(RgbImage::from_fn(WIDTH, HEIGHT, |x, y| Rgb([(x / 9) as u8, (y / 7) as u8, 99])));
    let fixture =
        |name: &str| fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pixels").join(name)).unwrap();
    let turned = DynamicImage::from(RgbImage::from_fn(16, 40_000, |x, y| Rgb([x as u8, y as u8, 0])));
    vec![
        ("baseline.jpg", jpeg(ColorSpace::JCS_RGB, 3, false)),
        ("progressive.jpg", jpeg(ColorSpace::JCS_RGB, 3, true)),
        ("cmyk.jpg", jpeg(ColorSpace::JCS_CMYK, 4, false)),
        ("progressive_cmyk.jpg", jpeg(ColorSpace::JCS_CMYK, 4, true)),
        ("rgb.png", encoded(&rgb, ImageFormat::Png)),
        ("grey.png", encoded(&rgb.to_luma8().into(), ImageFormat::Png)),
        ("rgba16.png", encoded(&rgb.to_rgba16().into(), ImageFormat::Png)),
        ("rgb.bmp", encoded(&rgb, ImageFormat::Bmp)),
        ("palette.gif", encoded(&rgb, ImageFormat::Gif)),
        ("rgb.tif", encoded(&rgb, ImageFormat::Tiff)),
        ("rgba16.tif", encoded(&rgb.to_rgba16().into(), ImageFormat::Tiff)),
        ("lossless.webp", encoded(&rgb, ImageFormat::WebP)),
        ("lossy.webp", fixture("large.webp")),
        ("lossy_alpha.webp", fixture("large_alpha.webp")),
        ("tall.png", encoded(&turned, ImageFormat::Png)),
    ]
}

fn with_limit(interpolation: Interpolation, max_bytes: u64) -> Preprocess {
    Preprocess { side: SIDE, interpolation, limits: Limits { max_bytes, ..Limits::DEFAULT }, fast_decode: false }
}

/// The smallest limit under which a photo is accepted.
fn smallest_limit(photo: &[u8], interpolation: Interpolation) -> u64 {
    let (mut refused, mut accepted) = (0, 1 << 32);
    while accepted - refused > 1 {
        let limit = u64::midpoint(refused, accepted);
        match with_limit(interpolation, limit).check(photo) {
            Ok(()) => accepted = limit,
            Err(error) => {
                assert!(error.limit().is_some(), "{error}");
                refused = limit;
            }
        }
    }
    accepted
}

/// A line of what the operating system knows about this process, in bytes.
fn status(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    1024 * line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
}

/// How much more memory the process had at some moment during `work` than before.
fn peak(work: impl FnOnce()) -> u64 {
    #[allow(unsafe_code)]
    // SAFETY: it gives back what is free.
    unsafe {
        libc::malloc_trim(0);
    }
    fs::write("/proc/self/clear_refs", "5").expect("Linux resets the peak of a process");
    let before = status("VmRSS");
    work();
    status("VmHWM") - before
}

#[test]
fn a_photo_takes_what_the_limit_counts_and_hardly_less() {
    for (name, photo) in photos() {
        for interpolation in [Interpolation::Nearest, Interpolation::Lanczos] {
            let limit = smallest_limit(&photo, interpolation);
            let preprocess = with_limit(interpolation, limit);
            let mut input = vec![1; preprocess.values()];
            let memory = peak(|| {
                let picture = preprocess.decode(&photo).unwrap();
                preprocess.resize(&picture, None, &mut input).unwrap();
            });
            println!("{name}, {interpolation}: {memory} bytes of {limit}");
            assert!(memory <= limit, "{name}, {interpolation}: {memory} bytes, over {limit}");
            assert!(limit < memory * 3 / 2 + (2 << 20), "{name}, {interpolation}: {memory} bytes of {limit}");
        }
    }
}
