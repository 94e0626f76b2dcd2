use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

use adler2::Adler32;
use bytes::BytesMut;
use palisade_store::{DataTree, SnapshotReader};
use palisade_wire::Zxid;

use super::seal::{HEADER_LEN, MAX_TRAILER, TERMINATOR, is_header, is_known_version, read_trailer};
use super::{Compression, SnapshotDigest, SnapshotInfo};
use crate::error::{Context, DiskError, Result, UNKNOWN_VERSION};

/// Bytes read at a time.
const CHUNK: usize = 256 * 1024;

/// Whether the file looks like a snapshot that was written to its end (Apache `FileSnap.findNValidSnapshots`).
/// Cheap: reads a few bytes.
pub(super) fn looks_whole(path: &Path, compression: Compression) -> Result<bool> {
    let probe = || -> io::Result<bool> {
        let mut file = File::open(path)?;
        let mut found = Vec::new();
        let expected = if compression == Compression::None {
            if file.metadata()?.len() < 10 {
                return Ok(false);
            }
            file.seek(SeekFrom::End(-(TERMINATOR.len() as i64)))?;
            &TERMINATOR[..]
        } else {
            compression.magic()
        };
        file.take(expected.len() as u64).read_to_end(&mut found)?;
        Ok(found == expected)
    };
    probe().context("read", path)
}

/// Loads and verifies a whole file.
pub(super) fn load(snapshot: &SnapshotInfo, max_field: usize) -> Result<(DataTree, Option<SnapshotDigest>)> {
    let path = &snapshot.path;
    let file = File::open(path).context("open", path)?;
    let mut stream = Stream::new(path, snapshot.zxid, snapshot.compression.reader(file));
    stream.read_header()?;
    let tree = stream.read_tree(max_field)?;
    let digest = stream.read_trailer()?;
    Ok((tree, digest))
}

/// The decompressed content, and the checksum over all of it that was consumed.
struct Stream<'a> {
    path: &'a Path,
    zxid: Zxid,
    source: Box<dyn Read>,
    /// Read and not consumed yet.
    buf: BytesMut,
    /// Bytes consumed.
    consumed: u64,
    checksum: Adler32,
    chunk: Vec<u8>,
}

impl<'a> Stream<'a> {
    fn new(path: &'a Path, zxid: Zxid, source: Box<dyn Read>) -> Self {
        Self {
            path,
            zxid,
            source,
            buf: BytesMut::with_capacity(CHUNK),
            consumed: 0,
            checksum: Adler32::new(),
            chunk: vec![0; CHUNK],
        }
    }

    /// Reads once; the bytes are in the first part of `chunk` and at the end of `buf`. Zero at the end.
    fn fill(&mut self) -> Result<usize> {
        loop {
            match self.source.read(&mut self.chunk) {
                Ok(n) => {
                    self.buf.extend_from_slice(&self.chunk[..n]);
                    return Ok(n);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(self.failed(e)),
            }
        }
    }

    fn read_header(&mut self) -> Result<()> {
        let mut header = [0; HEADER_LEN];
        self.source.read_exact(&mut header).map_err(|e| self.failed(e))?;
        if !is_header(&header) {
            return Err(self.corrupt("it does not begin with ZKSN"));
        }
        if !is_known_version(&header) {
            return Err(self.corrupt(UNKNOWN_VERSION));
        }
        self.checksum.write_slice(&header);
        self.consumed = HEADER_LEN as u64;
        Ok(())
    }

    /// Whatever the reader leaves at the tree's end came with the last read, so `chunk` tells what it took.
    fn read_tree(&mut self, max_field: usize) -> Result<DataTree> {
        let mut reader = SnapshotReader::new(self.zxid);
        loop {
            let fresh = self.fill()?;
            if fresh == 0 {
                return Err(self.cut_short());
            }
            let before = self.buf.len();
            let tree = reader.feed(&mut self.buf, max_field).map_err(|e| self.corrupt(e.to_string()))?;
            self.consumed += (before - self.buf.len()) as u64;
            let used = if tree.is_some() { fresh.saturating_sub(self.buf.len()) } else { fresh };
            self.checksum.write_slice(&self.chunk[..used]);
            if let Some(tree) = tree {
                return Ok(tree);
            }
        }
    }

    fn read_trailer(&mut self) -> Result<Option<SnapshotDigest>> {
        while self.buf.len() <= MAX_TRAILER && self.fill()? > 0 {}
        read_trailer(&mut self.checksum, &self.buf).map_err(|e| self.corrupt(e.to_string()))
    }

    /// Decompressors report damage as I/O errors.
    fn failed(&self, e: io::Error) -> DiskError {
        match e.kind() {
            ErrorKind::InvalidData | ErrorKind::InvalidInput => self.corrupt(e.to_string()),
            ErrorKind::UnexpectedEof => self.cut_short(),
            _ => DiskError::Io { verb: "read", path: self.path.to_owned(), source: e },
        }
    }

    fn cut_short(&self) -> DiskError {
        let end = self.consumed + self.buf.len() as u64;
        DiskError::corrupt(self.path, end, "the file ends too early")
    }

    fn corrupt(&self, what: impl Into<String>) -> DiskError {
        DiskError::corrupt(self.path, self.consumed, what)
    }
}
