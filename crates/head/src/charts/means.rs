//! Means with error bars over a logarithmic axis.

use std::fmt::Write;

use super::axes::{Axes, Span, Tick};
use super::chart::{Chart, Table};
use super::looks::{MarkSize, Point, class, line, mark};

/// How far apart the series stand at one value of x, so that no error bar hides another.
const APART: f64 = 7.0;
/// The room left and right of the outermost means, in powers of ten.
const MARGIN: f64 = 0.2;

/// A mean with its standard error, and the values that it is the mean of.
pub(crate) struct Mean {
    /// Where it stands on the axis: above 0.
    pub at: f64,
    pub mean: f64,
    pub error: Option<f64>,
    pub each: Vec<f64>,
}

/// The means of one line, by ascending place.
pub(crate) struct Series {
    pub name: String,
    pub means: Vec<Mean>,
}

impl Mean {
    /// The ends of its error bar.
    fn bar(&self) -> Option<Span> {
        self.error.map(|error| Span { low: self.mean - error, high: self.mean + error })
    }
}

/// Means with error bars, and a faint mark for each value that they are the means of. The table names the series where
/// there are several.
pub(crate) fn mean_chart(title: &str, x_name: &str, series: &[Series]) -> Chart {
    let mut places = Vec::new();
    let mut values = Vec::new();
    for mean in series.iter().flat_map(|series| &series.means) {
        places.push(mean.at);
        values.extend(&mean.each);
        values.extend(mean.bar().iter().flat_map(|bar| [bar.low, bar.high]));
    }
    places.sort_by(f64::total_cmp);
    places.dedup();
    let low = places.first().map_or(0.0, |at| at.log10());
    let high = places.last().map_or(1.0, |at| at.log10());
    let axes = Axes::new(Span { low: low - MARGIN, high: high + MARGIN }, values.into_iter());
    let ticks: Vec<Tick> = places.iter().map(|at| Tick { value: at.log10(), label: at.to_string() }).collect();
    let mut drawing = axes.frame(x_name, &ticks);

    let mut rows = Vec::new();
    for (number, Series { name, means }) in series.iter().enumerate() {
        let aside = APART * (number as f64 - (series.len() - 1) as f64 / 2.0);
        let mut points = Vec::with_capacity(means.len());
        for mean in means {
            points.push(Point { x: axes.x(mean.at.log10()) + aside, y: axes.y(mean.mean) });
        }
        drawing += &line(number, &points);
        for (mean, &point) in means.iter().zip(&points) {
            let x = point.x;
            for &value in &mean.each {
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
            let (at, value) = (mean.at.to_string(), format!("{:.4}", mean.mean));
            let words = format!("{name}, {x_name} {at}: {value} ± {error}");
            drawing += &mark(number, point, MarkSize::Normal, &words);
            let each: Vec<String> = mean.each.iter().map(|value| format!("{value:.4}")).collect();
            let mut row = vec![at, value, error, each.join(" ")];
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
