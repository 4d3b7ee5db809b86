//! Choices that are typed by name.

use clap::builder::{PossibleValuesParser, TypedValueParser};

/// Takes the names of these values.
pub fn choice<T>(all: &'static [T], name: fn(T) -> &'static str) -> impl TypedValueParser<Value = T>
where
    T: Copy + Send + Sync + 'static,
{
    let names = PossibleValuesParser::new(all.iter().map(move |&value| name(value)));
    names.map(move |typed| {
        let named = all.iter().copied().find(|&value| name(value) == typed);
        named.expect("clap lets the names of the values through and nothing else")
    })
}
