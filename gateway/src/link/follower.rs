//! The observer: what the leader says becomes changes of replica and disk, and answers to the edge.
//!
//! Does no I/O: the connection hands in packets and takes out bytes, the disk thread has its queue.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use palisade_admin::system::wall_clock;
use palisade_store::{DataTree, Timestamp};
use palisade_wire::quorum::{self, LearnerInfo, PROTOCOL_VERSION, PacketType, QuorumPacket};
use palisade_wire::txn::TxnRecord;
use palisade_wire::{SessionId, Sid, Zxid};
use palisade_zab::{
    CloseReason, Learner, LearnerConfig, LearnerInput, LearnerOutput, LinkId, Recovered, Timing,
};
use tokio::sync::watch;
use tokio::time::Instant as Clock;
use tracing::{debug, info, warn};

use crate::config::Config;
use crate::core_link::{Answer, LinkState};
use crate::gateway::GatewayError;
use crate::link::aside::Aside;
use crate::link::error::LinkError;
use crate::link::in_flight::Settled;
use crate::link::queue::Queue;
use crate::link::requests::{Requests, Resolved};
use crate::link::touches::Rounds;
use crate::link::up::Link;
use crate::metrics::Metrics;
use crate::replica::Replica;
use crate::replica::disk::{Disk, Done};
use crate::replica::proof::Proof;

/// Transactions that are applied under one lock.
const MAX_BATCH: usize = 1_024;
/// The learner counts its limits in ticks; the gateway is told spans.
const SYNC_LIMIT_TICKS: u32 = 5;
/// Bytes towards the leader beyond which no more requests are taken.
const MAX_OUT: usize = 256 << 10;
/// How often a proof of the replica's freshness is written down.
const RECORD_EVERY: Duration = Duration::from_secs(5);
/// An Apache leader without a quorum notices that after syncLimit ticks and at most two more: this many times the
/// configured limit.
const APACHE_DOUBT: u32 = 2;

/// What the learner's outputs mean for replica and edge, in order.
#[derive(Debug)]
enum Step {
    Apply(TxnRecord),
    Synced,
    Revalidated { session: SessionId, valid: bool },
    Serving { epoch: u32 },
}

impl Step {
    const fn record(&self) -> Option<&TxnRecord> {
        if let Self::Apply(record) = self { Some(record) } else { None }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Follower {
    id: Sid,
    learner: Learner,
    start: Instant,
    replica: Replica,
    /// The thread that makes it durable.
    pub(crate) disk: Disk,
    /// What the edge wants.
    pub(crate) queue: Arc<Queue>,
    state: watch::Sender<LinkState>,
    links: u64,
    link: Option<Link>,
    /// What the edge wants, and the core has not yet answered.
    requests: Requests,
    sync_timeout: Duration,
    /// Read behind SNAP; not the replica before the learner says so.
    received: Option<Box<DataTree>>,
    aside: Aside,
    /// Whether a leader made this learner forget transactions that are still shown.
    rewound: bool,
    steps: Vec<Step>,
    since_snapshot: u64,
    snap_count: u64,
    /// The proof of freshness that was last written down.
    recorded: Option<Instant>,
    metrics: Arc<Metrics>,
}

/// What a follower starts with.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) replica: Replica,
    pub(crate) disk: Disk,
    pub(crate) queue: Arc<Queue>,
    pub(crate) state: watch::Sender<LinkState>,
    /// Transactions since the newest snapshot.
    pub(crate) since_snapshot: u64,
    pub(crate) metrics: Arc<Metrics>,
}

impl Follower {
    pub(crate) fn new(config: &Config, recovered: Recovered, parts: Parts) -> Result<Self, GatewayError> {
        let tick = config.core.sync_timeout / SYNC_LIMIT_TICKS;
        let init_limit = config.core.init_timeout.div_duration_f64(tick).ceil() as u32;
        let timing = Timing { tick, init_limit, sync_limit: SYNC_LIMIT_TICKS };
        let learner = LearnerConfig { timing, ..LearnerConfig::new(config.id) };
        let Parts { replica, disk, queue, state, since_snapshot, metrics } = parts;
        Ok(Self {
            id: config.id,
            learner: Learner::new(learner, recovered).map_err(|e| GatewayError::Learner(e.to_string()))?,
            start: Instant::now(),
            replica,
            disk,
            queue,
            state,
            links: 0,
            link: None,
            requests: Requests::default(),
            sync_timeout: config.core.sync_timeout,
            received: None,
            aside: Aside::default(),
            rewound: false,
            steps: Vec::new(),
            since_snapshot,
            snap_count: config.storage.snap_count,
            recorded: None,
            metrics,
        })
    }

    /// The first packet of a connection: this is an observer, of this id, that accepted this epoch.
    pub(crate) fn greeting(&self) -> QuorumPacket {
        let info = LearnerInfo { sid: self.id, protocol_version: PROTOCOL_VERSION, config_version: 0 };
        let zxid = Zxid::new(self.accepted_epoch(), 0);
        QuorumPacket::new(PacketType::ObserverInfo, zxid, Some(info.encode()))
    }

    /// Leaders of epochs before this one are not followed.
    pub(crate) fn accepted_epoch(&self) -> u32 {
        self.learner.accepted_epoch()
    }

    /// Whether the disk is replacing what this learner tells a leader that it has: no leader is to be told now.
    pub(crate) const fn is_replacing(&self) -> bool {
        self.aside.is_on_its_way()
    }

    /// When [`Self::timeout`] is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let due = self.learner.next_timeout().map(|due| self.start + Duration::from_millis(due.as_millis()));
        let round =
            self.link.as_ref().and_then(|link| link.rounds.as_ref()).map(|rounds| rounds.due().into_std());
        [due, round].into_iter().flatten().min()
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// A connection is up, and [`Self::greeting`] was sent on it.
    pub(crate) fn link_up(&mut self, voter: String) -> Result<(), LinkError> {
        self.links += 1;
        let id = LinkId(self.links);
        self.state.send_replace(LinkState::Synchronising { leader: voter.clone() });
        self.link = Some(Link::new(id, voter));
        self.input(LearnerInput::LinkUp { link: id })
    }

    /// The connection is gone. Says whether requests had been taken on it.
    pub(crate) fn link_down(&mut self) -> Result<bool, LinkError> {
        // What the learner delivered counts, whatever came behind it.
        self.settle();
        self.record_proof(Duration::ZERO)?;
        let Some(link) = self.link.take() else { return Ok(false) };
        self.requests.broken(self.queue.close());
        self.state.send_replace(LinkState::Searching);
        self.received = None;
        self.input(LearnerInput::LinkDown { link: link.id })?;
        self.settle();
        Ok(link.serving)
    }

    /// Bytes came. They count as the core's only once it takes requests: until then, it is told of no session.
    pub(crate) fn heard(&self) {
        if self.link.as_ref().is_some_and(|link| link.serving) {
            self.queue.contact.heard();
        }
    }

    /// The leader said something. Its effects are there after [`Self::settle`].
    pub(crate) fn packet(&mut self, packet: QuorumPacket) -> Result<(), LinkError> {
        let Some(link) = &mut self.link else { return Ok(()) };
        match packet.packet_type() {
            Some(PacketType::LeaderInfo) => link.confirms_sync = quorum::confirms_sync(packet.data()),
            Some(PacketType::NewLeader) => link.config = packet.data.clone(),
            // A transaction that cannot be understood must not reach the log.
            Some(PacketType::Proposal | PacketType::Inform) => {
                let record = decode_txn(packet.zxid, &packet.data.clone().unwrap_or_default())?;
                if link.serving {
                    let timing = &self.metrics.commit_propagation_latency;
                    timing.record_age(record.header.time, wall_clock());
                }
                link.decoded = Some(record);
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
        self.ask();
        self.record_proof(RECORD_EVERY)
    }

    /// Writes down how fresh the replica is, for a restart without a core, if that is so much later than what was
    /// written before.
    fn record_proof(&mut self, later: Duration) -> Result<(), LinkError> {
        let serving = self.link.as_ref().is_some_and(|link| link.serving);
        let Some(proven) = self.queue.contact.proven().filter(|_| serving) else { return Ok(()) };
        if self.recorded.is_none_or(|before| proven.saturating_duration_since(before) > later) {
            self.recorded = Some(proven);
            self.disk.record(Proof::new(self.replica.last_zxid(), proven.elapsed()))?;
        }
        Ok(())
    }

    /// Begins a round, if it is time to.
    fn ask(&mut self) {
        let Some(link) = self.link.as_mut() else { return };
        let Some(rounds) = link.rounds.as_mut().filter(|rounds| rounds.due() <= Clock::now()) else { return };
        rounds.begin(&self.queue).iter().for_each(|packet| packet.encode(&mut link.out));
        if !self.replica.is_on_disk() && self.aside.is_nothing() {
            // Asks for all of it to be written again. A thread that has ended says so by itself.
            self.disk.snapshot().ok();
        }
    }

    /// The disk thread has done something.
    pub(crate) fn disk_done(&mut self, done: Done) -> Result<(), LinkError> {
        let input = match done {
            Done::Flushed(zxid) => LearnerInput::Flushed { zxid },
            Done::AcceptedEpoch(epoch) => LearnerInput::AcceptedEpochWritten { epoch },
            Done::CurrentEpoch(epoch) => LearnerInput::CurrentEpochWritten { epoch },
            Done::Truncated(tree) => {
                let zxid = tree.last_zxid();
                self.aside.arrived(tree);
                LearnerInput::Truncated { zxid }
            }
            Done::Installed(tree) => {
                let zxid = tree.last_zxid();
                self.aside.arrived(tree);
                LearnerInput::SnapshotInstalled { zxid }
            }
            Done::NotTruncated(e) => {
                warn!(error = %e, "asking the leader for a snapshot instead");
                self.aside.failed();
                LearnerInput::TruncateFailed
            }
            Done::Failed(e) => return Err(GatewayError::Disk(e).into()),
        };
        self.input(input)?;
        self.settle();
        Ok(())
    }

    /// Shows the tree that was kept aside.
    fn show(&mut self) {
        let Some(tree) = self.aside.take() else { return };
        let (old, new) = (self.replica.last_zxid(), tree.last_zxid());
        let rewound = std::mem::take(&mut self.rewound) || new < old;
        if rewound {
            warn!(%old, %new, "the core's history is behind this replica: clients may have seen what is lost now");
        } else {
            info!(%old, %new, "the replica was replaced as a whole");
        }
        self.since_snapshot = 0;
        self.requests.replaced();
        drop(self.replica.replace(*tree, rewound));
        self.replica.set_whole(true);
        // A thread that has ended says so by itself.
        self.disk.whole(new).ok();
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
            Some(CloseReason::VoterSid) => Err(GatewayError::IdIsVoter { id: self.id }.into()),
            Some(reason) => Err(LinkError::Refused(reason)),
            None => Ok(()),
        }
    }

    fn output(&mut self, output: LearnerOutput) -> Result<(), LinkError> {
        match output {
            LearnerOutput::Send { link, packet } => self.send(link, &packet)?,
            LearnerOutput::AnswerPing { link, zxid } => {
                let touched = self.queue.touches.tell();
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
            LearnerOutput::Truncate { to } => {
                self.aside.begin();
                self.rewound = true;
                self.disk.truncate(to)?;
            }
            LearnerOutput::InstallSnapshot { zxid } => {
                let no_tree = || GatewayError::Learner(format!("no tree for snapshot {zxid}"));
                self.aside.begin();
                self.disk.install(self.received.take().ok_or_else(no_tree)?)?;
            }
            LearnerOutput::WriteAcceptedEpoch { epoch } => self.disk.write_accepted_epoch(epoch)?,
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
        let Some(link) = self.link.as_mut().filter(|link| link.id == to) else { return Ok(()) };
        if link.greeted {
            packet.encode(&mut link.out);
            return Ok(());
        }
        link.greeted = true;
        if *packet == self.greeting() { Ok(()) } else { Err(LinkError::Greeting) }
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
        let steps = std::mem::take(&mut self.steps);
        let mut rest = steps.as_slice();
        if self.aside.is_hidden() {
            let whole = rest.iter().enumerate().find_map(|(at, step)| Some((at, self.completes(step)?)));
            let (hidden, shown) = rest.split_at(whole.map_or(rest.len(), |(at, _)| at));
            self.aside.apply(hidden.iter().filter_map(Step::record));
            rest = shown;
            if let Some((_, epoch)) = whole {
                self.show();
                self.carry_out(&[Step::Serving { epoch }]);
                rest = &shown[1..];
            }
        }
        self.carry_out(rest);
        self.steps = steps;
        self.since_snapshot += self.steps.drain(..).filter(|step| step.record().is_some()).count() as u64;
        // A snapshot is made of the tree that is shown.
        if self.aside.is_nothing() && self.since_snapshot >= self.snap_count && self.disk.snapshot().is_ok() {
            self.since_snapshot = 0;
        }
    }

    /// The epoch, if this completes the hidden tree. A leader goes on while it sends a tree, which may hold parts of
    /// transactions that it sends behind UPTODATE. They are here when it has answered a sync.
    fn completes(&mut self, step: &Step) -> Option<u32> {
        let link = self.link.as_mut()?;
        match step {
            Step::Serving { epoch } => {
                link.ask_for_the_rest(*epoch);
                None
            }
            // Nothing else can have asked for it: no request is taken before.
            Step::Synced => link.fence.take(),
            Step::Apply(_) | Step::Revalidated { .. } => None,
        }
    }

    fn carry_out(&mut self, steps: &[Step]) {
        for some in steps.chunks(MAX_BATCH) {
            let replica = self.replica.clone();
            let mut batch = replica.write();
            for step in some {
                match step {
                    Step::Apply(record) => batch.apply(record, self.requests.applied(record)),
                    Step::Synced
                        if let Some(epoch) = self.link.as_mut().and_then(|link| link.fence.take()) =>
                    {
                        self.replica.set_whole(true);
                        self.disk.whole(batch.last_zxid()).ok();
                        self.serve(epoch);
                    }
                    Step::Synced => {
                        if let Some(ticket) = self.requests.synced() {
                            ticket.answer(Answer::Synced { zxid: batch.last_zxid() });
                        }
                    }
                    Step::Revalidated { session, valid } => {
                        if let Some(ticket) = self.requests.revalidated(*session) {
                            ticket.answer(Answer::Revalidated { valid: *valid });
                        }
                    }
                    Step::Serving { epoch } => {
                        let config = self.link.as_mut().and_then(|link| link.config.take());
                        batch.set_config(config.as_deref().unwrap_or_default());
                        if self.replica.is_whole() {
                            self.serve(*epoch);
                        } else {
                            self.ask_for_the_rest(*epoch);
                        }
                    }
                }
            }
        }
        let Settled { requests, bytes, committed } = self.requests.take_settled();
        if requests > 0 {
            self.queue.settle(requests, bytes);
        }
        if let Some(at) = committed {
            self.queue.contact.proves(at);
        }
    }

    /// The same of a tree that is shown once it is whole.
    fn ask_for_the_rest(&mut self, epoch: u32) {
        if let Some(link) = &mut self.link {
            link.ask_for_the_rest(epoch);
        }
    }

    /// The replica is up to date: what is in doubt is resolved, and requests are taken from now on.
    fn serve(&mut self, epoch: u32) {
        let Some(link) = &mut self.link else { return };
        let Resolved { again, lost } = self.requests.synchronised(epoch);
        info!(leader = link.voter, epoch, again, lost, "following the leader");
        link.serving = true;
        self.metrics.observer_sync_time.record(link.since.elapsed());
        let doubt = if link.confirms_sync { Duration::ZERO } else { self.sync_timeout * APACHE_DOUBT };
        link.rounds = Some(Rounds::new(&self.queue, doubt));
        self.queue.open();
        self.state.send_replace(LinkState::Connected { leader: link.voter.clone(), epoch: epoch.into() });
    }

    /// Moves requests that wait into the bytes to be sent, as far as there is room.
    pub(crate) fn take_requests(&mut self) {
        let Some(link) = self.link.as_mut().filter(|link| link.serving) else { return };
        if link.out.len() < MAX_OUT {
            self.queue.take(self.requests.ready());
            self.requests.send(&mut link.out, MAX_OUT, self.queue.contact.now());
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
        self.requests.give_up();
        self.state.send_replace(LinkState::Stopped);
        self.disk
    }
}

fn decode_txn(zxid: Zxid, payload: &Bytes) -> Result<TxnRecord, LinkError> {
    TxnRecord::decode(payload).map_err(|source| LinkError::Txn { zxid, source })
}
