use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use palisade_disk::{DataDir, DiskError, LogOptions, RestoreOptions, SnapshotDigest, SnapshotFile, TxnLog};
use palisade_store::{DataTree, SnapshotCursor};
use palisade_wire::Zxid;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::mpsc::{Receiver, Sender};
use tracing::{error, info, warn};

use super::{CLOSED_SESSIONS, Command, Done, MAX_UNSYNCED, PROOF, WHOLE, Wholeness};
use crate::metrics::Metrics;
use crate::replica::Replica;
use crate::replica::closed::ClosedSessions;

/// Bytes of a snapshot that are made under one read lock.
const CHUNK: usize = 256 << 10;
/// How long appends are gathered before they are synced together. Nobody waits for that: what this log loses in a
/// crash, the leader has.
const PACE: Duration = Duration::from_millis(10);
/// How often what was gathered is given to the operating system meanwhile: the end of this process alone shall lose next
/// to nothing that clients have seen, as they would have to wait for the core to read on.
const STEP: Duration = Duration::from_millis(2);

/// The data directory, and how it is used.
#[derive(Debug)]
pub(crate) struct Files {
    pub(super) dir: DataDir,
    pub(super) restore: RestoreOptions,
    pub(super) options: LogOptions,
    pub(super) retain: usize,
    /// How long a disk that failed is left alone.
    pub(super) rest: Duration,
    /// What is noted of the tree.
    pub(super) whole: Wholeness,
}

/// What the thread runs.
pub(super) struct Worker {
    files: Files,
    medium: Medium,
    /// The last transaction that was to be appended.
    handed: Zxid,
    /// What was last to be written, accepted and current.
    epochs: (Option<u32>, Option<u32>),
    replica: Replica,
    commands: Receiver<Command>,
    done: Sender<Done>,
    snapshot: Option<Snapshotting>,
    metrics: Arc<Metrics>,
}

/// Where the history goes.
enum Medium {
    Log {
        log: TxnLog,
        /// What comes up to here is in the snapshot with which the log began.
        covered: Zxid,
    },
    /// The disk failed: what it holds is a past of this replica, or nothing that can be loaded.
    Nowhere { retry_at: Instant },
}

struct Snapshotting {
    started: Instant,
    cursor: SnapshotCursor,
    file: SnapshotFile,
    chunk: BytesMut,
    /// Set once it is complete: it may hold parts of transactions up to this one, which must be durable before it
    /// gets its name.
    complete: Option<SnapshotDigest>,
}

impl Worker {
    pub(super) fn new(
        (files, log): (Files, TxnLog),
        replica: Replica,
        (commands, done): (Receiver<Command>, Sender<Done>),
        metrics: Arc<Metrics>,
    ) -> Self {
        let handed = log.last_zxid();
        let medium = Medium::Log { log, covered: Zxid::default() };
        Self { files, medium, handed, epochs: (None, None), replica, commands, done, snapshot: None, metrics }
    }

    pub(super) fn run(mut self) {
        if let Err(e) = self.serve() {
            error!(error = %e, "the replica's thread cannot go on");
            self.tell(Done::Failed(e));
        }
    }

    fn serve(&mut self) -> Result<(), DiskError> {
        while let Some(command) = self.next_command() {
            let mut next = command;
            while let Some(command) = next.take() {
                next = self.perform(command)?;
            }
            if let Err(error) = self.go_on_with_snapshot() {
                warn!(%error, "a snapshot failed; the log goes on, and so do the older snapshots");
                self.snapshot = None;
            }
        }
        let synced = self.sync();
        self.or_go_without(synced).map(drop)
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

    /// Does what is asked, and says so, also if the disk fails at it: nothing but a restart depends on the disk. Gives
    /// back a command that was taken meanwhile.
    fn perform(&mut self, command: Command) -> Result<Option<Command>, DiskError> {
        let done = match command {
            Command::Append { zxid, payload } => {
                let (appended, next) = self.append_all(zxid, &payload);
                let synced = appended.and_then(|()| self.sync());
                self.or_go_without(synced)?;
                self.tell(Done::Flushed(self.handed));
                return Ok(next);
            }
            Command::Truncate(to) => match self.truncate(to) {
                Ok(tree) => Done::Truncated(tree),
                Err(e) => Done::NotTruncated(self.refused(e)?),
            },
            Command::Install(tree) => {
                let installed = self.install(&tree);
                self.or_go_without(installed)?;
                Done::Installed(tree)
            }
            Command::AcceptedEpoch(epoch) => {
                self.epochs.0 = Some(epoch);
                let written = self.write_epochs();
                self.or_go_without(written)?;
                Done::AcceptedEpoch(epoch)
            }
            Command::CurrentEpoch(epoch) => {
                self.epochs.1 = Some(epoch);
                let written = self.write_epochs();
                self.or_go_without(written)?;
                Done::CurrentEpoch(epoch)
            }
            Command::Proof(proof) => {
                let Medium::Log { .. } = self.medium else { return Ok(None) };
                let written = self.files.dir.write_note(PROOF, &proof.encode());
                self.or_go_without(written)?;
                return Ok(None);
            }
            Command::Whole(from) => {
                let Medium::Log { .. } = self.medium else { return Ok(None) };
                let noted = self.sync().and_then(|()| self.note_whole(Wholeness::From(from)));
                self.or_go_without(noted)?;
                return Ok(None);
            }
            Command::Snapshot => {
                let begun = match self.medium {
                    Medium::Log { .. } => self.begin_snapshot(),
                    Medium::Nowhere { retry_at } if Instant::now() >= retry_at => self.save_all(),
                    Medium::Nowhere { .. } => Ok(()),
                };
                self.or_go_without(begun)?;
                return Ok(None);
            }
        };
        self.tell(done);
        Ok(None)
    }

    /// Appends a transaction, and what waits already or comes soon, to be covered by the same sync. Gives back what is
    /// no append.
    fn append_all(&mut self, zxid: Zxid, payload: &Bytes) -> (Result<(), DiskError>, Option<Command>) {
        self.handed = zxid;
        let (mut appended, mut count) = (self.append(zxid, payload), 1);
        let end = Instant::now() + PACE;
        loop {
            while count < MAX_UNSYNCED {
                match self.commands.try_recv() {
                    Ok(Command::Append { zxid, payload }) => {
                        self.handed = zxid;
                        appended = appended.and_then(|()| self.append(zxid, &payload));
                        count += 1;
                    }
                    Ok(other) => return (appended, Some(other)),
                    Err(_) => break,
                }
            }
            appended = appended.and_then(|()| self.write_out());
            // A snapshot that is being written goes on between two syncs, and takes time as well.
            if self.snapshot.is_some() || count >= MAX_UNSYNCED || Instant::now() >= end {
                return (appended, None);
            }
            std::thread::sleep(STEP);
        }
    }

    fn write_out(&mut self) -> Result<(), DiskError> {
        match &mut self.medium {
            Medium::Log { log, .. } => log.write_out(),
            Medium::Nowhere { .. } => Ok(()),
        }
    }

    /// Written down before what it is about can be found.
    fn note_whole(&mut self, whole: Wholeness) -> Result<(), DiskError> {
        self.files.whole = whole;
        self.files.dir.write_note(WHOLE, &whole.encode())
    }

    fn append(&mut self, zxid: Zxid, payload: &Bytes) -> Result<(), DiskError> {
        match &mut self.medium {
            Medium::Log { log, covered } if zxid > *covered => log.append(zxid, payload),
            Medium::Log { .. } | Medium::Nowhere { .. } => Ok(()),
        }
    }

    fn sync(&mut self) -> Result<(), DiskError> {
        match &mut self.medium {
            Medium::Log { log, .. } => {
                let started = Instant::now();
                log.sync()?;
                self.metrics.fsynctime.record(started.elapsed());
                Ok(())
            }
            Medium::Nowhere { .. } => Ok(()),
        }
    }

    fn write_epochs(&self) -> Result<(), DiskError> {
        let Medium::Log { .. } = self.medium else { return Ok(()) };
        let epochs = self.files.dir.epochs();
        self.epochs.0.map_or(Ok(()), |epoch| epochs.write_accepted(epoch))?;
        self.epochs.1.map_or(Ok(()), |epoch| epochs.write_current(epoch))
    }

    fn truncate(&mut self, to: Zxid) -> Result<Box<DataTree>, DiskError> {
        self.snapshot = None;
        let Medium::Log { log, covered } = &mut self.medium else {
            return Err(DiskError::CannotTruncate { to, last: self.handed, what: "the disk failed before" });
        };
        if !self.files.whole.allows(to) {
            let what = "the snapshot before it holds parts of what would be cut off";
            return Err(DiskError::CannotTruncate { to, last: self.handed, what });
        }
        log.truncate(to)?;
        *covered = Zxid::default();
        let shown = self.replica.last_zxid();
        self.write_closed(|closed| closed.missed(shown))?;
        let restored = self.files.dir.restore(&self.files.restore)?;
        info!(%to, "cut the log as the leader said");
        Ok(Box::new(restored.tree))
    }

    fn install(&mut self, tree: &DataTree) -> Result<(), DiskError> {
        self.snapshot = None;
        let mut cursor = SnapshotCursor::new(tree);
        let mut file = self.files.dir.snapshots().create(cursor.zxid())?;
        let mut chunk = BytesMut::new();
        let mut complete = false;
        while !complete {
            complete = cursor.write_chunk(tree, &mut chunk, CHUNK);
            file.write(&chunk)?;
            chunk.clear();
        }
        self.note_whole(Wholeness::Unknown)?;
        // No digest: the leader went on while it sent the tree, which may hold parts of what comes next.
        let Medium::Log { log, covered } = &mut self.medium else {
            return self.start_over(file, Zxid::default());
        };
        *covered = Zxid::default();
        log.install(file, None)
    }

    /// Makes the disk that failed hold all of the replica again.
    ///
    /// Meanwhile no command is carried out, so the tree is changed by transactions only. Those that the snapshot holds
    /// parts of are in the queue of commands already: the link logs first.
    fn save_all(&mut self) -> Result<(), DiskError> {
        let mut cursor = SnapshotCursor::new(&self.replica.read());
        let mut file = self.files.dir.snapshots().create(cursor.zxid())?;
        let mut chunk = BytesMut::new();
        let mut complete = false;
        while !complete {
            complete = cursor.write_chunk(&self.replica.read(), &mut chunk, CHUNK);
            file.write(&chunk)?;
            chunk.clear();
        }
        self.write_closed(|_| ())?;
        self.note_whole(Wholeness::From(self.replica.last_zxid()))?;
        self.start_over(file, cursor.zxid())
    }

    fn start_over(&mut self, file: SnapshotFile, covered: Zxid) -> Result<(), DiskError> {
        let log = self.files.dir.start_over(file, None, self.files.options)?;
        self.medium = Medium::Log { log, covered };
        self.write_epochs()?;
        self.replica.set_on_disk(true);
        info!("the replica is on disk again");
        Ok(())
    }

    fn begin_snapshot(&mut self) -> Result<(), DiskError> {
        let Medium::Log { log, .. } = &mut self.medium else { return Ok(()) };
        if self.snapshot.is_some() {
            return Ok(());
        }
        log.roll()?;
        let cursor = SnapshotCursor::new(&self.replica.read());
        let file = self.files.dir.snapshots().create(cursor.zxid())?;
        self.snapshot = Some(Snapshotting {
            started: Instant::now(),
            cursor,
            file,
            chunk: BytesMut::new(),
            complete: None,
        });
        Ok(())
    }

    fn go_on_with_snapshot(&mut self) -> Result<(), DiskError> {
        let (Some(snapshot), Medium::Log { log, .. }) = (&mut self.snapshot, &mut self.medium) else {
            return Ok(());
        };
        if snapshot.complete.is_none() {
            let tree = self.replica.read();
            if snapshot.cursor.write_chunk(&tree, &mut snapshot.chunk, CHUNK) {
                snapshot.complete = Some(digest_of(&tree));
            }
            drop(tree);
            snapshot.file.write(&snapshot.chunk)?;
            snapshot.chunk.clear();
        }
        let durable = log.last_zxid();
        if let Some(s) = self.snapshot.take_if(|s| s.complete.is_some_and(|d| d.zxid <= durable)) {
            let zxid = s.cursor.zxid();
            // First, so that it reaches at least to the snapshot whenever there is one.
            self.write_closed(|_| ())?;
            let bytes = s.file.finish(s.complete)?;
            self.metrics.snapshottime.record(s.started.elapsed());
            let Medium::Log { log, .. } = &mut self.medium else { return Ok(()) };
            let purged = log.purge(self.files.retain)?;
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
        self.files.dir.write_note(CLOSED_SESSIONS, &content)
    }

    /// If the disk failed, goes on without it. Other errors are defects.
    fn or_go_without(&mut self, result: Result<(), DiskError>) -> Result<(), DiskError> {
        match result {
            Ok(()) => Ok(()),
            Err(e) => self.refused(e).map(drop),
        }
    }

    /// The same, given the error, which comes back unless it is a defect.
    fn refused(&mut self, error: DiskError) -> Result<DiskError, DiskError> {
        match &error {
            DiskError::CannotTruncate { .. } => return Ok(error),
            DiskError::NotContiguous { .. } | DiskError::Unloggable { .. } => return Err(error),
            _ => {}
        }
        self.snapshot = None;
        if let Medium::Log { .. } = self.medium {
            error!(%error, "the replica is on disk no more, and would begin in the past after a restart; the gateway goes on");
            self.replica.set_on_disk(false);
        } else {
            warn!(%error, "the replica is still not on disk");
        }
        self.medium = Medium::Nowhere { retry_at: Instant::now() + self.files.rest };
        Ok(error)
    }

    fn tell(&self, done: Done) {
        // Without a receiver the link has ended, and nobody wants to know.
        drop(self.done.blocking_send(done));
    }
}

fn digest_of(tree: &DataTree) -> SnapshotDigest {
    SnapshotDigest { zxid: tree.last_zxid(), digest: tree.digest() }
}
