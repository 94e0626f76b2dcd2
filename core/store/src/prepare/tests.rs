use std::collections::VecDeque;

use palisade_wire::jute::encode;
use palisade_wire::request::{Create, Request};
use palisade_wire::{Acl, CreateMode, DEFAULT_MAX_FRAME, OpCode, Perms};

use super::*;
use crate::acl::digest_id;
use crate::tree::Owner;

const ME: SessionId = 0x0100_0000_0000_0001;

/// A leader's preparer over a tree that lags behind by what is in `pending`.
struct Leader {
    tree: DataTree,
    preparer: Preparer,
    pending: VecDeque<TxnRecord>,
    zxid: i64,
    auth: Option<Vec<Id>>,
    state: SessionState,
}

fn leader() -> Leader {
    leader_with(PrepareConfig::default())
}

fn leader_with(config: PrepareConfig) -> Leader {
    Leader {
        tree: DataTree::new(),
        preparer: Preparer::new(config),
        pending: VecDeque::new(),
        zxid: 0,
        auth: Some(vec![Id::new("ip", "10.0.0.1")]),
        state: SessionState::Open,
    }
}

impl Leader {
    fn next(&mut self) -> (Zxid, i64) {
        self.zxid += 1;
        (Zxid(self.zxid), 1000 + self.zxid)
    }

    fn raw(&mut self, op: i32, body: Bytes) -> Txn {
        let request = PrepareRequest { session: ME, cxid: 9, op, body, auth: self.auth.clone() };
        let (zxid, time) = self.next();
        let record = self.preparer.prepare(&self.tree, &request, self.state, zxid, time);
        assert_eq!((record.header.zxid, record.header.cxid), (zxid, 9));
        self.keep(record)
    }

    fn keep(&mut self, record: TxnRecord) -> Txn {
        let encoded = record.encode();
        assert_eq!(TxnRecord::decode(&encoded).as_ref(), Ok(&record), "every replica can read it");
        assert_eq!(record.digest.is_none(), matches!(record.txn, Txn::Error(_)));
        self.pending.push_back(record.clone());
        record.txn
    }

    fn ask(&mut self, op: OpCode, request: &Request<'_>) -> Txn {
        self.raw(op.as_i32(), encode(|buf| request.encode(buf)))
    }

    fn code(&mut self, op: OpCode, request: &Request<'_>) -> i32 {
        match self.ask(op, request) {
            Txn::Error(code) => code.0,
            _ => 0,
        }
    }

    fn create(&mut self, path: &str, mode: CreateMode) -> Txn {
        self.ask(OpCode::Create, &create(path, mode.flags()))
    }

    fn multi(&mut self, ops: Vec<(OpCode, Request<'_>)>) -> Vec<i32> {
        match self.ask(OpCode::Multi, &Request::Multi(ops)) {
            Txn::Multi(parts) => {
                parts.iter().map(|part| if let Txn::Error(code) = part { code.0 } else { 0 }).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    /// Applies `n` of the pending transactions and checks what their records promise.
    fn apply(&mut self, n: usize) {
        for record in self.pending.drain(..n.min(self.pending.len())).collect::<Vec<_>>() {
            let outcome = self.tree.apply(&record.header, &record.txn, &mut |_| {});
            self.preparer.applied(record.header.zxid);
            if let Some(digest) = record.digest {
                assert_eq!(digest, self.tree.digest(), "after {record:?}");
                assert!(outcome.error.is_ok(), "{outcome:?} of {record:?}");
            }
        }
        assert!(self.preparer.outstanding() <= self.pending.len());
    }

    fn apply_all(&mut self) {
        self.apply(usize::MAX);
        assert_eq!(self.tree.digest(), self.tree.recompute_digest());
    }
}

fn create(path: &str, flags: i32) -> Request<'_> {
    let acl = Acl::open();
    Request::Create(Create { path: path.into(), data: Some(b"x"), acl, flags, ttl_ms: None })
}

fn create_ttl(path: &str, flags: i32, ttl_ms: i64) -> Request<'_> {
    let acl = Acl::open();
    Request::Create(Create { path: path.into(), data: None, acl, flags, ttl_ms: Some(ttl_ms) })
}

fn create_acl(path: &str, acl: Vec<Acl>) -> Request<'_> {
    Request::Create(Create { path: path.into(), data: None, acl, flags: 0, ttl_ms: None })
}

fn delete(path: &str, version: i32) -> Request<'_> {
    Request::Delete { path: path.into(), version }
}

fn set(path: &str, version: i32) -> Request<'_> {
    Request::SetData { path: path.into(), data: Some(b"new"), version }
}

fn set_acl(path: &str, acl: Vec<Acl>, version: i32) -> Request<'_> {
    Request::SetAcl { path: path.into(), acl, version }
}

fn check(path: &str, version: i32) -> Request<'_> {
    Request::Check { path: path.into(), version }
}

fn created_path(txn: &Txn) -> &str {
    match txn {
        Txn::Create(c, _) | Txn::Create2(c, _) | Txn::CreateContainer(c) | Txn::CreateTtl(c, _) => &c.path,
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_create_has_its_transaction() {
    let mut l = leader();
    assert!(
        matches!(l.create("/p", CreateMode::Persistent), Txn::Create(c, false) if c.parent_cversion == 1)
    );
    assert!(matches!(l.create("/e", CreateMode::Ephemeral), Txn::Create(c, true) if c.parent_cversion == 2));
    assert!(matches!(l.ask(OpCode::Create2, &create("/p2", 0)), Txn::Create2(_, false)));
    assert!(matches!(l.create("/no-container", CreateMode::Container), Txn::Create(_, false)));
    assert!(matches!(l.ask(OpCode::CreateContainer, &create("/c1", 0)), Txn::CreateContainer(_)));
    assert!(matches!(l.ask(OpCode::CreateContainer, &create("/c2", 1)), Txn::CreateContainer(_)));
    assert!(matches!(l.ask(OpCode::CreateTtl, &create_ttl("/t", 5, 70)), Txn::CreateTtl(_, 70)));
    l.apply_all();
    let owner = |path| l.tree.node(path).unwrap().owner();
    assert_eq!(owner("/e"), Owner::Ephemeral(ME));
    assert_eq!((owner("/no-container"), owner("/c2")), (Owner::Persistent, Owner::Container));
    assert_eq!(owner("/t"), Owner::Ttl(70));
}

#[test]
fn sequence_numbers_count_creations_that_succeeded() {
    let mut l = leader();
    l.create("/q", CreateMode::Persistent);
    let seq = CreateMode::PersistentSequential;
    assert_eq!(created_path(&l.create("/q/n-", seq)), "/q/n-0000000000");
    l.create("/q/plain", CreateMode::Persistent);
    assert_eq!(l.code(OpCode::Create, &create("/q/plain", 0)), -110);
    l.apply(2);
    assert_eq!(created_path(&l.create("/q/", seq)), "/q/0000000002");
    l.ask(OpCode::Delete, &delete("/q/plain", -1));
    assert_eq!(created_path(&l.create("/q/n-", CreateMode::EphemeralSequential)), "/q/n-0000000003");
    l.apply_all();
    assert_eq!(l.tree.node("/q").unwrap().stat().cversion, 5);
}

#[test]
fn creates_are_checked_in_order() {
    let mut l = leader();
    l.create("/e", CreateMode::Ephemeral);
    let nobody = vec![Acl { perms: Perms(0), id: Id::new("world", "anyone") }];
    l.ask(OpCode::Create, &create_acl("/shut", nobody));
    for (op, request, expected) in [
        (OpCode::Create, create("/x", 7), -8),
        (OpCode::Create, create("/x", 5), -8),
        (OpCode::CreateTtl, create_ttl("/x", 5, 0), -8),
        (OpCode::CreateTtl, create_ttl("/x", 6, 1 << 40), -8),
        (OpCode::CreateTtl, create_ttl("/x", 0, 5), -8),
        (OpCode::CreateTtl, create_ttl("/x", 0, -1), -8),
        (OpCode::Create, create("", 0), -8),
        (OpCode::Create, create("x", 0), -8),
        (OpCode::Create, create("/no/a\0", 0), -8),
        (OpCode::Create, create_acl("/no/x", vec![]), -114),
        (OpCode::Create, create("/a/../b", 0), -101),
        (OpCode::Create, create("/shut/..", 0), -102),
        (OpCode::Create, create("/e/x", 0), -108),
        (OpCode::Create, create("/x/", 0), -101),
        (OpCode::Create, create("/zookeeper/", 0), -8),
        (OpCode::Create, create("/..", 0), -8),
        (OpCode::Create, create("/", 0), -110),
        (OpCode::Create, create("/e", 0), -110),
        (OpCode::Create, create("/zookeeper/quota", 0), -110),
        (OpCode::Create, create("/zookeeper/mine", 0), 0),
    ] {
        assert_eq!(l.code(op, &request), expected, "{request:?}");
    }
    l.apply_all();
}

#[test]
fn times_to_live_can_be_switched_off() {
    let mut l = leader_with(PrepareConfig { extended_types: false, ..PrepareConfig::default() });
    assert_eq!(l.code(OpCode::CreateTtl, &create_ttl("/t", 5, 70)), -6);
    assert_eq!(l.code(OpCode::Create, &create("/t", 5)), -6);
    assert_eq!(l.code(OpCode::CreateTtl, &create_ttl("/t", 0, 70)), -8);
}

#[test]
fn hard_quotas_can_be_enforced() {
    let mut l = leader_with(PrepareConfig { enforce_quota: true, ..PrepareConfig::default() });
    let stats = "/zookeeper/quota/q/zookeeper_stats";
    let limits = "/zookeeper/quota/q/zookeeper_limits";
    for path in ["/q", "/zookeeper/quota/q", limits, stats] {
        l.create(path, CreateMode::Persistent);
    }
    let text = Some(&b"count=-1,bytes=-1=;byteHardLimit=3;countHardLimit=2"[..]);
    l.ask(OpCode::SetData, &Request::SetData { path: limits.into(), data: text, version: -1 });
    l.apply_all();
    assert_eq!(l.code(OpCode::Create, &create("/q/a", 0)), 0);
    l.apply_all();
    assert_eq!(l.code(OpCode::Create, &create("/q/b", 0)), -125);
    assert_eq!(l.multi(vec![(OpCode::Create, create("/q/b", 0))]), [-125]);
    assert_eq!(l.code(OpCode::SetData, &set("/q/a", 7)), -125, "before the version");
    assert_eq!(l.code(OpCode::Delete, &delete("/q/a", -1)), 0);
    l.apply_all();
    assert_eq!(l.tree.node(stats).unwrap().data(), Some(&b"count=1,bytes=1"[..]));
}

#[test]
fn deletes_are_checked_in_order() {
    let mut l = leader();
    l.create("/p", CreateMode::Persistent);
    l.create("/p/c", CreateMode::Persistent);
    for (path, version, expected) in [
        ("x", -1, -8),
        ("/a\0", -1, -8),
        ("/", -1, -8),
        ("/zookeeper", -1, -8),
        ("/zookeeper/quota", -1, -8),
        ("/zookeeper/config", -1, -8),
        ("/no/x", -1, -101),
        ("/no", -1, -101),
        ("/p/", -1, -101),
        ("/p", 1, -103),
        ("/p", -2, -103),
        ("/p", 0, -111),
        ("/p/c", 0, 0),
        ("/p/c", -1, -101),
        ("/p", -1, 0),
    ] {
        assert_eq!(l.code(OpCode::Delete, &delete(path, version)), expected, "{path:?} {version}");
    }
    l.apply_all();
    assert_eq!(l.tree.node_count(), 5);
}

#[test]
fn versions_are_compared_with_what_is_outstanding() {
    let mut l = leader();
    l.create("/a", CreateMode::Persistent);
    assert!(matches!(l.ask(OpCode::SetData, &set("/a", 0)), Txn::SetData { version: 1, .. }));
    assert_eq!(l.code(OpCode::SetData, &set("/a", 0)), -103);
    l.apply_all();
    assert!(matches!(l.ask(OpCode::SetData, &set("/a", 1)), Txn::SetData { version: 2, .. }));
    let acl = Acl::open();
    assert!(matches!(l.ask(OpCode::SetAcl, &set_acl("/a", acl.clone(), -1)), Txn::SetAcl { version: 1, .. }));
    assert_eq!(l.code(OpCode::SetAcl, &set_acl("/a", acl.clone(), 0)), -103);
    assert_eq!(l.code(OpCode::SetAcl, &set_acl("/a", vec![], 1)), -114);
    assert_eq!(l.code(OpCode::SetAcl, &set_acl("/no", acl.clone(), -1)), -101);
    assert_eq!(l.code(OpCode::SetAcl, &set_acl("/no/", acl, -1)), -8);
    assert_eq!(l.code(OpCode::SetData, &set("/no", -1)), -101);
    assert_eq!(l.code(OpCode::SetData, &set("/no/", -1)), -8);
    assert_eq!(l.code(OpCode::SetData, &set("/", -1)), 0);
    l.apply_all();
    assert_eq!(l.tree.node("/a").unwrap().stat().aversion, 1);
}

#[test]
fn permissions_are_asked_of_the_right_znode() {
    let mut l = leader();
    let mine = digest_id(b"me:secret");
    let grant = |perms| vec![Acl { perms, id: mine.clone() }];
    l.ask(OpCode::Create, &create_acl("/p", grant(Perms::DELETE)));
    l.auth = Some(vec![Id::new("super", "")]);
    l.ask(OpCode::Create, &create_acl("/p/c", grant(Perms::READ)));
    l.auth = Some(vec![mine.clone()]);
    assert_eq!(l.code(OpCode::Create, &create("/p/d", 0)), -102);
    assert_eq!(l.code(OpCode::SetData, &set("/p", -1)), -102);
    assert_eq!(l.code(OpCode::SetAcl, &set_acl("/p", Acl::open(), -1)), -102);
    assert_eq!(l.code(OpCode::SetData, &set("/zookeeper/config", -1)), -102);
    assert_eq!(l.multi(vec![(OpCode::Check, check("/p", -1))]), [-102]);
    assert_eq!(l.multi(vec![(OpCode::Check, check("/p/c", -1))]), [0]);
    assert_eq!(l.code(OpCode::Delete, &delete("/p/c", -1)), 0, "the parent decides");
    l.apply_all();
    let mut l = leader_with(PrepareConfig { skip_acl: true, ..PrepareConfig::default() });
    assert_eq!(l.code(OpCode::SetData, &set("/zookeeper/config", -1)), 0);
}

#[test]
fn auth_is_expanded_from_the_connections_identities() {
    let mut l = leader();
    let everyone_proven = vec![Acl { perms: Perms::ALL, id: Id::new("auth", "") }];
    assert_eq!(l.code(OpCode::Create, &create_acl("/a", everyone_proven.clone())), -114);
    let me = digest_id(b"me:secret");
    l.auth = Some(vec![Id::new("ip", "1.2.3.4"), me.clone()]);
    l.ask(OpCode::Create, &create_acl("/a", everyone_proven));
    l.apply_all();
    assert_eq!(l.tree.node("/a").unwrap().acl(), [Acl { perms: Perms::ALL, id: me }]);
}

#[test]
fn auth_cannot_make_a_transaction_that_nobody_can_read() {
    let mut l = leader();
    l.auth = Some((0..100).map(|i| digest_id(format!("user-{i}:secret").as_bytes())).collect());
    let auth = |perms: i32| Acl { perms: Perms(perms), id: Id::new("auth", "") };
    assert_eq!(l.code(OpCode::Create, &create_acl("/a", (0..80).map(auth).collect())), 0);
    assert_eq!(l.code(OpCode::Create, &create_acl("/b", (0..400).map(auth).collect())), -114);
    let parts = (0..4).map(|_| (OpCode::Create, create_acl("/c", (0..80).map(auth).collect())));
    assert_eq!(l.multi(parts.collect()), [0, -110, -2, -2]);
    let paths =
        ["/d", "/e", "/f", "/g"].map(|path| (OpCode::Create, create_acl(path, (0..80).map(auth).collect())));
    assert_eq!(l.multi(paths.into()), [0, 0, -114, -2]);
    l.apply_all();
}

#[test]
fn sessions_are_checked() {
    let mut l = leader();
    l.state = SessionState::Local;
    assert_eq!(l.code(OpCode::Create, &create("/a", 0)), 0);
    assert_eq!(l.code(OpCode::Create, &create("/e", 1)), -112);
    for (state, expected) in
        [(SessionState::Unknown, -112), (SessionState::Closing, -112), (SessionState::Moved, -118)]
    {
        l.state = state;
        assert_eq!(l.code(OpCode::Create, &create("/b", 0)), expected);
        assert_eq!(l.code(OpCode::Delete, &delete("/", -1)), expected);
        assert_eq!(l.code(OpCode::SetData, &set("/a", -1)), expected);
        assert_eq!(l.code(OpCode::SetAcl, &set_acl("/a", vec![], -1)), expected);
        assert_eq!(
            l.multi(vec![(OpCode::Check, check("/a", -1)), (OpCode::Delete, delete("/a", -1))]),
            [expected, -2]
        );
    }
    assert_eq!(l.code(OpCode::Create, &create("/b", 9)), -8, "arguments come first");
}

#[test]
fn requests_that_are_no_writes_become_errors() {
    let mut l = leader();
    let mut code = |op: i32, body: &'static [u8]| match l.raw(op, Bytes::from_static(body)) {
        Txn::Error(code) => code.0,
        other => panic!("{other:?}"),
    };
    assert_eq!(code(13, b"\0\0\0\x01/\xff\xff\xff\xff"), -6, "a lone check would poison every log");
    assert_eq!(code(20, b"\0\0\0\x02/a"), -6);
    assert_eq!((code(4, b""), code(9, b""), code(999, b""), code(-1, b"")), (-6, -6, -6, -6));
    for op in [1, 2, 5, 7, 14, 15, 16, 19, 21, -10] {
        assert_eq!(code(op, b"\0\0"), -5, "{op}");
        assert_eq!(code(op, b""), -5, "{op}");
    }
    assert_eq!(code(16, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\0\0"), -123);
    l.auth = None;
    assert_eq!(l.code(OpCode::Create, &create("/a", 0)), -5);
    assert_eq!(l.code(OpCode::SetData, &set("/", -1)), -5);
    assert_eq!(l.code(OpCode::Multi, &Request::Multi(vec![])), -5);
    l.apply_all();
}

#[test]
fn the_parts_of_a_multi_see_each_other() {
    let mut l = leader();
    let results = l.multi(vec![
        (OpCode::Create, create("/a", 0)),
        (OpCode::Create2, create("/a/b", 0)),
        (OpCode::SetData, set("/a/b", 0)),
        (OpCode::Check, check("/a/b", 1)),
        (OpCode::Delete, delete("/a/b", 1)),
        (OpCode::Create, create("/a/b", 1)),
        (OpCode::Create, create("/a/c", 4)),
        (OpCode::CreateTtl, create_ttl("/a/t-", 6, 9)),
    ]);
    assert_eq!(results, [0; 8]);
    let Txn::Multi(parts) = l.pending.back().unwrap().txn.clone() else { panic!() };
    assert_eq!(parts[3], Txn::Check { path: "/a/b".into(), version: 2 });
    assert!(matches!(parts[1], Txn::Create2(..)));
    assert!(matches!(parts[6], Txn::CreateContainer(_)), "the flag counts inside a multi");
    assert_eq!(created_path(&parts[7]), "/a/t-0000000003");
    l.apply_all();
    assert_eq!(l.tree.node("/a/b").unwrap().owner(), Owner::Ephemeral(ME));
    assert_eq!(l.multi(vec![]), [0; 0]);
    for flags in [9, 5, 6] {
        let multi = Request::Multi(vec![(OpCode::Create, create("/x", flags))]);
        assert_eq!(l.code(OpCode::Multi, &multi), -5, "{flags}");
    }
}

#[test]
fn the_flag_of_a_create_ttl_counts_in_a_multi() {
    let mut l = leader();
    let results = l.multi(vec![
        (OpCode::CreateTtl, create_ttl("/plain", 0, 70)),
        (OpCode::CreateTtl, create_ttl("/negative", 0, -1)),
        (OpCode::CreateTtl, create_ttl("/container", 4, 70)),
        (OpCode::CreateTtl, create_ttl("/ttl", 5, 70)),
    ]);
    assert_eq!(results, [0; 4]);
    let Txn::Multi(parts) = l.pending.back().unwrap().txn.clone() else { panic!() };
    assert!(matches!(
        parts[..],
        [Txn::Create(..), Txn::Create(..), Txn::CreateContainer(_), Txn::CreateTtl(_, 70)]
    ));
    assert_eq!(l.multi(vec![(OpCode::CreateTtl, create_ttl("/unknown", 9, 70))]), [-8]);
}

#[test]
fn a_failed_multi_leaves_no_trace() {
    let mut l = leader();
    l.create("/q", CreateMode::Persistent);
    l.create("/q/n-", CreateMode::PersistentSequential);
    l.apply(1);
    let results = l.multi(vec![
        (OpCode::Create, create("/q/n-", 2)),
        (OpCode::SetData, set("/q", -1)),
        (OpCode::Delete, delete("/nonsense", -1)),
        (OpCode::Create, create("/q/z", 0)),
    ]);
    assert_eq!(results, [0, 0, -101, -2]);
    assert_eq!(created_path(&l.create("/q/n-", CreateMode::PersistentSequential)), "/q/n-0000000001");
    assert!(matches!(l.ask(OpCode::SetData, &set("/q", 0)), Txn::SetData { .. }));
    l.apply_all();
}

#[test]
fn closing_a_session_lists_what_it_will_own() {
    let mut l = leader();
    l.create("/a", CreateMode::Persistent);
    for path in ["/a/stored", "/a/deleted", "/a/handed-over"] {
        l.create(path, CreateMode::Ephemeral);
    }
    l.apply_all();
    l.create("/a/pending", CreateMode::Ephemeral);
    l.ask(OpCode::Delete, &delete("/a/deleted", -1));
    l.ask(OpCode::Delete, &delete("/a/handed-over", -1));
    l.create("/a/handed-over", CreateMode::Persistent);
    let (zxid, time) = l.next();
    let record = l.preparer.prepare_close_session(&l.tree, ME, 0, zxid, time);
    let listed = Txn::CloseSession(Some(vec!["/a/pending".into(), "/a/stored".into()]));
    assert_eq!(l.keep(record), listed);
    assert_eq!(l.code(OpCode::Delete, &delete("/a", -1)), -111);
    assert_eq!(l.code(OpCode::Delete, &delete("/a/stored", -1)), -101);
    l.apply_all();
    assert_eq!(l.tree.ephemeral_count(), 0);
    assert!(matches!(l.raw(-11, Bytes::new()), Txn::CloseSession(Some(paths)) if paths.is_empty()));
}

#[test]
fn the_end_of_a_session_with_very_many_ephemerals_can_be_logged() {
    let mut l = leader();
    let long = "n".repeat(100 << 10);
    for i in 0..25 {
        l.create(&format!("/{long}{i:02}"), CreateMode::Ephemeral);
        l.apply_all();
    }
    let (zxid, time) = l.next();
    let record = l.preparer.prepare_close_session(&l.tree, ME, 0, zxid, time);
    assert!(record.encode().len() < DEFAULT_MAX_FRAME + (1 << 10));
    l.keep(record);
    l.apply_all();
    assert_eq!(l.tree.ephemeral_count(), 0);
}

#[test]
fn a_session_begins_with_its_timeout() {
    let mut l = leader();
    assert_eq!(l.raw(-10, Bytes::from_static(&[0, 0, 0x27, 0x10])), Txn::CreateSession(10_000));
    let (zxid, time) = l.next();
    let record = l.preparer.prepare_create_session(&l.tree, (77, 0), 4000, zxid, time);
    l.keep(record);
    l.apply_all();
    assert_eq!(l.tree.sessions().collect::<Vec<_>>(), [(77, 4000), (ME, 10_000)]);
}

#[test]
fn only_empty_containers_and_mortals_are_reaped() {
    let mut l = leader();
    l.ask(OpCode::CreateContainer, &create("/c", 0));
    l.create("/c/x", CreateMode::Ephemeral);
    l.ask(OpCode::CreateTtl, &create_ttl("/t", 5, 1));
    let reap = |l: &mut Leader, path: &str| {
        let (zxid, time) = l.next();
        let record = l.preparer.prepare_delete_container(&l.tree, path, zxid, time);
        l.keep(record)
    };
    let error = |code| Txn::Error(ErrorCode(code));
    assert_eq!(reap(&mut l, "/c"), error(-111));
    assert_eq!(reap(&mut l, "/c/x"), error(-103));
    assert_eq!(reap(&mut l, "/no"), error(-101));
    assert_eq!(reap(&mut l, "/zookeeper/quota"), error(-8));
    l.ask(OpCode::Delete, &delete("/c/x", -1));
    assert_eq!(reap(&mut l, "/c"), Txn::DeleteContainer("/c".into()));
    assert_eq!(reap(&mut l, "/c"), error(-101));
    assert_eq!(reap(&mut l, "/t"), Txn::DeleteContainer("/t".into()));
    l.create("/plain", CreateMode::Persistent);
    assert_eq!(reap(&mut l, "/plain"), error(-103), "Apache's hole is closed");
    l.apply_all();
}

#[test]
fn a_reset_forgets_what_was_never_applied() {
    let mut l = leader();
    l.create("/a", CreateMode::Persistent);
    assert_eq!(l.preparer.outstanding(), 1);
    l.preparer.reset();
    l.pending.clear();
    assert_eq!(l.preparer.outstanding(), 0);
    assert!(matches!(l.create("/a", CreateMode::Persistent), Txn::Create(..)));
    l.apply_all();
}

#[test]
fn a_version_never_becomes_the_one_that_means_any() {
    let mut l = leader();
    l.create("/a", CreateMode::Persistent);
    l.apply_all();
    let header = TxnHeader { session: 0, cxid: 0, zxid: Zxid(2), time: 0 };
    l.tree.apply(&header, &Txn::SetData { path: "/a".into(), data: None, version: -2 }, &mut |_| {});
    l.zxid = 2;
    assert!(matches!(l.ask(OpCode::SetData, &set("/a", -2)), Txn::SetData { version: 0, .. }));
}
