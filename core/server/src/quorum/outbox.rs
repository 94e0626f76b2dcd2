//! What is on its way to the other end of a link.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use palisade_store::SnapshotCursor;
use palisade_wire::Writer;
use palisade_wire::Zxid;
use palisade_wire::quorum::{PacketType, QuorumPacket, SNAP_SIGNATURE};
use parking_lot::Mutex;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::state::{Generation, SharedTree};

/// What a packet is taken to cost besides its data, bytes.
const OVERHEAD: usize = 20;
/// Bytes handed to the socket at once, about.
const CHUNK: usize = 64 << 10;

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
    fn urgency(&self) -> Unannounced {
        match self {
            Self::Packet(packet) if packet.packet_type() == Some(PacketType::Commit) => Unannounced::MayWait,
            _ => Unannounced::Urgent,
        }
    }
}

/// The sending half of a link, as the driver sees it. Dropped, it ends the link.
#[derive(Debug)]
pub(crate) struct Outbox {
    shared: Arc<Shared>,
    limit: usize,
    unannounced: Unannounced,
}

/// What was queued and the other end was not woken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Unannounced {
    Nothing,
    /// COMMITs only. The follower has the transactions already, and no gateway waits for it to apply them: what it is sent
    /// next can bring them.
    MayWait,
    Urgent,
}

/// The queue of a link is full, or the link has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it does not read what it is sent")]
pub(crate) struct Overflow;

/// The other end of an [`Outbox`].
pub(crate) struct Drain {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// There is something to be written, or the outbox was dropped.
    wake: Notify,
}

#[derive(Default)]
struct Queue {
    segments: VecDeque<Segment>,
    /// What was queued and not yet written.
    bytes: usize,
    /// A buffer to be used again.
    spare: BytesMut,
    /// The outbox was dropped: nothing more comes.
    closed: bool,
    /// The drain was dropped: nothing more is written.
    ended: bool,
}

enum Segment {
    /// Encoded packets.
    Packets { buf: BytesMut, cost: usize },
    /// A tree, see [`Outgoing::Tree`].
    Tree { zxid: Zxid, cursor: Box<SnapshotCursor>, generation: Generation },
}

impl Outbox {
    /// A queue of at most `limit` bytes of packets.
    pub(crate) fn new(limit: usize) -> (Self, Drain) {
        let shared = Arc::new(Shared::default());
        (Self { shared: shared.clone(), limit, unannounced: Unannounced::Nothing }, Drain { shared })
    }

    /// Queues one. It is sent after [`Outbox::announce`], so that many are written at once.
    ///
    /// # Errors
    /// If there is no room; the link is of no use then, because what follows would leave a gap.
    pub(crate) fn push(&mut self, item: Outgoing) -> Result<(), Overflow> {
        let mut queue = self.shared.queue.lock();
        if queue.ended {
            return Err(Overflow);
        }
        self.unannounced = self.unannounced.max(item.urgency());
        match item {
            Outgoing::Packet(packet) => {
                let cost = OVERHEAD + packet.data().len();
                if queue.bytes + cost > self.limit {
                    return Err(Overflow);
                }
                queue.add(&packet, cost);
            }
            Outgoing::Tree { zxid, cursor, generation } => {
                queue.segments.push_back(Segment::Tree { zxid, cursor, generation });
            }
        }
        Ok(())
    }

    /// Lets what was queued be sent, unless it may all wait; whether it does.
    pub(crate) fn announce(&mut self) -> bool {
        if self.unannounced == Unannounced::Urgent {
            self.announce_all();
        }
        self.unannounced == Unannounced::MayWait
    }

    /// Lets all that was queued be sent.
    pub(crate) fn announce_all(&mut self) {
        if std::mem::replace(&mut self.unannounced, Unannounced::Nothing) != Unannounced::Nothing {
            self.shared.wake.notify_one();
        }
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.shared.queue.lock().closed = true;
        self.shared.wake.notify_one();
    }
}

impl Queue {
    fn add(&mut self, packet: &QuorumPacket, cost: usize) {
        self.bytes += cost;
        if let Some(Segment::Packets { buf, cost: whole }) = self.segments.back_mut()
            && buf.len() < CHUNK
        {
            packet.encode(buf);
            *whole += cost;
            return;
        }
        let mut buf = std::mem::take(&mut self.spare);
        packet.encode(&mut buf);
        self.segments.push_back(Segment::Packets { buf, cost });
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Drain {
    /// Writes what is queued until the [`Outbox`] is dropped. Nothing may stall for longer than `stall`.
    /// `tree_sent` is notified when a tree stream has been handed to the socket.
    pub(crate) async fn run(
        self,
        socket: &mut (impl AsyncWrite + Unpin),
        tree: &SharedTree,
        stall: Duration,
        tree_sent: &Notify,
    ) -> io::Result<()> {
        while let Some(segment) = self.next().await {
            match segment {
                Segment::Packets { mut buf, cost } => {
                    flush(socket, &mut buf, stall).await?;
                    self.written(buf, cost);
                }
                Segment::Tree { zxid, cursor, generation } => {
                    let mut buf = BytesMut::with_capacity(CHUNK);
                    QuorumPacket::new(PacketType::Snap, zxid, None).encode(&mut buf);
                    send_tree(socket, &mut buf, tree, *cursor, generation, stall).await?;
                    tree_sent.notify_one();
                }
            }
        }
        Ok(())
    }

    /// The next thing to be written; `None` once all is written and the outbox was dropped.
    async fn next(&self) -> Option<Segment> {
        loop {
            {
                let mut queue = self.shared.queue.lock();
                if let Some(segment) = queue.segments.pop_front() {
                    return Some(segment);
                }
                if queue.closed {
                    return None;
                }
            }
            self.shared.wake.notified().await;
        }
    }

    fn written(&self, mut buf: BytesMut, cost: usize) {
        buf.clear();
        let mut queue = self.shared.queue.lock();
        queue.bytes -= cost;
        if buf.capacity() <= 2 * CHUNK {
            queue.spare = buf;
        }
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        let mut queue = self.shared.queue.lock();
        queue.ended = true;
        queue.segments = VecDeque::new();
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
