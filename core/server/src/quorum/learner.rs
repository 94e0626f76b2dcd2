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
    /// A packet.
    Packet {
        /// From this link.
        link: LinkId,
        /// The packet.
        packet: QuorumPacket,
        /// Held until it is dealt with.
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
            let mut next = Some((first, reader.admission(0).await?));
            loop {
                let (packet, admission) = match next.take() {
                    Some(first) => first,
                    None => reader.next().await?,
                };
                self.tell(LearnerEvent::Packet { link, packet, admission }).await?;
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
