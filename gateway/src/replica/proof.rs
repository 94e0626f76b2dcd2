//! Up to when a replica on disk is known to be complete.
//!
//! The moment is written down by two clocks, as a gateway that starts again must not take its replica for younger than it
//! is. The wall clock may be set. That of the machine's uptime is not, but begins again with the machine, or with a
//! container that has one of its own. The older of the two answers counts, and one that goes back says nothing.

use std::fs;
use std::time::Duration;

use palisade_admin::system::wall_clock;
use palisade_wire::Zxid;

/// A moment.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Moment {
    /// Since 1970.
    wall: Duration,
    /// Since the machine's start, and which start that was, where that is known.
    uptime: Option<(Duration, String)>,
}

impl Moment {
    fn now() -> Self {
        let read = |path| fs::read_to_string(path).ok();
        let uptime = || {
            let seconds = read("/proc/uptime")?.split(' ').next()?.parse().ok()?;
            let start = read("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
            Some((Duration::try_from_secs_f64(seconds).ok()?, start))
        };
        let wall = wall_clock();
        Self { wall, uptime: uptime() }
    }

    fn earlier(self, by: Duration) -> Self {
        let uptime = self.uptime.and_then(|(uptime, start)| Some((uptime.checked_sub(by)?, start)));
        Self { wall: self.wall.saturating_sub(by), uptime }
    }

    /// How long ago this was, at least.
    fn age(&self, now: &Self) -> Option<Duration> {
        let wall = now.wall.checked_sub(self.wall);
        match (&self.uptime, &now.uptime) {
            (Some((then, start)), Some((now, same))) if start == same => {
                let uptime = now.checked_sub(*then)?;
                Some(wall.map_or(uptime, |wall| wall.max(uptime)))
            }
            _ => wall,
        }
    }
}

/// All that was committed before a moment is in every replica that has this transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proof {
    zxid: Zxid,
    at: Moment,
}

impl Proof {
    /// The replica has this transaction, and all that was committed up to `age` ago.
    pub(crate) fn new(zxid: Zxid, age: Duration) -> Self {
        Self { zxid, at: Moment::now().earlier(age) }
    }

    /// As a file's content.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let Self { zxid, at: Moment { wall, uptime } } = self;
        let mut text = format!("{} {}", zxid.0, wall.as_millis());
        if let Some((uptime, start)) = uptime {
            text += &format!(" {} {start}", uptime.as_millis());
        }
        text.into_bytes()
    }

    fn decode(text: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(text).ok()?.split_ascii_whitespace();
        let zxid = Zxid(words.next()?.parse().ok()?);
        let mut millis = || Some(Duration::from_millis(words.next()?.parse().ok()?));
        let (wall, uptime) = (millis()?, millis());
        let uptime = uptime.and_then(|uptime| Some((uptime, words.next()?.to_owned())));
        Some(Self { zxid, at: Moment { wall, uptime } })
    }

    /// How old a replica is that has everything up to `last` on disk, by what was written there.
    pub(crate) fn age_of(last: Zxid, written: Option<&[u8]>) -> Option<Duration> {
        let proof = Self::decode(written?)?;
        if last < proof.zxid { None } else { proof.at.age(&Moment::now()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn moment(wall: u64, uptime: Option<(Duration, String)>) -> Moment {
        Moment { wall: Duration::from_secs(wall), uptime }
    }

    fn since(start: &str, seconds: u64) -> Option<(Duration, String)> {
        Some((Duration::from_secs(seconds), start.to_owned()))
    }

    #[test]
    fn what_is_written_is_read_again_and_nothing_else() {
        for uptime in [None, since("e2c6-11", 77)] {
            let proof = Proof { zxid: Zxid(0x5_0000_0007), at: moment(1_700_000_000, uptime) };
            assert_eq!(Proof::decode(&proof.encode()), Some(proof));
        }
        for garbage in [&b""[..], b"7", b"x 7", b"7 -1", &[0xff; 9]] {
            assert_eq!(Proof::decode(garbage), None, "{garbage:?}");
        }
    }

    #[test]
    fn the_older_answer_counts_and_a_clock_that_goes_back_says_nothing() {
        let then = moment(1_000, since("a", 500));
        for (wall, uptime, age) in [
            (1_060, since("a", 560), Some(60)),
            (1_900, since("a", 560), Some(900)),
            (1_060, since("a", 580), Some(80)),
            (900, since("a", 560), Some(60)),
            (1_060, since("b", 5), Some(60)),
            (900, since("b", 5), None),
            (1_060, None, Some(60)),
            // A container's own uptime.
            (1_060, since("a", 5), None),
        ] {
            let found = then.age(&moment(wall, uptime.clone()));
            assert_eq!(found.map(|age| age.as_secs()), age, "{wall} {uptime:?}");
        }
    }

    #[test]
    fn a_replica_that_lost_transactions_has_no_proof() {
        let written = Proof::new(Zxid(7), Duration::from_secs(20)).encode();
        assert!(Proof::age_of(Zxid(7), Some(&written)) >= Some(Duration::from_secs(20)));
        assert_eq!(Proof::age_of(Zxid(6), Some(&written)), None);
        assert_eq!(Proof::age_of(Zxid(6), None), None);
    }
}
