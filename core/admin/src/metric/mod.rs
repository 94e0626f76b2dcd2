//! Numbers: counted as plain atomics, told in every layout.
//!
//! A server declares its numbers with [`metrics!`](crate::metrics), one line each, and counts on the fields. Whoever
//! asks gets a [`Sample`] of each, which [`mntr`] lays out as Apache's `mntr` and AdminServer do, and [`prometheus`]
//! as Prometheus reads it.

mod cells;
pub mod mntr;
pub mod prometheus;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

pub use cells::{Cell, Counter, Gauge, Longest, Sizes, Summary, Timing};

/// A number at the moment of asking.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Apache's name without `zk_` where the meaning is Apache's, else one that begins with `palisade_`.
    pub name: Cow<'static, str>,
    /// What it means, in a sentence.
    pub help: &'static str,
    /// Which of several: a label's name and value.
    pub label: Option<(&'static str, String)>,
    /// The number.
    pub value: Value,
}

/// What a [`Sample`] says.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// It only rises, until `srst`.
    Counter(u64),
    /// It stands for the present.
    Gauge(i64),
    /// A fraction that stands for the present.
    Ratio(f64),
    /// A fraction that only rises.
    Total(f64),
    /// Measurements.
    Distribution(Distribution),
    /// Words, for people.
    Text(String),
}

/// The label by which Apache tells the members of a set apart (`PrometheusMetricsProvider`).
pub const KEY: &str = "key";

/// The measurements of a [`Summary`] or [`Timing`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Distribution {
    /// How many.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// The smallest; 0 without any.
    pub min: f64,
    /// The largest; 0 without any.
    pub max: f64,
    /// What these [`QUANTILES`] do not exceed, at most an eighth too high; `None` where only the rest is told.
    pub quantiles: Option<[f64; 4]>,
}

/// The quantiles of a [`Distribution`].
pub const QUANTILES: [f64; 4] = [0.5, 0.95, 0.99, 0.999];

impl Distribution {
    /// The mean; 0 without any measurement.
    pub fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum / self.count as f64 }
    }
}

impl Sample {
    /// A number without a label.
    pub fn new(name: impl Into<Cow<'static, str>>, help: &'static str, value: Value) -> Self {
        Self { name: name.into(), help, label: None, value }
    }

    /// One that stands for the present.
    pub fn gauge(name: &'static str, help: &'static str, value: impl TryInto<i64>) -> Self {
        Self::new(name, help, Value::Gauge(value.try_into().unwrap_or(i64::MAX)))
    }

    /// One that only rises.
    pub fn counter(name: &'static str, help: &'static str, value: u64) -> Self {
        Self::new(name, help, Value::Counter(value))
    }

    /// Words.
    pub fn text(name: &'static str, value: impl Into<String>) -> Self {
        Self::new(name, "", Value::Text(value.into()))
    }

    /// The same for one of several.
    #[must_use]
    pub fn labelled(self, name: &'static str, value: impl Into<String>) -> Self {
        Self { label: Some((name, value.into())), ..self }
    }
}

/// Declares a struct of numbers. Each field is a [`Cell`]; its name is the metric's name and its documentation the
/// help text. The struct gets `samples`, which tells all of them in the order of the fields, and `reset`.
///
/// ```
/// palisade_admin::metrics! {
///     /// What a door counts.
///     pub struct Door {
///         /// People who came in.
///         palisade_entered: Counter,
///         /// How long the door stood open, ms.
///         palisade_open_time: Timing,
///     }
/// }
/// let door = Door::default();
/// door.palisade_entered.inc();
/// assert_eq!(door.samples()[0].name, "palisade_entered");
/// ```
#[macro_export]
macro_rules! metrics {
    (
        $(#[$meta:meta])*
        $visibility:vis struct $name:ident {
            $($(#[doc = $help:literal])+ $field:ident: $cell:ident,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Default)]
        $visibility struct $name {
            $($(#[doc = $help])+ pub $field: $crate::metric::$cell,)*
        }

        impl $name {
            /// All of them, in the order of their declaration.
            $visibility fn samples(&self) -> Vec<$crate::metric::Sample> {
                use $crate::metric::Cell as _;
                vec![$($crate::metric::Sample::new(
                    stringify!($field),
                    concat!($($help),+).trim_ascii(),
                    self.$field.value(),
                ),)*]
            }

            /// Starts again from nothing, but for what stands for the present.
            $visibility fn reset(&self) {
                use $crate::metric::Cell as _;
                $(self.$field.reset();)*
            }
        }
    };
}
