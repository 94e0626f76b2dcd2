//! From frames to requests: what is answered here and now, what waits for its turn, and what the core must do.

use std::cell::Cell;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use palisade_store::DataTree;
use palisade_wire::request::{Request, RequestHeader, SetWatches, xid};
use palisade_wire::{DecodeError, ErrorCode, Id, OpCode, Reader, SessionId, Writer, Zxid, frame};
use parking_lot::RwLockReadGuard;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;
use tokio::time::Instant;

use super::Edge;
use super::client::{Client, HIGH_WATER};
use super::connection::Connection;
use super::outbox::{CloseReason, End};
use super::pipeline::Job;
use crate::config::Limits;
use crate::exec::{
    CatchUp, Inset, Local, Past, count_watches, reply_zxid, status, watched_path, write_header, write_reply,
};
use crate::operations::Run;
use crate::session::{Refusal as Refused, upgrade_xid};
use crate::tenancy::{Root, Unnamable, confine};
use crate::throttle::Work;
use crate::throttle::config::Refusal;
use crate::top::Tally;

/// Xid and type.
const HEADER: usize = 8;
/// Larger bodies are not copied out of the read buffer: they keep it alive instead.
const COPY_UP_TO: usize = 4 << 10;
/// Room that is made on the word of a length alone.
const READ_AHEAD: usize = 1 << 20;
/// Replies of this size are given to the outbox before the next read, and the applier gets a chance.
const CHUNK: usize = 64 << 10;
/// Watches that are set again before the replica may change.
pub(super) const WATCHES_AT_ONCE: usize = 1_000;
/// Persistent watches that are set again before the replica may change: what they missed is told for all of these together.
const LASTING_AT_ONCE: usize = 10_000;
/// So many watches may be named in any case by a request that sets them again.
const SET_AGAIN: usize = 1 << 20;
/// For more than these, other clients' tasks are moved to another thread.
const ASIDE: usize = 10_000;
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

/// Answers from the replica, which is locked from the first until they are in the outbox.
struct Answers<'a> {
    edge: &'a Edge,
    client: &'a Client,
    session: SessionId,
    tree: Option<RwLockReadGuard<'a, DataTree>>,
    out: &'a mut BytesMut,
    count: u64,
    last: (OpCode, i32, Zxid),
    now: Instant,
    /// Those of one type that were carried out last.
    run: Run,
    /// Whether there was room for another request, and nothing was queued since.
    has_room: bool,
}

impl<'a> Answers<'a> {
    fn new(
        edge: &'a Edge,
        (client, session): (&'a Client, SessionId),
        out: &'a mut BytesMut,
        now: Instant,
    ) -> Self {
        let last = (OpCode::Ping, -1, Zxid(-1));
        let run = Run::default();
        Self { edge, client, session, tree: None, out, count: 0, last, now, run, has_room: false }
    }

    fn read(&mut self, xid: i32, op: OpCode, body: &[u8], ids: &[Id]) {
        let registers = matches!(op, OpCode::SetWatches | OpCode::SetWatches2);
        let watches = if registers { count_watches(body) } else { 0 };
        if watches > self.edge.config.limits.watches.max(SET_AGAIN) {
            return self.client.close(CloseReason::TooManyWatches);
        }
        // A write comes here to be told that it does not decode.
        let mut is_carried_out = !op.is_write();
        match Request::decode(op, body) {
            Ok(Request::SetWatches(decoded)) if watches > ASIDE => {
                aside(|| self.set_watches(xid, &decoded, ids));
            }
            Ok(Request::SetWatches(decoded)) => self.set_watches(xid, &decoded, ids),
            request => {
                self.edge.hub.notifications().reread(self.client);
                match self.refuses(&request) {
                    Some(refusal) => {
                        is_carried_out = false;
                        self.refuse(xid, refusal);
                    }
                    None => self.with_tree(ids, |local, out| local.answer(xid, request, out)),
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
    }

    /// Whether a limit refuses the watch that the request asks for, if it does.
    fn refuses(&self, request: &Result<Request<'_>, DecodeError>) -> Option<Refusal> {
        self.edge.refuses_watch(self.client, watched_path(request.as_ref().ok()?)?)
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
        loop {
            let missed = self.with_tree(ids, |local, _| left.register(local, past, LASTING_AT_ONCE));
            hub.count_missed(&missed);
            self.client.catch_up(self.out, missed.events);
            if !left.has_more_to_register() {
                break;
            }
            self.publish();
        }
        if left.covered > 0 {
            hub.metrics().palisade_watches_covered.add(left.covered);
            self.edge.refusals.note(Refused::CoveredWatches, self.client.peer(), self.session);
        }
        while self.with_tree(ids, |local, out| left.step(local, WATCHES_AT_ONCE, out)) {
            self.publish();
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
    fn insert(&mut self, frame: usize, Inset { at, data }: Inset, told: Zxid) {
        let behind = self.out.split_off(at);
        frame::lengthen(&mut self.out[frame..], data.len());
        self.client.lock().append_around(self.out, data, &behind, told);
        self.has_room = false;
    }

    fn ping(&mut self) {
        let zxid = self.zxid();
        write_header(self.out, xid::PING, zxid, ErrorCode::OK);
        self.count += 1;
        self.run.add(OpCode::Ping, &self.edge.hub.stats().operations);
        self.last = (OpCode::Ping, xid::PING, zxid);
    }

    /// Moves the answers to the outbox, and only then lets the replica change.
    fn publish(&mut self) {
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
            Plan::Local(op) if self.is_idle() => self.answers.read(xid, op, body, self.ids),
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
        Ok(())
    }

    /// Whether another request may be taken in. What is answered at once takes no room until it is published.
    fn has_room(&mut self, limits: &Limits) -> bool {
        if !(self.answers.has_room && self.idle) {
            let state = self.answers.client.lock();
            self.answers.has_room = state.has_room(limits.pipelined_requests);
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
        match self.answers.edge.auth.authenticate(&scheme, auth.filter(|_| !too_long)) {
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

/// Does what takes long, without keeping other tasks from running.
pub(crate) fn aside<R>(work: impl FnOnce() -> R) -> R {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::MultiThread => block_in_place(work),
        _ => work(),
    }
}

/// The path with which most requests begin.
fn first_path(body: &[u8]) -> Option<&str> {
    let (len, rest) = body.split_first_chunk::<4>()?;
    let len = usize::try_from(i32::from_be_bytes(*len)).ok()?;
    let path = rest.get(..len).filter(|path| path.first() == Some(&b'/'))?;
    std::str::from_utf8(path).ok()
}

/// Takes the frame off the inbox and keeps the body behind its header.
fn split_body(inbox: &mut BytesMut, len: usize) -> Bytes {
    let start = 4 + HEADER;
    if len <= COPY_UP_TO {
        let body = Bytes::copy_from_slice(&inbox[start..4 + len]);
        inbox.advance(4 + len);
        return body;
    }
    let mut frame = inbox.split_to(4 + len).freeze();
    frame.split_off(start)
}

/// The length of the body of the frame at the head of the inbox, if all of it is there.
fn next_frame(inbox: &mut BytesMut, limits: &Limits) -> Result<Option<usize>, CloseReason> {
    let Some(len) = frame::peek_len(inbox) else { return Ok(None) };
    let max = limits.max_frame.max(limits.max_set_watches);
    let len =
        usize::try_from(len).ok().filter(|len| (HEADER..=max).contains(len)).ok_or(CloseReason::Malformed)?;
    if len > limits.max_frame {
        let Some(op) = peek_op(inbox) else { return Ok(None) };
        let registers = matches!(OpCode::from_i32(op), Some(OpCode::SetWatches | OpCode::SetWatches2));
        if !registers || len > limits.max_set_watches {
            return Err(CloseReason::Malformed);
        }
    }
    if inbox.len() < 4 + len {
        inbox.reserve((4 + len - inbox.len()).min(READ_AHEAD));
        return Ok(None);
    }
    Ok(Some(len))
}

/// The type of the request at the head of the inbox.
fn peek_op(inbox: &[u8]) -> Option<i32> {
    inbox.get(8..)?.first_chunk().map(|op| i32::from_be_bytes(*op))
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
            if state.outbox.unsent() >= HIGH_WATER {
                return true;
            }
            let Some(job) = state.next_local() else { return false };
            drop(state);
            if job.internal {
                continue;
            }
            answers.read(job.xid, job.op, &job.body, &job.ids);
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
        };
        let left = loop {
            let Some(len) = next_frame(&mut self.inbox, limits)? else { break false };
            if *intake.deaf || !intake.has_room(limits) {
                break true;
            }
            intake.take(&mut self.inbox, len)?;
        };
        intake.answers.publish();
        self.idle = intake.idle;
        if intake.received > 0 {
            self.edge.hub.stats().received(intake.received);
            self.client.stats.received(intake.received);
        }
        let (touched, upgrading) = (intake.touched, *intake.upgrading);
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

    #[test]
    fn frames_are_cut_exactly() {
        for len in [HEADER, HEADER + 1, COPY_UP_TO, COPY_UP_TO + 1] {
            let mut inbox = BytesMut::new();
            frame::write(&mut inbox, |b| b.extend((0..len).map(|i| i as u8)));
            let expected = inbox[4 + HEADER..].to_vec();
            inbox.extend_from_slice(b"rest");
            let limits = Limits { max_frame: len, ..Limits::default() };
            assert_eq!(next_frame(&mut inbox, &limits), Ok(Some(len)));
            assert_eq!(split_body(&mut inbox, len), expected);
            assert_eq!(inbox, "rest");
        }
    }

    #[test]
    fn frames_without_a_header_and_too_long_ones_are_malformed() {
        let limits = Limits { max_frame: 100, max_set_watches: 200, ..Limits::default() };
        for len in [-1, 0, 7, 201, i32::MAX] {
            let mut inbox = BytesMut::from(&i32::to_be_bytes(len)[..]);
            assert_eq!(next_frame(&mut inbox, &limits), Err(CloseReason::Malformed), "{len}");
        }
        let mut other = BytesMut::from(&[101, 1, 5].map(i32::to_be_bytes).concat()[..]);
        assert_eq!(next_frame(&mut other, &limits), Err(CloseReason::Malformed));
        let mut set_watches = BytesMut::from(&[200, 1, 101].map(i32::to_be_bytes).concat()[..]);
        assert_eq!(next_frame(&mut set_watches, &limits), Ok(None));
    }
}
