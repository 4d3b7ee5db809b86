//! The distance between two rows.

/// Relative L2 distance of two rows of equal length: `‖row - expected‖ / ‖expected‖`.
pub fn relative_l2(row: &[f32], expected: &[f32]) -> f64 {
    let (mut squared_difference, mut squared_length) = (0.0, 0.0);
    for (&value, &expected) in row.iter().zip(expected) {
        squared_difference += f64::from(value - expected).powi(2);
        squared_length += f64::from(expected).powi(2);
    }
    (squared_difference / squared_length).sqrt()
}
