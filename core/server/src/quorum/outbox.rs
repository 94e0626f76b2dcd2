//! What is on its way to the other end of a link.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use palisade_store::SnapshotCursor;
use palisade_wire::Writer;
use palisade_wire::Zxid;
use palisade_wire::quorum::{PacketType, QuorumPacket, SNAP_SIGNATURE};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use crate::state::{Generation, SharedTree};

/// Packets queued on one link, at most. Their bytes are the real limit, as each counts [`OVERHEAD`] at least; memory
/// is only taken for what is queued.
const MAX_PACKETS: usize = 1 << 21;
/// What a packet costs besides its data, bytes.
const OVERHEAD: usize = 64;
/// Bytes handed to the socket at once, about.
const CHUNK: usize = 64 << 10;
/// Packets taken off the queue at once.
const BATCH: usize = 256;

/// Something to be sent.
pub(crate) enum Outgoing {
    /// A packet.
    Packet(QuorumPacket),
    /// SNAP, the tree stream and its signature.
    Tree {
        /// For the SNAP packet.
        zxid: Zxid,
        /// Where the stream begins.
        cursor: Box<SnapshotCursor>,
        /// Which tree the cursor belongs to.
        generation: Generation,
    },
}

impl Outgoing {
    fn cost(&self) -> usize {
        match self {
            Self::Packet(packet) => OVERHEAD + packet.data().len(),
            Self::Tree { .. } => 0,
        }
    }
}

/// The sending half of a link, as the driver sees it. Dropped, it ends the link.
#[derive(Debug)]
pub(crate) struct Outbox {
    queue: mpsc::Sender<Outgoing>,
    bytes: Arc<AtomicUsize>,
    limit: usize,
}

/// The queue of a link is full, or the link has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it does not read what it is sent")]
pub(crate) struct Overflow;

/// The other end of an [`Outbox`].
pub(crate) struct Drain {
    queue: mpsc::Receiver<Outgoing>,
    bytes: Arc<AtomicUsize>,
}

impl Outbox {
    /// A queue of at most `limit` bytes of packets.
    pub(crate) fn new(limit: usize) -> (Self, Drain) {
        let (sender, queue) = mpsc::channel(MAX_PACKETS);
        let bytes = Arc::new(AtomicUsize::new(0));
        (Self { queue: sender, bytes: bytes.clone(), limit }, Drain { queue, bytes })
    }

    /// Queues one.
    ///
    /// # Errors
    /// If there is no room; the link is of no use then, because what follows would leave a gap.
    pub(crate) fn push(&self, item: Outgoing) -> Result<(), Overflow> {
        let cost = item.cost();
        if self.bytes.fetch_add(cost, Ordering::Relaxed) + cost > self.limit {
            return Err(Overflow);
        }
        self.queue.try_send(item).map_err(|_| Overflow)
    }
}

impl Drain {
    /// Writes what is queued until the [`Outbox`] is dropped. Nothing may stall for longer than `stall`.
    /// `tree_sent` is notified when a tree stream has been handed to the socket.
    pub(crate) async fn run(
        mut self,
        socket: &mut (impl AsyncWrite + Unpin),
        tree: &SharedTree,
        stall: Duration,
        tree_sent: &Notify,
    ) -> io::Result<()> {
        let mut batch = Vec::with_capacity(BATCH);
        let mut buf = BytesMut::with_capacity(CHUNK);
        while self.queue.recv_many(&mut batch, BATCH).await > 0 {
            let mut done = 0;
            for item in batch.drain(..) {
                done += item.cost();
                match item {
                    Outgoing::Packet(packet) => packet.encode(&mut buf),
                    Outgoing::Tree { zxid, cursor, generation } => {
                        QuorumPacket::new(PacketType::Snap, zxid, None).encode(&mut buf);
                        send_tree(socket, &mut buf, tree, *cursor, generation, stall).await?;
                        tree_sent.notify_one();
                    }
                }
                if buf.len() >= CHUNK {
                    flush(socket, &mut buf, stall).await?;
                }
            }
            flush(socket, &mut buf, stall).await?;
            self.bytes.fetch_sub(done, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Streams the tree. The lock is held for one chunk at a time; what is applied in between makes the stream fuzzy,
/// which its receiver expects.
async fn send_tree(
    socket: &mut (impl AsyncWrite + Unpin),
    buf: &mut BytesMut,
    tree: &SharedTree,
    mut cursor: SnapshotCursor,
    generation: Generation,
    stall: Duration,
) -> io::Result<()> {
    loop {
        let done = tree
            .read_same(generation, |tree| cursor.write_chunk(tree, buf, CHUNK))
            .ok_or_else(|| io::Error::other("the tree was replaced while it was sent"))?;
        if done {
            buf.write_string(SNAP_SIGNATURE);
        }
        flush(socket, buf, stall).await?;
        if done {
            return Ok(());
        }
    }
}

async fn flush(
    socket: &mut (impl AsyncWrite + Unpin),
    buf: &mut BytesMut,
    stall: Duration,
) -> io::Result<()> {
    let stalled =
        || io::Error::new(io::ErrorKind::TimedOut, format!("the other end read nothing for {stall:?}"));
    while !buf.is_empty() {
        let written = timeout(stall, socket.write_buf(buf)).await.map_err(|_| stalled())??;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
    }
    Ok(())
}
