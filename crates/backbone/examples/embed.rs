//! Embeds a folder of photos into an .npy file: `cargo run --release --package backbone --example embed -- PHOTOS
//! ROWS.npy`.
//!
//! Rows are (photos, 2048) float32, in the order of the file names. Photos that cannot be used are reported and left
//! out.

use std::fs::{self, File};
use std::io::BufWriter;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use backbone::xception::COLUMNS;
use backbone::{Compute, EmbedSpec, Embedder, Event, Photo, Weights};
use ndarray::Array2;
use ndarray_npy::WriteNpyExt;

const WEIGHTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../data/weights/xception.safetensors");

#[allow(clippy::print_stdout, clippy::print_stderr)]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [folder, out] = &arguments[..] else { return Err("usage: embed PHOTOS ROWS.npy".into()) };
    let paths = photos(folder)?;

    // What a row depends on, and what it is computed with.
    let weights = Weights::load(Path::new(WEIGHTS))?;
    let embedder = Embedder::new(&EmbedSpec::default(), &weights, Compute::auto())?;
    eprintln!("kernels: {}", embedder.kernels());

    let mut rows = Vec::new();
    embedder.embed(paths.iter().map(Photo::from_path), &AtomicBool::new(false), |event| {
        match event {
            Event::Row { photo, row, .. } => {
                println!("{}", paths[photo].display());
                rows.extend_from_slice(row);
            }
            Event::Failed { photo, error } => eprintln!("{}: {error}", paths[photo].display()),
        }
        ControlFlow::<()>::Continue(())
    })?;

    let rows = Array2::from_shape_vec((rows.len() / COLUMNS, COLUMNS), rows)?;
    rows.write_npy(BufWriter::new(File::create(out)?))?;
    println!("{}: {:?}", out.display(), rows.dim());
    Ok(())
}

/// The JPEGs and PNGs of a folder, sorted by name.
fn photos(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "jpg" || extension == "png") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}
