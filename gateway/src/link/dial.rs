//! Finding the leader: every voter's quorum port is dialed, and only a leader answers.
//!
//! Whoever is no leader refuses, closes, stays silent, or talks of an epoch that is over. Each voter is tried again
//! and again on its own, so that a silent one delays nobody.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use palisade_wire::quorum::{PacketType, QuorumPacket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, info};

use crate::config;

/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 8;
/// A LEADERINFO has four bytes of data.
const MAX_FIRST_DATA: usize = 1_024;
/// While an election takes its usual time, the new leader is found within an eighth of that.
const BACKOFF_MIN: Duration = Duration::from_millis(5);
/// However long a quorum was gone, writes wait no longer than this when it is back.
const BACKOFF_MAX: Duration = Duration::from_millis(250);

/// A leader that answered.
#[derive(Debug)]
pub(crate) struct Found {
    /// Its address, as configured.
    pub(crate) voter: String,
    /// The connection; the greeting was sent.
    pub(crate) stream: TcpStream,
    /// Its LEADERINFO.
    pub(crate) first: QuorumPacket,
    /// What it sent behind that.
    pub(crate) rest: BytesMut,
}

/// Why a voter is not taken for the leader.
#[derive(Debug, thiserror::Error)]
enum NoLeader {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the name has no address")]
    NoAddress,
    #[error("no connection within {0:?}")]
    Unreachable(Duration),
    #[error("connected, and silent for {0:?}")]
    Silent(Duration),
    #[error("connected, and closed without an answer")]
    Closed,
    #[error("does not talk as a leader: {0}")]
    Garbled(#[from] palisade_wire::DecodeError),
    #[error("answered with a packet of type {0}")]
    Unexpected(i32),
    #[error("leads epoch {found}, but this gateway follows no epoch before {accepted}")]
    Stale { found: u32, accepted: u32 },
}

/// Dials until a leader of epoch `accepted` or later answers `greeting`. To give up, drop the future.
pub(crate) async fn find_leader(core: &config::Core, greeting: &Bytes, accepted: u32) -> Found {
    let mut dials = JoinSet::new();
    for voter in &core.voters {
        let dial = Dial { voter: voter.clone(), core: core.clone(), greeting: greeting.clone(), accepted };
        dials.spawn(dial.until_found());
    }
    loop {
        match dials.join_next().await {
            Some(Ok(found)) => return found,
            // A dial never panics and is never aborted while it is awaited here; the others go on in any case.
            Some(Err(_)) => {}
            None => std::future::pending().await,
        }
    }
}

struct Dial {
    voter: String,
    core: config::Core,
    greeting: Bytes,
    accepted: u32,
}

impl Dial {
    async fn until_found(self) -> Found {
        let mut backoff = Backoff::new(BACKOFF_MIN, BACKOFF_MAX);
        let mut told = String::new();
        loop {
            match self.once().await {
                Ok(found) => return found,
                Err(reason) => {
                    let reason = reason.to_string();
                    if reason == told {
                        debug!(voter = self.voter, reason, "not the leader");
                    } else {
                        info!(voter = self.voter, reason, "not the leader");
                        told = reason;
                    }
                }
            }
            sleep(backoff.next()).await;
        }
    }

    async fn once(&self) -> Result<Found, NoLeader> {
        let mut stream = self.connect().await?;
        stream.set_nodelay(true)?;
        let patience = self.core.init_timeout;
        let answer = async {
            stream.write_all(&self.greeting).await?;
            let mut rest = BytesMut::with_capacity(8 << 10);
            loop {
                if let Some(first) = QuorumPacket::split(&mut rest, MAX_FIRST_DATA)? {
                    return Ok((first, rest));
                }
                if stream.read_buf(&mut rest).await? == 0 {
                    return Err(NoLeader::Closed);
                }
            }
        };
        let (first, rest) = timeout(patience, answer).await.map_err(|_| NoLeader::Silent(patience))??;
        if first.packet_type() != Some(PacketType::LeaderInfo) {
            return Err(NoLeader::Unexpected(first.kind));
        }
        let (found, accepted) = (first.zxid.epoch(), self.accepted);
        if found < accepted {
            return Err(NoLeader::Stale { found, accepted });
        }
        Ok(Found { voter: self.voter.clone(), stream, first, rest })
    }

    async fn connect(&self) -> Result<TcpStream, NoLeader> {
        let patience = self.core.connect_timeout;
        let unreachable = |_| NoLeader::Unreachable(patience);
        let addresses: Vec<SocketAddr> = timeout(patience, lookup_host(&self.voter))
            .await
            .map_err(unreachable)??
            .take(MAX_ADDRESSES)
            .collect();
        let mut failure = NoLeader::NoAddress;
        for address in addresses {
            match timeout(patience, TcpStream::connect(address)).await.map_err(unreachable) {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(e)) => failure = e.into(),
                Err(e) => failure = e,
            }
        }
        Err(failure)
    }
}

/// Growing pauses, each somewhere in the upper half of its limit: gateways that lost one leader do not return in
/// step.
#[derive(Debug)]
pub(crate) struct Backoff {
    limit: Duration,
    min: Duration,
    max: Duration,
}

impl Backoff {
    pub(crate) const fn new(min: Duration, max: Duration) -> Self {
        Self { limit: min, min, max }
    }

    /// The next pause.
    pub(crate) fn next(&mut self) -> Duration {
        let limit = self.limit;
        self.limit = (limit + limit / 8).min(self.max);
        let random = RandomState::new().build_hasher().finish();
        limit / 2 + (limit / 2).mul_f64(random as f64 / u64::MAX as f64)
    }

    /// It went well: begin again with short pauses.
    pub(crate) const fn reset(&mut self) {
        self.limit = self.min;
    }
}

#[cfg(test)]
mod tests {
    use palisade_wire::Zxid;
    use tokio::net::TcpListener;

    use super::*;

    fn leader_info(epoch: u32) -> BytesMut {
        let mut bytes = BytesMut::new();
        let data = Bytes::from_static(&[0, 1, 0, 0]);
        QuorumPacket::new(PacketType::LeaderInfo, Zxid::new(epoch, 0), Some(data)).encode(&mut bytes);
        bytes
    }

    /// A voter that answers every connection with these bytes, then closes it or keeps it.
    async fn voter(answer: impl AsRef<[u8]> + Send + 'static, keep: bool) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let mut kept = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut greeting = [0; 5];
                let heard = stream.read_exact(&mut greeting).await.is_ok();
                if heard && stream.write_all(answer.as_ref()).await.is_ok() && keep {
                    kept.push(stream);
                }
            }
        });
        address
    }

    async fn refusing() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().to_string()
    }

    #[tokio::test]
    async fn only_the_leader_is_found_whatever_the_others_do() {
        let voters = vec![
            refusing().await,
            voter([], false).await,
            voter([], true).await,
            voter(*b"HTTP/1.1 400 Bad Request\r\n\r\n", true).await,
            voter([0xff; 64], true).await,
            voter(leader_info(2), true).await,
            "no-such-host.invalid:2888".to_owned(),
            voter([leader_info(3), leader_info(3)].concat(), true).await,
        ];
        let leader = voters.last().cloned().unwrap();
        let core = config::Core { voters, ..config::Core::default() };
        let found = find_leader(&core, &Bytes::from_static(b"hello"), 3).await;
        assert_eq!(found.voter, leader);
        assert_eq!(found.first.zxid, Zxid::new(3, 0));
        assert_eq!(found.rest, leader_info(3));
    }

    #[tokio::test]
    async fn a_leader_that_comes_up_later_is_found() {
        let address = refusing().await;
        let core = config::Core { voters: vec![address.clone()], ..config::Core::default() };
        let search = tokio::spawn(async move { find_leader(&core, &Bytes::from_static(b"hello"), 0).await });
        tokio::task::yield_now().await;
        let listener = TcpListener::bind(&address).await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(&leader_info(1)).await.unwrap();
        assert_eq!(search.await.unwrap().voter, address);
    }

    #[test]
    fn pauses_grow_to_their_limit_and_shrink_after_success() {
        let [min, next, max] = [800, 900, 1_000].map(Duration::from_millis);
        let mut backoff = Backoff::new(min, max);
        for limit in [min, next, max, max] {
            let pause = backoff.next();
            assert!(pause >= limit / 2 && pause <= limit, "{pause:?}");
        }
        backoff.reset();
        assert!(backoff.next() <= min);
    }
}
