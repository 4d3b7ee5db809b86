//! `--interpolation`.

use backbone::pixels::Interpolation;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

/// Takes the names of all interpolations, and describes them in `--help`.
pub fn parser() -> impl TypedValueParser<Value = Interpolation> {
    let names = Interpolation::ALL.map(|one| PossibleValue::new(one.name()).help(description(one)));
    PossibleValuesParser::new(names).try_map(|name| name.parse::<Interpolation>())
}

fn description(interpolation: Interpolation) -> &'static str {
    match interpolation {
        Interpolation::Nearest => "The nearest pixel: Keras's default",
        Interpolation::Bilinear => "A triangle over the pixels",
        Interpolation::Bicubic => "A cubic over the pixels",
        Interpolation::Lanczos => "Lanczos with three lobes",
        Interpolation::Box => "The mean of the pixels",
        Interpolation::Hamming => "A Hamming window over the pixels",
    }
}
