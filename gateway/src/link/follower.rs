//! The observer: what the leader says becomes changes of replica and disk, and answers to the edge.
//!
//! Does no I/O: the connection hands in packets and takes out bytes, the disk thread has its queue.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use palisade_store::{DataTree, Timestamp};
use palisade_wire::quorum::{self, LearnerInfo, PROTOCOL_VERSION, PacketType, QuorumPacket};
use palisade_wire::txn::TxnRecord;
use palisade_wire::{DecodeError, SessionId, Sid, Zxid};
use palisade_zab::{
    CloseReason, Ensemble, Learner, LearnerConfig, LearnerInput, LearnerOutput, LinkId, Recovered, Timing,
};
use tokio::sync::watch;
use tracing::{debug, info, warn};

use crate::config::Config;
use crate::core_link::{Answer, LinkState};
use crate::gateway::GatewayError;
use crate::link::in_flight::InFlight;
use crate::link::queue::{Outgoing, Queue};
use crate::replica::disk::{Disk, DiskGone, Done};
use crate::replica::{Replica, check_digest};

/// Transactions that are applied under one lock.
const MAX_BATCH: usize = 1_024;
/// Bytes towards the leader beyond which no more requests are taken.
const MAX_OUT: usize = 256 << 10;
/// The learner counts its limits in ticks; the gateway is told spans.
const SYNC_LIMIT_TICKS: u32 = 5;

/// Why a connection to a leader ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("closed by the leader")]
    Closed,
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("cannot be decoded: {0}")]
    Garbled(#[from] DecodeError),
    #[error("transaction {zxid} cannot be decoded: {source}")]
    Txn { zxid: Zxid, source: DecodeError },
    #[error("bad snapshot: {0}")]
    Snapshot(#[from] super::snap::SnapError),
    #[error("the snapshot stalled for {0:?}")]
    Stalled(Duration),
    #[error("{0}")]
    Refused(CloseReason),
    #[error("the greeting that was sent is not that of this learner")]
    Greeting,
    /// Not this connection only: the gateway cannot go on.
    #[error("{0}")]
    Fatal(#[from] GatewayError),
}

impl From<DiskGone> for LinkError {
    fn from(_: DiskGone) -> Self {
        Self::Fatal(GatewayError::DiskGone)
    }
}

/// What the learner's outputs mean for replica and edge, in order.
#[derive(Debug)]
enum Step {
    Apply(TxnRecord),
    Synced,
    Revalidated { session: SessionId, valid: bool },
    Serving { epoch: u32 },
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Follower {
    id: Sid,
    learner: Learner,
    start: Instant,
    accepted_epoch: u32,
    replica: Replica,
    /// The thread that makes it durable.
    pub(crate) disk: Disk,
    /// What the edge wants.
    pub(crate) queue: Arc<Queue>,
    state: watch::Sender<LinkState>,
    links: u64,
    link: Option<Link>,
    /// Read behind SNAP; not the replica before the learner says so.
    received: Option<Box<DataTree>>,
    steps: Vec<Step>,
    since_snapshot: u64,
    snap_count: u64,
}

/// The connection that is up.
#[derive(Debug)]
struct Link {
    id: LinkId,
    voter: String,
    greeted: bool,
    serving: bool,
    out: BytesMut,
    in_flight: InFlight,
    taken: VecDeque<Outgoing>,
    /// Of the packet handed in last: decoded once to see that it can be.
    decoded: Option<TxnRecord>,
    closed: Option<CloseReason>,
}

/// What a follower starts with.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) recovered: Recovered,
    pub(crate) replica: Replica,
    pub(crate) disk: Disk,
    pub(crate) queue: Arc<Queue>,
    pub(crate) state: watch::Sender<LinkState>,
    /// Transactions since the newest snapshot.
    pub(crate) since_snapshot: u64,
}

impl Follower {
    pub(crate) fn new(config: &Config, parts: Parts) -> Result<Self, GatewayError> {
        let tick = config.core.sync_timeout / SYNC_LIMIT_TICKS;
        let init_limit = config.core.init_timeout.div_duration_f64(tick).ceil() as u32;
        let timing = Timing { tick, init_limit, sync_limit: SYNC_LIMIT_TICKS };
        let learner = LearnerConfig { timing, ..LearnerConfig::new(config.id) };
        let Parts { recovered, replica, disk, queue, state, since_snapshot } = parts;
        let accepted_epoch = recovered.accepted_epoch;
        Ok(Self {
            id: config.id,
            learner: Learner::new(learner, recovered).map_err(|e| GatewayError::Learner(e.to_string()))?,
            start: Instant::now(),
            accepted_epoch,
            replica,
            disk,
            queue,
            state,
            links: 0,
            link: None,
            received: None,
            steps: Vec::new(),
            since_snapshot,
            snap_count: config.storage.snap_count,
        })
    }

    /// The first packet of a connection: this is an observer, of this id, that accepted this epoch.
    pub(crate) fn greeting(&self) -> QuorumPacket {
        let info = LearnerInfo { sid: self.id, protocol_version: PROTOCOL_VERSION, config_version: 0 };
        let zxid = Zxid::new(self.accepted_epoch, 0);
        QuorumPacket::new(PacketType::ObserverInfo, zxid, Some(info.encode()))
    }

    /// Leaders of epochs before this one are not followed.
    pub(crate) const fn accepted_epoch(&self) -> u32 {
        self.accepted_epoch
    }

    /// When [`Self::timeout`] is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let due = self.learner.next_timeout()?;
        Some(self.start + Duration::from_millis(due.as_millis()))
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// A connection is up, and [`Self::greeting`] was sent on it.
    pub(crate) fn link_up(&mut self, voter: String) -> Result<(), LinkError> {
        self.links += 1;
        let id = LinkId(self.links);
        self.state.send_replace(LinkState::Synchronising { leader: voter.clone() });
        self.link = Some(Link {
            id,
            voter,
            greeted: false,
            serving: false,
            out: BytesMut::new(),
            in_flight: InFlight::default(),
            taken: VecDeque::new(),
            decoded: None,
            closed: None,
        });
        self.input(LearnerInput::LinkUp { link: id })
    }

    /// The connection is gone. Says whether requests had been taken on it.
    pub(crate) fn link_down(&mut self) -> Result<bool, LinkError> {
        // What the learner delivered counts, whatever came behind it.
        self.settle();
        let Some(link) = self.link.take() else { return Ok(false) };
        let unsent = self.queue.close();
        self.state.send_replace(LinkState::Searching);
        // In order of acceptance: what was sent, what was taken to be sent, what was not.
        drop(link.in_flight);
        drop(link.taken);
        drop(unsent);
        self.received = None;
        self.input(LearnerInput::LinkDown { link: link.id })?;
        self.settle();
        Ok(link.serving)
    }

    /// The leader said something. Its effects are there after [`Self::settle`].
    pub(crate) fn packet(&mut self, packet: QuorumPacket) -> Result<(), LinkError> {
        let Some(link) = &mut self.link else { return Ok(()) };
        match packet.packet_type() {
            Some(PacketType::NewLeader) => refuse_voter_id(self.id, packet.data())?,
            // A transaction that cannot be understood must not reach the log.
            Some(PacketType::Proposal | PacketType::Inform) => {
                link.decoded = Some(decode_txn(packet.zxid, &packet.data.clone().unwrap_or_default())?);
            }
            Some(PacketType::InformAndActivate) => {
                let data = packet.data.clone().unwrap_or_default();
                let payload = if data.len() >= 8 { data.slice(8..) } else { data };
                link.decoded = Some(decode_txn(packet.zxid, &payload)?);
            }
            _ => {}
        }
        let link = link.id;
        self.input(LearnerInput::Packet { link, packet })
    }

    /// The tree behind a SNAP packet was read.
    pub(crate) fn snapshot_received(&mut self, tree: Box<DataTree>) -> Result<(), LinkError> {
        let Some(link) = &self.link else { return Ok(()) };
        let (link, zxid) = (link.id, tree.last_zxid());
        self.received = Some(tree);
        self.input(LearnerInput::SnapshotReceived { link, zxid })
    }

    /// [`Self::deadline`] was reached.
    pub(crate) fn timeout(&mut self) -> Result<(), LinkError> {
        let now = self.now();
        self.learner.handle_timeout(now);
        self.drain()?;
        self.settle();
        Ok(())
    }

    /// The disk thread has done something.
    pub(crate) fn disk_done(&mut self, done: Done) -> Result<(), LinkError> {
        let input = match done {
            Done::Flushed(zxid) => LearnerInput::Flushed { zxid },
            Done::AcceptedEpoch(epoch) => LearnerInput::AcceptedEpochWritten { epoch },
            Done::CurrentEpoch(epoch) => LearnerInput::CurrentEpochWritten { epoch },
            Done::Truncated(tree) => {
                let zxid = tree.last_zxid();
                return self.begin_anew(tree, LearnerInput::Truncated { zxid });
            }
            Done::Installed(tree) => {
                let zxid = tree.last_zxid();
                return self.begin_anew(tree, LearnerInput::SnapshotInstalled { zxid });
            }
            Done::NotTruncated(e) => {
                warn!(error = %e, "asking the leader for a snapshot instead");
                LearnerInput::TruncateFailed
            }
            Done::Failed(e) => return Err(GatewayError::Disk(e).into()),
        };
        self.input(input)?;
        self.settle();
        Ok(())
    }

    /// Another tree than the present one is now on disk. It may hold parts of the transactions that the learner
    /// delivers next, so it is shown only with them.
    fn begin_anew(&mut self, mut tree: Box<DataTree>, input: LearnerInput) -> Result<(), LinkError> {
        self.since_snapshot = 0;
        self.input(input)?;
        let mut rest = Vec::new();
        for step in self.steps.drain(..) {
            match step {
                Step::Apply(record) => {
                    tree.apply(&record.header, &record.txn, &mut |_| {});
                    check_digest(&tree, record.header.zxid, record.digest);
                    self.since_snapshot += 1;
                }
                other => rest.push(other),
            }
        }
        self.steps = rest;
        let (old, new) = (self.replica.last_zxid(), tree.last_zxid());
        if new < old {
            warn!(%old, %new, "the core's history is behind this replica: transactions that clients may have seen are lost");
        } else {
            info!(%old, %new, "the replica was replaced as a whole");
        }
        drop(self.replica.replace(*tree));
        self.settle();
        Ok(())
    }

    fn input(&mut self, input: LearnerInput) -> Result<(), LinkError> {
        let now = self.now();
        self.learner.handle(now, input);
        self.drain()
    }

    fn drain(&mut self) -> Result<(), LinkError> {
        while let Some(output) = self.learner.poll_output() {
            self.output(output)?;
        }
        match self.link.as_mut().and_then(|link| link.closed.take()) {
            Some(reason) => Err(LinkError::Refused(reason)),
            None => Ok(()),
        }
    }

    fn output(&mut self, output: LearnerOutput) -> Result<(), LinkError> {
        match output {
            LearnerOutput::Send { link, packet } => self.send(link, &packet)?,
            LearnerOutput::AnswerPing { link, zxid } => {
                let touched = self.queue.take_touched();
                self.send(link, &QuorumPacket::new(PacketType::Ping, zxid, Some(touched)))?;
            }
            LearnerOutput::Close { link, reason } => {
                if let Some(link) = self.link.as_mut().filter(|l| l.id == link) {
                    link.closed = Some(reason);
                }
            }
            LearnerOutput::Packet { link, packet } => {
                if self.link.as_ref().is_some_and(|l| l.id == link) {
                    self.answer(&packet)?;
                }
            }
            LearnerOutput::Append { zxid, payload } => self.disk.append(zxid, payload)?,
            LearnerOutput::Truncate { to } => self.disk.truncate(to)?,
            LearnerOutput::InstallSnapshot { zxid } => match self.received.take() {
                Some(tree) => self.disk.install(tree)?,
                None => return Err(GatewayError::Learner(format!("no tree for snapshot {zxid}")).into()),
            },
            LearnerOutput::WriteAcceptedEpoch { epoch } => {
                self.accepted_epoch = epoch;
                self.disk.write_accepted_epoch(epoch)?;
            }
            LearnerOutput::WriteCurrentEpoch { epoch } => self.disk.write_current_epoch(epoch)?,
            LearnerOutput::Deliver { zxid, payload } => {
                let record = self.take_decoded(zxid, &payload)?;
                self.steps.push(Step::Apply(record));
            }
            LearnerOutput::Serving { link, epoch } => {
                if self.link.as_ref().is_some_and(|l| l.id == link) {
                    self.steps.push(Step::Serving { epoch });
                }
            }
        }
        Ok(())
    }

    fn send(&mut self, to: LinkId, packet: &QuorumPacket) -> Result<(), LinkError> {
        let greeting = self.greeting();
        let Some(link) = self.link.as_mut().filter(|link| link.id == to) else { return Ok(()) };
        if link.greeted {
            packet.encode(&mut link.out);
            return Ok(());
        }
        link.greeted = true;
        if *packet == greeting { Ok(()) } else { Err(LinkError::Greeting) }
    }

    fn answer(&mut self, packet: &QuorumPacket) -> Result<(), LinkError> {
        match packet.packet_type() {
            Some(PacketType::Sync) => self.steps.push(Step::Synced),
            Some(PacketType::Revalidate) => {
                let (session, valid) = quorum::decode_revalidated(packet.data())?;
                self.steps.push(Step::Revalidated { session, valid });
            }
            _ => debug!(kind = packet.kind, "ignored a packet"),
        }
        Ok(())
    }

    fn take_decoded(&mut self, zxid: Zxid, payload: &Bytes) -> Result<TxnRecord, LinkError> {
        let decoded = self.link.as_mut().and_then(|link| link.decoded.take());
        match decoded.filter(|record| record.header.zxid == zxid) {
            Some(record) => Ok(record),
            // It could be decoded when it was received, so this cannot fail, and must not be survived.
            None => TxnRecord::decode(payload).map_err(|source| GatewayError::Txn { zxid, source }.into()),
        }
    }

    /// Carries out what the packets handed in so far mean for replica and edge.
    pub(crate) fn settle(&mut self) {
        let mut steps = std::mem::take(&mut self.steps);
        let mut pending = steps.drain(..).peekable();
        while pending.peek().is_some() {
            let mut batch = self.replica.write();
            for step in pending.by_ref().take(MAX_BATCH) {
                let link = self.link.as_mut();
                match step {
                    Step::Apply(record) => {
                        let ticket = link.and_then(|l| l.in_flight.take_write(&record.header, &record.txn));
                        batch.apply(&record, ticket);
                        self.since_snapshot += 1;
                    }
                    Step::Synced => {
                        if let Some(ticket) = link.and_then(|l| l.in_flight.take_sync()) {
                            ticket.answer(Answer::Synced { zxid: batch.last_zxid() });
                        }
                    }
                    Step::Revalidated { session, valid } => {
                        if let Some(ticket) = link.and_then(|l| l.in_flight.take_revalidation(session)) {
                            ticket.answer(Answer::Revalidated { valid });
                        }
                    }
                    Step::Serving { epoch } => {
                        if let Some(link) = link {
                            link.serve(epoch, &self.queue, &self.state);
                        }
                    }
                }
            }
        }
        drop(pending);
        self.steps = steps;
        if let Some(link) = &mut self.link {
            let settled = link.in_flight.take_settled();
            if settled.requests > 0 {
                self.queue.settle(settled.requests, settled.bytes);
            }
        }
        if self.since_snapshot >= self.snap_count && self.disk.snapshot().is_ok() {
            self.since_snapshot = 0;
        }
    }

    /// Moves requests that wait into the bytes to be sent, as far as there is room.
    pub(crate) fn take_requests(&mut self) {
        let Some(link) = &mut self.link else { return };
        if !link.serving || link.out.len() >= MAX_OUT {
            return;
        }
        if link.taken.is_empty() {
            self.queue.take(&mut link.taken);
        }
        while link.out.len() < MAX_OUT
            && let Some(outgoing) = link.taken.pop_front()
        {
            let cost = outgoing.cost();
            outgoing.packet.encode(&mut link.out);
            link.in_flight.sent(outgoing.expect, outgoing.ticket, cost);
        }
    }

    /// What the connection waits on, borrowed apart.
    pub(crate) fn io(&mut self) -> (&mut Disk, &Queue, Option<&mut BytesMut>) {
        (&mut self.disk, &self.queue, self.link.as_mut().map(|link| &mut link.out))
    }

    /// The link ends for good.
    pub(crate) fn stop(mut self) -> Disk {
        if let Err(e) = self.link_down() {
            warn!(error = %e, "while the link was closed");
        }
        self.state.send_replace(LinkState::Stopped);
        self.disk
    }
}

impl Link {
    fn serve(&mut self, epoch: u32, queue: &Queue, state: &watch::Sender<LinkState>) {
        self.serving = true;
        queue.open();
        info!(leader = self.voter, epoch, "following the leader");
        state.send_replace(LinkState::Connected { leader: self.voter.clone(), epoch: epoch.into() });
    }
}

fn decode_txn(zxid: Zxid, payload: &Bytes) -> Result<TxnRecord, LinkError> {
    TxnRecord::decode(payload).map_err(|source| LinkError::Txn { zxid, source })
}

/// An observer under a voter's id would vote, by its greeting alone (Apache `Leader.getEpochToPropose`).
fn refuse_voter_id(id: Sid, config: &[u8]) -> Result<(), GatewayError> {
    let Ok(text) = std::str::from_utf8(config) else { return Ok(()) };
    match Ensemble::parse(text) {
        Ok(ensemble) if ensemble.is_voter(id) => Err(GatewayError::IdIsVoter { id }),
        Ok(_) => Ok(()),
        // Leaders of 3.4 send none.
        Err(e) => {
            debug!(error = %e, "the leader's configuration is not understood");
            Ok(())
        }
    }
}
