//! A photo of any bytes, decoded and resized in every way: no crash, and no more memory than allowed.

#![no_main]

mod memory;

use backbone::pixels::{AugmentConfig, Interpolation, Limits, Orientation, Preprocess};
use libfuzzer_sys::fuzz_target;

use memory::most_allocated;

const LIMITS: Limits = Limits { max_pixels: 1 << 14, max_bytes: 8 << 20 };

/// What the decoder of lossy WebPs may allocate, and not touch, because a file says that a part of it is so long.
const CLAIMED: u64 = 17 << 20;

fuzz_target!(|photo: &[u8]| {
    // The last byte, behind the end of most pictures, chooses the rest.
    let choice = photo.last().copied().unwrap_or_default();
    let preprocess = Preprocess {
        side: u32::from(choice / 2) + 1,
        interpolation: Interpolation::Lanczos,
        orientation: if choice % 4 < 2 { Orientation::Exif } else { Orientation::Stored },
        limits: LIMITS,
        fast_decode: choice % 2 == 1,
    };
    let (decoded, memory) = most_allocated(|| preprocess.decode(photo));
    let claimed = if photo.starts_with(b"RIFF") { CLAIMED } else { 0 };
    assert!(memory as u64 <= LIMITS.max_bytes + claimed, "decoding took {memory} bytes: {decoded:?}");
    let Ok(picture) = decoded else { return };
    assert!(u64::from(picture.width) * u64::from(picture.height) <= LIMITS.max_pixels);

    let view = AugmentConfig::new(true, 0.3, 0.2, 1).expect("valid settings").sample_view(&blake3::hash(photo), 0);
    for interpolation in Interpolation::ALL {
        let preprocess = Preprocess { interpolation, ..preprocess };
        let mut input = vec![0; preprocess.input_len()];
        for view in [None, Some(view)] {
            let (resized, memory) = most_allocated(|| preprocess.resize(&picture, view, &mut input));
            resized.expect("what was decoded can be resized");
            assert!(memory as u64 <= LIMITS.max_bytes, "resizing took {memory} bytes");
        }
    }
});
