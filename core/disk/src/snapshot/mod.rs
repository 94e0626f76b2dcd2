use std::path::{Path, PathBuf};

use palisade_store::DataTree;
use palisade_wire::Zxid;

use crate::dir::DataDir;
use crate::error::Result;

/// The snapshots of a data directory.
#[derive(Clone, Debug)]
pub struct Snapshots {
    dir: DataDir,
}

/// A snapshot file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// The transaction up to which it is complete.
    pub zxid: Zxid,
    /// The file.
    pub path: PathBuf,
    /// Its size on disk, bytes.
    pub bytes: u64,
}

/// The tree's digest at some transaction, to be verified when a replay comes past it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotDigest {
    /// The transaction after which the digest was taken; zero for no digest.
    pub zxid: Zxid,
    /// The digest of version 2.
    pub digest: u64,
}

impl Snapshots {
    pub(crate) const fn new(dir: DataDir) -> Self {
        Self { dir }
    }

    /// Begins a snapshot that will be `snapshot.<zxid>` once it is finished.
    ///
    /// At most one may be under way, and none while the log is truncated or replaced.
    pub fn create(&self, _zxid: Zxid) -> Result<SnapshotFile> {
        todo!()
    }

    /// All snapshots that look whole, newest first.
    pub fn list(&self) -> Result<Vec<SnapshotInfo>> {
        todo!()
    }

    /// Loads one, verifying its checksums. The tree's last zxid is the snapshot's.
    ///
    /// No field may exceed `max_field` bytes.
    pub fn load(
        &self,
        _snapshot: &SnapshotInfo,
        _max_field: usize,
    ) -> Result<(DataTree, Option<SnapshotDigest>)> {
        todo!()
    }
}

/// A snapshot that is being written, under a name that no reader takes for a snapshot.
///
/// Dropped unfinished, it is deleted.
#[derive(Debug)]
pub struct SnapshotFile {
    path: PathBuf,
}

impl SnapshotFile {
    /// Appends a piece of the tree stream (`palisade_store::SnapshotCursor::write_chunk`).
    pub fn write(&mut self, _chunk: &[u8]) -> Result<()> {
        todo!()
    }

    /// Seals it as Apache 3.8 does, makes it durable and gives it its name. Returns its size in bytes.
    ///
    /// To install a snapshot received from a leader use [`crate::TxnLog::install`] instead.
    pub fn finish(self, _digest: Option<SnapshotDigest>) -> Result<u64> {
        todo!()
    }

    /// The name it will have.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
