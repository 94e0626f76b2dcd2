//! Who waits for room among the requests for the core: first come, first served.
//!
//! Whoever finds none gets a place in line, and is told when it is his turn. What then is free is kept for those who were
//! told, and nobody who comes later takes it. What lets go of something has a line of its own, as it has room of its own.
//!
//! A session that has requests in the [`Backlog`](super::backlog::Backlog) stands in no line: it waits behind itself.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::core_link::Requester;
use crate::link::backlog::is_release;
use crate::link::queue::{Expect, Queue};

/// The line that a request stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    Releases,
    Others,
}

impl Lane {
    pub(super) const fn of(expect: &Expect) -> Self {
        if is_release(expect) { Self::Releases } else { Self::Others }
    }
}

/// Where somebody stands who was refused because of a limit. Given up when dropped.
#[derive(Debug, Default)]
pub(crate) struct Place(Option<Box<Standing>>);

#[derive(Debug)]
enum Standing {
    BehindItself,
    InLine(InLine),
}

#[derive(Debug)]
struct InLine {
    queue: Arc<Queue>,
    lane: Lane,
    cost: usize,
    number: u64,
    /// Whether it is still wanted.
    wanted: bool,
}

impl Place {
    pub(super) const NONE: Self = Self(None);

    pub(super) fn in_line(queue: &Arc<Queue>, lane: Lane, cost: usize, number: u64) -> Self {
        let queue = Arc::clone(queue);
        Self(Some(Box::new(Standing::InLine(InLine { queue, lane, cost, number, wanted: true }))))
    }

    pub(super) fn behind_itself() -> Self {
        Self(Some(Box::new(Standing::BehindItself)))
    }

    /// Whether nothing is waited for.
    pub(super) const fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// Whether what is waited for is an answer to the session's own requests.
    pub(crate) fn is_behind_itself(&self) -> bool {
        matches!(self.0.as_deref(), Some(Standing::BehindItself))
    }

    /// The number in this line.
    pub(super) fn number(&self, lane: Lane) -> Option<u64> {
        match self.0.as_deref()? {
            Standing::InLine(line) if line.lane == lane => Some(line.number),
            _ => None,
        }
    }

    /// Keeps the place for a request of this cost, if it is one in this line.
    pub(super) fn keep(&mut self, lane: Lane, cost: usize) -> Option<u64> {
        match self.0.as_deref_mut()? {
            Standing::InLine(line) if line.lane == lane && line.cost == cost => {
                line.wanted = true;
                Some(line.number)
            }
            _ => None,
        }
    }

    /// From now on, whoever has it must ask again, or loses it by [`Self::leave_unless_wanted`].
    pub(crate) fn doubt(&mut self) {
        match self.0.as_deref_mut() {
            Some(Standing::InLine(line)) => line.wanted = false,
            Some(Standing::BehindItself) => self.0 = None,
            None => {}
        }
    }

    /// Gives the place up to others if it was not asked for again.
    pub(crate) fn leave_unless_wanted(&mut self) {
        if matches!(self.0.as_deref(), Some(Standing::InLine(InLine { wanted: false, .. }))) {
            self.0 = None;
        }
    }
}

impl Drop for InLine {
    fn drop(&mut self) {
        self.queue.leave(self.lane, self.number);
    }
}

/// One line. At most as long as there are connections, as each has one [`Place`].
#[derive(Default)]
pub(super) struct Line {
    places: BTreeMap<u64, Waiting>,
    next: u64,
    /// Everybody with a lower number was told.
    untold: u64,
    /// How many were told and have not come yet.
    promised: usize,
    /// What these bring.
    promised_bytes: usize,
}

struct Waiting {
    who: Arc<dyn Requester>,
    cost: usize,
    told: bool,
}

impl Line {
    /// Whether whoever has `place` need not wait for anybody.
    pub(super) fn lets_pass(&self, place: Option<u64>) -> bool {
        self.places.is_empty() || place.and_then(|n| self.places.get(&n)).is_some_and(|waiting| waiting.told)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Somebody stands at the end of it.
    pub(super) fn join(&mut self, who: Arc<dyn Requester>, cost: usize) -> u64 {
        let number = self.next;
        self.next += 1;
        self.places.insert(number, Waiting { who, cost, told: false });
        number
    }

    /// Somebody leaves it, served or not.
    #[must_use = "who it was may have to be dropped elsewhere"]
    pub(super) fn leave(&mut self, number: u64) -> Option<Arc<dyn Requester>> {
        let waiting = self.places.remove(&number)?;
        self.withdraw(&waiting);
        Some(waiting.who)
    }

    /// There was no room for somebody, who stays where he is.
    pub(super) fn stay(&mut self, number: u64) {
        if let Some(mut waiting) = self.places.remove(&number) {
            self.withdraw(&waiting);
            waiting.told = false;
            self.places.insert(number, waiting);
            self.untold = self.untold.min(number);
        }
    }

    fn withdraw(&mut self, waiting: &Waiting) {
        if waiting.told {
            self.promised -= 1;
            self.promised_bytes -= waiting.cost;
        }
    }

    /// There is room for so many requests with so many bytes: whose turn it is.
    pub(super) fn tell(&mut self, room: usize, bytes: usize, turns: &mut Vec<Arc<dyn Requester>>) {
        for (number, waiting) in self.places.range_mut(self.untold..) {
            if !waiting.told {
                if self.promised >= room || self.promised_bytes + waiting.cost > bytes {
                    return;
                }
                waiting.told = true;
                self.promised += 1;
                self.promised_bytes += waiting.cost;
                turns.push(Arc::clone(&waiting.who));
            }
            self.untold = number + 1;
        }
    }

    /// Nobody waits here any more.
    pub(super) fn dissolve(&mut self, turns: &mut Vec<Arc<dyn Requester>>) {
        turns.extend(std::mem::take(&mut self.places).into_values().map(|waiting| waiting.who));
        (self.promised, self.promised_bytes) = (0, 0);
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("len", &self.places.len()).finish_non_exhaustive()
    }
}
