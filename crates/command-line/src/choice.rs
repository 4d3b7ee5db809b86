//! Options whose value is one of several names.

use clap::builder::{PossibleValuesParser, TypedValueParser};

/// A parser that accepts the names of these values.
pub fn choice<T>(all: &'static [T], name: fn(T) -> &'static str) -> impl TypedValueParser<Value = T>
where
    T: Copy + Send + Sync + 'static,
{
    let names = PossibleValuesParser::new(all.iter().map(move |&value| name(value)));
    names.map(move |typed| {
        let chosen = all.iter().copied().find(|&value| name(value) == typed);
        chosen.expect("clap has checked that it is one of the names")
    })
}
