//! Durations in settings: `"5s"`, `"500ms"`, or a whole number of milliseconds.

use std::time::Duration;

/// What [`parse`] accepts, for messages.
pub(crate) const FORM: &str = "a duration such as \"500ms\", \"5s\", \"2m\" or \"1h\", or whole milliseconds";

/// Reads a whole number followed by `ms`, `s`, `m` or `h`; without a unit, milliseconds.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let millis = match unit.trim_start() {
        "" | "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(millis).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_or_are_milliseconds() {
        for (text, millis) in
            [("5s", 5000), ("500ms", 500), ("2000", 2000), (" 2 m ", 120_000), ("1h", 3_600_000), ("0", 0)]
        {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "-5s", "1.5s", "5 days", "18446744073709551615h", "5S"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
