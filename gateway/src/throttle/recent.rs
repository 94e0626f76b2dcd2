//! A counter in which the past fades.

use std::time::{Duration, Instant};

/// In this time, what happened comes to count half.
const HALF_LIFE: Duration = Duration::from_secs(30);

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recent {
    value: f64,
    at: Instant,
}

impl Recent {
    pub(super) const fn none(at: Instant) -> Self {
        Self { value: 0.0, at }
    }

    /// What is counted, the older the less.
    pub(super) fn value(&self, now: Instant) -> f64 {
        let age = now.saturating_duration_since(self.at).as_secs_f64();
        self.value * (-age / HALF_LIFE.as_secs_f64()).exp2()
    }

    pub(super) fn count(&mut self, now: Instant) {
        *self = Self { value: self.value(now) + 1.0, at: now };
    }

    /// How many a second there were of late.
    pub(super) fn per_s(&self, now: Instant) -> f64 {
        self.value(now) * std::f64::consts::LN_2 / HALF_LIFE.as_secs_f64()
    }
}
