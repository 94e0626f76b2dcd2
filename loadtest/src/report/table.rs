//! A result as a table for the terminal.

use std::fmt::Write as _;

use palisade_wire::ErrorCode;
use serde_json::Value;

use crate::outcome::{Outcome, QUANTILES};

/// The result of one scenario.
pub(crate) fn render(outcome: &Outcome) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:<24} {value}");
    };
    row("scenario", outcome.scenario);
    for (name, value) in &outcome.settings {
        match value {
            Value::String(value) => row(&format!("  {name}"), value),
            value => row(&format!("  {name}"), &value.to_string()),
        }
    }
    for metric in &outcome.metrics {
        row(&metric.name, &format!("{} {}", number(metric.value), metric.unit));
    }
    for (name, latency) in &outcome.latencies {
        for (quantile, q) in QUANTILES {
            row(&format!("{name} {quantile}"), &format!("{:.3} ms", latency.quantile_ms(q)));
        }
    }
    for (code, count) in &outcome.errors {
        row("errors", &format!("{count} x {}", ErrorCode(*code)));
    }
    text
}

/// Three significant digits or more, never an exponent.
pub(crate) fn number(value: f64) -> String {
    let decimals = match value.abs() {
        0.0 => 0,
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Latency;

    #[test]
    fn numbers_are_as_long_as_they_are_telling() {
        let numbers = [0.0, 0.1234, 1.234, 12.34, 1234.5, 1e9, -3.21];
        let shown: Vec<String> = numbers.into_iter().map(number).collect();
        assert_eq!(shown, ["0", "0.123", "1.23", "12.3", "1234", "1000000000", "-3.21"]);
    }

    #[test]
    fn everything_has_a_row() {
        let mut outcome = Outcome::new("get");
        outcome.set("loop", "closed");
        outcome.metric("throughput", 5.0, "op/s");
        outcome.latencies.push(("get".into(), Latency::new()));
        outcome.errors.insert(-101, 2);
        let text = render(&outcome);
        for part in ["  loop                   closed", "5.00 op/s", "get p99.9", "2 x "] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
