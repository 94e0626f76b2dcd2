//! A gateway without its core: readers go on, owners are let go before others can own, and nobody hangs.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::thread;
use std::time::{Duration, Instant};

use palisade_tests::herd::{Client, Trouble};
use palisade_tests::palisade::{Core, Gateway};
use palisade_tests::proxy::Proxy;
use palisade_tests::wait::wait_for;
use palisade_tests::zoo_cfg::Member;
use palisade_wire::request::Request;
use palisade_wire::{ErrorCode, OpCode};
use rustix::process::Signal;

/// Of owners: short, so that the core ends their sessions soon.
const OWNER_MS: i32 = 4_000;
/// Of all others, who say nothing while they wait for something else.
const READER_MS: i32 = 40_000;
const EPHEMERAL: i32 = 1;
const SEQUENTIAL: i32 = 2;
const READERS: usize = 20;
const PAUSE: Duration = Duration::from_millis(20);

/// How long the core is gone: `OUTAGE_SECONDS`, or as long as an owner is certain to be let go.
fn outage() -> Duration {
    let seconds = std::env::var("OUTAGE_SECONDS").ok().and_then(|n| n.parse().ok());
    Duration::from_secs(seconds.unwrap_or(6))
}

#[test]
fn readers_go_on_while_all_voters_are_dead_and_everybody_works_afterwards() {
    let mut core = Core::start();
    let gateway = core.gateway_with(101, "gateway", &[("sessions.write_wait", "\"1s\"")]);
    let connect = || Client::connect(&gateway.address(), READER_MS).unwrap();
    let mut writer = connect();
    writer.create("/news", 0).unwrap();
    let mut owner = Client::connect(&gateway.address(), OWNER_MS).unwrap();
    owner.create("/owned", EPHEMERAL).unwrap();
    let mut readers: Vec<Client> = (0..READERS).map(|_| connect()).collect();
    for reader in &mut readers {
        assert_eq!(reader.get("/news").unwrap(), b"0");
    }

    core.voters.iter_mut().for_each(|voter| voter.kill());
    let (until, mut owner_let_go, mut failed, mut reads) = (Instant::now() + outage(), false, 0, 0);
    while Instant::now() < until {
        for client in readers.iter_mut().chain([&mut writer]) {
            assert_eq!(client.get("/news").unwrap(), b"0", "connected clients go on reading");
            reads += 1;
        }
        if !owner_let_go {
            owner_let_go = match owner.get("/owned") {
                Ok(_) => false,
                Err(Trouble::Disconnected) => true,
                Err(trouble) => panic!("{trouble:?}"),
            };
        }
        assert_eq!(connect().get("/news").unwrap(), b"0", "new readers are let in");
        if failed < 2 {
            let failure = writer.set("/news", b"lost", -1).unwrap_err();
            assert_eq!(failure, Trouble::Refused(ErrorCode::CONNECTION_LOSS));
            failed += 1;
        }
        thread::sleep(PAUSE);
    }
    assert!(owner_let_go && failed == 2);

    core.voters.iter_mut().for_each(|voter| voter.restart());
    core.wait_until_complete();
    let mut failed = 0;
    wait_for("a write that is taken", || match writer.set("/news", b"1", -1) {
        Ok(()) => Some(()),
        Err(Trouble::Refused(ErrorCode::CONNECTION_LOSS)) => {
            failed += 1;
            None
        }
        Err(trouble) => panic!("{trouble:?}"),
    });
    for reader in &mut readers {
        assert_eq!(reader.get("/news").unwrap(), b"1", "without a new connection");
        assert!(reader.events() > 0, "and it was told");
    }
    println!("{reads} reads during the outage, {failed} writes failed after it");
}

/// The connections to the core stay, and nothing comes.
#[test]
fn writes_and_syncs_to_a_silent_core_fail_and_take_effect_at_most_once() {
    let mut core = Core::start();
    let gateway = core.gateway_with(101, "gateway", &[("sessions.write_wait", "\"1s\"")]);
    let mut client = Client::connect(&gateway.address(), READER_MS).unwrap();
    client.create("/line", 0).unwrap();
    assert_eq!(client.create("/line/n-", SEQUENTIAL).unwrap(), "/line/n-0000000000");
    let failure = Trouble::Refused(ErrorCode::CONNECTION_LOSS);

    core.voters.iter_mut().for_each(|voter| voter.process().signal(Signal::STOP));
    assert_eq!(client.create("/line/n-", SEQUENTIAL), Err(failure.clone()));
    assert_eq!(client.get("/line").unwrap(), b"0");
    assert_eq!(client.call(OpCode::Sync, &Request::Sync(Some("/".into()))), Err(failure.clone()));
    core.voters.iter_mut().for_each(|voter| voter.process().signal(Signal::CONT));

    let mut failed = 1;
    let name = wait_for("a write that is taken", || match client.create("/line/n-", SEQUENTIAL) {
        Ok(name) => Some(name),
        Err(trouble) => {
            assert_eq!(trouble, failure);
            failed += 1;
            None
        }
    });
    let number: usize = name.rsplit_once('-').unwrap().1.parse().unwrap();
    assert!((1..=1 + failed).contains(&number), "{number} took effect before, of 1 to {}", 1 + failed);
}

/// Two gateways of one core; the first is cut off while the core goes on.
#[test]
fn a_lock_is_let_go_behind_a_cut_before_another_client_gets_it() {
    let mut core = Core::start();
    let proxies: Vec<Proxy> = core
        .members
        .iter()
        .map(|member| Proxy::start(&format!("127.0.0.1:{}", member.quorum_port)))
        .collect();
    let port = |proxy: &Proxy| proxy.address().rsplit_once(':').unwrap().1.parse().unwrap();
    let behind: Vec<Member> = core
        .members
        .iter()
        .zip(&proxies)
        .map(|(m, p)| Member { quorum_port: port(p), ..m.clone() })
        .collect();
    let folder = core.folder.subfolder("cut");
    let cut = Gateway::start(&folder, 101, &behind, &mut core.ports);
    let whole = core.gateway(102, "whole");

    let mut owner = Client::connect(&cut.address(), OWNER_MS).unwrap();
    let mut next = Client::connect(&whole.address(), READER_MS).unwrap();
    owner.create("/lock", EPHEMERAL).unwrap();
    let mut reader = Client::connect(&cut.address(), READER_MS).unwrap();
    wait_for("the lock seen by both", || next.get("/lock").ok());

    let owner = thread::spawn(move || {
        while owner.get("/lock").is_ok() {
            thread::sleep(PAUSE);
        }
        Instant::now()
    });
    for proxy in &proxies {
        proxy.cut();
    }
    let taken = wait_for("the lock of an owner who is not heard any more", || {
        match next.create("/lock", EPHEMERAL) {
            Ok(_) => Some(Instant::now()),
            Err(Trouble::Refused(ErrorCode::NODE_EXISTS)) => None,
            Err(trouble) => panic!("{trouble:?}"),
        }
    });
    let let_go = owner.join().unwrap();
    assert!(let_go < taken, "two held the lock for {:?}", let_go.duration_since(taken));
    println!("the lock was free for {:?}", taken.duration_since(let_go));

    // Behind the cut, the past goes on until it is healed.
    assert_eq!(reader.get("/lock").unwrap(), b"0");
    next.set("/lock", b"1", 0).unwrap();
    for proxy in &proxies {
        proxy.restore();
    }
    wait_for("the new lock behind the healed cut", || (reader.get("/lock").unwrap() == b"1").then_some(()));
    assert!(reader.events() > 0);
}
