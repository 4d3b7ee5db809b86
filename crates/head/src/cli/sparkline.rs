//! A curve in one line of text.

const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// No curve is wider; more values are averaged.
const WIDEST: usize = 60;

/// Two curves on one scale, each with its first and last value, so that their distance shows.
pub fn pair(name: &str, train: &[f64], validation: &[f64]) -> String {
    let all = || train.iter().chain(validation).copied();
    let (low, high) = (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
    let line = |of: &str, values: &[f64]| {
        let (first, last) = (values.first().copied().unwrap_or_default(), values.last().copied().unwrap_or_default());
        format!("{name:8} {of:10} {first:.4} {} {last:.4}", curve(values, low, high))
    };
    format!("{}\n{}", line("train", train), line("validation", validation))
}

fn curve(values: &[f64], low: f64, high: f64) -> String {
    let each = values.len().div_ceil(WIDEST).max(1);
    let level = |values: &[f64]| {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let part = if high > low { (mean - low) / (high - low) } else { 0.5 };
        LEVELS[((part * LEVELS.len() as f64) as usize).min(LEVELS.len() - 1)]
    };
    values.chunks(each).map(level).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_curves_are_on_one_scale() {
        let lines = pair("loss", &[8.0, 4.0, 1.0], &[4.5, 3.0, 5.0]);
        assert_eq!(lines, "loss     train      8.0000 █▄▁ 1.0000\nloss     validation 4.5000 ▅▃▅ 5.0000");
        assert_eq!(curve(&[1.0, 1.0], 1.0, 1.0), "▅▅");
        assert_eq!(curve(&vec![0.0; 1000], 0.0, 1.0).chars().count(), 59);
    }
}
