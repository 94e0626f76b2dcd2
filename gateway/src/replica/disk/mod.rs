//! The replica on disk: a thread that logs what the link received, takes snapshots, and installs what a leader sent.
//!
//! The log holds committed transactions only. The tree may be ahead of it: a gateway that restarts asks the leader
//! for the difference. So nothing depends on the disk but a restart, and a gateway whose disk fails or is full goes on
//! without it, until the disk takes all of the replica again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use palisade_disk::{DataDir, DiskError, Epochs, History, LogOptions, More, RestoreOptions, TxnLog};
use palisade_store::{Change, DataTree};
use palisade_wire::txn::TxnHeader;
use palisade_wire::{Sid, Zxid};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tracing::{error, warn};

use crate::config;
use crate::metrics::Metrics;
use crate::replica::Replica;
use crate::replica::closed::ClosedSessions;
use crate::replica::proof::Proof;
use crate::session::SessionIds;

mod worker;

use worker::{Files, Worker};

/// Holds the ended sessions, beside the snapshots.
const CLOSED_SESSIONS: &str = "ended-sessions";
/// Holds what [`SessionIds::reserve`] reserved.
const SESSION_CLOCK: &str = "session-clock";
/// Holds up to when the replica is known to be complete.
const PROOF: &str = "proven-age";
/// Holds the transaction from which on the tree is whole; see [`Wholeness`].
const WHOLE: &str = "whole-from";
/// Bytes by which the log grows at once.
const PREALLOCATE: u64 = 4 << 20;
/// Appended and not yet durable: beyond this, the link stops reading.
const MAX_UNSYNCED: usize = 16_384;
const MAX_UNSYNCED_BYTES: usize = 32 << 20;
/// How long a disk that failed is left alone.
const REST: Duration = Duration::from_secs(10);
/// Commands on their way to the thread, and reports on their way back. What a leader sent before UPTODATE comes all at
/// once and may be much more: it waits in [`Disk::overflow`], bounded by the bytes that the learner holds back.
const QUEUE: usize = MAX_UNSYNCED;

/// A replica as its disk has it, not yet running.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) tree: DataTree,
    /// The ends of sessions that are known.
    pub(crate) closed: ClosedSessions,
    pub(crate) epochs: Epochs,
    /// Transactions since the newest snapshot.
    pub(crate) replayed: u64,
    /// How long it took to load that.
    pub(crate) load_time: Duration,
    /// How long it took to replay what came behind it.
    pub(crate) replay_time: Duration,
    /// Whether no transaction is in the tree in part only.
    pub(crate) is_whole: bool,
    /// The proven age of the tree.
    pub(crate) age: Option<Duration>,
    log: TxnLog,
    files: Files,
}

/// Opens and restores, and tells `history` what the log tells of. Blocks. `max_record` bounds one transaction and one
/// znode, bytes.
pub(crate) fn open(
    storage: &config::Storage,
    max_record: usize,
    history: &mut dyn History,
) -> Result<Opened, DiskError> {
    let dir = DataDir::open(&storage.data_dir, &storage.data_dir, None)?;
    let restore =
        RestoreOptions { max_record, recent_count: 0, recent_bytes: 0, trust_empty_snapshot: false };
    let whole = Wholeness::decode(dir.read_note(WHOLE)?.as_deref());
    let restored = dir.restore_and_tell(&restore, &mut Noted { whole, history })?;
    if let Some(zxid) = restored.digest_mismatch {
        error!(%zxid, "after this transaction, the restored replica's digest differs from the recorded one");
    }
    let options = LogOptions { preallocate: PREALLOCATE, max_record, ..LogOptions::default() };
    let log = dir.open_log(&restored.tail, options)?;
    let file = dir.read_note(CLOSED_SESSIONS)?;
    let closed = ClosedSessions::restore(file.as_deref(), restored.snapshot_zxid, restored.ended_sessions);
    let age = Proof::age_of(restored.tree.last_zxid(), dir.read_note(PROOF)?.as_deref());
    let is_whole = whole.allows(restored.tree.last_zxid());
    if !is_whole {
        warn!("the disk holds parts of transactions: nothing is shown before a leader has sent the rest");
    }
    Ok(Opened {
        is_whole,
        age,
        tree: restored.tree,
        closed,
        epochs: restored.epochs,
        replayed: restored.replayed,
        load_time: restored.load_time,
        replay_time: restored.replay_time,
        log,
        files: Files { dir, restore, options, retain: storage.retain, rest: REST, whole },
    })
}

/// What the thread is asked. Done in this order.
#[derive(Debug)]
enum Command {
    Append { zxid: Zxid, payload: Bytes },
    Truncate(Zxid),
    Install(Box<DataTree>),
    AcceptedEpoch(u32),
    CurrentEpoch(u32),
    Proof(Proof),
    Whole(Zxid),
    Snapshot,
}

/// From which transaction on the tree on disk is whole. A snapshot that was made while the tree changed holds parts of
/// what came meanwhile, which the log behind it has to make up for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wholeness {
    /// The leader that sent the snapshot has not said yet that nothing is missing.
    Unknown,
    /// Once the log reaches to here.
    From(Zxid),
}

impl Wholeness {
    fn decode(note: Option<&[u8]>) -> Self {
        let Some(note) = note else { return Self::From(Zxid::ZERO) };
        let zxid = std::str::from_utf8(note).ok().and_then(|text| text.parse().ok());
        zxid.map_or(Self::Unknown, |zxid| Self::From(Zxid(zxid)))
    }

    fn encode(self) -> Vec<u8> {
        match self {
            Self::Unknown => b"unknown".to_vec(),
            Self::From(zxid) => zxid.0.to_string().into_bytes(),
        }
    }

    /// Whether a tree with everything up to `last` is whole.
    fn allows(self, last: Zxid) -> bool {
        matches!(self, Self::From(from) if from <= last)
    }
}

/// Makes up for what a snapshot from a leader, or the empty one, does not tell of itself.
struct Noted<'a> {
    whole: Wholeness,
    history: &'a mut dyn History,
}

impl History for Noted<'_> {
    fn more(&self) -> More {
        self.history.more()
    }

    fn begins(&mut self, base: Zxid, exact_from: Option<Zxid>) {
        let noted = match self.whole {
            Wholeness::From(zxid) if zxid >= base => Some(zxid),
            Wholeness::From(_) | Wholeness::Unknown => None,
        };
        self.history.begins(base, exact_from.or(noted));
    }

    fn changed(&mut self, header: &TxnHeader, change: &Change<'_>) {
        self.history.changed(header, change);
    }
}

/// What the thread has done.
#[derive(Debug)]
pub(crate) enum Done {
    /// The log is durable up to here.
    Flushed(Zxid),
    /// The log is cut, and this is the tree after what is left.
    Truncated(Box<DataTree>),
    /// The log could not be cut: the leader has to send the tree.
    NotTruncated(DiskError),
    /// The given tree is now all that the disk holds, and comes back.
    Installed(Box<DataTree>),
    /// Recorded.
    AcceptedEpoch(u32),
    /// Recorded.
    CurrentEpoch(u32),
    /// What the link asks for makes no sense, which is a defect; the thread has ended.
    Failed(DiskError),
}

/// The running thread.
#[derive(Debug)]
pub(crate) struct Disk {
    commands: Sender<Command>,
    /// Commands for which there was no room; while there are any, later ones wait behind them.
    overflow: VecDeque<Command>,
    done: Receiver<Done>,
    thread: JoinHandle<()>,
    unsynced: VecDeque<(Zxid, usize)>,
    unsynced_bytes: usize,
}

/// The thread takes no more commands.
#[derive(Debug, thiserror::Error)]
#[error("the disk thread takes no more work")]
pub(crate) struct DiskGone;

impl Disk {
    /// Starts the thread. It reads snapshots from `replica`, which must hold the tree of `opened`.
    pub(crate) fn start(
        (files, log): (Files, TxnLog),
        replica: Replica,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<Self> {
        let (commands, requests) = mpsc::channel(QUEUE);
        let (reports, done) = mpsc::channel(QUEUE);
        let worker = Worker::new((files, log), replica, (requests, reports), metrics);
        let thread = std::thread::Builder::new().name("replica-disk".to_owned()).spawn(|| worker.run())?;
        let (overflow, unsynced) = (VecDeque::new(), VecDeque::new());
        Ok(Self { commands, overflow, done, thread, unsynced, unsynced_bytes: 0 })
    }

    /// [`Done::Flushed`] follows.
    pub(crate) fn append(&mut self, zxid: Zxid, payload: Bytes) -> Result<(), DiskGone> {
        self.unsynced_bytes += payload.len();
        self.unsynced.push_back((zxid, payload.len()));
        self.command(Command::Append { zxid, payload })
    }

    /// [`Done::Truncated`] or [`Done::NotTruncated`] follows.
    pub(crate) fn truncate(&mut self, to: Zxid) -> Result<(), DiskGone> {
        self.command(Command::Truncate(to))
    }

    /// [`Done::Installed`] follows.
    pub(crate) fn install(&mut self, tree: Box<DataTree>) -> Result<(), DiskGone> {
        self.command(Command::Install(tree))
    }

    /// [`Done::AcceptedEpoch`] follows.
    pub(crate) fn write_accepted_epoch(&mut self, epoch: u32) -> Result<(), DiskGone> {
        self.command(Command::AcceptedEpoch(epoch))
    }

    /// [`Done::CurrentEpoch`] follows.
    pub(crate) fn write_current_epoch(&mut self, epoch: u32) -> Result<(), DiskGone> {
        self.command(Command::CurrentEpoch(epoch))
    }

    /// Writes a proof down, behind all that it is about.
    pub(crate) fn record(&mut self, proof: Proof) -> Result<(), DiskGone> {
        self.command(Command::Proof(proof))
    }

    /// Notes that the tree which was installed is whole as of this transaction, behind all that it is about.
    pub(crate) fn whole(&mut self, from: Zxid) -> Result<(), DiskGone> {
        self.command(Command::Whole(from))
    }

    /// Begins a snapshot of the replica, unless one is under way.
    pub(crate) fn snapshot(&mut self) -> Result<(), DiskGone> {
        self.command(Command::Snapshot)
    }

    fn command(&mut self, command: Command) -> Result<(), DiskGone> {
        self.overflow.push_back(command);
        self.pass_on()
    }

    /// Moves commands to the thread as far as there is room. Each report of the thread makes room.
    fn pass_on(&mut self) -> Result<(), DiskGone> {
        while let Some(command) = self.overflow.pop_front() {
            match self.commands.try_send(command) {
                Ok(()) => {}
                Err(TrySendError::Full(command)) => {
                    self.overflow.push_front(command);
                    break;
                }
                Err(TrySendError::Closed(_)) => return Err(DiskGone),
            }
        }
        Ok(())
    }

    /// The next report. Cancel-safe.
    pub(crate) async fn done(&mut self) -> Result<Done, DiskGone> {
        let done = self.done.recv().await.ok_or(DiskGone)?;
        // A thread that takes no more has said why, or its end is seen with the next report.
        self.pass_on().ok();
        if let Done::Flushed(durable) = done {
            while let Some((_, len)) = self.unsynced.pop_front_if(|(zxid, _)| *zxid <= durable) {
                self.unsynced_bytes -= len;
            }
        }
        Ok(done)
    }

    /// Whether so much waits for the disk that nothing more should be read from the leader.
    pub(crate) fn is_backlogged(&self) -> bool {
        self.unsynced.len() >= MAX_UNSYNCED || self.unsynced_bytes >= MAX_UNSYNCED_BYTES
    }

    /// Lets the thread finish what it was asked, and ends it. Blocks.
    pub(crate) fn stop(self) {
        // A receiver that is gone keeps the thread from waiting for room to report.
        drop(self.done);
        for command in self.overflow {
            if self.commands.blocking_send(command).is_err() {
                break;
            }
        }
        drop(self.commands);
        if self.thread.join().is_err() {
            error!("the disk thread panicked");
        }
    }
}

impl Opened {
    /// What the replica starts with, and the rest for the thread.
    pub(crate) fn split(self) -> (DataTree, ClosedSessions, (Files, TxnLog)) {
        (self.tree, self.closed, (self.files, self.log))
    }

    /// Reserves session ids of the gateway `id` that no earlier run has issued. Blocks.
    pub(crate) fn reserve_ids(&self, id: Sid) -> Result<SessionIds, DiskError> {
        let saved = self.files.dir.read_note(SESSION_CLOCK)?;
        let (ids, reserved) = SessionIds::reserve(id, saved.as_deref(), self.tree.sessions().map(|(s, _)| s));
        self.files.dir.write_note(SESSION_CLOCK, &reserved)?;
        Ok(ids)
    }
}

#[cfg(test)]
mod tests;
