//! The leader's half of a request: its place in the order, its checks, its transaction; and the sessions.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use palisade_store::prepare::PrepareConfig;
use palisade_store::session::LeaderSessions;
use palisade_store::{DataTree, PrepareRequest, Preparer, Timestamp};
use palisade_wire::quorum::ForwardedRequest;
use palisade_wire::txn::{Txn, TxnHeader, TxnRecord};
use palisade_wire::{OpCode, Reader, SessionId, Sid, Zxid};
use palisade_zab::LinkId;

use super::intake::{Intake, Shares};
use crate::quorum::Admission;
use crate::status::Shared;

/// Memory that a waiting request takes besides its body, bytes, about.
const REQUEST_OVERHEAD: usize = 256;
/// Containers and TTL znodes looked for at a time.
const MAX_REAPED: usize = 1000;

/// Settings of the request path.
#[derive(Clone, Debug)]
pub(crate) struct LeadingConfig {
    pub(crate) sid: Sid,
    pub(crate) tick: Duration,
    pub(crate) prepare: PrepareConfig,
    /// Whether sessions that were never created here may write, as local sessions of a gateway.
    pub(crate) local_sessions: bool,
    pub(crate) reap_interval: Duration,
    pub(crate) reap_per_minute: u32,
    /// How the learners share what can be proposed.
    pub(crate) shares: Shares,
}

/// Something to become a transaction, or to wait behind those that do.
pub(super) enum Work {
    /// A learner's request.
    Request { link: LinkId, request: PrepareRequest, admission: Option<Admission> },
    /// A learner's sync.
    Sync { link: LinkId, admission: Option<Admission> },
    /// The end of a session that was not heard of for too long, or has ephemerals only.
    Expire(SessionId),
    /// The end of an empty container, or of a znode that has outlived its time.
    Reap(String),
}

impl Work {
    /// Of its body.
    pub(super) fn bytes(&self) -> usize {
        if let Self::Request { request, .. } = self { request.body.len() } else { 0 }
    }

    /// Bytes of memory for which the link is not held back.
    pub(super) fn unadmitted(&self) -> usize {
        match self {
            Self::Request { admission: None, .. } | Self::Sync { admission: None, .. } => {
                REQUEST_OVERHEAD + self.bytes()
            }
            _ => 0,
        }
    }
}

/// What exists only while this voter leads and serves.
pub(super) struct Leading {
    preparer: Preparer,
    sessions: LeaderSessions,
    waiting: Intake,
    /// Prepared and not yet applied, so that applying need not decode them again.
    proposed: VecDeque<Proposed>,
    /// Bytes of those.
    proposed_bytes: usize,
    /// Syncs under way, by token.
    syncs: BTreeMap<u64, (LinkId, Option<Admission>)>,
    next_token: u64,
    next_reap: Timestamp,
    reap_interval: Duration,
    reap_limit: usize,
}

/// A transaction on its way through the quorum.
struct Proposed {
    record: TxnRecord,
    bytes: usize,
    /// Holds back its link until it is applied.
    _admission: Option<Admission>,
}

/// A thing to hand to the machine.
pub(super) enum Next {
    /// A transaction, encoded.
    Propose(Bytes),
    /// A read barrier.
    Sync { token: u64 },
}

impl Leading {
    /// Begins with the sessions in the tree, each with its full timeout from now on.
    pub(super) fn new(config: &LeadingConfig, tree: &DataTree, now: Timestamp) -> Self {
        let LeadingConfig { sid, tick, local_sessions, .. } = *config;
        let orphans = tree.ephemeral_owners().filter(|owner| tree.session_timeout(*owner).is_none());
        let mut waiting = Intake::new(config.shares.clone());
        waiting.push_own(orphans.map(Work::Expire));
        let reaps_per_minute = 60_000 / config.reap_interval.as_millis().max(1);
        Self {
            preparer: Preparer::new(config.prepare),
            sessions: LeaderSessions::new(sid, tick, local_sessions, tree.sessions(), now),
            waiting,
            proposed: VecDeque::new(),
            proposed_bytes: 0,
            syncs: BTreeMap::new(),
            next_token: 0,
            next_reap: now + config.reap_interval,
            reap_interval: config.reap_interval,
            reap_limit: (u128::from(config.reap_per_minute) / reaps_per_minute.max(1)).max(1) as usize,
        }
    }

    /// Takes in what a learner asks.
    pub(super) fn push(&mut self, learner: Sid, work: Work) {
        self.waiting.push(learner, work);
    }

    /// Bytes of waiting requests that do not hold back the links on which they came.
    pub(super) const fn unadmitted(&self) -> usize {
        self.waiting.unadmitted()
    }

    /// Bytes of transactions that are proposed and not yet applied.
    pub(super) const fn proposed_bytes(&self) -> usize {
        self.proposed_bytes
    }

    /// Requests that wait for their turn, and transactions that are not yet applied.
    pub(super) fn outstanding(&self) -> usize {
        self.waiting.len() + self.proposed.len()
    }

    /// Turns the next waiting thing into what the machine is to do. A proposal takes `zxid`; call again with
    /// another one only if it did.
    pub(super) fn next(&mut self, tree: &DataTree, zxid: Zxid, now: Timestamp, wall_ms: i64) -> Option<Next> {
        let work = self.waiting.pop()?;
        let (record, admission) = match work {
            Work::Sync { link, admission } => {
                let token = self.next_token;
                self.next_token += 1;
                self.syncs.insert(token, (link, admission));
                return Some(Next::Sync { token });
            }
            Work::Request { link, request, admission } => {
                (self.prepare(tree, link, &request, zxid, now, wall_ms), admission)
            }
            Work::Expire(session) => (self.close(tree, session, 0, zxid, wall_ms), None),
            Work::Reap(path) => (self.preparer.prepare_delete_container(tree, &path, zxid, wall_ms), None),
        };
        let payload = record.encode();
        self.proposed_bytes += payload.len();
        self.proposed.push_back(Proposed { record, bytes: payload.len(), _admission: admission });
        Some(Next::Propose(payload))
    }

    fn prepare(
        &mut self,
        tree: &DataTree,
        link: LinkId,
        request: &PrepareRequest,
        zxid: Zxid,
        now: Timestamp,
        wall_ms: i64,
    ) -> TxnRecord {
        let session = request.session;
        match OpCode::from_i32(request.op) {
            Some(OpCode::CreateSession) => {
                if let Ok(timeout_ms) = Reader::new(&request.body).i32("session timeout")
                    && self.sessions.create(session, timeout_ms, owner(link), now)
                {
                    let asked = (session, request.cxid);
                    return self.preparer.prepare_create_session(tree, asked, timeout_ms, zxid, wall_ms);
                }
            }
            Some(OpCode::CloseSession) => return self.close(tree, session, request.cxid, zxid, wall_ms),
            _ => {}
        }
        let state = self.sessions.state(session, owner(link));
        self.preparer.prepare(tree, request, state, zxid, wall_ms)
    }

    /// Ends a session, tracked or not: whatever comes of it from now on is refused.
    fn close(
        &mut self,
        tree: &DataTree,
        session: SessionId,
        cxid: i32,
        zxid: Zxid,
        wall_ms: i64,
    ) -> TxnRecord {
        self.sessions.close(session);
        self.preparer.prepare_close_session(tree, session, cxid, zxid, wall_ms)
    }

    /// The record proposed as `zxid`, if it was proposed here.
    pub(super) fn take_proposed(&mut self, zxid: Zxid) -> Option<TxnRecord> {
        let proposed = self.proposed.pop_front_if(|proposed| proposed.record.header.zxid == zxid)?;
        self.proposed_bytes -= proposed.bytes;
        Some(proposed.record)
    }

    /// The headers of what is proposed, from `from` on.
    pub(super) fn headers_from(&self, from: Zxid) -> impl Iterator<Item = &TxnHeader> {
        let first = self.proposed.partition_point(|proposed| proposed.record.header.zxid < from);
        self.proposed.range(first..).map(|proposed| &proposed.record.header)
    }

    /// Syncs that wait for what was proposed before them.
    pub(super) fn pending_syncs(&self) -> usize {
        self.syncs.len()
    }

    /// A transaction has taken effect.
    pub(super) fn applied(&mut self, record: &TxnRecord) {
        self.preparer.applied(record.header.zxid);
        if let Txn::CloseSession(_) = record.txn {
            self.sessions.closed(record.header.session);
        }
    }

    /// Where a sync came from.
    pub(super) fn take_sync(&mut self, token: u64) -> Option<LinkId> {
        self.syncs.remove(&token).map(|(link, _)| link)
    }

    /// A session was heard of by a learner.
    pub(super) fn touch(&mut self, session: SessionId, timeout_ms: i32, now: Timestamp) {
        self.sessions.touch(session, timeout_ms, now);
    }

    /// A session has moved to a learner; false if there is no such session.
    pub(super) fn revalidate(
        &mut self,
        session: SessionId,
        timeout_ms: i32,
        link: LinkId,
        now: Timestamp,
    ) -> bool {
        self.sessions.revalidate(session, timeout_ms, owner(link), now)
    }

    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        let expiry = self.sessions.next_expiry();
        Some(expiry.map_or(self.next_reap, |expiry| expiry.min(self.next_reap)))
    }

    /// Lets no session expire before `until`.
    pub(super) fn hold_expiry(&mut self, until: Timestamp) {
        self.sessions.hold_expiry(until);
    }

    /// Looks for sessions that have expired and znodes to be reaped.
    pub(super) fn on_time(&mut self, now: Timestamp, wall_ms: i64, shared: &Shared) {
        let expired = self.sessions.expired(now);
        if !expired.is_empty() {
            tracing::info!(count = expired.len(), "sessions expired");
            shared.metrics.stale_sessions_expired.add(expired.len() as u64);
            self.waiting.push_own(expired.into_iter().map(Work::Expire));
        }
        if self.next_reap <= now {
            self.next_reap = now + self.reap_interval;
            let limit = self.reap_limit.min(MAX_REAPED);
            let reapable = shared.tree.read().reapable(wall_ms, 0, limit);
            self.waiting.push_own(reapable.into_iter().map(Work::Reap));
        }
    }
}

/// A request as a learner forwarded it.
pub(super) fn request(forwarded: ForwardedRequest, auth: Option<Vec<palisade_wire::Id>>) -> PrepareRequest {
    PrepareRequest {
        session: forwarded.session,
        cxid: forwarded.cxid,
        op: forwarded.op,
        body: forwarded.body,
        auth,
    }
}

/// A link as the owner of sessions; 0 is nobody.
const fn owner(link: LinkId) -> u64 {
    link.0 + 1
}
