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
use crate::core_link::{CoreLink, LinkState, Place, Refused};
use crate::gateway::GatewayError;
use crate::replica::{Replica, disk};

mod trees;
mod writes;

/// A 3.8.0 leader to an observer without history: SNAP at 0x10000000b.
const SNAP: &[u8] = include_bytes!("../../../testdata/learner-observer-snap.leader-to-learner.bin");
/// What that observer, sid 5, said.
const SNAP_LEARNER: &[u8] = include_bytes!("../../../testdata/learner-observer-snap.learner-to-leader.bin");
/// A 3.8.0 leader to an observer at 0x100000001: DIFF, INFORM, INFORMANDACTIVATE, pings.
const DIFF: &[u8] = include_bytes!("../../../testdata/learner-observer-diff-inform.leader-to-learner.bin");

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

    /// Forwards the request with this number.
    fn forward(&self, cxid: i32) -> Result<(), Refused> {
        let ticket = self.edge.ticket(cxid as u64);
        self.core.forward(request(cxid), Arc::default(), ticket, &mut Place::default())
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
