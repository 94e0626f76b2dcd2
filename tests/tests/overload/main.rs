//! Each limit of a gateway in turn is reached by clients that ask for too much: they are answered as it is set, nobody else
//! is, the gateway stays small, and serves them again when they stop. All on one gateway, whose limits are reloaded.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod let_pass;

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::thread;

use palisade_tests::herd::{Client, Trouble};
use palisade_tests::http;
use palisade_tests::palisade::{Core, Gateway};
use palisade_tests::procfs::{open_descriptors, resident_memory};
use palisade_tests::wait::wait_for;
use palisade_wire::multi::create_op;
use palisade_wire::request::{Create, PathWatch, Request};
use palisade_wire::{Acl, ErrorCode, OpCode};

const TIMEOUT_MS: i32 = 30_000;
const EPHEMERAL_SEQUENTIAL: i32 = 3;
/// What a gateway may take beyond what it had, whatever is asked of it here.
const MEMORY_SLACK: u64 = 96 << 20;
/// The same of the leader's, which keeps some history in memory.
const LEADER_SLACK: u64 = 192 << 20;
/// Connections that are open at the same time, where their number is limited.
const MOST_CONNECTIONS: usize = 50;
/// Sockets on their way out, and files of the log that come and go.
const DESCRIPTOR_SLACK: usize = 16;

/// A gateway, one who does no harm, and what the processes used before.
struct Bench {
    core: Core,
    gateway: Gateway,
    bystander: Client,
    memory: u64,
    descriptors: usize,
}

/// Answers by their codes.
type Answers = BTreeMap<i32, usize>;

impl Bench {
    fn start() -> Self {
        let mut core = Core::start();
        let mut gateway = core.gateway(101, "gateway");
        let mut bystander = Client::connect(&gateway.address(), TIMEOUT_MS).unwrap();
        for path in ["/bystander", "/abuse"] {
            bystander.create(path, 0).unwrap();
        }
        let pid = gateway.process().pid();
        let (memory, descriptors) = (resident_memory(pid), open_descriptors(pid));
        Self { core, gateway, bystander, memory, descriptors }
    }

    /// From now on these limits hold, and none of the others.
    #[track_caller]
    fn limit(&mut self, settings: &[(&str, &str)]) {
        assert!(self.gateway.reload(settings), "{settings:?} are not taken over");
    }

    fn client(&self) -> Client {
        Client::connect(&self.gateway.address(), TIMEOUT_MS).unwrap()
    }

    /// Whoever does no harm is served as ever, on the connection that it always had.
    #[track_caller]
    fn assert_unharmed(&mut self) {
        for path in ["/bystander", "/bystander/lock"] {
            if path.ends_with("lock") {
                self.bystander.create(path, 1).unwrap();
                self.bystander.delete(path).unwrap();
            } else {
                self.bystander.set(path, b"here", -1).unwrap();
            }
        }
        self.bystander.ping().unwrap();
        let pid = self.gateway.process().pid();
        let memory = resident_memory(pid);
        assert!(memory <= self.memory + MEMORY_SLACK, "{memory} bytes, before {}", self.memory);
        let open = open_descriptors(pid);
        assert!(open <= self.descriptors + MOST_CONNECTIONS + DESCRIPTOR_SLACK, "{open} descriptors");
    }

    /// A counter, as Prometheus sees it.
    #[track_caller]
    fn metric(&self, name: &str) -> u64 {
        let text = http::get(self.gateway.ports()[1], "/metrics").unwrap().body;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
        value.unwrap_or_else(|| panic!("no {name} in\n{text}")) as u64
    }

    /// The limit was reached, counted, and told with the offender's address and, if it has one, path.
    #[track_caller]
    fn assert_told(&mut self, limit: &str, path: &str) {
        assert!(self.metric(&format!("palisade_limit_{limit}")) > 0, "{limit} is not counted");
        let key = format!("throttle.{limit}");
        wait_for(&format!("word of {key} with {path}"), || {
            let told = self.gateway.process().log();
            let mut lines =
                told.lines().filter(|line| line.contains("a limit is reached") && line.contains(&key));
            lines.any(|line| line.contains("127.0.0.1") && line.contains(path)).then_some(())
        });
    }
}

/// Posts `n` requests with at most `depth` unanswered; how they are answered.
fn flood(
    client: &mut Client,
    n: usize,
    depth: usize,
    request: impl Fn(usize) -> (OpCode, String),
) -> Answers {
    flood_with(client, n, depth, b"more", request)
}

fn flood_with(
    client: &mut Client,
    n: usize,
    depth: usize,
    data: &[u8],
    request: impl Fn(usize) -> (OpCode, String),
) -> Answers {
    let mut answers = Answers::new();
    for at in 0..n + depth {
        if at < n {
            let (op, path) = request(at);
            post(client, op, &path, data);
        }
        if at >= depth {
            *answers.entry(client.answer().unwrap().0).or_default() += 1;
        }
    }
    answers
}

fn post(client: &mut Client, op: OpCode, path: &str, data: &[u8]) {
    let flags = if path.ends_with('-') { EPHEMERAL_SEQUENTIAL } else { 0 };
    let path = path.into();
    let request = match op {
        OpCode::Create => {
            Request::Create(Create { path, data: Some(data), acl: Acl::open(), flags, ttl_ms: None })
        }
        OpCode::SetData => Request::SetData { path, data: Some(data), version: -1 },
        OpCode::Delete => Request::Delete { path, version: -1 },
        _ => Request::Exists(PathWatch { path, watch: true }),
    };
    client.post(op, &request).unwrap();
}

fn set(_: usize) -> (OpCode, String) {
    (OpCode::SetData, "/abuse".to_owned())
}

fn count(answers: &Answers, code: ErrorCode) -> usize {
    answers.get(&code.0).copied().unwrap_or_default()
}

/// Some passed, most were refused so, and nothing else happened.
#[track_caller]
fn assert_refused(answers: &Answers, with: ErrorCode) {
    let (passed, refused) = (count(answers, ErrorCode::OK), count(answers, with));
    assert!(passed > 0 && refused > 0 && answers.len() == 2, "{answers:?}");
}

/// Once it asks for no more than it may, whoever was refused is served again, on the same connection.
fn assert_forgiven(client: &mut Client) {
    wait_for("a write of who was refused before", || client.set("/abuse", b"less", -1).ok());
}

fn rates(bench: &mut Bench) {
    bench.limit(&[("throttle.writes.mode", "\"refuse\""), ("throttle.writes.session", "5")]);
    let mut client = bench.client();
    assert_refused(&flood(&mut client, 2_000, 200, set), ErrorCode::OPERATION_TIMEOUT);
    bench.assert_told("writes", "\"/\"");
    assert_forgiven(&mut client);
    bench.assert_unharmed();

    bench.limit(&[
        ("throttle.refusal", "\"connection_loss\""),
        ("throttle.write_bytes.mode", "\"refuse\""),
        ("throttle.write_bytes.session", "\"20KiB\""),
    ]);
    let mut client = bench.client();
    let answers = flood_with(&mut client, 500, 50, &[7; 2_000], set);
    assert_refused(&answers, ErrorCode::CONNECTION_LOSS);
    bench.assert_told("write_bytes", "\"/\"");
    assert_forgiven(&mut client);
    bench.assert_unharmed();

    bench.limit(&[
        ("throttle.refusal", "\"throttled\""),
        ("throttle.locks.mode", "\"refuse\""),
        ("throttle.locks.session", "5"),
    ]);
    let mut locker = bench.client();
    let answers = flood(&mut locker, 500, 50, |_| (OpCode::Create, "/abuse/lock-".to_owned()));
    assert_refused(&answers, ErrorCode::THROTTLED_OP);
    bench.assert_told("locks", "\"/abuse\"");
    bench.assert_unharmed();

    bench.limit(&[
        ("throttle.writes.mode", "\"delay\""),
        ("throttle.writes.session", "100"),
        ("throttle.max_delay", "\"10s\""),
    ]);
    let answers = flood(&mut bench.client(), 250, 250, set);
    assert_eq!(count(&answers, ErrorCode::OK), 250, "held back, not refused: {answers:?}");
    assert!(bench.metric("palisade_throttle_delayed") > 0);
    bench.assert_unharmed();
}

/// Takes and gives back a lock for each order, until that is refused.
fn fine_grained_locks(bench: &mut Bench) {
    let budget = [("throttle.lock_parents.mode", "\"refuse\""), ("throttle.lock_parents.tenant", "5")];
    let rest = [("address", "5"), ("session", "5"), ("prefix", "0")];
    let rest = rest.map(|(key, value)| (["throttle.lock_parents", key].join("."), value));
    let rest = rest.iter().map(|(key, value)| (&**key, *value));
    bench.limit(&budget.into_iter().chain(rest).collect::<Vec<_>>());
    let mut client = bench.client();
    let refused = (0..10_000).find_map(|order| {
        let parent = format!("/abuse/{order}");
        // That is when it is limited, and not again with the lock.
        client.create(&parent, 0).err().or_else(|| {
            let lock = client.create(&format!("{parent}/lock-"), EPHEMERAL_SEQUENTIAL).unwrap();
            client.delete(&lock).map(|()| None).unwrap()
        })
    });
    assert_eq!(refused, Some(Trouble::Refused(ErrorCode::OPERATION_TIMEOUT)));
    bench.assert_told("lock_parents", "\"/abuse/");
    bench.assert_unharmed();

    let budget = ["tenant", "address", "session"].map(|key| (["throttle.short_locks", key].join("."), "5"));
    let budget = budget.iter().map(|(key, value)| (&**key, *value));
    let refuse = [("throttle.short_locks.mode", "\"refuse\""), ("throttle.short_locks.prefix", "0")];
    bench.limit(&refuse.into_iter().chain(budget).collect::<Vec<_>>());
    client.create("/abuse/rows", 0).unwrap();
    (0..3).for_each(|row| client.create(&format!("/abuse/rows/{row}"), 0).map(drop).unwrap());
    let refused = (0..10_000).find_map(|n| {
        let lock = client.create(&format!("/abuse/rows/{}/lock-", n % 3), EPHEMERAL_SEQUENTIAL);
        lock.map(|lock| client.delete(&lock).unwrap()).err()
    });
    assert_eq!(refused, Some(Trouble::Refused(ErrorCode::OPERATION_TIMEOUT)));
    bench.assert_told("short_locks", "\"/abuse/rows/");
    bench.assert_unharmed();
}

/// What is in one request counts, and what of it lets go does not.
fn multis(bench: &mut Bench) {
    bench.limit(&[("throttle.writes.mode", "\"refuse\""), ("throttle.writes.session", "100")]);
    let mut client = bench.client();
    let paths: Vec<_> = (0..300).map(|n| format!("/abuse/part-{n}")).collect();
    let creates = paths.iter().map(|path| create_op(path, b"", 0)).collect();
    let deletes =
        paths.iter().map(|path| (OpCode::Delete, Request::Delete { path: path.into(), version: -1 }));
    let [creates, deletes] = [creates, deletes.collect()].map(Request::Multi);
    let refused = (0..100).find_map(|_| {
        let created = client.call(OpCode::Multi, &creates);
        created.map(|_| client.call(OpCode::Multi, &deletes).unwrap()).err()
    });
    assert_eq!(refused, Some(Trouble::Refused(ErrorCode::OPERATION_TIMEOUT)));
    assert_forgiven(&mut client);
    bench.assert_unharmed();
}

fn what_is_held(bench: &mut Bench) {
    bench.limit(&[("throttle.in_flight.mode", "\"refuse\""), ("throttle.in_flight.session", "10")]);
    let mut client = bench.client();
    assert_refused(&flood(&mut client, 2_000, 400, set), ErrorCode::OPERATION_TIMEOUT);
    bench.assert_told("in_flight", "\"/\"");
    assert_forgiven(&mut client);
    bench.assert_unharmed();

    bench.limit(&[("throttle.watches.mode", "\"refuse\""), ("throttle.watches.session", "50")]);
    let mut watcher = bench.client();
    let watched = (0..1_000).find(|n| watcher.owner(&format!("/abuse/watched-{n}")).is_err());
    assert_eq!(watched, Some(50));
    bench.limit(&[("throttle.watches.mode", "\"refuse\""), ("throttle.watches.session", "10")]);
    let address = bench.gateway.address();
    watcher.reconnect(&address).expect("what was watched is watched again, whatever the limit is now");
    bench.assert_told("watches", "/abuse/watched-");
    bench.assert_unharmed();
    bench.limit(&[
        ("throttle.watches.mode", "\"refuse\""),
        ("throttle.watches.address", "60"),
        ("throttle.watches.session", "50"),
    ]);
    let mut neighbour = bench.client();
    let watched = (0..1_000).find(|n| neighbour.owner(&format!("/abuse/watched-{n}")).is_err());
    assert_eq!(watched, Some(10), "the address has 50 already");

    let held = bench.metric("znode_count") + 20;
    bench.limit(&[("throttle.znodes.mode", "\"refuse\""), ("throttle.znodes.tenant", &held.to_string())]);
    let mut creator = bench.client();
    let answers = flood(&mut creator, 200, 1, |n| (OpCode::Create, format!("/abuse/full-{n}")));
    assert_refused(&answers, ErrorCode::OPERATION_TIMEOUT);
    let created = count(&answers, ErrorCode::OK);
    assert!((15..=25).contains(&created), "{created}");
    bench.assert_told("znodes", "\"/abuse\"");
    flood(&mut creator, created, 1, |n| (OpCode::Delete, format!("/abuse/full-{n}")));
    bench.assert_unharmed();

    bench.limit(&[("throttle.bytes.mode", "\"refuse\""), ("throttle.bytes.tenant", "\"400KiB\"")]);
    let grow = |n| (OpCode::Create, format!("/abuse/large-{n}"));
    let answers = flood_with(&mut creator, 100, 1, &[7; 10_000], grow);
    assert_refused(&answers, ErrorCode::OPERATION_TIMEOUT);
    bench.assert_told("bytes", "\"/abuse\"");
    flood(&mut creator, count(&answers, ErrorCode::OK), 1, |n| (OpCode::Delete, format!("/abuse/large-{n}")));
    bench.assert_unharmed();
}

fn who_comes(bench: &mut Bench) {
    bench.limit(&[
        ("throttle.sessions.mode", "\"refuse\""),
        ("throttle.sessions.tenant", "5"),
        ("throttle.sessions.address", "5"),
    ]);
    let address = bench.gateway.address();
    let refused = (0..10_000).find(|_| Client::connect(&address, TIMEOUT_MS).is_err());
    assert!(refused.is_some());
    bench.assert_told("sessions", "");
    wait_for("a new session after the storm", || Client::connect(&address, TIMEOUT_MS).ok());
    bench.assert_unharmed();

    bench.limit(&[("throttle.connections.tenant", "50"), ("throttle.connections.address", "50")]);
    let pid = bench.gateway.process().pid();
    let held: Vec<_> = (0..1_000).filter_map(|_| TcpStream::connect(&address).ok()).collect();
    wait_for("most of them closed", || {
        (open_descriptors(pid) <= bench.descriptors + MOST_CONNECTIONS + DESCRIPTOR_SLACK).then_some(())
    });
    bench.assert_told("connections", "");
    bench.assert_unharmed();
    drop(held);
    wait_for("a connection after the storm", || Client::connect(&address, TIMEOUT_MS).ok());
}

/// As much as clients can, with the limits that a gateway has by itself.
fn everything(bench: &mut Bench) {
    bench.limit(&[]);
    let leader = bench.core.leader();
    let leader = bench.core.voters[leader].process().pid();
    let before = resident_memory(leader);
    let address = bench.gateway.address();
    let floods: Vec<_> = (0..8)
        .map(|_| {
            let mut client = Client::connect(&address, TIMEOUT_MS).unwrap();
            thread::spawn(move || flood_with(&mut client, 2_000, 500, &[7; 5_000], set))
        })
        .collect();
    for _ in 0..5 {
        bench.assert_unharmed();
    }
    let answers: Answers = floods.into_iter().flat_map(|flood| flood.join().unwrap()).collect();
    assert_eq!(answers.keys().copied().collect::<Vec<_>>(), [ErrorCode::OK.0], "{answers:?}");
    bench.assert_unharmed();
    let now = resident_memory(leader);
    let gateway = resident_memory(bench.gateway.process().pid());
    println!("resident memory: gateway {} to {gateway}, leader {before} to {now}", bench.memory);
    assert!(now <= before + LEADER_SLACK, "the leader: {now} bytes, before {before}");
}

#[test]
fn each_limit_in_turn_is_survived() {
    let mut bench = Bench::start();
    rates(&mut bench);
    multis(&mut bench);
    fine_grained_locks(&mut bench);
    what_is_held(&mut bench);
    who_comes(&mut bench);
    let_pass::all(&mut bench);
    everything(&mut bench);
    assert!(!bench.gateway.reload(&[("throttle.znodes.prefix", "5")]), "which makes no sense");
    bench.assert_unharmed();
    let pid = bench.gateway.process().pid();
    wait_for("the descriptors given back", || {
        (open_descriptors(pid) <= bench.descriptors + DESCRIPTOR_SLACK).then_some(())
    });
    wait_for("word that the limits are no longer reached", || {
        (bench.metric("palisade_limits_reached") == 0).then_some(())
    });
    wait_for("the same in the log", || {
        bench.gateway.process().log().contains("a limit is no longer reached").then_some(())
    });
}
