//! What can be wrong with one file of a cache.

use std::path::PathBuf;

use crate::class_names::ClassNamesError;

/// What is wrong with a file of a cache.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// It is not there.
    #[error("missing")]
    Missing,
    /// It is there, and the manifest does not know it.
    #[error("not in the manifest")]
    Unexpected,
    /// Something else is there, such as a named pipe in place of a file.
    #[error("not a {0}")]
    NotA(&'static str),
    /// It is longer or shorter than the manifest says.
    #[error("expected {expected} bytes, found {found}")]
    Length {
        /// What the manifest says.
        expected: u64,
        /// What the file has.
        found: u64,
    },
    /// A manifest or hashes.csv that is longer than the longest that is read.
    #[error("{found} bytes, more than the {max} that are read")]
    TooLarge {
        /// The length of the longest that is read.
        max: u64,
        /// What the file has.
        found: u64,
    },
    /// Its bytes are not those that were written.
    #[error("its bytes have changed since it was written: blake3 {found}, not {expected}")]
    Digest {
        /// What was written, as the file or the manifest records it.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A .npy header of another type or shape than the manifest says, or none.
    #[error("expected the header {expected}, found {found}")]
    Header {
        /// The header that the manifest asks for, as numpy's dict.
        expected: String,
        /// The header in the file, or what is there instead.
        found: String,
    },
    /// The manifest has an array that is too large for memory.
    #[error("expected an array of shape {0:?}, which is larger than memory can be")]
    Shape(Vec<usize>),
    /// A label without a class.
    #[error("row {row} has label {label}, expected 0 to {}", classes - 1)]
    Label {
        /// The row.
        row: usize,
        /// Its label.
        label: i64,
        /// The number of classes.
        classes: usize,
    },
    /// A feature that is infinite or not a number.
    #[error("row {0} holds a value that is not finite")]
    NotFinite(usize),
    /// A record of a table that is not what it should be.
    #[error("line {line}: {problem}")]
    Line {
        /// The number of the record, the header being 1. It is also the line in the file, unless a field has a line
        /// break.
        line: u64,
        /// What is wrong with it.
        problem: LineProblem,
    },
    /// Not the number of rows that the manifest says.
    #[error("expected {expected} rows, found {found}")]
    Rows {
        /// What the manifest says.
        expected: usize,
        /// What the file has.
        found: usize,
    },
    /// Not JSON, or other fields.
    #[error("not a manifest: {0}")]
    Json(#[from] serde_json::Error),
    /// Not CSV.
    #[error("not a table: {0}")]
    Csv(#[from] csv::Error),
    /// Class names that are empty, repeated or wrongly numbered.
    #[error(transparent)]
    ClassNames(#[from] ClassNamesError),
}

/// What is wrong with a record of a table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineProblem {
    /// Other columns than this version writes.
    #[error("expected the columns {0}")]
    Columns(String),
    /// Rows are numbered from 0.
    #[error("expected row {0}")]
    Row(usize),
    /// A label that is not the one in labels.npy.
    #[error("label {found}, but labels.npy says {expected}")]
    Label {
        /// labels.npy's.
        expected: i64,
        /// The record's.
        found: i64,
    },
    /// A field that does not parse.
    #[error("{0} is not readable")]
    Field(&'static str),
    /// A path that is absolute or leaves the data set.
    #[error("the path {0:?} leaves the data set")]
    Path(PathBuf),
}
