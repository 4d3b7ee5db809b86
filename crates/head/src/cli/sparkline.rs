//! A curve as one line of text.

const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// The most characters of a curve; if there are more values, neighbouring ones are averaged.
const MAX_WIDTH: usize = 60;

/// Two curves on one scale, so that they can be compared, each with its first and last value.
pub fn pair(name: &str, train: &[f64], validation: &[f64]) -> String {
    let all = || train.iter().chain(validation).copied();
    let (low, high) = (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
    let first = |values: &[f64]| format!("{:.4}", values.first().copied().unwrap_or_default());
    let width = first(train).len().max(first(validation).len());
    let line = |split: &str, values: &[f64]| {
        let (first, last) = (first(values), values.last().copied().unwrap_or_default());
        format!("{name:8} {split:10} {first:>width$} {} {last:.4}", curve(values, low, high))
    };
    format!("{}\n{}", line("train", train), line("validation", validation))
}

fn curve(values: &[f64], low: f64, high: f64) -> String {
    let values_per_character = values.len().div_ceil(MAX_WIDTH).max(1);
    let mut curve = String::new();
    for values in values.chunks(values_per_character) {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let height = if high > low { (mean - low) / (high - low) } else { 0.5 };
        curve.push(LEVELS[((height * LEVELS.len() as f64) as usize).min(LEVELS.len() - 1)]);
    }
    curve
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_curves_start_in_one_column() {
        let lines = pair("loss", &[12.5, 1.0], &[9.0, 1.0]);
        assert_eq!(lines, "loss     train      12.5000 █▁ 1.0000\nloss     validation  9.0000 ▆▁ 1.0000");
    }

    #[test]
    fn both_curves_have_one_scale() {
        let lines = pair("loss", &[8.0, 4.0, 1.0], &[4.5, 3.0, 5.0]);
        assert_eq!(lines, "loss     train      8.0000 █▄▁ 1.0000\nloss     validation 4.5000 ▅▃▅ 5.0000");
        assert_eq!(curve(&[1.0, 1.0], 1.0, 1.0), "▅▅");
        assert_eq!(curve(&vec![0.0; 1000], 0.0, 1.0).chars().count(), 59);
    }
}
