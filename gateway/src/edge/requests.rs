//! From frames to requests: what is answered here and now, what waits for its turn, and what the core must do.

mod answers;
mod frames;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use palisade_wire::request::{Request, RequestHeader};
use palisade_wire::{ErrorCode, Id, OpCode, Reader, Writer, Zxid};
use tokio::time::Instant;

use self::answers::Answers;
pub(super) use self::frames::incomplete;
use self::frames::{leave_behind, next_frame, split_body};
use super::Edge;
use super::connection::Connection;
use super::outbox::{CloseReason, End};
use super::pipeline::Job;
use crate::config::Limits;
use crate::exec::{status, write_header, write_reply};
use crate::session::upgrade_xid;
use crate::tenancy::{Root, Unnamable, confine};
use crate::throttle::{Progress, Work};
use crate::top::Tally;

/// Identities that one connection may collect: all of them travel with each of its writes.
const MAX_IDS: usize = 64;
/// Bytes of a credential; the name in it becomes part of the identity.
const MAX_CREDENTIAL: usize = 4 << 10;

/// What a request asks of the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Plan {
    /// An answer without regard to order.
    Ping,
    /// Another identity.
    Auth,
    /// A token of a mechanism that is not served.
    Sasl,
    /// An answer from the replica. Writes whose record does not decode come here too, to be told so.
    Local(OpCode),
    /// The core's.
    Forward(OpCode, Work),
    /// A write of what cannot be written.
    Forbidden,
    /// Nothing that a client may ask.
    Unknown,
}

fn plan(op: i32, body: &[u8], root: &Root) -> Plan {
    let Some(op) = OpCode::from_i32(op) else { return Plan::Unknown };
    match op {
        OpCode::Ping => Plan::Ping,
        OpCode::Auth => Plan::Auth,
        OpCode::Sasl => Plan::Sasl,
        // A top-level check would be logged by Apache leaders in a form that they cannot read (ZOOKEEPER-2623).
        OpCode::Notification
        | OpCode::Error
        | OpCode::DeleteContainer
        | OpCode::CreateSession
        | OpCode::Check => Plan::Unknown,
        OpCode::Reconfig if root.is_confined() => Plan::Local(op),
        op if op.is_write() || op == OpCode::Sync => match Request::decode(op, body) {
            Ok(request) if status::is_written_by(&request) => Plan::Forbidden,
            Ok(request) => Plan::Forward(op, Work::of(&request)),
            Err(_) => Plan::Local(op),
        },
        op => Plan::Local(op),
    }
}

/// Takes requests in, one frame after the other.
struct Intake<'a> {
    answers: Answers<'a>,
    ids: &'a mut Arc<[Id]>,
    /// Whether no earlier request waits, so that a read may be answered at once.
    idle: bool,
    /// Whether what follows is not read any more.
    deaf: &'a mut bool,
    received: u64,
    tally: &'a mut Tally,
    /// Whether the client showed that its session is alive: auth and sasl do not count.
    touched: bool,
    /// Whether a local session's createSession is on its way.
    upgrading: &'a mut bool,
    timeout_ms: i32,
    /// The xid by which this gateway knows its own createSession again.
    upgrade_xid: i32,
    /// Whether the client was told that nothing is written here.
    only_reads: bool,
    /// After what time the first request in line is to be looked at again, if a limit holds it up.
    held: Option<Duration>,
}

impl Intake<'_> {
    /// Takes the frame at the head of the inbox, whose body has `len` bytes.
    fn take(&mut self, inbox: &mut BytesMut, len: usize) -> Result<(), CloseReason> {
        let mut r = Reader::new(&inbox[4..4 + len]);
        let RequestHeader { xid, op } = RequestHeader::decode(&mut r).map_err(|_| CloseReason::Malformed)?;
        let body = r.rest();
        let plan = plan(op, body, self.answers.edge.hub.root());
        self.received += 1;
        self.tally.request(len, || first_path(body));
        self.touched |= !matches!(plan, Plan::Auth | Plan::Sasl);
        match plan {
            Plan::Ping => self.answers.ping(),
            Plan::Local(op) if self.is_idle() => {
                let mut progress = Progress::default();
                self.held = self.answers.read((xid, op, body), self.ids, &mut progress);
                if self.held.is_some() {
                    // What was answered before must leave before.
                    self.answers.publish();
                    let job = Job::free(xid, op, Bytes::copy_from_slice(body), Arc::clone(self.ids));
                    self.answers.client.lock().pipeline.push_local(Job { progress, ..job });
                    self.idle = false;
                }
            }
            Plan::Local(op) => {
                let job = Job::free(xid, op, Bytes::copy_from_slice(body), Arc::clone(self.ids));
                self.answers.client.lock().pipeline.push_local(job);
            }
            Plan::Forward(OpCode::CloseSession, _) if self.is_local() => self.close_local(xid),
            Plan::Forward(..) if self.only_reads => {
                let zxid = self.answers.edge.replica.last_zxid();
                self.reply(xid, zxid, ErrorCode::NOT_READONLY, false);
            }
            Plan::Forward(op, work) => {
                // What was answered before must leave before.
                self.answers.publish();
                let Edge { hub, config, .. } = self.answers.edge;
                let body = match confine(hub.root(), op, split_body(inbox, len), config.limits.max_frame) {
                    Ok(body) => body,
                    Err(Unnamable::Malformed(_)) => return Err(CloseReason::Malformed),
                    Err(Unnamable::TooLarge(_)) => {
                        let zxid = self.answers.edge.replica.last_zxid();
                        self.reply(xid, zxid, ErrorCode::BAD_ARGUMENTS, false);
                        return Ok(());
                    }
                };
                if self.is_local() && op != OpCode::Sync {
                    self.upgrade();
                }
                let job = Job { work, ..Job::free(xid, op, body, Arc::clone(self.ids)) };
                self.answers.client.lock().pipeline.push_forward(job);
                self.idle = false;
                *self.deaf |= op == OpCode::CloseSession;
                return Ok(());
            }
            Plan::Forbidden => {
                let zxid = self.answers.edge.replica.last_zxid();
                self.reply(xid, zxid, ErrorCode::NO_AUTH, false);
            }
            Plan::Auth => self.authenticate(xid, body)?,
            Plan::Sasl => self.sasl(xid, body)?,
            Plan::Unknown => self.refuse(xid, Zxid(-1), ErrorCode::UNIMPLEMENTED),
        }
        inbox.advance(4 + len);
        leave_behind(inbox, len);
        Ok(())
    }

    /// Whether another request may be taken in. What is answered at once takes no room until it is published.
    fn has_room(&mut self, limits: &Limits) -> bool {
        if !(self.answers.has_room && self.idle) {
            let state = self.answers.client.lock();
            let high_water = self.answers.edge.hub.pending().high_water();
            self.answers.has_room = state.has_room(limits.pipelined_requests, high_water);
            self.idle = state.pipeline.is_empty();
        }
        self.answers.has_room
    }

    fn is_idle(&mut self) -> bool {
        self.idle = self.idle || self.answers.client.lock().pipeline.is_empty();
        self.idle
    }

    /// Whether the core neither knows the session nor is about to.
    fn is_local(&self) -> bool {
        self.answers.client.is_local() && !*self.upgrading
    }

    /// The core must know the session before it owns an ephemeral. If another gateway may have told it before, all
    /// that came of that must be known here first: the create waits behind a sync.
    fn upgrade(&mut self) {
        let client = self.answers.client;
        let internal = |op, body| Job::internal(self.upgrade_xid, op, body);
        let mut body = BytesMut::new();
        Request::CreateSession(self.timeout_ms).encode(&mut body);
        let mut state = client.lock();
        if !client.is_sole() {
            state.pipeline.push_forward(internal(OpCode::Sync, Bytes::new()));
            state.pipeline.push_local(internal(OpCode::Sync, Bytes::new()));
        }
        state.pipeline.push_forward(internal(OpCode::CreateSession, body.freeze()));
        drop(state);
        client.leave_sole();
        *self.upgrading = true;
    }

    /// Nobody else needs to know.
    fn close_local(&mut self, xid: i32) {
        let hub = &self.answers.edge.hub;
        hub.local().close(self.answers.session);
        hub.stats().operations.count(OpCode::CloseSession, 1);
        self.touched = false;
        let zxid = self.answers.edge.replica.last_zxid();
        self.refuse(xid, zxid, ErrorCode::OK);
    }

    /// The identity counts for requests that come later; the reply keeps its place in the line, as kazoo expects.
    fn authenticate(&mut self, xid: i32, body: &[u8]) -> Result<(), CloseReason> {
        let Ok(Request::Auth { scheme, auth }) = Request::decode(OpCode::Auth, body) else {
            return Err(CloseReason::Malformed);
        };
        let too_long = auth.is_some_and(|auth| auth.len() > MAX_CREDENTIAL);
        let scheme = scheme.as_deref().unwrap_or_default();
        match self.answers.edge.auth.authenticate(scheme, auth.filter(|_| !too_long)) {
            Ok(new) if self.ids.len() + new.len() <= MAX_IDS => {
                let mut ids = self.ids.to_vec();
                ids.extend(new.into_iter().filter(|id| !self.ids.contains(id)));
                *self.ids = ids.into();
                self.answers.client.lock().ids = Arc::clone(self.ids);
                self.reply(xid, Zxid::ZERO, ErrorCode::OK, false);
            }
            Ok(_) | Err(_) => {
                self.answers.edge.hub.stats().auth_failed.inc();
                self.refuse(xid, Zxid::ZERO, ErrorCode::AUTH_FAILED);
            }
        }
        Ok(())
    }

    /// As a server without a login context: no token, no error, and no patience with a null token.
    fn sasl(&mut self, xid: i32, body: &[u8]) -> Result<(), CloseReason> {
        let Ok(Request::Sasl(Some(_))) = Request::decode(OpCode::Sasl, body) else {
            return Err(CloseReason::Malformed);
        };
        self.answer(false, |out| {
            write_reply(out, xid, Zxid::ZERO, |b| {
                b.write_opt_buffer(None);
                Ok(())
            });
        });
        Ok(())
    }

    /// Answers, mostly with an error, and ends the connection.
    fn refuse(&mut self, xid: i32, zxid: Zxid, err: ErrorCode) {
        self.reply(xid, zxid, err, true);
        *self.deaf = true;
    }

    fn reply(&mut self, xid: i32, zxid: Zxid, err: ErrorCode, last: bool) {
        self.answer(last, |out| write_header(out, xid, zxid, err));
    }

    /// In its turn.
    fn answer(&mut self, last: bool, write: impl FnOnce(&mut BytesMut)) {
        if !self.is_idle() {
            let mut frame = BytesMut::new();
            write(&mut frame);
            self.answers.client.lock().pipeline.push_done(frame.freeze(), last);
            return;
        }
        write(self.answers.out);
        self.answers.count += 1;
        if last {
            self.answers.publish();
            self.answers.client.lock().outbox.end(End::AfterFlush(CloseReason::Refused));
        }
    }
}

/// The path with which most requests begin.
fn first_path(body: &[u8]) -> Option<&str> {
    let (len, rest) = body.split_first_chunk::<4>()?;
    let len = usize::try_from(i32::from_be_bytes(*len)).ok()?;
    let path = rest.get(..len).filter(|path| path.first() == Some(&b'/'))?;
    std::str::from_utf8(path).ok()
}

impl Connection {
    /// Answers the requests at the head of the line that waited for their turn; whether it stopped because much is
    /// unsent.
    pub(super) fn drain(&mut self, now: Instant) -> bool {
        if self.idle {
            return false;
        }
        let caller = (&*self.client, self.session);
        let mut answers = Answers::new(&self.edge, caller, &mut self.scratch, now);
        loop {
            answers.publish();
            let mut state = self.client.lock();
            if state.outbox.unsent() >= self.edge.hub.pending().high_water() {
                return true;
            }
            let Some(mut job) = state.next_local() else { return false };
            drop(state);
            if job.internal {
                continue;
            }
            let held = answers.read((job.xid, job.op, &job.body), &job.ids, &mut job.progress);
            if let Some(time) = held {
                answers.publish();
                self.client.lock().pipeline.put_back(job);
                self.throttled = Some(now + time);
                return false;
            }
        }
    }

    /// Takes requests out of the inbox while there is room; whether a whole one is left.
    pub(super) fn process(&mut self, now: Instant) -> Result<bool, CloseReason> {
        let timeout_ms = self.timeout_ms();
        let limits = &self.edge.config.limits;
        let mut intake = Intake {
            answers: Answers::new(&self.edge, (&self.client, self.session), &mut self.scratch, now),
            ids: &mut self.ids,
            idle: self.idle,
            deaf: &mut self.deaf,
            received: 0,
            tally: &mut self.tally,
            touched: false,
            upgrading: &mut self.upgrading,
            timeout_ms,
            upgrade_xid: upgrade_xid(self.edge.config.id),
            only_reads: self.only_reads,
            held: None,
        };
        let left = loop {
            let Some(len) = next_frame(&self.inbox, limits)? else { break false };
            if *intake.deaf || !intake.has_room(limits) {
                break true;
            }
            intake.take(&mut self.inbox, len)?;
        };
        intake.answers.publish();
        self.idle = intake.idle;
        self.throttled = intake.held.map(|time| now + time).or(self.throttled);
        if intake.received > 0 {
            self.edge.hub.stats().received(intake.received);
            self.client.stats.received(intake.received);
        }
        let (touched, upgrading) = (intake.touched, *intake.upgrading);
        if intake.received > 0
            && let Some(room) = &mut self.room
        {
            room.is_filled();
        }
        let who = (self.client.peer().ip().to_canonical(), self.session);
        self.edge.top.report(who, intake.tally, |path| self.edge.throttle.lock_parent(path));
        drop(intake);
        if touched {
            let local = self.client.is_local() && self.edge.hub.local().touch(self.session, timeout_ms);
            // The leader may know of it long before its createSession is applied here.
            if !local || upgrading {
                self.tell_the_core(now);
            }
        }
        Ok(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(request: &Request<'_>) -> Vec<u8> {
        let mut body = Vec::new();
        request.encode(&mut body);
        body
    }

    #[test]
    fn what_does_not_decode_never_reaches_the_core() {
        let whole = Root::new("/");
        let delete = encoded(&Request::Delete { path: "/a".into(), version: -1 });
        assert_eq!(plan(2, &delete, &whole), Plan::Forward(OpCode::Delete, Work::Free));
        assert_eq!(plan(2, &delete[..5], &whole), Plan::Local(OpCode::Delete));
        assert_eq!(plan(14, &[], &whole), Plan::Local(OpCode::Multi));
        assert_eq!(plan(9, &[], &whole), Plan::Local(OpCode::Sync));
        assert_eq!(plan(-11, &[], &whole), Plan::Forward(OpCode::CloseSession, Work::Free));
    }

    #[test]
    fn internal_and_unknown_operations_are_refused() {
        let whole = Root::new("/");
        for op in [0, -1, 10, 13, 20, -10, 99, 108, i32::MAX] {
            assert_eq!(plan(op, &[0; 64], &whole), Plan::Unknown, "{op}");
        }
    }
}
