//! Reading packets off a link.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use palisade_store::{DataTree, SnapshotError, SnapshotReader};
use palisade_wire::quorum::QuorumPacket;
use palisade_wire::{DecodeError, Zxid, quorum::SNAP_SIGNATURE};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Room for one more read.
const READ: usize = 64 << 10;
/// One unit of admission, bytes.
const UNIT: usize = 1 << 10;

/// Why a link ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the other end closed it")]
    Closed,
    #[error("the other end was silent for too long")]
    Silent,
    #[error("it did not start as a learner does")]
    NotALearner,
    #[error("too many learners")]
    Crowded,
    #[error("malformed packet: {0}")]
    Malformed(#[from] DecodeError),
    #[error("malformed tree: {0}")]
    Tree(#[from] SnapshotError),
    #[error("the tree is not followed by its signature")]
    Signature,
    #[error("a transaction is sent under another zxid than its own")]
    OtherZxid,
    #[error("shutting down")]
    Shutdown,
}

/// Permission for bytes that were read and not yet dealt with; dropping its last copy lets the link read on.
pub(crate) type Admission = Arc<OwnedSemaphorePermit>;

/// Packets from one link.
pub(crate) struct PacketReader<S> {
    socket: S,
    buf: BytesMut,
    max_data: usize,
    room: Arc<Semaphore>,
    units: usize,
}

impl<S: AsyncRead + Unpin> PacketReader<S> {
    /// Reads packets with at most `max_data` bytes of data, of which `room` bytes (at least one packet) may be
    /// undealt with.
    pub(crate) fn new(socket: S, max_data: usize, room: usize) -> Self {
        let units = (room.max(max_data) / UNIT + 1).min(u32::MAX as usize);
        Self {
            socket,
            buf: BytesMut::with_capacity(READ),
            max_data,
            room: Arc::new(Semaphore::new(units)),
            units,
        }
    }

    /// The next packets, at least one, once there is room for them. A SNAP is the last of its batch.
    pub(crate) async fn next(&mut self) -> Result<(Vec<QuorumPacket>, Admission), LinkError> {
        let end = loop {
            match QuorumPacket::peek_batch(&self.buf, self.max_data, READ)? {
                0 => self.read().await?,
                end => break end,
            }
        };
        let admission = self.admission(end).await?;
        Ok((QuorumPacket::decode_batch(&self.take(end))?, admission))
    }

    /// The first `len` bytes that were read. What is small is copied: proposals stay in the in-memory log for long, and
    /// would hold on to a whole buffer, so that the log's limit in bytes would not limit memory.
    fn take(&mut self, len: usize) -> Bytes {
        if len >= READ / 2 {
            return self.buf.split_to(len).freeze();
        }
        let batch = Bytes::copy_from_slice(&self.buf[..len]);
        self.buf.advance(len);
        batch
    }

    /// Waits for room for that many bytes.
    pub(crate) async fn admission(&self, len: usize) -> Result<Admission, LinkError> {
        let units = (len / UNIT + 1).min(self.units);
        let permit = self.room.clone().acquire_many_owned(units as u32).await;
        permit.map(Arc::new).map_err(|_| LinkError::Shutdown)
    }

    /// The first packet of a stranger: of at most `max_data` bytes, and without identities.
    pub(crate) async fn first(&mut self, max_data: usize) -> Result<QuorumPacket, LinkError> {
        loop {
            if let Some(packet) = QuorumPacket::split(&mut self.buf, max_data)? {
                return Ok(packet);
            }
            if self.buf.len() > max_data + 64 {
                return Err(LinkError::NotALearner);
            }
            self.read().await?;
        }
    }

    /// The tree stream and signature behind a SNAP packet of `zxid`, given up when nothing comes for `stall`.
    pub(crate) async fn tree(&mut self, zxid: Zxid, stall: Duration) -> Result<DataTree, LinkError> {
        let mut reader = SnapshotReader::new(zxid);
        let tree = loop {
            if let Some(tree) = reader.feed(&mut self.buf, self.max_data)? {
                break tree;
            }
            timeout(stall, self.read()).await.map_err(|_| LinkError::Silent)??;
        };
        let signed = 4 + SNAP_SIGNATURE.len();
        while self.buf.len() < signed {
            timeout(stall, self.read()).await.map_err(|_| LinkError::Silent)??;
        }
        let signature = self.buf.split_to(signed);
        if &signature[4..] == SNAP_SIGNATURE.as_bytes() { Ok(tree) } else { Err(LinkError::Signature) }
    }

    async fn read(&mut self) -> Result<(), LinkError> {
        self.buf.reserve(READ);
        if self.socket.read_buf(&mut self.buf).await? == 0 { Err(LinkError::Closed) } else { Ok(()) }
    }
}
