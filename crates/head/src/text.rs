//! Results as text: sentences and tables.

use std::path::Path;

use crate::metrics::SplitMetrics;
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};

/// An accuracy with its 95 % interval, as one line that begins with `what`, such as the name of the rows.
pub fn accuracy_line(metrics: &SplitMetrics, what: &str) -> String {
    let SplitMetrics { accuracy, accuracy_interval, rows, .. } = metrics;
    let (low, high) = (accuracy_interval.low, accuracy_interval.high);
    format!("{what} accuracy {accuracy:.4} on {rows} photos, {low:.3} to {high:.3} with 95 % confidence")
}

/// The name of a photo or class for a terminal: control characters are replaced by U+FFFD.
pub fn shown(name: &str) -> String {
    name.replace(char::is_control, "\u{fffd}")
}

/// [`shown`] for a path; what is not UTF-8 in it is replaced too.
pub fn shown_path(path: &Path) -> String {
    shown(&path.to_string_lossy())
}

/// A table without lines; all columns except the first are right-aligned. [`shown`] is applied to each cell.
pub fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let shown_rows = rows.into_iter().map(|row| row.iter().map(|cell| shown(cell)).collect::<Vec<_>>());
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header.iter().map(|cell| shown(cell))).add_rows(shown_rows);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_controls_the_terminal() {
        let text = table(&["class", "h\x1b[2Jat"], [vec!["sh\noe".to_owned(), "1".to_owned()]]);
        assert_eq!(text, " class  h\u{fffd}[2Jat\n sh\u{fffd}oe        1");
    }
}
