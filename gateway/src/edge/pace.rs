//! The rate at which clients get sessions: after a crash all of them come at once, and those who had a session go first.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Hands out turns. Those of renewals are `1 / renewals` apart; a new session's comes behind all renewals that wait.
#[derive(Debug)]
pub(super) struct Pace {
    renewal: Mutex<Instant>,
    apart: Duration,
}

impl Pace {
    /// So many renewals a second.
    pub(super) fn new(renewals: u32) -> Self {
        Self { renewal: Mutex::new(Instant::now()), apart: Duration::from_secs(1) / renewals.max(1) }
    }

    /// When it is the turn of one more client, unless that is after `deadline`.
    pub(super) fn turn(&self, is_new: bool, now: Instant, deadline: Instant) -> Option<Instant> {
        let mut renewal = self.renewal.lock();
        let turn = now.max(*renewal);
        if turn > deadline {
            return None;
        }
        if !is_new {
            *renewal = turn + self.apart;
        }
        Some(turn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn renewals_go_at_their_rate_and_before_new_sessions() {
        let (pace, now) = (Pace::new(10), Instant::now());
        let deadline = now + Duration::from_millis(450);
        let turn = |is_new| pace.turn(is_new, now, deadline).map(|turn| (turn - now).as_millis());
        assert_eq!([turn(false), turn(false), turn(false)], [Some(0), Some(100), Some(200)]);
        assert_eq!([turn(true), turn(true)], [Some(300), Some(300)]);
        assert_eq!([turn(false), turn(false)], [Some(300), Some(400)], "no new session holds them up");
        assert_eq!([turn(false), turn(true)], [None, None], "after the deadline");
        let later = now + Duration::from_secs(10);
        assert_eq!(pace.turn(true, later, later), Some(later));
    }
}
