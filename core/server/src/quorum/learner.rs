//! The leader's side: accepted connections become links to learners.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use palisade_wire::quorum::{LearnerInfo, PacketType, QuorumPacket};
use palisade_zab::LinkId;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use super::MAX_UNHANDLED;
use super::outbox::{Drain, Outbox};
use super::reader::{Admission, LinkError, PacketReader};
use crate::net::{PortStats, Stranger};
use crate::state::SharedTree;

/// Longest data of a FOLLOWERINFO or OBSERVERINFO.
const MAX_INFO: usize = 64;

/// What links to learners tell the driver.
pub(crate) enum LearnerEvent {
    /// A learner has introduced itself; its first packet follows.
    Up {
        /// The link's number, never used before.
        link: LinkId,
        /// From where it comes.
        from: SocketAddr,
        /// The id that it claims.
        info: LearnerInfo,
        /// Whether it votes on proposals.
        follower: bool,
        /// Its queue; dropping it closes the link.
        outbox: Outbox,
    },
    /// Packets, in order.
    Packets {
        /// From this link.
        link: LinkId,
        /// The packets.
        packets: Vec<QuorumPacket>,
        /// Held until they are dealt with.
        admission: Admission,
    },
    /// A tree stream was sent whole.
    TreeSent {
        /// To this link.
        link: LinkId,
    },
    /// The link has ended.
    Down {
        /// The link.
        link: LinkId,
        /// Why.
        reason: LinkError,
    },
}

/// What accepted connections need.
#[derive(Clone)]
pub(crate) struct LearnerPort {
    pub(crate) events: mpsc::Sender<LearnerEvent>,
    pub(crate) tree: Arc<SharedTree>,
    pub(crate) stats: Arc<PortStats>,
    pub(crate) max_data: usize,
    pub(crate) backlog_bytes: usize,
    pub(crate) max_learners: usize,
    pub(crate) identify_timeout: Duration,
    /// A tree stream that does not move for this long is given up.
    pub(crate) stall: Duration,
    pub(crate) next_link: Arc<AtomicU64>,
    pub(crate) learners: Arc<AtomicUsize>,
}

impl LearnerPort {
    /// Serves one accepted connection to its end.
    pub(crate) async fn serve(self, stream: TcpStream, from: SocketAddr, stranger: Stranger) {
        let (read, write) = stream.into_split();
        let mut reader = PacketReader::new(read, self.max_data, MAX_UNHANDLED);
        let identified = timeout(self.identify_timeout, identify(&mut reader))
            .await
            .unwrap_or(Err(LinkError::Silent))
            .and_then(|identified| Ok((identified, self.seat()?)));
        let ((first, info, follower), _seat) = match identified {
            Ok(identified) => identified,
            Err(reason) => return self.stats.refuse(from, reason),
        };
        drop(stranger);
        let link = LinkId(self.next_link.fetch_add(1, Ordering::Relaxed));
        let (outbox, drain) = Outbox::new(self.backlog_bytes);
        let up = LearnerEvent::Up { link, from, info, follower, outbox };
        if self.events.send(up).await.is_err() {
            return;
        }
        let reason = match self.run(link, first, reader, write, drain).await {
            Ok(()) => LinkError::Shutdown,
            Err(reason) => reason,
        };
        // Refused only at shutdown.
        let _ = self.events.send(LearnerEvent::Down { link, reason }).await;
    }

    async fn run(
        &self,
        link: LinkId,
        first: QuorumPacket,
        mut reader: PacketReader<OwnedReadHalf>,
        mut write: OwnedWriteHalf,
        drain: Drain,
    ) -> Result<(), LinkError> {
        let reading = async {
            let mut next = (vec![first], reader.admission(0).await?);
            loop {
                let (packets, admission) = next;
                self.tell(LearnerEvent::Packets { link, packets, admission }).await?;
                next = reader.next().await?;
                next.0.dedup_by(take_over);
            }
        };
        let tree_sent = Notify::new();
        let telling = async {
            loop {
                tree_sent.notified().await;
                self.tell(LearnerEvent::TreeSent { link }).await?;
            }
        };
        let writing = drain.run(&mut write, &self.tree, self.stall, &tree_sent);
        tokio::select! {
            ended = reading => ended,
            ended = telling => ended,
            ended = writing => ended.map_err(LinkError::Io),
        }
    }

    async fn tell(&self, event: LearnerEvent) -> Result<(), LinkError> {
        self.events.send(event).await.map_err(|_| LinkError::Shutdown)
    }

    fn seat(&self) -> Result<Seat, LinkError> {
        let seat = Seat(self.learners.clone());
        if seat.0.fetch_add(1, Ordering::Relaxed) < self.max_learners {
            Ok(seat)
        } else {
            Err(LinkError::Crowded)
        }
    }
}

/// An acknowledgement covers those before it of the same epoch: of several in a row, only the last need be dealt with.
fn take_over(later: &mut QuorumPacket, earlier: &mut QuorumPacket) -> bool {
    let is_ack = |packet: &QuorumPacket| packet.packet_type() == Some(PacketType::Ack);
    let covers = is_ack(later)
        && is_ack(earlier)
        // Those of NEWLEADER and UPTODATE mean more than a place in the log.
        && earlier.zxid.counter() != 0
        && earlier.zxid.epoch() == later.zxid.epoch()
        && earlier.zxid < later.zxid;
    if covers {
        earlier.zxid = later.zxid;
    }
    covers
}

/// One of the learners that may be connected; given back when dropped.
struct Seat(Arc<AtomicUsize>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn identify(
    reader: &mut PacketReader<OwnedReadHalf>,
) -> Result<(QuorumPacket, LearnerInfo, bool), LinkError> {
    let first = reader.first(MAX_INFO).await?;
    let follower = match first.packet_type() {
        Some(PacketType::FollowerInfo) => true,
        Some(PacketType::ObserverInfo) => false,
        _ => return Err(LinkError::NotALearner),
    };
    let info = LearnerInfo::decode(first.data())?;
    Ok((first, info, follower))
}

#[cfg(test)]
mod tests {
    use palisade_wire::Zxid;

    use super::*;

    #[test]
    fn of_acknowledgements_in_a_row_the_last_is_left() {
        let packet = |kind, (epoch, counter)| QuorumPacket::new(kind, Zxid::new(epoch, counter), None);
        let ack = |epoch, counter| packet(PacketType::Ack, (epoch, counter));
        let ping = packet(PacketType::Ping, (0, 0));
        let mut packets = vec![
            ack(2, 0),
            ack(2, 0),
            ack(2, 1),
            ack(2, 2),
            ping.clone(),
            ack(2, 3),
            ack(2, 3),
            ack(3, 1),
            ack(3, 5),
        ];
        packets.dedup_by(take_over);
        assert_eq!(packets, [ack(2, 0), ack(2, 0), ack(2, 2), ping, ack(2, 3), ack(2, 3), ack(3, 5)]);
    }
}
