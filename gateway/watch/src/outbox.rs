//! Frames on their way to one client.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};

use crate::budget::Budget;
use crate::event::Event;
use crate::herd::{Share, Told};
use crate::pieces::{Piece, Pieces};

/// How a connection ends, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End<R> {
    /// When everything queued is written.
    AfterFlush(R),
    /// Now; what is queued is dropped.
    Now(R),
}

/// What became of an event that was to be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holding {
    /// The connection ends.
    Nothing,
    /// No other is held.
    First,
    /// Others are.
    More,
}

/// Held events that were let go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Released {
    /// How many.
    pub events: usize,
    /// Events of shares that were let go, held or not.
    pub shared: usize,
    /// Since when the eldest of them was held.
    pub since: Duration,
    /// Whether another frame took them along before their time.
    pub early: bool,
}

/// Buffers that grew beyond this are given back once they are empty.
const KEEP: usize = 16 << 10;
/// Places for held events that are kept when there are none.
const KEEP_HELD: usize = 16;

#[derive(Debug)]
enum Held {
    Event(Told),
    Share(Share),
}

/// Frames that the socket has not taken, in the order in which the client will see them, and events that are held back.
///
/// Whoever makes an event or a reply puts it here and goes on: nobody waits for a slow reader. Replies are bounded by
/// their requests, which are not read while much is unsent; events are not, so a reader that is too slow for its own
/// watches is closed (it registers them again, so nothing is skipped).
///
/// A held event leaves before any frame that is put here after it: no reply overtakes it, and so none carries a zxid
/// that would hide it from a client that must register its watches again.
#[derive(Debug)]
pub struct Outbox<R> {
    pieces: Pieces,
    replies: BytesMut,
    /// How many bytes of the first piece are written.
    written: usize,
    unsent: usize,
    held: VecDeque<Held>,
    /// Since when, unless they only wait for somebody to write them.
    held_since: Option<Duration>,
    /// Whether what is held leaves before the next bytes are written.
    due: bool,
    released: Released,
    /// Bytes of events, queued or held.
    events: usize,
    /// How many there may be. Replies do not count: a single one may be larger, and its reader none the slower.
    budget: Arc<Budget>,
    end: Option<End<R>>,
    /// Why the connection of a client ends that does not read.
    slow: R,
}

const NOTHING: Released = Released { events: 0, shared: 0, since: Duration::ZERO, early: false };

impl<R: Copy> Outbox<R> {
    /// An empty one, whose events `budget` limits: beyond, the connection ends as `slow`, since an event is missing.
    pub fn new(budget: Arc<Budget>, slow: R) -> Self {
        Self {
            pieces: Pieces::default(),
            replies: BytesMut::new(),
            written: 0,
            unsent: 0,
            held: VecDeque::new(),
            held_since: None,
            due: false,
            released: NOTHING,
            events: 0,
            budget,
            end: None,
            slow,
        }
    }

    /// Queues an event, behind those that are held. Nothing, once the connection ends.
    pub fn push_event(&mut self, event: &Arc<Event>) {
        self.release_early();
        if self.charge(event) {
            self.queue(Arc::clone(event));
        }
    }

    /// Holds an event back until [`Self::release`] or until another frame is put here. If it is the first that is held,
    /// somebody must release it in time.
    pub fn hold_event(&mut self, told: Told, now: Duration) -> Holding {
        if self.charge(&told.1) { self.hold(Held::Event(told), Some(now)) } else { Holding::Nothing }
    }

    /// The same for a share in events that many hear. Without `since`, it leaves before the next bytes are written.
    pub fn hold_share(&mut self, share: Share, since: Option<Duration>) -> Holding {
        if self.end.is_some() {
            return Holding::Nothing;
        }
        self.due |= since.is_none();
        self.hold(Held::Share(share), since)
    }

    fn hold(&mut self, held: Held, since: Option<Duration>) -> Holding {
        let first = self.held.is_empty();
        self.held_since = self.held_since.or(since);
        self.held.push_back(held);
        if first { Holding::First } else { Holding::More }
    }

    /// Makes events that are held of what was shared so far: what is added to that later is not told.
    pub fn leave_shares(&mut self) {
        let mut events = Vec::new();
        for held in std::mem::take(&mut self.held) {
            match held {
                Held::Event(told) => events.push(told),
                Held::Share(share) => {
                    let first = events.len();
                    share.take(|told| events.push(told.clone()));
                    self.released.shared += events.len() - first;
                    if !events[first..].iter().all(|(_, event)| self.charge(event)) {
                        return;
                    }
                }
            }
        }
        events.sort_unstable_by_key(|(place, _)| *place);
        self.held.extend(events.into_iter().map(Held::Event));
    }

    /// Whether there is room for an event. If not, the connection ends.
    fn charge(&mut self, event: &Event) -> bool {
        let bytes = event.frame().len();
        if self.end.is_some() {
            return false;
        }
        let fits = self.budget.take(self.events, bytes);
        if fits {
            self.events += bytes;
        } else {
            self.end(End::Now(self.slow));
        }
        fits
    }

    fn pay_back(&mut self, bytes: usize) {
        self.budget.give_back(self.events, bytes);
        self.events -= bytes;
    }

    fn queue(&mut self, event: Arc<Event>) {
        self.unsent += event.frame().len();
        self.pieces.push(Piece::Event(event));
    }

    /// Lets what is held go before the next bytes are written; how many events that are, none if it was so already.
    pub fn let_go(&mut self) -> usize {
        if self.held.is_empty() || std::mem::replace(&mut self.due, true) {
            return 0;
        }
        let count = |held: &Held| match held {
            Held::Event(_) => 1,
            Held::Share(share) => share.len(),
        };
        self.held.iter().map(count).sum()
    }

    /// Queues what was let go.
    pub fn release_due(&mut self) {
        if self.due {
            self.release();
        }
    }

    /// Queues what is held; whether there was anything.
    pub fn release(&mut self) -> bool {
        if self.held.is_empty() {
            return false;
        }
        if self.held.iter().any(|held| matches!(held, Held::Share(_))) {
            self.leave_shares();
        }
        self.due = false;
        if let Some(since) = self.held_since.take() {
            if self.released.events == 0 {
                self.released.since = since;
            }
            self.released.events += self.held.len();
        }
        while let Some(held) = self.held.pop_front() {
            if let Held::Event((_, event)) = held {
                self.queue(event);
            }
        }
        if self.held.capacity() > KEEP_HELD {
            self.held = VecDeque::new();
        }
        true
    }

    /// Before another frame.
    fn release_early(&mut self) {
        let due = self.due;
        self.released.early |= self.release() && !due;
    }

    /// Whether a frame may follow what is held, which is queued.
    fn takes_frame(&mut self) -> bool {
        self.release_early();
        self.end.is_none()
    }

    /// What was released since this was last asked.
    pub const fn take_released(&mut self) -> Released {
        std::mem::replace(&mut self.released, NOTHING)
    }

    /// Whether events are held that were not let go.
    pub fn is_holding(&self) -> bool {
        !self.held.is_empty() && !self.due
    }

    /// Queues the frames that `write` appends, behind what is held. Nothing, once the connection ends.
    pub fn reply(&mut self, write: impl FnOnce(&mut BytesMut)) {
        if self.takes_frame() {
            let before = self.replies.len();
            write(&mut self.replies);
            self.queue_replies(self.replies.len() - before);
        }
    }

    /// Moves whole frames from `frames` to the end of the queue, behind what is held. Once the connection ends, they are
    /// only taken away.
    pub fn append(&mut self, frames: &mut BytesMut) {
        if !self.takes_frame() {
            return frames.clear();
        }
        let len = frames.len();
        if self.replies.is_empty() {
            std::mem::swap(&mut self.replies, frames);
        } else {
            self.replies.extend_from_slice(frames);
        }
        frames.clear();
        self.queue_replies(len);
    }

    /// Puts part of a frame to the end of the queue, without copying it. The part before was put there just now.
    pub fn append_shared(&mut self, part: Bytes) {
        if self.end.is_none() && !part.is_empty() {
            self.unsent += part.len();
            self.pieces.push(Piece::Shared(Box::new(part)));
        }
    }

    fn queue_replies(&mut self, len: usize) {
        self.unsent += len;
        match self.pieces.last() {
            Some(Piece::Replies(before)) => *before += len,
            _ if len > 0 => self.pieces.push(Piece::Replies(len)),
            _ => {}
        }
    }

    /// Bytes that the socket has not taken; those of held events do not count.
    pub const fn unsent(&self) -> usize {
        self.unsent
    }

    /// Bytes of replies that the socket has not taken, without parts that others share.
    pub fn reply_bytes(&self) -> usize {
        self.replies.len()
    }

    /// Bytes of events, queued or held, until each is written to its end.
    pub const fn event_bytes(&self) -> usize {
        self.events
    }

    /// The unsent bytes, as many as fit into `slices`; how many slices were filled.
    pub fn unsent_slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let (mut count, mut skip, mut at) = (0, self.written, 0);
        for (piece, slice) in self.pieces.iter().zip(slices) {
            let bytes = match piece {
                Piece::Event(event) => &event.frame()[skip..],
                // The written part of the first piece is cut off already.
                Piece::Shared(rest) => rest,
                Piece::Replies(len) => &self.replies[at..at + len],
            };
            if let Piece::Replies(len) = piece {
                at += len;
            }
            *slice = IoSlice::new(bytes);
            (count, skip) = (count + 1, 0);
        }
        count
    }

    /// The socket took the next `n` of the unsent bytes.
    pub fn sent(&mut self, mut n: usize) {
        self.unsent -= n;
        while n > 0 {
            let done = match self.pieces.first() {
                None => return,
                Some(Piece::Replies(len)) => {
                    let part = n.min(*len);
                    self.replies.advance(part);
                    *len -= part;
                    n -= part;
                    *len == 0
                }
                Some(Piece::Shared(rest)) => {
                    let part = n.min(rest.len());
                    rest.advance(part);
                    n -= part;
                    rest.is_empty()
                }
                Some(Piece::Event(event)) => {
                    let bytes = event.frame().len();
                    let part = n.min(bytes - self.written);
                    self.written += part;
                    n -= part;
                    let done = self.written == bytes;
                    if done {
                        self.written = 0;
                        self.budget.give_back(self.events, bytes);
                        self.events -= bytes;
                    }
                    done
                }
            };
            if done {
                self.pieces.drop_first();
            }
        }
        if self.pieces.is_empty() {
            self.give_back(KEEP);
        }
    }

    /// Gives buffers larger than `keep` back, if they are empty.
    pub fn give_back(&mut self, keep: usize) {
        if self.replies.is_empty() && self.replies.capacity() > keep {
            self.replies = BytesMut::new();
        }
        self.pieces.give_back();
    }

    /// Ends the connection. The first reason stays, but nothing is more urgent than now. What is held leaves before an
    /// orderly end, and what is queued; after an end now nothing leaves at all. What is put here later never does: an answer
    /// behind an event that was dropped would let the client register its watches as of a zxid that hides the event.
    pub fn end(&mut self, end: End<R>) {
        match (self.end, end) {
            (None, End::AfterFlush(_)) => {
                self.release_early();
                self.end = self.end.or(Some(end));
            }
            (None | Some(End::AfterFlush(_)), End::Now(_)) => {
                self.end = Some(end);
                self.pieces = Pieces::default();
                self.held = VecDeque::new();
                (self.held_since, self.due) = (None, false);
                self.replies = BytesMut::new();
                (self.unsent, self.written) = (0, 0);
                self.pay_back(self.events);
            }
            _ => {}
        }
    }

    /// Whether and how the connection ends.
    pub const fn ending(&self) -> Option<End<R>> {
        self.end
    }
}

impl<R> Drop for Outbox<R> {
    fn drop(&mut self) {
        self.budget.give_back(self.events, self.events);
    }
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
