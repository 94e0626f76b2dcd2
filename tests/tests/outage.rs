//! A gateway without its core: readers go on, owners are let go before others can own, nobody hangs, and all are told
//! what they missed. The cores are Palisade's and Apache's.
//!
//! `HERD_SESSIONS=1000 OUTAGE_SECONDS=60 LOCKS=50 CUTS=10 cargo test --release -p palisade-tests --test outage --
//! --nocapture` is the size to try by hand.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use palisade_tests::apache::{ApacheEnsemble, ApacheServer};
use palisade_tests::believers::Believers;
use palisade_tests::ensemble::{Behind, Ensemble};
use palisade_tests::folder::Folder;
use palisade_tests::herd::{Client, Trouble};
use palisade_tests::lock_history::Competitors;
use palisade_tests::palisade::Core;
use palisade_tests::ports::Ports;
use palisade_tests::proxy::Proxy;
use palisade_tests::survivors::{Crowd, LONG_MS, Survivors};
use palisade_tests::wait::wait_for;
use palisade_wire::request::Request;
use palisade_wire::{ErrorCode, OpCode};
use rustix::process::Signal;

const SEQUENTIAL: i32 = 2;
/// How long a write may wait for a core.
const WRITE_WAIT: (&str, &str) = ("sessions.write_wait", "\"1s\"");
/// More transactions than a voter remembers for those who come late, at this setting.
const MANY: usize = 700;
const REMEMBER_FEW: &str = "snapCount=100\ncommitLogCount=500";

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

/// How long the core is gone: at least as long as an owner is certain to be let go.
fn outage() -> Duration {
    Duration::from_secs(from_environment("OUTAGE_SECONDS", 4))
}

/// Why there is no core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// All voters are killed, and start again.
    Death,
    /// The network to them is silent; they go on.
    Partition,
}

#[test]
fn all_survive_the_death_of_all_voters() {
    all_survive(Ensemble::palisade(), Fault::Death, 0);
}

#[test]
fn all_survive_the_death_of_all_voters_and_a_whole_new_tree() {
    all_survive(Ensemble::palisade_with(REMEMBER_FEW), Fault::Death, MANY);
}

#[test]
fn all_survive_a_silent_network() {
    all_survive(Ensemble::palisade(), Fault::Partition, 0);
}

#[test]
fn all_survive_the_death_of_all_apaches_voters() {
    all_survive(Ensemble::apache(), Fault::Death, 0);
}

/// A gateway with many clients is without its core for a while. Others, at another gateway, are back sooner, change what
/// those clients watch, and the core ends their sessions, before they are healed. `more` changes that nobody watches come
/// first; if there are [`MANY`], a whole tree heals the gateway.
fn all_survive(mut core: Ensemble, fault: Fault, more: usize) {
    let mut behind = core.gateway_behind_cut(101, &[WRITE_WAIT]);
    let elsewhere = core.gateway(102, &[WRITE_WAIT]);
    let mut writer = Client::connect(&behind.address(), LONG_MS).unwrap();
    let mut other = Client::connect(&elsewhere.address(), LONG_MS).unwrap();
    let mut survivors = Survivors::start(&behind.address(), &mut writer, Crowd::from_environment());
    writer.create("/line", 0).unwrap();

    match fault {
        Fault::Death => core.kill_all(),
        Fault::Partition => behind.silence(),
    }
    let start = Instant::now();
    let (mut longest, mut failed) = (Duration::ZERO, 0);
    while start.elapsed() < outage() {
        let asked = Instant::now();
        let failure = writer.create("/line/n-", SEQUENTIAL).unwrap_err();
        assert_eq!(failure, Trouble::Refused(ErrorCode::CONNECTION_LOSS));
        longest = longest.max(asked.elapsed());
        failed += 1;
        assert_eq!(writer.get("/line").unwrap(), b"0", "who writes in vain reads on");
        let mut new = Client::connect(&behind.address(), LONG_MS).unwrap();
        assert_eq!(new.get("/line").unwrap(), b"0", "new readers are let in");
        other.ping().unwrap();
    }
    let let_go = survivors.wait_until_owners_are_let_go();
    let report = survivors.report();
    println!("without a core: {report:?}; {failed} writes failed, none after more than {longest:?}");
    assert_eq!((report.failed, report.expired), (0, 0));

    if fault == Fault::Death {
        behind.cut();
        core.start_all();
    }
    wait_for("a write elsewhere", || other.set("/line", b"back", -1).ok());
    let gone = survivors.wait_until_owners_are_gone(&mut other);
    let early = let_go.iter().zip(&gone).map(|(let_go, gone)| gone.checked_duration_since(*let_go));
    let earliest = early.min().unwrap().expect("an owner is let go before its znode is gone");
    for _ in 0..more {
        other.set("/line", b"more", -1).unwrap();
    }
    Survivors::change(&mut other);
    assert_eq!(survivors.report().failed, 0);

    behind.restore();
    survivors.wait_until_well();
    let name = wait_for("a write here", || match writer.create("/line/n-", SEQUENTIAL) {
        Ok(name) => Some(name),
        Err(Trouble::Refused(_)) => None,
        // After a long time, its session has ended, too.
        Err(_) => {
            if writer.reconnect(&behind.address()) == Err(Trouble::Expired) {
                writer = Client::connect(&behind.address(), LONG_MS).unwrap();
            }
            None
        }
    });
    let number: usize = name.rsplit_once('-').unwrap().1.parse().unwrap();
    // What reached a leader of this epoch may have had its effect.
    let may_count = if fault == Fault::Death { 0 } else { failed };
    assert!(number <= may_count, "{number} writes had their effect that failed");
    let report = survivors.finish();
    println!("healed: {report:?}; owners were let go {earliest:?} before others could own");
    assert_eq!(report.failed, 0);
    let whole = behind.gateway.process().log().contains("the replica was replaced as a whole");
    assert!(whole || more == 0, "a whole tree was sent");
}

/// Where nothing stale may be read.
#[test]
fn without_stale_reads_all_are_let_go_and_come_back() {
    let mut core = Core::start();
    let gateway = core.gateway_with(101, "gateway", &[("stale_reads.enabled", "false")]);
    let mut client = Client::connect(&gateway.address(), LONG_MS).unwrap();
    client.create("/news", 0).unwrap();
    let leader = core.leader();
    core.voters[leader].kill();
    client.set("/news", b"1", -1).unwrap();
    assert_eq!(client.get("/news").unwrap(), b"1", "an election is no outage");
    core.voters.iter_mut().for_each(|voter| voter.kill());
    let trouble = wait_for("the end of reads", || client.get("/news").err());
    assert_eq!(trouble, Trouble::Disconnected);
    assert_eq!(client.reconnect(&gateway.address()), Err(Trouble::Disconnected));
    assert!(Client::connect(&gateway.address(), LONG_MS).is_err(), "nobody new is let in either");
    core.voters.iter_mut().for_each(|voter| voter.restart());
    wait_for("the same session", || client.reconnect(&gateway.address()).ok());
    assert_eq!(client.get("/news").unwrap(), b"1");
}

/// What clients saw is not there any more: they are not let in to see less, as Apache's are not; and sessions that only
/// the gateway knew end, so that they begin anew instead of going on.
#[test]
fn a_core_restored_from_a_backup_is_not_taken_for_the_one_before() {
    let mut core = Core::start();
    let mut gateway = core.gateway_with(101, "gateway", &[WRITE_WAIT]);
    let [mut writer, mut reader] = [(); 2].map(|()| Client::connect(&gateway.address(), LONG_MS).unwrap());
    writer.create("/before", 0).unwrap();
    core.voters.iter_mut().for_each(|voter| voter.stop());
    let backup = Folder::new();
    for voter in 1..=3 {
        let data = format!("voter-{voter}/data");
        copy(&core.folder.path().join(&data), &backup.path().join(&data));
    }
    core.voters.iter_mut().for_each(|voter| voter.restart());
    // The first that failed may have had its effect.
    wait_for("a write behind the backup", || match writer.create("/after", 0) {
        Ok(_) | Err(Trouble::Refused(ErrorCode::NODE_EXISTS)) => Some(()),
        Err(_) => None,
    });
    wait_for("another one", || writer.set("/before", b"1", -1).ok());
    assert_eq!((reader.get("/before"), reader.get("/after")), (Ok(b"1".to_vec()), Ok(b"0".to_vec())));

    core.voters.iter_mut().for_each(|voter| voter.kill());
    for voter in 1..=3 {
        let data = format!("voter-{voter}/data");
        std::fs::remove_dir_all(core.folder.path().join(&data)).unwrap();
        copy(&backup.path().join(&data), &core.folder.path().join(&data));
    }
    core.voters.iter_mut().for_each(|voter| voter.restart());
    for client in [&mut reader, &mut writer] {
        let trouble = wait_for("the end of the past", || client.get("/after").err());
        assert_eq!(trouble, Trouble::Disconnected);
    }
    let mut new = wait_for("the past of the backup", || Client::connect(&gateway.address(), LONG_MS).ok());
    assert_eq!(new.get("/before").unwrap(), b"0");
    assert_eq!(new.get("/after"), Err(Trouble::Refused(ErrorCode::NO_NODE)));
    for client in [&mut reader, &mut writer] {
        let refused = client.reconnect(&gateway.address());
        assert_eq!(refused, Err(Trouble::Disconnected), "nobody goes back in time");
    }
    // When the core has come as far again, by another way, it knows the writer from before the backup, and only him.
    let verdict = wait_for("a verdict", || {
        new.set("/before", b"other", -1).ok()?;
        reader.reconnect(&gateway.address()).err().filter(|trouble| *trouble != Trouble::Disconnected)
    });
    assert_eq!(verdict, Trouble::Expired);
    wait_for("the writer's return", || writer.reconnect(&gateway.address()).ok());
    assert_eq!(writer.get("/before").unwrap(), b"other");
    assert!(gateway.process().log().contains("history is behind this replica"));
}

/// Copies a folder, and all in it.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            std::fs::copy(from, to).unwrap();
        }
    }
}

/// An outage of Apache's clients, for comparison: they have a server without a vote, as a gateway is one.
#[test]
fn few_reads_survive_at_an_observer_of_apaches() {
    let (mut apache, folder, mut ports) = (ApacheEnsemble::start(3), Folder::new(), Ports::lease());
    let observer = ApacheServer::start_observer(folder.path(), apache.members(), &mut ports);
    let address = format!("127.0.0.1:{}", observer.client_port());
    let mut writer = Client::connect(&address, LONG_MS).unwrap();
    let crowd = Crowd { readers: 40, formers: 0, owners: 0 };
    let mut survivors = Survivors::start(&address, &mut writer, crowd);
    apache.servers.iter_mut().for_each(ApacheServer::kill);
    let (before, killed) = (survivors.report(), Instant::now());
    thread::sleep(outage());
    let after = survivors.finish();
    let (read, failed) = (after.reads - before.reads, after.failed - before.failed);
    println!("an observer without its ensemble for {:?}: {read} reads, {failed} failed", killed.elapsed());
    assert!(failed > 0);
}

/// The connections to the core stay, and nothing comes.
#[test]
fn writes_and_syncs_to_a_silent_core_fail_and_take_effect_at_most_once() {
    let mut core = Core::start();
    let gateway = core.gateway_with(101, "gateway", &[WRITE_WAIT]);
    let mut client = Client::connect(&gateway.address(), LONG_MS).unwrap();
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

#[test]
fn nothing_is_taken_from_owners_who_believe_while_they_and_their_gateway_are_out_of_reach() {
    owners_are_cut_off_with_their_gateway(Ensemble::palisade());
}

#[test]
fn nothing_is_taken_from_owners_who_believe_while_apaches_voters_reach_nobody() {
    owners_are_cut_off_with_their_gateway(Ensemble::apache());
}

/// Two networks are silent from one moment on, and nobody is told: that of the clients, and that of the core.
fn owners_are_cut_off_with_their_gateway(mut core: Ensemble) {
    let elsewhere = core.gateway(101, &[]);
    let behind = core.gateway_behind_cut(102, &[]);
    let clients = Proxy::start(&behind.address());
    let owners = u32::try_from(from_environment("OWNERS", 25)).unwrap();
    let believers = Believers::start(&clients.address(), &elsewhere.address(), owners);
    let lost = believers.lose(|| {
        behind.silence();
        clients.silence();
    });
    println!("{lost}");
}

#[test]
fn no_lock_has_two_holders_while_gateways_are_cut_off() {
    locks_change_hands(Ensemble::palisade());
}

#[test]
fn no_lock_has_two_holders_while_gateways_are_cut_off_from_apaches_voters() {
    locks_change_hands(Ensemble::apache());
}

/// One of two gateways after the other is cut off from a core that goes on, until clients of the other have its
/// clients' locks. Some cuts break the connections, others leave them silent.
fn locks_change_hands(mut core: Ensemble) {
    let sides = [101, 102].map(|id| core.gateway_behind_cut(id, &[WRITE_WAIT]));
    let locks = usize::try_from(from_environment("LOCKS", 5)).unwrap();
    let competitors = Competitors::start(&sides.each_ref().map(Behind::address), locks);
    sides[1].cut();
    competitors.wait_for_side(0);
    sides[1].restore();
    for cut in 0..usize::try_from(from_environment("CUTS", 2)).unwrap() {
        let (away, other) = (cut % 2, (cut + 1) % 2);
        if cut % 4 < 2 {
            sides[away].silence();
        } else {
            sides[away].cut();
        }
        competitors.wait_for_side(other);
        sides[away].restore();
        competitors.wait_for_expired(locks * (cut + 1));
    }
    println!("{}", competitors.finish());
}
