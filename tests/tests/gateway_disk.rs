//! A gateway's disk is for its restarts: while it fails, nobody notices.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;

use palisade_tests::four_letter;
use palisade_tests::herd::{Client, Herd, Size};
use palisade_tests::palisade::Core;
use palisade_tests::wait::wait_for;
use rustix::process::Signal;

const SIZE: Size = Size { readers: 20, reads: 200, writes: 200 };
const TIMEOUT_MS: i32 = 10_000;

#[test]
fn nobody_notices_that_the_disk_fails_and_it_is_filled_again_later() {
    let mut core = Core::start();
    let settings = [("storage.snap_count", "100"), ("gateway.drain", "\"100ms\"")];
    let mut gateway = core.gateway_with(101, "gateway", &settings);
    let [_, admin] = gateway.ports();
    let is_on_disk = || four_letter::metric(admin, "zk_palisade_replica_on_disk");
    let mut herd = Herd::start(&gateway.address(), SIZE);
    herd.wait_for_writes(10);
    assert_eq!(is_on_disk().as_deref(), Some("1"));

    // The open log can be written wherever it is; the one that begins with the next snapshot cannot.
    let data = core.folder.path().join("gateway/data");
    let (here, away) = (data.join("version-2"), data.join("away"));
    fs::rename(&here, &away).unwrap();
    wait_for("a gateway without its disk", || (is_on_disk()? == "0").then_some(()));
    herd.wait_for_reads(200);
    herd.wait_for_writes(200);

    fs::rename(&away, &here).unwrap();
    wait_for("a gateway with its disk", || (is_on_disk()? == "1").then_some(()));
    herd.wait_for_writes(10);
    println!("{}", herd.finish());
    Client::connect(&gateway.address(), TIMEOUT_MS).unwrap().create("/kept", 0).unwrap();

    gateway.process().signal(Signal::TERM);
    assert!(gateway.process().wait().success());
    core.voters.iter_mut().for_each(|voter| voter.kill());
    gateway.restart();
    let mut reader = Client::connect(&gateway.address(), TIMEOUT_MS).unwrap();
    assert_eq!(reader.get("/kept").unwrap(), b"0");
}
