//! One connection to a leader, from the introduction to the broadcast.

use std::collections::VecDeque;

use bytes::Bytes;
use palisade_store::Timestamp;
use palisade_wire::quorum::{LearnerInfo, PROTOCOL_VERSION, PacketType, QuorumPacket};
use palisade_wire::{Sid, Zxid};

use crate::config::Timing;
use crate::ensemble::Ensemble;
use crate::history::History;
use crate::io::{CloseReason, LearnerOutput, LinkId};

/// What the learner takes part in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Votes: its acknowledgements are promises. It logs what it is told at once.
    Follower,
    /// Only listens. It touches nothing before UPTODATE, as what it shows to clients must be committed.
    Observer,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionConfig {
    pub(crate) sid: Sid,
    pub(crate) kind: Kind,
    pub(crate) timing: Timing,
    /// Version of the configuration that this learner knows.
    pub(crate) config_version: i64,
    /// Bytes of payload that may wait for the disk or for UPTODATE.
    pub(crate) max_held: usize,
}

/// How far the conversation has come. Each phase names what it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// LEADERINFO.
    Epoch,
    /// The accepted epoch to be durable. `vote`: whether ACKEPOCH then counts as one.
    EpochWritten { vote: bool },
    /// DIFF, TRUNC or SNAP.
    Plan,
    /// The tree stream behind SNAP, which the owner reads.
    Snapshot { zxid: Zxid },
    /// NEWLEADER, after the transactions that are missing.
    Sync,
    /// Everything received up to `upto` to be durable (followers).
    LogFlushed { upto: Zxid },
    /// The current epoch to be durable (followers).
    EpochCurrent,
    /// UPTODATE.
    UpToDate,
    /// The log or the tree to be replaced, after UPTODATE (observers).
    Replacing,
    /// Nothing: this is the broadcast.
    Active,
    /// Closed; to be dropped.
    Closed,
}

/// How the leader brings this learner up to date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    Diff,
    Trunc(Zxid),
    Snap(Zxid),
}

/// A learner's side of one connection.
#[derive(Debug)]
pub(crate) struct Session {
    config: SessionConfig,
    link: LinkId,
    phase: Phase,
    epoch: u32,
    plan: Plan,
    /// The last transaction received, or where the plan starts.
    tail: Zxid,
    /// The last transaction known to be committed, or where the plan starts.
    committed: Zxid,
    /// Received, but not in the log: it waits for the fence, or for UPTODATE.
    held: VecDeque<(Zxid, Bytes)>,
    held_bytes: usize,
    /// The last proposal acknowledged. Counts from UPTODATE on.
    acked: Zxid,
    /// Whether the log is being cut or replaced at this session's request, not at a former one's.
    replacing: bool,
    /// Whether this session has asked for a snapshot whatever its log.
    begged: bool,
    /// Whether the link was closed for a fault that a snapshot from the same leader repairs.
    repairable: bool,
    deadline: Option<Timestamp>,
}

type Out = VecDeque<LearnerOutput>;
/// What a step comes to: to go on, or to close the link.
type Step = Result<(), CloseReason>;

impl Session {
    /// Introduces this learner over a link just established.
    pub(crate) fn start(
        config: SessionConfig,
        link: LinkId,
        history: &History,
        now: Timestamp,
        out: &mut Out,
    ) -> Self {
        let session = Self {
            config,
            link,
            phase: Phase::Epoch,
            epoch: 0,
            plan: Plan::Diff,
            tail: history.last(),
            committed: history.last(),
            held: VecDeque::new(),
            held_bytes: 0,
            acked: history.last(),
            replacing: false,
            begged: false,
            repairable: false,
            deadline: Some(now + config.timing.init()),
        };
        let kind = match config.kind {
            Kind::Follower => PacketType::FollowerInfo,
            Kind::Observer => PacketType::ObserverInfo,
        };
        let info = LearnerInfo {
            sid: config.sid,
            protocol_version: PROTOCOL_VERSION,
            config_version: config.config_version,
        };
        session.send(kind, Zxid::new(history.accepted_epoch(), 0), Some(info.encode()), out);
        session
    }

    pub(crate) fn link(&self) -> LinkId {
        self.link
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Whether to join the same leader again at once: it will send a snapshot then.
    pub(crate) fn is_repairable(&self) -> bool {
        self.repairable
    }

    /// The leader's epoch, once this learner is synchronised with it.
    pub(crate) fn active_epoch(&self) -> Option<u32> {
        (self.phase == Phase::Active).then_some(self.epoch)
    }

    /// When silence ends the link. None while the owner reads a snapshot.
    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        self.deadline
    }

    pub(crate) fn on_timeout(&mut self, now: Timestamp, out: &mut Out) {
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            self.close(CloseReason::Timeout, out);
        }
    }

    pub(crate) fn on_packet(
        &mut self,
        packet: QuorumPacket,
        now: Timestamp,
        history: &mut History,
        out: &mut Out,
    ) {
        let result = self.packet(packet, history, out);
        self.finish(result, now, history, out);
    }

    /// The tree stream behind SNAP was read to its end.
    pub(crate) fn on_snapshot(&mut self, zxid: Zxid, now: Timestamp, history: &mut History, out: &mut Out) {
        if self.phase != (Phase::Snapshot { zxid }) {
            return self.close(CloseReason::Protocol("a tree stream without SNAP"), out);
        }
        self.phase = Phase::Sync;
        if self.config.kind == Kind::Follower {
            self.replace_history(history, out);
        }
        self.finish(Ok(()), now, history, out);
    }

    /// The log was cut or replaced by a snapshot, or could not be cut.
    pub(crate) fn on_fence_lifted(&mut self, now: Timestamp, history: &mut History, out: &mut Out) {
        let start = match self.plan {
            Plan::Trunc(zxid) | Plan::Snap(zxid) => zxid,
            Plan::Diff => history.last(),
        };
        let replaced = std::mem::take(&mut self.replacing);
        let result = if !replaced || history.last() == start { Ok(()) } else { Err(CloseReason::Gap) };
        self.finish(result, now, history, out);
    }

    /// Something became durable.
    pub(crate) fn on_durable(&mut self, now: Timestamp, history: &mut History, out: &mut Out) {
        let waited = self.deadline.is_none();
        let deadline = self.deadline;
        self.finish(Ok(()), now, history, out);
        if !waited && self.deadline.is_some() {
            self.deadline = deadline;
        }
    }

    /// Takes every step that no longer waits for anything, or closes the link; then sets the deadline anew, as the
    /// leader was heard of or is only now expected to speak.
    fn finish(&mut self, result: Step, now: Timestamp, history: &mut History, out: &mut Out) {
        let result = result.and_then(|()| self.log_held(history, out)).map(|()| self.advance(history, out));
        if let Err(reason) = result {
            if matches!(reason, CloseReason::Gap | CloseReason::Slow) {
                history.ask_for_snapshot();
                self.repairable = !self.begged;
            }
            self.close(reason, out);
        }
        let timing = self.config.timing;
        self.deadline = match self.phase {
            // It is this side's turn, or the owner watches the stream.
            Phase::EpochWritten { .. } | Phase::LogFlushed { .. } | Phase::EpochCurrent => None,
            Phase::Snapshot { .. } | Phase::Closed => None,
            Phase::Active | Phase::Replacing => Some(now + timing.sync()),
            Phase::Epoch | Phase::Plan | Phase::Sync | Phase::UpToDate => Some(now + timing.init()),
        };
    }

    fn packet(&mut self, packet: QuorumPacket, history: &mut History, out: &mut Out) -> Step {
        use PacketType as P;
        let Some(kind) = packet.packet_type() else {
            return Ok(());
        };
        match (self.phase, kind) {
            (Phase::Closed, _) => Ok(()),
            (Phase::Epoch, P::LeaderInfo) => self.on_leader_info(packet.zxid, history, out),
            (Phase::Plan, P::Diff) => self.on_plan(Plan::Diff, history, out),
            (Phase::Plan, P::Trunc) => self.on_plan(Plan::Trunc(packet.zxid), history, out),
            (Phase::Plan, P::Snap) => self.on_plan(Plan::Snap(packet.zxid), history, out),
            (Phase::Epoch | Phase::EpochWritten { .. } | Phase::Plan, P::Ping) => Ok(()),
            (Phase::Epoch | Phase::EpochWritten { .. } | Phase::Plan | Phase::Snapshot { .. }, _) => {
                Err(CloseReason::Protocol("out of turn before synchronisation"))
            }
            (Phase::Sync, P::NewLeader) => self.on_new_leader(&packet),
            (Phase::UpToDate, P::UpToDate) => {
                self.on_up_to_date(history, out);
                Ok(())
            }
            (_, P::Proposal | P::Commit | P::CommitAndActivate | P::Inform | P::InformAndActivate) => {
                self.on_broadcast(kind, packet, history, out)
            }
            (Phase::Active | Phase::Replacing, P::Ping) => {
                out.push_back(LearnerOutput::AnswerPing { link: self.link, zxid: packet.zxid });
                Ok(())
            }
            (Phase::Active, P::Sync | P::Revalidate) => {
                out.push_back(LearnerOutput::Packet { link: self.link, packet });
                Ok(())
            }
            (_, P::Ping | P::Sync | P::Revalidate) => Ok(()),
            _ => Err(CloseReason::Protocol("not for a learner at this point")),
        }
    }

    /// Discovery: accepts the leader's epoch unless a later one was accepted (TLA+ `FollowerProcessLEADERINFO`).
    fn on_leader_info(&mut self, zxid: Zxid, history: &mut History, out: &mut Out) -> Step {
        let epoch = zxid.epoch();
        let accepted = history.accepted_epoch();
        if epoch < accepted || epoch > i32::MAX as u32 {
            return Err(CloseReason::Ahead);
        }
        self.epoch = epoch;
        let vote = epoch > accepted && self.config.kind == Kind::Follower;
        if self.config.kind == Kind::Follower {
            history.write_accepted(epoch, out);
        }
        self.phase = Phase::EpochWritten { vote };
        Ok(())
    }

    fn on_plan(&mut self, plan: Plan, history: &mut History, out: &mut Out) -> Step {
        let last = history.last();
        self.plan = plan;
        let start = match plan {
            Plan::Diff => last,
            Plan::Trunc(to) if to > last => {
                return Err(CloseReason::Protocol("TRUNC to a transaction that this learner never had"));
            }
            Plan::Trunc(zxid) | Plan::Snap(zxid) => zxid,
        };
        (self.tail, self.committed, self.acked) = (start, start, start);
        self.phase = Phase::Sync;
        match plan {
            Plan::Snap(zxid) => self.phase = Phase::Snapshot { zxid },
            Plan::Trunc(_) if self.config.kind == Kind::Follower => self.replace_history(history, out),
            Plan::Trunc(_) | Plan::Diff => {}
        }
        Ok(())
    }

    /// Has the log cut, or replaced by the snapshot received.
    fn replace_history(&mut self, history: &mut History, out: &mut Out) {
        self.replacing = self.plan != Plan::Diff;
        match self.plan {
            Plan::Diff => {}
            Plan::Trunc(to) => history.truncate(to, out),
            Plan::Snap(zxid) => history.install(zxid, out),
        }
    }

    fn on_new_leader(&mut self, packet: &QuorumPacket) -> Step {
        if packet.zxid != Zxid::new(self.epoch, 0) {
            return Err(CloseReason::Protocol("NEWLEADER of another epoch"));
        }
        let config = std::str::from_utf8(packet.data()).ok().and_then(|text| Ensemble::parse(text).ok());
        if self.config.kind == Kind::Observer && config.is_some_and(|c| c.is_voter(self.config.sid)) {
            return Err(CloseReason::VoterSid);
        }
        // Proposals not committed by now are acknowledged one by one after UPTODATE (ZOOKEEPER-4646, 4685).
        self.acked = self.committed;
        self.phase = Phase::LogFlushed { upto: self.tail };
        Ok(())
    }

    fn on_up_to_date(&mut self, history: &mut History, out: &mut Out) {
        self.send(PacketType::Ack, Zxid::new(self.epoch, 0), None, out);
        self.phase = Phase::Replacing;
        if self.config.kind == Kind::Observer {
            // Proposals without a commit are for followers only.
            while self.held.back().is_some_and(|(zxid, _)| *zxid > self.committed) {
                self.held.pop_back();
            }
            self.tail = self.committed;
            // First, so that a crash leaves no transaction of an epoch later than the accepted one.
            history.write_accepted(self.epoch, out);
            self.replace_history(history, out);
        }
    }

    fn on_broadcast(
        &mut self,
        kind: PacketType,
        packet: QuorumPacket,
        history: &mut History,
        out: &mut Out,
    ) -> Step {
        let zxid = packet.zxid;
        let synchronised = matches!(self.phase, Phase::Active | Phase::Replacing);
        let (proposed, committed, skip) = match kind {
            PacketType::Proposal => (true, false, 0),
            PacketType::Inform => (true, true, 0),
            // The id of the designated leader stands before the transaction.
            PacketType::InformAndActivate => (true, true, size_of::<Sid>()),
            _ => (false, true, 0),
        };
        // A synchronised observer is informed; what is meant for followers is not for it.
        if self.config.kind == Kind::Observer && synchronised && proposed != committed {
            return Ok(());
        }
        if matches!(kind, PacketType::CommitAndActivate | PacketType::InformAndActivate) {
            tracing::warn!(%zxid, "the ensemble was reconfigured; this server keeps the members it was started with");
        }
        if proposed && !self.is_in_snapshot(zxid) {
            let data = packet.data.filter(|d| d.len() > skip);
            let data = data.ok_or(CloseReason::Protocol("a transaction without content"))?;
            self.on_txn(zxid, data.slice(skip..))?;
        }
        if committed {
            self.log_held(history, out)?;
            self.on_commit(zxid, history, out)?;
        }
        Ok(())
    }

    /// Whether the snapshot received on this link has it: the leader may repeat what its snapshot already contained.
    fn is_in_snapshot(&self, zxid: Zxid) -> bool {
        matches!(self.plan, Plan::Snap(snapshot) if zxid <= snapshot)
    }

    fn on_txn(&mut self, zxid: Zxid, payload: Bytes) -> Step {
        if !zxid.follows(self.tail) {
            return Err(CloseReason::Gap);
        }
        self.tail = zxid;
        self.held_bytes += payload.len();
        self.held.push_back((zxid, payload));
        if self.held_bytes > self.config.max_held {
            return Err(CloseReason::Slow);
        }
        Ok(())
    }

    /// Commits come in the order of proposals, each once (a Java follower exits otherwise).
    fn on_commit(&mut self, zxid: Zxid, history: &mut History, out: &mut Out) -> Step {
        if zxid <= self.committed {
            return Ok(());
        }
        let logged = history.log().after(self.committed).next().map(|(z, _)| *z);
        let held = || {
            let at = self.held.partition_point(|(z, _)| *z <= self.committed);
            self.held.get(at).map(|(z, _)| *z)
        };
        let next = if history.is_fenced() || !self.may_log() { held() } else { logged.or_else(held) };
        if next != Some(zxid) {
            return Err(CloseReason::Protocol("COMMIT out of order"));
        }
        self.committed = zxid;
        if self.may_log() && !history.is_fenced() {
            history.deliver(zxid, out);
        }
        Ok(())
    }

    /// Whether transactions received go to the log at once (but for a fence).
    fn may_log(&self) -> bool {
        self.config.kind == Kind::Follower || matches!(self.phase, Phase::Active | Phase::Replacing)
    }

    /// Moves to the log what no longer has to be held.
    fn log_held(&mut self, history: &mut History, out: &mut Out) -> Step {
        if !self.may_log() || history.is_fenced() || self.held.is_empty() {
            return Ok(());
        }
        while let Some((zxid, payload)) = self.held.pop_front() {
            history.append(zxid, payload, out).map_err(|_| CloseReason::Gap)?;
        }
        self.held_bytes = 0;
        history.deliver(self.committed, out);
        Ok(())
    }

    /// Goes from phase to phase while nothing is missing.
    fn advance(&mut self, history: &mut History, out: &mut Out) {
        let follower = self.config.kind == Kind::Follower;
        if let Phase::EpochWritten { vote } = self.phase
            && !history.is_fenced()
            && (!follower || history.is_accepted(self.epoch))
        {
            self.phase = Phase::Plan;
            self.ack_epoch(vote, history, out);
        }
        if let Phase::LogFlushed { upto } = self.phase
            && (!follower || (!history.is_fenced() && history.flushed() >= upto))
        {
            self.phase = Phase::EpochCurrent;
            if follower {
                history.write_current(self.epoch, out);
            }
        }
        if self.phase == Phase::EpochCurrent && (!follower || history.current_epoch() >= self.epoch) {
            self.phase = Phase::UpToDate;
            self.send(PacketType::Ack, Zxid::new(self.epoch, 0), None, out);
        }
        if self.phase == Phase::Replacing && !history.is_fenced() {
            self.phase = Phase::Active;
            if !follower {
                history.write_current(self.epoch, out);
            }
            history.repaired();
            out.push_back(LearnerOutput::Serving { link: self.link, epoch: self.epoch });
        }
        if self.phase == Phase::Active && follower {
            self.ack_flushed(history, out);
        }
    }

    /// Discovery's answer. `-1` is not counted as a vote: the epoch was promised before. Then the end of a log that
    /// cannot be repaired may be hidden to be sent a snapshot; in a vote it never may.
    fn ack_epoch(&mut self, vote: bool, history: &History, out: &mut Out) {
        let epoch = if vote { history.current_epoch() as i32 } else { -1 };
        self.begged = history.wants_snapshot() && !vote;
        let last = if self.begged { Zxid::ZERO } else { history.last() };
        let data = Bytes::copy_from_slice(&epoch.to_be_bytes());
        self.send(PacketType::AckEpoch, last, Some(data), out);
    }

    /// Acknowledges each proposal that has become durable, in order.
    fn ack_flushed(&mut self, history: &History, out: &mut Out) {
        let flushed = history.flushed();
        for (zxid, _) in history.log().after(self.acked).take_while(|(zxid, _)| *zxid <= flushed) {
            self.acked = *zxid;
            self.send(PacketType::Ack, *zxid, None, out);
        }
    }

    fn send(&self, kind: PacketType, zxid: Zxid, data: Option<Bytes>, out: &mut Out) {
        out.push_back(LearnerOutput::Send { link: self.link, packet: QuorumPacket::new(kind, zxid, data) });
    }

    fn close(&mut self, reason: CloseReason, out: &mut Out) {
        self.phase = Phase::Closed;
        self.deadline = None;
        out.push_back(LearnerOutput::Close { link: self.link, reason });
    }
}
