//! Bytes captured from real servers (`testdata/README.md` says which) are decoded, and encoded to the same bytes again.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use bytes::{Bytes, BytesMut};
use palisade_wire::election::{InitialMessage, Notification, PeerState};
use palisade_wire::quorum::{
    self, ForwardedRequest, LearnerInfo, PROTOCOL_VERSION, PacketType, QuorumPacket, SNAP_SIGNATURE,
};
use palisade_wire::request::Request;
use palisade_wire::txn::{Txn, TxnRecord};
use palisade_wire::{Acl, CreateMode, ErrorCode, Id, OpCode, Reader, Zxid};

const MAX_DATA: usize = 1 << 20;

fn sample(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/testdata/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn same_txn(payload: &Bytes) -> TxnRecord {
    let record = TxnRecord::decode(payload).unwrap();
    assert_eq!(record.encode(), payload);
    assert_eq!(TxnRecord::peek_zxid(payload), Ok(record.header.zxid));
    record
}

/// Decodes a whole stream, checks that each packet and its data is encoded alike, and returns the packets.
fn stream(name: &str) -> Vec<QuorumPacket> {
    let mut buf = BytesMut::from(&sample(name)[..]);
    let mut packets = Vec::new();
    while !buf.is_empty() {
        let before = buf.clone();
        let packet = QuorumPacket::split(&mut buf, MAX_DATA).unwrap().expect("a whole packet");
        let mut again = BytesMut::new();
        packet.encode(&mut again);
        assert_eq!(again, before[..before.len() - buf.len()]);
        same_data(&packet);
        if packet.packet_type() == Some(PacketType::Snap) {
            let tree = skip_tree(&buf);
            let _ = buf.split_to(tree);
        }
        packets.push(packet);
    }
    packets
}

fn same_data(packet: &QuorumPacket) {
    let data = packet.data.clone().unwrap_or_default();
    match packet.packet_type().expect("a known type") {
        PacketType::Proposal | PacketType::Inform => {
            assert_eq!(same_txn(&data).header.zxid, packet.zxid);
        }
        PacketType::InformAndActivate => {
            assert_eq!(same_txn(&data.slice(8..)).header.zxid, packet.zxid);
        }
        PacketType::FollowerInfo | PacketType::ObserverInfo => {
            assert_eq!(LearnerInfo::decode(&data).unwrap().encode(), data);
        }
        PacketType::Request => {
            let request = ForwardedRequest::decode(&data).unwrap();
            assert_eq!(request.encode(), data);
            let op = OpCode::from_i32(request.op).unwrap();
            let mut body = Vec::new();
            Request::decode(op, &request.body).unwrap().encode(&mut body);
            assert_eq!(body, request.body);
        }
        PacketType::Ping if packet.data.is_some() => {
            let touched = quorum::decode_touched(&data).unwrap();
            assert_eq!(quorum::encode_touched(touched.into_iter()), data);
        }
        _ => {}
    }
}

/// Length of the tree and its signature behind a SNAP packet.
fn skip_tree(stream: &[u8]) -> usize {
    let mut r = Reader::new(stream);
    r.vec("sessions", |r| r.take(12, "session").map(drop)).unwrap();
    r.vec("acls", |r| {
        r.i64("id")?;
        r.vec("acl", Acl::decode)
    })
    .unwrap();
    while r.string("path").unwrap() != "/" {
        r.opt_buffer("data").unwrap();
        r.take(68, "acl id and stat").unwrap();
    }
    assert_eq!(r.string("signature").unwrap(), SNAP_SIGNATURE);
    stream.len() - r.rest().len()
}

fn kinds(packets: &[QuorumPacket]) -> Vec<PacketType> {
    packets.iter().filter_map(QuorumPacket::packet_type).filter(|kind| *kind != PacketType::Ping).collect()
}

#[test]
fn election_messages() {
    let bytes = sample("election-initial-message-v1.bin");
    let mut buf = BytesMut::from(&bytes[..]);
    let message = InitialMessage::split(&mut buf).unwrap().unwrap();
    assert!(buf.is_empty());
    assert_eq!(message, InitialMessage { sid: 5, addresses: vec!["127.0.0.1:21879".into()] });
    message.encode(&mut buf);
    assert_eq!(buf, bytes[..]);

    let bytes = sample("election-notification-3.8.0.bin");
    let mut buf = BytesMut::from(&bytes[..]);
    let body = palisade_wire::frame::split(&mut buf, 1 << 19).unwrap().unwrap();
    assert!(buf.is_empty());
    let notification = Notification::decode(&body).unwrap();
    assert_eq!((notification.state, notification.leader), (PeerState::Following, 3));
    assert_eq!((notification.zxid, notification.round, notification.peer_epoch), (Zxid::ZERO, 1, 1));
    let config = notification.config.as_deref().unwrap();
    assert!(config.starts_with(b"server.1=") && config.ends_with(b"\nversion=0"));
    notification.encode(&mut buf);
    assert_eq!(buf, bytes[..]);
}

#[test]
fn notifications_of_old_versions() {
    let whole = sample("election-notification-3.8.0.bin");
    let body = |len: usize| Bytes::copy_from_slice(&whole[4..4 + len]);
    let v33 = Notification::decode(&body(28)).unwrap();
    assert_eq!((v33.peer_epoch, v33.version, v33.config), (0, 0, None));
    let v340 = Notification::decode(&body(36)).unwrap();
    assert_eq!((v340.peer_epoch, v340.version), (1, 0));
    let v346 = Notification::decode(&body(40)).unwrap();
    assert_eq!((v346.peer_epoch, v346.version, v346.config), (1, 0, None));
    for cut in (0..28).chain(29..36).chain(37..40).chain(41..222) {
        assert!(Notification::decode(&body(cut)).is_err(), "{cut} bytes");
    }
}

#[test]
fn an_observer_synchronised_by_a_snapshot() {
    use PacketType::*;
    let packets = stream("learner-observer-snap.leader-to-learner.bin");
    assert_eq!(kinds(&packets), [LeaderInfo, Snap, NewLeader, UpToDate]);
    assert_eq!(packets[0].data(), PROTOCOL_VERSION.to_be_bytes());
    assert!(!quorum::confirms_sync(packets[0].data()), "Apache's leader does not");
    let own = quorum::encode_leader_info();
    assert!(own.starts_with(packets[0].data()) && quorum::confirms_sync(&own));
    assert_eq!(packets[1].zxid, Zxid::new(1, 0xb));
    assert_eq!(packets[2].zxid, Zxid::new(1, 0));
    let packets = stream("learner-observer-snap.learner-to-leader.bin");
    assert_eq!(kinds(&packets), [ObserverInfo, AckEpoch, Ack, Ack]);
    let info = LearnerInfo { sid: 5, protocol_version: PROTOCOL_VERSION, config_version: 0 };
    assert_eq!(LearnerInfo::decode(packets[0].data()), Ok(info));
}

#[test]
fn an_observer_synchronised_by_a_diff() {
    use PacketType::*;
    let packets = stream("learner-observer-diff-inform.leader-to-learner.bin");
    let expected = [LeaderInfo, Diff, Proposal, Commit, NewLeader, UpToDate, Inform, InformAndActivate];
    assert_eq!(kinds(&packets), expected);
    let reconfig = packets.iter().find(|p| p.packet_type() == Some(InformAndActivate)).unwrap();
    let record = same_txn(&reconfig.data.clone().unwrap().slice(8..));
    assert!(matches!(record.txn, Txn::Reconfig { version: -1, .. }), "{record:?}");
}

#[test]
fn a_follower_synchronised_by_a_diff() {
    use PacketType::*;
    let packets = stream("learner-follower-diff-proposal.leader-to-learner.bin");
    let expected = [LeaderInfo, Diff, NewLeader, UpToDate, Proposal, Commit, Proposal, CommitAndActivate];
    assert_eq!(kinds(&packets), expected);
}

#[test]
fn what_apaches_followers_send() {
    use PacketType::*;
    for version in ["3.8.0", "3.9.5"] {
        let packets = stream(&format!("java-{version}-follower-to-leader.bin"));
        assert_eq!(kinds(&packets)[..2], [FollowerInfo, AckEpoch]);
        let requests: Vec<_> =
            packets.iter().filter(|packet| packet.packet_type() == Some(Request)).collect();
        let ops: Vec<_> = requests
            .iter()
            .map(|packet| {
                OpCode::from_i32(ForwardedRequest::decode(packet.data.as_ref().unwrap()).unwrap().op)
            })
            .collect();
        assert_eq!(ops, [OpCode::CreateSession, OpCode::Create, OpCode::Sync].map(Some));
        let auth = requests[1].auth.as_ref().unwrap();
        assert!(auth.contains(&Id::new("ip", "127.0.0.1")), "{auth:?}");
        assert!(auth.iter().any(|id| id.scheme == "digest"), "{auth:?}");
    }
}

#[test]
fn packets_arrive_in_pieces() {
    let whole = sample("java-3.8.0-follower-to-leader.bin");
    let expected = stream("java-3.8.0-follower-to-leader.bin");
    for piece in 1..40 {
        let mut buf = BytesMut::new();
        let mut packets = Vec::new();
        for chunk in whole.chunks(piece) {
            buf.extend_from_slice(chunk);
            while let Some(packet) = QuorumPacket::split(&mut buf, MAX_DATA).unwrap() {
                packets.push(packet);
            }
        }
        assert_eq!(packets, expected);
        assert!(buf.is_empty());
    }
}

/// The transactions of the log: after the file's header, `long checksum, int length, payload, 'B'`.
fn logged() -> Vec<TxnRecord> {
    let log = sample("txnlog-3.8.0-head.bin");
    let mut r = Reader::new(&log[16..]);
    let mut records = Vec::new();
    loop {
        r.i64("checksum").unwrap();
        let payload = r.buffer("payload").unwrap();
        if payload.is_empty() {
            return records;
        }
        assert_eq!(r.u8("end of record"), Ok(b'B'));
        records.push(same_txn(&Bytes::copy_from_slice(payload)));
    }
}

#[test]
fn logged_transactions() {
    let records = logged();
    let ops: Vec<_> = records.iter().map(|record| record.txn.op()).collect();
    use OpCode::*;
    let expected = [
        CreateSession,
        Create,
        Create,
        CreateContainer,
        SetData,
        Multi,
        Multi,
        Error,
        Delete,
        SetAcl,
        CloseSession,
    ];
    assert_eq!(ops, expected);
    assert!(records.windows(2).all(|pair| pair[1].header.zxid.follows(pair[0].header.zxid)));
    assert_eq!(records[0].txn, Txn::CreateSession(10_000));
    assert_eq!(records[0].digest, Some(1_371_985_504));
    let Txn::Create(create, false) = &records[1].txn else { panic!("{:?}", records[1]) };
    assert_eq!((&*create.path, create.data.as_deref()), ("/a", Some(&b"hello"[..])));
    assert_eq!((&create.acl, create.parent_cversion), (&Acl::open(), 1));
    assert_eq!(records[1].digest, Some(0x1_4cb7_a7fd));
    assert!(matches!(&records[2].txn, Txn::Create(_, true)));
    let Txn::Multi(parts) = &records[6].txn else { panic!("{:?}", records[6]) };
    assert!(parts.contains(&Txn::Error(ErrorCode::RUNTIME_INCONSISTENCY)), "{parts:?}");
    assert_eq!(records[7].digest, None, "failures carry no digest");
    let Txn::CloseSession(Some(paths)) = &records[10].txn else { panic!("{:?}", records[10]) };
    assert_eq!(paths.len(), 1);
}

/// Cuts the digest off, or puts it where the list of paths is missing.
#[test]
fn a_closed_session_of_any_version() {
    let record = logged().pop().unwrap();
    let whole = record.encode();
    let header = whole.slice(..32);
    let digest = whole.slice(whole.len() - 12..);
    let read = |payload: Vec<u8>| TxnRecord::decode(&payload.into()).unwrap();

    let without_digest = read(whole[..whole.len() - 12].to_vec());
    assert_eq!((without_digest.txn, without_digest.digest), (record.txn.clone(), None));
    let of_3_5 = read(header.to_vec());
    assert_eq!((&of_3_5.txn, of_3_5.digest), (&Txn::CloseSession(None), None));
    assert_eq!(of_3_5.encode(), header);
    let list_disabled = read([&header[..], &digest].concat());
    assert_eq!((&list_disabled.txn, list_disabled.digest), (&Txn::CloseSession(None), record.digest));
    assert_eq!(list_disabled.encode(), header, "a reader of Apache would take the digest for the list");
    let no_paths = read([&header[..], &[0; 4], &digest].concat());
    assert_eq!((no_paths.txn, no_paths.digest), (Txn::CloseSession(Some(vec![])), record.digest));
    let empty_paths = read([&header[..], &[0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0]].concat());
    assert_eq!(empty_paths.txn, Txn::CloseSession(Some(vec![String::new(); 2])));
}

#[test]
fn a_create_of_3_3_has_no_parent_version() {
    let record = logged().remove(1);
    let whole = record.encode();
    let old = TxnRecord::decode(&whole.slice(..whole.len() - 12 - 4)).unwrap();
    let Txn::Create(create, _) = old.txn else { panic!("{old:?}") };
    assert_eq!(create.parent_cversion, -1);
}

#[test]
fn parts_that_apache_would_not_apply_are_refused() {
    let mut record = logged().remove(5);
    for part in [
        Txn::SetAcl { path: "/a".into(), acl: Acl::open(), version: 1 },
        Txn::CreateSession(1),
        Txn::CloseSession(None),
        Txn::Multi(vec![]),
        Txn::Reconfig { path: "/a".into(), data: None, version: 1 },
    ] {
        record.txn = Txn::Multi(vec![part]);
        assert!(TxnRecord::decode(&record.encode()).is_err(), "{record:?}");
    }
}

/// The request of the protocol's description, as an Apache learner forwards it.
#[test]
fn a_forwarded_create() {
    let hex = "00000001ffffffffffffffff0000003a05000000000012340000000200000001\
               000000092f6f62732d617574680000000178000000010000001f000000046175746800000000\
               00000000000000020000000269700000\
               00093132372e302e302e3100000006646967657374000000076a6f653a616263";
    let bytes: Vec<u8> =
        (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect();
    let mut buf = BytesMut::from(&bytes[..]);
    let packet = QuorumPacket::split(&mut buf, MAX_DATA).unwrap().unwrap();
    assert!(buf.is_empty());
    same_data(&packet);
    let request = ForwardedRequest::decode(packet.data.as_ref().unwrap()).unwrap();
    assert_eq!((request.session, request.cxid, request.op), (0x0500_0000_0000_1234, 2, 1));
    let Request::Create(create) = Request::decode(OpCode::Create, &request.body).unwrap() else {
        panic!("{request:?}")
    };
    assert_eq!((&*create.path, create.data), ("/obs-auth", Some(&b"x"[..])));
    assert_eq!(CreateMode::from_flags(create.flags), Some(CreateMode::Persistent));
    assert_eq!(create.acl[0].id, Id::new("auth", ""));
    assert_eq!(packet.auth.unwrap(), [Id::new("ip", "127.0.0.1"), Id::new("digest", "joe:abc")]);
}
