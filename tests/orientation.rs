//! `extract --orientation exif`: photos that are stored sideways, as phones do, get the rows of upright ones.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use end_to_end::{Photos, extract, run, train};
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder, imageops};

/// An EXIF block with the orientation "turn by 90 degrees clockwise".
const TURN_CLOCKWISE: &[u8] = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";

const UPRIGHT: [&str; 2] = ["--orientation", "exif"];

/// Turns the photo's pixels to the left and adds the EXIF block that turns it back.
fn store_sideways(photo: &Path) {
    let turned = imageops::rotate270(&image::open(photo).unwrap().to_rgb8());
    let mut file = Vec::new();
    let mut encoder = PngEncoder::new(&mut file);
    encoder.set_exif_metadata(TURN_CLOCKWISE.to_vec()).unwrap();
    encoder.write_image(&turned, turned.width(), turned.height(), ExtendedColorType::Rgb8).unwrap();
    fs::write(photo, file).unwrap();
}

#[test]
fn photos_stored_sideways_have_the_rows_of_upright_ones() {
    let photos = Photos::new(&["cat", "dog"], 2);
    let (dataset, upright, stored, turned) =
        (photos.path(), photos.sibling("upright"), photos.sibling("stored"), photos.sibling("turned"));
    extract(&dataset, &upright, &UPRIGHT).succeeded();
    for photo in ["cat/000.png", "cat/001.png", "dog/000.png", "dog/001.png"] {
        store_sideways(&dataset.join(photo));
    }
    extract(&dataset, &stored, &[]).succeeded();
    let with_views = [&UPRIGHT[..], &["--views", "2", "--flip", "--crop", "0.3"]].concat();
    extract(&dataset, &turned, &with_views).succeeded();
    let rows = |cache: &Path| fs::read(cache.join("all/features.npy")).unwrap();
    assert_eq!(rows(&turned), rows(&upright));
    assert_ne!(rows(&stored), rows(&upright));

    let verify = [OsStr::new("verify"), turned.as_os_str(), "--against".as_ref(), dataset.as_os_str()];
    run("extract", verify.into_iter().chain(["--sample", "4"].map(OsStr::new))).succeeded();

    // classify uses the run's orientation.
    let (head, photo) = (photos.sibling("run"), dataset.join("cat/000.png"));
    train(&upright, &head, &["--validation-split", "0.5"]).succeeded();
    let answer = || run("classify", [head.as_os_str(), photo.as_os_str(), "--json".as_ref()]).succeeded().json();
    let sideways = answer();
    let turned_back = imageops::rotate90(&image::open(&photo).unwrap().to_rgb8());
    turned_back.save(&photo).unwrap();
    assert_eq!(sideways, answer());

    let difference = "color  now: RGB as Pillow's convert, turned upright as Pillow's exif_transpose  \
                      cache: RGB as Pillow's convert, EXIF orientation ignored";
    extract(&dataset, &stored, &UPRIGHT).failed_with(difference);
}
