//! Numbers with the name of what they count, for messages.

/// `1 photo`, `2 photos`.
pub fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}
