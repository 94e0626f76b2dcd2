//! Sizes in settings: `"64MiB"`, `"512KiB"`, or a whole number of bytes.

/// What [`parse`] accepts, for messages.
pub(crate) const FORM: &str = "a size such as \"512KiB\", \"64MiB\" or \"4GiB\", or whole bytes";

/// Reads a whole number followed by `KiB`, `MiB` or `GiB`; without a unit, bytes.
pub(crate) fn parse(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit: u64 = match unit.trim_start() {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_binary_unit_or_are_bytes() {
        for (text, bytes) in [("0", 0), ("100", 100), ("1KiB", 1024), ("64 MiB", 64 << 20), ("4GiB", 4 << 30)]
        {
            assert_eq!(parse(text), Some(bytes), "{text}");
        }
        for text in ["", "KiB", "1MB", "-1", "1.5MiB", "99999999999GiB"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
