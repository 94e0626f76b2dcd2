//! What the core answers to a connection's requests.

use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use palisade_wire::request::Request;
use palisade_wire::txn::Txn;
use palisade_wire::{ErrorCode, OpCode, Writer, Zxid};

use super::super::outbox::{CloseReason, End};
use super::super::pipeline::Answered;
use super::{Client, FENCE_TAG, SESSION_TAG, Verdict};
use crate::core_link::{Answer, Requester};
use crate::exec::{write_header, write_outcome, write_reply};
use crate::link::touches::Waiter;

impl Client {
    fn applied(&self, tag: u64, answer: Answer<'_>) {
        let Answer::Applied { header, txn, outcome } = answer else { return };
        let mut guard = self.lock();
        let state = &mut *guard;
        let Some((job, since)) = state.pipeline.sent(tag) else { return };
        if outcome.error == ErrorCode::SESSION_MOVED {
            // No client knows this code: it shall look for the session's new place (ZOOKEEPER-710).
            state.outbox.end(End::Now(CloseReason::Moved));
            return;
        }
        if job.internal {
            // The session became a global one; its client did not ask for that.
            match &mut state.lease {
                _ if !outcome.error.is_ok() => state.outbox.end(End::Now(CloseReason::SessionEnded)),
                Some(lease) => lease.created(since),
                None => {}
            }
            state.pipeline.answered(tag, false, Bytes::new);
            return;
        }
        if let Some(lease) = &mut state.lease {
            lease.owns |= makes_ephemerals(txn);
        }
        let (call, closing) = ((job.xid, job.op), job.op == OpCode::CloseSession);
        self.answered_after(since, (job.op, job.xid, header.zxid), outcome.error.is_ok());
        state.last_zxid = header.zxid;
        let encode = |out: &mut BytesMut| write_outcome(out, &self.root, call, (header.zxid, txn), outcome);
        if state.pipeline.answered(tag, closing, || encoded(encode)) == Answered::First {
            state.outbox.reply(encode);
            if closing {
                state.pipeline.clear();
                state.outbox.end(End::AfterFlush(CloseReason::ClosedByClient));
            }
        }
    }

    fn synced(&self, tag: u64, zxid: Zxid) {
        let mut guard = self.lock();
        let state = &mut *guard;
        let Some((job, since)) = state.pipeline.sent(tag) else { return };
        if job.internal {
            state.pipeline.answered(tag, false, Bytes::new);
            return;
        }
        let (xid, echo) = (job.xid, job.body.clone());
        self.answered_after(since, (OpCode::Sync, xid, zxid), true);
        state.last_zxid = zxid;
        let encode = |out: &mut BytesMut| {
            write_reply(out, xid, zxid, |b| {
                let Ok(Request::Sync(path)) = Request::decode(OpCode::Sync, &echo) else {
                    return Err(ErrorCode::MARSHALLING_ERROR);
                };
                b.write_opt_string(path.as_deref());
                Ok(())
            });
        };
        if state.pipeline.answered(tag, false, || encoded(encode)) == Answered::First {
            state.outbox.reply(encode);
        }
    }

    fn answered_after(&self, since: Instant, last: (OpCode, i32, Zxid), is_ok: bool) {
        let took = since.elapsed();
        if is_ok {
            self.server_stats.operations.count(last.0, 1);
        }
        self.stats.answered(took, last);
        self.server_stats.answered(last.0, took);
    }

    /// Nobody knows whether a write had its effect.
    fn lost(&self, tag: u64) {
        let mut state = self.lock();
        if state.pipeline.sent(tag).is_some() {
            state.outbox.end(End::Now(CloseReason::OutcomeUnknown));
        }
    }

    /// Answers all that waits for the core, which does not answer: whether it took effect is unknown.
    pub(in crate::edge) fn fail_waiting(&self, zxid: Zxid) {
        let mut state = self.lock();
        state.pipeline.fail(|job| {
            // The client did not ask for this.
            if job.internal {
                return Bytes::new();
            }
            encoded(|out| write_header(out, job.xid, zxid, ErrorCode::CONNECTION_LOSS))
        });
    }

    fn judged(&self, verdict: Verdict) {
        let mut state = self.lock();
        if !state.established && verdict == Verdict::Lives {
            // What was seen until now was written before the leader gave the session to this gateway.
            self.elsewhere.store(false, Ordering::Release);
        }
        // Who asked for the end gets the answer to that.
        let asked = state.pipeline.is_closing() || state.outbox.ending().is_some();
        if state.established && verdict == Verdict::Ended && !asked {
            state.outbox.end(End::Now(CloseReason::SessionEnded));
        }
        state.verdict = Some(verdict);
    }
}

impl Requester for Client {
    fn answered(&self, tag: u64, answer: Answer<'_>) {
        match answer {
            Answer::Synced { .. } | Answer::Lost if tag == FENCE_TAG => self.lock().fences -= 1,
            Answer::Applied { outcome, .. } if tag == SESSION_TAG => {
                self.judged(if outcome.error.is_ok() { Verdict::Lives } else { Verdict::Ended });
            }
            Answer::Lost if tag == SESSION_TAG => self.judged(Verdict::Unknown),
            Answer::Revalidated { valid: true } => self.judged(Verdict::Lives),
            Answer::Revalidated { valid: false } => self.judged(Verdict::Ended),
            Answer::Applied { .. } => self.applied(tag, answer),
            Answer::Synced { zxid } => self.synced(tag, zxid),
            Answer::Lost => self.lost(tag),
        }
        self.wake.ring();
    }

    fn has_turn(&self) {
        self.wake.ring();
    }

    fn is_waiting(&self, tag: u64) -> bool {
        let state = self.lock();
        match (state.outbox.ending(), tag) {
            (Some(_), _) => false,
            // An established session is introduced to each leader anew.
            (None, SESSION_TAG) => !state.gone && !state.established,
            (None, FENCE_TAG) => false,
            (None, tag) => !self.is_elsewhere() && state.pipeline.sent(tag).is_some(),
        }
    }
}

impl Waiter for Client {
    fn arrived(&self) {
        self.wake.ring();
    }
}

/// Whether the session owns ephemerals, or may, once this is applied.
pub(in crate::edge) fn makes_ephemerals(txn: &Txn) -> bool {
    matches!(txn, Txn::Create(_, true) | Txn::Create2(_, true) | Txn::Multi(_))
}

fn encoded(encode: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut buf = BytesMut::new();
    encode(&mut buf);
    buf.freeze()
}
