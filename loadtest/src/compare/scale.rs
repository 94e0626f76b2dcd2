//! How large and how long everything is.

use std::time::Duration;

use clap::ValueEnum;

/// How much time a comparison may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    /// A few sessions, fractions of seconds: shows that everything works, and measures nothing.
    Smoke,
    /// The sizes that the targets are stated for, once or three times; some ten minutes.
    Quick,
    /// The same sizes, five times and longer; somewhat less than an hour.
    Full,
}

/// The sizes and times of a profile.
#[derive(Clone, Debug)]
pub(super) struct Scale {
    /// How often a steady load is measured on each side.
    pub(super) rounds: usize,
    /// How often everything else is measured, each time on servers that have just been started.
    pub(super) fresh_rounds: usize,
    /// Time before a steady load is measured.
    pub(super) warmup: Duration,
    /// Time for which it is measured.
    pub(super) seconds: Duration,
    /// Idle sessions, and how long they idle.
    pub(super) idle: (usize, Duration),
    /// Watching sessions, and watches of each.
    pub(super) watches: (usize, usize),
    /// Znodes in the tree.
    pub(super) znodes: usize,
    /// Watchers of one znode, and its changes.
    pub(super) fanout: (usize, usize),
    /// Sessions that come back, and how often.
    pub(super) storm: (usize, usize),
    /// How long the quorum is lost, and how long the load goes on after that.
    pub(super) outage: (Duration, Duration),
    /// How often the leader is killed, and how long is waited for the next one.
    pub(super) leader_kills: (usize, Duration),
}

impl Profile {
    pub(super) fn scale(self) -> Scale {
        let seconds = Duration::from_secs;
        let millis = Duration::from_millis;
        let quick = Scale {
            rounds: 3,
            fresh_rounds: 1,
            warmup: millis(700),
            seconds: seconds(2),
            idle: (10_000, seconds(7)),
            watches: (200, 5000),
            znodes: 200_000,
            fanout: (10_000, 5),
            storm: (5000, 2),
            outage: (seconds(15), seconds(25)),
            leader_kills: (3, seconds(4)),
        };
        match self {
            Self::Quick => quick,
            Self::Full => Scale {
                rounds: 5,
                fresh_rounds: 5,
                warmup: seconds(2),
                seconds: seconds(5),
                idle: (10_000, seconds(20)),
                fanout: (10_000, 10),
                storm: (5000, 5),
                leader_kills: (5, seconds(5)),
                ..quick
            },
            Self::Smoke => Scale {
                rounds: 1,
                fresh_rounds: 1,
                warmup: millis(50),
                seconds: millis(200),
                idle: (20, millis(300)),
                watches: (5, 50),
                znodes: 500,
                fanout: (20, 2),
                storm: (20, 1),
                outage: (seconds(1), seconds(3)),
                leader_kills: (1, seconds(3)),
            },
        }
    }
}

impl Scale {
    /// The most connections that any experiment opens.
    pub(super) fn most_connections(&self) -> usize {
        [self.idle.0, self.watches.0, self.fanout.0 + 1, self.storm.0].into_iter().max().unwrap_or_default()
    }
}
