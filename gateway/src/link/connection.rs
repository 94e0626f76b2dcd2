//! One connection to a leader, from its answer to its end.

use std::convert::Infallible;
use std::future::pending;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use palisade_wire::quorum::{PacketType, QuorumPacket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep_until;

use crate::link::dial::Found;
use crate::link::error::LinkError;
use crate::link::follower::Follower;
use crate::link::snap::SnapStream;

/// Bytes read at once; what they hold is applied under one lock.
const READ: usize = 64 << 10;

/// Bounds for one connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Data of one packet and one field of a snapshot, bytes.
    pub(crate) max_packet: usize,
    /// How long a snapshot may stall.
    pub(crate) stall: Duration,
}

/// Follows the leader that was found until something ends that. The caller reports `link_down`. To stop, drop the
/// future.
pub(crate) async fn run(
    follower: &mut Follower,
    found: Found,
    limits: Limits,
) -> Result<Infallible, LinkError> {
    let Found { voter, stream, first, rest } = found;
    follower.link_up(voter)?;
    follower.packet(first)?;
    Connection { stream, input: rest, snap: None, limits, heard: Instant::now() }.serve(follower).await
}

struct Connection {
    stream: TcpStream,
    input: BytesMut,
    /// While the leader sends a snapshot.
    snap: Option<SnapStream>,
    limits: Limits,
    heard: Instant,
}

impl Connection {
    async fn serve(mut self, follower: &mut Follower) -> Result<Infallible, LinkError> {
        loop {
            self.parse(follower)?;
            follower.settle();
            follower.take_requests();
            self.wait(follower).await?;
        }
    }

    /// Hands in all whole packets that were read.
    fn parse(&mut self, follower: &mut Follower) -> Result<(), LinkError> {
        loop {
            if let Some(snap) = &mut self.snap {
                let Some(tree) = snap.feed(&mut self.input)? else { return Ok(()) };
                self.snap = None;
                follower.snapshot_received(tree)?;
            }
            let Some(packet) = QuorumPacket::split(&mut self.input, self.limits.max_packet)? else {
                return Ok(());
            };
            if packet.packet_type() == Some(PacketType::Snap) {
                self.snap = Some(SnapStream::new(packet.zxid, self.limits.max_packet));
            }
            follower.packet(packet)?;
        }
    }

    /// Waits for one thing to happen, and does it.
    async fn wait(&mut self, follower: &mut Follower) -> Result<(), LinkError> {
        let deadline = follower.deadline();
        let stalled = self.snap.as_ref().map(|_| self.heard + self.limits.stall);
        let (reader, writer) = &mut self.stream.split();
        let (disk, queue, out) = follower.io();
        let may_read = !disk.is_backlogged();
        let may_take = out.as_ref().is_some_and(|out| out.is_empty());
        self.input.reserve(READ);
        let write = async {
            match out {
                Some(out) if !out.is_empty() => writer.write_buf(out).await,
                _ => pending().await,
            }
        };
        tokio::select! {
            read = reader.read_buf(&mut self.input), if may_read => {
                if read? == 0 {
                    return Err(LinkError::Closed);
                }
                self.heard = Instant::now();
                follower.heard();
            }
            written = write => {
                if written? == 0 {
                    return Err(LinkError::Closed);
                }
            }
            done = disk.done() => follower.disk_done(done?)?,
            () = queue.accepted(), if may_take => {}
            () = until(deadline) => follower.timeout()?,
            () = until(stalled) => return Err(LinkError::Stalled(self.limits.stall)),
        }
        Ok(())
    }
}

/// Waits until then; for ever if there is no then.
pub(crate) async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => pending().await,
    }
}
