//! Options whose value is one of several names.

use clap::builder::{PossibleValuesParser, TypedValueParser};

/// A clap parser for one of the values in `all`, by its `name`. `--help` lists the names.
pub fn choice<T>(all: &'static [T], name: fn(T) -> &'static str) -> impl TypedValueParser<Value = T>
where
    T: Copy + Send + Sync + 'static,
{
    let names = PossibleValuesParser::new(all.iter().map(move |&value| name(value)));
    names.map(move |argument| {
        let value = all.iter().copied().find(|&value| name(value) == argument);
        value.expect("clap has checked that it is one of the names")
    })
}
