//! curves.svg: loss and accuracy by epoch, training against validation, so that overfitting shows.

use std::error::Error;

use plotters::prelude::*;

use crate::history::History;

const SIZE: (u32, u32) = (960, 360);
/// Told apart by lightness as well as by hue: from Okabe and Ito's palette for all kinds of colour vision.
const TRAIN: RGBColor = RGBColor(230, 159, 0);
const VALIDATION: RGBColor = RGBColor(0, 114, 178);

/// Two charts side by side as one SVG, on white, so that it reads on any page.
///
/// # Errors
/// What the drawing library says.
pub fn curves(history: &History) -> Result<String, String> {
    let mut svg = String::new();
    draw(history, &mut svg).map_err(|error| error.to_string())?;
    Ok(svg)
}

fn draw(history: &History, svg: &mut String) -> Result<(), Box<dyn Error>> {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let (left, right) = area.split_horizontally(SIZE.0 / 2);
    let top = history.loss.iter().chain(&history.val_loss).copied().fold(0.0, f64::max);
    chart(&left, "loss", &history.loss, &history.val_loss, 0.0..top.max(1e-6) * 1.05)?;
    let bottom = history.accuracy.iter().chain(&history.val_accuracy).copied().fold(1.0, f64::min);
    chart(&right, "accuracy", &history.accuracy, &history.val_accuracy, (bottom - 0.02).max(0.0)..1.0)?;
    area.present()?;
    Ok(())
}

fn chart(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    title: &str,
    train: &[f64],
    validation: &[f64],
    range: std::ops::Range<f64>,
) -> Result<(), Box<dyn Error>> {
    let last = train.len().max(2);
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .caption(title, ("sans-serif", 18))
        .x_label_area_size(36)
        .y_label_area_size(52)
        .build_cartesian_2d(1..last, range)?;
    chart
        .configure_mesh()
        .x_desc("epoch")
        .x_labels(last.min(10))
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.12))
        .draw()?;
    for (name, values, color) in [("train", train, TRAIN), ("validation", validation, VALIDATION)] {
        let points = || (1..).zip(values.iter().copied());
        chart
            .draw_series(LineSeries::new(points(), color.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
        chart.draw_series(points().map(|point| Circle::new(point, 3, color.filled())))?;
    }
    chart
        .configure_series_labels()
        .position(if title == "loss" { SeriesLabelPosition::UpperRight } else { SeriesLabelPosition::LowerRight })
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.2))
        .draw()?;
    Ok(())
}
