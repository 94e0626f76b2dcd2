use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use bytes::BytesMut;
use palisade_wire::Zxid;
use palisade_wire::election::{InitialMessage, PeerState};
use palisade_wire::frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::net::{Listener, Opening, Reservation};

struct Node {
    port: ElectionPort,
    events: mpsc::Receiver<ElectionEvent>,
    stats: Arc<PortStats>,
    _open: watch::Sender<bool>,
    shutdown: CancellationToken,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn reserve() -> Reservation {
    Reservation::bind("127.0.0.1:0".parse().unwrap()).unwrap()
}

/// A node that takes part under `sid`; of the others only the addresses are given.
fn start(sid: Sid, reserved: Reservation, peers: &[(Sid, SocketAddr)]) -> Node {
    let (events_in, events) = mpsc::channel(16);
    let (shutdown, tasks) = (CancellationToken::new(), TaskTracker::new());
    let (open, wanted) = watch::channel(true);
    let stats = PortStats::new("election");
    let config = ElectionConfig {
        sid,
        own_address: reserved.address().to_string(),
        peers: peers.iter().map(|(sid, address)| (*sid, address.to_string())).collect(),
        connect_timeout: Duration::from_secs(5),
        identify_timeout: Duration::from_millis(500),
    };
    let port = ElectionPort::start(config, stats.clone(), events_in, shutdown.clone(), tasks.clone());
    let listener = Listener {
        stats: stats.clone(),
        address: reserved.address(),
        open: wanted,
        max_unidentified: 4,
        shutdown: shutdown.clone(),
        tasks: tasks.clone(),
    };
    let serving = port.clone();
    tasks.spawn(listener.run(Opening::Open(reserved.listen().unwrap()), move |stream, from, stranger| {
        serving.clone().serve(stream, from, stranger)
    }));
    Node { port, events, stats, _open: open, shutdown }
}

fn vote(round: i64) -> Notification {
    Notification {
        state: PeerState::Looking,
        leader: 1,
        zxid: Zxid::new(1, 1),
        round,
        peer_epoch: 1,
        version: 0,
        config: None,
    }
}

impl Node {
    async fn next_vote(&mut self) -> (Sid, i64) {
        loop {
            if let ElectionEvent::Vote(from, vote) = self.events.recv().await.unwrap() {
                return (from, vote.round);
            }
        }
    }

    /// The newest vote of `from`, which is `round`: earlier ones may have been replaced or come twice.
    async fn hears(&mut self, from: Sid, round: i64) {
        while self.next_vote().await != (from, round) {}
    }

    async fn refuses(&self, count: u64) {
        while self.stats.refused.load(Ordering::Relaxed) < count {
            tokio::task::yield_now().await;
        }
    }
}

fn pair() -> (Node, Node, SocketAddr) {
    let (one, two) = (reserve(), reserve());
    let (one_at, two_at) = (one.address(), two.address());
    (start(1, one, &[(2, two_at)]), start(2, two, &[(1, one_at)]), two_at)
}

#[tokio::test]
async fn the_larger_sid_dials_and_both_use_the_connection() {
    let (mut one, mut two, _) = pair();
    two.port.send(1, vote(7));
    one.hears(2, 7).await;
    one.port.send(2, vote(8));
    two.hears(1, 8).await;
}

#[tokio::test]
async fn the_smaller_sid_has_itself_dialed_back() {
    let (one, mut two, _) = pair();
    one.port.send(2, vote(3));
    two.hears(1, 3).await;
}

#[tokio::test]
async fn a_vote_reaches_a_peer_that_comes_up_later_and_again_after_it_was_restarted() {
    let (one, two) = (reserve(), reserve());
    let (one_at, two_at) = (one.address(), two.address());
    let two_node = start(2, two, &[(1, one_at)]);
    two_node.port.send(1, vote(4));
    let mut first = start(1, one, &[(2, two_at)]);
    first.hears(2, 4).await;
    drop(first);
    let reserved = loop {
        match Reservation::bind(one_at) {
            Ok(reserved) => break reserved,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    let mut again = start(1, reserved, &[(2, two_at)]);
    again.port.send(2, vote(1));
    again.hears(2, 4).await;
}

#[tokio::test]
async fn garbage_costs_its_connection_only() {
    let (mut one, two, two_at) = pair();
    two.port.send(1, vote(1));
    one.hears(2, 1).await;
    let mut claims_to_be_me = BytesMut::new();
    InitialMessage { sid: 2, addresses: vec!["127.0.0.1:1".to_owned()] }.encode(&mut claims_to_be_me);
    let garbage: [&[u8]; 5] = [
        &[0xff; 8],
        b"GET / HTTP/1.1\r\n\r\n",
        &[0, 0, 0, 0, 0, 0, 0, 9, 0xff, 0xff, 0xff, 0xff],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0x7f, 0xff, 0xff, 0xff],
        &claims_to_be_me,
    ];
    for (sent, bytes) in garbage.iter().enumerate() {
        let mut stream = TcpStream::connect(two_at).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        // Closed, if need be by a reset.
        let _ = stream.read(&mut [0; 16]).await;
        two.refuses(sent as u64 + 1).await;
    }
    two.port.send(1, vote(2));
    one.hears(2, 2).await;
}

#[tokio::test]
async fn silent_strangers_are_bounded_and_do_not_keep_peers_out() {
    let (mut one, two, two_at) = pair();
    let mut silent = Vec::new();
    for _ in 0..6 {
        silent.push(TcpStream::connect(two_at).await.unwrap());
    }
    two.refuses(2).await;
    one.port.send(2, vote(5));
    two.port.send(1, vote(6));
    one.hears(2, 6).await;
    two.refuses(6).await;
}

#[tokio::test]
async fn a_stranger_with_a_peers_sid_does_not_take_its_place_without_a_vote() {
    let (one, two) = (reserve(), reserve());
    let (one_at, two_at) = (one.address(), two.address());
    let mut one = start(1, one, &[(2, two_at)]);
    let two = start(2, two, &[(1, one_at)]);
    two.port.send(1, vote(1));
    one.hears(2, 1).await;
    let mut stranger = TcpStream::connect(one_at).await.unwrap();
    stranger.write_all(&2i64.to_be_bytes()).await.unwrap();
    one.refuses(1).await;
    two.port.send(1, vote(2));
    one.hears(2, 2).await;
}

#[tokio::test]
async fn a_larger_unlisted_sid_is_heard_and_answered() {
    let reserved = reserve();
    let at = reserved.address();
    let mut one = start(1, reserved, &[]);
    let mut guest = TcpStream::connect(at).await.unwrap();
    let mut hello = BytesMut::new();
    InitialMessage { sid: 77, addresses: vec!["127.0.0.1:9".to_owned()] }.encode(&mut hello);
    vote(9).encode(&mut hello);
    guest.write_all(&hello).await.unwrap();
    one.hears(77, 9).await;
    one.port.send(77, vote(10));
    let mut answer = BytesMut::new();
    let body = loop {
        match frame::split(&mut answer, 1024).unwrap() {
            Some(body) => break body,
            None => assert_ne!(guest.read_buf(&mut answer).await.unwrap(), 0),
        }
    };
    assert_eq!(Notification::decode(&body).unwrap(), vote(10));
}
