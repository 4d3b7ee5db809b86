//! Maps values to places in a chart: axes with round ticks, grid lines and labels.

use std::fmt::Write;

use crate::markup::escape;

pub(super) const WIDTH: f64 = 460.0;
pub(super) const HEIGHT: f64 = 270.0;
pub(super) const TOP: f64 = 26.0;
pub(super) const BOTTOM: f64 = 46.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 14.0;
/// The width of a letter of a tick's label, in the largest font that the page's style uses.
const LETTER: f64 = 10.0;
/// The most grid lines.
const MAX_GRID_LINES: f64 = 7.0;

/// The range of an axis.
#[derive(Debug, Clone, Copy)]
pub(super) struct AxisRange {
    pub low: f64,
    pub high: f64,
}

/// A value on an axis with its label.
pub(super) struct Tick {
    pub value: f64,
    pub label: String,
}

/// The axes of a chart whose view box is [`WIDTH`] by [`HEIGHT`].
pub(super) struct Axes {
    x: AxisRange,
    y: AxisRange,
}

impl Axes {
    /// Axes for these values of y, with a margin above and below.
    pub(super) fn new(x: AxisRange, y_values: impl Iterator<Item = f64>) -> Self {
        let mut y = AxisRange { low: f64::INFINITY, high: f64::NEG_INFINITY };
        for value in y_values {
            y = AxisRange { low: y.low.min(value), high: y.high.max(value) };
        }
        // The margin is never 0, so equal values of any size are in the middle.
        let margin = ((y.high - y.low) * 0.08).max(1e-3).max(y.high.abs() * 1e-9);
        let x = if x.high > x.low { x } else { AxisRange { low: x.low - 0.5, high: x.high + 0.5 } };
        Self { x, y: AxisRange { low: y.low - margin, high: y.high + margin } }
    }

    pub(super) fn x(&self, value: f64) -> f64 {
        LEFT + (value - self.x.low) / (self.x.high - self.x.low) * (WIDTH - LEFT - RIGHT)
    }

    pub(super) fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - (value - self.y.low) / (self.y.high - self.y.low) * (HEIGHT - TOP - BOTTOM)
    }

    /// Round values within the range of y, with enough digits to distinguish them.
    fn y_ticks(&self) -> Vec<Tick> {
        let smallest_step = (self.y.high - self.y.low) / MAX_GRID_LINES;
        let power = 10f64.powf(smallest_step.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|k| k * power).into_iter().find(|step| *step >= smallest_step);
        let step = step.unwrap_or(smallest_step);
        let digits = (-step.log10().floor()).max(0.0) as usize;
        let mut ticks = Vec::new();
        let mut number = (self.y.low / step).ceil() as i64;
        while number as f64 * step <= self.y.high {
            let value = number as f64 * step;
            let label = if value.abs() < 1e5 { format!("{value:.digits$}") } else { format!("{value:.1e}") };
            ticks.push(Tick { value, label });
            number += 1;
        }
        ticks
    }

    /// Grid lines at round values of y with their labels, the labels of x that do not overlap, and the name of x.
    pub(super) fn frame(&self, x_name: &str, x_ticks: &[Tick]) -> String {
        let mut svg = String::new();
        for Tick { value, label } in self.y_ticks() {
            let (y, right) = (self.y(value), WIDTH - RIGHT);
            let _ = write!(svg, "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>");
            svg += &text("end", LEFT - 6.0, y + 4.0, &label);
        }
        let mut free_from = 0.0;
        for Tick { value, label } in x_ticks {
            let (x, half) = (self.x(*value), LETTER * label.len() as f64 / 2.0);
            if x - half >= free_from {
                svg += &text("middle", x, HEIGHT - BOTTOM + 17.0, label);
                free_from = x + half + LETTER;
            }
        }
        svg + &text("middle", (LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 8.0, x_name)
    }
}

/// Text at a point; `anchor` is the part of the text that is there: start, middle or end.
pub(super) fn text(anchor: &str, x: f64, y: f64, text: &str) -> String {
    format!("<text text-anchor=\"{anchor}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", escape(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within_the_range() {
        let labels = |low: f64, high: f64| -> Vec<String> {
            let axes = Axes { x: AxisRange { low: 0.0, high: 1.0 }, y: AxisRange { low, high } };
            axes.y_ticks().into_iter().map(|tick| tick.label).collect()
        };
        assert_eq!(labels(0.13, 0.87), ["0.2", "0.4", "0.6", "0.8"]);
        assert_eq!(labels(0.9991, 1.0001), ["0.9992", "0.9994", "0.9996", "0.9998", "1.0000"]);
        assert_eq!(labels(0.0, 2.1e12), ["0", "5.0e11", "1.0e12", "1.5e12", "2.0e12"]);
    }
}
