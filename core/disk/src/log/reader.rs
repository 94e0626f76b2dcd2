use std::collections::VecDeque;
use std::iter::FusedIterator;
use std::path::PathBuf;

use bytes::Bytes;
use palisade_wire::Zxid;

use super::file::{FileReader, Step};
use super::format::HEADER;
use crate::dir::DataDir;
use crate::error::{DiskError, Result};
use crate::names::{self, Named};

/// A transaction as it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// Its zxid.
    pub zxid: Zxid,
    /// Header and body, as in a PROPOSAL ([`palisade_wire::txn::TxnRecord`]).
    pub payload: Bytes,
}

/// What a crash left behind the last whole transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Leftover {
    Nothing,
    /// Half of what was being written: the file is to be cut at this byte.
    Torn(PathBuf, u64),
    /// A file that was created, but got no whole transaction: to be deleted.
    Empty(PathBuf),
}

/// Where a log ends and what a crash left behind it: found by [`DataDir::restore`], mended by
/// [`DataDir::open_log`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogTail {
    pub(super) last: Zxid,
    pub(super) leftover: Leftover,
}

impl LogTail {
    /// The last transaction in snapshot and log.
    pub const fn last_zxid(&self) -> Zxid {
        self.last
    }
}

/// Reads the transactions after some zxid, verifying checksums, and that none is missing.
///
/// Ends at the log's end, or with the first error. What a crash may leave at the end of the newest file counts as its
/// end; the same in an older file is an error, because more was written after it.
#[derive(Debug)]
pub struct LogReader {
    files: VecDeque<Named>,
    current: Option<FileReader>,
    /// The zxid in the current file's name, until its first record was seen to have it.
    named: Option<Zxid>,
    /// The file of the last record, and where in it that began.
    path: PathBuf,
    start: u64,
    after: Zxid,
    last: Zxid,
    max_record: usize,
    leftover: Leftover,
    done: bool,
}

impl LogReader {
    pub(crate) fn new(dir: &DataDir, after: Zxid, max_record: usize) -> Result<Self> {
        let mut files = VecDeque::from(names::logs(dir.log_path())?);
        while files.get(1).is_some_and(|second| second.zxid <= after) {
            files.pop_front();
        }
        Ok(Self {
            files,
            current: None,
            named: None,
            path: PathBuf::new(),
            start: 0,
            after,
            last: after,
            max_record,
            leftover: Leftover::Nothing,
            done: false,
        })
    }

    /// Where the log ends. Meaningful once the iteration has ended without an error.
    pub(crate) fn into_tail(self) -> LogTail {
        LogTail { last: self.last, leftover: self.leftover }
    }

    /// An error about the record that was read last.
    pub(crate) fn corrupt(&self, what: impl Into<String>) -> DiskError {
        DiskError::corrupt(&self.path, self.start, what)
    }

    fn read(&mut self) -> Result<Option<LogRecord>> {
        loop {
            if self.current.is_none() {
                let Some(file) = self.files.pop_front() else { return Ok(None) };
                self.current = Some(FileReader::open(&file.path, self.max_record)?);
                self.named = Some(file.zxid);
                self.path = file.path;
            }
            let Some(file) = &mut self.current else { continue };
            match file.next()? {
                Step::Record { start, zxid, payload } => {
                    self.start = start;
                    if let Some(record) = self.accept(zxid, payload)? {
                        return Ok(Some(record));
                    }
                }
                Step::End { at } => self.end_file(at, false)?,
                Step::Torn { at } => self.end_file(at, true)?,
            }
        }
    }

    /// Checks that nothing is missing before a record. Records that come again are skipped: Apache's learners may log
    /// what their snapshot holds already.
    fn accept(&mut self, zxid: Zxid, payload: Bytes) -> Result<Option<LogRecord>> {
        if self.named.take().is_some_and(|named| named != zxid) {
            return Err(self.corrupt(format!("the first transaction is {zxid}, unlike the file's name")));
        }
        if zxid <= self.last {
            if zxid > self.after {
                tracing::warn!(%zxid, last = %self.last, "transaction is in the log twice");
            }
            return Ok(None);
        }
        if !zxid.follows(self.last) {
            let last = self.last;
            return Err(
                self.corrupt(format!("transaction {zxid} follows {last}: those in between are missing"))
            );
        }
        self.last = zxid;
        Ok(Some(LogRecord { zxid, payload }))
    }

    fn end_file(&mut self, at: u64, torn: bool) -> Result<()> {
        self.current = None;
        let path = self.path.clone();
        if !self.files.is_empty() {
            if torn {
                let what = "it ends inside a transaction, though a newer log file exists";
                return Err(DiskError::corrupt(&path, at, what));
            }
            return Ok(());
        }
        if at <= HEADER.len() as u64 {
            self.leftover = Leftover::Empty(path);
        } else if torn {
            self.leftover = Leftover::Torn(path, at);
        }
        Ok(())
    }
}

impl Iterator for LogReader {
    type Item = Result<LogRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let record = self.read().transpose();
        self.done = !matches!(record, Some(Ok(_)));
        record
    }
}

impl FusedIterator for LogReader {}
