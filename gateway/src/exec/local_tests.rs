use palisade_store::TxnOutcome;
use palisade_wire::multi::{MultiHeader, MultiResult};
use palisade_wire::reply::ReplyHeader;
use palisade_wire::request::PathWatch;
use palisade_wire::txn::{CreateTxn, Txn, TxnHeader};
use palisade_wire::{Acl, OpCode, Perms, Reader, Stat, Writer, Zxid};

use super::*;

const ME: SessionId = 0x77;

struct Fixture {
    tree: DataTree,
    root: Root,
    status: Status,
    watches: Mutex<WatchIndex>,
    large: LargeData,
    inset: Cell<Option<Inset>>,
    refused: Cell<bool>,
    ids: Vec<Id>,
}

fn fixture() -> Fixture {
    let digest = |id: &str, perms| Acl { perms, id: Id::new("digest", id) };
    let mut tree = DataTree::new();
    let nodes = [
        ("/a", Acl::open(), false),
        ("/a/b", Acl::open(), false),
        ("/mine", vec![digest("me:hash", Perms::ALL)], false),
        ("/theirs", vec![digest("them:hash", Perms::ALL)], false),
        ("/admin", vec![digest("me:hash", Perms::ADMIN), digest("them:hash", Perms::ALL)], false),
        ("/shown", vec![digest("me:hash", Perms::READ)], false),
        ("/e", Acl::open(), true),
    ];
    for (i, (path, acl, ephemeral)) in nodes.into_iter().enumerate() {
        let txn = CreateTxn {
            path: path.to_owned(),
            data: Some(bytes::Bytes::from_static(b"data")),
            acl,
            parent_cversion: -1,
        };
        let header = TxnHeader { session: ME, cxid: 1, zxid: Zxid(i as i64 + 1), time: 5 };
        let txn = Txn::Create(txn, ephemeral);
        let outcome: TxnOutcome<'_> = tree.apply(&header, &txn, &mut |_| {});
        assert_eq!(outcome.error, ErrorCode::OK);
    }
    let ids = vec![Id::new("ip", "10.0.0.1"), Id::new("digest", "me:hash")];
    let status = Status::new("discovery", 101, || Some(std::time::Duration::from_millis(12)));
    let (large, inset, refused) = (LargeData::default(), Cell::default(), Cell::default());
    Fixture { tree, root: Root::new("/"), status, watches: Mutex::default(), large, inset, refused, ids }
}

impl Fixture {
    fn local(&self) -> Local<'_> {
        let slot = Slot::new(3).unwrap();
        Local {
            tree: &self.tree,
            root: &self.root,
            status: &self.status,
            watches: &self.watches,
            limits: &WatchLimits { connection: 1_000, total: 1_000 },
            large: &self.large,
            inset: &self.inset,
            refused: &self.refused,
            slot,
            session: ME,
            ids: &self.ids,
        }
    }

    fn raw(&self, op: OpCode, body: &[u8]) -> (ErrorCode, Vec<u8>) {
        let mut out = BytesMut::new();
        self.local().answer(9, Request::decode(op, body), &mut out);
        let frame = frame::split(&mut out, 1 << 30).unwrap().unwrap();
        assert!(out.is_empty());
        let mut r = Reader::new(&frame);
        let header = ReplyHeader::decode(&mut r).unwrap();
        assert_eq!((header.xid, header.zxid), (9, self.tree.last_zxid()));
        (header.err, r.rest().to_vec())
    }

    fn call(&self, op: OpCode, request: &Request<'_>) -> (ErrorCode, Vec<u8>) {
        let mut body = Vec::new();
        request.encode(&mut body);
        self.raw(op, &body)
    }

    fn read(&self, op: OpCode, path: &str, watch: bool) -> (ErrorCode, Vec<u8>) {
        let p = PathWatch { path: path.into(), watch };
        let request = match op {
            OpCode::Exists => Request::Exists(p),
            OpCode::GetData => Request::GetData(p),
            OpCode::GetChildren => Request::GetChildren(p),
            _ => Request::GetChildren2(p),
        };
        self.call(op, &request)
    }
}

fn encoded(write: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
    palisade_wire::jute::encode(write).to_vec()
}

const READS: [OpCode; 4] = [OpCode::Exists, OpCode::GetData, OpCode::GetChildren, OpCode::GetChildren2];

#[test]
fn reads_tell_what_is_there() {
    let f = fixture();
    let stat: Stat = f.tree.node("/a").unwrap().stat();
    assert_eq!(f.read(OpCode::Exists, "/a", false).1, encoded(|b| stat.encode(b)));
    let with_data = encoded(|b| {
        b.write_buffer(b"data");
        stat.encode(b);
    });
    assert_eq!(f.read(OpCode::GetData, "/a", false).1, with_data);
    let names = |b: &mut BytesMut| b.write_vec(["b"].into_iter(), |b, name| b.write_string(name));
    assert_eq!(f.read(OpCode::GetChildren, "/a", false).1, encoded(names));
    let both = encoded(|b| {
        names(b);
        stat.encode(b);
    });
    assert_eq!(f.read(OpCode::GetChildren2, "/a", false).1, both);
    assert_eq!(f.read(OpCode::GetChildren, "", false).0, ErrorCode::OK);
    assert_eq!(f.watches.lock().len(), 0);
}

#[test]
fn what_is_not_there_is_not_watched_except_for_its_creation() {
    let f = fixture();
    for op in READS {
        assert_eq!(f.read(op, "/none", true), (ErrorCode::NO_NODE, vec![]), "{op:?}");
    }
    assert_eq!(f.watches.lock().summary().watches, 1);
    assert_eq!(f.watches.lock().len(), 1);
    assert_eq!(f.read(OpCode::Exists, "/a\0", true).0, ErrorCode::BAD_ARGUMENTS);
}

#[test]
fn what_may_not_be_read_is_neither_told_nor_watched() {
    let f = fixture();
    for op in READS {
        assert_eq!(f.read(op, "/theirs", true), (ErrorCode::NO_AUTH, vec![]), "{op:?}");
        assert_eq!(f.read(op, "/mine", false).0, ErrorCode::OK, "{op:?}");
    }
    assert_eq!(f.watches.lock().len(), 0);
}

#[test]
fn acls_are_masked_for_those_who_may_not_administer() {
    let f = fixture();
    let ids = |path: &str| {
        let (err, body) = f.call(OpCode::GetAcl, &Request::GetAcl(path.into()));
        assert_eq!(err, ErrorCode::OK);
        let list = Reader::new(&body).vec("acl", Acl::decode).unwrap();
        list.into_iter().map(|acl| acl.id.id).collect::<Vec<_>>()
    };
    assert_eq!(ids("/admin"), ["me:hash", "them:hash"]);
    assert_eq!(ids("/shown"), ["me:x"]);
    assert_eq!(f.call(OpCode::GetAcl, &Request::GetAcl("/theirs".into())).0, ErrorCode::NO_AUTH);
    assert_eq!(f.call(OpCode::GetAcl, &Request::GetAcl("/none".into())).0, ErrorCode::NO_NODE);
}

#[test]
fn counts_and_ephemerals() {
    let f = fixture();
    let count =
        |path: &str| f.call(OpCode::GetAllChildrenNumber, &Request::GetAllChildrenNumber(path.into()));
    assert_eq!(count("/a"), (ErrorCode::OK, 1_i32.to_be_bytes().to_vec()));
    // As in Apache: the reported number of nodes, less two.
    let all = f.tree.node_count() as i32 - 2;
    assert_eq!(count("/"), (ErrorCode::OK, all.to_be_bytes().to_vec()));
    let mine = encoded(|b| b.write_vec(["/e"].into_iter(), |b, path| b.write_string(path)));
    let none = encoded(|b| b.put_i32(0));
    for (prefix, expected) in
        [(None, &mine), (Some("/"), &mine), (Some(" "), &mine), (Some("/e"), &mine), (Some("/x"), &none)]
    {
        let request = Request::GetEphemerals(prefix.map(Into::into));
        assert_eq!(f.call(OpCode::GetEphemerals, &request), (ErrorCode::OK, expected.clone()), "{prefix:?}");
    }
}

#[test]
fn multi_read_answers_each_by_itself() {
    let f = fixture();
    let ops = [("/a", OpCode::GetChildren), ("/none", OpCode::GetData), ("/theirs", OpCode::GetData)];
    let ops = ops.map(|(path, op)| {
        let p = PathWatch { path: path.into(), watch: true };
        (op, if op == OpCode::GetData { Request::GetData(p) } else { Request::GetChildren(p) })
    });
    let expected = encoded(|b| {
        MultiResult::GetChildren(vec!["b"]).encode(b);
        MultiResult::Error(ErrorCode::NO_NODE).encode(b);
        MultiResult::Error(ErrorCode::NO_AUTH).encode(b);
        MultiHeader::END.encode(b);
    });
    assert_eq!(f.call(OpCode::MultiRead, &Request::MultiRead(ops.to_vec())), (ErrorCode::OK, expected));
    assert_eq!(f.watches.lock().len(), 0);
}

/// A request of a few KB must not make a reply of a few GB.
#[test]
fn a_multi_read_that_multiplies_a_large_znode_is_refused() {
    let mut f = fixture();
    let header = TxnHeader { session: ME, cxid: 1, zxid: Zxid(100), time: 5 };
    let data = Some(bytes::Bytes::from(vec![0; 1 << 20]));
    let txn = Txn::SetData { path: "/a".to_owned(), data, version: 1 };
    f.tree.apply(&header, &txn, &mut |_| {});
    let get = || (OpCode::GetData, Request::GetData(PathWatch { path: "/a".into(), watch: false }));
    let many = |n| Request::MultiRead((0..n).map(|_| get()).collect());
    assert_eq!(f.call(OpCode::MultiRead, &many(8)).0, ErrorCode::OK);
    assert_eq!(f.call(OpCode::MultiRead, &many(1_000)), (ErrorCode::MARSHALLING_ERROR, vec![]));
}

#[test]
fn who_am_i_hides_the_hash() {
    let f = fixture();
    let expected = encoded(|b| {
        let ids = [("ip", "10.0.0.1"), ("digest", "me")];
        b.write_vec(ids.into_iter(), |b, (scheme, user)| {
            b.write_string(scheme);
            b.write_string(user);
        });
    });
    assert_eq!(f.call(OpCode::WhoAmI, &Request::WhoAmI), (ErrorCode::OK, expected));
}

#[test]
fn malformed_bodies_are_marshalling_errors() {
    let f = fixture();
    let ops = [
        OpCode::GetData,
        OpCode::SetWatches,
        OpCode::SetWatches2,
        OpCode::AddWatch,
        OpCode::MultiRead,
        OpCode::Create,
        OpCode::Multi,
        OpCode::Sync,
    ];
    for op in ops {
        assert_eq!(f.raw(op, &[0, 0]), (ErrorCode::MARSHALLING_ERROR, vec![]), "{op:?}");
    }
    let nowhere = [&14_i32.to_be_bytes()[..], &[0], &[0xff; 12]].concat();
    assert_eq!(
        f.raw(OpCode::Multi, &nowhere),
        (ErrorCode::MARSHALLING_ERROR, vec![]),
        "no multi has a multi"
    );
    let [mut nowhere, mut none] = [Vec::new(), Vec::new()];
    MultiHeader { op: OpCode::Delete.as_i32(), done: false, err: -1 }.encode(&mut nowhere);
    nowhere.extend([0xff; 8]);
    for list in [&mut nowhere, &mut none] {
        MultiHeader::END.encode(list);
    }
    assert_eq!(f.raw(OpCode::Multi, &nowhere), (ErrorCode::MARSHALLING_ERROR, none));
    for kind in [0, 6] {
        let check = Request::CheckWatches { path: "/a".into(), kind };
        assert_eq!(f.call(OpCode::CheckWatches, &check).0, ErrorCode::MARSHALLING_ERROR);
    }
}

#[test]
fn the_status_is_read_by_its_path_and_in_no_listing() {
    let f = fixture();
    let path = status::PATH;
    let (err, body) = f.read(OpCode::GetData, path, true);
    assert_eq!(err, ErrorCode::OK);
    let mut r = Reader::new(&body);
    let data = String::from_utf8(r.buffer("data").unwrap().to_vec()).unwrap();
    let expected = r#"{"mode":"starting","zxid":"0x7","age_ms":12,"tenant":"discovery","gateway":101}"#;
    assert_eq!(data, expected);
    let stat = Stat::decode(&mut r).unwrap();
    assert_eq!((stat.data_length as usize, stat.version, stat.num_children), (data.len(), 0, 0));
    assert_eq!(f.read(OpCode::GetChildren, path, true), (ErrorCode::OK, 0_i32.to_be_bytes().to_vec()));
    assert_eq!(f.watches.lock().len(), 2);
    let read = Request::GetData(PathWatch { path: path.into(), watch: false });
    let (err, body) = f.call(OpCode::MultiRead, &Request::MultiRead(vec![(OpCode::GetData, read)]));
    assert!(err == ErrorCode::OK && body.len() > data.len() + Stat::LEN);
    assert_eq!(f.read(OpCode::Exists, "/zookeeper/palisade", false).0, ErrorCode::NO_NODE);
}
