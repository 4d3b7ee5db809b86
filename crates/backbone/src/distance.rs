//! The distance between two rows.

/// Relative L2 distance: `‖row - expected‖ / ‖expected‖`.
pub fn relative_l2(row: &[f32], expected: &[f32]) -> f64 {
    let (mut difference, mut length) = (0.0, 0.0);
    for (&value, &expected) in row.iter().zip(expected) {
        difference += f64::from(value - expected).powi(2);
        length += f64::from(expected).powi(2);
    }
    (difference / length).sqrt()
}
