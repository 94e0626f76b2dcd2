use std::fs;
use std::path::{Path, PathBuf};

use palisade_store::DataTree;
use palisade_wire::Zxid;

use crate::dir::DataDir;
use crate::error::{Context, Result};
use crate::names;

mod compress;
mod read;
mod seal;
#[cfg(test)]
mod tests;
mod write;

pub use compress::Compression;
pub use write::SnapshotFile;

/// The snapshots of a data directory.
#[derive(Clone, Debug)]
pub struct Snapshots {
    dir: DataDir,
    compression: Compression,
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
    /// How it is compressed.
    pub compression: Compression,
    /// Whether it looks as if it had been written to its end. Apache's servers leave half ones behind when they crash.
    pub whole: bool,
}

/// The tree's digest at some transaction, to be verified when a replay comes past it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotDigest {
    /// The last transaction that the tree had applied when the snapshot was finished; zero for no digest.
    pub zxid: Zxid,
    /// The tree's digest then (of version 2).
    pub digest: u64,
}

impl Snapshots {
    pub(crate) const fn new(dir: DataDir) -> Self {
        Self { dir, compression: Compression::None }
    }

    /// Compresses the snapshots that are created from now on.
    #[must_use]
    pub const fn compressed(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// Where they are.
    pub fn path(&self) -> &Path {
        self.dir.snapshot_path()
    }

    /// Begins a snapshot that will be `snapshot.<zxid>` once it is finished.
    ///
    /// At most one may be under way, and none while the log is truncated or replaced.
    pub fn create(&self, zxid: Zxid) -> Result<SnapshotFile> {
        SnapshotFile::create(self.dir.clone(), zxid, self.compression)
    }

    /// All snapshots, newest first. Files of unknown kinds and unfinished ones are left out.
    pub fn list(&self) -> Result<Vec<SnapshotInfo>> {
        let mut found = Vec::new();
        for named in names::list(self.dir.snapshot_path(), names::SNAPSHOT)? {
            let Some(compression) = Compression::from_extension(named.extension.as_deref()) else {
                continue;
            };
            let bytes = fs::metadata(&named.path).context("inspect", &named.path)?.len();
            let whole = read::looks_whole(&named.path, compression)?;
            found.push(SnapshotInfo { zxid: named.zxid, path: named.path, bytes, compression, whole });
        }
        found.reverse();
        Ok(found)
    }

    /// Loads one and verifies its checksums. The tree's last zxid is the snapshot's.
    ///
    /// No field may exceed `max_field` bytes.
    ///
    /// # Errors
    ///
    /// [`crate::DiskError::Corrupt`], [`crate::DiskError::Io`].
    pub fn load(
        &self,
        snapshot: &SnapshotInfo,
        max_field: usize,
    ) -> Result<(DataTree, Option<SnapshotDigest>)> {
        read::load(snapshot, max_field)
    }
}
