//! `palisade dev`, as a newcomer meets it: every real client against every tenant's port.

use std::thread;
use std::time::Instant;

use palisade_tests::clients;
use palisade_tests::folder::Folder;
use palisade_tests::palisade::{DEV_TENANTS, Dev};
use palisade_tests::ports::Ports;
use palisade_tests::procfs;
use palisade_tests::zkcli::ZkCli;
use rustix::process::Signal;

const MEMORY_LIMIT: u64 = 150 << 20;

#[test]
fn every_client_tours_every_tenant() {
    let (folder, mut ports) = (Folder::new(), Ports::lease());
    let begin = Instant::now();
    let dev = Dev::start(folder.path(), ports.take_consecutive(3));
    println!("ready after {:?}", begin.elapsed());
    assert_memory(&dev, "when ready");
    thread::scope(|scope| {
        for tenant in 0..DEV_TENANTS.len() as u16 {
            let address = dev.address(tenant);
            scope.spawn(move || clients::all_tours(&address));
        }
    });
    assert_memory(&dev, "after the tours");
}

#[test]
fn data_outlives_a_clean_stop() {
    let (folder, mut ports) = (Folder::new(), Ports::lease());
    let port = ports.take_consecutive(3);
    for (signal, round) in [(Signal::INT, "1"), (Signal::TERM, "2"), (Signal::KILL, "3")] {
        let mut dev = Dev::start(folder.path(), port);
        let mut cli = ZkCli::connect(&dev.address(0));
        match round {
            "1" => cli.expect("create /kept 0", &["Created /kept"]),
            "2" => cli.expect("get /kept", &["1"]),
            _ => cli.expect("get /kept", &["2"]),
        }
        cli.expect(&format!("set /kept {round}"), &[]);
        cli.quit();
        dev.process.signal(signal);
        let status = dev.process.wait();
        assert!(status.success() || signal == Signal::KILL, "{signal:?}: {status}");
    }
    let dev = Dev::start(folder.path(), port);
    let mut cli = ZkCli::connect(&dev.address(2));
    cli.expect("get /kept", &["3"]);
}

fn assert_memory(dev: &Dev, when: &str) {
    let memory = procfs::resident_memory(dev.process.pid());
    println!("resident memory {when}: {} KiB", memory >> 10);
    assert!(memory < MEMORY_LIMIT, "resident memory {when}: {memory} bytes");
}
