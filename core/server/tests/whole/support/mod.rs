//! Ensembles of voters in this process, and an observer written by hand.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use palisade_server::{Config, Ports, Reservation, Voter, VoterHandle};
use palisade_store::{DataTree, SnapshotReader};
use palisade_wire::quorum::{
    ForwardedRequest, LearnerInfo, PROTOCOL_VERSION, PacketType, QuorumPacket, SNAP_SIGNATURE, encode_touched,
};
use palisade_wire::request::{Create, Request};
use palisade_wire::txn::{Txn, TxnRecord};
use palisade_wire::{Acl, Id, OpCode, SessionId, Sid, Zxid};
use palisade_zab::Ensemble;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// Far longer than anything takes that works.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at something that is awaited.
const LOOK: Duration = Duration::from_millis(10);

/// Three voters on free ports.
pub(crate) struct Trio {
    pub(crate) voters: BTreeMap<Sid, VoterHandle>,
    pub(crate) addresses: BTreeMap<Sid, palisade_server::Addresses>,
    folders: BTreeMap<Sid, TempDir>,
    ensemble: Ensemble,
    pub(crate) adjust: fn(&mut Config),
}

fn reserve() -> Reservation {
    Reservation::bind("127.0.0.1:0".parse().unwrap()).unwrap()
}

impl Trio {
    pub(crate) async fn start(adjust: fn(&mut Config)) -> Self {
        let mut ports: BTreeMap<Sid, Ports> = BTreeMap::new();
        let mut text = String::new();
        for sid in 1..=3 {
            let (quorum, election) = (reserve(), reserve());
            text += &format!(
                "server.{sid}=127.0.0.1:{}:{}:participant\n",
                quorum.address().port(),
                election.address().port()
            );
            ports.insert(
                sid,
                Ports { quorum: Some(quorum), election: Some(election), admin: Some(reserve()) },
            );
        }
        let mut trio = Self {
            voters: BTreeMap::new(),
            addresses: BTreeMap::new(),
            folders: (1..=3).map(|sid| (sid, TempDir::new().unwrap())).collect(),
            ensemble: Ensemble::parse(&text).unwrap(),
            adjust,
        };
        for (sid, ports) in ports {
            trio.launch(sid, ports).await;
        }
        trio
    }

    pub(crate) fn config(&self, sid: Sid) -> Config {
        let mut config = Config::new(sid, self.ensemble.clone(), self.folders[&sid].path());
        config.timing.tick = Duration::from_millis(200);
        config.timing.init_limit = 20;
        config.timing.sync_limit = 10;
        config.storage.log_preallocation = 1 << 16;
        config.limits.commit_log_count = 500;
        (self.adjust)(&mut config);
        config
    }

    async fn launch(&mut self, sid: Sid, ports: Ports) {
        let voter = Voter::start(self.config(sid), ports).await.unwrap();
        self.addresses.insert(sid, voter.addresses());
        self.voters.insert(sid, voter);
    }

    /// Starts a stopped voter again, on the ports that it had.
    pub(crate) async fn restart(&mut self, sid: Sid) {
        let had = self.addresses[&sid];
        let again = |address| Some(Reservation::bind(address).unwrap());
        let ports = Ports {
            quorum: again(had.quorum),
            election: again(had.election),
            admin: again(had.admin.unwrap()),
        };
        self.launch(sid, ports).await;
    }

    pub(crate) async fn stop(&mut self, sid: Sid) {
        self.voters.remove(&sid).unwrap().stop().await.unwrap();
    }

    pub(crate) async fn stop_all(&mut self) {
        for sid in 1..=3 {
            if self.voters.contains_key(&sid) {
                self.stop(sid).await;
            }
        }
    }

    /// Ends a voter as a crash of its process does.
    pub(crate) async fn kill(&mut self, sid: Sid) {
        self.voters.remove(&sid).unwrap().kill().await;
    }

    pub(crate) async fn ask(&self, sid: Sid, word: &str) -> String {
        ask(self.addresses[&sid].admin.unwrap(), word).await
    }

    /// The sid of the one leader, once all running voters serve.
    pub(crate) async fn leader(&self) -> Sid {
        let look = async {
            loop {
                let mut modes = BTreeMap::new();
                for sid in self.voters.keys() {
                    let answer = self.ask(*sid, "srvr").await;
                    let mode = answer.lines().find_map(|line| line.strip_prefix("Mode: ")).map(str::to_owned);
                    modes.insert(*sid, mode);
                }
                let leaders: Vec<_> =
                    modes.iter().filter(|(_, m)| m.as_deref() == Some("leader")).map(|(s, _)| *s).collect();
                if let ([leader], true) = (leaders.as_slice(), modes.values().all(Option::is_some)) {
                    return *leader;
                }
                sleep(LOOK).await;
            }
        };
        timeout(PATIENCE, look).await.expect("no leader that all follow")
    }

    pub(crate) async fn observer(&self, sid: Sid) -> Observer {
        let leader = self.leader().await;
        Observer::join(self.addresses[&leader].quorum, sid).await
    }

    /// Waits until `mntr` or `srvr` of a voter has this line.
    pub(crate) async fn shows(&self, sid: Sid, word: &str, line: &str) {
        let look = async {
            while !self.ask(sid, word).await.lines().any(|found| found == line) {
                sleep(LOOK).await;
            }
        };
        let seen = timeout(PATIENCE, look).await;
        assert!(seen.is_ok(), "{sid} never shows {line:?}:\n{}", self.ask(sid, word).await);
    }
}

pub(crate) async fn ask(admin: SocketAddr, word: &str) -> String {
    let mut stream = TcpStream::connect(admin).await.unwrap();
    stream.write_all(word.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// An observer that applies what it is told to a tree.
pub(crate) struct Observer {
    stream: TcpStream,
    buf: BytesMut,
    pub(crate) tree: DataTree,
    /// Everything received since UPTODATE, oldest first.
    pub(crate) informed: Vec<TxnRecord>,
    pub(crate) epoch: u32,
}

fn packet(kind: PacketType, zxid: Zxid, data: Option<Bytes>) -> QuorumPacket {
    QuorumPacket::new(kind, zxid, data)
}

impl Observer {
    /// Joins the leader at this quorum port and is synchronised by a snapshot or from the beginning.
    pub(crate) async fn join(leader: SocketAddr, sid: Sid) -> Self {
        let stream = TcpStream::connect(leader).await.unwrap();
        let mut me =
            Self { stream, buf: BytesMut::new(), tree: DataTree::new(), informed: Vec::new(), epoch: 0 };
        let info = LearnerInfo { sid, protocol_version: PROTOCOL_VERSION, config_version: 0 };
        me.send(packet(PacketType::ObserverInfo, Zxid::ZERO, Some(info.encode()))).await;
        let leader_info = me.expect(PacketType::LeaderInfo).await;
        me.epoch = leader_info.zxid.epoch();
        let current_epoch = Bytes::from(0i32.to_be_bytes().to_vec());
        me.send(packet(PacketType::AckEpoch, Zxid::ZERO, Some(current_epoch))).await;
        loop {
            let next = me.read().await;
            match next.packet_type().unwrap() {
                PacketType::Diff | PacketType::Commit | PacketType::Ping => {}
                PacketType::Snap => me.read_tree(next.zxid).await,
                PacketType::Proposal | PacketType::Inform => me.apply(&next),
                PacketType::NewLeader => {
                    me.send(packet(PacketType::Ack, Zxid::new(me.epoch, 0), None)).await;
                }
                PacketType::UpToDate => break,
                other => panic!("{other:?} while synchronising"),
            }
        }
        me.send(packet(PacketType::Ack, Zxid::new(me.epoch, 0), None)).await;
        me.informed.clear();
        me
    }

    pub(crate) async fn send(&mut self, packet: QuorumPacket) {
        let mut out = BytesMut::new();
        packet.encode(&mut out);
        self.stream.write_all(&out).await.unwrap();
    }

    async fn fill(&mut self) {
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.buf)).await;
        assert_ne!(read.expect("the leader says nothing").unwrap(), 0, "the leader hung up");
    }

    async fn read(&mut self) -> QuorumPacket {
        loop {
            if let Some(packet) = QuorumPacket::split(&mut self.buf, 4 << 20).unwrap() {
                return packet;
            }
            self.fill().await;
        }
    }

    /// The next packet of a kind; INFORMs before it are applied, PINGs before it answered.
    pub(crate) async fn expect(&mut self, kind: PacketType) -> QuorumPacket {
        loop {
            let next = self.read().await;
            match next.packet_type().unwrap() {
                PacketType::Inform => self.apply(&next),
                PacketType::Ping if kind != PacketType::Ping => self.answer_ping(next.zxid, &[]).await,
                _ => {}
            }
            if next.packet_type() == Some(kind) {
                return next;
            }
        }
    }

    pub(crate) async fn answer_ping(&mut self, zxid: Zxid, touched: &[(SessionId, i32)]) {
        let data = encode_touched(touched.iter().copied());
        self.send(packet(PacketType::Ping, zxid, Some(data))).await;
    }

    async fn read_tree(&mut self, zxid: Zxid) {
        let mut reader = SnapshotReader::new(zxid);
        self.tree = loop {
            if let Some(tree) = reader.feed(&mut self.buf, 4 << 20).unwrap() {
                break tree;
            }
            self.fill().await;
        };
        while self.buf.len() < 4 + SNAP_SIGNATURE.len() {
            self.fill().await;
        }
        let signature = self.buf.split_to(4 + SNAP_SIGNATURE.len());
        assert_eq!(&signature[4..], SNAP_SIGNATURE.as_bytes());
    }

    fn apply(&mut self, packet: &QuorumPacket) {
        let record = TxnRecord::decode(packet.data.as_ref().unwrap()).unwrap();
        drop(self.tree.apply(&record.header, &record.txn, &mut |_| ()));
        if let Some(digest) = record.digest {
            assert_eq!(digest, self.tree.digest(), "trees differ at {}", record.header.zxid);
        }
        self.informed.push(record);
    }

    /// Forwards a request without waiting for anything.
    pub(crate) async fn forward(&mut self, session: SessionId, cxid: i32, op: OpCode, body: &Request<'_>) {
        let mut encoded = BytesMut::new();
        body.encode(&mut encoded);
        let request = ForwardedRequest { session, cxid, op: op.as_i32(), body: encoded.freeze() };
        let auth = Some(vec![Id::new("ip", "127.0.0.1")]);
        self.send(QuorumPacket { auth, ..packet(PacketType::Request, Zxid(-1), Some(request.encode())) })
            .await;
    }

    /// The transaction that became of a request.
    pub(crate) async fn outcome(&mut self, session: SessionId, cxid: i32) -> TxnRecord {
        let mut seen = 0;
        loop {
            if let Some(found) =
                self.informed[seen..].iter().find(|r| (r.header.session, r.header.cxid) == (session, cxid))
            {
                return found.clone();
            }
            seen = self.informed.len();
            self.expect(PacketType::Inform).await;
        }
    }

    pub(crate) async fn open_session(&mut self, session: SessionId, timeout_ms: i32) {
        self.forward(session, 0, OpCode::CreateSession, &Request::CreateSession(timeout_ms)).await;
        assert_eq!(self.outcome(session, 0).await.txn, Txn::CreateSession(timeout_ms));
    }

    pub(crate) async fn create(&mut self, session: SessionId, cxid: i32, path: &str, flags: i32) -> Txn {
        let create = Create { path: path.into(), data: Some(b"data"), acl: Acl::open(), flags, ttl_ms: None };
        self.forward(session, cxid, OpCode::Create, &Request::Create(create)).await;
        self.outcome(session, cxid).await.txn
    }
}
