//! Decodes any bytes as a photo, and resizes it with every interpolation: no crash, no panic, and no more memory than
//! the limit.

#![no_main]

mod memory;

use backbone::pixels::{AugmentConfig, Interpolation, Limits, Orientation, PixelError, Preprocess};
use libfuzzer_sys::fuzz_target;

use memory::peak_allocated;

const LIMITS: Limits = Limits { max_pixels: 1 << 14, max_bytes: 8 << 20 };

/// Bytes that the decoder of lossy WebP may allocate and not use, for a part that is as long as the file claims.
const CLAIMED: u64 = 17 << 20;

fuzz_target!(|photo: &[u8]| {
    // The last byte, which is after the end of most pictures, chooses the settings.
    let choice = photo.last().copied().unwrap_or_default();
    let preprocess = Preprocess {
        side: u32::from(choice / 2) + 1,
        interpolation: Interpolation::Lanczos,
        orientation: if choice % 4 < 2 { Orientation::Exif } else { Orientation::Stored },
        limits: LIMITS,
        fast_decode: choice % 2 == 1,
    };
    let (decoded, memory) = peak_allocated(|| preprocess.decode(photo));
    let claimed = if photo.starts_with(b"RIFF") { CLAIMED } else { 0 };
    assert!(memory as u64 <= LIMITS.max_bytes + claimed, "decoding took {memory} bytes: {decoded:?}");
    // `decode` catches panics, so libfuzzer does not see them.
    assert!(!matches!(decoded, Err(PixelError::Panicked { .. })), "{decoded:?}");
    let Ok(picture) = decoded else { return };
    assert!(u64::from(picture.width) * u64::from(picture.height) <= LIMITS.max_pixels);

    let view = AugmentConfig::new(true, 0.3, 0.2, 1).expect("valid settings").sample_view(&blake3::hash(photo), 0);
    for interpolation in Interpolation::ALL {
        let preprocess = Preprocess { interpolation, ..preprocess };
        let mut input = vec![0; preprocess.input_len()];
        for view in [None, Some(view)] {
            let (resized, memory) = peak_allocated(|| preprocess.resize(&picture, view, &mut input));
            resized.expect("what was decoded can be resized");
            assert!(memory as u64 <= LIMITS.max_bytes, "resizing took {memory} bytes");
        }
    }
});
