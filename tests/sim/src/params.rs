//! The shape of a run: everything that does not change while it goes on, derived from the seed.

use std::time::Duration;

use palisade_gateway::Config;
use palisade_gateway::config::Pacing;
use palisade_gateway::throttle::config::{Limit, Mode};

use crate::chance::Chance;

/// Znodes that clients and others deal with.
pub(crate) const PATHS: [&str; 8] = ["/a", "/b", "/c", "/a/x", "/a/y", "/b/x", "/b/x/deep", "/"];

/// What a client is like. Times are virtual milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Habits {
    /// Its session's timeout.
    pub(crate) timeout: u64,
    /// Mean time between two looks around.
    pub(crate) every: u64,
    /// Whether it mostly waits for events.
    pub(crate) lazy: bool,
    /// Whether it writes.
    pub(crate) writes: bool,
    /// Whether the zxids of pings count as seen, as in some versions of the C client.
    pub(crate) counts_pings: bool,
}

impl Habits {
    /// Those of some client.
    pub(crate) fn derive(chance: &mut Chance) -> Self {
        Self {
            timeout: chance.pick(&[1_000, 1_500, 3_000, 6_000]),
            every: chance.pick(&[10, 30, 100]),
            lazy: chance.percent(50),
            writes: chance.percent(60),
            counts_pings: chance.percent(30),
        }
    }
}

/// How a run is set up. Times are virtual milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Params {
    /// Voters.
    pub(crate) voters: usize,
    /// Observers outside of the member list.
    pub(crate) observers: usize,
    /// Length of a tick.
    pub(crate) tick: Duration,
    /// Transactions that a leader keeps to bring learners up to date.
    pub(crate) log_count: usize,
    /// Longest delay of a message.
    pub(crate) max_delay: u64,
    /// Longest time of a disk write.
    pub(crate) max_disk: u64,
    /// Mean time between two requests of clients.
    pub(crate) request_every: u64,
    /// Mean time between two faults.
    pub(crate) fault_every: u64,
    /// The longest time that a leader is left in peace, in runs that are all about elections.
    pub(crate) reign: Option<u64>,
    /// When the faults end.
    pub(crate) faults_until: u64,
    /// How many times in a hundred a voter takes a snapshot between two faults.
    pub(crate) snapshot_percent: u64,
    /// Clients of the gateways.
    pub(crate) clients: usize,
    /// Requests that a gateway gives the leader at a time; with more, sessions take turns.
    pub(crate) window: usize,
    /// Requests that a gateway takes at a time.
    pub(crate) in_flight: usize,
    /// Whether sessions are local until they write.
    pub(crate) local_sessions: bool,
    /// How events are told.
    pub(crate) pacing: Pacing,
}

impl Params {
    /// The set-up of a seed.
    pub(crate) fn derive(chance: &mut Chance) -> Self {
        let drawn = Self {
            voters: chance.pick(&[3, 3, 3, 3, 3, 5, 5, 1, 2, 4]),
            observers: chance.pick(&[0, 1, 1, 2, 2, 3]),
            tick: Duration::from_millis(chance.pick(&[100, 200])),
            log_count: chance.pick(&[1, 5, 50, 10_000]),
            max_delay: chance.pick(&[1, 5, 20, 60]),
            max_disk: chance.pick(&[1, 5, 30, 120]),
            request_every: chance.pick(&[5, 20, 60]),
            fault_every: chance.pick(&[150, 500, 1500]),
            reign: None,
            faults_until: chance.between(5_000, 25_000),
            snapshot_percent: chance.pick(&[0, 10, 40]),
            clients: chance.pick(&[1, 3, 5]),
            window: chance.pick(&[1, 2, 5, 1_000]),
            in_flight: chance.pick(&[4, 20, 4_000, 4_000]),
            local_sessions: chance.percent(70),
            pacing: Pacing { merge: chance.percent(30), ..Self::pacing(chance) },
        };
        if chance.percent(80) {
            return drawn;
        }
        // Where every second server is needed, a wrong choice cannot be mended by others.
        let (voters, reign) = (chance.pick(&[2, 2, 3, 4]), Some(chance.pick(&[200, 600, 1_000])));
        let (tick, observers) = (Duration::from_millis(100), drawn.observers.min(1));
        Self { voters, observers, tick, fault_every: 1_500, reign, ..drawn }
    }

    /// Some pacing: none, or one that holds the events of a few watchers already.
    pub(crate) fn pacing(chance: &mut Chance) -> Pacing {
        Pacing {
            above: chance.index(3),
            rate: chance.pick(&[0, 1, 20, 200, 100_000]),
            window: Duration::from_millis(chance.between(0, 2_000)),
            reread_rate: chance.pick(&[0, 5, 1_000]),
            merge: false,
        }
    }

    /// The longest time for which any pacing holds an event, ms.
    pub(crate) const fn longest_hold(&self) -> u64 {
        2_000
    }

    /// The configuration of a gateway.
    pub(crate) fn gateway(&self, id: i64) -> Config {
        let mut config = Config { id, ..Config::default() };
        config.notifications.pacing = self.pacing;
        config.tenant.name = "sim".to_owned();
        config.sessions.local = self.local_sessions;
        config.sessions.min_timeout = self.tick * 2;
        (config.limits.window, config.limits.in_flight) = (self.window, self.in_flight);
        let off = Limit { mode: Mode::Off, tenant: 0, address: 0, session: 0, prefix: 0 };
        let throttle = &mut config.throttle;
        for limit in [
            &mut throttle.writes,
            &mut throttle.write_bytes,
            &mut throttle.locks,
            &mut throttle.short_locks,
            &mut throttle.lock_parents,
        ] {
            *limit = off;
        }
        config
    }
}
