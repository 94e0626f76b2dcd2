//! Compression of snapshots: gzip, and snappy in the framing of snappy-java ("xerial").

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};

use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

/// How a snapshot file is compressed (Apache `snapshot.compression.method`). Readers go by the file's name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all: readable by every version.
    #[default]
    None,
    /// `.gz`: readable by Apache 3.6 and later.
    Gzip,
    /// `.snappy`: readable by Apache 3.6 and later.
    Snappy,
}

impl Compression {
    /// By the last part of a file's name, `None` for unknown ones.
    pub(crate) fn from_extension(extension: Option<&str>) -> Option<Self> {
        match extension {
            None => Some(Self::None),
            Some("gz") => Some(Self::Gzip),
            Some("snappy") => Some(Self::Snappy),
            Some(_) => None,
        }
    }

    /// What is appended to a file's name.
    pub(crate) const fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ".gz",
            Self::Snappy => ".snappy",
        }
    }

    /// What such a file begins with; empty if that does not tell.
    pub(crate) const fn magic(self) -> &'static [u8] {
        match self {
            Self::None => b"",
            Self::Gzip => &[0x1f, 0x8b],
            Self::Snappy => &XERIAL_MAGIC,
        }
    }

    /// A reader of the decompressed content.
    pub(crate) fn reader(self, file: File) -> Box<dyn Read> {
        match self {
            Self::None => Box::new(file),
            Self::Gzip => Box::new(MultiGzDecoder::new(file)),
            Self::Snappy => Box::new(XerialReader::new(file)),
        }
    }

    /// A writer that compresses into `file`.
    pub(crate) fn writer(self, file: File) -> io::Result<Sink> {
        Ok(match self {
            Self::None => Sink::Plain(file),
            Self::Gzip => Sink::Gzip(GzEncoder::new(file, flate2::Compression::default())),
            Self::Snappy => Sink::Snappy(Box::new(XerialWriter::new(file)?)),
        })
    }
}

/// A compressing writer.
#[derive(Debug)]
pub(crate) enum Sink {
    Plain(File),
    Gzip(GzEncoder<File>),
    Snappy(Box<XerialWriter>),
}

impl Sink {
    pub(crate) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.write_all(bytes),
            Self::Gzip(encoder) => encoder.write_all(bytes),
            Self::Snappy(writer) => writer.write_all(bytes),
        }
    }

    /// The file below.
    pub(crate) fn file(&self) -> &File {
        match self {
            Self::Plain(file) => file,
            Self::Gzip(encoder) => encoder.get_ref(),
            Self::Snappy(writer) => &writer.file,
        }
    }

    /// Writes what is still buffered, and the compressed format's own end.
    pub(crate) fn finish(self) -> io::Result<File> {
        match self {
            Self::Plain(file) => Ok(file),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Snappy(writer) => writer.finish(),
        }
    }
}

const XERIAL_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
/// Version and lowest compatible version, both 1.
const XERIAL_VERSIONS: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 1];
/// Uncompressed bytes per block, as snappy-java writes.
const BLOCK: usize = 32 * 1024;
/// Largest block that is read; snappy-java's block size can be configured.
const MAX_BLOCK: usize = 16 << 20;

/// Reads xerial framing: after the header, blocks of `int length` and that many bytes of raw snappy.
struct XerialReader<R> {
    inner: R,
    started: bool,
    block: Vec<u8>,
    at: usize,
}

impl<R: Read> XerialReader<R> {
    const fn new(inner: R) -> Self {
        Self { inner, started: false, block: Vec::new(), at: 0 }
    }

    fn read_header(&mut self) -> io::Result<()> {
        let mut header = [0; 16];
        self.inner.read_exact(&mut header)?;
        if header[..8] == XERIAL_MAGIC { Ok(()) } else { Err(invalid("no snappy header")) }
    }

    /// Reads the next block; false at the end of the file.
    fn next_block(&mut self) -> io::Result<bool> {
        let mut len = [0; 4];
        if !read_exact_or_end(&mut self.inner, &mut len)? {
            return Ok(false);
        }
        let len = u32::from_be_bytes(len) as usize;
        if len > MAX_BLOCK {
            return Err(invalid("unreasonable length of a snappy block"));
        }
        let mut compressed = vec![0; len];
        self.inner.read_exact(&mut compressed)?;
        let size = snap::raw::decompress_len(&compressed).map_err(invalid)?;
        if size > MAX_BLOCK {
            return Err(invalid("unreasonable size of a snappy block"));
        }
        self.block.resize(size, 0);
        snap::raw::Decoder::new().decompress(&compressed, &mut self.block).map_err(invalid)?;
        self.at = 0;
        Ok(true)
    }
}

impl<R: Read> Read for XerialReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if !self.started {
            self.read_header()?;
            self.started = true;
        }
        while self.at == self.block.len() {
            if !self.next_block()? {
                return Ok(0);
            }
        }
        let n = (&self.block[self.at..]).read(out)?;
        self.at += n;
        Ok(n)
    }
}

/// Like `read_exact`, but false if not even the first byte is there.
fn read_exact_or_end(from: &mut impl Read, buf: &mut [u8]) -> io::Result<bool> {
    let mut filled = 0;
    while filled < buf.len() {
        match from.read(&mut buf[filled..]) {
            Ok(0) if filled == 0 => return Ok(false),
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => filled += n,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(true)
}

fn invalid(what: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

/// Writes xerial framing.
#[derive(Debug)]
pub(crate) struct XerialWriter {
    file: File,
    block: Vec<u8>,
    encoder: snap::raw::Encoder,
}

impl XerialWriter {
    fn new(mut file: File) -> io::Result<Self> {
        file.write_all(&XERIAL_MAGIC)?;
        file.write_all(&XERIAL_VERSIONS)?;
        Ok(Self { file, block: Vec::with_capacity(BLOCK), encoder: snap::raw::Encoder::new() })
    }

    fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let n = bytes.len().min(BLOCK - self.block.len());
            let (head, tail) = bytes.split_at(n);
            self.block.extend_from_slice(head);
            bytes = tail;
            if self.block.len() == BLOCK {
                self.write_block()?;
            }
        }
        Ok(())
    }

    fn write_block(&mut self) -> io::Result<()> {
        let compressed = self.encoder.compress_vec(&self.block).map_err(invalid)?;
        self.block.clear();
        self.file.write_all(&(compressed.len() as u32).to_be_bytes())?;
        self.file.write_all(&compressed)
    }

    fn finish(mut self) -> io::Result<File> {
        if !self.block.is_empty() {
            self.write_block()?;
        }
        Ok(self.file)
    }
}
