//! How fast the tree is, and how much memory a znode takes: `cargo run --release --example throughput [znodes]`.

use std::hint::black_box;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use palisade_store::prepare::PrepareConfig;
use palisade_store::{DataTree, PrepareRequest, Preparer, SessionState, SnapshotCursor, SnapshotReader};
use palisade_wire::jute::encode;
use palisade_wire::request::{Create, Request};
use palisade_wire::{Acl, Id, OpCode, Zxid};

const DATA: [u8; 100] = [7; 100];
const CHILDREN: usize = 1000;

fn main() {
    let znodes: usize = std::env::args().nth(1).and_then(|arg| arg.parse().ok()).unwrap_or(1_000_000);
    let before = resident_bytes();
    let tree = fill(znodes);
    println!("memory: {} bytes per znode", (resident_bytes().saturating_sub(before)) / znodes as u64);
    let paths: Vec<_> = (0..znodes).step_by(7).map(path).collect();
    timed("read of a znode by path", paths.len(), || {
        for path in &paths {
            black_box(tree.node(path).map(|node| (node.data(), node.stat(), node.acl())));
        }
    });
    timed("listing of a child", znodes / CHILDREN * CHILDREN, || {
        for i in 0..znodes / CHILDREN {
            let parent = tree.node(&parent(i)).expect("it was created");
            black_box(parent.children().map(str::len).sum::<usize>());
        }
    });
    let mut stream = BytesMut::new();
    timed("writing of a znode to a snapshot", znodes, || {
        SnapshotCursor::new(&tree).write_chunk(&tree, &mut stream, usize::MAX);
    });
    timed("reading of a znode from a snapshot", znodes, || {
        let loaded = SnapshotReader::new(tree.last_zxid()).feed(&mut stream, 1 << 20);
        assert_eq!(loaded.ok().flatten().map(|tree| tree.digest()), Some(tree.digest()));
    });
}

fn parent(i: usize) -> String {
    format!("/service-{i:06}")
}

fn path(i: usize) -> String {
    format!("{}/instance-{i:010}", parent(i / CHILDREN))
}

/// Prepares and applies the creation of that many znodes, a thousand to a parent, a hundred outstanding at a time.
fn fill(znodes: usize) -> DataTree {
    let mut tree = DataTree::new();
    let mut preparer = Preparer::new(PrepareConfig::default());
    let requests = (0..znodes).flat_map(|i| {
        let above = i.is_multiple_of(CHILDREN).then(|| parent(i / CHILDREN));
        above.into_iter().chain([path(i)])
    });
    let mut zxid = Zxid::ZERO;
    let mut pending = Vec::new();
    timed("prepare and apply of a create", znodes, || {
        for path in requests {
            zxid = Zxid(zxid.0 + 1);
            let request = create(&path);
            pending.push(preparer.prepare(&tree, &request, SessionState::Open, zxid, 1_800_000_000_000));
            if pending.len() == 100 {
                for record in pending.drain(..) {
                    tree.apply(&record.header, &record.txn, &mut |change| {
                        black_box(change);
                    });
                    preparer.applied(record.header.zxid);
                }
            }
        }
    });
    for record in pending {
        tree.apply(&record.header, &record.txn, &mut |_| {});
    }
    tree
}

fn create(path: &str) -> PrepareRequest {
    let create = Create { path: path.into(), data: Some(&DATA), acl: Acl::open(), flags: 0, ttl_ms: None };
    let body: Bytes = encode(|buf| Request::Create(create).encode(buf));
    let auth = Some(vec![Id::new("ip", "10.0.0.1")]);
    PrepareRequest { session: 1, cxid: 1, op: OpCode::Create.as_i32(), body, auth }
}

fn timed(what: &str, times: usize, run: impl FnOnce()) {
    let start = Instant::now();
    run();
    println!("{what}: {} ns", start.elapsed().as_nanos() / times.max(1) as u128);
}

/// Of this process; 0 where there is no /proc.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|kib| kib.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
}
