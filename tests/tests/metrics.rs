//! Numbers for an operator's dashboards: those with a name of Apache's move as Apache's do.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpStream;

use palisade_tests::apache::{ApacheEnsemble, ApacheServer};
use palisade_tests::folder::Folder;
use palisade_tests::four_letter::ask;
use palisade_tests::http;
use palisade_tests::palisade::{Core, Gateway};
use palisade_tests::ports::Ports;
use palisade_tests::raw::RawClient;
use palisade_tests::wait::wait_for;
use palisade_wire::request::{Create, PathWatch, Request};
use palisade_wire::{Acl, ErrorCode, OpCode};

/// What `mntr` tells, without what is no number.
type Numbers = BTreeMap<String, f64>;

fn numbers_of(port: u16) -> Numbers {
    let told = ask(port, "mntr").unwrap();
    let lines = told.lines().filter_map(|line| line.split_once('\t'));
    lines
        .filter_map(|(key, value)| Some((key.strip_prefix("zk_")?.to_owned(), value.parse().ok()?)))
        .collect()
}

/// Servers that have the same part in two ensembles: whoever serves the clients, the leader, a follower.
struct Servers([u16; 3]);

impl Servers {
    fn numbers(&self) -> [Numbers; 3] {
        self.0.map(numbers_of)
    }
}

fn call(client: &mut RawClient, op: OpCode, request: &Request<'_>) -> ErrorCode {
    client.call(op, request).expect("the server answers").0
}

fn create(client: &mut RawClient, path: &str) -> ErrorCode {
    let create = Create { path: path.into(), data: Some(b"12345"), acl: Acl::open(), flags: 0, ttl_ms: None };
    call(client, OpCode::Create, &Request::Create(create))
}

fn read(client: &mut RawClient, op: OpCode, path: &str, watch: bool) -> ErrorCode {
    let asked = PathWatch { path: path.into(), watch };
    let request = match op {
        OpCode::Exists => Request::Exists(asked),
        OpCode::GetData => Request::GetData(asked),
        _ => Request::GetChildren2(asked),
    };
    call(client, op, &request)
}

/// One request of each kind and more, some of which fail, and four events.
fn orders(address: &str) {
    let ok = ErrorCode::OK;
    let mut watcher = RawClient::connect(address);
    let mut writer = RawClient::connect(address);
    assert_eq!(create(&mut writer, "/m"), ok);
    assert_eq!(create(&mut writer, "/m"), ErrorCode::NODE_EXISTS);
    assert_eq!(call(&mut watcher, OpCode::Sync, &Request::Sync(Some("/".into()))), ok);
    assert_eq!(read(&mut watcher, OpCode::GetData, "/m", true), ok);
    assert_eq!(read(&mut watcher, OpCode::GetChildren2, "/m", true), ok);
    assert_eq!(read(&mut watcher, OpCode::Exists, "/m/child", true), ErrorCode::NO_NODE);
    let set = || Request::SetData { path: "/m".into(), data: Some(b"6"), version: -1 };
    assert_eq!(call(&mut writer, OpCode::SetData, &set()), ok);
    assert_eq!(create(&mut writer, "/m/child"), ok);
    for _ in 0..3 {
        watcher.wait_for_event();
    }
    assert_eq!(read(&mut watcher, OpCode::GetData, "/m/child", true), ok);
    let delete = Request::Delete { path: "/m/child".into(), version: -1 };
    let multi = Request::Multi(vec![(OpCode::Delete, delete), (OpCode::SetData, set())]);
    assert_eq!(call(&mut writer, OpCode::Multi, &multi), ok);
    watcher.wait_for_event();
    assert_eq!(call(&mut writer, OpCode::Multi, &multi), ok, "a failed multi is a list of errors");
    assert_eq!(call(&mut writer, OpCode::GetAcl, &Request::GetAcl("/m".into())), ok);
    let set_acl = Request::SetAcl { path: "/m".into(), acl: Acl::open(), version: -1 };
    assert_eq!(call(&mut writer, OpCode::SetAcl, &set_acl), ok);
    assert_eq!(call(&mut writer, OpCode::Ping, &Request::Ping), ok);
    assert_eq!(call(&mut writer, OpCode::CloseSession, &Request::CloseSession), ok);
    let (session, password) = (watcher.session, watcher.password);
    drop(watcher);
    let mut again = RawClient::resume(address, session, password).unwrap();
    assert_eq!(call(&mut again, OpCode::CloseSession, &Request::CloseSession), ok);
}

/// The two ensembles under test: Apache's, with an observer, and ours, with a gateway.
struct Ensembles {
    apache: ApacheEnsemble,
    observer: ApacheServer,
    core: Core,
    gateway: Gateway,
    _folder: Folder,
    _ports: Ports,
}

impl Ensembles {
    fn start() -> Self {
        // Otherwise it measures one acknowledgement of a thousand.
        let apache = ApacheEnsemble::start_with(3, &["-Dzookeeper.leader.ackLoggingFrequency=1"]);
        let (folder, mut ports) = (Folder::new(), Ports::lease());
        let observer =
            ApacheServer::start_observer(&folder.subfolder("observer"), apache.members(), &mut ports);
        let mut core = Core::start();
        let gateway = core.gateway_with(101, "metrics", &[("sessions.local", "false")]);
        Self { apache, observer, core, gateway, _folder: folder, _ports: ports }
    }

    /// Of Apache's servers, and of ours.
    fn servers(&self) -> [Servers; 2] {
        let leader = self.apache.leader();
        let apache = |server: usize| self.apache.servers[server % 3].client_port();
        let theirs = [self.observer.client_port(), apache(leader), apache(leader + 1)];
        let leader = self.core.leader();
        let voter = |voter: usize| self.core.voters[voter % 3].ports()[2];
        [Servers(theirs), Servers([self.gateway.ports()[0], voter(leader), voter(leader + 1)])]
    }
}

/// What moves by as much as Apache's number of that name: at whoever serves the clients, the leader, a follower.
const EQUAL: [&[&str]; 3] = [
    &[
        "approximate_data_size",
        "auth_failed_count",
        "bytes_received_count",
        "cnt_commit_propagation_latency",
        "cnt_propagation_latency",
        "cnt_readlatency",
        "cnt_updatelatency",
        "connection_drop_count",
        "connection_rejected",
        "connection_request_count",
        "connection_revalidate_count",
        "ephemerals_count",
        "global_sessions",
        "learner_commit_received_count",
        "outstanding_requests",
        "packets_received",
        "sum_node_changed_watch_count",
        "sum_node_children_watch_count",
        "sum_node_created_watch_count",
        "sum_node_deleted_watch_count",
        "watch_count",
        "znode_count",
    ],
    &[
        "approximate_data_size",
        "cnt_propagation_latency",
        "cnt_proposal_latency",
        "cnt_quorum_ack_latency",
        "commit_count",
        "global_sessions",
        "last_proposal_size",
        "learner_commit_received_count",
        "learner_proposal_received_count",
        "learners",
        "max_proposal_size",
        "min_proposal_size",
        "pending_syncs",
        "proposal_count",
        "revalidate_count",
        "sum_sync_processor_batch_size",
        "znode_count",
    ],
    &[
        "cnt_commit_propagation_latency",
        "cnt_propagation_latency",
        "cnt_proposal_latency",
        "cnt_quorum_ack_latency",
        "commit_count",
        "learner_commit_received_count",
        "learner_proposal_received_count",
        "proposal_count",
        "revalidate_count",
        "sum_sync_processor_batch_size",
        "znode_count",
    ],
];

/// What moves with Apache's number of that name, if not by as much: it depends on who was quicker, or on bytes that only
/// Java has.
const ALIKE: [&[&str]; 3] = [
    &["cnt_fsynctime", "packets_sent", "response_bytes", "watch_bytes"],
    &["cnt_fsynctime", "cnt_proposal_ack_creation_latency"],
    &["cnt_fsynctime", "cnt_proposal_ack_creation_latency"],
];

/// What the start alone moves.
const AT_THE_START: [&[&str]; 3] = [
    &["cnt_dbinittime", "cnt_observer_sync_time", "cnt_startup_snap_load_time"],
    &[
        "cnt_dbinittime",
        "cnt_election_time",
        "cnt_inflight_diff_count",
        "cnt_leader_unavailable_time",
        "cnt_startup_snap_load_time",
        "cnt_unavailable_time",
        "diff_count",
        "looking_count",
    ],
    &[
        "cnt_dbinittime",
        "cnt_election_time",
        "cnt_follower_sync_time",
        "cnt_unavailable_time",
        "looking_count",
    ],
];

/// Where the two ensembles did not do the same.
fn differences(before: &[[Numbers; 3]; 2], after: &[[Numbers; 3]; 2]) -> Vec<String> {
    let mut found = Vec::new();
    for (who, part) in ["the clients' server", "the leader", "a follower"].into_iter().enumerate() {
        let number = |numbers: &[Numbers; 3], name: &str| numbers[who].get(name).copied();
        for name in EQUAL[who].iter().chain(ALIKE[who]) {
            let moved = [0, 1].map(|side| Some(number(&after[side], name)? - number(&before[side], name)?));
            let [Some(theirs), Some(ours)] = moved else {
                found.push(format!("{name} of {part} is missing: {moved:?}"));
                continue;
            };
            if EQUAL[who].contains(name) && theirs != ours || (theirs > 0.0) != (ours > 0.0) {
                found.push(format!("{name} of {part} moved by {ours}, Apache's by {theirs}"));
            }
        }
        for name in AT_THE_START[who] {
            let told = [0, 1].map(|side| number(&after[side], name));
            if !told.iter().all(|value| value.is_some_and(|value| value > 0.0)) {
                found.push(format!("{name} of {part} was not moved by the start: {told:?}"));
            }
        }
    }
    found
}

#[test]
fn shared_names_move_as_apache_s_do() {
    let ensembles = Ensembles::start();
    let servers = ensembles.servers();
    let numbers = || servers.each_ref().map(Servers::numbers);
    let before = numbers();
    orders(&format!("127.0.0.1:{}", ensembles.observer.client_port()));
    orders(&ensembles.gateway.address());
    let mut last = Vec::new();
    wait_for("numbers that moved as Apache's did", || {
        let found = differences(&before, &numbers());
        if found != last {
            eprintln!("{found:#?}");
            last = found;
        }
        last.is_empty().then_some(())
    });
    let [theirs, ours] = servers.map(|Servers([_, leader, _])| acknowledgements(leader));
    assert_eq!(ours, theirs);
    assert_operations(&ensembles.gateway);
    assert_types(&ensembles);
}

/// The names of what a leader tells of acknowledgements, with `#` for a voter: which of the voters it has heard of in time
/// for a quorum is a matter of who was quicker.
fn acknowledgements(port: u16) -> BTreeSet<String> {
    let names = numbers_of(port).into_keys();
    let told = names.filter(|name| name.starts_with("cnt_") && name.ends_with("_ack_latency"));
    told.map(|name| name.replace(|digit: char| digit.is_ascii_digit(), "#")).collect()
}

/// [`orders`], by type. Apache counts these since 3.10: writes that fail do not count, except for multis.
fn assert_operations(gateway: &Gateway) {
    let told = [
        ("close_session", 2),
        ("create", 2),
        ("create_session", 2),
        ("exists", 1),
        ("get_acl", 1),
        ("get_children", 1),
        ("get_data", 2),
        ("multi", 2),
        ("ping", 1),
        ("set_acl", 1),
        ("set_data", 1),
        ("sync", 1),
        ("delete", 0),
    ];
    for (name, count) in told {
        assert_eq!(gateway.counter(&format!("op_count_{name}")), count, "{name}");
    }
    assert_eq!(gateway.counter("op_count_total"), told.iter().map(|(_, count)| count).sum::<u64>());
}

/// Types and labels are those of Apache's provider for Prometheus.
fn assert_types(ensembles: &Ensembles) {
    let page = |port| http::get(port, "/metrics").unwrap().body;
    let gateway = page(ensembles.gateway.ports()[1]);
    let leader = page(ensembles.core.voters[ensembles.core.leader()].ports()[2]);
    for (page, line) in [
        (&gateway, "# TYPE op_count_get_data counter"),
        (&gateway, "# TYPE watch_bytes counter"),
        (&gateway, "# TYPE updatelatency summary"),
        (&gateway, "# TYPE num_alive_connections gauge"),
        (&gateway, "# TYPE process_cpu_seconds_total counter"),
        (&leader, "# TYPE quorum_ack_latency summary"),
        (&leader, "# TYPE ack_latency summary"),
        (&leader, "# TYPE pending_syncs gauge"),
        (&leader, "# TYPE process_resident_memory_bytes gauge"),
    ] {
        assert!(page.lines().any(|told| told == line), "{line}:\n{page}");
    }
    let of_voters = leader.lines().filter(|line| line.starts_with("ack_latency_count{key=\"")).count();
    assert!((2..=3).contains(&of_voters), "{leader}");
    assert!(leader.contains(",quantile=\"0.99\"} "), "{leader}");
}

#[test]
fn what_is_refused_or_never_begins_is_counted() {
    let mut core = Core::start();
    // Each by itself: on a busy machine an honest client may be late, too.
    let hasty = core.gateway_with(101, "hasty", &[("limits.handshake_timeout", "\"200ms\"")]);
    let silent = TcpStream::connect(hasty.address()).unwrap();
    wait_for("a connection that ended without a session", || {
        (hasty.counter("sessionless_connections_expired") == 1).then_some(())
    });
    drop(silent);
    let settings = [("throttle.writes.mode", "\"refuse\""), ("throttle.writes.session", "1")];
    let gateway = core.gateway_with(102, "metrics", &settings);
    let mut client = RawClient::connect(&gateway.address());
    let refused = (0..50).filter(|n| create(&mut client, &format!("/{n}")) != ErrorCode::OK).count();
    assert!(refused > 0, "none of 50 writes is beyond 1 a second");
    assert_eq!(gateway.counter("throttled_ops"), refused as u64);
    assert_eq!(gateway.counter("op_count_create"), 50 - refused as u64);
}
