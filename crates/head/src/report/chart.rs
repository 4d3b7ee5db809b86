//! Charts as SVG: lines over epochs, and means with error bars over learning rates.

use std::fmt::Write;

use super::page::escape;

const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 280.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 44.0;
/// Series are told apart by dashes and marks as well as by colour.
const DASHES: [&str; 4] = ["none", "6 4", "2 3", "8 3 2 3"];

/// One line of a chart, a value for each of 1, 2, 3, …
pub(super) struct Line<'a> {
    pub name: &'a str,
    pub values: &'a [f64],
}

/// A mean with its standard error, and the values it is the mean of.
pub(super) struct Points {
    pub at: f64,
    pub mean: f64,
    pub error: f64,
    pub each: Vec<f64>,
}

/// Places values on the chart's plane.
struct Axes {
    x: (f64, f64),
    y: (f64, f64),
}

impl Axes {
    fn new(x: (f64, f64), values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        let margin = ((high - low) * 0.08).max(1e-3);
        let x = if x.1 > x.0 { x } else { (x.0 - 0.5, x.1 + 0.5) };
        Self { x, y: (low - margin, high + margin) }
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + (value - self.x.0) / (self.x.1 - self.x.0) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - (value - self.y.0) / (self.y.1 - self.y.0) * (HEIGHT - TOP - BOTTOM)
    }

    /// Round values within the range of y.
    fn y_ticks(&self) -> Vec<f64> {
        let raw = (self.y.1 - self.y.0) / 5.0;
        let power = 10f64.powf(raw.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|k| k * power).into_iter().find(|step| *step >= raw).unwrap_or(raw);
        let first = (self.y.0 / step).ceil() as i64;
        (first..).map(|k| k as f64 * step).take_while(|tick| *tick <= self.y.1).collect()
    }

    /// The frame: title, lines at round values, names of the axes, ticks of x with their labels.
    fn open(&self, title: &str, x_name: &str, x_ticks: &[(f64, String)]) -> String {
        let mut svg = format!(
            "<svg role=\"img\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" aria-label=\"{0}\"><title>{0}</title>\
             <text class=\"title\" x=\"{LEFT}\" y=\"18\">{0}</text>",
            escape(title)
        );
        for tick in self.y_ticks() {
            let y = self.y(tick);
            let label = if tick.abs() < 10.0 { format!("{tick:.3}") } else { format!("{tick:.0}") };
            let label = if label.contains('.') { label.trim_end_matches('0').trim_end_matches('.') } else { &label };
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"tick\" text-anchor=\"end\" x=\"{:.1}\" y=\"{:.1}\">{label}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                y + 4.0
            );
        }
        for (value, label) in x_ticks {
            let x = self.x(*value);
            let _ = write!(
                svg,
                "<text class=\"tick\" text-anchor=\"middle\" x=\"{x:.1}\" y=\"{:.1}\">{label}</text>",
                HEIGHT - BOTTOM + 16.0
            );
        }
        let _ = write!(
            svg,
            "<text class=\"tick\" text-anchor=\"middle\" x=\"{:.1}\" y=\"{:.1}\">{x_name}</text>",
            (LEFT + WIDTH - RIGHT) / 2.0,
            HEIGHT - 8.0
        );
        svg
    }
}

fn path(points: &[(f64, f64)], series: usize) -> String {
    let steps: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let dash = DASHES[series % DASHES.len()];
    format!("<polyline class=\"line s{}\" stroke-dasharray=\"{dash}\" points=\"{}\"/>", series % 4, steps.join(" "))
}

/// The names of the series, in words, with a piece of each line.
fn legend(names: &[&str]) -> String {
    let entry = |(k, name): (usize, &&str)| {
        let dash = DASHES[k % DASHES.len()];
        format!(
            "<span><svg class=\"key\" viewBox=\"0 0 28 10\" aria-hidden=\"true\"><line class=\"line s{}\" \
             stroke-dasharray=\"{dash}\" x1=\"0\" x2=\"28\" y1=\"5\" y2=\"5\"/></svg>{}</span>",
            k % 4,
            escape(name)
        )
    };
    format!("<figcaption>{}</figcaption>", names.iter().enumerate().map(entry).collect::<String>())
}

/// Lines over 1, 2, 3, …, a mark at each value.
pub(super) fn line_chart(title: &str, x_name: &str, lines: &[Line<'_>]) -> String {
    let count = lines.iter().map(|line| line.values.len()).max().unwrap_or(0);
    let axes = Axes::new((1.0, count as f64), lines.iter().flat_map(|line| line.values.iter().copied()));
    let every = count.div_ceil(10).max(1);
    let ticks: Vec<(f64, String)> = (1..=count).step_by(every).map(|k| (k as f64, k.to_string())).collect();
    let mut svg = axes.open(title, x_name, &ticks);
    for (series, line) in lines.iter().enumerate() {
        let points: Vec<(f64, f64)> = (1..).zip(line.values).map(|(k, &v)| (axes.x(f64::from(k)), axes.y(v))).collect();
        svg += &path(&points, series);
        for ((x, y), (k, value)) in points.iter().zip((1u32..).zip(line.values)) {
            let _ = write!(
                svg,
                "<circle class=\"mark s{}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"><title>{}, {x_name} {k}: {value:.4}</title></circle>",
                series % 4,
                escape(line.name)
            );
        }
    }
    let names: Vec<&str> = lines.iter().map(|line| line.name).collect();
    format!("<figure>{svg}</svg>{}</figure>", legend(&names))
}

/// Means with error bars over a logarithmic axis, and faint marks for what they are the means of.
pub(super) fn points_chart(title: &str, x_name: &str, series: &[(String, Vec<Points>)]) -> String {
    let all = || series.iter().flat_map(|(_, points)| points);
    let mut places: Vec<f64> = all().map(|point| point.at).collect();
    places.sort_by(f64::total_cmp);
    places.dedup();
    let range = (places.first().map_or(0.0, |at| at.log10()), places.last().map_or(1.0, |at| at.log10()));
    let ends =
        all().flat_map(|point| point.each.iter().copied().chain([point.mean - point.error, point.mean + point.error]));
    let axes = Axes::new((range.0 - 0.15, range.1 + 0.15), ends);
    let ticks: Vec<(f64, String)> = places.iter().map(|at| (at.log10(), at.to_string())).collect();
    let mut svg = axes.open(title, x_name, &ticks);
    for (number, (name, points)) in series.iter().enumerate() {
        let places: Vec<(f64, f64)> =
            points.iter().map(|point| (axes.x(point.at.log10()), axes.y(point.mean))).collect();
        svg += &path(&places, number);
        for ((x, y), point) in places.iter().zip(points) {
            for value in &point.each {
                let _ = write!(svg, "<circle class=\"faint\" cx=\"{x:.1}\" cy=\"{:.1}\" r=\"2\"/>", axes.y(*value));
            }
            let (low, high) = (axes.y(point.mean - point.error), axes.y(point.mean + point.error));
            let _ = write!(
                svg,
                "<line class=\"error s{0}\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{low:.1}\" y2=\"{high:.1}\"/>\
                 <circle class=\"mark s{0}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"><title>{1} {2}: {3:.4} ± {4:.4}</title></circle>",
                number % 4,
                escape(name),
                point.at,
                point.mean,
                point.error
            );
        }
    }
    let names: Vec<&str> = series.iter().map(|(name, _)| name.as_str()).collect();
    format!("<figure>{svg}</svg>{}</figure>", legend(&names))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_chart_has_a_mark_for_each_value_within_the_frame() {
        let svg = line_chart(
            "Loss",
            "epoch",
            &[Line { name: "train", values: &[1.0, 0.5, 0.25] }, Line { name: "validation", values: &[1.1, 0.9, 1.3] }],
        );
        assert_eq!(svg.matches("<circle class=\"mark").count(), 6);
        assert_eq!(svg.matches("<polyline").count(), 2);
        for part in svg.split("cy=\"").skip(1) {
            let y: f64 = part.split('"').next().unwrap().parse().unwrap();
            assert!((TOP..=HEIGHT - BOTTOM).contains(&y), "{y}");
        }
        let flat = line_chart("Loss", "epoch", &[Line { name: "train", values: &[0.5] }]);
        assert!(!flat.contains("NaN") && !flat.contains("inf"), "{flat}");
    }

    #[test]
    fn ticks_are_round_and_within_the_range() {
        let axes = Axes { x: (0.0, 1.0), y: (0.13, 0.87) };
        let ticks: Vec<String> = axes.y_ticks().iter().map(|tick| format!("{tick:.1}")).collect();
        assert_eq!(ticks, ["0.2", "0.4", "0.6", "0.8"]);
    }
}
