//! Every mistake in a [`Config`], found at once.

use std::fmt;
use std::time::Duration;

use palisade_fair::MAX_WEIGHT;

use crate::config::Config;

/// One setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where it stands in [`Config`], as a dotted path.
    pub key: &'static str,
    /// What it is and what is allowed.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)
    }
}

impl Config {
    /// Checks every setting by itself and against the others.
    ///
    /// # Errors
    /// All mistakes, in the order of the fields; never an empty list.
    pub fn validate(&self) -> Result<(), Vec<Mistake>> {
        let mut found = Found(Vec::new());
        self.check_member(&mut found);
        self.check_storage(&mut found);
        self.check_timing(&mut found);
        self.check_fairness(&mut found);
        self.check_together(&mut found);
        self.check_limits(&mut found);
        if found.0.is_empty() { Ok(()) } else { Err(found.0) }
    }

    fn check_member(&self, found: &mut Found) {
        found.range("sid", self.sid, 1, 254);
        found.require(
            "sid",
            self.ensemble.is_voter(self.sid),
            format_args!("{} is not a participant in the member list", self.sid),
        );
    }

    fn check_storage(&self, found: &mut Found) {
        let s = &self.storage;
        found.require("storage.data_dir", !s.data_dir.as_os_str().is_empty(), "must be set");
        found.range("storage.snap_count", s.snap_count, 2, u32::MAX);
        found.range("storage.snap_size_limit", s.snap_size_limit, 1 << 20, u64::MAX);
        found.range("storage.log_preallocation", s.log_preallocation, 0, 1 << 30);
        found.range("storage.purge_retain", s.purge_retain, 3, usize::MAX);
        found.require(
            "storage.purge_interval",
            s.purge_interval != Some(Duration::ZERO),
            "must be longer than 0; leave it out to never purge",
        );
    }

    fn check_timing(&self, found: &mut Found) {
        let t = &self.timing;
        found.range("timing.tick", t.tick.as_millis(), 1, 60_000);
        found.range("timing.init_limit", t.init_limit, 1, 10_000);
        found.range("timing.sync_limit", t.sync_limit, 1, 10_000);
        found.range("timing.connect_timeout", t.connect_timeout.as_millis(), 10, 600_000);
        let (min, max) = (self.min_session_timeout(), self.max_session_timeout());
        found.require(
            "sessions.min_timeout",
            min <= max && !min.is_zero(),
            format_args!("{min:?} must be above 0 and at most sessions.max_timeout, which is {max:?}"),
        );
        found.range("sessions.max_timeout", max.as_millis(), 1, i32::MAX as u128);
        found.require(
            "sessions.container_check_interval",
            !self.sessions.container_check_interval.is_zero(),
            "must be longer than 0",
        );
        found.range("sessions.container_max_per_minute", self.sessions.container_max_per_minute, 1, u32::MAX);
    }

    fn check_fairness(&self, found: &mut Found) {
        let f = &self.fairness;
        found.range("fairness.in_flight", f.in_flight, 1, 100_000);
        found.range("fairness.in_flight_bytes", f.in_flight_bytes, 64 << 10, 1 << 30);
        for (sid, weight) in &f.weights {
            found.require(
                "fairness.weights",
                (1..=254).contains(sid) && (1..=MAX_WEIGHT).contains(weight),
                format_args!(
                    "{sid} = {weight}: give a gateway's id (1 to 254) and its weight (1 to {MAX_WEIGHT})"
                ),
            );
        }
    }

    fn check_together(&self, found: &mut Found) {
        let f = &self.fairness;
        for (sid, first) in &f.together_with {
            let are_ids = (1..=254).contains(sid) && (1..=254).contains(first);
            let is_chain = f.together_with.contains_key(first);
            let is_weighed = f.weights.contains_key(sid);
            found.require(
                "fairness.together_with",
                are_ids && !is_chain && !is_weighed,
                format_args!(
                    "{sid} = {first}: give ids of gateways (1 to 254); the first has no weight of its own, and the second \
                     is together with no other"
                ),
            );
        }
    }

    fn check_limits(&self, found: &mut Found) {
        let l = &self.limits;
        found.range("limits.jute_max_buffer", l.jute_max_buffer, 1024, 256 << 20);
        found.range("limits.commit_log_count", l.commit_log_count, 500, 10_000_000);
        found.range("limits.commit_log_bytes", l.commit_log_bytes, 1 << 20, usize::MAX);
        found.range(
            "limits.learner_backlog_bytes",
            l.learner_backlog_bytes,
            l.jute_max_buffer.saturating_mul(4),
            usize::MAX,
        );
        found.range("limits.max_learners", l.max_learners, 1, 100_000);
        found.range("limits.max_unidentified", l.max_unidentified, 1, 100_000);
        found.range("limits.identify_timeout", l.identify_timeout.as_millis(), 10, 600_000);
        found.range("limits.max_admin_connections", l.max_admin_connections, 1, 100_000);
    }
}

struct Found(Vec<Mistake>);

impl Found {
    fn require(&mut self, key: &'static str, holds: bool, otherwise: impl fmt::Display) {
        if !holds {
            self.0.push(Mistake { key, message: otherwise.to_string() });
        }
    }

    fn range<T: PartialOrd + fmt::Display>(&mut self, key: &'static str, value: T, min: T, max: T) {
        let holds = min <= value && value <= max;
        self.require(key, holds, format_args!("{value} is not within {min} and {max}"));
    }
}

#[cfg(test)]
mod tests {
    use palisade_zab::Ensemble;

    use super::*;

    fn config() -> Config {
        let ensemble = Ensemble::parse("server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2:observer").unwrap();
        Config::new(1, ensemble, "/data")
    }

    #[test]
    fn weights_are_checked_one_by_one() {
        let mut config = config();
        config.fairness.weights.extend([(101, 4), (0, 4), (102, 0), (103, 1_001), (104, 1_000)]);
        let mistakes = config.validate().unwrap_err();
        let told: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told[1].starts_with("fairness.weights: 102 = 0: give"), "{told:?}");
    }

    #[test]
    fn gateways_share_with_one_that_shares_with_none() {
        let mut config = config();
        config.fairness.weights.extend([(101, 4), (104, 2)]);
        config.fairness.together_with.extend([(102, 101), (103, 102), (104, 101), (105, 0), (106, 101)]);
        let mistakes = config.validate().unwrap_err();
        let told: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told[0].starts_with("fairness.together_with: 103 = 102: give"), "{told:?}");
    }

    #[test]
    fn defaults_are_valid() {
        assert_eq!(config().validate(), Ok(()));
    }

    #[test]
    fn all_mistakes_are_told_at_once_with_key_and_range() {
        let mut config = config();
        config.sid = 3;
        config.storage.data_dir = "".into();
        config.storage.purge_retain = 2;
        config.timing.tick = Duration::from_secs(61);
        config.sessions.min_timeout = Some(Duration::from_secs(9));
        config.sessions.max_timeout = Some(Duration::from_secs(8));
        config.limits.max_learners = 0;
        let told: Vec<_> = config.validate().unwrap_err().iter().map(ToString::to_string).collect();
        let expected = [
            "sid: 3 is not a participant in the member list",
            "storage.data_dir: must be set",
            "storage.purge_retain: 2 is not within 3 and 18446744073709551615",
            "timing.tick: 61000 is not within 1 and 60000",
            "sessions.min_timeout: 9s must be above 0 and at most sessions.max_timeout, which is 8s",
            "limits.max_learners: 0 is not within 1 and 100000",
        ];
        assert_eq!(told, expected);
    }
}
