use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use palisade_store::{Change, DataTree, SnapshotCursor};
use palisade_wire::txn::TxnRecord;
use palisade_wire::{SessionId, Zxid};

use crate::dir::DataDir;
use crate::epochs::Epochs;
use crate::error::{DiskError, Result};
use crate::log::{LogReader, LogRecord, LogTail};
use crate::names;
use crate::snapshot::{SnapshotDigest, SnapshotInfo, Snapshots};

mod history;
#[cfg(test)]
mod tests;

pub use history::{History, More, Untold};

/// How a directory is restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoreOptions {
    /// Largest transaction or znode that is accepted, bytes. Apache's `jute.maxbuffer` plus its extra.
    pub max_record: usize,
    /// How many of the last transactions to keep for synchronising learners.
    pub recent_count: usize,
    /// How many bytes of them.
    pub recent_bytes: usize,
    /// Whether a log without any snapshot is applied to an empty tree (Apache `snapshot.trust.empty`).
    pub trust_empty_snapshot: bool,
}

impl Default for RestoreOptions {
    fn default() -> Self {
        Self {
            max_record: 2 * palisade_wire::DEFAULT_MAX_FRAME,
            recent_count: 10_000,
            recent_bytes: 64 << 20,
            trust_empty_snapshot: false,
        }
    }
}

/// The state of a server as its disk has it.
#[derive(Debug)]
pub struct Restored {
    /// The tree after every transaction in the log, committed or not.
    pub tree: DataTree,
    /// The last transaction in snapshot and log.
    pub last_zxid: Zxid,
    /// The last transactions: contiguous, ascending, all after the snapshot, ending with `last_zxid`.
    pub recent: Vec<(Zxid, Bytes)>,
    /// The snapshot that was loaded.
    pub snapshot_zxid: Zxid,
    /// Transactions replayed behind the newest snapshot: a large number says that another one is due.
    pub replayed: u64,
    /// How long it took to load the snapshot.
    pub load_time: Duration,
    /// How long it took to replay the transactions.
    pub replay_time: Duration,
    /// What this server has promised.
    pub epochs: Epochs,
    /// The first transaction after which the tree did not have the digest that was recorded, if any: a sign that
    /// this replica has diverged from the one that wrote the log. To be reported loudly.
    pub digest_mismatch: Option<Zxid>,
    /// Sessions that ended in the transactions replayed, and when.
    pub ended_sessions: Vec<(SessionId, Zxid)>,
    /// Where the log goes on.
    pub tail: LogTail,
}

impl DataDir {
    /// Loads the newest snapshot that is whole and replays the log on top of it.
    ///
    /// A directory without any data gets `snapshot.0` of an empty tree, without which Apache ZooKeeper would
    /// later refuse the log. Nothing else is ever written.
    ///
    /// # Errors
    ///
    /// [`DiskError::NoSnapshot`], [`DiskError::NoLoadableSnapshot`], [`DiskError::Corrupt`], [`DiskError::Epochs`],
    /// [`DiskError::Io`].
    pub fn restore(&self, options: &RestoreOptions) -> Result<Restored> {
        self.restore_and_tell(options, &mut Untold)
    }

    /// The same, and `history` is told what the transactions change that are replayed; it may have more of them replayed.
    ///
    /// # Errors
    ///
    /// Those of [`Self::restore`].
    pub fn restore_and_tell(&self, options: &RestoreOptions, history: &mut dyn History) -> Result<Restored> {
        let mut candidates = Candidates::new(self.snapshots(), options)?;
        let newest = candidates.newest();
        if let Some(base) = self.base_before_newest(&candidates, history.more()) {
            match self.replay(base, newest, options, history) {
                Ok(Replayed { restored, is_exact: true }) => return Ok(restored),
                Ok(_) => {}
                Err(error) => tracing::warn!("begins with the newest snapshot: {error}"),
            }
        }
        let base = match candidates.next()? {
            Some(base) => base,
            None => self.begin_empty(options)?,
        };
        let Replayed { restored, is_exact } = self.replay(base, newest, options, history)?;
        if is_exact {
            return Ok(restored);
        }
        // The snapshot holds parts of transactions that the log has not: they were applied before they were durable
        // here, and need not be in the history that goes on. An older snapshot yields the tree without them.
        while let Ok(Some(base)) = candidates.next() {
            match self.replay(base, newest, options, history) {
                Ok(older) if older.is_exact => return Ok(older.restored),
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!("an older snapshot does not help: {error}");
                    break;
                }
            }
        }
        let snapshot = restored.snapshot_zxid;
        tracing::warn!(%snapshot, last = %restored.last_zxid, "the snapshot is ahead of the log");
        Ok(restored)
    }

    /// Applies the log. It must lead to every snapshot there is.
    fn replay(
        &self,
        base: Base,
        newest: Zxid,
        options: &RestoreOptions,
        history: &mut dyn History,
    ) -> Result<Replayed> {
        let started = Instant::now();
        let (snapshot_zxid, load_time) = (base.tree.last_zxid(), base.load_time);
        let mut replay = Replay::new(base, options);
        history.begins(snapshot_zxid, replay.exact_from);
        let mut log = LogReader::new(self, snapshot_zxid, options.max_record)?;
        while let Some(record) = log.next().transpose()? {
            let decoded = TxnRecord::decode(&record.payload).map_err(|e| log.corrupt(e.to_string()))?;
            replay.apply(record, &decoded, history);
        }
        let tail = log.into_tail();
        let last_zxid = tail.last_zxid();
        if last_zxid < newest {
            return Err(self.ends_before_snapshot(last_zxid, newest));
        }
        let epochs = self.epochs().read(last_zxid)?;
        let restored = Restored {
            tree: replay.tree,
            last_zxid,
            recent: replay.recent.into(),
            snapshot_zxid,
            replayed: replay.count,
            load_time,
            replay_time: started.elapsed(),
            epochs,
            digest_mismatch: replay.mismatch,
            ended_sessions: replay.ended_sessions,
            tail,
        };
        Ok(Replayed { restored, is_exact: replay.exact_from.is_none_or(|from| from <= last_zxid) })
    }

    /// An empty tree, if it is certain that there never was another.
    fn begin_empty(&self, options: &RestoreOptions) -> Result<Base> {
        let (tree, load_time) = (DataTree::new(), Duration::ZERO);
        let base = Base { tree, digest: None, count_from: Zxid::ZERO, load_time };
        if let Some(log) = names::logs(self.log_path())?.into_iter().next() {
            let mut records = LogReader::new(self, Zxid(log.zxid.0 - 1), options.max_record)?;
            if records.next().transpose()?.is_some() {
                if options.trust_empty_snapshot {
                    return Ok(base);
                }
                return Err(DiskError::NoSnapshot {
                    log: log.path,
                    snapshots: self.snapshot_path().to_owned(),
                    first: log.zxid,
                });
            }
        } else if self.epochs().read(Zxid::ZERO)?.current > 0 {
            let what =
                "this server has been in an ensemble, but there is neither a snapshot nor a log".to_owned();
            return Err(DiskError::Epochs { dir: self.snapshot_path().to_owned(), what });
        }
        let mut file = self.snapshots().create(Zxid::ZERO)?;
        let mut cursor = SnapshotCursor::new(&base.tree);
        let mut chunk = BytesMut::new();
        while !cursor.write_chunk(&base.tree, &mut chunk, 64 * 1024) {
            file.write(&chunk.split())?;
        }
        file.write(&chunk)?;
        file.finish(None)?;
        Ok(base)
    }

    fn ends_before_snapshot(&self, last: Zxid, newest: Zxid) -> DiskError {
        let path = self.snapshot_path().join(names::name(names::SNAPSHOT, newest));
        let what = format!("it cannot be loaded, and older snapshots with the log lead to {last} only");
        DiskError::corrupt(&path, 0, what)
    }
}

/// Where a replay starts.
struct Base {
    tree: DataTree,
    digest: Option<SnapshotDigest>,
    /// Transactions count as replayed behind this one.
    count_from: Zxid,
    load_time: Duration,
}

impl Base {
    fn load(snapshots: &Snapshots, snapshot: &SnapshotInfo, options: &RestoreOptions) -> Result<Self> {
        if !snapshot.whole {
            let what = "it was not written to its end";
            return Err(DiskError::corrupt(&snapshot.path, snapshot.bytes, what));
        }
        let started = Instant::now();
        let (tree, digest) = snapshots.load(snapshot, options.max_record)?;
        Ok(Self { count_from: tree.last_zxid(), tree, digest, load_time: started.elapsed() })
    }
}

/// Snapshots that can be loaded, newest first.
struct Candidates<'a> {
    snapshots: Snapshots,
    found: Vec<SnapshotInfo>,
    /// How many were tried.
    tried: usize,
    /// Why the newest of those that failed did.
    first_error: Option<DiskError>,
    options: &'a RestoreOptions,
}

impl<'a> Candidates<'a> {
    fn new(snapshots: Snapshots, options: &'a RestoreOptions) -> Result<Self> {
        let found = snapshots.list()?;
        Ok(Self { snapshots, found, tried: 0, first_error: None, options })
    }

    /// The newest zxid that any has, be it loadable or not.
    fn newest(&self) -> Zxid {
        self.found.first().map_or(Zxid::ZERO, |s| s.zxid)
    }

    /// `None` if there are no more. An error if there were some, and none of them could be loaded.
    fn next(&mut self) -> Result<Option<Base>> {
        while let Some(snapshot) = self.found.get(self.tried) {
            self.tried += 1;
            match Base::load(&self.snapshots, snapshot, self.options) {
                Ok(base) => return Ok(Some(base)),
                Err(error) => {
                    tracing::warn!(path = %snapshot.path.display(), "trying an older snapshot: {error}");
                    self.first_error.get_or_insert(error);
                }
            }
        }
        let Some(newest) = self.first_error.take() else { return Ok(None) };
        let dir = self.snapshots.path().to_owned();
        Err(DiskError::NoLoadableSnapshot { dir, count: self.found.len(), newest: Box::new(newest) })
    }
}

struct Replayed {
    restored: Restored,
    /// Whether the log reaches the last transaction of which the snapshot may hold a part.
    is_exact: bool,
}

struct Replay {
    tree: DataTree,
    /// Up to here the tree is ahead of the transactions replayed, and digests differ: the snapshot was taken while
    /// transactions went on. `None` if that is not known.
    exact_from: Option<Zxid>,
    mismatch: Option<Zxid>,
    recent: VecDeque<(Zxid, Bytes)>,
    recent_bytes: usize,
    ended_sessions: Vec<(SessionId, Zxid)>,
    options: RestoreOptions,
    count_from: Zxid,
    count: u64,
}

impl Replay {
    fn new(base: Base, options: &RestoreOptions) -> Self {
        let at = base.tree.last_zxid();
        let digest = base.digest.filter(|digest| digest.zxid >= at);
        let mut replay = Self {
            tree: base.tree,
            exact_from: digest.map(|digest| digest.zxid),
            mismatch: None,
            recent: VecDeque::new(),
            recent_bytes: 0,
            ended_sessions: Vec::new(),
            options: *options,
            count_from: base.count_from,
            count: 0,
        };
        replay.verify(at, digest.filter(|digest| digest.zxid == at).map(|digest| digest.digest));
        replay
    }

    fn apply(&mut self, record: LogRecord, decoded: &TxnRecord, history: &mut dyn History) {
        let ended = &mut self.ended_sessions;
        self.tree.apply(&decoded.header, &decoded.txn, &mut |change| {
            history.changed(&decoded.header, &change);
            if let Change::SessionClosed { session } = change {
                ended.push((session, record.zxid));
            }
        });
        self.verify(record.zxid, decoded.digest);
        self.count += u64::from(record.zxid > self.count_from);
        self.recent_bytes += record.payload.len();
        self.recent.push_back((record.zxid, record.payload));
        while self.recent.len() > self.options.recent_count || self.recent_bytes > self.options.recent_bytes {
            let Some((_, payload)) = self.recent.pop_front() else { break };
            self.recent_bytes -= payload.len();
        }
    }

    fn verify(&mut self, zxid: Zxid, expected: Option<u64>) {
        let (Some(expected), Some(from)) = (expected, self.exact_from) else { return };
        let computed = self.tree.digest();
        if zxid >= from && computed != expected && self.mismatch.is_none() {
            tracing::error!(%zxid, expected, computed, "the tree differs from that of the server that logged this");
            self.mismatch = Some(zxid);
        }
    }
}
