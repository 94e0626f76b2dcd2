use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use palisade_store::DataTree;
use palisade_wire::Zxid;
use palisade_wire::quorum::{LearnerInfo, PROTOCOL_VERSION, PacketType, QuorumPacket};
use palisade_zab::LinkId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::net::{PortStats, Stranger};
use crate::state::SharedTree;

const PATIENCE: Duration = Duration::from_secs(20);

struct Leader {
    at: SocketAddr,
    events: mpsc::Receiver<LearnerEvent>,
    stats: Arc<PortStats>,
    tree: Arc<SharedTree>,
}

/// Accepts learners as a leader does.
async fn leader(max_learners: usize) -> Leader {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let (sender, events) = mpsc::channel(16);
    let stats = PortStats::new("quorum");
    let tree = Arc::new(SharedTree::new(DataTree::new()));
    let port = LearnerPort {
        events: sender,
        tree: tree.clone(),
        stats: stats.clone(),
        max_data: 1 << 20,
        backlog_bytes: 1 << 20,
        max_learners,
        identify_timeout: Duration::from_millis(500),
        stall: PATIENCE,
        next_link: Arc::new(AtomicU64::new(1)),
        learners: Arc::new(AtomicUsize::new(0)),
    };
    tokio::spawn(async move {
        while let Ok((stream, from)) = listener.accept().await {
            tokio::spawn(port.clone().serve(stream, from, Stranger::uncounted()));
        }
    });
    Leader { at, events, stats, tree }
}

impl Leader {
    async fn next(&mut self) -> LearnerEvent {
        self.events.recv().await.unwrap()
    }

    async fn refuses(&self, count: u64) {
        while self.stats.refused.load(Ordering::Relaxed) < count {
            tokio::task::yield_now().await;
        }
    }
}

fn hello(sid: i64) -> QuorumPacket {
    let info = LearnerInfo { sid, protocol_version: PROTOCOL_VERSION, config_version: 0 };
    QuorumPacket::new(PacketType::ObserverInfo, Zxid::ZERO, Some(info.encode()))
}

fn bytes_of(packet: &QuorumPacket) -> BytesMut {
    let mut buf = BytesMut::new();
    packet.encode(&mut buf);
    buf
}

fn leader_port(tree: &Arc<SharedTree>) -> (LeaderPort, mpsc::Receiver<LeaderEvent>) {
    let (events, received) = mpsc::channel(16);
    let port = LeaderPort {
        events,
        tree: tree.clone(),
        max_data: 1 << 20,
        backlog_bytes: 1 << 20,
        connect_timeout: PATIENCE,
        stall: PATIENCE,
        shutdown: CancellationToken::new(),
        tasks: TaskTracker::new(),
    };
    (port, received)
}

#[tokio::test]
async fn packets_and_trees_arrive_in_the_order_in_which_they_were_queued() {
    let mut leader = leader(10).await;
    let (port, mut heard) = leader_port(&leader.tree);
    let mut link = port.open(LinkId(40), leader.at.to_string());
    assert!(matches!(heard.recv().await.unwrap(), LeaderEvent::Up { link: LinkId(40) }));
    link.send(hello(9)).unwrap();
    link.announce();
    let LearnerEvent::Up { link: number, info, follower, mut outbox, .. } = leader.next().await else {
        panic!()
    };
    assert_eq!((info.sid, follower), (9, false));
    let LearnerEvent::Packets { packets, .. } = leader.next().await else { panic!() };
    assert_eq!(packets, [hello(9)]);

    let ping = QuorumPacket::new(PacketType::Ping, Zxid::new(1, 1), None);
    let (cursor, generation) = leader.tree.cursor();
    let zxid = Zxid::new(3, 4);
    outbox.push(Outgoing::Packet(ping.clone())).unwrap();
    outbox.push(Outgoing::Tree { zxid, cursor, generation }).unwrap();
    outbox.push(Outgoing::Packet(ping.clone())).unwrap();
    assert!(!outbox.announce());
    let mut came = Vec::new();
    while came.len() < 4 {
        match heard.recv().await.unwrap() {
            LeaderEvent::Packets { packets, .. } => {
                came.extend(packets.iter().map(|r| r.packet.packet_type()));
            }
            LeaderEvent::Tree { zxid, tree, .. } => {
                assert_eq!((zxid, tree.last_zxid()), (Zxid::new(3, 4), Zxid::new(3, 4)));
                assert_eq!(tree.digest(), DataTree::new().digest());
                came.push(None);
            }
            _ => panic!("not in order"),
        }
    }
    assert_eq!(came, [Some(PacketType::Ping), Some(PacketType::Snap), None, Some(PacketType::Ping)]);
    assert!(matches!(leader.next().await, LearnerEvent::TreeSent { link } if link == number));
    drop(outbox);
    assert!(matches!(heard.recv().await.unwrap(), LeaderEvent::Down { .. }));
    assert!(matches!(leader.next().await, LearnerEvent::Down { link, .. } if link == number));
}

#[tokio::test]
async fn strangers_are_refused_and_never_reach_the_driver() {
    let mut leader = leader(10).await;
    let not_first = bytes_of(&QuorumPacket::new(PacketType::Ping, Zxid::ZERO, None));
    let mut huge = BytesMut::from(&bytes_of(&hello(1))[..12]);
    huge.extend_from_slice(&i32::MAX.to_be_bytes());
    let mut negative = BytesMut::from(&bytes_of(&hello(1))[..12]);
    negative.extend_from_slice(&(-7i32).to_be_bytes());
    let mut many_ids =
        BytesMut::from(&bytes_of(&QuorumPacket::new(PacketType::ObserverInfo, Zxid::ZERO, None))[..16]);
    many_ids.extend_from_slice(&i32::MAX.to_be_bytes());
    many_ids.extend_from_slice(&[0; 400]);
    let garbage: [&[u8]; 6] =
        [b"GET / HTTP/1.1\r\n\r\n", &[0xff; 64], &not_first, &huge, &negative, &many_ids];
    for (sent, bytes) in garbage.iter().enumerate() {
        let mut stream = TcpStream::connect(leader.at).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let _ = stream.read(&mut [0; 16]).await;
        leader.refuses(sent as u64 + 1).await;
    }
    let silent = TcpStream::connect(leader.at).await.unwrap();
    leader.refuses(7).await;
    drop(silent);
    let mut good = TcpStream::connect(leader.at).await.unwrap();
    good.write_all(&bytes_of(&hello(5))).await.unwrap();
    assert!(matches!(leader.next().await, LearnerEvent::Up { info, .. } if info.sid == 5));
}

#[tokio::test]
async fn learners_are_bounded_and_a_seat_is_given_back() {
    let mut leader = leader(1).await;
    let mut first = TcpStream::connect(leader.at).await.unwrap();
    first.write_all(&bytes_of(&hello(5))).await.unwrap();
    let LearnerEvent::Up { outbox, .. } = leader.next().await else { panic!() };
    let mut second = TcpStream::connect(leader.at).await.unwrap();
    second.write_all(&bytes_of(&hello(6))).await.unwrap();
    leader.refuses(1).await;
    drop((first, outbox));
    while !matches!(leader.next().await, LearnerEvent::Down { .. }) {}
    loop {
        let mut third = TcpStream::connect(leader.at).await.unwrap();
        third.write_all(&bytes_of(&hello(7))).await.unwrap();
        let mut byte = [0; 1];
        tokio::select! {
            event = leader.events.recv() => {
                assert!(matches!(event, Some(LearnerEvent::Up { info, .. }) if info.sid == 7));
                return;
            }
            _ = third.read(&mut byte) => {}
        }
    }
}

#[test]
fn an_outbox_refuses_what_its_reader_does_not_take() {
    let (mut outbox, drain) = Outbox::new(1000);
    let packet = || QuorumPacket::new(PacketType::Proposal, Zxid::ZERO, Some(Bytes::from(vec![0; 400])));
    outbox.push(Outgoing::Packet(packet())).unwrap();
    outbox.push(Outgoing::Packet(packet())).unwrap();
    assert_eq!(outbox.push(Outgoing::Packet(packet())), Err(Overflow));
    drop(drain);
}

#[tokio::test]
async fn commits_wait_for_something_to_go_with() {
    let (mut outbox, drain) = Outbox::new(1000);
    let mut push = |kind, counter| {
        let packet = QuorumPacket::new(kind, Zxid::new(1, counter), None);
        outbox.push(Outgoing::Packet(packet)).unwrap();
        outbox.announce()
    };
    assert!(push(PacketType::Commit, 1));
    assert!(push(PacketType::Commit, 2));
    assert!(!push(PacketType::Proposal, 3));
    assert!(push(PacketType::Commit, 3));
    outbox.announce_all();
    assert!(!outbox.announce());
    drop(outbox);
    let (mut written, tree) = (Vec::new(), SharedTree::new(DataTree::new()));
    drain.run(&mut written, &tree, PATIENCE, &Notify::new()).await.unwrap();
    let packets = QuorumPacket::decode_batch(&written.into()).unwrap();
    let counters: Vec<_> = packets.iter().map(|packet| packet.zxid.counter()).collect();
    assert_eq!(counters, [1, 2, 3, 3]);
}

#[tokio::test]
async fn a_transaction_that_cannot_be_read_ends_the_link_before_it_is_logged() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tree = Arc::new(SharedTree::new(DataTree::new()));
    let (port, mut heard) = leader_port(&tree);
    let zxid = Zxid::new(1, 1);
    let txn = |zxid: Zxid, kind: i32, body: &[u8]| {
        let mut payload = BytesMut::zeroed(12);
        payload.extend_from_slice(&zxid.0.to_be_bytes());
        payload.extend_from_slice(&[0; 8]);
        payload.extend_from_slice(&kind.to_be_bytes());
        payload.extend_from_slice(body);
        payload.freeze()
    };
    let unknown = txn(zxid, 13, &[]);
    let other = txn(Zxid::new(1, 2), -10, &[0; 4]);
    let poison = [
        (PacketType::Proposal, unknown.clone()),
        (PacketType::Inform, unknown),
        (PacketType::Proposal, other),
    ];
    for (number, (kind, payload)) in (1..).zip(poison) {
        let _link = port.open(LinkId(number), listener.local_addr().unwrap().to_string());
        let (mut stream, _) = listener.accept().await.unwrap();
        let packet = QuorumPacket::new(kind, zxid, Some(payload));
        stream.write_all(&bytes_of(&packet)).await.unwrap();
        assert!(matches!(heard.recv().await.unwrap(), LeaderEvent::Up { .. }));
        assert!(matches!(heard.recv().await.unwrap(), LeaderEvent::Down { .. }), "{packet:?}");
    }
}

#[tokio::test]
async fn small_packets_come_together_and_do_not_hold_on_to_the_read_buffer() {
    let packet =
        QuorumPacket::new(PacketType::Proposal, Zxid::new(1, 1), Some(Bytes::from_static(&[7; 100])));
    let bytes = [bytes_of(&packet), bytes_of(&packet)].concat();
    let mut reader = reader::PacketReader::new(&bytes[..], 1 << 20, 1 << 20);
    let (mut packets, _admission) = reader.next().await.unwrap();
    assert_eq!(packets, [packet.clone(), packet]);
    let last = packets.pop().and_then(|packet| packet.data).unwrap();
    drop(packets);
    let alone = last.try_into_mut().expect("it is shared with nobody");
    assert!(alone.capacity() < 200, "its bytes are shared with the read buffer");
}
