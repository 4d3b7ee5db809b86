//! Enums whose values have the same names on the command line, in JSON and in messages.

/// A text that is not the name of a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, found {found:?}")]
pub struct UnknownName {
    /// What is accepted.
    pub expected: String,
    /// The text that was found.
    pub found: String,
}

/// Declares an enum with a name for each value, with `NAMES`, `Display`, `FromStr` and serde's traits.
macro_rules! named_enum {
    (
        $(#[$about:meta])*
        pub enum $type:ident { $($(#[$about_value:meta])* $value:ident = $name:literal,)+ }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub enum $type { $($(#[$about_value])* #[serde(rename = $name)] $value,)+ }

        impl $type {
            /// The names of all values.
            pub const NAMES: &'static [&'static str] = &[$($name),+];
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(match self { $(Self::$value => $name),+ })
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::names::UnknownName;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($name => Ok(Self::$value),)+
                    other => Err($crate::names::UnknownName {
                        expected: Self::NAMES.join(" or "),
                        found: other.to_owned(),
                    }),
                }
            }
        }
    };
}

pub(crate) use named_enum;

#[cfg(test)]
mod tests {
    named_enum! {
        /// How warm it is.
        pub enum Warmth {
            /// Below 10 °C.
            Cold = "cold",
            /// Above 20 °C.
            VeryWarm = "very-warm",
        }
    }

    #[test]
    fn names_are_the_same_everywhere() {
        for (value, name) in [(Warmth::Cold, "cold"), (Warmth::VeryWarm, "very-warm")] {
            assert_eq!(value.to_string(), name);
            assert_eq!(name.parse(), Ok(value));
            assert_eq!(serde_json::to_value(value).unwrap(), name);
            assert_eq!(serde_json::from_value::<Warmth>(name.into()).unwrap(), value);
        }
        assert_eq!(Warmth::NAMES, ["cold", "very-warm"]);
        let error = "hot".parse::<Warmth>().unwrap_err();
        assert_eq!(error.to_string(), "expected cold or very-warm, found \"hot\"");
    }
}
