//! How series are distinguished: by colour, dashes and the shape of the marks.

use std::fmt::Write;

use crate::markup::escape;

/// The number of different styles. Their colours are in style.css, `.s0` to `.s3`.
const SERIES_STYLES: usize = 4;
const DASHES: [&str; SERIES_STYLES] = ["none", "6 4", "2 3", "8 3 2 3"];

/// A point in the chart, in units of its view box.
#[derive(Debug, Clone, Copy)]
pub(super) struct Point {
    pub x: f64,
    pub y: f64,
}

/// The size of marks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum MarkSize {
    Normal,
    /// For lines with many values.
    Small,
}

/// The CSS class of a series' elements.
pub(super) fn class(series: usize) -> String {
    format!("s{}", series % SERIES_STYLES)
}

/// The line through the points of a series.
pub(super) fn line(series: usize, points: &[Point]) -> String {
    let mut coordinates = String::new();
    for Point { x, y } in points {
        let _ = write!(coordinates, " {x:.1},{y:.1}");
    }
    let (class, dash) = (class(series), DASHES[series % SERIES_STYLES]);
    format!("<polyline class=\"line {class}\" stroke-dasharray=\"{dash}\" points=\"{}\"/>", coordinates.trim_start())
}

/// The mark of a value, with a tooltip.
pub(super) fn mark(series: usize, Point { x, y }: Point, size: MarkSize, tooltip: &str) -> String {
    let (class, shape, tooltip) = (class(series), shape(series, size), escape(tooltip));
    format!("<path class=\"mark {class}\" d=\"M{x:.1},{y:.1}{shape}\"><title>{tooltip}</title></path>")
}

/// The key of a series in a legend: a piece of its line with its mark, 32 by 12.
pub(crate) fn legend_key(series: usize) -> String {
    let line = line(series, &[Point { x: 0.0, y: 6.0 }, Point { x: 32.0, y: 6.0 }]);
    format!("{line}<path class=\"{}\" d=\"M16,6{}\"/>", class(series), shape(series, MarkSize::Normal))
}

/// The outline of a mark, relative to its centre: circle, square, triangle or diamond.
fn shape(series: usize, size: MarkSize) -> String {
    let r = if size == MarkSize::Normal { 3.5 } else { 1.8 };
    match series % SERIES_STYLES {
        0 => format!("m{:.1},0a{r},{r} 0 1,0 {:.1},0a{r},{r} 0 1,0 {:.1},0z", -r, 2.0 * r, -2.0 * r),
        1 => format!("m{0:.1},{0:.1}h{1:.1}v{1:.1}h{2:.1}z", -0.85 * r, 1.7 * r, -1.7 * r),
        2 => format!("m0,{:.1}l{:.1},{:.1}h{:.1}z", -1.3 * r, 1.3 * r, 2.3 * r, -2.6 * r),
        _ => format!("m0,{:.1}l{1:.1},{1:.1}l{2:.1},{1:.1}l{2:.1},{2:.1}z", -1.4 * r, 1.4 * r, -1.4 * r),
    }
}
