//! What must hold for every history: digests, replay, and snapshots taken while transactions go on.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use palisade_store::prepare::PrepareConfig;
use palisade_store::{
    DataTree, PrepareRequest, Preparer, SessionState, SnapshotCursor, SnapshotReader, TxnResult,
};
use palisade_wire::jute::encode;
use palisade_wire::request::{Create, Request};
use palisade_wire::txn::{Txn, TxnRecord};
use palisade_wire::{Acl, Id, OpCode, Perms, Zxid};
use proptest::prelude::*;

/// One operation of a client on one of a few paths.
#[derive(Clone, Debug)]
enum Op {
    Create { path: String, flags: i32, acl: u8 },
    Container(String),
    Ttl(String),
    Delete { path: String, version: i32 },
    Set { path: String, data: Option<Vec<u8>>, version: i32 },
    SetAcl { path: String, acl: u8 },
    Check { path: String, version: i32 },
}

#[derive(Clone, Debug)]
enum Step {
    One(i64, Op),
    Multi(i64, Vec<Op>),
    Open(i64),
    Close(i64),
    Reap(String),
    /// Apply this many of what was prepared.
    Apply(usize),
}

fn path() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec!["a", "b", "c"]);
    let below_root = prop::collection::vec(name, 1..4).prop_map(|names| format!("/{}", names.join("/")));
    prop_oneof![20 => below_root, 1 => Just("/".to_owned()), 1 => Just("/zookeeper/quota".to_owned())]
}

fn version() -> impl Strategy<Value = i32> {
    prop_oneof![4 => Just(-1), 1 => 0..3]
}

fn op() -> impl Strategy<Value = Op> {
    let flags = prop_oneof![6 => Just(0), 3 => Just(1), 2 => Just(2), 1 => Just(3), 1 => Just(4)];
    let data = prop::option::of(prop::collection::vec(any::<u8>(), 0..20));
    prop_oneof![
        8 => (path(), flags, 0..3u8).prop_map(|(path, flags, acl)| Op::Create { path, flags, acl }),
        1 => path().prop_map(Op::Container),
        1 => path().prop_map(Op::Ttl),
        4 => (path(), version()).prop_map(|(path, version)| Op::Delete { path, version }),
        3 => (path(), data, version()).prop_map(|(path, data, version)| Op::Set { path, data, version }),
        2 => (path(), 0..3u8).prop_map(|(path, acl)| Op::SetAcl { path, acl }),
        1 => (path(), version()).prop_map(|(path, version)| Op::Check { path, version }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let session = || 1..4i64;
    prop_oneof![
        12 => (session(), op()).prop_map(|(session, op)| Step::One(session, op)),
        3 => (session(), prop::collection::vec(op(), 0..6)).prop_map(|(session, ops)| Step::Multi(session, ops)),
        1 => session().prop_map(Step::Open),
        1 => session().prop_map(Step::Close),
        1 => path().prop_map(Step::Reap),
        5 => (1..8usize).prop_map(Step::Apply),
    ]
}

/// The last grants nothing that is needed, but never to the clients here, who are super.
fn acl(which: u8) -> Vec<Acl> {
    match which {
        0 => Acl::open(),
        1 => Acl::read_only(),
        _ => vec![Acl { perms: Perms::ALL, id: Id::new("digest", "user:hash") }],
    }
}

fn request(op: &Op) -> (OpCode, Request<'_>) {
    let create = |path: &str, flags, which, ttl_ms| {
        let (path, data) = (path.to_owned().into(), Some(&b"data"[..]));
        Request::Create(Create { path, data, acl: acl(which), flags, ttl_ms })
    };
    match op {
        Op::Create { path, flags, acl } => (OpCode::Create, create(path, *flags, *acl, None)),
        Op::Container(path) => (OpCode::CreateContainer, create(path, 4, 0, None)),
        Op::Ttl(path) => (OpCode::CreateTtl, create(path, 5, 0, Some(1000))),
        Op::Delete { path, version } => {
            (OpCode::Delete, Request::Delete { path: path.into(), version: *version })
        }
        Op::Set { path, data, version } => {
            let request = Request::SetData { path: path.into(), data: data.as_deref(), version: *version };
            (OpCode::SetData, request)
        }
        Op::SetAcl { path, acl: which } => {
            (OpCode::SetAcl, Request::SetAcl { path: path.into(), acl: acl(*which), version: -1 })
        }
        Op::Check { path, version } => {
            (OpCode::Check, Request::Check { path: path.into(), version: *version })
        }
    }
}

/// A leader, its lagging tree, and everything that it ever applied.
struct Leader {
    tree: DataTree,
    preparer: Preparer,
    pending: VecDeque<TxnRecord>,
    history: Vec<TxnRecord>,
    zxid: i64,
}

impl Leader {
    fn new() -> Self {
        let mut tree = DataTree::new();
        tree.track(["/a", "/b/c", "/zookeeper"]);
        Self {
            tree,
            preparer: Preparer::new(PrepareConfig::default()),
            pending: VecDeque::new(),
            history: Vec::new(),
            zxid: 0,
        }
    }

    fn step(&mut self, step: &Step) {
        self.zxid += 1;
        let (zxid, time) = (Zxid(self.zxid), self.zxid * 10);
        let Self { tree, preparer, .. } = self;
        let record = match step {
            Step::One(session, op) => {
                let (op, request) = request(op);
                preparer.prepare(tree, &forwarded(*session, op, &request), SessionState::Open, zxid, time)
            }
            Step::Multi(session, ops) => {
                // A setACL is no part of a multi.
                let ops = ops.iter().filter(|op| !matches!(op, Op::SetAcl { .. })).map(request).collect();
                let request = forwarded(*session, OpCode::Multi, &Request::Multi(ops));
                preparer.prepare(tree, &request, SessionState::Open, zxid, time)
            }
            Step::Open(session) => preparer.prepare_create_session(tree, (*session, 0), 4000, zxid, time),
            Step::Close(session) => preparer.prepare_close_session(tree, *session, 0, zxid, time),
            Step::Reap(path) => preparer.prepare_delete_container(tree, path, zxid, time),
            Step::Apply(n) => return self.apply(*n),
        };
        self.pending.push_back(record);
    }

    fn apply(&mut self, n: usize) {
        for record in self.pending.drain(..n.min(self.pending.len())) {
            let outcome = self.tree.apply(&record.header, &record.txn, &mut |_| {});
            self.preparer.applied(record.header.zxid);
            assert_eq!(record.digest.is_none(), matches!(record.txn, Txn::Error(_)));
            if let Some(digest) = record.digest {
                assert_eq!(digest, self.tree.digest(), "{record:?}");
                assert!(outcome.error.is_ok(), "{record:?}");
                if let TxnResult::Multi(parts) = &outcome.result
                    && parts.iter().all(|part| part.op != OpCode::Error)
                {
                    assert!(parts.iter().all(|part| part.outcome.error.is_ok()), "{record:?}");
                }
            }
            // What is replayed has been through a log.
            let logged = TxnRecord::decode(&record.encode()).expect("a record reads back");
            assert_eq!(logged, record);
            self.history.push(logged);
        }
    }
}

fn forwarded(session: i64, op: OpCode, request: &Request<'_>) -> PrepareRequest {
    let body: Bytes = encode(|buf| request.encode(buf));
    let auth = Some(vec![Id::new("super", "")]);
    PrepareRequest { session, cxid: 1, op: op.as_i32(), body, auth }
}

fn replay(tree: &mut DataTree, history: &[TxnRecord]) {
    for record in history {
        tree.apply(&record.header, &record.txn, &mut |_| {});
    }
}

fn assert_same(tree: &DataTree, live: &DataTree) {
    for node in live.iter() {
        let ours = tree.node(node.path());
        assert_eq!(format!("{ours:?}"), format!("{:?}", Some(node)));
    }
    assert_eq!(tree, live);
    assert_eq!(tree.digest(), live.digest());
    assert_eq!(tree.recompute_digest(), live.digest());
    assert_eq!(tree.approximate_data_size(), live.approximate_data_size());
    let mut counted = tree.clone();
    counted.track_like(live);
    assert_eq!(counted.tracked(), live.tracked());
    assert_eq!(tree.ephemeral_count(), live.ephemeral_count());
    let owned = |tree: &DataTree, session| {
        let mut paths: Vec<_> = tree.ephemerals(session).map(str::to_owned).collect();
        paths.sort_unstable();
        paths
    };
    for session in live.ephemeral_owners() {
        assert_eq!(owned(tree, session), owned(live, session));
    }
    let mut due = (tree.reapable(i64::MAX, 1, usize::MAX), live.reapable(i64::MAX, 1, usize::MAX));
    due.0.sort_unstable();
    due.1.sort_unstable();
    assert_eq!(due.0, due.1);
}

fn read(zxid: Zxid, mut stream: BytesMut) -> DataTree {
    let tree = SnapshotReader::new(zxid).feed(&mut stream, 1 << 20).expect("the stream is sound");
    assert!(stream.is_empty());
    tree.expect("the stream is whole")
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        max_shrink_iters: 20_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Every record's digest is that of the tree after it; a replica that starts late, at any point before the
    /// end of its snapshot, ends with the same tree.
    #[test]
    fn replay_is_exact(
        steps in prop::collection::vec(step(), 1..120),
        again in any::<prop::sample::Index>(),
    ) {
        let mut leader = Leader::new();
        for step in &steps {
            leader.step(step);
        }
        leader.apply(usize::MAX);
        assert_eq!(leader.tree.digest(), leader.tree.recompute_digest());
        let mut follower = DataTree::new();
        replay(&mut follower, &leader.history);
        assert_same(&follower, &leader.tree);
        if !leader.history.is_empty() {
            replay(&mut follower, &leader.history[again.index(leader.history.len())..]);
            assert_same(&follower, &leader.tree);
        }
    }

    /// A snapshot written in small chunks between transactions, and the transactions after its zxid (or from any
    /// earlier one), make the live tree.
    #[test]
    fn a_fuzzy_snapshot_and_a_replay_make_the_live_tree(
        before in prop::collection::vec(step(), 0..60),
        during in prop::collection::vec(step(), 0..60),
        budget in 1..400usize,
        overlap in 0..20usize,
    ) {
        let mut leader = Leader::new();
        for step in &before {
            leader.step(step);
        }
        let mut cursor = SnapshotCursor::new(&leader.tree);
        let start = leader.history.len();
        let mut stream = BytesMut::new();
        let mut done = false;
        for step in &during {
            leader.step(step);
            done = done || cursor.write_chunk(&leader.tree, &mut stream, budget);
        }
        while !done {
            done = cursor.write_chunk(&leader.tree, &mut stream, budget);
        }
        leader.apply(usize::MAX);
        let mut loaded = read(cursor.zxid(), stream);
        replay(&mut loaded, &leader.history[start.saturating_sub(overlap)..]);
        assert_same(&loaded, &leader.tree);
    }

    /// Whatever bytes a gateway forwards, they become one transaction that every replica can read and apply.
    #[test]
    fn any_request_becomes_a_transaction(
        requests in prop::collection::vec((op(), any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 1..40),
        noise in prop::collection::vec((-12..110i32, prop::collection::vec(any::<u8>(), 0..60)), 0..40),
    ) {
        let mut leader = Leader::new();
        let damaged = requests.iter().map(|(op, at, byte, cut)| {
            let (op, request) = request(op);
            let mut body = forwarded(1, op, &request).body.to_vec();
            let at = at.index(body.len());
            body[at] = *byte;
            if *cut {
                body.truncate(at);
            }
            (op.as_i32(), body)
        });
        for (op, body) in damaged.chain(noise) {
            leader.zxid += 1;
            let request = PrepareRequest { body: body.into(), op, ..forwarded(1, OpCode::Sync, &Request::Sync(None)) };
            let Leader { tree, preparer, zxid, .. } = &mut leader;
            let record = preparer.prepare(tree, &request, SessionState::Open, Zxid(*zxid), 0);
            leader.pending.push_back(record);
            leader.apply(usize::from(leader.zxid % 3 == 0) * 3);
        }
        leader.apply(usize::MAX);
        assert_eq!(leader.tree.digest(), leader.tree.recompute_digest());
    }

    /// Random bytes are refused or waited for, and never more than a record of them.
    #[test]
    fn any_bytes_are_read_safely(bytes in prop::collection::vec(any::<u8>(), 0..600), at in 0..600usize) {
        let mut input = BytesMut::from(&bytes[..at.min(bytes.len())]);
        let mut reader = SnapshotReader::new(Zxid(1));
        if matches!(reader.feed(&mut input, 100), Ok(None)) {
            input.extend_from_slice(&bytes[at.min(bytes.len())..]);
            let _ = reader.feed(&mut input, 100).map(|tree| tree.map(|tree| tree.recompute_digest()));
        }
    }

    /// A tree that stands still survives the round trip.
    #[test]
    fn a_snapshot_holds_the_whole_tree(steps in prop::collection::vec(step(), 1..80)) {
        let mut leader = Leader::new();
        for step in &steps {
            leader.step(step);
        }
        let mut stream = BytesMut::new();
        let mut cursor = SnapshotCursor::new(&leader.tree);
        assert!(cursor.write_chunk(&leader.tree, &mut stream, usize::MAX));
        assert_same(&read(cursor.zxid(), stream), &leader.tree);
    }
}
