//! Charts of means with error bars, over a logarithmic axis.

use std::fmt::Write;

use super::axes::{Axes, AxisRange, Tick};
use super::chart::{Chart, Table};
use super::series_style::{MarkSize, Point, class, line, mark};

/// The distance between the series at one value of x, so that no error bar hides another.
const SERIES_OFFSET: f64 = 7.0;
/// The margin left and right of the outermost means, in powers of ten.
const MARGIN: f64 = 0.2;

/// A mean with its standard error, and the values that it is the mean of.
pub(crate) struct Mean {
    /// The value on the x axis, above 0.
    pub x: f64,
    pub mean: f64,
    pub error: Option<f64>,
    pub values: Vec<f64>,
}

/// The means of one line, by ascending x.
pub(crate) struct Series {
    pub name: String,
    pub means: Vec<Mean>,
}

impl Mean {
    /// The ends of its error bar.
    fn bar(&self) -> Option<AxisRange> {
        self.error.map(|error| AxisRange { low: self.mean - error, high: self.mean + error })
    }
}

/// Means with error bars, and a faint mark for each single value. If there are several series, the table names them.
pub(crate) fn mean_chart(title: &str, x_name: &str, series: &[Series]) -> Chart {
    let mut x_values = Vec::new();
    let mut y_values = Vec::new();
    for mean in series.iter().flat_map(|series| &series.means) {
        x_values.push(mean.x);
        y_values.extend(&mean.values);
        if let Some(bar) = mean.bar() {
            y_values.extend([bar.low, bar.high]);
        }
    }
    x_values.sort_by(f64::total_cmp);
    x_values.dedup();
    let low = x_values.first().map_or(0.0, |x| x.log10());
    let high = x_values.last().map_or(1.0, |x| x.log10());
    let axes = Axes::new(AxisRange { low: low - MARGIN, high: high + MARGIN }, y_values.into_iter());
    let ticks: Vec<Tick> = x_values.iter().map(|x| Tick { value: x.log10(), label: x.to_string() }).collect();
    let mut drawing = axes.frame(x_name, &ticks);

    let mut rows = Vec::new();
    for (number, Series { name, means }) in series.iter().enumerate() {
        let offset = SERIES_OFFSET * (number as f64 - (series.len() - 1) as f64 / 2.0);
        let mut points = Vec::with_capacity(means.len());
        for mean in means {
            points.push(Point { x: axes.x(mean.x.log10()) + offset, y: axes.y(mean.mean) });
        }
        drawing += &line(number, &points);
        for (mean, &point) in means.iter().zip(&points) {
            let x = point.x;
            for &value in &mean.values {
                let y = axes.y(value);
                let _ = write!(drawing, "<circle class=\"faint\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2\"/>");
            }
            if let Some(bar) = mean.bar() {
                let (class, low, high) = (class(number), axes.y(bar.low), axes.y(bar.high));
                let _ = write!(
                    drawing,
                    "<path class=\"error {class}\" d=\"M{x:.1},{low:.1}V{high:.1}m-3,0h6M{x:.1},{low:.1}m-3,0h6\"/>"
                );
            }
            let error = mean.error.map_or_else(|| "-".to_owned(), |error| format!("{error:.4}"));
            let (x_label, value) = (mean.x.to_string(), format!("{:.4}", mean.mean));
            let tooltip = format!("{name}, {x_name} {x_label}: {value} ± {error}");
            drawing += &mark(number, point, MarkSize::Normal, &tooltip);
            let single_values: Vec<String> = mean.values.iter().map(|value| format!("{value:.4}")).collect();
            let mut row = vec![x_label, value, error, single_values.join(" ")];
            if series.len() > 1 {
                row.insert(0, name.clone());
            }
            rows.push(row);
        }
    }
    let mut header = vec![x_name, "mean", "standard error", "each seed"];
    if series.len() > 1 {
        header.insert(0, "head");
    }
    Chart {
        title: title.to_owned(),
        description: format!("{title} by {x_name}"),
        series: series.iter().map(|series| series.name.clone()).collect(),
        drawing,
        table: Table { header: header.into_iter().map(str::to_owned).collect(), rows },
    }
}
