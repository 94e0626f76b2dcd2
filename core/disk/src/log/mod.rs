use bytes::Bytes;
use palisade_wire::Zxid;

use crate::dir::DataDir;
use crate::error::Result;
use crate::snapshot::{SnapshotDigest, SnapshotFile};

/// How a log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// Bytes by which a file grows ahead of its content, so that syncing need not change its size; 0 for none.
    /// Apache's `preAllocSize`.
    pub preallocate: u64,
    /// Largest transaction that is read back, bytes. Apache's `jute.maxbuffer` plus its extra.
    pub max_record: usize,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { preallocate: 64 << 20, max_record: 2 * palisade_wire::DEFAULT_MAX_FRAME }
    }
}

/// Where a log ends and what a crash left behind it: found by [`DataDir::restore`], mended by [`DataDir::open_log`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogTail {
    last: Zxid,
}

impl LogTail {
    /// The last transaction in snapshot and log.
    pub const fn last_zxid(&self) -> Zxid {
        self.last
    }
}

/// A transaction as it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// Its zxid.
    pub zxid: Zxid,
    /// Header and body, as in a PROPOSAL ([`palisade_wire::txn::TxnRecord`]).
    pub payload: Bytes,
}

/// Reads a log from some transaction to its end, verifying checksums and contiguity.
#[derive(Debug)]
pub struct LogReader {
    _todo: (),
}

impl Iterator for LogReader {
    type Item = Result<LogRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        todo!()
    }
}

impl DataDir {
    /// Opens the log for appending after what was restored, first cutting off what a crash left half written.
    pub fn open_log(&self, _tail: &LogTail, _options: LogOptions) -> Result<TxnLog> {
        todo!()
    }
}

/// The transaction log, open for appending.
#[derive(Debug)]
pub struct TxnLog {
    _dir: DataDir,
}

impl TxnLog {
    /// Adds a transaction behind the last one. It is durable once [`TxnLog::sync`] has returned, and not before.
    ///
    /// # Errors
    ///
    /// [`crate::DiskError::NotContiguous`] if `zxid` does not follow the last one: nothing is written.
    /// [`crate::DiskError::Poisoned`] after any failed write.
    pub fn append(&mut self, _zxid: Zxid, _payload: &[u8]) -> Result<()> {
        todo!()
    }

    /// Makes all that was appended durable: one write, one fdatasync. Returns the last transaction.
    pub fn sync(&mut self) -> Result<Zxid> {
        todo!()
    }

    /// Lets the next append begin a new file; to be called when a snapshot begins.
    pub fn roll(&mut self) -> Result<()> {
        todo!()
    }

    /// The last transaction that was appended, durable or not; that of the snapshot if the log is empty.
    pub fn last_zxid(&self) -> Zxid {
        todo!()
    }

    /// Bytes of transactions in the current file: when to take a snapshot.
    pub fn file_bytes(&self) -> u64 {
        todo!()
    }

    /// Forgets every transaction after `to`, in snapshots and log, durably. The caller restores afterwards.
    ///
    /// A crash in the middle leaves a prefix of the old history that reaches at least to `to`.
    ///
    /// # Errors
    ///
    /// [`crate::DiskError::CannotTruncate`] if `to` is beyond the end, or if no loadable snapshot and contiguous log
    /// lead to it.
    pub fn truncate(&mut self, _to: Zxid) -> Result<()> {
        todo!()
    }

    /// Replaces the whole history by a snapshot that a leader sent. Everything else is deleted, because old
    /// transactions need not belong to the new history. The next append follows the snapshot's zxid.
    ///
    /// A crash in the middle leaves a prefix of the old history, or the new snapshot.
    pub fn install(&mut self, _snapshot: SnapshotFile, _digest: Option<SnapshotDigest>) -> Result<()> {
        todo!()
    }

    /// Reads transactions after `after`, up to what was last synced.
    pub fn read_after(&self, _after: Zxid) -> Result<LogReader> {
        todo!()
    }

    /// Deletes what the `retain` (at least 3) newest snapshots do not need. Returns how many files went.
    pub fn purge(&mut self, _retain: usize) -> Result<usize> {
        todo!()
    }
}
