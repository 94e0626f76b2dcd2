use bytes::{BufMut, Bytes, BytesMut};
use palisade_wire::txn::{CreateTxn, Txn, TxnHeader};
use palisade_wire::{Acl, DecodeError, Id, Perms, Writer, Zxid};

use super::*;
use crate::tree::{DataTree, Owner};

const MAX_FIELD: usize = 1 << 20;

const FRESH: &[u8] = include_bytes!("../../testdata/snapshot.0-3.8.0.bin");
const USED: &[u8] = include_bytes!("../../testdata/snapshot.100000006-3.9.5.bin");
const SNAP: &[u8] = include_bytes!("../../testdata/learner-observer-snap.leader-to-learner.bin");
const FILE_HEADER: usize = 16;

/// The tree that a stream taken at zxid 0x100000006 holds, and what follows it.
fn read(bytes: &[u8]) -> (DataTree, BytesMut) {
    read_at(Zxid(0x1_0000_0006), bytes)
}

fn read_at(zxid: Zxid, bytes: &[u8]) -> (DataTree, BytesMut) {
    let mut input = BytesMut::from(bytes);
    let tree = SnapshotReader::new(zxid).feed(&mut input, MAX_FIELD).unwrap().unwrap();
    assert_eq!(tree.digest(), tree.recompute_digest());
    (tree, input)
}

fn write(tree: &DataTree, budget: usize) -> BytesMut {
    let mut out = BytesMut::new();
    let mut cursor = SnapshotCursor::new(tree);
    while !cursor.write_chunk(tree, &mut out, budget) {}
    out
}

fn apply(tree: &mut DataTree, zxid: i64, txn: &Txn) {
    let header = TxnHeader { session: 7, cxid: 1, zxid: Zxid(zxid), time: zxid };
    tree.apply(&header, txn, &mut |_| {});
}

fn create(path: &str, parent_cversion: i32) -> Txn {
    let data = Some(Bytes::from_static(b"data"));
    Txn::Create2(CreateTxn { path: path.into(), data, acl: Acl::open(), parent_cversion }, false)
}

#[test]
fn a_fresh_snapshot_of_apache_is_a_fresh_tree() {
    let (tree, rest) = read_at(Zxid::ZERO, &FRESH[FILE_HEADER..]);
    assert_eq!(tree.digest(), 1_371_985_504);
    // A voter has entered its configuration already; the rest is the same.
    let text = tree.node("/zookeeper/config").unwrap().data().unwrap().to_vec();
    let config = tree.node("/zookeeper/config").unwrap().stat();
    let mut fresh = DataTree::new();
    fresh.set_config(&text, config.mzxid, config.mtime);
    assert_eq!(tree, fresh);
    assert_eq!(rest.len(), 13 + 20 + 13, "a seal, the digest, a seal");
}

#[test]
fn a_used_snapshot_of_apache_has_the_digest_that_it_claims() {
    let (tree, rest) = read(&USED[FILE_HEADER..]);
    assert_eq!(tree.digest(), 13_328_764_410);
    assert_eq!(rest.len(), 13 + 20 + 13 + 8 + 13);
    assert_eq!(tree.sessions().collect::<Vec<_>>(), [(0x0100_000f_9fc8_0000, 10_000)]);
    assert_eq!(tree.ephemeral_count(), 1);
    assert!(tree.iter().any(|node| node.owner() == Owner::Container));
    assert!(tree.iter().any(|node| matches!(node.owner(), Owner::Ephemeral(0x0100_000f_9fc8_0000))));
    let (again, rest) = read(&write(&tree, 1));
    assert_eq!(again, tree);
    assert!(rest.is_empty());
}

#[test]
fn the_stream_behind_a_snap_packet_ends_at_its_signature() {
    // LEADERINFO (4 data bytes), then SNAP (no data): type, zxid, data, authinfo.
    let (tree, rest) = read(&SNAP[24 + 20..]);
    assert!(rest.starts_with(b"\0\0\0\x0aBenWasHere"));
    assert!(tree.node_count() > 5);
}

#[test]
fn any_split_of_the_bytes_reads_the_same() {
    let stream = &USED[FILE_HEADER..];
    let (whole, rest) = read(stream);
    let mut reader = SnapshotReader::new(Zxid(0x1_0000_0006));
    let mut input = BytesMut::new();
    for (i, byte) in stream.iter().enumerate() {
        input.put_u8(*byte);
        if let Some(tree) = reader.feed(&mut input, MAX_FIELD).unwrap() {
            assert_eq!((tree, i + 1), (whole, stream.len() - rest.len()));
            return;
        }
    }
    panic!("the stream did not end");
}

#[test]
fn a_tree_survives_the_round_trip() {
    let mut tree = DataTree::new();
    apply(&mut tree, 1, &Txn::CreateSession(4000));
    for (i, path) in ["/a", "/a/b", "/a/c", "/a/c/d", "/e"].iter().enumerate() {
        apply(&mut tree, 2 + i as i64, &create(path, -1));
    }
    let acl = vec![Acl { perms: Perms::READ, id: Id::new("digest", "u:p") }];
    apply(&mut tree, 7, &Txn::SetAcl { path: "/a".into(), acl, version: 1 });
    apply(&mut tree, 8, &Txn::SetData { path: "/e".into(), data: None, version: 1 });
    for budget in [1, 100, usize::MAX] {
        let (again, rest) = read_at(Zxid(8), &write(&tree, budget));
        assert_eq!(again, tree);
        assert!(rest.is_empty());
    }
}

#[test]
fn a_chunk_respects_its_budget() {
    let mut tree = DataTree::new();
    for i in 0..100 {
        apply(&mut tree, 1 + i, &create(&format!("/n{i}"), -1));
    }
    let mut cursor = SnapshotCursor::new(&tree);
    let mut out = BytesMut::new();
    assert!(!cursor.write_chunk(&tree, &mut out, 500));
    assert!((500..700).contains(&out.len()), "{}", out.len());
}

#[test]
fn znodes_created_meanwhile_are_left_to_the_replay() {
    let mut tree = DataTree::new();
    for (zxid, path) in [(1, "/a"), (2, "/b"), (3, "/b/x")] {
        apply(&mut tree, zxid, &create(path, -1));
    }
    let mut cursor = SnapshotCursor::new(&tree);
    assert_eq!(cursor.zxid(), Zxid(3));
    let later = [
        create("/a/late", 1),
        Txn::Delete("/b/x".into()),
        Txn::Delete("/b".into()),
        create("/b", 3),
        create("/b/y", 1),
        create("/c", 4),
    ];
    for (i, txn) in later.iter().enumerate() {
        apply(&mut tree, 4 + i as i64, txn);
    }
    let mut out = BytesMut::new();
    assert!(cursor.write_chunk(&tree, &mut out, usize::MAX));
    let (mut loaded, _) = read_at(cursor.zxid(), &out);
    assert!(loaded.node("/a").is_some() && loaded.node("/a/late").is_none() && loaded.node("/b").is_none());
    for (i, txn) in later.iter().enumerate() {
        apply(&mut loaded, 4 + i as i64, txn);
    }
    assert_eq!(loaded, tree);
    assert_eq!(loaded.digest(), tree.digest());
}

/// While a learner catches up, it replays transactions that its tree already had when the cursor began.
#[test]
fn a_znode_in_the_place_of_another_is_not_taken_for_it() {
    let mut tree = DataTree::new();
    apply(&mut tree, 1, &create("/b", 1));
    tree.set_last_zxid(Zxid(9));
    let mut cursor = SnapshotCursor::new(&tree);
    let mut out = BytesMut::new();
    while root_is_pending(&out) {
        assert!(!cursor.write_chunk(&tree, &mut out, 1));
    }
    apply(&mut tree, 5, &Txn::Delete("/b".into()));
    apply(&mut tree, 6, &create("/zookeeper/y", 1));
    assert!(cursor.write_chunk(&tree, &mut out, usize::MAX));
    let (loaded, _) = read_at(cursor.zxid(), &out);
    assert!(loaded.node("/b").is_none());
}

/// Until the root was written, which is the first thing longer than the counts and an ACL.
fn root_is_pending(out: &BytesMut) -> bool {
    out.len() < 8 + NODE_FIXED
}

fn node_record(out: &mut BytesMut, path: &str, acl: i64) {
    out.write_string(path);
    out.write_opt_buffer(None);
    out.put_i64(acl);
    out.put_bytes(0, 60);
}

fn stream(nodes: &[(&str, i64)]) -> BytesMut {
    let mut out = BytesMut::new();
    out.put_i32(0);
    out.put_i32(0);
    for (path, acl) in nodes {
        node_record(&mut out, path, *acl);
    }
    out.write_string(TERMINATOR);
    out
}

fn failure(mut input: BytesMut) -> SnapshotError {
    SnapshotReader::new(Zxid(0x1_0000_0006)).feed(&mut input, 1000).unwrap_err()
}

#[test]
fn znodes_must_come_in_order_and_once() {
    assert!(matches!(failure(stream(&[])), SnapshotError::Orphan { offset: 13, .. }));
    assert!(matches!(failure(stream(&[("/a", -1)])), SnapshotError::Orphan { .. }));
    assert!(
        matches!(failure(stream(&[("", -1), ("/a/b", -1)])), SnapshotError::Orphan { path, .. } if path == "/a/b")
    );
    assert!(matches!(failure(stream(&[("", -1), ("x", -1)])), SnapshotError::Orphan { .. }));
    assert!(matches!(failure(stream(&[("", -1), ("", -1)])), SnapshotError::Duplicate { .. }));
    let twice = stream(&[("", -1), ("/a", -1), ("/a", -1)]);
    let offset = 8 + NODE_FIXED as u64 + (NODE_FIXED + 2) as u64;
    assert_eq!(failure(twice), SnapshotError::Duplicate { path: "/a".into(), offset });
}

#[test]
fn unreasonable_lengths_are_refused_before_their_bytes_come() {
    let mut long_path = BytesMut::from(&[0; 8][..]);
    long_path.put_i32(1001);
    let mut negative = BytesMut::from(&[0; 8][..]);
    negative.put_i32(-2);
    let mut long_data = BytesMut::from(&[0; 12][..]);
    long_data.put_i32(i32::MAX);
    let mut long_acl = BytesMut::from(&[0, 0, 0, 0, 0, 0, 0, 1][..]);
    long_acl.put_i64(1);
    long_acl.put_i32(1);
    long_acl.put_i32(31);
    long_acl.put_i32(5000);
    let mut many_acls = BytesMut::from(&[0, 0, 0, 0, 0, 0, 0, 1][..]);
    many_acls.put_i64(1);
    many_acls.put_i32(i32::MAX);
    many_acls.put_bytes(0, 1200);
    for input in [long_path, negative, long_data, long_acl, many_acls] {
        let error = failure(input);
        let expected = matches!(error, SnapshotError::Record { source: DecodeError::Length { .. }, .. });
        assert!(expected, "{error}");
    }
}

#[test]
fn a_list_that_the_map_lacks_grants_nothing_until_it_is_set() {
    let (tree, _) = read(&stream(&[("", -1), ("/zookeeper", -1), ("/a", 17)]));
    let a = tree.node("/a").unwrap();
    assert!(!crate::acl::check(a.acl(), Perms::ALL, &[Id::new("ip", "1.2.3.4")]));
    assert!(tree.node("/zookeeper/config").is_some(), "a snapshot of 3.4 has none");
    let (again, _) = read(&write(&tree, 64));
    assert_eq!(again, tree);
}

#[test]
fn random_bytes_are_refused_or_awaited() {
    let mut state = 1u64;
    for _ in 0..2000 {
        let mut input = BytesMut::from(&USED[FILE_HEADER..]);
        for _ in 0..4 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = (state >> 33) as usize % input.len();
            input[at] = (state >> 20) as u8;
        }
        if let Ok(Some(tree)) = SnapshotReader::new(Zxid(0x1_0000_0006)).feed(&mut input, MAX_FIELD) {
            assert_eq!(tree.digest(), tree.recompute_digest());
        }
    }
}
