//! Charts as SVG, each with its numbers as a table: lines over epochs, and means with error bars over learning rates.

use std::fmt::Write;

use super::page::{details_table, escape};

const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 270.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 46.0;
/// A tick label's width per letter, where the page's style makes it largest.
const LETTER: f64 = 10.0;
/// Series are told apart by dashes and marks as well as by colour.
const DASHES: [&str; 4] = ["none", "6 4", "2 3", "8 3 2 3"];
/// Circle, square, triangle, diamond, each around the place that its path begins at.
const MARKS: [&str; 4] =
    ["m-3.5,0a3.5,3.5 0 1,0 7,0a3.5,3.5 0 1,0 -7,0z", "m-3,-3h6v6h-6z", "m0,-4.5l4.5,8h-9z", "m0,-5l5,5l-5,5l-5,-5z"];
/// Above as many values in a line, its marks are small.
const MANY: usize = 40;
/// How far apart the series of one learning rate stand, so that no error bar hides another.
const APART: f64 = 7.0;

/// One line of a chart, a value for each of 1, 2, 3, …
pub(super) struct Line<'a> {
    pub name: &'a str,
    pub values: &'a [f64],
}

/// A mean with its standard error, and the values it is the mean of.
pub(super) struct Points {
    pub at: f64,
    pub mean: f64,
    pub error: Option<f64>,
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
        let margin = ((high - low) * 0.08).max(1e-3).max(high.abs() * 1e-9);
        let x = if x.1 > x.0 { x } else { (x.0 - 0.5, x.1 + 0.5) };
        Self { x, y: (low - margin, high + margin) }
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + (value - self.x.0) / (self.x.1 - self.x.0) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - (value - self.y.0) / (self.y.1 - self.y.0) * (HEIGHT - TOP - BOTTOM)
    }

    /// Round values within the range of y, with as many digits as tell them apart.
    fn y_ticks(&self) -> Vec<(f64, String)> {
        let raw = (self.y.1 - self.y.0) / 7.0;
        let power = 10f64.powf(raw.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|k| k * power).into_iter().find(|step| *step >= raw).unwrap_or(raw);
        let digits = (-step.log10().floor()).max(0.0) as usize;
        let label = |tick: f64| if tick.abs() < 1e5 { format!("{tick:.digits$}") } else { format!("{tick:.1e}") };
        let first = (self.y.0 / step).ceil() as i64;
        let ticks = (first..).map(|k| k as f64 * step).take_while(|tick| *tick <= self.y.1);
        ticks.map(|tick| (tick, label(tick))).collect()
    }

    /// The frame: lines at round values, names of the axes, labels of x where they do not touch.
    fn open(&self, title: &str, x_name: &str, x_ticks: &[(f64, String)]) -> String {
        let mut svg = format!(
            "<svg role=\"img\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" aria-label=\"{0}\"><title>{0}</title>",
            escape(title)
        );
        for (tick, label) in self.y_ticks() {
            let y = self.y(tick);
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>{}",
                WIDTH - RIGHT,
                text("end", LEFT - 6.0, y + 4.0, &label)
            );
        }
        let mut free = 0.0;
        for (value, label) in x_ticks {
            let (x, half) = (self.x(*value), LETTER * label.len() as f64 / 2.0);
            if x - half >= free {
                svg += &text("middle", x, HEIGHT - BOTTOM + 17.0, label);
                free = x + half + LETTER;
            }
        }
        svg + &text("middle", (LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 8.0, x_name)
    }
}

fn text(anchor: &str, x: f64, y: f64, text: &str) -> String {
    format!("<text text-anchor=\"{anchor}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", escape(text))
}

fn path(points: &[(f64, f64)], series: usize) -> String {
    let steps: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let (look, dash) = (series % 4, DASHES[series % 4]);
    format!("<polyline class=\"line s{look}\" stroke-dasharray=\"{dash}\" points=\"{}\"/>", steps.join(" "))
}

/// A mark that tells its value to who points at it.
fn mark((x, y): (f64, f64), series: usize, words: &str) -> String {
    let (look, shape) = (series % 4, MARKS[series % 4]);
    format!("<path class=\"mark s{look}\" d=\"M{x:.1},{y:.1}{shape}\"><title>{}</title></path>", escape(words))
}

/// A chart under its title and the names of its series, each with a piece of its line, and the table behind it.
fn figure(title: &str, names: &[&str], svg: &str, table: &str) -> String {
    let entry = |(series, name): (usize, &&str)| {
        let (look, shape) = (series % 4, MARKS[series % 4]);
        format!(
            "<span class=\"entry\"><svg class=\"key s{look}\" viewBox=\"0 0 32 12\" aria-hidden=\"true\">{}\
             <path d=\"M16,6{shape}\"/></svg>{}</span>",
            path(&[(0.0, 6.0), (32.0, 6.0)], series),
            escape(name)
        )
    };
    let entries: String = names.iter().enumerate().map(entry).collect();
    format!("<figure><figcaption><strong>{}</strong>{entries}</figcaption>{svg}</svg>{table}</figure>", escape(title))
}

/// Lines over epochs, a mark at each value; `best` is the epoch that validation was best in.
pub(super) fn line_chart(title: &str, lines: &[Line<'_>], best: Option<usize>) -> String {
    let count = lines.iter().map(|line| line.values.len()).max().unwrap_or(0);
    let axes = Axes::new((1.0, count as f64), lines.iter().flat_map(|line| line.values.iter().copied()));
    let every = (0..).flat_map(|power| [1, 2, 5].map(|k| k * 10usize.pow(power))).find(|every| count / every <= 10);
    let every = every.unwrap_or(1);
    let ticks: Vec<(f64, String)> = (every..=count).step_by(every).map(|k| (k as f64, k.to_string())).collect();
    let mut svg = axes.open(&format!("{title} by epoch"), "epoch", &ticks);
    if let Some(epoch) = best {
        let x = axes.x(epoch as f64);
        let anchor = if x < WIDTH / 2.0 { "start" } else { "end" };
        let _ = write!(
            svg,
            "<line class=\"best\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{:.1}\"/>{}",
            HEIGHT - BOTTOM,
            text(anchor, x, TOP - 9.0, &format!("validation best in epoch {epoch}"))
        );
    }
    let _ = write!(svg, "<g{}>", if count > MANY { " class=\"many\"" } else { "" });
    for (series, line) in lines.iter().enumerate() {
        let points: Vec<(f64, f64)> = (1..).zip(line.values).map(|(k, &v)| (axes.x(f64::from(k)), axes.y(v))).collect();
        svg += &path(&points, series);
        for (&place, (k, value)) in points.iter().zip((1u32..).zip(line.values)) {
            svg += &mark(place, series, &format!("{}, epoch {k}: {value:.4}", line.name));
        }
    }
    let names: Vec<&str> = lines.iter().map(|line| line.name).collect();
    let row = |k: usize| {
        let values =
            lines.iter().map(|line| line.values.get(k).map_or_else(String::new, |value| format!("{value:.4}")));
        std::iter::once((k + 1).to_string()).chain(values).collect()
    };
    let table = details_table(&[&["epoch"], &names[..]].concat(), (0..count).map(row));
    figure(title, &names, &(svg + "</g>"), &table)
}

/// Means with error bars over a logarithmic axis, and faint marks for what they are the means of.
pub(super) fn points_chart(title: &str, x_name: &str, series: &[(String, Vec<Points>)]) -> String {
    let all = || series.iter().flat_map(|(_, points)| points);
    let mut places: Vec<f64> = all().map(|point| point.at).collect();
    places.sort_by(f64::total_cmp);
    places.dedup();
    let range = (places.first().map_or(0.0, |at| at.log10()), places.last().map_or(1.0, |at| at.log10()));
    let bar = |point: &Points| point.error.map(|error| [point.mean - error, point.mean + error]);
    let ends = all().flat_map(|point| point.each.iter().copied().chain(bar(point).into_iter().flatten()));
    let axes = Axes::new((range.0 - 0.2, range.1 + 0.2), ends);
    let ticks: Vec<(f64, String)> = places.iter().map(|at| (at.log10(), at.to_string())).collect();
    let mut svg = axes.open(&format!("{title} by {x_name}"), x_name, &ticks);
    let mut rows = Vec::new();
    for (number, (name, points)) in series.iter().enumerate() {
        let aside = APART * (number as f64 - (series.len() - 1) as f64 / 2.0);
        let places: Vec<(f64, f64)> =
            points.iter().map(|point| (axes.x(point.at.log10()) + aside, axes.y(point.mean))).collect();
        svg += &path(&places, number);
        for (&(x, y), point) in places.iter().zip(points) {
            for value in &point.each {
                let _ = write!(svg, "<circle class=\"faint\" cx=\"{x:.1}\" cy=\"{:.1}\" r=\"2\"/>", axes.y(*value));
            }
            if let Some([low, high]) = bar(point).map(|ends| ends.map(|end| axes.y(end))) {
                let _ = write!(
                    svg,
                    "<path class=\"error s{}\" d=\"M{x:.1},{low:.1}V{high:.1}m-3,0h6M{x:.1},{low:.1}m-3,0h6\"/>",
                    number % 4
                );
            }
            let error = point.error.map_or_else(|| "-".to_owned(), |error| format!("{error:.4}"));
            let mean = format!("{:.4}", point.mean);
            svg += &mark((x, y), number, &format!("{name}, {x_name} {}: {mean} ± {error}", point.at));
            let each: Vec<String> = point.each.iter().map(|value| format!("{value:.4}")).collect();
            rows.push(vec![name.clone(), point.at.to_string(), mean, error, each.join(" ")]);
        }
    }
    let names: Vec<&str> = series.iter().map(|(name, _)| name.as_str()).collect();
    let header = ["head", x_name, "mean", "standard error", "each seed"];
    figure(title, &names, &svg, &details_table(&header, rows.into_iter()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_chart_has_a_mark_for_each_value_within_the_frame() {
        let svg = line_chart(
            "Loss",
            &[Line { name: "train", values: &[1.0, 0.5, 0.25] }, Line { name: "validation", values: &[1.1, 0.9, 1.3] }],
            Some(2),
        );
        let marks: Vec<&str> = svg.split("<path class=\"mark").skip(1).collect();
        assert_eq!(marks.len(), 6);
        for mark in marks {
            let y: f64 = mark.split([',', 'm']).nth(1).unwrap().parse().unwrap();
            assert!((TOP..=HEIGHT - BOTTOM).contains(&y), "{y}");
        }
        assert!(svg.contains("best in epoch 2"), "{svg}");
        let flat = line_chart("Loss", &[Line { name: "train", values: &[0.5] }], None);
        assert!(!flat.contains("NaN") && !flat.contains("inf"), "{flat}");
    }

    #[test]
    fn ticks_are_round_and_within_the_range() {
        let labels = |low: f64, high: f64| -> Vec<String> {
            let axes = Axes { x: (0.0, 1.0), y: (low, high) };
            axes.y_ticks().into_iter().map(|(_, label)| label).collect()
        };
        assert_eq!(labels(0.13, 0.87), ["0.2", "0.4", "0.6", "0.8"]);
        assert_eq!(labels(0.9991, 1.0001), ["0.9992", "0.9994", "0.9996", "0.9998", "1.0000"]);
        assert_eq!(labels(0.0, 2.1e12), ["0", "5.0e11", "1.0e12", "1.5e12", "2.0e12"]);
    }
}
