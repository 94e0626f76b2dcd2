//! The one task that owns the voter's state: it feeds the Zab machine and carries out what that wants done.
//!
//! ```text
//! election links ─┐                       ┌─► election links
//! leader link ────┼─► Input ► Peer ► Output ─► links, jobs for the disk thread
//! learner links ──┤      ▲            └─► Deliver ► tree
//! disk thread ────┘      └── Propose ◄ Leading ◄── requests of learners, expired sessions
//! ```
//!
//! It never waits for anything but its inputs: what it hands out goes to queues that take it at once, and whoever
//! does not drain a queue in time loses its link.

mod carry_out;
mod clock;
mod inputs;
mod intake;
mod leading;
mod learners;
mod progress;
mod read_ahead;
mod requests;
mod schedule;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use palisade_admin::system::wall_clock;
use palisade_disk::DiskError;
use palisade_store::{DataTree, Timestamp};
use palisade_wire::quorum::{PacketType, QuorumPacket};
use palisade_wire::{DecodeError, Sid, Zxid};
use palisade_zab::{Ensemble, Input, LinkId, Peer};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(crate) use clock::Clock;
pub(crate) use inputs::{Inputs, Sources};
pub(crate) use intake::Shares;
use leading::Leading;
pub(crate) use leading::LeadingConfig;
pub(crate) use learners::LearnerCounts;
use learners::Learners;
use read_ahead::ReadAhead;
pub(crate) use schedule::Schedule;

use crate::alone::Foreground;
use crate::disk::{Done, Job, JobQueue};
use crate::election::{ElectionEvent, ElectionPort};
use crate::net::LogGate;
use crate::quorum::{Admission, LeaderEvent, LeaderLink, LeaderPort, LearnerEvent, Received};
use crate::status::Shared;

/// Events of one kind dealt with before the others get their turn.
const BUDGET: usize = 256;
/// The same of those that are batches of packets.
const BATCHES: usize = 4;
/// How long COMMITs wait for something that they can be sent with. Clients of an Apache follower wait as long.
const COMMITS_WAIT: Duration = Duration::from_millis(2);
/// For [`Links::exact_from`]: it is not known from which transaction on.
const NOT_EXACT: Zxid = Zxid(i64::MAX);

/// Why a running voter stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    /// A file could not be read or written. What is on disk decides when the voter is started again.
    #[error("disk failure: {0}")]
    Disk(#[from] DiskError),
    /// A transaction in the log cannot be applied. It was written by a faulty or newer server.
    #[error("transaction {zxid} cannot be read: {source}; restore this server's data from a healthy one")]
    Transaction {
        /// Which.
        zxid: Zxid,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// A defect of this program.
    #[error("internal error: {0}")]
    Internal(String),
}

/// The voter's state and its ways in and out.
pub(crate) struct Driver {
    pub(crate) peer: Peer,
    pub(crate) clock: Clock,
    pub(crate) shared: Arc<Shared>,
    pub(crate) inputs: Inputs,
    pub(crate) election: ElectionPort,
    pub(crate) jobs: JobQueue,
    /// The thread that this runs on, if it may work for the disk as well.
    pub(crate) foreground: Option<Foreground>,
    pub(crate) leader_port: LeaderPort,
    /// Quorum addresses of the other members, by name.
    pub(crate) quorum_addresses: BTreeMap<Sid, String>,
    /// True while learners may connect.
    pub(crate) quorum_open: watch::Sender<bool>,
    pub(crate) leading_config: LeadingConfig,
    pub(crate) schedule: Schedule,
    pub(crate) links: Links,
}

/// Connections of the quorum port, and what exists only while one of them does.
#[derive(Default)]
pub(crate) struct Links {
    learners: Learners,
    /// When COMMITs that wait for company are sent without.
    commits_due: Option<Timestamp>,
    leader: Option<LeaderLink>,
    /// The tree that the leader sent, until it is installed.
    received: Option<(LinkId, Zxid, Box<DataTree>)>,
    /// Transactions of the leader that are not applied yet, as they were read when they came.
    read: ReadAhead,
    leading: Option<Leading>,
    /// Whether this server leads with a quorum, or is up to date with its leader.
    serving: bool,
    /// Up to where the log was durable when that was last noted.
    flushed: Zxid,
    /// Inputs that came up while outputs were carried out.
    follow_ups: VecDeque<Input>,
    /// Of the packets that the machine is dealing with.
    admission: Option<Admission>,
    /// From which transaction on the tree's digest must be the leader's.
    exact_from: Zxid,
    /// For the log lines about learners that come and go, and about trees that differ.
    gate: LogGate,
}

impl Drop for Driver {
    /// Whatever ends the driver ends the disk thread, and with it the lock on the files.
    fn drop(&mut self) {
        self.jobs.close();
    }
}

impl Driver {
    /// Runs until shutdown or a fatal error. What was queued for the disk is written before it returns, unless the
    /// disk is what failed.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) -> Result<(), Fatal> {
        let outcome = self.serve(&shutdown).await;
        self.quorum_open.send_replace(false);
        self.links = Links::default();
        self.jobs.close();
        let mut last = Ok(());
        while let Some(done) = self.inputs.disk.recv().await {
            if let Done::Failed(error) = done {
                last = Err(error.into());
            }
        }
        outcome.and(last)
    }

    async fn serve(&mut self, shutdown: &CancellationToken) -> Result<(), Fatal> {
        self.settle()?;
        loop {
            self.announce();
            let wake = self.clock.instant(self.next_deadline());
            let has_room = self.jobs.has_room();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                done = self.inputs.disk.recv() => match done {
                    Some(done) => self.on_disk(done)?,
                    None => return Err(Fatal::Internal("the disk thread has ended".to_owned())),
                },
                Some(event) = self.inputs.election.recv() => self.on_election(event)?,
                Some(event) = self.inputs.leader.recv(), if has_room => self.on_leader(event)?,
                Some(event) = self.inputs.learners.recv() => self.on_learner(event)?,
                () = tokio::time::sleep_until(wake) => {}
            }
            self.drain()?;
            self.forgive_lateness(wake);
            self.on_time()?;
        }
    }

    /// Deals with more of what is waiting, each kind up to its budget, so that none starves another.
    fn drain(&mut self) -> Result<(), Fatal> {
        for _ in 0..BUDGET {
            let Ok(done) = self.inputs.disk.try_recv() else { break };
            self.on_disk(done)?;
        }
        for _ in 0..BUDGET {
            let Ok(event) = self.inputs.election.try_recv() else { break };
            self.on_election(event)?;
        }
        for _ in 0..BATCHES {
            if !self.jobs.has_room() {
                break;
            }
            let Ok(event) = self.inputs.leader.try_recv() else { break };
            self.on_leader(event)?;
        }
        for _ in 0..BATCHES {
            let Ok(event) = self.inputs.learners.try_recv() else { break };
            self.on_learner(event)?;
        }
        Ok(())
    }

    /// Lets the disk and the links go about what this turn has left for them.
    fn announce(&mut self) {
        match &self.foreground {
            Some(foreground) if self.jobs.claim_here() => foreground.want(),
            _ => self.jobs.announce(),
        }
        // Once set, it stays until it is due, also if the COMMITs leave earlier: to set it anew for each write would wake
        // this thread each time, to tell it of an earlier timer than it waits for.
        if self.links.learners.announce() && self.links.commits_due.is_none() {
            self.links.commits_due = Some(self.clock.now() + COMMITS_WAIT);
        }
        if let Some(leader) = &mut self.links.leader {
            leader.announce();
        }
    }

    /// A process that stood still has not yet read what says that sessions are alive: they get time for that.
    fn forgive_lateness(&mut self, wake: Instant) {
        if wake.elapsed() > self.leading_config.tick
            && let Some(leading) = &mut self.links.leading
        {
            tracing::warn!(late = ?wake.elapsed(), "this process stood still; sessions are not expired for a tick");
            leading.hold_expiry(self.clock.now() + self.leading_config.tick);
        }
    }

    fn next_deadline(&self) -> Timestamp {
        let candidates = [
            self.peer.next_timeout(),
            self.links.leading.as_ref().and_then(Leading::next_deadline),
            self.schedule.next_purge(),
            self.links.commits_due,
        ];
        candidates.into_iter().flatten().min().unwrap_or_else(|| self.clock.later())
    }

    fn on_time(&mut self) -> Result<(), Fatal> {
        let now = self.clock.now();
        if self.peer.next_timeout().is_some_and(|due| due <= now) {
            self.peer.handle_timeout(now);
            self.settle()?;
        }
        if let Some(leading) = &mut self.links.leading
            && leading.next_deadline().is_some_and(|due| due <= now)
        {
            leading.on_time(now, self.clock.wall_ms(), &self.shared);
            self.settle()?;
        }
        if self.links.commits_due.is_some_and(|due| due <= now) {
            self.links.commits_due = None;
            self.links.learners.announce_all();
        }
        if self.schedule.purge_due(now) {
            self.jobs.push(Job::Purge);
        }
        Ok(())
    }

    fn on_disk(&mut self, done: Done) -> Result<(), Fatal> {
        let input = match done {
            Done::Flushed(zxid) => {
                self.note_flushed(zxid);
                Input::Flushed { zxid }
            }
            Done::EpochAccepted(epoch) => Input::AcceptedEpochWritten { epoch },
            Done::EpochEntered(epoch) => Input::CurrentEpochWritten { epoch },
            Done::Truncated(zxid, tree) => {
                self.replace_tree(*tree);
                self.links.exact_from = Zxid::ZERO;
                Input::Truncated { zxid }
            }
            Done::NotTruncated => Input::TruncateFailed,
            Done::Installed(zxid, tree) => {
                self.replace_tree(*tree);
                self.links.exact_from = NOT_EXACT;
                Input::SnapshotInstalled { zxid }
            }
            Done::Snapshot(Some(written)) => {
                self.shared.metrics.snapshottime.record(written.took);
                tracing::info!(zxid = %written.zxid, bytes = written.bytes, took = ?written.took, "snapshot written");
                return Ok(());
            }
            Done::Snapshot(None) => return Ok(()),
            Done::Failed(error) => return Err(error.into()),
        };
        self.input(input)
    }

    /// The old tree may be large: it is dropped where that keeps nobody waiting.
    fn replace_tree(&mut self, mut tree: DataTree) {
        set_config(&mut tree, &self.shared.config.ensemble, self.clock.wall_ms());
        let old = self.shared.tree.replace(tree);
        self.schedule.restart();
        tokio::task::spawn_blocking(move || drop(old));
    }

    fn on_election(&mut self, event: ElectionEvent) -> Result<(), Fatal> {
        self.input(match event {
            ElectionEvent::Up(to) => Input::ElectionLinkUp { to },
            ElectionEvent::Vote(from, notification) => Input::Notification { from, notification },
        })
    }

    fn on_leader(&mut self, event: LeaderEvent) -> Result<(), Fatal> {
        let input = match event {
            LeaderEvent::Up { link } => Input::LeaderLinkUp { link },
            LeaderEvent::Packets { link, packets, admission: _admission } => {
                return self.on_leader_packets(link, packets);
            }
            LeaderEvent::Tree { link, zxid, tree } => {
                if self.links.leader.as_ref().is_none_or(|leader| leader.link != link) {
                    return Ok(());
                }
                self.links.received = Some((link, zxid, tree));
                Input::LeaderSnapshotReceived { link, zxid }
            }
            LeaderEvent::Down { link, reason } => {
                if self.links.leader.as_ref().is_none_or(|leader| leader.link != link) {
                    return Ok(());
                }
                tracing::info!(%reason, "no link to the leader");
                self.links.leader = None;
                self.links.received = None;
                self.links.read.clear();
                Input::LeaderLinkDown { link }
            }
        };
        self.input(input)
    }

    fn on_leader_packets(&mut self, link: LinkId, packets: Vec<Received>) -> Result<(), Fatal> {
        self.shared.metrics.packets_received.add(packets.len() as u64);
        let (now, wall) = (self.clock.now(), wall_clock());
        for Received { packet, txn } in packets {
            if self.links.leader.as_ref().is_none_or(|leader| leader.link != link) {
                return Ok(());
            }
            self.note_ping(&packet);
            self.note_received(&packet, txn.as_ref(), wall);
            if let Some(record) = txn {
                self.links.read.push(record);
            }
            self.step(now, Input::LeaderPacket { link, packet })?;
        }
        self.settle()
    }

    /// A tree that the leader sent may hold parts of what it committed meanwhile. A ping that comes behind that tree names
    /// the last transaction of which it can.
    fn note_ping(&mut self, packet: &QuorumPacket) {
        if packet.packet_type() == Some(PacketType::Ping) && self.links.exact_from == NOT_EXACT {
            self.links.exact_from = packet.zxid;
        }
    }

    fn on_learner(&mut self, event: LearnerEvent) -> Result<(), Fatal> {
        match event {
            LearnerEvent::Up { link, from, info, follower, outbox } => {
                // A leader no more: dropping the outbox closes the link.
                if !*self.quorum_open.borrow() {
                    return Ok(());
                }
                if let Some(held_back) = self.links.gate.pass() {
                    tracing::info!(?link, %from, sid = info.sid, follower, held_back, "learner connected");
                }
                self.links.learners.add(link, from, info.sid, follower, outbox);
                self.input(Input::LearnerUp { link })
            }
            LearnerEvent::Packets { link, packets, admission } => {
                self.shared.metrics.packets_received.add(packets.len() as u64);
                let (now, wall) = (self.clock.now(), wall_clock());
                // A follower's requests must not hold back the acknowledgements behind them: those are what commits them.
                self.links.admission = self.links.learners.is_observer(link).then_some(admission);
                for packet in packets {
                    self.note_ack(link, &packet, wall);
                    self.step(now, Input::LearnerPacket { link, packet })?;
                }
                self.links.admission = None;
                self.settle()
            }
            LearnerEvent::TreeSent { link } => self.input(Input::SnapshotSent { link }),
            LearnerEvent::Down { link, reason } => {
                if !self.drop_learner(link, &reason) {
                    return Ok(());
                }
                self.input(Input::LearnerDown { link })
            }
        }
    }

    /// Hands in one input and carries out what follows from it.
    fn input(&mut self, input: Input) -> Result<(), Fatal> {
        self.step(self.clock.now(), input)?;
        self.settle()
    }

    /// The same, but proposes nothing that waits: that is done once for several inputs.
    fn step(&mut self, now: Timestamp, input: Input) -> Result<(), Fatal> {
        let mut next = Some(input);
        while let Some(input) = next {
            self.peer.handle(now, input);
            self.carry_out_all()?;
            next = self.links.follow_ups.pop_front();
        }
        Ok(())
    }

    /// Carries out all outputs, and what they lead to, until nothing is left to do.
    fn settle(&mut self) -> Result<(), Fatal> {
        self.carry_out_all()?;
        let (now, wall_ms) = (self.clock.now(), self.clock.wall_ms());
        loop {
            let follow_up = self.links.follow_ups.pop_front();
            match follow_up.or_else(|| self.next_proposal(now, wall_ms)) {
                Some(input) => self.step(now, input)?,
                None => return Ok(()),
            }
        }
    }

    fn carry_out_all(&mut self) -> Result<(), Fatal> {
        while let Some(output) = self.peer.poll_output() {
            self.carry_out(output)?;
        }
        Ok(())
    }
}

/// Puts our own member list into /zookeeper/config, in place of what another server believed (ZOOKEEPER-2819).
pub(crate) fn set_config(tree: &mut DataTree, ensemble: &Ensemble, wall_ms: i64) {
    tree.set_config(ensemble.to_text().as_bytes(), Zxid(ensemble.version()), wall_ms);
}
