//! `extract --orientation exif`: photos that lie on their side, as phones store them, have the rows of upright ones.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use end_to_end::{Photos, extract, run};
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder, imageops};

/// An EXIF block that says: turn it by 90 degrees clockwise.
const TURN_CLOCKWISE: &[u8] = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";

const UPRIGHT: [&str; 2] = ["--orientation", "exif"];

/// Stores the photo turned to the left, and the EXIF block with it.
fn lay_on_its_side(photo: &Path) {
    let turned = imageops::rotate270(&image::open(photo).unwrap().to_rgb8());
    let mut file = Vec::new();
    let mut encoder = PngEncoder::new(&mut file);
    encoder.set_exif_metadata(TURN_CLOCKWISE.to_vec()).unwrap();
    encoder.write_image(&turned, turned.width(), turned.height(), ExtendedColorType::Rgb8).unwrap();
    fs::write(photo, file).unwrap();
}

#[test]
fn photos_on_their_side_have_the_rows_of_upright_ones() {
    let photos = Photos::new(&["cat", "dog"], 2);
    let (dataset, upright, stored, turned) =
        (photos.path(), photos.sibling("upright"), photos.sibling("stored"), photos.sibling("turned"));
    extract(&dataset, &upright, &UPRIGHT).succeeded();
    for photo in ["cat/000.png", "cat/001.png", "dog/000.png", "dog/001.png"] {
        lay_on_its_side(&dataset.join(photo));
    }
    extract(&dataset, &stored, &[]).succeeded();
    let with_views = [&UPRIGHT[..], &["--views", "2", "--flip", "--crop", "0.3"]].concat();
    extract(&dataset, &turned, &with_views).succeeded();
    let rows = |cache: &Path| fs::read(cache.join("all/features.npy")).unwrap();
    assert_eq!(rows(&turned), rows(&upright));
    assert_ne!(rows(&stored), rows(&upright));

    let verify = [OsStr::new("verify"), turned.as_os_str(), "--against".as_ref(), dataset.as_os_str()];
    run("extract", verify.into_iter().chain(["--sample", "4"].map(OsStr::new))).succeeded();

    // classify follows the run.
    let (head, photo) = (photos.sibling("run"), dataset.join("cat/000.png"));
    let train = [OsStr::new("train"), upright.as_os_str(), "--out".as_ref(), head.as_os_str()];
    run("head", train.into_iter().chain(["--validation-split", "0.5"].map(OsStr::new))).succeeded();
    let answer = || run("classify", [head.as_os_str(), photo.as_os_str(), "--json".as_ref()]).succeeded().json();
    let on_its_side = answer();
    let turned_back = imageops::rotate90(&image::open(&photo).unwrap().to_rgb8());
    turned_back.save(&photo).unwrap();
    assert_eq!(on_its_side, answer());

    let difference = "color  now: RGB as Pillow's convert, turned upright as Pillow's exif_transpose  \
                      cache: RGB as Pillow's convert, EXIF orientation ignored";
    extract(&dataset, &stored, &UPRIGHT).failed_with(difference);
}
