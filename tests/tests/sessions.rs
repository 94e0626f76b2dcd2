//! Sessions outlive the gateways and the core.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::io::Write;
use std::process::ChildStdin;
use std::time::Instant;

use palisade_tests::ensemble::Ensemble;
use palisade_tests::folder::Folder;
use palisade_tests::herd::{Client, Trouble};
use palisade_tests::http;
use palisade_tests::palisade::{Core, Gateway};
use palisade_tests::process::Process;
use palisade_tests::proxy::Proxy;
use palisade_tests::rovers::Rovers;
use palisade_tests::tools;
use palisade_tests::wait::wait_for;
use palisade_wire::multi::create_op;
use palisade_wire::request::Request;
use palisade_wire::{ErrorCode, OpCode};
use rustix::process::Signal;

const CLIENTS: &str = "20";

/// `tests/clients/moving.py`.
struct Clients {
    process: Process,
    input: ChildStdin,
    _folder: Folder,
}

impl Clients {
    fn start(hosts: &str) -> Self {
        let folder = Folder::new();
        let script = tools::clients().join("moving.py");
        let arguments = [script.as_os_str(), hosts.as_ref(), CLIENTS.as_ref()];
        let mut process = Process::spawn("moving", folder.path(), tools::python(), arguments);
        let input = process.stdin().expect("the standard input is taken once");
        process.wait_for_line("ready");
        Self { process, input, _folder: folder }
    }

    /// Waits until every client has read; `moment` is a word that was not used before.
    fn all_read(&mut self, moment: &str) {
        writeln!(self.input, "{moment}").expect("the clients listen");
        self.process.wait_for_line(moment);
    }

    /// No session was lost.
    fn finish(self) {
        let Self { mut process, input, _folder } = self;
        drop(input);
        assert!(process.wait().success(), "{}", process.log());
    }
}

fn stop(gateway: &mut Gateway) {
    gateway.process().signal(Signal::TERM);
    let status = gateway.process().wait();
    assert!(status.success(), "the gateway after SIGTERM: {status}");
}

#[test]
fn a_rolling_restart_of_a_tenants_gateways_loses_no_session() {
    let mut core = Core::start();
    let settings = [("gateway.drain", "\"1s\"")];
    let mut gateways =
        [(101, "first"), (102, "second")].map(|(id, name)| core.gateway_with(id, name, &settings));
    let hosts: Vec<String> = gateways.iter().map(Gateway::address).collect();
    let mut clients = Clients::start(&hosts.join(","));
    for (gateway, moment) in gateways.iter_mut().zip(["without-first", "without-second"]) {
        stop(gateway);
        clients.all_read(moment);
        gateway.restart();
    }
    clients.all_read("end");
    clients.finish();
}

#[test]
fn a_rolling_restart_under_load_loses_neither_session_nor_write() {
    let mut core = Core::start();
    let settings = [("gateway.drain", "\"1s\"")];
    let mut gateways =
        [(101, "first"), (102, "second")].map(|(id, name)| core.gateway_with(id, name, &settings));
    let mut rovers = Rovers::start(&gateways.each_ref().map(Gateway::address), 20);
    for gateway in &mut gateways {
        rovers.wait_for_writes(200);
        let [_, admin] = gateway.ports();
        gateway.process().signal(Signal::TERM);
        wait_for("a gateway that says that it drains", || {
            let answer = http::get(admin, "/readyz").expect("a gateway that drains answers");
            (answer.status == 503 && answer.body.contains("draining")).then_some(())
        });
        let status = gateway.process().wait();
        assert!(status.success(), "the gateway after SIGTERM: {status}");
        rovers.wait_for_writes(200);
        gateway.restart();
    }
    rovers.wait_for_writes(200);
    println!("{}", rovers.finish());
}

#[test]
fn a_gateway_that_restarts_without_a_core_takes_its_readers_back() {
    let mut core = Core::start();
    let mut gateway = core.gateway_with(101, "gateway", &[("stale_reads.owners", "\"keep\"")]);
    let mut clients = Clients::start(&gateway.address());
    clients.all_read("before");
    core.voters.iter_mut().for_each(|voter| voter.kill());
    gateway.restart();
    clients.all_read("stale");
    core.voters.iter_mut().for_each(|voter| voter.restart());
    core.wait_until_complete();
    clients.all_read("after");
    clients.finish();
}

#[test]
fn a_half_dead_connection_leaves_its_session_where_its_client_went() {
    leave_half_dead(Ensemble::palisade());
}

#[test]
fn a_half_dead_connection_before_apaches_voters_leaves_its_session_where_its_client_went() {
    leave_half_dead(Ensemble::apache());
}

/// 300 of them, or as many as `IDLE_SESSIONS` says.
#[test]
fn the_core_hears_nothing_of_sessions_that_only_live() {
    /// Of one session, in what a gateway tells a leader of Apache's kind.
    const TOUCHED: usize = 12;
    let count = std::env::var("IDLE_SESSIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(300);
    let mut core = Ensemble::palisade();
    let behind = core.gateway_behind_cut(101, &[]);
    let mut first = Client::connect(&behind.address(), 40_000).unwrap();
    first.get("/").unwrap();
    let before = behind.sent();
    let mut sessions: Vec<Client> =
        (0..count).map(|_| Client::connect(&behind.address(), 40_000).unwrap()).collect();
    // Until the gateway has spoken to the core a few times.
    let (mut sent, mut spoke) = (0, 0);
    wait_for("words of the gateway", || {
        sessions.iter_mut().for_each(|session| session.ping().unwrap());
        let now = behind.sent() - before;
        spoke += usize::from(std::mem::replace(&mut sent, now) != now);
        (spoke >= 6).then_some(())
    });
    println!("{sent} bytes were sent to the core while {count} sessions came and lived");
    assert!(sent < count * TOUCHED, "{sent} bytes of {count} sessions");
    // So it would be if the core knew them.
    for (number, session) in sessions.iter_mut().enumerate() {
        session.create(&format!("/session-{number}"), 1).unwrap();
    }
    let before = behind.sent();
    wait_for("that the core hears of sessions", || {
        sessions.iter_mut().for_each(|session| session.ping().unwrap());
        (behind.sent() - before >= count * TOUCHED).then_some(())
    });
}

/// A client moves to another gateway, and nobody tells the first one, which is late to meet a new leader.
fn leave_half_dead(mut core: Ensemble) {
    let (left, gone_to) = (core.gateway_behind_cut(101, &[]), core.gateway(102, &[]));
    let way = Proxy::start(&left.address());
    let mut client = Client::connect(&way.address(), 40_000).unwrap();
    let mut beside = Client::connect(&left.address(), 40_000).unwrap();
    client.create("/mine", 1).unwrap();
    beside.create("/beside", 1).unwrap();
    way.silence();
    client.reconnect(&gone_to.address()).unwrap();
    client.set("/mine", b"1", -1).unwrap();
    let leader = core.leader();
    left.cut();
    core.kill(leader);
    wait_for("a leader", || match client.set("/mine", b"2", -1) {
        Ok(()) => Some(()),
        Err(Trouble::Refused(ErrorCode::CONNECTION_LOSS)) => None,
        Err(trouble) => panic!("{trouble:?}"),
    });
    left.restore();
    wait_for("a leader here, too", || beside.set("/beside", b"2", -1).ok());
    client.set("/mine", b"3", -1).expect("a connection that nobody else has a claim to");
    assert_eq!(client.owner("/mine").unwrap(), Some(client.session()));
}

/// 20,000 znodes, or as many as `RESTART_ZNODES` says. How long it takes is printed.
#[test]
fn a_gateway_killed_without_a_core_serves_its_last_state_within_the_age_that_is_allowed() {
    const AT_ONCE: usize = 500;
    const STATUS: &str = "/zookeeper/palisade/status";
    let znodes = std::env::var("RESTART_ZNODES").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000);
    let mut core = Core::start();
    let settings = [("stale_reads.max_age", "\"1h\""), ("storage.snap_count", "1000")];
    let mut gateway = core.gateway_with(101, "gateway", &settings);
    let mut client = Client::connect(&gateway.address(), 40_000).unwrap();
    client.create("/many", 0).unwrap();
    for first in (0..znodes).step_by(AT_ONCE) {
        let paths: Vec<String> = (first..first + AT_ONCE).map(|n| format!("/many/znode-{n}")).collect();
        let ops = paths.iter().map(|path| create_op(path, b"0", 0)).collect();
        client.call(OpCode::Multi, &Request::Multi(ops)).unwrap();
    }
    client.set("/many", b"last", -1).unwrap();
    client.call(OpCode::Sync, &Request::Sync(Some("/".into()))).unwrap();
    // What is proven of the replica's age is written down when the core is lost.
    core.voters.iter_mut().for_each(|voter| voter.kill());
    let status = |client: &mut Client| String::from_utf8(client.get(STATUS).unwrap()).unwrap();
    let proof = core.folder.path().join("gateway/data/version-2/proven-age");
    wait_for("all of it on disk", || {
        let proof = std::fs::read_to_string(&proof).ok()?;
        let zxid: i64 = proof.split(' ').next()?.parse().ok()?;
        let told = status(&mut client);
        (told.contains("\"stale\"") && told.contains(&format!("{zxid:#x}"))).then_some(())
    });

    gateway.process().kill();
    let killed = Instant::now();
    gateway.restart();
    let read = || {
        client.reconnect(&gateway.address()).ok()?;
        Some((client.get("/many").unwrap(), client.get(&format!("/many/znode-{}", znodes - 1)).unwrap()))
    };
    let seen = wait_for("the last state", read);
    println!("{znodes} znodes are served {:?} after the start", killed.elapsed());
    assert_eq!(seen, (b"last".to_vec(), b"0".to_vec()));
    let told = status(&mut client);
    assert!(told.contains("\"stale\"") && !told.contains("null"), "{told}");
    let failure = client.set("/many", b"lost", -1).unwrap_err();
    assert_eq!(failure, Trouble::Refused(ErrorCode::CONNECTION_LOSS));
}
