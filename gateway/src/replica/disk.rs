//! The replica on disk: a thread that logs what the link received, takes snapshots, and installs what a leader sent.
//!
//! The log holds committed transactions only. The tree may be ahead of it: a gateway that restarts asks the leader
//! for the difference.

use std::collections::VecDeque;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use palisade_disk::{
    DataDir, DiskError, Epochs, LogOptions, RestoreOptions, SnapshotDigest, SnapshotFile, TxnLog,
};
use palisade_store::{DataTree, SnapshotCursor};
use palisade_wire::{Sid, Zxid};
use tokio::sync::mpsc::error::{TryRecvError, TrySendError};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tracing::{error, info};

use crate::config;
use crate::replica::Replica;
use crate::replica::closed::ClosedSessions;
use crate::session::SessionIds;

/// Holds the ended sessions, beside the snapshots.
const CLOSED_SESSIONS: &str = "ended-sessions";
/// Holds what [`SessionIds::reserve`] reserved.
const SESSION_CLOCK: &str = "session-clock";
/// Bytes by which the log grows at once.
const PREALLOCATE: u64 = 4 << 20;
/// Bytes of a snapshot that are made under one read lock.
const CHUNK: usize = 256 << 10;
/// How long appends are gathered before they are synced together. Nobody waits for that: what this log loses in a
/// crash, the leader has.
const PACE: Duration = Duration::from_millis(10);
/// Appended and not yet durable: beyond this, the link stops reading.
const MAX_UNSYNCED: usize = 16_384;
const MAX_UNSYNCED_BYTES: usize = 32 << 20;
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
    dir: DataDir,
    log: TxnLog,
    restore: RestoreOptions,
    retain: usize,
}

/// Opens and restores. Blocks. `max_record` bounds one transaction and one znode, bytes.
pub(crate) fn open(storage: &config::Storage, max_record: usize) -> Result<Opened, DiskError> {
    let dir = DataDir::open(&storage.data_dir, &storage.data_dir, None)?;
    let restore =
        RestoreOptions { max_record, recent_count: 0, recent_bytes: 0, trust_empty_snapshot: false };
    let restored = dir.restore(&restore)?;
    if let Some(zxid) = restored.digest_mismatch {
        error!(%zxid, "after this transaction, the restored replica's digest differs from the recorded one");
    }
    let log = dir.open_log(
        &restored.tail,
        LogOptions { preallocate: PREALLOCATE, max_record, ..LogOptions::default() },
    )?;
    let file = dir.read_note(CLOSED_SESSIONS)?;
    let closed = ClosedSessions::restore(file.as_deref(), restored.snapshot_zxid, restored.ended_sessions);
    Ok(Opened {
        tree: restored.tree,
        closed,
        epochs: restored.epochs,
        replayed: restored.replayed,
        dir,
        log,
        restore,
        retain: storage.retain,
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
    Snapshot,
}

/// What the thread has done.
#[derive(Debug)]
pub(crate) enum Done {
    /// The log is durable up to here.
    Flushed(Zxid),
    /// The log is cut, and this is the tree after what is left.
    Truncated(Box<DataTree>),
    /// The log could not be cut; nothing was changed.
    NotTruncated(DiskError),
    /// The given tree is now all that the disk holds, and comes back.
    Installed(Box<DataTree>),
    /// Recorded.
    AcceptedEpoch(u32),
    /// Recorded.
    CurrentEpoch(u32),
    /// The thread has ended.
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
    pub(crate) fn start(opened: OpenedLog, replica: Replica) -> std::io::Result<Self> {
        let (commands, requests) = mpsc::channel(QUEUE);
        let (reports, done) = mpsc::channel(QUEUE);
        let worker = Worker { opened, replica, commands: requests, done: reports, snapshot: None };
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

/// What the thread needs of [`Opened`].
#[derive(Debug)]
pub(crate) struct OpenedLog {
    dir: DataDir,
    log: TxnLog,
    restore: RestoreOptions,
    retain: usize,
}

impl Opened {
    /// What the replica starts with, and the rest for the thread.
    pub(crate) fn split(self) -> (DataTree, ClosedSessions, OpenedLog) {
        let Self { tree, closed, dir, log, restore, retain, .. } = self;
        (tree, closed, OpenedLog { dir, log, restore, retain })
    }

    /// Reserves session ids of the gateway `id` that no earlier run has issued. Blocks.
    pub(crate) fn reserve_ids(&self, id: Sid) -> Result<SessionIds, DiskError> {
        let saved = self.dir.read_note(SESSION_CLOCK)?;
        let (ids, reserved) = SessionIds::reserve(id, saved.as_deref(), self.tree.sessions().map(|(s, _)| s));
        self.dir.write_note(SESSION_CLOCK, &reserved)?;
        Ok(ids)
    }
}

struct Worker {
    opened: OpenedLog,
    replica: Replica,
    commands: Receiver<Command>,
    done: Sender<Done>,
    snapshot: Option<Snapshotting>,
}

struct Snapshotting {
    cursor: SnapshotCursor,
    file: SnapshotFile,
    chunk: BytesMut,
    /// Set once it is complete: it may hold parts of transactions up to this one, which must be durable before it
    /// gets its name.
    complete: Option<SnapshotDigest>,
}

impl Worker {
    fn run(mut self) {
        if let Err(e) = self.serve() {
            error!(error = %e, "the replica's disk failed");
            self.tell(Done::Failed(e));
        }
    }

    fn serve(&mut self) -> Result<(), DiskError> {
        while let Some(command) = self.next_command() {
            if let Some(command) = command {
                self.perform(command)?;
            }
            self.go_on_with_snapshot()?;
        }
        self.opened.log.sync()?;
        Ok(())
    }

    /// The outer `None` says that there will be no more; the inner one, that the snapshot can go on meanwhile.
    fn next_command(&mut self) -> Option<Option<Command>> {
        if self.snapshot.as_ref().is_none_or(|s| s.complete.is_some()) {
            return self.commands.blocking_recv().map(Some);
        }
        match self.commands.try_recv() {
            Ok(command) => Some(Some(command)),
            Err(TryRecvError::Empty) => Some(None),
            Err(TryRecvError::Disconnected) => None,
        }
    }

    fn perform(&mut self, command: Command) -> Result<(), DiskError> {
        let mut next = Some(command);
        while let Some(command) = next.take() {
            let done = match command {
                Command::Append { zxid, payload } => {
                    self.opened.log.append(zxid, &payload)?;
                    // A snapshot that is being written goes on between two syncs, and takes time as well.
                    if self.snapshot.is_none() {
                        std::thread::sleep(PACE);
                    }
                    next = self.append_more()?;
                    Done::Flushed(self.opened.log.sync()?)
                }
                Command::Truncate(to) => self.truncate(to)?,
                Command::Install(tree) => self.install(tree)?,
                Command::AcceptedEpoch(epoch) => {
                    self.opened.dir.epochs().write_accepted(epoch)?;
                    Done::AcceptedEpoch(epoch)
                }
                Command::CurrentEpoch(epoch) => {
                    self.opened.dir.epochs().write_current(epoch)?;
                    Done::CurrentEpoch(epoch)
                }
                Command::Snapshot => {
                    self.begin_snapshot()?;
                    continue;
                }
            };
            self.tell(done);
        }
        Ok(())
    }

    /// Appends what waits already, to be covered by the same sync. Gives back what is no append.
    fn append_more(&mut self) -> Result<Option<Command>, DiskError> {
        for _ in 1..MAX_UNSYNCED {
            match self.commands.try_recv() {
                Ok(Command::Append { zxid, payload }) => self.opened.log.append(zxid, &payload)?,
                Ok(other) => return Ok(Some(other)),
                Err(_) => break,
            }
        }
        Ok(None)
    }

    fn truncate(&mut self, to: Zxid) -> Result<Done, DiskError> {
        self.snapshot = None;
        match self.opened.log.truncate(to) {
            Ok(_) => {}
            Err(e @ DiskError::CannotTruncate { .. }) => return Ok(Done::NotTruncated(e)),
            Err(e) => return Err(e),
        }
        let shown = self.replica.last_zxid();
        self.write_closed(|closed| closed.missed(shown))?;
        let restored = self.opened.dir.restore(&self.opened.restore)?;
        info!(%to, "cut the log as the leader said");
        Ok(Done::Truncated(Box::new(restored.tree)))
    }

    fn install(&mut self, tree: Box<DataTree>) -> Result<Done, DiskError> {
        self.snapshot = None;
        let mut cursor = SnapshotCursor::new(&tree);
        let mut file = self.opened.dir.snapshots().create(cursor.zxid())?;
        let mut chunk = BytesMut::new();
        let mut complete = false;
        while !complete {
            complete = cursor.write_chunk(&tree, &mut chunk, CHUNK);
            file.write(&chunk)?;
            chunk.clear();
        }
        // No digest: the leader went on while it sent the tree, which may hold parts of what comes next.
        self.opened.log.install(file, None)?;
        Ok(Done::Installed(tree))
    }

    fn begin_snapshot(&mut self) -> Result<(), DiskError> {
        if self.snapshot.is_some() {
            return Ok(());
        }
        self.opened.log.roll()?;
        let cursor = SnapshotCursor::new(&self.replica.read());
        let file = self.opened.dir.snapshots().create(cursor.zxid())?;
        self.snapshot = Some(Snapshotting { cursor, file, chunk: BytesMut::new(), complete: None });
        Ok(())
    }

    fn go_on_with_snapshot(&mut self) -> Result<(), DiskError> {
        let Some(snapshot) = &mut self.snapshot else { return Ok(()) };
        if snapshot.complete.is_none() {
            let tree = self.replica.read();
            if snapshot.cursor.write_chunk(&tree, &mut snapshot.chunk, CHUNK) {
                snapshot.complete = Some(digest_of(&tree));
            }
            drop(tree);
            snapshot.file.write(&snapshot.chunk)?;
            snapshot.chunk.clear();
        }
        let durable = self.opened.log.last_zxid();
        if let Some(s) = self.snapshot.take_if(|s| s.complete.is_some_and(|d| d.zxid <= durable)) {
            let zxid = s.cursor.zxid();
            // First, so that it reaches at least to the snapshot whenever there is one.
            self.write_closed(|_| ())?;
            let bytes = s.file.finish(s.complete)?;
            let purged = self.opened.log.purge(self.opened.retain)?;
            info!(%zxid, bytes, purged, "took a snapshot");
        }
        Ok(())
    }

    /// Writes down which sessions are known to have ended, after `amend` had its say.
    fn write_closed(&self, amend: impl FnOnce(&mut ClosedSessions)) -> Result<(), DiskError> {
        let tree = self.replica.read();
        let mut closed = self.replica.closed();
        amend(&mut closed);
        let content = closed.encode(tree.last_zxid());
        drop((closed, tree));
        self.opened.dir.write_note(CLOSED_SESSIONS, &content)
    }

    fn tell(&self, done: Done) {
        // Without a receiver the link has ended, and nobody wants to know.
        drop(self.done.blocking_send(done));
    }
}

fn digest_of(tree: &DataTree) -> SnapshotDigest {
    SnapshotDigest { zxid: tree.last_zxid(), digest: tree.digest() }
}

#[cfg(test)]
#[path = "disk_tests.rs"]
mod tests;
