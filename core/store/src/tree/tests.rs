use bytes::Bytes;
use palisade_wire::txn::{CreateTxn, Txn, TxnHeader, TxnRecord};
use palisade_wire::{Acl, ErrorCode, Id, OpCode, Perms, Zxid};

use super::*;

/// Applies transactions of one session and notes what changed.
struct Bench {
    tree: DataTree,
    zxid: i64,
    changes: Vec<String>,
}

const SESSION: i64 = 0x0100_0000_0000_0001;

fn bench() -> Bench {
    Bench { tree: DataTree::new(), zxid: 0, changes: Vec::new() }
}

fn create_txn(path: &str, parent_cversion: i32) -> CreateTxn {
    CreateTxn { path: path.into(), data: Some(Bytes::from_static(b"d")), acl: Acl::open(), parent_cversion }
}

fn describe(change: Change<'_>) -> String {
    match change {
        Change::Created { path, .. } => format!("+{path}"),
        Change::Deleted { path, .. } => format!("-{path}"),
        Change::DataChanged { path, .. } => format!("={path}"),
        Change::ChildrenChanged { path, .. } => format!("*{path}"),
        Change::SessionCreated { session, timeout_ms } => format!("s+{session:x} {timeout_ms}"),
        Change::SessionClosed { session } => format!("s-{session:x}"),
    }
}

impl Bench {
    fn at<'t>(&mut self, zxid: i64, txn: &'t Txn) -> TxnOutcome<'t> {
        let header = TxnHeader { session: SESSION, cxid: 1, zxid: Zxid(zxid), time: 1000 + zxid };
        let Self { tree, changes, .. } = self;
        changes.clear();
        let outcome = tree.apply(&header, txn, &mut |change| changes.push(describe(change)));
        assert_eq!(self.tree.digest(), self.tree.recompute_digest());
        outcome
    }

    fn run<'t>(&mut self, txn: &'t Txn) -> TxnOutcome<'t> {
        self.zxid += 1;
        self.at(self.zxid, txn)
    }

    fn create(&mut self, path: &str) {
        assert_eq!(self.run(&Txn::Create(create_txn(path, -1), false)).error, ErrorCode::OK);
    }

    fn stat(&self, path: &str) -> palisade_wire::Stat {
        self.tree.node(path).unwrap().stat()
    }
}

#[test]
fn a_fresh_tree_is_that_of_apache() {
    let tree = DataTree::new();
    assert_eq!((tree.digest(), tree.node_count()), (1_371_985_504, 5));
    assert_eq!((tree.descendants("/"), tree.descendants("/zookeeper")), (Some(3), Some(2)));
    assert_eq!((tree.last_zxid(), tree.descendants("/none")), (Zxid::ZERO, None));
    let stat = |path| tree.node(path).unwrap().stat();
    assert_eq!((stat("/").cversion, stat("").num_children), (-1, 1));
    assert_eq!(stat("/zookeeper").cversion, -2);
    let config = tree.node("/zookeeper/config").unwrap();
    assert_eq!((config.stat().aversion, config.acl()), (-1, &Acl::read_only()[..]));
    let mut names: Vec<_> = tree.node("/zookeeper").unwrap().children().collect();
    names.sort_unstable();
    assert_eq!(names, ["config", "quota"]);
}

#[test]
fn the_digests_in_a_log_of_apache_are_ours() {
    let log = Bytes::from_static(include_bytes!("../../testdata/txnlog-3.8.0-head.bin"));
    let mut tree = DataTree::new();
    let mut rest = log.slice(16..);
    let mut compared = 0;
    loop {
        let len = u32::from_be_bytes(rest[8..12].try_into().unwrap()) as usize;
        if len == 0 {
            break;
        }
        let record = TxnRecord::decode(&rest.slice(12..12 + len)).unwrap();
        rest = rest.slice(12 + len + 1..);
        tree.apply(&record.header, &record.txn, &mut |_| {});
        assert_eq!(tree.last_zxid(), record.header.zxid);
        if let Some(digest) = record.digest {
            assert_eq!(tree.digest(), digest, "after {:?}", record.txn);
            compared += 1;
        }
    }
    assert_eq!(compared, 10);
    assert_eq!(tree.sessions().count() + tree.ephemeral_count(), 0, "the log ends with a close");
}

#[test]
fn stats_follow_the_transactions() {
    let mut b = bench();
    b.create("/a");
    let root = b.stat("/");
    assert_eq!((root.cversion, root.pzxid, root.mzxid, root.mtime), (0, Zxid(1), Zxid(0), 0));
    b.create("/a/b");
    b.create("/a/c");
    b.run(&Txn::Delete("/a/b".into()));
    let a = b.stat("/a");
    assert_eq!((a.cversion, a.num_children, a.pzxid), (3, 1, Zxid(4)));
    assert_eq!(b.tree.node("/a").unwrap().created_children(), 2);
    assert_eq!((a.czxid, a.mzxid, a.ctime, a.mtime, a.version), (Zxid(1), Zxid(1), 1001, 1001, 0));
    let set = Txn::SetData { path: "/a".into(), data: None, version: 7 };
    let TxnResult::Stat(stat) = b.run(&set).result else { panic!("no stat") };
    assert_eq!((stat.version, stat.mzxid, stat.mtime, stat.data_length), (7, Zxid(5), 1005, 0));
    assert_eq!(stat, b.stat("/a"));
    assert_eq!(b.tree.node("/a").unwrap().data(), None);
    assert_eq!(b.changes, ["=/a"]);
    let acl = vec![Acl { perms: Perms::READ, id: Id::new("digest", "u:p") }];
    b.run(&Txn::SetAcl { path: "/a".into(), acl: acl.clone(), version: 3 });
    assert_eq!((b.stat("/a").aversion, b.stat("/a").mzxid), (3, Zxid(5)));
    assert_eq!(b.tree.node("/a").unwrap().acl(), acl);
    assert!(b.changes.is_empty(), "setACL fires no watch");
}

#[test]
fn changes_come_in_the_order_of_apache() {
    let mut b = bench();
    b.create("/a");
    assert_eq!(b.changes, ["+/a", "*/"]);
    b.create("/a/b");
    assert_eq!(b.changes, ["+/a/b", "*/a"]);
    b.run(&Txn::Delete("/a/b".into()));
    assert_eq!(b.changes, ["-/a/b", "*/a"]);
    b.run(&Txn::SetData { path: "/".into(), data: None, version: 1 });
    assert_eq!(b.changes, ["=/"]);
}

#[test]
fn a_change_carries_the_acl_that_guards_its_event() {
    let mut tree = DataTree::new();
    let secret = vec![Acl { perms: Perms::READ, id: Id::new("digest", "u:p") }];
    let create = Txn::Create(CreateTxn { acl: secret.clone(), ..create_txn("/s", 1) }, false);
    let header = |zxid| TxnHeader { session: 0, cxid: 0, zxid: Zxid(zxid), time: 0 };
    let mut seen = Vec::new();
    let mut note = |change: Change<'_>| match change {
        Change::Created { acl, .. } | Change::Deleted { acl, .. } | Change::ChildrenChanged { acl, .. } => {
            seen.push(acl.to_vec());
        }
        other => panic!("{other:?}"),
    };
    tree.apply(&header(1), &create, &mut note);
    tree.apply(&header(2), &Txn::Delete("/s".into()), &mut note);
    assert_eq!(seen, [secret.clone(), Acl::open(), secret, Acl::open()]);
}

#[test]
fn closing_a_session_takes_its_ephemerals_along() {
    let mut b = bench();
    b.run(&Txn::CreateSession(4000));
    assert_eq!(
        (b.tree.session_timeout(SESSION), &*b.changes),
        (Some(4000), &["s+100000000000001 4000".into()][..])
    );
    b.create("/p");
    b.run(&Txn::Create2(create_txn("/p/e1", 1), true));
    b.run(&Txn::Create2(create_txn("/p/e2", 2), true));
    b.run(&Txn::Create2(create_txn("/p/keep", 3), false));
    assert_eq!(b.stat("/p/e1").ephemeral_owner, SESSION);
    assert_eq!(b.tree.node("/p/e1").unwrap().owner(), Owner::Ephemeral(SESSION));
    let mut owned: Vec<_> = b.tree.ephemerals(SESSION).collect();
    owned.sort_unstable();
    assert_eq!(owned, ["/p/e1", "/p/e2"]);
    assert_eq!(b.tree.ephemeral_owners().collect::<Vec<_>>(), [SESSION]);
    b.run(&Txn::CloseSession(Some(vec!["/p/e1".into(), "/p/gone".into()])));
    assert_eq!(b.changes, ["-/p/e1", "*/p", "-/p/e2", "*/p", "s-100000000000001"]);
    assert_eq!((b.tree.ephemeral_count(), b.tree.session_timeout(SESSION)), (0, None));
    assert_eq!((b.stat("/p").pzxid, b.stat("/p").num_children), (Zxid(6), 1));
}

#[test]
fn a_multi_is_all_or_nothing() {
    let mut b = bench();
    let ok = Txn::Multi(vec![
        Txn::Create(create_txn("/m", 1), false),
        Txn::CreateContainer(create_txn("/m/c", 1)),
        Txn::Check { path: "/m".into(), version: 1 },
        Txn::Delete("/m/c".into()),
    ]);
    let TxnResult::Multi(parts) = b.run(&ok).result else { panic!("no parts") };
    let ops: Vec<_> = parts.iter().map(|p| (p.op, p.outcome.error)).collect();
    let expected = [OpCode::Create, OpCode::CreateContainer, OpCode::Check, OpCode::Delete];
    assert_eq!(ops, expected.map(|op| (op, ErrorCode::OK)));
    assert_eq!(b.changes, ["+/m", "*/", "+/m/c", "*/m", "-/m/c", "*/m"]);
    let before = b.tree.digest();
    let failed = Txn::Multi(vec![
        Txn::Create(create_txn("/n", 2), false),
        Txn::Error(ErrorCode::BAD_VERSION),
        Txn::Error(ErrorCode::RUNTIME_INCONSISTENCY),
    ]);
    let outcome = b.run(&failed);
    assert_eq!(outcome.error, ErrorCode::OK);
    let TxnResult::Multi(parts) = outcome.result else { panic!("no parts") };
    let codes: Vec<_> = parts.iter().map(|p| p.outcome.error.0).collect();
    assert_eq!(codes, [0, -103, -2]);
    assert!(parts.iter().all(|p| p.op == OpCode::Error));
    assert!(b.changes.is_empty() && b.tree.node("/n").is_none());
    assert_eq!((b.tree.digest(), b.tree.last_zxid()), (before, Zxid(2)));
}

#[test]
fn what_cannot_be_done_changes_only_the_zxid() {
    let mut b = bench();
    for txn in [
        Txn::Create(create_txn("/no/parent", 1), false),
        Txn::Create(create_txn("nonsense", 1), false),
        Txn::Create(create_txn("", 1), false),
        Txn::Create(create_txn("/", 1), false),
        Txn::Delete("/".into()),
        Txn::Delete(String::new()),
        Txn::SetData { path: "/none".into(), data: None, version: 1 },
        Txn::SetAcl { path: "/none".into(), acl: Acl::open(), version: 1 },
    ] {
        assert_eq!(b.run(&txn).error, ErrorCode::NO_NODE, "{txn:?}");
        assert!(b.changes.is_empty());
    }
    assert_eq!(b.run(&Txn::Error(ErrorCode::NO_AUTH)).error, ErrorCode::NO_AUTH);
    let mut fresh = DataTree::new();
    fresh.set_last_zxid(b.tree.last_zxid());
    assert_eq!((&b.tree, b.tree.last_zxid()), (&fresh, Zxid(9)));
    assert_eq!(b.tree.digest(), 1_371_985_504);
}

#[test]
fn replaying_a_create_fixes_the_acl_and_the_parent() {
    let mut b = bench();
    b.run(&Txn::Create2(create_txn("/a", 5), false));
    let acl = vec![Acl { perms: Perms::READ, id: Id::new("digest", "u:p") }];
    let again = Txn::Create2(CreateTxn { acl: acl.clone(), ..create_txn("/a", 6) }, false);
    assert_eq!(b.run(&again).error, ErrorCode::NODE_EXISTS);
    assert!(b.changes.is_empty());
    let root = b.tree.node("/").unwrap();
    assert_eq!((root.created_children(), root.pzxid()), (6, Zxid(2)));
    let a = b.tree.node("/a").unwrap();
    assert_eq!((a.acl(), a.czxid()), (&acl[..], Zxid(1)));
    let older = Txn::Create(create_txn("/a", 3), false);
    b.at(1, &older);
    assert_eq!((b.stat("/").pzxid, b.tree.last_zxid()), (Zxid(2), Zxid(2)), "nothing goes back");
}

#[test]
fn a_parent_learns_of_the_deletion_of_what_a_snapshot_missed() {
    let mut b = bench();
    b.create("/p");
    assert_eq!(b.run(&Txn::Delete("/p/gone".into())).error, ErrorCode::NO_NODE);
    assert_eq!((b.stat("/p").pzxid, b.stat("/p").cversion, b.changes.len()), (Zxid(2), 0, 0));
}

#[test]
fn replaying_a_delete_takes_a_later_znodes_children_along() {
    let mut b = bench();
    for path in ["/a", "/a/b", "/a/b/c", "/a/d"] {
        b.create(path);
    }
    assert_eq!(b.run(&Txn::Delete("/a".into())).error, ErrorCode::OK);
    assert_eq!((b.tree.node_count(), b.changes.len()), (5, 5));
    assert_eq!(b.tree.approximate_data_size(), DataTree::new().approximate_data_size());
}

#[test]
fn containers_and_times_to_live_end() {
    let mut b = bench();
    b.run(&Txn::CreateContainer(create_txn("/unused", 1)));
    b.run(&Txn::CreateContainer(create_txn("/used", 2)));
    b.run(&Txn::CreateTtl(create_txn("/ttl", 3), 500));
    b.create("/used/x");
    assert_eq!(b.stat("/ttl").ephemeral_owner, 0);
    assert_eq!(b.tree.node("/ttl").unwrap().owner(), Owner::Ttl(500));
    assert!(b.tree.reapable(1503, 0, 10).is_empty());
    b.run(&Txn::Delete("/used/x".into()));
    assert_eq!(b.tree.reapable(1503, 0, 10), ["/used"]);
    assert_eq!(b.tree.reapable(1504, 0, 10), ["/used", "/ttl"]);
    assert_eq!(b.tree.reapable(1504, 400, 2), ["/unused", "/used"]);
    b.run(&Txn::DeleteContainer("/used".into()));
    assert_eq!(b.changes, ["-/used", "*/"]);
    assert!(b.tree.reapable(1503, 0, 10).is_empty());
}

#[test]
fn the_configuration_is_no_part_of_the_digest() {
    let mut tree = DataTree::new();
    tree.set_config(b"server.1=x", Zxid(0x1_0000_0000), 77);
    let config = tree.node("/zookeeper/config").unwrap();
    assert_eq!(config.data(), Some(&b"server.1=x"[..]));
    let stat = config.stat();
    assert_eq!((stat.version, stat.mzxid, stat.mtime), (-1, Zxid(0x1_0000_0000), 77));
    assert_eq!((tree.digest(), tree.recompute_digest()), (1_371_985_504, 1_371_985_504));
}

#[test]
fn a_herd_of_children_comes_and_goes() {
    let mut b = bench();
    b.create("/q");
    let path = |i: usize| format!("/q/n{i:010}");
    let header = TxnHeader { session: 0, cxid: 0, zxid: Zxid(10), time: 0 };
    for i in 0..3000 {
        b.tree.apply(&header, &Txn::Create(create_txn(&path(i), -1), false), &mut |_| {});
    }
    for i in (0..3000).step_by(3).chain((1..3000).step_by(3)) {
        b.tree.apply(&header, &Txn::Delete(path(i)), &mut |_| {});
    }
    let mut left: Vec<_> = b.tree.node("/q").unwrap().children().map(str::to_owned).collect();
    left.sort_unstable();
    let expected: Vec<_> = (2..3000).step_by(3).map(|i| path(i)[3..].to_owned()).collect();
    assert_eq!(left, expected);
    assert_eq!(b.tree.descendants("/q"), Some(1000));
    assert_eq!(b.tree.digest(), b.tree.recompute_digest());
}
