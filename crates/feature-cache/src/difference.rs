//! What rows depend on, field by field: in what two descriptions differ, and one digest of each.

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
    /// The fields in which the two differ, which have the same fields in the same order.
    pub(crate) fn between(this: Fields, other: Fields) -> Vec<Self> {
        this.into_iter()
            .zip(other)
            .filter(|(this, other)| this != other)
            .map(|((field, this), (_, other))| Self { field: field.to_owned(), this, other })
            .collect()
    }

    /// One line per field: its name and both values, each under the name of its side.
    pub fn table(differences: &[Self], this: &str, other: &str) -> String {
        let width = differences.iter().map(|difference| difference.field.len()).max().unwrap_or(0);
        let line = |d: &Self| format!("  {:width$}  {this}: {}  {other}: {}", d.field, d.this, d.other);
        differences.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

/// blake3 of the fields as JSON: the same for equal fields, and for no others.
pub(crate) fn digest(fields: Fields) -> blake3::Hash {
    let fields = fields.into_iter().map(|(name, value)| Value::from(vec![name.to_owned(), value]));
    blake3::hash(Value::from_iter(fields).to_string().as_bytes())
}
