//! What a run found out.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use palisade_wire::ErrorCode;
use serde_json::{Map, Value, json};

use crate::usage::Used;

/// Longest latency that is told apart, in nanoseconds.
const MAX_LATENCY_NS: u64 = 600_000_000_000;
/// Points of a cumulative curve.
const POINTS: usize = 100;
/// Quantiles that are shown.
pub(crate) const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];

/// Times, to three significant digits.
#[derive(Clone, Debug)]
pub(crate) struct Latency(Histogram<u64>);

impl Latency {
    /// None yet.
    pub(crate) fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, MAX_LATENCY_NS, 3)
            .expect("the bounds and the precision are constants that the histogram allows");
        Self(histogram)
    }

    /// Adds one.
    pub(crate) fn record(&mut self, time: Duration) {
        self.0.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(1));
    }

    /// Adds all of another.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all have the same bounds");
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// The time that the fraction `quantile` of all did not exceed, in milliseconds.
    pub(crate) fn quantile_ms(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1e6
    }
}

/// A figure.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Metric {
    /// What it is.
    pub(crate) name: String,
    /// How much.
    pub(crate) value: f64,
    /// Of what.
    pub(crate) unit: &'static str,
}

/// A curve.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Series {
    /// The plot that it belongs to: curves of one plot share their axes.
    pub(crate) plot: &'static str,
    /// What it is.
    pub(crate) name: String,
    /// Names of the axes, with their units.
    pub(crate) axes: [&'static str; 2],
    /// The points, from left to right.
    pub(crate) points: Vec<(f64, f64)>,
}

impl Series {
    /// How many there were, over the time in which they came.
    pub(crate) fn cumulative(
        plot: &'static str,
        name: String,
        counted: &'static str,
        arrivals: &[Duration],
    ) -> Self {
        let last = arrivals.len().saturating_sub(1);
        let point = |n: usize| {
            let index = n * last / POINTS;
            arrivals.get(index).map(|time| (time.as_secs_f64() * 1e3, (index + 1) as f64))
        };
        let points = (0..=POINTS).filter_map(point).collect();
        Self { plot, name, axes: ["milliseconds", counted], points }
    }
}

/// The result of one scenario.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// The scenario.
    pub(crate) scenario: &'static str,
    /// How it was asked for.
    pub(crate) settings: Vec<(&'static str, Value)>,
    /// The figures, the most telling first.
    pub(crate) metrics: Vec<Metric>,
    /// The distributions.
    pub(crate) latencies: Vec<(String, Latency)>,
    /// The curves.
    pub(crate) series: Vec<Series>,
    /// Answers other than OK that were not expected, by code.
    pub(crate) errors: BTreeMap<i32, u64>,
}

impl Outcome {
    /// Nothing yet.
    pub(crate) fn new(scenario: &'static str) -> Self {
        Self {
            scenario,
            settings: Vec::new(),
            metrics: Vec::new(),
            latencies: Vec::new(),
            series: Vec::new(),
            errors: BTreeMap::new(),
        }
    }

    /// Notes how it was asked for.
    pub(crate) fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        self.settings.push((name, value.into()));
    }

    /// Notes a figure.
    pub(crate) fn metric(&mut self, name: impl Into<String>, value: f64, unit: &'static str) {
        self.metrics.push(Metric { name: name.into(), value, unit });
    }

    /// Notes what the servers used for `count` of `what`, if they were watched.
    pub(crate) fn used(&mut self, used: &Used, count: u64, what: &'static str, upstream: bool) {
        let per = |time: Duration| time.as_secs_f64() * 1e6 / count.max(1) as f64;
        if !used.cpu.is_empty() {
            self.metric("server cpu", per(used.total()), what);
        }
        self.metric("client cpu", per(used.own), what);
        if upstream {
            self.metric("between tiers", used.upstream as f64 / used.time.as_secs_f64(), "B/s");
        }
    }

    /// A figure by its name.
    pub(crate) fn get(&self, name: &str) -> Option<f64> {
        self.metrics.iter().find(|metric| metric.name == name).map(|metric| metric.value)
    }

    /// How many answers were errors.
    pub(crate) fn failed(&self) -> u64 {
        self.errors.values().sum()
    }

    /// As one JSON object.
    pub(crate) fn json(&self) -> Value {
        let object = |pairs: Vec<(String, Value)>| Value::Object(pairs.into_iter().collect::<Map<_, _>>());
        let settings = self.settings.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        let metric = |metric: &Metric| {
            (metric.name.clone(), json!({ "value": finite(metric.value), "unit": metric.unit }))
        };
        let latency = |(name, latency): &(String, Latency)| {
            let quantiles =
                QUANTILES.iter().map(|(name, q)| ((*name).to_owned(), json!(latency.quantile_ms(*q))));
            let quantiles = quantiles.chain([("count".to_owned(), json!(latency.count()))]);
            (name.clone(), object(quantiles.collect()))
        };
        let series = |series: &Series| json!({ "plot": series.plot, "name": series.name, "axes": series.axes, "points": series.points });
        let errors = self.errors.iter().map(|(code, count)| (ErrorCode(*code).to_string(), json!(count)));
        json!({
            "scenario": self.scenario,
            "settings": object(settings.collect()),
            "metrics": object(self.metrics.iter().map(metric).collect()),
            "latency_ms": object(self.latencies.iter().map(latency).collect()),
            "series": self.series.iter().map(series).collect::<Vec<_>>(),
            "errors": object(errors.collect()),
        })
    }
}

/// The middle one, of an even number the mean of the two in the middle; not a number if there is none.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.get(middle), middle.checked_sub(1).and_then(|n| values.get(n))) {
        (Some(upper), Some(lower)) if values.len().is_multiple_of(2) => f64::midpoint(*lower, *upper),
        (Some(middle), _) => *middle,
        _ => f64::NAN,
    }
}

/// JSON knows no infinity.
fn finite(value: f64) -> Value {
    if value.is_finite() { json!(value) } else { Value::Null }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_keep_three_digits() {
        let mut latency = Latency::new();
        for micros in 1..=1000 {
            latency.record(Duration::from_micros(micros));
        }
        assert!((latency.quantile_ms(0.5) - 0.5).abs() < 0.001);
        assert!((latency.quantile_ms(1.0) - 1.0).abs() < 0.001);
        latency.record(Duration::from_secs(100_000));
        assert_eq!(latency.count(), 1001);
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 8.0]), 3.0);
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn a_cumulative_curve_ends_with_the_last() {
        let arrivals: Vec<Duration> = (1..=1000).map(Duration::from_millis).collect();
        let points = |arrivals| Series::cumulative("plot", "name".into(), "things", arrivals).points;
        assert_eq!(points(&arrivals).first(), Some(&(1.0, 1.0)));
        assert_eq!(points(&arrivals).last(), Some(&(1000.0, 1000.0)));
        assert_eq!(points(&[]), []);
    }

    #[test]
    fn json_has_names_not_positions() {
        let mut outcome = Outcome::new("get");
        outcome.set("connections", 5);
        outcome.metric("throughput", 2.5, "op/s");
        outcome.metric("odd", f64::NAN, "x");
        outcome.latencies.push(("get".into(), Latency::new()));
        outcome.errors.insert(-101, 3);
        let json = outcome.json();
        assert_eq!(json["settings"]["connections"], 5);
        assert_eq!(json["metrics"]["throughput"], json!({ "value": 2.5, "unit": "op/s" }));
        assert_eq!(json["metrics"]["odd"]["value"], Value::Null);
        assert_eq!(json["latency_ms"]["get"]["count"], 0);
        assert_eq!(json["errors"].as_object().unwrap().len(), 1);
        assert_eq!((outcome.get("throughput"), outcome.failed()), (Some(2.5), 3));
    }
}
