//! What others and a connection's own task change in turn, behind the client's lock.

use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use palisade_watch::{Budget, Released};
use palisade_wire::{Id, SessionId, Zxid};
use tokio::time::Instant as Clock;

use super::super::lease::Lease;
use super::super::outbox::{CloseReason, End, Outbox};
use super::super::pending::{Charge, Pending};
use super::super::pipeline::{Front, Job, Pipeline};
use super::{Sink, Verdict};

/// Pieces that one system call writes.
const SLICES: usize = 32;

/// What the lock protects.
#[derive(Debug)]
pub(in crate::edge) struct State {
    pub(in crate::edge) outbox: Outbox,
    /// Where it goes; `None` before the handshake is over and after the connection's end.
    pub(super) sink: Option<Sink>,
    /// Whether somebody else than the connection's task wrote to the client since this was last asked.
    pub(super) written: bool,
    pub(in crate::edge) pipeline: Pipeline,
    /// Who the client is; a request takes the identities that it came with along.
    pub(in crate::edge) ids: Arc<[Id]>,
    /// 0 until the handshake names one.
    pub(in crate::edge) session: SessionId,
    /// The highest zxid that an answer told.
    pub(super) last_zxid: Zxid,
    /// Syncs on their way that shall show what the session did elsewhere.
    pub(in crate::edge) fences: u32,
    /// What the core said about the session, not yet looked at.
    pub(in crate::edge) verdict: Option<Verdict>,
    /// Whether the handshake is over: events and endings of the session concern this connection.
    pub(in crate::edge) established: bool,
    /// Whether the connection has ended.
    pub(in crate::edge) gone: bool,
    /// Whether it was told what its persistent watches missed.
    pub(super) caught_up: bool,
    /// For how long it may be written to, if that depends on what the core knows of the session.
    pub(in crate::edge) lease: Option<Box<Lease>>,
    /// Its part of what all connections hold.
    charge: Charge,
    /// What large data that others are sent, too, counts for.
    shared: u32,
}

/// How things stand with a connection.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::edge) struct Standing {
    /// Whether and how it ends.
    pub ending: Option<End>,
    /// Bytes that the socket has not taken.
    pub unsent: usize,
    /// Whether they wait for the core to have heard of the session.
    pub is_held: bool,
    /// Whether one more request may be taken in.
    pub has_room: bool,
    /// Requests that the link has.
    pub in_flight: usize,
    /// Whether something was left that can be done at once.
    pub unfinished: bool,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::edge) struct Flushed {
    /// Bytes.
    pub bytes: usize,
    /// Bytes of events that are written to their end now.
    pub events: usize,
    /// What held events were let go.
    pub released: Released,
}

impl State {
    /// Of a connection whose handshake has begun.
    pub(super) fn new(budget: Arc<Budget>, ids: Arc<[Id]>) -> Self {
        Self {
            outbox: Outbox::new(budget, CloseReason::SlowReader),
            sink: None,
            written: false,
            pipeline: Pipeline::default(),
            ids,
            session: 0,
            last_zxid: Zxid::ZERO,
            fences: 0,
            verdict: None,
            established: false,
            gone: false,
            caught_up: false,
            lease: None,
            charge: Charge::default(),
            shared: 0,
        }
    }

    /// Writes as much as is taken at once, and as the session's lease allows. Empty buffers of more than `keep` bytes are
    /// given back.
    pub(in crate::edge) fn flush(&mut self, keep: usize) -> io::Result<Flushed> {
        let Self { outbox, sink, lease, .. } = self;
        outbox.release_due();
        let Some(sink) = sink else { return Ok(Flushed::default()) };
        if let Some(lease) = lease {
            if outbox.unsent() == 0 {
                lease.release();
            } else if !lease.allows(Clock::now().into_std()) {
                return Ok(Flushed::default());
            }
        }
        let (mut bytes, before) = (0, outbox.event_bytes());
        while outbox.unsent() > 0 {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let filled = outbox.unsent_slices(&mut slices);
            match sink.try_write(&slices[..filled]) {
                Ok(n) => {
                    outbox.sent(n);
                    bytes += n;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            }
        }
        outbox.give_back(keep);
        Ok(Flushed { bytes, events: before - outbox.event_bytes(), released: outbox.take_released() })
    }

    /// Whether what is unsent waits for the lease.
    pub(in crate::edge) fn is_held(&self) -> bool {
        self.lease.as_ref().is_some_and(|lease| lease.is_holding())
    }

    /// What the connection's task goes by until it is told of a change.
    pub(in crate::edge) fn standing(&self, max_requests: usize, high_water: usize) -> Standing {
        Standing {
            ending: self.outbox.ending(),
            unsent: self.outbox.unsent(),
            is_held: self.is_held(),
            has_room: self.has_room(max_requests, high_water),
            in_flight: self.pipeline.in_flight(),
            unfinished: false,
        }
    }

    /// Whether one more request may be taken in.
    pub(in crate::edge) fn has_room(&self, max_requests: usize, high_water: usize) -> bool {
        self.outbox.ending().is_none()
            && self.outbox.unsent() < high_water
            && self.pipeline.len() < max_requests
            && self.pipeline.held() < high_water
    }

    /// Counts what waits here. The connection ends if too much of it is answers while all connections have too much.
    pub(in crate::edge) fn settle(&mut self, pending: &Pending) {
        if self.outbox.unsent() == 0 {
            self.shared = 0;
        }
        let unread = self.outbox.reply_bytes() + self.shared as usize;
        pending.settle(&mut self.charge, unread + self.pipeline.held());
        if pending.is_too_much(unread) {
            self.outbox.end(End::Now(CloseReason::Unread));
            pending.settle(&mut self.charge, 0);
        }
    }

    /// Nothing waits here any more.
    pub(in crate::edge) fn give_up(&mut self, pending: &Pending) {
        self.pipeline.clear();
        // What it holds must not be taken for that of the slot's next owner.
        self.outbox.end(End::Now(CloseReason::Gone));
        pending.settle(&mut self.charge, 0);
    }

    /// Whether what waits here is counted.
    pub(super) const fn is_charged(&self) -> bool {
        !self.charge.is_none()
    }

    /// Queues answers, the last of which told this zxid.
    pub(in crate::edge) fn append(&mut self, frames: &mut BytesMut, told: Zxid) {
        self.outbox.append(frames);
        self.last_zxid = self.last_zxid.max(told);
    }

    /// The same with large data between `frames` and what comes `behind` it.
    pub(in crate::edge) fn append_around(
        &mut self,
        frames: &mut BytesMut,
        (data, share): (Bytes, usize),
        behind: &[u8],
        told: Zxid,
    ) {
        self.append(frames, told);
        self.shared = self.shared.saturating_add(u32::try_from(share).unwrap_or(u32::MAX));
        self.outbox.append_shared(data);
        self.outbox.reply(|out| out.extend_from_slice(behind));
    }

    /// The next request for the core. None once the connection ends: behind a write that was lost, no later one of
    /// the session may take effect.
    pub(in crate::edge) fn next_for_core(&mut self) -> Option<(u64, &Job)> {
        if self.outbox.ending().is_some() {
            return None;
        }
        self.pipeline.peek_unsent().map(|(tag, job)| (tag, &*job))
    }

    /// Moves finished replies at the head of the line to the outbox, and takes the next request for the replica
    /// off the line if it is its turn.
    pub(in crate::edge) fn next_local(&mut self) -> Option<Job> {
        while self.outbox.ending().is_none() {
            match self.pipeline.pop()? {
                Front::Local(job) => return Some(job),
                Front::Done { reply, last } => {
                    let told = &mut self.last_zxid;
                    self.outbox.reply(|out| {
                        let start = out.len();
                        out.extend_from_slice(&reply);
                        *told = raise_zxid(&mut out[start..], *told);
                    });
                    if last {
                        self.pipeline.clear();
                        self.outbox.end(End::AfterFlush(CloseReason::Refused));
                    }
                }
            }
        }
        None
    }
}

/// A reply that waited behind others must not tell less than theirs did. Special zxids stay. Returns the highest zxid
/// told so far.
fn raise_zxid(frame: &mut [u8], least: Zxid) -> Zxid {
    const AT: usize = 4 + 4;
    let Some(zxid) = frame.get_mut(AT..).and_then(|rest| rest.first_chunk_mut::<8>()) else { return least };
    let told = i64::from_be_bytes(*zxid);
    if (1..least.0).contains(&told) {
        *zxid = least.0.to_be_bytes();
    }
    least.max(Zxid(told))
}

#[cfg(test)]
mod tests {
    use palisade_wire::ErrorCode;

    use super::*;
    use crate::exec::write_header;

    #[test]
    fn only_ordinary_zxids_are_raised() {
        for (zxid, raised) in [(5, 7), (7, 7), (9, 9), (0, 0), (-1, -1)] {
            let (mut frame, mut expected) = (BytesMut::new(), BytesMut::new());
            write_header(&mut frame, 3, Zxid(zxid), ErrorCode::OK);
            write_header(&mut expected, 3, Zxid(raised), ErrorCode::OK);
            assert_eq!(raise_zxid(&mut frame, Zxid(7)), Zxid(zxid.max(7)));
            assert_eq!(frame, expected, "{zxid}");
        }
    }
}
