//! The whole link, from socket to disk, against a leader that speaks recorded and hand-made bytes.

use std::path::Path;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use palisade_disk::Untold;
use palisade_wire::quorum::{self, ForwardedRequest, PacketType, QuorumPacket};
use palisade_wire::request::Request;
use palisade_wire::txn::{CreateTxn, Txn, TxnRecord};
use palisade_wire::{Acl, ErrorCode, OpCode, Zxid};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::testing::{Edge, header};
use super::{LinkTask, max_packet, start};
use crate::config::Config;
use crate::core_link::{CoreLink, LinkState, Refused};
use crate::gateway::GatewayError;
use crate::replica::{Replica, disk};

/// A 3.8.0 leader to an observer without history: SNAP at 0x10000000b.
const SNAP: &[u8] = include_bytes!("../../testdata/learner-observer-snap.leader-to-learner.bin");
/// What that observer, sid 5, said.
const SNAP_LEARNER: &[u8] = include_bytes!("../../testdata/learner-observer-snap.learner-to-leader.bin");
/// A 3.8.0 leader to an observer at 0x100000001: DIFF, INFORM, INFORMANDACTIVATE, pings.
const DIFF: &[u8] = include_bytes!("../../testdata/learner-observer-diff-inform.leader-to-learner.bin");

const LEARNER_ID: i64 = 5;
const SESSION: i64 = 0x0500_0000_0000_0001;

struct Leader {
    listener: TcpListener,
}

impl Leader {
    async fn new() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    fn config(&self, dir: &Path) -> Config {
        let mut config = Config { id: LEARNER_ID, ..Config::default() };
        config.core.voters = vec![self.listener.local_addr().unwrap().to_string()];
        config.storage.data_dir = dir.to_owned();
        config
    }

    async fn accept(&self) -> Peer {
        let (stream, _) = self.listener.accept().await.unwrap();
        Peer { stream, input: BytesMut::new() }
    }
}

/// The leader's end of a connection.
struct Peer {
    stream: TcpStream,
    input: BytesMut,
}

impl Peer {
    async fn say(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    async fn send(&mut self, kind: PacketType, zxid: i64, data: Option<Bytes>) {
        let mut bytes = BytesMut::new();
        QuorumPacket::new(kind, Zxid(zxid), data).encode(&mut bytes);
        self.say(&bytes).await;
    }

    async fn inform(&mut self, record: &TxnRecord) {
        self.send(PacketType::Inform, record.header.zxid.0, Some(record.encode())).await;
    }

    async fn hear(&mut self) -> QuorumPacket {
        loop {
            match QuorumPacket::split(&mut self.input, 1 << 20).unwrap() {
                Some(packet) if is_probe(&packet) => continue,
                Some(packet) => return packet,
                None => {}
            }
            assert_ne!(self.stream.read_buf(&mut self.input).await.unwrap(), 0, "closed by the gateway");
        }
    }

    async fn hear_bytes(&mut self, n: usize) -> Vec<u8> {
        let mut bytes = vec![0; n];
        self.stream.read_exact(&mut bytes).await.unwrap();
        bytes
    }

    /// Answers the sync by which the gateway sees that it has all of the tree that it was sent.
    async fn confirm(&mut self) {
        loop {
            match QuorumPacket::split(&mut self.input, 1 << 20).unwrap() {
                Some(packet) if is_probe(&packet) => break,
                Some(_) => {}
                None => {
                    assert_ne!(
                        self.stream.read_buf(&mut self.input).await.unwrap(),
                        0,
                        "closed by the gateway"
                    );
                }
            }
        }
        self.send(PacketType::Sync, 0, None).await;
    }

    /// Synchronises an observer that needs these transactions, in a new epoch.
    async fn synchronise(&mut self, epoch: u32, records: &[TxnRecord]) -> QuorumPacket {
        let greeting = self.hear().await;
        let start = Zxid::new(epoch, 0).0;
        self.send(PacketType::LeaderInfo, start, Some(Bytes::from_static(&[0, 1, 0, 0]))).await;
        let accepted = self.hear().await;
        assert_eq!(accepted.packet_type(), Some(PacketType::AckEpoch));
        self.send(PacketType::Diff, records.last().map_or(accepted.zxid.0, |r| r.header.zxid.0), None).await;
        let mut bytes = BytesMut::new();
        for record in records {
            let zxid = record.header.zxid;
            QuorumPacket::new(PacketType::Proposal, zxid, Some(record.encode())).encode(&mut bytes);
            QuorumPacket::new(PacketType::Commit, zxid, None).encode(&mut bytes);
        }
        self.say(&bytes).await;
        self.send(
            PacketType::NewLeader,
            start,
            Some(Bytes::from_static(b"server.1=a:1:2:participant\nversion=a0")),
        )
        .await;
        assert_eq!(self.hear().await.packet_type(), Some(PacketType::Ack));
        self.send(PacketType::UpToDate, -1, None).await;
        assert_eq!(self.hear().await.packet_type(), Some(PacketType::Ack));
        greeting
    }
}

/// The gateway's own question how fresh it is, which comes at any time.
fn is_probe(packet: &QuorumPacket) -> bool {
    packet.packet_type() == Some(PacketType::Request)
        && ForwardedRequest::decode(packet.data.as_ref().unwrap()).unwrap().session == 0
}

struct Gateway {
    edge: Arc<Edge>,
    replica: Replica,
    core: CoreLink,
    task: LinkTask,
    stop: CancellationToken,
}

impl Gateway {
    fn start(config: &Config) -> Self {
        let edge = Edge::new();
        let stop = CancellationToken::new();
        let opened = disk::open(&config.storage, max_packet(config), &mut Untold).unwrap();
        let (replica, core, task) =
            start(config, opened, (Arc::clone(&edge) as _, Arc::default()), stop.clone()).unwrap();
        Self { edge, replica, core, task, stop }
    }

    async fn connected(&self) {
        self.core.state().wait_for(LinkState::is_connected).await.unwrap();
    }

    async fn stop(mut self) {
        self.stop.cancel();
        assert!(self.task.join().await.is_none());
        assert_eq!(*self.core.state().borrow(), LinkState::Stopped);
    }
}

fn create(cxid: i32, zxid: i64, path: &str) -> TxnRecord {
    let create = CreateTxn {
        path: path.to_owned(),
        data: None,
        acl: Acl::open(),
        parent_cversion: Zxid(zxid).counter() as i32,
    };
    TxnRecord { header: header(SESSION, cxid, zxid), txn: Txn::Create(create, false), digest: None }
}

fn request(cxid: i32) -> ForwardedRequest {
    let mut body = BytesMut::new();
    Request::Delete { path: "/a".into(), version: -1 }.encode(&mut body);
    ForwardedRequest { session: SESSION, cxid, op: OpCode::Delete.as_i32(), body: body.freeze() }
}

fn delete(cxid: i32, zxid: i64) -> TxnRecord {
    TxnRecord { header: header(SESSION, cxid, zxid), txn: Txn::Delete("/a".to_owned()), digest: None }
}

#[tokio::test]
async fn a_recorded_snapshot_is_taken_over_byte_for_byte_as_apache_expects() {
    let (leader, dir) = (Leader::new().await, tempfile::tempdir().unwrap());
    let config = leader.config(dir.path());
    let gateway = Gateway::start(&config);
    let mut peer = leader.accept().await;
    peer.say(SNAP).await;
    let mut expected = SNAP_LEARNER.to_vec();
    // ACKEPOCH: an Apache observer names its epoch as if it voted; this one says that it does not.
    expected[56..60].copy_from_slice(&(-1i32).to_be_bytes());
    assert_eq!(peer.hear_bytes(expected.len()).await, expected);
    peer.confirm().await;
    gateway.connected().await;
    assert_eq!(gateway.edge.take(), ["replaced 0x0 by 0x10000000b"]);
    assert_eq!(gateway.replica.read().node("/a").unwrap().data(), Some(&b"z"[..]));
    gateway.stop().await;

    // The disk has it: reads need no core, and the next leader is asked for the rest only.
    let gateway = Gateway::start(&config);
    assert_eq!(gateway.replica.last_zxid(), Zxid(0x1_0000_000b));
    assert_eq!(gateway.replica.read().node("/a").unwrap().data(), Some(&b"z"[..]));
    let mut peer = leader.accept().await;
    let greeting = peer.synchronise(2, &[create(1, 0x2_0000_0001, "/b")]).await;
    assert_eq!(greeting.zxid, Zxid::new(1, 0));
    gateway.connected().await;
    assert!(gateway.replica.read().node("/b").is_some());
    gateway.stop().await;
}

#[tokio::test]
async fn a_snapshot_whose_leader_goes_right_behind_it_counts() {
    let (leader, dir) = (Leader::new().await, tempfile::tempdir().unwrap());
    let gateway = Gateway::start(&leader.config(dir.path()));
    let mut peer = leader.accept().await;
    peer.say(SNAP).await;
    // The last of these acknowledges UPTODATE.
    peer.hear_bytes(SNAP_LEARNER.len()).await;
    drop(peer);
    let mut peer = leader.accept().await;
    let b = create(1, 0x1_0000_000c, "/b");
    peer.synchronise(2, &[b]).await;
    peer.confirm().await;
    gateway.connected().await;
    assert!(gateway.replica.read().node("/a").is_some());
    assert!(gateway.replica.read().node("/b").is_some());
    gateway.stop().await;
}

/// The tree that a leader sends holds parts of what it does meanwhile, and sends behind UPTODATE.
#[tokio::test]
async fn a_tree_is_shown_when_all_of_it_has_come() {
    let (leader, dir) = (Leader::new().await, tempfile::tempdir().unwrap());
    let gateway = Gateway::start(&leader.config(dir.path()));
    let mut peer = leader.accept().await;
    peer.say(SNAP).await;
    peer.hear_bytes(SNAP_LEARNER.len()).await;
    peer.inform(&create(1, 0x1_0000_000c, "/late")).await;
    peer.confirm().await;
    peer.inform(&create(2, 0x1_0000_000d, "/later")).await;
    gateway.edge.until("0x10000000d").await;
    assert_eq!(gateway.edge.take().first().map(String::as_str), Some("replaced 0x0 by 0x10000000c"));
    gateway.stop().await;
}

/// All that came before UPTODATE goes to the disk at once, and may be more than its queue takes.
#[tokio::test]
async fn a_gateway_far_behind_its_leader_catches_up_and_is_durable() {
    const MANY: usize = 40_000;
    let (leader, dir) = (Leader::new().await, tempfile::tempdir().unwrap());
    let config = leader.config(dir.path());
    let gateway = Gateway::start(&config);
    let mut peer = leader.accept().await;
    let records: Vec<_> =
        (1..=MANY).map(|i| create(i as i32, Zxid::new(1, i as u32).0, &format!("/{i}"))).collect();
    peer.synchronise(1, &records).await;
    gateway.connected().await;
    assert_eq!(gateway.replica.last_zxid(), Zxid::new(1, MANY as u32));
    gateway.stop().await;

    let gateway = Gateway::start(&config);
    assert_eq!(gateway.replica.last_zxid(), Zxid::new(1, MANY as u32));
    gateway.stop().await;
}

#[tokio::test]
async fn a_recorded_diff_is_applied_logged_and_found_again() {
    let (leader, dir) = (Leader::new().await, tempfile::tempdir().unwrap());
    let config = leader.config(dir.path());
    let gateway = Gateway::start(&config);
    let before = TxnRecord {
        header: header(0x300_0026_b6f0_0000, 0, 0x1_0000_0001),
        txn: Txn::CreateSession(30_000),
        digest: None,
    };
    leader.accept().await.synchronise(1, &[before]).await;
    gateway.connected().await;
    gateway.edge.take();
    let version = gateway.replica.read().node("/zookeeper/config").unwrap().stat().mzxid;
    assert_eq!(version, Zxid(0xa0));

    let mut peer = leader.accept().await;
    peer.say(DIFF).await;
    gateway.edge.until("0x100000004 Reconfig").await;
    let seen = gateway.edge.take();
    assert_eq!(seen.iter().filter(|s| s.contains(" created ")).count(), 2, "{seen:?}");
    let text = b"server.1=127.0.0.1:21861:21871:participant;0.0.0.0:21851";
    assert!(gateway.replica.read().node("/zookeeper/config").unwrap().data().unwrap().starts_with(text));
    let digest = gateway.replica.read().digest();
    assert_eq!(digest, 0x2_90eb_e7c8, "the leader's");
    for kind in ["ObserverInfo", "AckEpoch", "Ack", "Ack", "Ping", "Ping"] {
        assert_eq!(format!("{:?}", peer.hear().await.packet_type().unwrap()), kind);
    }
    gateway.stop().await;

    let gateway = Gateway::start(&config);
    assert_eq!(gateway.replica.last_zxid(), Zxid(0x1_0000_0004));
    assert_eq!(gateway.replica.read().digest(), digest);
    gateway.stop().await;
}

#[tokio::test]
async fn answers_come_with_their_transactions_after_the_events() {
    let (leader, dir) = (Leader::new().await, tempfile::tempdir().unwrap());
    let gateway = Gateway::start(&leader.config(dir.path()));
    let (edge, core) = (&gateway.edge, &gateway.core);
    assert_eq!(core.forward(request(1), Vec::new(), edge.ticket(1)), Err(Refused::NotConnected));
    let mut peer = leader.accept().await;
    peer.synchronise(1, &[]).await;
    gateway.connected().await;

    core.forward(request(1), Vec::new(), edge.ticket(1)).unwrap();
    core.sync(SESSION, 2, "/", edge.ticket(2)).unwrap();
    core.forward(request(3), Vec::new(), edge.ticket(3)).unwrap();
    core.revalidate(SESSION, 4_000, edge.ticket(4)).unwrap();
    for cxid in 1..=3 {
        let packet = peer.hear().await;
        let sent = ForwardedRequest::decode(&packet.data.unwrap()).unwrap();
        assert_eq!((sent.session, sent.cxid), (SESSION, cxid));
    }
    assert_eq!(quorum::decode_revalidate(peer.hear().await.data()), Ok((SESSION, 4_000)));

    peer.inform(&create(9, 0x1_0000_0001, "/a")).await;
    peer.inform(&delete(1, 0x1_0000_0002)).await;
    peer.send(PacketType::Sync, 0, None).await;
    let failed = Txn::Error(ErrorCode::NO_NODE);
    peer.inform(&TxnRecord { header: header(SESSION, 3, 0x1_0000_0003), txn: failed, digest: None }).await;
    let mut valid = BytesMut::new();
    valid.put_i64(SESSION);
    valid.put_u8(1);
    peer.send(PacketType::Revalidate, -1, Some(valid.freeze())).await;
    edge.until("answer 4").await;
    assert_eq!(
        edge.take(),
        [
            "0x100000001 created /a",
            "0x100000001 children /",
            "0x100000001 Create",
            "0x100000002 deleted /a",
            "0x100000002 children /",
            "0x100000002 Delete",
            "answer 1: 0x100000002 OK",
            "answer 2: synced 0x100000002",
            "0x100000003 Error",
            "answer 3: 0x100000003 NO_NODE",
            "answer 4: valid true",
        ]
    );
    core.touch(SESSION, 4_000, false);
    peer.send(PacketType::Ping, 0x1_0000_0003, None).await;
    let mut told = Vec::new();
    loop {
        // It may be told ahead of a sync, too.
        let pong = peer.hear().await;
        told.extend(quorum::decode_touched(pong.data()).unwrap());
        if pong.zxid == Zxid(0x1_0000_0003) {
            break;
        }
    }
    assert_eq!(told, [(SESSION, 4_000)]);
    assert!(core.last_contact().is_some());
    gateway.stop().await;
}

impl Peer {
    async fn hears_request(&mut self) -> i32 {
        ForwardedRequest::decode(&self.hear().await.data.unwrap()).unwrap().cxid
    }
}

#[tokio::test]
async fn a_new_leader_answers_what_it_has_and_is_sent_the_rest_again_before_anything_new() {
    let (leader, dir) = (Leader::new().await, tempfile::tempdir().unwrap());
    let gateway = Gateway::start(&leader.config(dir.path()));
    let (edge, core) = (Arc::clone(&gateway.edge), &gateway.core);
    let mut peer = leader.accept().await;
    peer.synchronise(1, &[]).await;
    gateway.connected().await;
    for cxid in 1..=3 {
        core.forward(request(cxid), Vec::new(), edge.ticket(cxid as u64)).unwrap();
        assert_eq!(peer.hears_request().await, cxid);
    }
    core.sync(SESSION, 4, "/", edge.ticket(4)).unwrap();
    core.revalidate(SESSION, 4_000, edge.ticket(5)).unwrap();
    peer.hears_request().await;
    peer.hear().await;
    edge.leave(2);
    drop(peer);

    // The first write had been committed; nobody waits for the second one any more.
    let mut peer = leader.accept().await;
    peer.synchronise(2, &[delete(1, 0x1_0000_0001)]).await;
    gateway.connected().await;
    core.forward(request(6), Vec::new(), edge.ticket(6)).unwrap();
    assert_eq!([peer.hears_request().await, peer.hears_request().await], [3, 4]);
    assert_eq!(peer.hear().await.packet_type(), Some(PacketType::Revalidate));
    assert_eq!(peer.hears_request().await, 6);
    peer.inform(&delete(3, 0x2_0000_0001)).await;
    peer.send(PacketType::Sync, 0, None).await;
    peer.inform(&delete(6, 0x2_0000_0002)).await;
    edge.until("answer 6").await;
    let answers: Vec<_> = edge.take().into_iter().filter(|line| line.starts_with("answer")).collect();
    assert_eq!(
        answers,
        [
            "answer 1: 0x100000001 NO_NODE",
            "answer 2: lost",
            "answer 3: 0x200000001 NO_NODE",
            "answer 4: synced 0x200000001",
            "answer 6: 0x200000002 NO_NODE"
        ]
    );
    gateway.stop().await;
    assert_eq!(edge.take(), ["answer 5: lost"]);
}

#[tokio::test]
async fn in_the_same_epoch_nobody_knows_what_became_of_a_write() {
    let (leader, dir) = (Leader::new().await, tempfile::tempdir().unwrap());
    let gateway = Gateway::start(&leader.config(dir.path()));
    let (edge, core) = (&gateway.edge, &gateway.core);
    let mut peer = leader.accept().await;
    peer.synchronise(1, &[]).await;
    gateway.connected().await;
    for cxid in 1..=2 {
        core.forward(request(cxid), Vec::new(), edge.ticket(cxid as u64)).unwrap();
        peer.hears_request().await;
    }
    drop(peer);
    leader.accept().await.synchronise(1, &[delete(1, 0x1_0000_0001)]).await;
    gateway.connected().await;
    assert_eq!(edge.take(), ["0x100000001 Delete", "answer 1: 0x100000001 NO_NODE", "answer 2: lost"]);
    assert_eq!(core.in_flight(), 0);
    gateway.stop().await;
}

#[tokio::test]
async fn a_tree_in_the_place_of_transactions_hides_what_became_of_a_write() {
    let (leader, dir) = (Leader::new().await, tempfile::tempdir().unwrap());
    let gateway = Gateway::start(&leader.config(dir.path()));
    let (edge, core) = (&gateway.edge, &gateway.core);
    let mut peer = leader.accept().await;
    peer.synchronise(1, &[]).await;
    gateway.connected().await;
    core.forward(request(1), Vec::new(), edge.ticket(1)).unwrap();
    peer.hears_request().await;
    drop(peer);
    let mut recorded = SNAP.to_vec();
    let starts = |head: &[u8]| SNAP.windows(head.len()).position(|window| window == head).unwrap();
    for head in [&[0, 0, 0, 0x11, 0, 0, 0, 1, 0, 0, 0, 0], &[0, 0, 0, 0x0a, 0, 0, 0, 1, 0, 0, 0, 0]] {
        recorded[starts(head) + 7] = 2;
    }
    let mut peer = leader.accept().await;
    peer.say(&recorded).await;
    peer.confirm().await;
    gateway.connected().await;
    assert_eq!(edge.take(), ["replaced 0x0 by 0x10000000b", "answer 1: lost"]);
    gateway.stop().await;
}

#[tokio::test]
async fn an_own_write_proves_how_fresh_the_replica_is() {
    let (leader, dir) = (Leader::new().await, tempfile::tempdir().unwrap());
    let gateway = Gateway::start(&leader.config(dir.path()));
    let mut peer = leader.accept().await;
    peer.synchronise(1, &[]).await;
    gateway.connected().await;
    assert_eq!(gateway.core.proven(), None);
    let before = std::time::Instant::now();
    for cxid in 1..=2 {
        gateway.core.forward(request(cxid), Vec::new(), gateway.edge.ticket(cxid as u64)).unwrap();
        peer.hears_request().await;
        peer.inform(&delete(cxid, 0x1_0000_0000 + i64::from(cxid))).await;
        gateway.edge.until(&format!("answer {cxid}")).await;
    }
    let proven = gateway.core.proven().unwrap();
    assert!(before <= proven && proven <= std::time::Instant::now());
    gateway.stop().await;
}

#[tokio::test]
async fn a_core_that_lost_history_is_followed_and_the_edge_is_told() {
    let (leader, dir) = (Leader::new().await, tempfile::tempdir().unwrap());
    let gateway = Gateway::start(&leader.config(dir.path()));
    let history: Vec<_> =
        (1..=3).map(|n| create(n, 0x1_0000_0000 + i64::from(n), &format!("/{n}"))).collect();
    leader.accept().await.synchronise(1, &history).await;
    gateway.connected().await;
    gateway.edge.take();

    let mut peer = leader.accept().await;
    peer.hear().await;
    peer.send(PacketType::LeaderInfo, 0x2_0000_0000, Some(Bytes::from_static(&[0, 1, 0, 0]))).await;
    peer.hear().await;
    peer.send(PacketType::Trunc, 0x1_0000_0002, None).await;
    peer.send(PacketType::NewLeader, 0x2_0000_0000, None).await;
    peer.hear().await;
    peer.send(PacketType::UpToDate, -1, None).await;
    peer.confirm().await;
    gateway.edge.until("rewound").await;
    assert_eq!(gateway.edge.take(), ["rewound 0x100000003 by 0x100000002"]);
    gateway.connected().await;
    assert!(gateway.replica.read().node("/2").is_some());
    assert!(gateway.replica.read().node("/3").is_none());
    gateway.stop().await;
}

/// The zxid alone does not tell: the core has gone on in a later epoch.
#[tokio::test]
async fn a_core_that_lost_history_and_went_on_is_noticed() {
    let (leader, dir) = (Leader::new().await, tempfile::tempdir().unwrap());
    let gateway = Gateway::start(&leader.config(dir.path()));
    let lost = [create(1, 0x1_0000_0001, "/1"), create(2, 0x1_0000_0002, "/2")];
    leader.accept().await.synchronise(1, &lost).await;
    gateway.connected().await;
    gateway.edge.take();

    let mut peer = leader.accept().await;
    peer.hear().await;
    peer.send(PacketType::LeaderInfo, 0x3_0000_0000, Some(Bytes::from_static(&[0, 1, 0, 0]))).await;
    peer.hear().await;
    peer.send(PacketType::Trunc, 0x1_0000_0001, None).await;
    let other = create(1, 0x2_0000_0001, "/other");
    peer.send(PacketType::Proposal, other.header.zxid.0, Some(other.encode())).await;
    peer.send(PacketType::Commit, other.header.zxid.0, None).await;
    peer.send(PacketType::NewLeader, 0x3_0000_0000, None).await;
    peer.hear().await;
    peer.send(PacketType::UpToDate, -1, None).await;
    peer.confirm().await;
    gateway.connected().await;
    gateway.edge.until("0x200000001").await;
    assert_eq!(gateway.edge.take(), ["rewound 0x100000002 by 0x200000001"]);
    assert!(gateway.replica.read().node("/2").is_none());
    gateway.stop().await;
}

#[tokio::test]
async fn under_a_voters_id_the_gateway_ends() {
    let (leader, dir) = (Leader::new().await, tempfile::tempdir().unwrap());
    let mut gateway = Gateway::start(&leader.config(dir.path()));
    let mut peer = leader.accept().await;
    peer.hear().await;
    peer.send(PacketType::LeaderInfo, 0x1_0000_0000, Some(Bytes::from_static(&[0, 1, 0, 0]))).await;
    peer.hear().await;
    peer.send(PacketType::Diff, 0, None).await;
    let config = Bytes::from_static(b"server.1=a:1:2:participant\nserver.5=b:1:2:participant\nversion=0");
    peer.send(PacketType::NewLeader, 0x1_0000_0000, Some(config)).await;
    let error = gateway.task.join().await;
    assert!(matches!(error, Some(GatewayError::IdIsVoter { id: LEARNER_ID })), "{error:?}");
}

#[tokio::test]
async fn garbage_and_cut_snapshots_cost_the_connection_only() {
    let (leader, dir) = (Leader::new().await, tempfile::tempdir().unwrap());
    let gateway = Gateway::start(&leader.config(dir.path()));
    let first = 20 + 4;
    for garbage in [
        [&SNAP[..first], &[0xff; 64]].concat(),
        [&SNAP[..first], &[0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 1, 0x7f, 0xff, 0xff, 0xff]].concat(),
        SNAP[..300].to_vec(),
        SNAP[..SNAP.len() / 2].iter().chain(&[0xff; 400]).copied().collect(),
    ] {
        let mut peer = leader.accept().await;
        peer.say(&garbage).await;
    }
    leader.accept().await.synchronise(2, &[create(1, 0x1_0000_0001, "/a")]).await;
    gateway.connected().await;
    assert_eq!(gateway.replica.last_zxid(), Zxid(0x1_0000_0001));
    gateway.stop().await;
}

#[tokio::test]
async fn snapshots_are_taken_while_transactions_go_on() {
    let (leader, dir) = (Leader::new().await, tempfile::tempdir().unwrap());
    let mut config = leader.config(dir.path());
    config.storage.snap_count = 10;
    let gateway = Gateway::start(&config);
    let mut peer = leader.accept().await;
    peer.synchronise(1, &[]).await;
    for n in 1..=95 {
        peer.inform(&create(n, 0x1_0000_0000 + i64::from(n), &format!("/{n}"))).await;
    }
    gateway.edge.until("0x10000005f Create").await;
    let digest = gateway.replica.read().digest();
    gateway.stop().await;
    let opened = disk::open(&config.storage, max_packet(&config), &mut Untold).unwrap();
    assert_eq!(opened.tree.digest(), digest);
    assert!(opened.replayed < 95, "no snapshot was taken");
}
