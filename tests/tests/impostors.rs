//! Clients that present sessions which are not theirs, or a past that is none, are refused as by Apache, and fill no log.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use palisade_tests::apache::ApacheEnsemble;
use palisade_tests::herd::{Client, Trouble};
use palisade_tests::palisade::Core;
use palisade_wire::connect::session_password;
use palisade_wire::{SessionId, Zxid};

const TIMEOUT_MS: i32 = 10_000;
const FORGED: [u8; 16] = [7; 16];
const NEVER_ISSUED: SessionId = 0x65_0000_0000_1234;
const FUTURE: Zxid = Zxid(0x7fff_0000_0000);
/// How often each impostor comes.
const INSISTENCE: usize = 30;

/// What becomes of everybody who presents something wrong to this server, where `client` has a session.
fn fates(address: &str, client: &mut Client) -> Vec<(&'static str, Trouble)> {
    let (session, password) = (client.session(), client.password());
    let wrong = [
        ("a forged password", (session, FORGED), Zxid::ZERO),
        ("no password", (session, [0; 16]), Zxid::ZERO),
        ("an id that was never issued", (NEVER_ISSUED, session_password(NEVER_ISSUED)), Zxid::ZERO),
        ("an id that was never issued, and no password", (NEVER_ISSUED, FORGED), Zxid::ZERO),
        ("a past that has not happened", (session, password), FUTURE),
        ("such a past, and no session", (0, [0; 16]), FUTURE),
    ];
    let fates = wrong.map(|(what, identity, last)| {
        let refused = Client::present(address, identity, last);
        let trouble = refused.err().unwrap_or_else(|| panic!("{what} was accepted by {address}"));
        // Its owner has lost a connection by that at the most.
        client.reconnect(address).unwrap_or_else(|trouble| panic!("after {what}: {trouble:?}"));
        client.get("/").unwrap();
        (what, trouble)
    });
    fates.to_vec()
}

#[test]
fn impostors_are_refused_as_apache_refuses_them() {
    let apache = ApacheEnsemble::start(1);
    let mut client = Client::connect(&apache.hosts(), TIMEOUT_MS).unwrap();
    let expected = fates(&apache.hosts(), &mut client);
    let ended: Vec<_> = expected.iter().map(|(_, trouble)| *trouble == Trouble::Expired).collect();
    assert_eq!(ended, [true, true, true, true, false, false], "{expected:?}");

    let mut core = Core::start();
    let tenant = |core: &mut Core, id, name: &str, local| {
        let settings = [("tenant.name", &*format!("\"{name}\"")), ("sessions.local", local)];
        core.gateway_with(id, name, &settings)
    };
    let mut ours = tenant(&mut core, 101, "ours", "true");
    let theirs = tenant(&mut core, 102, "theirs", "true");
    let global = tenant(&mut core, 103, "global", "false");
    let address = ours.address();
    let mut client = Client::connect(&address, TIMEOUT_MS).unwrap();
    assert_eq!(fates(&address, &mut client), expected, "before its first write");
    client.create("/ours", 1).unwrap();
    assert_eq!(fates(&address, &mut client), expected, "known to the core");
    let mut owner = Client::connect(&global.address(), TIMEOUT_MS).unwrap();
    owner.create("/global", 1).unwrap();
    assert_eq!(fates(&global.address(), &mut owner), expected, "at a gateway without sessions of its own");

    let mut local = Client::connect(&theirs.address(), TIMEOUT_MS).unwrap();
    let mut writer = Client::connect(&theirs.address(), TIMEOUT_MS).unwrap();
    writer.create("/theirs", 1).unwrap();
    for other in [&mut local, &mut writer] {
        let identity = (other.session(), other.password());
        for _ in 0..INSISTENCE {
            let refused = Client::present(&address, identity, Zxid::ZERO).err();
            assert_eq!(refused, Some(Trouble::Expired), "another tenant's session");
        }
        other.get("/theirs").unwrap();
    }
    assert_eq!(writer.owner("/theirs").unwrap(), Some(writer.session()), "it is where it was");

    let log = ours.process().log();
    let told: Vec<&str> = log.lines().filter(|line| line.contains("client refused")).collect();
    for why in ["password is not that", "has ended or was never issued", "has seen transactions"] {
        assert!(told.iter().any(|line| line.contains(why)), "nothing tells that {why}");
    }
    assert!(told.len() < INSISTENCE, "each kind is told once in a while: {told:#?}");
}
