//! Keeps what strangers can cause from filling the log.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Lines per second, on average.
const RATE: f64 = 1.0;
/// Lines at once.
const BURST: f64 = 10.0;

/// A token bucket for log lines that count those held back.
#[derive(Debug)]
pub(crate) struct LogGate {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    tokens: f64,
    refilled: Instant,
    held_back: u64,
}

impl Default for LogGate {
    fn default() -> Self {
        Self { state: Mutex::new(State { tokens: BURST, refilled: Instant::now(), held_back: 0 }) }
    }
}

impl LogGate {
    /// Whether to log now, and if so how many lines were held back since the last one.
    pub(crate) fn pass(&self) -> Option<u64> {
        self.pass_at(Instant::now())
    }

    fn pass_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock();
        let passed: Duration = now.saturating_duration_since(state.refilled);
        state.tokens = (state.tokens + passed.as_secs_f64() * RATE).min(BURST);
        state.refilled = now;
        if state.tokens < 1.0 {
            state.held_back += 1;
            return None;
        }
        state.tokens -= 1.0;
        Some(std::mem::take(&mut state.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_one_a_second_with_the_count_of_the_others() {
        let gate = LogGate::default();
        let start = Instant::now();
        let passed = (0..25).filter(|_| gate.pass_at(start).is_some()).count();
        assert_eq!(passed, BURST as usize);
        assert_eq!(gate.pass_at(start + Duration::from_secs(1)), Some(15));
        assert_eq!(gate.pass_at(start + Duration::from_secs(1)), None);
    }
}
