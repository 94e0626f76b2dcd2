//! A simulated server: a machine, its tree, its disk, and what its runtime would remember.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};
use palisade_store::prepare::PrepareConfig;
use palisade_store::session::LeaderSessions;
use palisade_store::{DataTree, PrepareRequest, Preparer, SnapshotCursor, SnapshotReader, Timestamp};
use palisade_wire::txn::TxnRecord;
use palisade_wire::{SessionId, Sid, Zxid};
use palisade_zab::{Ensemble, Input, Learner, LearnerConfig, LinkId, Peer, PeerConfig, Recovered, Timing};

use crate::disk::{Disk, Image};
use crate::front::Front;
use crate::machine::Machine;
use crate::oracle::Violation;
use crate::params::Params;

/// Largest field of a tree stream.
const MAX_FIELD: usize = 1 << 20;

/// A tree, and how it came about.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// The tree.
    pub(crate) tree: DataTree,
    /// All transactions applied to it, in order.
    pub(crate) applied: Vec<Zxid>,
    /// From this transaction on the tree is exact; before, a fuzzy snapshot may show through.
    pub(crate) exact_from: Zxid,
}

impl State {
    /// Reads a snapshot.
    pub(crate) fn load(image: &Image) -> Result<Self, Violation> {
        let mut tree = DataTree::new();
        if !image.stream.is_empty() {
            let mut input = BytesMut::from(&image.stream[..]);
            tree = SnapshotReader::new(image.zxid)
                .feed(&mut input, MAX_FIELD)
                .map_err(|e| Violation(format!("snapshot at {} cannot be read: {e}", image.zxid)))?
                .ok_or_else(|| Violation(format!("snapshot at {} has no end", image.zxid)))?;
        }
        tree.set_last_zxid(image.zxid);
        Ok(Self { tree, applied: image.applied.clone(), exact_from: image.exact_from })
    }

    /// What a server finds after a restart.
    pub(crate) fn recover(disk: &Disk) -> Result<Self, Violation> {
        let mut state = Self::load(disk.image())?;
        for (zxid, payload) in disk.log() {
            state.apply(*zxid, payload)?;
        }
        Ok(state)
    }

    /// Applies a transaction; the leader's digest must come out.
    pub(crate) fn apply(&mut self, zxid: Zxid, payload: &Bytes) -> Result<TxnRecord, Violation> {
        let record =
            TxnRecord::decode(payload).map_err(|e| Violation(format!("{zxid} cannot be read: {e}")))?;
        if record.header.zxid != zxid || self.applied.last().is_some_and(|last| *last >= zxid) {
            return Err(Violation(format!("{zxid} is applied behind {:?}", self.applied.last())));
        }
        self.tree.apply(&record.header, &record.txn, &mut |_| {});
        self.applied.push(zxid);
        match record.digest {
            Some(digest) if zxid >= self.exact_from && digest != self.tree.digest() => {
                Err(Violation(format!(
                    "Identity: the leader computed digest {digest:#x} for {zxid}, the tree has {:#x}: {:?}",
                    self.tree.digest(),
                    record.txn
                )))
            }
            _ => Ok(record),
        }
    }

    /// The whole of it as a snapshot.
    pub(crate) fn image(&self) -> Image {
        let mut stream = BytesMut::new();
        let mut cursor = SnapshotCursor::new(&self.tree);
        while !cursor.write_chunk(&self.tree, &mut stream, MAX_FIELD) {}
        let zxid = self.applied.last().copied().unwrap_or_default();
        Image { zxid, stream: stream.freeze(), applied: self.applied.clone(), exact_from: self.exact_from }
    }
}

/// A snapshot that is being sent.
#[derive(Debug)]
pub(crate) struct SnapshotJob {
    /// To whom.
    pub(crate) link: LinkId,
    /// How far it is.
    pub(crate) cursor: SnapshotCursor,
    /// What is written already.
    pub(crate) stream: BytesMut,
}

/// A server.
#[derive(Debug)]
pub(crate) struct Node {
    /// Its id.
    pub(crate) sid: Sid,
    /// Counts its lives: what was planned in an earlier one is void.
    pub(crate) life: u32,
    /// What it runs; `None` while it is down.
    pub(crate) machine: Option<Machine>,
    /// Until when it does not run although it is up (a stopped process, a long pause).
    pub(crate) paused_until: u64,
    /// Its disk, which outlives crashes.
    pub(crate) disk: Disk,
    /// What it has applied.
    pub(crate) state: State,
    /// What its runtime keeps while it lives.
    pub(crate) memory: Memory,
}

/// What a leader is to propose.
#[derive(Debug)]
pub(crate) enum Work {
    /// A request, and over which link it came.
    Request(PrepareRequest, Option<LinkId>),
    /// The end of a session that was not heard of for too long.
    Expire(SessionId),
}

/// What is forgotten in a crash.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Whether the quorum port is open.
    pub(crate) leading: bool,
    /// Whether the machine has said that it serves.
    pub(crate) serving: bool,
    /// Inputs to hand in next.
    pub(crate) inputs: VecDeque<Input>,
    /// What to propose when all inputs are handed in.
    pub(crate) work: VecDeque<Work>,
    /// A leader's sessions.
    pub(crate) sessions: Option<LeaderSessions>,
    /// When a leader looks for expired ones.
    pub(crate) expiry: Option<u64>,
    /// Outstanding changes of a leader.
    pub(crate) preparer: Option<Preparer>,
    /// The tree received last.
    pub(crate) received: Option<Image>,
    /// An observer's link once it serves.
    pub(crate) uplink: Option<LinkId>,
    /// An observer's clients.
    pub(crate) front: Option<Box<Front>>,
    /// Syncs at the leader: whom to answer.
    pub(crate) syncs: BTreeMap<u64, LinkId>,
    /// Snapshots that are being sent.
    pub(crate) jobs: Vec<SnapshotJob>,
    /// When the machine will be woken.
    pub(crate) wake: Option<u64>,
    /// Numbers links and syncs.
    pub(crate) next_number: u64,
}

impl Memory {
    /// A number never given before in this life.
    pub(crate) const fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// The leader's outstanding changes.
    pub(crate) fn preparer(&mut self) -> &mut Preparer {
        self.preparer.get_or_insert_with(|| Preparer::new(PrepareConfig::default()))
    }
}

impl Node {
    /// A server that was never started.
    pub(crate) fn new(sid: Sid) -> Self {
        Self {
            sid,
            life: 0,
            machine: None,
            paused_until: 0,
            disk: Disk::default(),
            state: State::default(),
            memory: Memory::default(),
        }
    }

    /// Starts it on what its disk holds.
    pub(crate) fn start(
        &mut self,
        ensemble: &Ensemble,
        params: &Params,
        recent: usize,
        now: Timestamp,
    ) -> Result<(), Violation> {
        self.state = State::recover(&self.disk)?;
        self.memory = Memory::default();
        // Link numbers of one life must not be taken for those of another.
        self.memory.next_number = u64::from(self.life) << 32;
        let (accepted_epoch, current_epoch) = self.disk.epochs();
        let mut tail: Vec<_> = self.disk.log().rev().take(recent).cloned().collect();
        tail.reverse();
        let recovered =
            Recovered { accepted_epoch, current_epoch, last_zxid: self.disk.last_zxid(), recent: tail };
        let timing = Timing { tick: params.tick, init_limit: 10, sync_limit: 5 };
        let refused = |e| Violation(format!("server {} cannot start: {e}", self.sid));
        self.machine = Some(if ensemble.is_voter(self.sid) {
            let mut config = PeerConfig::new(self.sid, ensemble.clone());
            config.timing = timing;
            config.log_count = params.log_count;
            config.max_notification_interval = params.tick * 20;
            Machine::Voter(Box::new(Peer::new(config, recovered, now).map_err(refused)?))
        } else {
            // No id is given twice, whatever happens within a second.
            let first_ids = u64::from(self.life) * 1_000;
            let front = Front::start(params, self.sid, first_ids, &self.disk, &self.state)?;
            self.memory.front = Some(Box::new(front));
            let mut config = LearnerConfig::new(self.sid);
            config.timing = timing;
            Machine::Observer(Box::new(Learner::new(config, recovered).map_err(refused)?))
        });
        Ok(())
    }
}
