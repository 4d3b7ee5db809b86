//! Writes the network's input pixels: `cargo run --release --package backbone --example pixels --
//! SIDE INTERPOLATION...`.
//!
//! Reads the photos' paths from stdin, each followed by a zero byte, and writes (photos, interpolations, SIDE, SIDE, 3)
//! uint8 to stdout, row-major and without a header, one photo after the other.

use std::error::Error;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, Write, stdin, stdout};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use backbone::EmbedSpec;
use backbone::pixels::{Interpolation, Limits};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((side, names)) = arguments.split_first() else { return Err("usage: pixels SIDE INTERPOLATION...".into()) };
    let side = side.parse()?;
    let interpolations: Vec<Interpolation> = names.iter().map(|name| name.parse()).collect::<Result<_, _>>()?;
    let preprocess =
        |interpolation| EmbedSpec { side, interpolation, ..EmbedSpec::default() }.preprocess(Limits::DEFAULT);

    let mut out = stdout().lock();
    let mut pixels = vec![0; preprocess(Interpolation::Nearest).input_len()];
    for path in stdin().lock().split(0) {
        let path = path?;
        let path = Path::new(OsStr::from_bytes(&path));
        let photo = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let picture = preprocess(Interpolation::Nearest).decode(&photo);
        let picture = picture.map_err(|error| format!("{}: {error}", path.display()))?;
        for &interpolation in &interpolations {
            preprocess(interpolation).resize(&picture, None, &mut pixels)?;
            out.write_all(&pixels)?;
        }
        out.flush()?;
    }
    Ok(())
}
