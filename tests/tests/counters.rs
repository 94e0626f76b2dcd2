//! Sequential znodes at the end of their parent's counter, which no test could reach by creating children: the servers
//! start with a log that says they did.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::path::Path;

use palisade_tests::apache::ApacheServer;
use palisade_tests::conformance::{Call, Kind, Sessions, Step, Target, Targets, Version, View};
use palisade_tests::folder::Folder;
use palisade_tests::palisade::Core;
use palisade_tests::ports::Ports;
use palisade_tests::tools;
use palisade_tests::zoo_cfg::{Member, QUIET};
use palisade_wire::request::{Create, PathWatch, Request};
use palisade_wire::txn::{CreateTxn, Txn, TxnHeader, TxnRecord};
use palisade_wire::{Acl, OpCode, Zxid};

const PARENT: &str = "/full";
/// Children that the parent seems to have had.
const COUNTER: i32 = i32::MAX - 3;

#[test]
fn sequential_counters_end_alike() {
    let (folder, mut ports) = (Folder::new(), Ports::lease());
    let apache_folder = folder.subfolder("apache");
    let mut apache = ApacheServer::start_quiet(&apache_folder, &mut ports, &["maxSessionTimeout=40000"], &[]);
    apache.kill();
    let data = apache_folder.join("data/version-2");
    leave_only_the_snapshot(&data);
    fs::write(data.join("log.1"), log()).unwrap();

    let mut core_ports = Ports::lease();
    let members = Member::several(3, &mut core_ports);
    let core_folder = Folder::new();
    for member in &members {
        let copy = core_folder.subfolder(&format!("voter-{}/data/version-2", member.id));
        for file in ["snapshot.0", "log.1"] {
            fs::copy(data.join(file), copy.join(file)).unwrap();
        }
    }
    apache.restart();
    apache.wait_until_serving();
    let mut core = Core::start_in(core_folder, core_ports, members, QUIET);
    let mut gateway = core.gateway(101, "gateway");

    let version = if tools::apache_jars().is_some() { Version::V39 } else { Version::V38 };
    let target = |name, address| Target { name, address, counts_late: false };
    let reference = target("Apache", format!("127.0.0.1:{}", apache.client_port()));
    let palisade = target("Palisade", gateway.address());
    let kind = Kind { version, sessions: Sessions::Local, view: View::Whole };
    let targets = Targets::new(kind, reference, vec![palisade]);
    targets.assert_alike("the end of a counter", &steps());
    assert!(!gateway.process().log().contains("digests disagree"));
}

fn steps() -> Vec<Step> {
    let read = |op, request: fn(PathWatch<'static>) -> Request<'static>| {
        Step::Calls(1, vec![Call::new(op, &request(PathWatch { path: PARENT.into(), watch: false }))])
    };
    let create = |path: String, flags| {
        let create = Create { path: path.into(), data: None, acl: Acl::open(), flags, ttl_ms: None };
        Step::Calls(0, vec![Call::new(OpCode::Create2, &Request::Create(create))])
    };
    let mut steps = vec![read(OpCode::Exists, Request::Exists)];
    steps.extend((0..6).map(|_| create(format!("{PARENT}/s"), 2)));
    steps.push(create(format!("{PARENT}/another"), 2));
    steps.push(create(format!("{PARENT}/plain"), 0));
    steps.push(create(format!("{PARENT}/last"), 3));
    steps.push(read(OpCode::GetChildren2, Request::GetChildren2));
    steps
}

fn leave_only_the_snapshot(data: &Path) {
    for entry in fs::read_dir(data).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().is_some_and(|name| name != "snapshot.0") {
            fs::remove_file(path).unwrap();
        }
    }
    assert!(data.join("snapshot.0").exists());
}

/// A parent, and a child whose creation sets the parent's counter.
fn log() -> Vec<u8> {
    let mut log = b"ZKLG\0\0\0\x02\0\0\0\0\0\0\0\0".to_vec();
    for (zxid, path, parent_cversion) in [(1, PARENT.to_owned(), 1), (2, format!("{PARENT}/child"), COUNTER)]
    {
        let create = CreateTxn { path, data: None, acl: Acl::open(), parent_cversion };
        let header = TxnHeader { session: 0, cxid: 0, zxid: Zxid(zxid), time: 1_700_000_000_000 };
        let payload = TxnRecord { header, txn: Txn::Create(create, false), digest: None }.encode();
        let len = u32::try_from(payload.len()).unwrap();
        log.extend_from_slice(&u64::from(adler32(&payload)).to_be_bytes());
        log.extend_from_slice(&len.to_be_bytes());
        log.extend_from_slice(&payload);
        log.push(b'B');
    }
    log
}

fn adler32(bytes: &[u8]) -> u32 {
    let step = |(a, b), byte: &u8| {
        let a = (a + u32::from(*byte)) % 65_521;
        (a, (b + a) % 65_521)
    };
    let (a, b) = bytes.iter().fold((1, 0), step);
    b << 16 | a
}
