//! Which sessions were heard: on its way to the leader, and what of it is known to have arrived.
//!
//! A learner tells its leader which sessions were heard in the answers to its pings, and nothing says that such an answer
//! has come. So the gateway asks. A *round* is a packet with all that the leader was not told yet, and a sync behind it.
//! The leader reads a link in order, so its answer to the sync proves that it had taken in all that was sent before. One
//! of Palisade proves, too, that it was in office when it did: it answers once a quorum has said so.
//!
//! What was told and not proven when a link broke may be lost: it is told again on the next.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use palisade_wire::quorum::{PacketType, QuorumPacket, encode_touched};
use palisade_wire::{SessionId, Zxid};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::time::Instant as Clock;

use crate::core_link::{Answer, Requester, Ticket};
use crate::link::contact::Contact;
use crate::link::queue::Queue;

/// Sessions told to the leader in one packet: 768 KiB, less than any peer's packet limit.
const MAX_TOUCHED: usize = 65_536;
/// Rounds begin so soon after one another, if nobody is in need of one.
const EVERY: Duration = Duration::from_millis(500);
/// And so soon if somebody is.
const URGENT: Duration = Duration::from_millis(20);
/// Rounds that the leader may owe an answer to.
const MAX_PENDING: usize = 8;

/// That a session was heard, and which round proves that the leader knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) round: u64,
    pub(crate) at: Instant,
}

/// Somebody who waits for the next round to be answered. Called on the link's task: must not block.
pub(crate) trait Waiter: Send + Sync {
    /// One was answered.
    fn arrived(&self);
}

/// See the module.
#[derive(Default)]
pub(crate) struct Touches {
    inner: Mutex<Inner>,
    /// The last round that was answered; rounds count from 1 on, over all links.
    arrived: AtomicU64,
    /// Whether somebody needs a round soon.
    urgent: AtomicBool,
}

#[derive(Default)]
struct Inner {
    /// Not told yet: timeouts in ms.
    heard: FxHashMap<SessionId, i32>,
    /// Told on the present link, and the round that proves it.
    told: FxHashMap<SessionId, (i32, u64)>,
    /// The last round that was begun.
    begun: u64,
    /// When each that waits for its answer was begun, microseconds on the contact's clock.
    pending: VecDeque<(u64, u64)>,
    waiting: Vec<Arc<dyn Waiter>>,
}

impl Inner {
    fn tell(&mut self) -> Bytes {
        let round = self.begun + 1;
        let some: Vec<_> = self.heard.iter().take(MAX_TOUCHED).map(|(s, t)| (*s, *t)).collect();
        if some.len() == self.heard.len() {
            self.heard.clear();
        }
        for (session, timeout_ms) in &some {
            self.heard.remove(session);
            self.told.insert(*session, (*timeout_ms, round));
        }
        encode_touched(some.into_iter())
    }
}

impl Touches {
    /// A session was heard.
    pub(crate) fn touch(&self, session: SessionId, timeout_ms: i32) -> Heard {
        let mut inner = self.inner.lock();
        inner.heard.insert(session, timeout_ms);
        Heard { round: inner.begun + 1, at: Clock::now().into_std() }
    }

    /// Somebody needs a round soon; whether nobody has said so since the last one.
    pub(crate) fn hurry(&self) -> bool {
        !self.urgent.swap(true, Ordering::Relaxed)
    }

    /// The last round that was answered.
    pub(crate) fn arrived(&self) -> u64 {
        self.arrived.load(Ordering::Acquire)
    }

    /// Tells `waiter` of the next round to be answered after `arrived`; false if there was one already.
    pub(crate) fn wait(&self, arrived: u64, waiter: Arc<dyn Waiter>) -> bool {
        let mut inner = self.inner.lock();
        let waits = self.arrived() == arrived;
        if waits {
            inner.waiting.push(waiter);
        }
        waits
    }

    /// What a ping is answered with.
    pub(crate) fn tell(&self) -> Bytes {
        self.inner.lock().tell()
    }

    /// Begins a round at `now`, microseconds on the contact's clock: its number, and what is to be told first.
    pub(crate) fn begin(&self, now: u64) -> (u64, Vec<Bytes>) {
        self.urgent.store(false, Ordering::Relaxed);
        let mut inner = self.inner.lock();
        let mut packets = Vec::new();
        while !inner.heard.is_empty() {
            packets.push(inner.tell());
        }
        inner.begun += 1;
        let round = inner.begun;
        inner.pending.push_back((round, now));
        (round, packets)
    }

    /// The leader answered this round; when it was begun. `None` if its link broke before.
    pub(crate) fn answered(&self, round: u64) -> Option<u64> {
        let mut inner = self.inner.lock();
        let at = inner.pending.iter().position(|(pending, _)| *pending == round)?;
        let (_, begun) = inner.pending.drain(..=at).next_back()?;
        inner.told.retain(|_, (_, proven_by)| *proven_by > round);
        self.arrived.fetch_max(round, Ordering::Release);
        let waiting = std::mem::take(&mut inner.waiting);
        drop(inner);
        waiting.iter().for_each(|waiter| waiter.arrived());
        Some(begun)
    }

    /// The link broke: what is not proven is told again.
    pub(crate) fn broken(&self) {
        let mut inner = self.inner.lock();
        let Inner { heard, told, pending, .. } = &mut *inner;
        for (session, (timeout_ms, _)) in told.drain() {
            heard.entry(session).or_insert(timeout_ms);
        }
        pending.clear();
    }
}

impl fmt::Debug for Touches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Touches").field("arrived", &self.arrived()).finish_non_exhaustive()
    }
}

/// The rounds of one link.
#[derive(Debug)]
pub(crate) struct Rounds {
    asker: Arc<Asker>,
    due: Clock,
    last: Clock,
}

impl Rounds {
    /// With a leader that may answer for as long as `doubt` without having a quorum any more.
    ///
    /// A leader of Palisade makes sure of its quorum before it answers a sync. One of Apache does not (ZOOKEEPER-1675): it
    /// goes on for as long as it may be out of touch with its quorum without noticing, and an answer proves so much less
    /// of the replica's age.
    pub(crate) fn new(queue: &Queue, doubt: Duration) -> Self {
        let (contact, touches) = (Arc::clone(&queue.contact), Arc::clone(&queue.touches));
        let asker = Asker { contact, touches, doubt, pending: AtomicUsize::new(0) };
        let now = Clock::now();
        Self { asker: Arc::new(asker), last: now, due: now }
    }

    /// When the next is to begin.
    pub(crate) fn due(&self) -> Clock {
        let urgent = self.asker.touches.urgent.load(Ordering::Relaxed) && self.asker.has_room();
        if urgent { self.due.min(self.last + URGENT) } else { self.due }
    }

    /// Begins one if it is time to: what is to be sent at once. The sync behind it is in the queue.
    pub(crate) fn begin(&mut self, queue: &Queue) -> Vec<QuorumPacket> {
        let now = Clock::now();
        if self.due() > now {
            return Vec::new();
        }
        (self.last, self.due) = (now, now + EVERY);
        if !self.asker.has_room() {
            return Vec::new();
        }
        let (round, told) = self.asker.touches.begin(self.asker.contact.now());
        self.asker.pending.fetch_add(1, Ordering::Relaxed);
        queue.own_sync(Ticket::new(Arc::clone(&self.asker) as _, round));
        // It answers no ping, which this zxid says to leaders that count.
        told.into_iter().map(|data| QuorumPacket::new(PacketType::Ping, Zxid(-1), Some(data))).collect()
    }
}

/// Takes the answers; each ticket is tagged with its round.
#[derive(Debug)]
struct Asker {
    contact: Arc<Contact>,
    touches: Arc<Touches>,
    doubt: Duration,
    pending: AtomicUsize,
}

impl Asker {
    fn has_room(&self) -> bool {
        self.pending.load(Ordering::Relaxed) < MAX_PENDING
    }
}

impl Requester for Asker {
    fn answered(&self, round: u64, answer: Answer<'_>) {
        self.pending.fetch_sub(1, Ordering::Relaxed);
        let Answer::Synced { .. } = answer else { return };
        let doubt = u64::try_from(self.doubt.as_micros()).unwrap_or(u64::MAX);
        if let Some(at) = self.touches.answered(round).and_then(|begun| begun.checked_sub(doubt)) {
            self.contact.proves(at);
        }
    }

    fn is_waiting(&self, _round: u64) -> bool {
        false
    }
}

#[cfg(test)]
#[path = "touches_tests.rs"]
mod tests;
