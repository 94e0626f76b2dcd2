//! What a run found out, for people and for programs.

use std::fmt::Write as _;
use std::time::Duration;

use palisade_wire::ErrorCode;
use serde_json::{Value, json};

use crate::args::Load;
use crate::worker::Measured;

/// Quantiles that are shown.
const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];

/// The result of a run.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    /// How it was asked for.
    pub(crate) args: &'a Load,
    /// What all connections measured.
    pub(crate) measured: Measured,
    /// Processor time that the watched processes used while measuring.
    pub(crate) cpu: Option<Duration>,
}

impl Report<'_> {
    /// Operations per second.
    pub(crate) fn throughput(&self) -> f64 {
        self.measured.completed as f64 / self.args.duration.as_secs_f64()
    }

    /// Operations that failed.
    pub(crate) fn errors(&self) -> u64 {
        self.measured.errors.values().sum()
    }

    /// Processor time of the watched processes per operation, in microseconds.
    pub(crate) fn cpu_us_per_op(&self) -> Option<f64> {
        let cpu = self.cpu?;
        Some(cpu.as_secs_f64() * 1e6 / self.measured.completed.max(1) as f64)
    }

    fn quantiles_ms(&self) -> impl Iterator<Item = (&'static str, f64)> {
        QUANTILES.iter().map(|(name, q)| (*name, self.measured.latency.value_at_quantile(*q) as f64 / 1000.0))
    }

    /// A table.
    pub(crate) fn table(&self) -> String {
        let args = self.args;
        let load = args.rate.map_or_else(|| "closed loop".to_owned(), |rate| format!("{rate} op/s offered"));
        let mut text = String::new();
        let mut row = |name: &str, value: String| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name:<14} {value}");
        };
        row("target", args.target.join(","));
        row(
            "load",
            format!(
                "{}, {load}, {} connections x {} in flight, {} bytes",
                args.scenario.name(),
                args.connections,
                args.pipeline,
                args.size
            ),
        );
        row(
            "measured",
            format!("{:.1} s after {:.1} s", args.duration.as_secs_f64(), args.warmup.as_secs_f64()),
        );
        row("throughput", format!("{:.0} op/s", self.throughput()));
        for (name, ms) in self.quantiles_ms() {
            row(&format!("latency {name}"), format!("{ms:.3} ms"));
        }
        if let (Some(cpu), Some(per_op)) = (self.cpu, self.cpu_us_per_op()) {
            row("server cpu", format!("{per_op:.2} us/op ({:.2} s)", cpu.as_secs_f64()));
        }
        row("errors", self.errors().to_string());
        for (code, count) in &self.measured.errors {
            row("", format!("{count} x {}", ErrorCode(*code)));
        }
        text
    }

    /// The same as one JSON object.
    pub(crate) fn json(&self) -> Value {
        let args = self.args;
        let latency: serde_json::Map<String, Value> =
            self.quantiles_ms().map(|(name, ms)| (name.to_owned(), json!(ms))).collect();
        let errors: serde_json::Map<String, Value> = self
            .measured
            .errors
            .iter()
            .map(|(code, count)| (ErrorCode(*code).to_string(), json!(count)))
            .collect();
        json!({
            "target": args.target,
            "scenario": args.scenario.name(),
            "connections": args.connections,
            "pipeline": args.pipeline,
            "rate": args.rate,
            "size": args.size,
            "seconds": args.duration.as_secs_f64(),
            "operations": self.measured.completed,
            "throughput": self.throughput(),
            "latency_ms": latency,
            "cpu_us_per_op": self.cpu_us_per_op(),
            "errors": errors,
        })
    }
}
