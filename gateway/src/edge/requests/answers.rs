//! Answers from the replica.

use std::cell::Cell;
use std::time::Duration;

use bytes::BytesMut;
use palisade_store::DataTree;
use palisade_wire::request::{Request, SetWatches, xid};
use palisade_wire::{DecodeError, ErrorCode, Id, OpCode, SessionId, Zxid, frame};
use parking_lot::RwLockReadGuard;
use tokio::time::Instant;

use crate::edge::Edge;
use crate::edge::aside::aside;
use crate::edge::client::{Client, HIGH_WATER};
use crate::edge::hub::WATCHES_AT_ONCE;
use crate::edge::outbox::CloseReason;
use crate::exec::{CatchUp, Inset, Local, Past, count_watches, reply_zxid, watched, write_header};
use crate::operations::Run;
use crate::session::Refusal as Refused;
use crate::throttle::config::Refusal;
use crate::throttle::{Progress, Verdict};

/// Replies of this size are given to the outbox before the next read, and the applier gets a chance.
const CHUNK: usize = 64 << 10;
/// Persistent watches that are set again before the replica may change: what they missed is told for all of these together.
const LASTING_AT_ONCE: usize = 10_000;
/// So many watches may be named in any case by a request that sets them again.
const SET_AGAIN: usize = 1 << 20;
/// For more than these, other clients' tasks are moved to another thread.
const ASIDE: usize = 10_000;

/// Answers from the replica, which is locked from the first until they are in the outbox.
pub(super) struct Answers<'a> {
    pub(super) edge: &'a Edge,
    pub(super) client: &'a Client,
    pub(super) session: SessionId,
    tree: Option<RwLockReadGuard<'a, DataTree>>,
    pub(super) out: &'a mut BytesMut,
    pub(super) count: u64,
    last: (OpCode, i32, Zxid),
    now: Instant,
    /// Those of one type that were carried out last.
    run: Run,
    /// Whether there was room for another request, and nothing was queued since.
    pub(super) has_room: bool,
}

impl<'a> Answers<'a> {
    pub(super) fn new(
        edge: &'a Edge,
        (client, session): (&'a Client, SessionId),
        out: &'a mut BytesMut,
        now: Instant,
    ) -> Self {
        let last = (OpCode::Ping, -1, Zxid(-1));
        let run = Run::default();
        Self { edge, client, session, tree: None, out, count: 0, last, now, run, has_room: false }
    }

    /// Answers a request whose turn it is, or says after what time it is to be brought again.
    pub(super) fn read(
        &mut self,
        (xid, op, body): (i32, OpCode, &[u8]),
        ids: &[Id],
        progress: &mut Progress,
    ) -> Option<Duration> {
        let registers = matches!(op, OpCode::SetWatches | OpCode::SetWatches2);
        let watches = if registers { count_watches(body) } else { 0 };
        if watches > self.edge.config.limits.watches.max(SET_AGAIN) {
            self.client.close(CloseReason::TooManyWatches);
            return None;
        }
        // A write comes here to be told that it does not decode.
        let mut is_carried_out = !op.is_write();
        match Request::decode(op, body) {
            Ok(Request::SetWatches(decoded)) if watches > ASIDE => {
                aside(|| self.set_watches(xid, &decoded, ids));
            }
            Ok(Request::SetWatches(decoded)) => self.set_watches(xid, &decoded, ids),
            request => {
                let verdict = self.admits(&request, progress);
                if let Verdict::Wait(time) = verdict {
                    return Some(time);
                }
                self.edge.hub.notifications().reread(self.client);
                if let Verdict::Refuse(refusal) = verdict {
                    is_carried_out = false;
                    self.refuse(xid, refusal);
                } else {
                    self.with_tree(ids, |local, out| local.answer(xid, request, out));
                }
            }
        }
        self.count += 1;
        if is_carried_out {
            self.run.add(op, &self.edge.hub.stats().operations);
        }
        self.last = (op, xid, self.tree.as_ref().map_or(Zxid(-1), |tree| tree.last_zxid()));
        if self.out.len() >= CHUNK {
            self.publish();
        }
        None
    }

    /// Whether limits let the client have the watch that the request asks for, if it does.
    fn admits(&self, request: &Result<Request<'_>, DecodeError>, progress: &mut Progress) -> Verdict {
        let wanted = request.as_ref().ok().and_then(watched);
        wanted.map_or(Verdict::Pass, |watch| self.edge.admits_watch(self.client, watch, progress))
    }

    fn refuse(&mut self, xid: i32, refusal: Refusal) {
        self.edge.hub.metrics().throttled_ops.inc();
        let zxid = self.zxid();
        match refusal.code() {
            Some(code) => write_header(self.out, xid, zxid, code),
            None => self.client.close(CloseReason::Refused),
        }
    }

    /// The state that is told.
    fn zxid(&self) -> Zxid {
        self.tree.as_ref().map_or_else(|| self.edge.replica.last_zxid(), |tree| tree.last_zxid())
    }

    /// In steps, between which the replica may change, so that nobody waits for a client that has very many.
    fn set_watches(&mut self, xid: i32, watches: &SetWatches<'_>, ids: &[Id]) {
        // It may fill the outbox, and it may end the connection.
        self.has_room = false;
        let hub = &self.edge.hub;
        let budget = self.edge.config.limits.outbox_bytes / 2;
        let past = Past { recent: hub.recent(), budget };
        let mut left = CatchUp::new(watches);
        self.publish();
        left.make_ready(past);
        loop {
            let missed = self.with_tree(ids, |local, _| left.register(local, past, LASTING_AT_ONCE));
            hub.count_missed(&missed);
            self.client.catch_up(self.out, missed.events);
            if !left.has_more_to_register() {
                break;
            }
            if !self.publish_much() {
                return;
            }
        }
        if left.covered > 0 {
            hub.metrics().palisade_watches_covered.add(left.covered);
            self.edge.refusals.note(Refused::CoveredWatches, self.client.peer(), self.session);
        }
        while self.with_tree(ids, |local, out| left.step(local, WATCHES_AT_ONCE, out)) {
            if !self.publish_much() {
                return;
            }
        }
        hub.metrics().palisade_watches_refused.add(left.refused);
        self.with_tree(ids, |local, out| {
            write_header(out, xid, reply_zxid(past, watches, local.tree.last_zxid()), ErrorCode::OK);
        });
    }

    fn with_tree<R>(&mut self, ids: &[Id], f: impl FnOnce(&Local<'_>, &mut BytesMut) -> R) -> R {
        let Edge { hub, replica, config, large, .. } = self.edge;
        let tree = self.tree.get_or_insert_with(|| replica.read());
        let (root, status) = (hub.root(), &self.edge.status);
        let (watches, slot) = (hub.watches(), self.client.slot());
        let limits = &config.limits.watch_limits();
        let (session, inset, refused) = (self.session, &Cell::default(), &Cell::default());
        let frame = self.out.len();
        let local = Local { tree, root, status, watches, limits, large, inset, refused, slot, session, ids };
        let done = f(&local, self.out);
        if refused.get() {
            hub.metrics().palisade_watches_refused.inc();
            self.edge.refusals.note(Refused::Watches, self.client.peer(), session);
        }
        if let Some(inset) = inset.take() {
            let told = tree.last_zxid();
            self.insert(frame, inset, told);
        }
        done
    }

    /// Sends what was written so far, with large data in its place in the frame that begins there.
    fn insert(&mut self, frame: usize, Inset { at, data, share }: Inset, told: Zxid) {
        let behind = self.out.split_off(at);
        frame::lengthen(&mut self.out[frame..], data.len());
        self.client.lock().append_around(self.out, (data, share), &behind, told);
        self.has_room = false;
    }

    pub(super) fn ping(&mut self) {
        let zxid = self.zxid();
        write_header(self.out, xid::PING, zxid, ErrorCode::OK);
        self.count += 1;
        self.run.add(OpCode::Ping, &self.edge.hub.stats().operations);
        self.last = (OpCode::Ping, xid::PING, zxid);
    }

    /// The same while one request is answered by very much: writes it, and counts what is not taken. Whether the connection
    /// goes on.
    fn publish_much(&mut self) -> bool {
        self.publish();
        let hub = &self.edge.hub;
        if self.client.lock().outbox.unsent() >= HIGH_WATER {
            let flushed = self.client.flush_for_task();
            hub.count_released(flushed.released);
            hub.stats().written(flushed.bytes, flushed.events);
            self.client.lock().settle(hub.pending());
        }
        self.client.lock().outbox.ending().is_none()
    }

    /// Moves the answers to the outbox, and only then lets the replica change.
    pub(super) fn publish(&mut self) {
        if !self.out.is_empty() {
            self.client.lock().append(self.out, self.last.2);
            self.has_room = false;
        }
        self.tree = None;
        if self.count > 0 {
            let stats = self.edge.hub.stats();
            stats.answered_at_once(self.count);
            self.run.end(&stats.operations);
            self.client.stats.answered_at_once(self.count, self.last, self.now.into_std());
            self.count = 0;
        }
    }
}
