use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use palisade_wire::Zxid;
use palisade_wire::txn::TxnRecord;

use super::format::{HEADER, put_record};
use super::reader::{Leftover, LogReader, LogTail};
use crate::dir::DataDir;
use crate::error::{Context, DiskError, Result};
use crate::{fs, names};

/// Appended bytes that are held in memory before they are written without being synced.
const MAX_BUFFER: usize = 4 << 20;
/// How close to its end a file is extended, bytes; as in Apache's `FilePadding`.
const EXTEND_BEFORE: u64 = 4096;

/// How a log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// Bytes by which a file grows ahead of its content, so that few syncs have to record a new size; 0 for none.
    /// Apache's `preAllocSize`.
    pub preallocate: u64,
    /// Largest transaction, bytes. Apache's `jute.maxbuffer` plus its extra.
    pub max_record: usize,
    /// Whether [`TxnLog::sync`] waits for the disk. Without, a power failure loses acknowledged transactions.
    /// Apache's `forceSync`.
    pub force_sync: bool,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { preallocate: 64 << 20, max_record: 2 * palisade_wire::DEFAULT_MAX_FRAME, force_sync: true }
    }
}

/// The transaction log, open for appending.
///
/// After an error of [`TxnLog::append`], [`TxnLog::sync`] or [`TxnLog::roll`] that came from the disk, every further
/// call fails: a failed sync says nothing about what is on the disk, and a later one that succeeds neither.
#[derive(Debug)]
pub struct TxnLog {
    pub(super) dir: DataDir,
    pub(super) options: LogOptions,
    pub(super) last: Zxid,
    file: Option<OpenFile>,
    /// Appended and not written yet.
    buffer: Vec<u8>,
    poisoned: Option<PathBuf>,
}

#[derive(Debug)]
struct OpenFile {
    file: File,
    path: PathBuf,
    /// Bytes written.
    written: u64,
    /// The file's size.
    size: u64,
    /// Whether anything was written since the last sync.
    dirty: bool,
    /// Whether the file's name is not durable yet.
    is_new: bool,
}

impl DataDir {
    /// Opens the log for appending after what was restored, first cutting off what a crash left half written, and
    /// making durable what was restored: a killed process leaves transactions that only the page cache has.
    ///
    /// # Errors
    ///
    /// [`DiskError::Io`].
    pub fn open_log(&self, tail: &LogTail, options: LogOptions) -> Result<TxnLog> {
        match &tail.leftover {
            Leftover::Nothing => {}
            Leftover::Torn(path, at) => {
                tracing::info!(path = %path.display(), at, "cutting off a transaction that was never synced");
                super::cut::cut_file(path, *at)?;
            }
            Leftover::Empty(path) => fs::remove(path)?,
        }
        for snapshot in names::list(self.snapshot_path(), names::SNAPSHOT)? {
            if snapshot.is_tmp() {
                fs::remove(&snapshot.path)?;
            }
        }
        if let Some(newest) = names::logs(self.log_path())?.last() {
            fs::sync_file(&newest.path)?;
        }
        fs::sync_dir(self.log_path())?;
        fs::sync_dir(self.snapshot_path())?;
        Ok(TxnLog::behind(self.clone(), tail.last, options))
    }
}

impl TxnLog {
    pub(super) const fn behind(dir: DataDir, last: Zxid, options: LogOptions) -> Self {
        Self { dir, options, last, file: None, buffer: Vec::new(), poisoned: None }
    }

    /// Adds a transaction behind the last one. It is durable once [`TxnLog::sync`] has returned, and not before.
    ///
    /// Makes no system call, except where a file begins and after megabytes without a sync.
    ///
    /// # Errors
    ///
    /// [`DiskError::NotContiguous`] if `zxid` does not follow the last one, [`DiskError::Unloggable`] if the payload
    /// could not be read back: nothing is written. [`DiskError::Io`], and [`DiskError::Poisoned`] ever after.
    pub fn append(&mut self, zxid: Zxid, payload: &[u8]) -> Result<()> {
        self.check_poisoned()?;
        if !zxid.follows(self.last) {
            return Err(DiskError::NotContiguous { last: self.last, zxid });
        }
        if payload.len() > self.options.max_record {
            return Err(DiskError::Unloggable {
                zxid,
                what: "it is larger than the largest transaction allowed",
            });
        }
        if payload.len() < super::format::MIN_PAYLOAD || TxnRecord::peek_zxid(payload) != Ok(zxid) {
            return Err(DiskError::Unloggable { zxid, what: "its header does not hold its zxid" });
        }
        if self.file.is_none() {
            let file = self.begin_file(zxid);
            self.file = Some(self.poison_on_error(file)?);
            self.buffer.extend_from_slice(&HEADER);
        }
        put_record(&mut self.buffer, payload);
        self.last = zxid;
        if self.buffer.len() > MAX_BUFFER { self.write_out() } else { Ok(()) }
    }

    /// Makes all that was appended durable: one write, one fdatasync. Returns the last transaction.
    ///
    /// # Errors
    ///
    /// [`DiskError::Io`], and [`DiskError::Poisoned`] ever after.
    pub fn sync(&mut self) -> Result<Zxid> {
        self.write_out()?;
        let Some(open) = self.file.as_mut().filter(|open| open.dirty) else { return Ok(self.last) };
        open.dirty = false;
        if !self.options.force_sync {
            return Ok(self.last);
        }
        let mut synced = open.file.sync_data().context("sync", &open.path);
        if synced.is_ok() && std::mem::take(&mut open.is_new) {
            synced = fs::sync_dir(self.dir.log_path());
        }
        self.poison_on_error(synced)?;
        Ok(self.last)
    }

    /// Syncs, and lets the next append begin a new file: to be called when a snapshot begins, so that files which
    /// only older snapshots need can be purged.
    ///
    /// # Errors
    ///
    /// [`DiskError::Io`], and [`DiskError::Poisoned`] ever after.
    pub fn roll(&mut self) -> Result<()> {
        self.sync()?;
        if let Some(open) = self.file.take() {
            let trimmed = open.file.set_len(open.written).context("trim", &open.path);
            self.poison_on_error(trimmed)?;
        }
        Ok(())
    }

    /// The last transaction that was appended, durable or not; that of the snapshot if there is none.
    pub const fn last_zxid(&self) -> Zxid {
        self.last
    }

    /// Bytes in the current file, preallocated ones excluded.
    pub fn file_bytes(&self) -> u64 {
        self.file.as_ref().map_or(0, |open| open.written) + self.buffer.len() as u64
    }

    /// Reads transactions after `after`. Those that were appended since the last [`TxnLog::sync`] may be missing.
    ///
    /// # Errors
    ///
    /// [`DiskError::Io`]. The reader yields [`DiskError::Corrupt`], also if the log begins later than `after`.
    pub fn read_after(&self, after: Zxid) -> Result<LogReader> {
        LogReader::new(&self.dir, after, self.options.max_record)
    }

    fn begin_file(&self, zxid: Zxid) -> Result<OpenFile> {
        let path = self.dir.log_path().join(names::name(names::LOG, zxid));
        let file = OpenOptions::new().write(true).create_new(true).open(&path).context("create", &path)?;
        Ok(OpenFile { file, path, written: 0, size: 0, dirty: false, is_new: true })
    }

    /// Gives the operating system all that was appended: it outlives this process, if not the machine.
    ///
    /// # Errors
    ///
    /// [`DiskError::Io`], and [`DiskError::Poisoned`] ever after.
    pub fn write_out(&mut self) -> Result<()> {
        self.check_poisoned()?;
        if self.buffer.is_empty() {
            return Ok(());
        }
        let Some(open) = &mut self.file else { return Ok(()) };
        let result = open.write(&self.buffer, self.options.preallocate);
        self.buffer.clear();
        self.poison_on_error(result)
    }

    fn check_poisoned(&self) -> Result<()> {
        match &self.poisoned {
            None => Ok(()),
            Some(path) => Err(DiskError::Poisoned { path: path.clone() }),
        }
    }

    pub(super) fn poison_on_error<T>(&mut self, result: Result<T>) -> Result<T> {
        if result.is_err() && self.poisoned.is_none() {
            let path = self.file.as_ref().map(|open| open.path.clone());
            self.poisoned = Some(path.unwrap_or_else(|| self.dir.log_path().to_owned()));
        }
        result
    }
}

impl OpenFile {
    fn write(&mut self, bytes: &[u8], preallocate: u64) -> Result<()> {
        let end = self.written + bytes.len() as u64;
        let size = self.size.max(HEADER.len() as u64);
        if preallocate > 0 && end + EXTEND_BEFORE >= size {
            let size = size + ((end + EXTEND_BEFORE - size) / preallocate + 1) * preallocate;
            self.file.set_len(size).context("extend", &self.path)?;
            self.size = size;
        }
        self.dirty = true;
        self.file.write_all(bytes).context("write", &self.path)?;
        self.written = end;
        Ok(())
    }
}
