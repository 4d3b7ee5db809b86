//! Results as text: sentences and tables.

use crate::metrics::SplitMetrics;
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};

/// An accuracy with its 95 % interval, as one line. `what` names the rows.
pub fn accuracy_line(metrics: &SplitMetrics, what: &str) -> String {
    let SplitMetrics { accuracy, accuracy_interval, rows, .. } = metrics;
    let (low, high) = (accuracy_interval.low, accuracy_interval.high);
    format!("{what} accuracy {accuracy:.4} on {rows} photos, {low:.3} to {high:.3} with 95 % confidence")
}

/// A table without lines; all columns except the first are right-aligned.
pub fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header).add_rows(rows);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.trim_fmt()
}
