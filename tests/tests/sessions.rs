//! Sessions outlive the gateways and the core.

use std::io::Write;
use std::process::ChildStdin;

use palisade_tests::folder::Folder;
use palisade_tests::palisade::{Core, Gateway};
use palisade_tests::process::Process;
use palisade_tests::tools;
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
