//! The numbers as they are counted: relaxed atomics, no locks, no allocation.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::{Distribution, QUANTILES, Value};

/// Something that is counted and can be told.
pub trait Cell: Default {
    /// What it says now.
    fn value(&self) -> Value;
    /// Starts again from nothing (`srst`). What stands for the present stays.
    fn reset(&self);
}

/// A number that only rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// The number.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Cell for Counter {
    fn value(&self) -> Value {
        Value::Counter(self.get())
    }

    fn reset(&self) {
        self.0.store(0, Relaxed);
    }
}

/// A number that stands for the present.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Sets it.
    pub fn set(&self, value: u64) {
        self.0.store(i64::try_from(value).unwrap_or(i64::MAX), Relaxed);
    }

    /// Raises it by `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(i64::try_from(n).unwrap_or(i64::MAX), Relaxed);
    }

    /// Lowers it by `n`.
    pub fn sub(&self, n: u64) {
        self.0.fetch_sub(i64::try_from(n).unwrap_or(i64::MAX), Relaxed);
    }

    /// The number; a race between raising and lowering never shows less than nothing.
    pub fn get(&self) -> u64 {
        u64::try_from(self.0.load(Relaxed)).unwrap_or(0)
    }
}

impl Cell for Gauge {
    fn value(&self) -> Value {
        Value::Gauge(self.0.load(Relaxed).max(0))
    }

    fn reset(&self) {}
}

/// The last, smallest and largest of some sizes (Apache `BufferStats`). Written by one task.
#[derive(Debug)]
pub struct Sizes {
    last: AtomicU64,
    min: AtomicU64,
    max: AtomicU64,
}

/// No size yet; as −1 it is how Apache shows that.
const NO_SIZE: u64 = u64::MAX;

impl Default for Sizes {
    fn default() -> Self {
        Self { last: AtomicU64::new(NO_SIZE), min: AtomicU64::new(NO_SIZE), max: AtomicU64::new(NO_SIZE) }
    }
}

impl Sizes {
    /// Notes a size.
    pub fn record(&self, size: usize) {
        let size = size as u64;
        self.last.store(size, Relaxed);
        self.min.fetch_min(size, Relaxed);
        let max = self.max.load(Relaxed);
        if max == NO_SIZE || max < size {
            self.max.store(size, Relaxed);
        }
    }

    /// Forgets all sizes.
    pub fn reset(&self) {
        for cell in [&self.last, &self.min, &self.max] {
            cell.store(NO_SIZE, Relaxed);
        }
    }

    /// Last, smallest, largest; −1 each before the first.
    pub fn get(&self) -> [i64; 3] {
        [&self.last, &self.min, &self.max].map(|cell| cell.load(Relaxed) as i64)
    }
}

/// Sixteen exact values, then eight buckets for each power of two up to 2^40.
const BUCKETS: usize = 16 + (40 - 4) * 8;

/// Where a value is counted.
fn bucket(value: u64) -> usize {
    if value < 16 {
        return value as usize;
    }
    let exponent = value.ilog2() as usize;
    let eighth = (value >> (exponent - 3)) as usize & 7;
    (16 + (exponent - 4) * 8 + eighth).min(BUCKETS - 1)
}

/// The largest value that is counted there.
fn upper_bound(bucket: usize) -> u64 {
    if bucket < 16 {
        return bucket as u64;
    }
    let (exponent, eighth) = ((bucket - 16) / 8 + 4, (bucket - 16) % 8);
    ((8 + eighth as u64 + 1) << (exponent - 3)) - 1
}

/// Measurements of whole numbers.
#[derive(Debug)]
pub struct Summary {
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
    min: AtomicU64,
    max: AtomicU64,
}

impl Default for Summary {
    fn default() -> Self {
        Self {
            buckets: [const { AtomicU64::new(0) }; BUCKETS],
            sum: AtomicU64::new(0),
            min: AtomicU64::new(u64::MAX),
            max: AtomicU64::new(0),
        }
    }
}

impl Summary {
    /// Notes one.
    pub fn record(&self, value: u64) {
        self.record_many(value, 1);
    }

    /// Notes `count` equal ones.
    pub fn record_many(&self, value: u64, count: u64) {
        self.buckets[bucket(value)].fetch_add(count, Relaxed);
        self.sum.fetch_add(value.saturating_mul(count), Relaxed);
        if value < self.min.load(Relaxed) {
            self.min.fetch_min(value, Relaxed);
        }
        if value > self.max.load(Relaxed) {
            self.max.fetch_max(value, Relaxed);
        }
    }

    /// What was measured, divided by `unit`.
    fn view(&self, unit: f64) -> Distribution {
        let counts: Vec<u64> = self.buckets.iter().map(|cell| cell.load(Relaxed)).collect();
        let count: u64 = counts.iter().sum();
        if count == 0 {
            return Distribution { quantiles: Some([0.0; 4]), ..Distribution::default() };
        }
        let max = self.max.load(Relaxed);
        let at_most = |quantile: f64| {
            let rank = ((quantile * count as f64).ceil() as u64).clamp(1, count);
            let mut seen = 0;
            let reached = counts.iter().position(|n| {
                seen += n;
                seen >= rank
            });
            reached.map_or(max, upper_bound).min(max) as f64 / unit
        };
        Distribution {
            count,
            sum: self.sum.load(Relaxed) as f64 / unit,
            min: self.min.load(Relaxed) as f64 / unit,
            max: max as f64 / unit,
            quantiles: Some(QUANTILES.map(at_most)),
        }
    }
}

impl Cell for Summary {
    fn value(&self) -> Value {
        Value::Distribution(self.view(1.0))
    }

    fn reset(&self) {
        for cell in self.buckets.iter().chain([&self.sum, &self.max]) {
            cell.store(0, Relaxed);
        }
        self.min.store(u64::MAX, Relaxed);
    }
}

/// Measurements of time: kept in microseconds, told in milliseconds.
#[derive(Debug, Default)]
pub struct Timing(Summary);

impl Timing {
    /// Notes one.
    pub fn record(&self, took: Duration) {
        self.0.record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// Notes the age at `now`, since 1970, of what was made `made_ms` after 1970 by the clock of another machine. What seems
    /// to come from the future is not noted: one of the clocks is wrong.
    pub fn record_age(&self, made_ms: i64, now: Duration) {
        let made = Duration::from_millis(u64::try_from(made_ms).unwrap_or(0));
        if let Some(age) = now.checked_sub(made) {
            self.record(age);
        }
    }

    /// Notes `count` that took no time worth measuring.
    pub fn record_instant(&self, count: u64) {
        self.0.record_many(0, count);
    }

    /// What was measured, ms.
    pub fn view(&self) -> Distribution {
        self.0.view(1000.0)
    }
}

impl Cell for Timing {
    fn value(&self) -> Value {
        Value::Distribution(self.view())
    }

    fn reset(&self) {
        self.0.reset();
    }
}

/// The longest of some times: kept in microseconds, told in milliseconds. Prometheus is told no maximum of a [`Timing`].
#[derive(Debug, Default)]
pub struct Longest(AtomicU64);

impl Longest {
    /// Notes one.
    pub fn record(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        if micros > self.0.load(Relaxed) {
            self.0.fetch_max(micros, Relaxed);
        }
    }
}

impl Cell for Longest {
    fn value(&self) -> Value {
        Value::Ratio(self.0.load(Relaxed) as f64 / 1000.0)
    }

    fn reset(&self) {
        self.0.store(0, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_time_stays_until_it_is_reset() {
        let longest = Longest::default();
        [3_000, 7_500, 20].iter().for_each(|micros| longest.record(Duration::from_micros(*micros)));
        assert_eq!(longest.value(), Value::Ratio(7.5));
        longest.reset();
        assert_eq!(longest.value(), Value::Ratio(0.0));
    }

    #[test]
    fn every_value_is_within_its_bucket() {
        let mut last = 0;
        for value in (0..70_000).chain([1 << 30, (1 << 40) - 1]) {
            let bucket = bucket(value);
            assert!(upper_bound(bucket) >= value, "{value}");
            assert!(upper_bound(bucket) <= value + value / 8, "{value}");
            assert!(bucket >= last && bucket <= last + 1 || value > 70_000, "{value}");
            last = bucket;
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }
}
