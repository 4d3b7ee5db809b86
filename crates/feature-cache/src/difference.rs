//! Comparing descriptions of how rows were made, field by field, and the digest of a description.

use serde_json::Value;

/// Every field's name and value, in the order of the manifest.
pub(crate) type Fields = Vec<(&'static str, String)>;

/// A field in which two descriptions differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The field's name.
    pub field: String,
    /// What this one says.
    pub this: String,
    /// What the other one says.
    pub other: String,
}

impl Difference {
    /// The fields whose values differ. Both sides list the same fields in the same order.
    pub(crate) fn between(this: Fields, other: Fields) -> Vec<Self> {
        let mut differences = Vec::new();
        for ((field, this), (_, other)) in this.into_iter().zip(other) {
            if this != other {
                differences.push(Self { field: field.to_owned(), this, other });
            }
        }
        differences
    }

    /// One line per field: its name, then each value after the name of its side, as in `size  now: 150  cache: 299`.
    pub fn table(differences: &[Self], this_side: &str, other_side: &str) -> String {
        let width = differences.iter().map(|difference| difference.field.len()).max().unwrap_or(0);
        let line = |d: &Self| format!("  {:width$}  {this_side}: {}  {other_side}: {}", d.field, d.this, d.other);
        differences.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

/// blake3 of the fields as JSON: the same for equal fields, and for no others.
pub(crate) fn digest(fields: Fields) -> blake3::Hash {
    let fields = fields.into_iter().map(|(name, value)| Value::from(vec![name.to_owned(), value]));
    blake3::hash(Value::from_iter(fields).to_string().as_bytes())
}
