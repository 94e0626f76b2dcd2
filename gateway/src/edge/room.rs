//! Room for large requests: what all connections together hold of those that are on their way in, and of the answers
//! to them that are not read, is bounded. Otherwise thousands of clients that come back at once, each with a list of its
//! watches, would take all memory.

use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::PollSemaphore;

/// Requests up to this size need no room, bytes.
pub(super) const LARGE: usize = 64 << 10;
/// Room is counted in these, bytes.
const UNIT: usize = 1 << 10;

/// What needs room. Each has a half, so that who is slow with a long list of watches keeps nobody from writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Watches that are registered again.
    Watches,
    /// Whatever else there is.
    Other,
}

/// The room of all connections together.
#[derive(Debug)]
pub(super) struct Rooms {
    watches: Pool,
    other: Pool,
}

#[derive(Debug)]
struct Pool {
    semaphore: Arc<Semaphore>,
    total: u32,
    /// Whoever waits has one.
    waiters: Arc<()>,
}

impl Rooms {
    /// So many bytes.
    pub(super) fn new(bytes: usize) -> Self {
        Self { watches: Pool::new(bytes / 2), other: Pool::new(bytes / 2) }
    }

    const fn pool(&self, purpose: Purpose) -> &Pool {
        match purpose {
            Purpose::Watches => &self.watches,
            Purpose::Other => &self.other,
        }
    }

    /// Whether nobody has any.
    #[cfg(test)]
    pub(super) fn are_free(&self) -> bool {
        [&self.watches, &self.other]
            .iter()
            .all(|pool| pool.semaphore.available_permits() == pool.total as usize)
    }
}

impl Pool {
    fn new(bytes: usize) -> Self {
        let total = units(bytes, u32::MAX);
        let semaphore = Arc::new(Semaphore::new((total as usize).min(Semaphore::MAX_PERMITS)));
        Self { semaphore, total, waiters: Arc::default() }
    }

    fn is_waited_for(&self) -> bool {
        Arc::strong_count(&self.waiters) > 1
    }
}

fn units(bytes: usize, most: u32) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).min(most)
}

/// One connection's part of it.
#[derive(Debug)]
pub(super) enum Room {
    /// It waits for its turn.
    Waiting {
        /// The line.
        line: PollSemaphore,
        /// How much it needs.
        units: u32,
        /// What for.
        purpose: Purpose,
        /// Counts.
        _waiter: Arc<()>,
    },
    /// It has some.
    Taken {
        /// Given back with this.
        _permit: OwnedSemaphorePermit,
        /// What for.
        purpose: Purpose,
        /// Whether all of the request is there.
        is_whole: bool,
        /// When its owner must be done if others wait.
        until: Instant,
    },
}

impl Room {
    /// Waits for room of `len` bytes, unless it is there. In the order in which it is asked for.
    pub(super) fn poll(
        room: &mut Option<Box<Self>>,
        rooms: &Rooms,
        (len, purpose): (usize, Purpose),
        patience: Duration,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let waiting = || {
            let pool = rooms.pool(purpose);
            let line = PollSemaphore::new(Arc::clone(&pool.semaphore));
            let _waiter = Arc::clone(&pool.waiters);
            Box::new(Self::Waiting { line, units: units(len, pool.total), purpose, _waiter })
        };
        let room = room.get_or_insert_with(waiting);
        if let Self::Waiting { line, units, purpose, .. } = &mut **room
            && let Some(permit) = ready!(line.poll_acquire_many(cx, *units))
        {
            let (purpose, until) = (*purpose, Instant::now() + patience);
            **room = Self::Taken { _permit: permit, purpose, is_whole: false, until };
        }
        Poll::Ready(())
    }

    /// All of the request is there.
    pub(super) fn is_filled(&mut self) {
        if let Self::Taken { is_whole, .. } = self {
            *is_whole = true;
        }
    }

    /// Whether it is needed no more once the answers are read.
    pub(super) const fn is_done(&self) -> bool {
        matches!(self, Self::Taken { is_whole: true, .. })
    }

    /// Whether it is waited for.
    pub(super) const fn is_waiting(&self) -> bool {
        matches!(self, Self::Waiting { .. })
    }

    /// When [`Self::is_overdue`] is to be asked.
    pub(super) const fn until(&self) -> Option<Instant> {
        match self {
            Self::Waiting { .. } => None,
            Self::Taken { until, .. } => Some(*until),
        }
    }

    /// Whether it is taken for longer than it may be, as others wait. If none do, there is some more time.
    pub(super) fn is_overdue(&mut self, rooms: &Rooms, now: Instant, patience: Duration) -> bool {
        match self {
            Self::Taken { until, purpose, .. } if *until <= now => {
                *until = now + patience;
                rooms.pool(*purpose).is_waited_for()
            }
            _ => false,
        }
    }
}
