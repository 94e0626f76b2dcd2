//! What of a connection goes to the core: its session's claim, and its requests in their order, as limits let them pass.

use std::sync::Arc;

use bytes::BytesMut;
use palisade_wire::OpCode;
use palisade_wire::request::Request;
use tokio::time::Instant;

use super::super::Edge;
use super::super::client::{FENCE_TAG, SESSION_TAG};
use super::super::outbox::CloseReason;
use super::super::pipeline::Answered;
use super::Connection;
use crate::core_link::{Refused, Ticket};
use crate::exec::write_header;
use crate::throttle::{Brought, Verdict};

/// Whether writes of this connection may follow what the session wrote by way of other gateways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fence {
    /// Nobody looked.
    None,
    /// A sync is on its way.
    Asked,
    /// It wrote nothing elsewhere, and while this link lasts it cannot without being taken from here.
    Passed,
}

impl Connection {
    /// Gives the core, in order, what it is to have. Whether a request at the head of the line was answered here, so that it
    /// is the turn of what stands behind it.
    pub(super) fn forward(&mut self, now: Instant) -> Result<bool, CloseReason> {
        if self.link_state.has_changed().map_err(|_| CloseReason::Stopping)? {
            self.link_state.mark_unchanged();
            self.forget_link();
        }
        if self.only_reads && self.link_state.borrow().is_connected() {
            return Err(CloseReason::Writable);
        }
        let mut moved = false;
        self.place.doubt();
        while self.introduce()? && !self.idle && self.admit(now, &mut moved)? {
            match self.send_next() {
                // Who makes a session known to the leader has it.
                Ok(Some(OpCode::CreateSession)) => (self.owner_known, self.fence) = (true, Fence::Passed),
                Ok(Some(_)) => {}
                Ok(None) | Err(Refused::NotConnected | Refused::Busy(_)) => break,
                Err(Refused::NotForwarded(_)) => return Err(CloseReason::Malformed),
            }
        }
        self.place.leave_unless_wanted();
        Ok(moved)
    }

    /// Gives the next request to the link, if there is one that can go; its type.
    ///
    /// The client is locked until the link has it. Otherwise it could come back on another connection, which ends this one,
    /// and what it writes there could overtake a request that was taken off the line here and is not in the link yet. Nor
    /// does an answer come before the request is marked as sent. Nobody who has the link's lock takes another one (its tickets
    /// are answered, and those who wait are told, behind it), so nobody waits for this client with it.
    fn send_next(&mut self) -> Result<Option<OpCode>, Refused> {
        let mut state = self.client.lock();
        let Some((tag, job)) = state.next_for_core() else { return Ok(None) };
        let (op, since) = (job.op, std::time::Instant::now());
        let ticket = Ticket::new(Arc::clone(&self.client) as _, tag);
        let Edge { link, hub, .. } = &*self.edge;
        if op == OpCode::Sync {
            let path = match Request::decode(op, &job.body) {
                Ok(Request::Sync(path)) => path.unwrap_or_default(),
                _ => "".into(),
            };
            link.sync((self.session, job.xid), &path, ticket, &mut self.place)?;
        } else {
            let cxid = if job.internal { job.xid } else { hub.cxids().issue() };
            let (body, ids) = (job.body.clone(), Arc::clone(&job.ids));
            self.edge.forward((self.session, cxid, op), body, ids, ticket, &mut self.place)?;
        }
        state.pipeline.mark_sent(tag, since);
        Ok(Some(op))
    }

    /// Whether limits let the next request pass. Those that are refused are answered here.
    fn admit(&mut self, now: Instant, moved: &mut bool) -> Result<bool, CloseReason> {
        let patience = self.edge.patience(self.timeout);
        if self.edge.throttle.is_nearly_full() {
            // Not while the client is locked: the applier locks them the other way round.
            self.edge.measure();
        }
        let gate = self.gate.get_or_insert_with(|| {
            Box::new(self.edge.throttle.gate(self.client.peer().ip().to_canonical(), self.session))
        });
        let mut guard = self.client.lock();
        let state = &mut *guard;
        loop {
            let in_flight = state.pipeline.in_flight();
            let Some((tag, job)) = state.pipeline.peek_unsent() else { return Ok(true) };
            let brought = Brought { work: &job.work, bytes: job.body.len(), in_flight, patience };
            match gate.check(brought, &mut job.progress) {
                Verdict::Pass => return Ok(true),
                Verdict::Wait(time) => {
                    self.throttled = Some(now + time);
                    return Ok(false);
                }
                Verdict::Refuse(refusal) => {
                    job.work.refused(&mut self.tally);
                    self.edge.hub.metrics().throttled_ops.inc();
                    let code = refusal.code().ok_or(CloseReason::Refused)?;
                    let (mut reply, zxid) = (BytesMut::new(), self.edge.replica.last_zxid());
                    write_header(&mut reply, job.xid, zxid, code);
                    if state.pipeline.refuse(tag, || reply.clone().freeze()) == Answered::First {
                        state.append(&mut reply, zxid);
                        *moved = true;
                    }
                }
            }
        }
    }

    /// The link is another one now, or none. That the core was away is no waiting for a limit.
    fn forget_link(&mut self) {
        (self.owner_known, self.fence, self.heard) = (false, Fence::None, false);
        let mut state = self.client.lock();
        if !state.pipeline.is_empty()
            && let Some((_, job)) = state.pipeline.peek_unsent()
        {
            job.progress.rest();
        }
    }

    /// Tells a new leader that this gateway has the session, before anything else of the session; whether it knows, and
    /// requests may be sent.
    ///
    /// The client may have moved to another gateway without this one noticing that its connection is dead. To claim the
    /// session for such a connection would take it from its client; and a write that waits here, sent behind what the
    /// client wrote there, would undo that. That bytes arrive proves nothing: the network may have held them since before
    /// the client moved. So the connection's first write under each link waits for a sync behind the claim:
    ///
    /// * What the session wrote elsewhere before the claim was applied here when the sync is answered. If there is any
    ///   since the client came here, or a tree may hide it, the client has left this connection, which ends.
    /// * Behind the claim, the leader takes nothing of the session from elsewhere, unless it was claimed there; and then it
    ///   takes nothing more from here.
    ///
    /// When its client comes, a session is claimed as well, and what others wrote after that is refused here by the same
    /// leader. Without a write, it is claimed only for a client that was heard.
    fn introduce(&mut self) -> Result<bool, CloseReason> {
        if self.local && !self.client.is_local() {
            // It became global, perhaps by way of an earlier link.
            self.local = false;
            self.take_lease();
        }
        if self.local || self.fence == Fence::Passed {
            return Ok(true);
        }
        let (is_stalled, is_answered) = {
            let state = self.client.lock();
            (state.pipeline.is_stalled(), self.fence == Fence::Asked && state.fences == 0)
        };
        // Looked at behind the answer, which comes behind all that it covers.
        let is_elsewhere = self.client.is_elsewhere();
        if is_stalled && is_elsewhere {
            return Err(CloseReason::Moved);
        }
        if is_answered {
            self.fence = Fence::Passed;
            return Ok(true);
        }
        if !self.owner_known && (is_stalled || (self.heard && !is_elsewhere)) {
            self.owner_known = self.claim().is_ok();
        }
        if self.owner_known && is_stalled && self.fence == Fence::None && self.ask_for_others_writes().is_ok()
        {
            self.fence = Fence::Asked;
        }
        Ok(false)
    }

    fn claim(&mut self) -> Result<(), Refused> {
        let ticket = Ticket::new(Arc::clone(&self.client) as _, SESSION_TAG);
        let timeout_ms = self.timeout_ms();
        self.edge.link.revalidate(self.session, timeout_ms, ticket, &mut self.place)
    }

    /// Asks for all that was committed so far.
    fn ask_for_others_writes(&mut self) -> Result<(), Refused> {
        // Counted first: the answer may come at once. If there is none to come, it is asked again.
        self.client.lock().fences += 1;
        let ticket = Ticket::new(Arc::clone(&self.client) as _, FENCE_TAG);
        let asked = self.edge.link.sync((self.session, 0), "/", ticket, &mut self.place);
        asked.inspect_err(|_| self.client.lock().fences -= 1)
    }
}
