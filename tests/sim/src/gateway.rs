//! An observer's other half: it forwards what clients write, with the gateway's own machine, and its clients' memory of
//! what they asked and were told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use bytes::BytesMut;
use palisade_gateway::core_link::{Answer, Requester, Ticket};
use palisade_gateway::forwarding::{Limits, Queue, Requests, Resolved};
use palisade_store::TxnOutcome;
use palisade_wire::quorum::{ForwardedRequest, QuorumPacket};
use palisade_wire::txn::{Txn, TxnRecord};
use palisade_wire::{OpCode, SessionId, Zxid};
use parking_lot::Mutex;

use crate::oracle::Violation;

/// Sessions of clients begin here; those of plain requests are below.
pub(crate) const FIRST_SESSION: SessionId = 1_000;
/// Far more than is ever in flight here.
const LIMITS: Limits = Limits { requests: 10_000, bytes: 1 << 30, window: 10_000, window_bytes: 1 << 30 };
/// Bytes that are written before the link is waited for.
const BURST: usize = 4 << 10;
const MAX_PACKET: usize = 1 << 20;

/// What a gateway forgets in a crash.
pub(crate) struct Gateway {
    queue: Queue,
    requests: Requests,
    out: BytesMut,
    /// Whether what is applied now leads to a tree that was sent as a whole: nobody is answered by it.
    hidden: bool,
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("queue", &self.queue).finish_non_exhaustive()
    }
}

impl Default for Gateway {
    fn default() -> Self {
        Self { queue: Queue::new(LIMITS), requests: Requests::default(), out: BytesMut::new(), hidden: false }
    }
}

impl Gateway {
    /// A client writes; whether the gateway takes it.
    pub(crate) fn write(&self, desk: &Arc<Desk>, request: ForwardedRequest) -> bool {
        let (session, cxid) = (request.session, request.cxid);
        let ticket = Ticket::new(Arc::clone(desk) as _, tag(session, cxid));
        desk.ask(session, cxid);
        let taken = self.queue.forward(request, Vec::new(), ticket).is_ok();
        if !taken {
            desk.forget(session, cxid);
        }
        taken
    }

    /// A client asks for a barrier behind the first `floor` committed transactions.
    pub(crate) fn sync(&self, desk: &Arc<Desk>, floor: usize) {
        let ticket = Ticket::new(Arc::clone(desk) as _, SYNC | floor as u64);
        // Refused while there is no leader: the client asks another time.
        self.queue.sync(1, 0, "/", ticket).ok();
    }

    /// What is to be sent to the leader now.
    pub(crate) fn packets(&mut self) -> Result<Vec<QuorumPacket>, Violation> {
        self.queue.take(self.requests.ready());
        self.requests.send(&mut self.out, BURST, 0);
        let mut packets = Vec::new();
        let garbled = |e| Violation(format!("a forwarded request is garbled: {e}"));
        while let Some(packet) = QuorumPacket::split(&mut self.out, MAX_PACKET).map_err(garbled)? {
            packets.push(packet);
        }
        Ok(packets)
    }

    /// A transaction was applied here.
    pub(crate) fn applied(&mut self, record: &TxnRecord, outcome: &TxnOutcome<'_>) {
        if !self.hidden
            && let Some(ticket) = self.requests.applied(record)
        {
            ticket.answer(Answer::Applied { header: &record.header, txn: &record.txn, outcome });
        }
        self.settle();
    }

    /// The leader answered a sync.
    pub(crate) fn synced(&mut self, zxid: Zxid) {
        if let Some(ticket) = self.requests.synced() {
            ticket.answer(Answer::Synced { zxid });
        }
        self.settle();
    }

    /// Another tree takes the place of the present one.
    pub(crate) const fn replaced(&mut self) {
        self.hidden = true;
    }

    /// In sync with the leader of `epoch`.
    pub(crate) fn serves(&mut self, epoch: u32) -> Resolved {
        if std::mem::take(&mut self.hidden) {
            self.requests.replaced();
        }
        let resolved = self.requests.synchronised(epoch);
        self.queue.open();
        self.settle();
        resolved
    }

    /// The link broke.
    pub(crate) fn broken(&mut self) {
        self.out.clear();
        self.requests.broken(self.queue.close());
    }

    fn settle(&mut self) {
        let settled = self.requests.take_settled();
        self.queue.settle(settled.requests, settled.bytes);
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.requests.give_up();
    }
}

const SYNC: u64 = 1 << 63;

const fn tag(session: SessionId, cxid: i32) -> u64 {
    (session as u64) << 32 | cxid as u64
}

/// What a client was told of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// Whose.
    pub(crate) session: SessionId,
    /// Which.
    pub(crate) cxid: i32,
    /// Where in history it took effect, or failed; `None`: nobody knows.
    pub(crate) at: Option<Zxid>,
}

/// All clients' memory.
#[derive(Debug, Default)]
pub(crate) struct Desk(Mutex<Notes>);

#[derive(Debug, Default)]
struct Notes {
    /// Asked, waited for, and not answered.
    open: BTreeSet<u64>,
    /// Answers not yet looked at.
    told: VecDeque<Told>,
    /// Barriers reached and not yet looked at.
    synced: VecDeque<usize>,
}

impl Desk {
    fn ask(&self, session: SessionId, cxid: i32) {
        self.0.lock().open.insert(tag(session, cxid));
    }

    fn forget(&self, session: SessionId, cxid: i32) {
        self.0.lock().open.remove(&tag(session, cxid));
    }

    /// The client's connection ends: it waits for nothing any more.
    pub(crate) fn hang_up(&self, session: SessionId) {
        self.0.lock().open.retain(|tag| (tag >> 32) as SessionId != session);
    }

    /// Writes that are waited for.
    pub(crate) fn open(&self) -> usize {
        self.0.lock().open.len()
    }

    /// The next answer.
    pub(crate) fn told(&self) -> Option<Told> {
        self.0.lock().told.pop_front()
    }

    /// The next barrier that was reached: how much was committed when it was asked for.
    pub(crate) fn synced(&self) -> Option<usize> {
        self.0.lock().synced.pop_front()
    }
}

impl Requester for Desk {
    fn answered(&self, tag: u64, answer: Answer<'_>) {
        let mut notes = self.0.lock();
        if tag & SYNC != 0 {
            if matches!(answer, Answer::Synced { .. }) {
                notes.synced.push_back((tag & !SYNC) as usize);
            }
            return;
        }
        if !notes.open.remove(&tag) {
            return;
        }
        let at = match answer {
            Answer::Applied { header, .. } => Some(header.zxid),
            Answer::Synced { .. } | Answer::Revalidated { .. } | Answer::Lost => None,
        };
        notes.told.push_back(Told { session: (tag >> 32) as SessionId, cxid: tag as i32, at });
    }

    fn is_waiting(&self, tag: u64) -> bool {
        tag & SYNC != 0 || self.0.lock().open.contains(&tag)
    }
}

/// Whether nothing changed, so that it does not matter when: most of these were refused because their session went on
/// over another link.
fn has_no_effect(txn: &Txn) -> bool {
    match txn {
        Txn::Error(_) => true,
        Txn::Multi(parts) => parts.iter().any(|part| matches!(part, Txn::Error(_))),
        _ => false,
    }
}

/// What clients' writes came to, as history has it.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// Of which transactions it tells.
    reviewed: usize,
    by_write: BTreeMap<(SessionId, i32), Zxid>,
    last: BTreeMap<SessionId, i32>,
}

impl Effects {
    /// Looks at what was committed since the last time.
    pub(crate) fn review(
        &mut self,
        committed: &[Zxid],
        mut read: impl FnMut(Zxid) -> Option<TxnRecord>,
    ) -> Result<(), Violation> {
        for zxid in &committed[self.reviewed..] {
            let Some(record) = read(*zxid) else { continue };
            let (session, cxid) = (record.header.session, record.header.cxid);
            if session < FIRST_SESSION || record.txn.op() == OpCode::CloseSession {
                continue;
            }
            if let Some(before) = self.by_write.insert((session, cxid), *zxid) {
                return Err(Violation(format!(
                    "ExactlyOnce: write {cxid} of session {session} took effect at {before} and at {zxid}"
                )));
            }
            if has_no_effect(&record.txn) {
                continue;
            }
            if let Some(last) = self.last.insert(session, cxid).filter(|last| *last > cxid) {
                return Err(Violation(format!(
                    "SessionOrder: write {cxid} of session {session} took effect after its write {last}"
                )));
            }
        }
        self.reviewed = committed.len();
        Ok(())
    }

    /// What a client was told is what history has.
    pub(crate) fn compare(&self, told: Told) -> Result<(), Violation> {
        let Told { session, cxid, at } = told;
        let happened = self.by_write.get(&(session, cxid));
        if at.is_none() || at.as_ref() == happened {
            return Ok(());
        }
        Err(Violation(format!(
            "Answers: session {session} was told that its write {cxid} is {at:?}, history has {happened:?}"
        )))
    }
}
