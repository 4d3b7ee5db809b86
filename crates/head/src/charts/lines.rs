//! Line charts over epochs.

use std::fmt::Write;

use super::axes::{Axes, AxisRange, BOTTOM, HEIGHT, TOP, Tick, WIDTH, text};
use super::chart::{Chart, Table};
use super::series_style::{MarkSize, Point, line, mark};

/// With more values in a line than this, the marks are small.
const MAX_NORMAL_MARKS: usize = 40;
/// The most labels below the axis.
const MAX_EPOCH_LABELS: usize = 10;

/// One line of a chart, with a value for each of the epochs 1, 2, 3, …
pub(super) struct Line<'a> {
    pub name: &'a str,
    pub values: &'a [f64],
}

/// Lines over epochs, with a mark at each value. `best` is the epoch with the best validation result.
pub(super) fn line_chart(title: &str, lines: &[Line<'_>], best: Option<usize>) -> Chart {
    let epochs = lines.iter().map(|line| line.values.len()).max().unwrap_or(0);
    let all_values = lines.iter().flat_map(|line| line.values.iter().copied());
    let axes = Axes::new(AxisRange { low: 1.0, high: epochs as f64 }, all_values);
    let step = label_step(epochs);
    let ticks = (step..=epochs).step_by(step).map(|epoch| Tick { value: epoch as f64, label: epoch.to_string() });
    let mut drawing = axes.frame("epoch", &ticks.collect::<Vec<Tick>>());

    if let Some(epoch) = best {
        let (x, bottom) = (axes.x(epoch as f64), HEIGHT - BOTTOM);
        let _ = write!(drawing, "<line class=\"best\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom:.1}\"/>");
        // The text is on the side that has more room.
        let anchor = if x < WIDTH / 2.0 { "start" } else { "end" };
        drawing += &text(anchor, x, TOP - 9.0, &format!("validation best in epoch {epoch}"));
    }

    let size = if epochs > MAX_NORMAL_MARKS { MarkSize::Small } else { MarkSize::Normal };
    for (series, Line { name, values }) in lines.iter().enumerate() {
        let mut points = Vec::with_capacity(values.len());
        for (k, &value) in values.iter().enumerate() {
            points.push(Point { x: axes.x((k + 1) as f64), y: axes.y(value) });
        }
        drawing += &line(series, &points);
        for (k, &point) in points.iter().enumerate() {
            drawing += &mark(series, point, size, &format!("{name}, epoch {}: {:.4}", k + 1, values[k]));
        }
    }

    let mut header = vec!["epoch".to_owned()];
    header.extend(lines.iter().map(|line| line.name.to_owned()));
    let mut rows = Vec::with_capacity(epochs);
    for k in 0..epochs {
        let mut row = vec![(k + 1).to_string()];
        for line in lines {
            row.push(line.values.get(k).map_or_else(String::new, |value| format!("{value:.4}")));
        }
        rows.push(row);
    }
    Chart {
        title: title.to_owned(),
        description: format!("{title} by epoch"),
        series: lines.iter().map(|line| line.name.to_owned()).collect(),
        drawing,
        table: Table { header, rows },
    }
}

/// The smallest of 1, 2, 5, 10, 20, 50, … that gives at most [`MAX_EPOCH_LABELS`] labels.
fn label_step(epochs: usize) -> usize {
    let mut power = 1;
    loop {
        for step in [power, 2 * power, 5 * power] {
            if epochs / step <= MAX_EPOCH_LABELS {
                return step;
            }
        }
        power *= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_a_mark_within_the_frame_and_a_cell_in_the_table() {
        let lines =
            [Line { name: "train", values: &[1.0, 0.5, 0.25] }, Line { name: "validation", values: &[1.1, 0.9, 1.3] }];
        let chart = line_chart("Loss", &lines, Some(2));
        let marks: Vec<&str> = chart.drawing.split("<path class=\"mark").skip(1).collect();
        assert_eq!(marks.len(), 6);
        for mark in marks {
            let y: f64 = mark.split([',', 'm']).nth(1).unwrap().parse().unwrap();
            assert!((TOP..=HEIGHT - BOTTOM).contains(&y), "{y}");
        }
        assert!(chart.drawing.contains("best in epoch 2"), "{chart:?}");
        assert_eq!(chart.table.header, ["epoch", "train", "validation"]);
        assert_eq!(chart.table.rows[2], ["3", "0.2500", "1.3000"]);
        let flat = line_chart("Loss", &[Line { name: "train", values: &[0.5] }], None);
        assert!(!flat.drawing.contains("NaN") && !flat.drawing.contains("inf"), "{flat:?}");
    }

    #[test]
    fn labels_are_few_and_round() {
        for (epochs, step) in [(1, 1), (10, 1), (11, 2), (21, 2), (22, 5), (60, 10), (1000, 100), (2_000_000, 200_000)]
        {
            assert_eq!(label_step(epochs), step, "{epochs}");
        }
    }
}
