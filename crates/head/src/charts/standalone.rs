//! Charts as a self-contained SVG file, on a white background.

use std::fmt::Write;

use super::axes::{HEIGHT, WIDTH, text};
use super::chart::Chart;
use super::series_style::legend_key;
use crate::markup::escape;

/// The style of the charts' elements, in light colours. It has no CSS variables, which few programs except browsers
/// support.
pub(crate) const STYLE: &str = include_str!("style.css");
const TITLE_STYLE: &str = ".title { font-weight: 600; font-size: 15px; fill: #1c2024; }";

/// Height of the title and the legend above a chart.
const HEADER: f64 = 34.0;
const MARGIN: f64 = 10.0;
/// Width of a legend key with the space after it.
const KEY: f64 = 40.0;
/// Width of a letter of a series' name.
const LETTER: f64 = 7.0;

/// The charts side by side as one SVG file, each below its title and legend.
pub(super) fn standalone(description: &str, charts: &[Chart]) -> String {
    let (width, height) = (charts.len() as f64 * (WIDTH + MARGIN) + MARGIN, HEADER + HEIGHT + MARGIN);
    let description = escape(description);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" aria-label=\"{description}\" width=\"{width}\" \
         height=\"{height}\" viewBox=\"0 0 {width} {height}\">\n<title>{description}</title>\n\
         <style>\n{STYLE}{TITLE_STYLE}\n</style>\n<rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    for (k, chart) in charts.iter().enumerate() {
        let x = MARGIN + k as f64 * (WIDTH + MARGIN);
        let (legend, drawing) = (legend(chart), &chart.drawing);
        let _ = writeln!(svg, "<g transform=\"translate({x},0)\">{legend}</g>");
        let _ = writeln!(svg, "<g transform=\"translate({x},{HEADER})\">{drawing}</g>");
    }
    svg + "</svg>\n"
}

/// The title, followed by the key and name of each series.
fn legend(chart: &Chart) -> String {
    let title = escape(&chart.title);
    let mut svg = format!("<text class=\"title\" x=\"0\" y=\"24\">{title}</text>");
    let mut x = (chart.title.chars().count() as f64 + 4.0) * 8.5;
    for (series, name) in chart.series.iter().enumerate() {
        let _ = write!(svg, "<g class=\"key\" transform=\"translate({x:.1},13)\">{}</g>", legend_key(series));
        svg += &text("start", x + KEY, 23.0, name);
        x += KEY + (name.chars().count() as f64 + 3.0) * LETTER;
    }
    svg
}
