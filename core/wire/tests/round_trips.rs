//! Whatever is encoded is decoded again to the same.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use palisade_wire::connect::{ConnectRequest, ConnectResponse};
use palisade_wire::election::{InitialMessage, Notification, PeerState};
use palisade_wire::multi::MultiHeader;
use palisade_wire::quorum::{self, ForwardedRequest, LearnerInfo, PacketType, QuorumPacket};
use palisade_wire::reply::{EventType, ReplyHeader, WatchEvent};
use palisade_wire::request::{Create, PathWatch, Request, RequestHeader, SetWatches};
use palisade_wire::txn::{CreateTxn, Txn, TxnHeader, TxnRecord};
use palisade_wire::{Acl, ErrorCode, Id, OpCode, Perms, Reader, Stat, Zxid, frame};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

fn text() -> impl Strategy<Value = String> + Clone {
    select(vec!["", "/", "/a", "/ä/日本", "digest", "joe:x", "/very/long/path/with/many/components"])
        .prop_map(str::to_owned)
}

fn path() -> impl Strategy<Value = String> + Clone {
    text().prop_filter("a path is not empty", |path| !path.is_empty())
}

fn data() -> impl Strategy<Value = Option<Vec<u8>>> + Clone {
    option::of(vec(any::<u8>(), 0..20))
}

fn zxid() -> impl Strategy<Value = Zxid> + Clone {
    any::<i64>().prop_map(Zxid)
}

fn acl() -> impl Strategy<Value = Vec<Acl>> + Clone {
    let entry = (any::<i32>(), text(), text());
    vec(entry.prop_map(|(perms, scheme, id)| Acl { perms: Perms(perms), id: Id { scheme, id } }), 0..4)
}

fn stat() -> impl Strategy<Value = Stat> {
    (any::<[i64; 6]>(), any::<[i32; 5]>()).prop_map(|(long, int)| Stat {
        czxid: Zxid(long[0]),
        mzxid: Zxid(long[1]),
        ctime: long[2],
        mtime: long[3],
        version: int[0],
        cversion: int[1],
        aversion: int[2],
        ephemeral_owner: long[4],
        data_length: int[3],
        num_children: int[4],
        pzxid: Zxid(long[5]),
    })
}

/// Leaked: requests borrow from the frame that they came in.
fn leak(data: Option<Vec<u8>>) -> Option<&'static [u8]> {
    data.map(|data| &*data.leak())
}

fn paths() -> impl Strategy<Value = Vec<Cow<'static, str>>> + Clone {
    vec(text().prop_map(Cow::Owned), 0..4)
}

fn single_request() -> impl Strategy<Value = (OpCode, Request<'static>)> {
    use OpCode as O;
    use Request as R;
    let creates = [O::Create, O::Create2, O::CreateContainer, O::CreateTtl].to_vec();
    let create = (select(creates), text(), data(), acl(), any::<i32>(), any::<i64>()).prop_map(
        |(op, path, data, acl, flags, ttl)| {
            let ttl_ms = (op == O::CreateTtl).then_some(ttl);
            (op, R::Create(Create { path: path.into(), data: leak(data), acl, flags, ttl_ms }))
        },
    );
    let watched =
        (select([O::Exists, O::GetData, O::GetChildren, O::GetChildren2].to_vec()), text(), any::<bool>())
            .prop_map(|(op, path, watch)| {
                let path_watch = PathWatch { path: path.into(), watch };
                let request = match op {
                    O::Exists => R::Exists(path_watch),
                    O::GetData => R::GetData(path_watch),
                    O::GetChildren => R::GetChildren(path_watch),
                    _ => R::GetChildren2(path_watch),
                };
                (op, request)
            });
    let versioned = (text(), any::<i32>(), 0..7_u8).prop_map(|(path, int, which)| {
        let path = path.into();
        match which {
            0 => (O::Delete, R::Delete { path, version: int }),
            1 => (O::Check, R::Check { path, version: int }),
            2 => (O::CheckWatches, R::CheckWatches { path, kind: int }),
            3 => (O::RemoveWatches, R::RemoveWatches { path: Some(path), kind: int }),
            4 => (O::AddWatch, R::AddWatch { path, mode: int }),
            5 => (O::GetAcl, R::GetAcl(path)),
            _ => (O::GetAllChildrenNumber, R::GetAllChildrenNumber(path)),
        }
    });
    let set_data = (text(), data(), any::<i32>()).prop_map(|(path, data, version)| {
        (O::SetData, R::SetData { path: path.into(), data: leak(data), version })
    });
    let set_acl = (text(), acl(), any::<i32>())
        .prop_map(|(path, acl, version)| (O::SetAcl, R::SetAcl { path: path.into(), acl, version }));
    prop_oneof![create, watched, versioned, set_data, set_acl, session_request(), set_watches()]
}

fn session_request() -> impl Strategy<Value = (OpCode, Request<'static>)> {
    use OpCode as O;
    use Request as R;
    (option::of(text()), text(), data(), any::<i64>(), 0..9_u8).prop_map(|(opt, text, data, long, which)| {
        let opt: Option<Cow<'static, str>> = opt.map(Cow::Owned);
        match which {
            0 => (O::Sync, R::Sync(opt)),
            1 => (O::GetEphemerals, R::GetEphemerals(opt)),
            2 => (O::Auth, R::Auth { scheme: Some(text.into()), auth: leak(data) }),
            3 => (O::Sasl, R::Sasl(leak(data))),
            4 => (O::Ping, R::Ping),
            5 => (O::WhoAmI, R::WhoAmI),
            6 => (O::CloseSession, R::CloseSession),
            7 => (O::CreateSession, R::CreateSession(long as i32)),
            _ => {
                let members = Some(text.into());
                (O::Reconfig, R::Reconfig { joining: opt.clone(), leaving: opt, members, config_id: long })
            }
        }
    })
}

fn set_watches() -> impl Strategy<Value = (OpCode, Request<'static>)> {
    (zxid(), [paths(), paths(), paths(), paths(), paths()], any::<bool>()).prop_map(
        |(relative_zxid, [data, exist, child, persistent, recursive], new)| {
            let mut watches = SetWatches { relative_zxid, data, exist, child, persistent, recursive };
            if !new {
                watches.persistent.clear();
                watches.recursive.clear();
            }
            let op = if new { OpCode::SetWatches2 } else { OpCode::SetWatches };
            (op, Request::SetWatches(watches))
        },
    )
}

fn request() -> impl Strategy<Value = (OpCode, Request<'static>)> {
    let is_write = |op: OpCode| {
        use OpCode::*;
        matches!(op, Create | Create2 | CreateContainer | CreateTtl | Delete | SetData | Check)
    };
    let multi = vec(single_request().prop_filter("allowed in a multi", move |(op, _)| is_write(*op)), 0..5)
        .prop_map(|ops| (OpCode::Multi, Request::Multi(ops)));
    let is_read = |op: OpCode| matches!(op, OpCode::GetData | OpCode::GetChildren);
    let multi_read =
        vec(single_request().prop_filter("allowed in a multiRead", move |(op, _)| is_read(*op)), 0..3)
            .prop_map(|ops| (OpCode::MultiRead, Request::MultiRead(ops)));
    prop_oneof![8 => single_request(), 1 => multi, 1 => multi_read]
}

fn create_txn() -> impl Strategy<Value = CreateTxn> + Clone {
    (path(), data(), acl(), any::<i32>()).prop_map(|(path, data, acl, parent_cversion)| CreateTxn {
        path,
        data: data.map(Bytes::from),
        acl,
        parent_cversion,
    })
}

/// What may stand in a multi.
fn part() -> impl Strategy<Value = Txn> + Clone {
    prop_oneof![
        (create_txn(), any::<bool>()).prop_map(|(c, ephemeral)| Txn::Create(c, ephemeral)),
        (create_txn(), any::<bool>()).prop_map(|(c, ephemeral)| Txn::Create2(c, ephemeral)),
        create_txn().prop_map(Txn::CreateContainer),
        (create_txn(), any::<i64>()).prop_map(|(c, ttl)| Txn::CreateTtl(c, ttl)),
        path().prop_map(Txn::Delete),
        path().prop_map(Txn::DeleteContainer),
        (path(), data(), any::<i32>()).prop_map(|(path, data, version)| Txn::SetData {
            path,
            data: data.map(Bytes::from),
            version,
        }),
        (path(), any::<i32>()).prop_map(|(path, version)| Txn::Check { path, version }),
        any::<i32>().prop_map(|code| Txn::Error(ErrorCode(code))),
    ]
}

fn txn() -> impl Strategy<Value = Txn> {
    prop_oneof![
        4 => part(),
        1 => (path(), data(), any::<i32>()).prop_map(|(path, data, version)| Txn::Reconfig {
            path,
            data: data.map(Bytes::from),
            version,
        }),
        1 => (path(), acl(), any::<i32>()).prop_map(|(path, acl, version)| Txn::SetAcl { path, acl, version }),
        1 => vec(part(), 0..5).prop_map(Txn::Multi),
        1 => any::<i32>().prop_map(Txn::CreateSession),
        1 => vec(text(), 0..4).prop_map(|paths| Txn::CloseSession(Some(paths))),
    ]
}

proptest! {
    #[test]
    fn requests((op, request) in request(), xid: i32) {
        let mut buf = Vec::new();
        RequestHeader { xid, op: op.as_i32() }.encode(&mut buf);
        request.encode(&mut buf);
        let mut r = Reader::new(&buf);
        prop_assert_eq!(RequestHeader::decode(&mut r), Ok(RequestHeader { xid, op: op.as_i32() }));
        prop_assert_eq!(Request::decode(op, r.rest()), Ok(request));
        // Each byte is needed; only SetWatches writes two lists that its decoder does not read.
        if op != OpCode::SetWatches && buf.len() > 8 {
            prop_assert!(Request::decode(op, &buf[8..buf.len() - 1]).is_err());
        }
    }

    #[test]
    fn handshakes(ints: [i32; 2], longs: [i64; 2], password in vec(any::<u8>(), 0..20), read_only: Option<bool>) {
        let request = ConnectRequest {
            protocol_version: ints[0],
            last_zxid_seen: Zxid(longs[0]),
            timeout_ms: ints[1],
            session: longs[1],
            password: &password,
            read_only,
        };
        let mut buf = Vec::new();
        request.encode(&mut buf);
        prop_assert_eq!(ConnectRequest::decode(&buf), Ok(request));
        let response = ConnectResponse {
            protocol_version: ints[0],
            timeout_ms: ints[1],
            session: longs[1],
            password: [password.first().copied().unwrap_or(7); 16],
            read_only,
        };
        let mut buf = Vec::new();
        response.encode(&mut buf);
        prop_assert_eq!(ConnectResponse::decode(&buf), Ok(response));
    }

    #[test]
    fn replies(xid: i32, zxid in zxid(), err: i32, stat in stat(), acl in acl(), done: bool) {
        let header = ReplyHeader { xid, zxid, err: ErrorCode(err) };
        let multi = MultiHeader { op: xid, done, err };
        let mut buf = Vec::new();
        header.encode(&mut buf);
        stat.encode(&mut buf);
        multi.encode(&mut buf);
        Acl::encode_list(&acl, &mut buf);
        let mut r = Reader::new(&buf);
        prop_assert_eq!(ReplyHeader::decode(&mut r), Ok(header));
        prop_assert_eq!(Stat::decode(&mut r), Ok(stat));
        prop_assert_eq!(MultiHeader::decode(&mut r), Ok(multi));
        prop_assert_eq!(r.vec("acl", Acl::decode), Ok(acl));
        prop_assert!(r.is_empty());
    }

    #[test]
    fn events(zxid in zxid(), path in text(), kind in 0..4_usize) {
        use EventType::*;
        let kind = [NodeCreated, NodeDeleted, NodeDataChanged, NodeChildrenChanged][kind];
        let event = WatchEvent { zxid, kind, path: &path };
        let mut buf = Vec::new();
        event.encode(&mut buf);
        let mut r = Reader::new(&buf);
        let header = ReplyHeader::decode(&mut r).unwrap();
        prop_assert_eq!((header.xid, header.err), (-1, ErrorCode::OK));
        prop_assert_eq!(WatchEvent::decode(&header, r.rest()), Ok(event));
    }

    #[test]
    fn transactions(txn in txn(), session: i64, cxid: i32, zxid in zxid(), time: i64, digest: Option<u64>) {
        let record = TxnRecord { header: TxnHeader { session, cxid, zxid, time }, txn, digest };
        let payload = record.encode();
        prop_assert_eq!(TxnRecord::decode(&payload), Ok(record));
        prop_assert_eq!(TxnRecord::peek_zxid(&payload), Ok(zxid));
    }

    #[test]
    fn quorum_packets(
        kind in 1..20_i32,
        zxid in zxid(),
        data in data(),
        auth in option::of(vec((text(), text()), 0..4)),
    ) {
        prop_assert!(PacketType::from_i32(kind).is_some());
        let auth = auth.map(|ids| ids.into_iter().map(|(scheme, id)| Id { scheme, id }).collect());
        let packet = QuorumPacket { kind, zxid, data: data.map(Bytes::from), auth };
        let mut buf = BytesMut::new();
        packet.encode(&mut buf);
        for cut in 0..buf.len() {
            prop_assert_eq!(QuorumPacket::split(&mut BytesMut::from(&buf[..cut]), 20), Ok(None));
        }
        prop_assert_eq!(QuorumPacket::split(&mut buf, 20), Ok(Some(packet)));
        prop_assert!(buf.is_empty());
    }

    #[test]
    fn quorum_data(sid: i64, ints: [i32; 2], body in vec(any::<u8>(), 0..20), touched in vec(any::<(i64, i32)>(), 0..9)) {
        let info = LearnerInfo { sid, protocol_version: ints[0], config_version: sid ^ 1 };
        prop_assert_eq!(LearnerInfo::decode(&info.encode()), Ok(info));
        let request = ForwardedRequest { session: sid, cxid: ints[0], op: ints[1], body: body.into() };
        let auth = vec![Id::new("digest", "ann:x"), Id::new("ip", "::1")];
        let (mut written, mut packet) = (BytesMut::new(), BytesMut::new());
        request.encode_packet(&auth, &mut written);
        let data = Some(request.encode());
        let whole = QuorumPacket::new(PacketType::Request, Zxid(-1), data);
        QuorumPacket { auth: Some(auth), ..whole }.encode(&mut packet);
        prop_assert_eq!(written, packet);
        prop_assert_eq!(ForwardedRequest::decode(&request.encode()), Ok(request));
        let encoded = quorum::encode_touched(touched.iter().copied());
        prop_assert_eq!(quorum::decode_touched(&encoded), Ok(touched));
        prop_assert_eq!(quorum::decode_revalidate(&quorum::encode_revalidate(sid, ints[0])), Ok((sid, ints[0])));
        let valid = ints[0] > 0;
        prop_assert_eq!(quorum::decode_revalidated(&quorum::encode_revalidated(sid, valid)), Ok((sid, valid)));
    }

    #[test]
    fn election_messages(
        sid in 0..i64::MAX,
        addressed: bool,
        state in 0..4_usize,
        longs: [i64; 4],
        config in option::of(vec(any::<u8>(), 0..50)),
    ) {
        let addresses = if addressed { vec!["[::1]:3888".to_owned()] } else { Vec::new() };
        let message = InitialMessage { sid, addresses };
        let mut buf = BytesMut::new();
        message.encode(&mut buf);
        for cut in 0..buf.len() {
            prop_assert_eq!(InitialMessage::split(&mut BytesMut::from(&buf[..cut])), Ok(None));
        }
        prop_assert_eq!(InitialMessage::split(&mut buf), Ok(Some(message)));

        use PeerState::*;
        let notification = Notification {
            state: [Looking, Following, Leading, Observing][state],
            leader: longs[0],
            zxid: Zxid(longs[1]),
            round: longs[2],
            peer_epoch: longs[3],
            version: if config.is_some() { 2 } else { 0 },
            config: config.map(Bytes::from),
        };
        let mut buf = BytesMut::new();
        notification.encode(&mut buf);
        let body = frame::split(&mut buf, 1 << 19).unwrap().unwrap();
        prop_assert_eq!(Notification::decode(&body), Ok(notification));
    }
}
