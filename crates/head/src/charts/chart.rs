//! A drawn chart and the numbers that it shows.

use super::axes::{HEIGHT, WIDTH};
use crate::markup::escape;

/// A chart and its numbers as a table, for readers who cannot see the chart or its colours.
#[derive(Debug, Clone)]
pub(crate) struct Chart {
    pub title: String,
    /// What it shows, for screen readers.
    pub description: String,
    /// The names of its series. The index of a series determines its style.
    pub series: Vec<String>,
    /// SVG elements in a view box of 460 by 270.
    pub drawing: String,
    pub table: Table,
}

/// Cells of text, row by row.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub header: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

impl Chart {
    /// The chart without its title and legend, as an element of a page that has [`STYLE`](super::STYLE).
    pub(crate) fn svg(&self) -> String {
        let (about, drawing) = (escape(&self.description), &self.drawing);
        format!(
            "<svg role=\"img\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" aria-label=\"{about}\"><title>{about}</title>\
             {drawing}</svg>"
        )
    }
}
