//! The rate at which clients get sessions: after a crash all of them come at once, and those who had a session go first.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Hands out turns. Those of renewals are `1 / renewals` apart; a new session's comes behind all renewals that wait.
#[derive(Debug)]
pub(super) struct Pace {
    turns: Mutex<Turns>,
    renewal: Duration,
    creation: Duration,
}

#[derive(Debug)]
struct Turns {
    renewal: Instant,
    creation: Instant,
}

impl Pace {
    /// So many a second.
    pub(super) fn new(renewals: u32, creations: u32) -> Self {
        let now = Instant::now();
        let apart = |rate: u32| Duration::from_secs(1) / rate.max(1);
        let turns = Mutex::new(Turns { renewal: now, creation: now });
        Self { turns, renewal: apart(renewals), creation: apart(creations) }
    }

    /// When it is the turn of one more client, unless that is after `deadline`.
    pub(super) fn turn(&self, is_new: bool, now: Instant, deadline: Instant) -> Option<Instant> {
        let Turns { renewal, creation } = &mut *self.turns.lock();
        let turn = if is_new { now.max(*renewal).max(*creation) } else { now.max(*renewal) };
        if turn > deadline {
            return None;
        }
        if is_new {
            *creation = turn + self.creation;
        } else {
            *renewal = turn + self.renewal;
        }
        Some(turn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn renewals_go_before_new_sessions_and_both_at_their_rate() {
        let (pace, now) = (Pace::new(10, 2), Instant::now());
        let deadline = now + Duration::from_millis(1_000);
        let turn = |is_new| pace.turn(is_new, now, deadline).map(|turn| (turn - now).as_millis());
        assert_eq!([turn(false), turn(false), turn(false)], [Some(0), Some(100), Some(200)]);
        assert_eq!([turn(true), turn(true)], [Some(300), Some(800)]);
        assert_eq!(turn(false), Some(300), "no new session holds it up");
        assert_eq!(turn(true), None, "after the deadline");
        let later = now + Duration::from_secs(10);
        assert_eq!(pace.turn(true, later, later), Some(later));
    }
}
