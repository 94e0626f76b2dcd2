use std::fs::{self, File};
use std::path::{Path, PathBuf};

use adler2::Adler32;
use palisade_wire::Zxid;

use super::compress::Sink;
use super::seal::{TERMINATOR, header, trailer};
use super::{Compression, SnapshotDigest};
use crate::dir::DataDir;
use crate::error::{Context, DiskError, Result};
use crate::{fs as dfs, names};

/// Bytes after which what was written is handed to the disk, so that the final sync, and the log's syncs in between,
/// do not have to wait for a whole snapshot.
const SYNC_EVERY: u64 = 16 << 20;

/// A snapshot that is being written, under a name that no reader takes for a snapshot.
///
/// Dropped unfinished, it is deleted.
#[derive(Debug)]
pub struct SnapshotFile {
    /// Keeps the directory's lock.
    _dir: DataDir,
    zxid: Zxid,
    path: PathBuf,
    tmp: TmpFile,
    sink: Option<Sink>,
    checksum: Adler32,
    /// Bytes before compression.
    written: u64,
    unsynced: u64,
    /// The last bytes written, to see that the stream is complete.
    last: [u8; TERMINATOR.len()],
}

/// A file that is deleted unless it was renamed.
#[derive(Debug)]
struct TmpFile {
    path: PathBuf,
    armed: bool,
}

impl Drop for TmpFile {
    fn drop(&mut self) {
        if self.armed
            && let Err(e) = fs::remove_file(&self.path)
        {
            tracing::debug!(path = %self.path.display(), "cannot delete an unfinished snapshot: {e}");
        }
    }
}

impl SnapshotFile {
    pub(super) fn create(dir: DataDir, zxid: Zxid, compression: Compression) -> Result<Self> {
        let name = names::name(names::SNAPSHOT, zxid) + compression.suffix();
        let path = dir.snapshot_path().join(name);
        let tmp = dfs::tmp_name(&path);
        let file = File::create(&tmp).context("create", &tmp)?;
        let tmp = TmpFile { path: tmp, armed: true };
        let sink = compression.writer(file).context("write", &tmp.path)?;
        let mut snapshot = Self {
            _dir: dir,
            zxid,
            path,
            tmp,
            sink: Some(sink),
            checksum: Adler32::new(),
            written: 0,
            unsynced: 0,
            last: [0; TERMINATOR.len()],
        };
        snapshot.write(&header())?;
        Ok(snapshot)
    }

    /// Appends a piece of the tree stream (`palisade_store::SnapshotCursor::write_chunk`).
    pub fn write(&mut self, chunk: &[u8]) -> Result<()> {
        let sink = self.sink.as_mut().ok_or_else(|| DiskError::Poisoned { path: self.tmp.path.clone() })?;
        self.checksum.write_slice(chunk);
        self.written += chunk.len() as u64;
        self.unsynced += chunk.len() as u64;
        remember_last(&mut self.last, chunk);
        let mut result = sink.write_all(chunk).context("write", &self.tmp.path);
        if result.is_ok() && self.unsynced >= SYNC_EVERY {
            self.unsynced = 0;
            result = sink.file().sync_data().context("sync", &self.tmp.path);
        }
        if result.is_err() {
            self.sink = None;
        }
        result
    }

    /// Seals it as Apache 3.8 does, makes it durable and gives it its name. Returns its size in bytes, before
    /// compression.
    ///
    /// To install a snapshot received from a leader use [`crate::TxnLog::install`] instead.
    ///
    /// # Errors
    ///
    /// [`DiskError::Corrupt`] if the stream written is not complete, [`DiskError::Io`].
    pub fn finish(mut self, digest: Option<SnapshotDigest>) -> Result<u64> {
        self.seal(digest)?;
        self.publish()
    }

    /// Writes the seals and makes the content durable, still under the name of an unfinished file.
    pub(crate) fn seal(&mut self, digest: Option<SnapshotDigest>) -> Result<()> {
        if self.last != TERMINATOR {
            let what = "the tree's stream was not written to its end; this is a defect of this program";
            return Err(DiskError::corrupt(&self.tmp.path, self.written, what));
        }
        let trailer = trailer(&mut self.checksum.clone(), digest);
        self.write(&trailer)?;
        let sink = self.sink.take().ok_or_else(|| DiskError::Poisoned { path: self.tmp.path.clone() })?;
        sink.finish().and_then(|file| file.sync_all()).context("sync", &self.tmp.path)
    }

    /// Gives a sealed file its name, durably.
    pub(crate) fn publish(mut self) -> Result<u64> {
        dfs::rename(&self.tmp.path, &self.path)?;
        self.tmp.armed = false;
        Ok(self.written)
    }

    /// The transaction up to which it is complete.
    pub const fn zxid(&self) -> Zxid {
        self.zxid
    }

    /// The name it will have.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn remember_last(last: &mut [u8; TERMINATOR.len()], chunk: &[u8]) {
    let keep = last.len().saturating_sub(chunk.len());
    let fresh = last.len() - keep;
    last.copy_within(fresh.., 0);
    last[keep..].copy_from_slice(&chunk[chunk.len() - fresh..]);
}
