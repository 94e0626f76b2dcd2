//! One log file, read front to back.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::{Buf, Bytes, BytesMut};
use palisade_wire::Zxid;
use palisade_wire::txn::TxnRecord;

use super::format::{
    BEGINNING, END_OF_RECORD, HEADER, MAGIC, MIN_PAYLOAD, OVERHEAD, PREFIX_LEN, read_prefix,
};
use crate::error::{Context, DiskError, Result, UNKNOWN_VERSION};

/// Bytes read at a time.
const CHUNK: usize = 256 * 1024;
/// A length above this is garbage under any configuration.
const MAX_PAYLOAD: usize = 1 << 28;
/// What a disk writes whole or not at all, bytes.
const SECTOR: u64 = 512;

/// What comes next in a file.
#[derive(Debug)]
pub(super) enum Step {
    /// A transaction that begins at byte `start`.
    Record { start: u64, zxid: Zxid, payload: Bytes },
    /// Nothing but zeros, or nothing at all, from byte `at` on.
    End { at: u64 },
    /// From byte `at` on there is neither a whole transaction nor only zeros: what a crash leaves of transactions
    /// that were never synced. Nothing whole comes after it.
    Torn { at: u64 },
}

/// Reads a file's records in order.
#[derive(Debug)]
pub(super) struct FileReader {
    path: PathBuf,
    file: File,
    len: u64,
    /// Where in the file `buf` starts.
    at: u64,
    buf: BytesMut,
    max_record: usize,
    /// The last record's zxid.
    last: Zxid,
    header_read: bool,
}

impl FileReader {
    pub(super) fn open(path: &Path, max_record: usize) -> Result<Self> {
        let file = File::open(path).context("open", path)?;
        let len = file.metadata().context("inspect", path)?.len();
        Ok(Self {
            path: path.to_owned(),
            file,
            len,
            at: 0,
            buf: BytesMut::new(),
            max_record,
            last: Zxid(i64::MIN),
            header_read: false,
        })
    }

    /// The next step. After an end or an error there is none.
    ///
    /// # Errors
    ///
    /// [`DiskError::Corrupt`] for damage that no crash explains.
    pub(super) fn next(&mut self) -> Result<Step> {
        if !self.header_read {
            if let Some(end) = self.read_header()? {
                return Ok(end);
            }
            self.header_read = true;
        }
        let start = self.at;
        let Some(len) = self.fill_record()? else { return self.end_at(start) };
        let payload = &self.buf[PREFIX_LEN..PREFIX_LEN + len];
        let zxid = TxnRecord::peek_zxid(payload)
            .map_err(|e| DiskError::corrupt(&self.path, start, e.to_string()))?;
        if len > self.max_record {
            let limit = self.max_record;
            let what = format!("transaction {zxid} of {len} bytes is larger than the limit of {limit} bytes");
            return Err(DiskError::corrupt(&self.path, start, what));
        }
        self.buf.advance(PREFIX_LEN);
        let payload = self.buf.split_to(len).freeze();
        self.buf.advance(1);
        self.at += (len + OVERHEAD) as u64;
        self.last = zxid;
        Ok(Step::Record { start, zxid, payload })
    }

    /// Reads a record into the front of `buf`. The length of its payload, or `None` if there is no whole one.
    fn fill_record(&mut self) -> Result<Option<usize>> {
        if !self.fill(PREFIX_LEN)? {
            return Ok(None);
        }
        let Some(prefix) = self.buf.first_chunk::<PREFIX_LEN>() else { return Ok(None) };
        let (checksum, len) = read_prefix(prefix);
        let Some(len) = payload_len(len) else { return Ok(None) };
        if !self.fill(len + OVERHEAD)? {
            return Ok(None);
        }
        let payload = &self.buf[PREFIX_LEN..PREFIX_LEN + len];
        let is_whole = self.buf[PREFIX_LEN + len] == END_OF_RECORD
            && u64::from(adler2::adler32_slice(payload)) == checksum;
        Ok(is_whole.then_some(len))
    }

    /// `None` if there is a header. A crash while the file was new leaves it empty, cut short, or zero.
    fn read_header(&mut self) -> Result<Option<Step>> {
        if self.fill(HEADER.len())? && self.buf.starts_with(BEGINNING) {
            self.buf.advance(HEADER.len());
            self.at = HEADER.len() as u64;
            return Ok(None);
        }
        let head = &self.buf[..self.buf.len().min(HEADER.len())];
        let written = head.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
        if HEADER.starts_with(&head[..written]) && Scan::new(self).next_record(0)?.is_none() {
            return Ok(Some(Step::Torn { at: 0 }));
        }
        if self.buf.starts_with(MAGIC) {
            return Err(DiskError::corrupt(&self.path, MAGIC.len() as u64, UNKNOWN_VERSION));
        }
        Err(DiskError::corrupt(&self.path, 0, "it does not begin with ZKLG"))
    }

    /// Reads until `buf` holds `n` bytes; false if the file does not have them.
    fn fill(&mut self, n: usize) -> Result<bool> {
        if self.at + n as u64 > self.len {
            // What is there is needed to tell an end from damage, but not in memory.
            let rest = (self.len - self.at).min(HEADER.len() as u64) as usize;
            self.fill_some(rest)?;
            return Ok(false);
        }
        self.fill_some(n)?;
        Ok(self.buf.len() >= n)
    }

    fn fill_some(&mut self, n: usize) -> Result<()> {
        while self.buf.len() < n {
            let have = self.buf.len();
            let want = n.max(CHUNK).min(usize::try_from(self.len - self.at).unwrap_or(usize::MAX));
            self.buf.resize(want, 0);
            let read = loop {
                match self.file.read(&mut self.buf[have..]) {
                    Err(e) if e.kind() == ErrorKind::Interrupted => {}
                    other => break other,
                }
            };
            let read = read.context("read", &self.path)?;
            self.buf.truncate(have + read);
            if read == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Decides what it means that there is no whole record at `start`.
    fn end_at(&self, start: u64) -> Result<Step> {
        let mut scan = Scan::new(self);
        let Some(last_nonzero) = scan.last_nonzero(start)? else { return Ok(Step::End { at: start }) };
        if let Some(later) = scan.next_record(start + 1)? {
            let what = format!("there is no whole transaction here, but one at byte {later}");
            return Err(DiskError::corrupt(&self.path, start, what));
        }
        if self.is_torn(start, last_nonzero)? {
            return Ok(Step::Torn { at: start });
        }
        let what = "the transaction's checksum does not match, and a crash does not explain it";
        Err(DiskError::corrupt(&self.path, start, what))
    }

    /// Whether the record at `start` is one that was being written when the process or the machine stopped: its end was
    /// not written, or a sector of it is missing, so that zeros are there. A record that is there and wrong was
    /// damaged later, and may have been acknowledged.
    fn is_torn(&self, start: u64, last_nonzero: u64) -> Result<bool> {
        let rest = usize::try_from(self.len - start).unwrap_or(usize::MAX);
        let mut record = vec![0; rest.min(PREFIX_LEN)];
        self.read_at(&mut record, start)?;
        let Some(prefix) = record.first_chunk::<PREFIX_LEN>() else { return Ok(true) };
        if let Some(len) = payload_len(read_prefix(prefix).1) {
            if len + OVERHEAD > rest {
                return Ok(true);
            }
            record.resize(len + OVERHEAD, 0);
            self.read_at(&mut record, start)?;
        }
        let last = start + record.len() as u64 - 1;
        let in_first_sector = (SECTOR - start % SECTOR) as usize;
        let (first, others) = record.split_at(in_first_sector.min(record.len()));
        Ok(last_nonzero < last || is_zero(first) || others.chunks(SECTOR as usize).any(is_zero))
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> Result<()> {
        self.file.read_exact_at(buf, at).context("read", &self.path)
    }
}

/// A payload's length if it is a possible one.
fn payload_len(len: i32) -> Option<usize> {
    usize::try_from(len).ok().filter(|len| (MIN_PAYLOAD..=MAX_PAYLOAD).contains(len))
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|b| *b == 0)
}

/// Looks through the rest of a file without holding it in memory.
struct Scan<'a> {
    reader: &'a FileReader,
    window: Vec<u8>,
}

impl<'a> Scan<'a> {
    const WINDOW: usize = 1 << 20;

    const fn new(reader: &'a FileReader) -> Self {
        Self { reader, window: Vec::new() }
    }

    /// Moves the window to `at`; false at the end of the file.
    fn load(&mut self, at: u64) -> Result<bool> {
        let len = self.reader.len.saturating_sub(at).min(Self::WINDOW as u64) as usize;
        self.window.resize(len, 0);
        self.reader.read_at(&mut self.window, at)?;
        Ok(len > 0)
    }

    /// The last byte from `from` on that is not zero.
    fn last_nonzero(&mut self, from: u64) -> Result<Option<u64>> {
        let mut found = None;
        let mut at = from;
        while self.load(at)? {
            let last = self.window.iter().rposition(|b| *b != 0);
            found = last.map(|i| at + i as u64).or(found);
            at += self.window.len() as u64;
        }
        Ok(found)
    }

    /// The first whole transaction at or after byte `from` that is newer than what was read before.
    fn next_record(&mut self, from: u64) -> Result<Option<u64>> {
        let mut at = from;
        while self.load(at)? {
            let last = self.window.len().saturating_sub(PREFIX_LEN - 1);
            for i in 0..last {
                let Some(prefix) = self.window[i..].first_chunk::<PREFIX_LEN>() else { break };
                if self.is_record(at + i as u64, prefix)? {
                    return Ok(Some(at + i as u64));
                }
            }
            if last == 0 {
                return Ok(None);
            }
            at += last as u64;
        }
        Ok(None)
    }

    fn is_record(&self, at: u64, prefix: &[u8; PREFIX_LEN]) -> Result<bool> {
        let (checksum, len) = read_prefix(prefix);
        let Some(len) = payload_len(len).filter(|_| checksum <= u32::MAX.into()) else {
            return Ok(false);
        };
        if at + (len + OVERHEAD) as u64 > self.reader.len {
            return Ok(false);
        }
        let body = at + PREFIX_LEN as u64;
        let mut end = [0];
        self.reader.read_at(&mut end, body + len as u64)?;
        if end[0] != END_OF_RECORD {
            return Ok(false);
        }
        let mut payload = vec![0; len];
        self.reader.read_at(&mut payload, body)?;
        Ok(u64::from(adler2::adler32_slice(&payload)) == checksum
            && TxnRecord::peek_zxid(&payload).is_ok_and(|zxid| zxid > self.reader.last))
    }
}
