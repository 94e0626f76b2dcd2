//! Client programs that ask for faults, by lines on their standard output: `please cut` their connections,
//! `please restore` them, `please kill` or `please restart` the server. They are told `done` on their standard input.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::time::Duration;

use crate::clients::{compiled_c, compiled_java};
use crate::ensemble::Ensemble;
use crate::folder::Folder;
use crate::palisade::Gateway;
use crate::process::Process;
use crate::proxy::Proxy;
use crate::target::Target;
use crate::tools;
use crate::wait::{wait_at_most, wait_for};

/// How long a program may take between two requests.
const PATIENCE: Duration = Duration::from_secs(180);

/// The libraries by which [`rewatch`] connects.
#[derive(Clone, Copy, Debug)]
pub enum Library {
    /// Apache's Java client.
    Java,
    /// Apache's C client.
    C,
    /// kazoo.
    Python,
}

/// Sets `count` watches by this library, and breaks the connection; what changes meanwhile must be seen once, and the
/// other watches must stay. Returns the proxy, which knows how the watches were registered again.
#[track_caller]
pub fn rewatch(target: &mut Target, library: Library, count: usize) -> Proxy {
    let (folder, proxy) = (Folder::new(), Proxy::start(&target.address()));
    let (program, mut arguments): (OsString, Vec<OsString>) = match library {
        Library::Java => ("java".into(), compiled_java("Rewatch", &["zookeeper", "slf4j-nop"], &folder)),
        Library::C => (compiled_c("rewatch", &folder).into(), Vec::new()),
        Library::Python => (tools::python().into(), vec![tools::clients().join("rewatch.py").into()]),
    };
    arguments.extend([proxy.address(), target.address(), count.to_string()].map(OsString::from));
    run(&folder, &program, &arguments, &proxy, target);
    proxy
}

/// The tour of Curator's recipes.
#[track_caller]
pub fn curator_tour(target: &mut Target) {
    let jars = ["curator-recipes", "curator-x-discovery", "zookeeper", "slf4j-nop"];
    let (folder, proxy) = (Folder::new(), Proxy::start(&target.address()));
    let mut arguments = compiled_java("CuratorTour", &jars, &folder);
    let missed = if target.tells_what_was_missed() { "told" } else { "lost" };
    arguments.extend([proxy.address(), target.address(), missed.to_owned()].map(OsString::from));
    run(&folder, "java".as_ref(), &arguments, &proxy, target);
}

/// A Java client sets `count` persistent watches, and sets them again when the gateway was started with these settings.
#[track_caller]
pub fn beyond_limit(gateway: &mut Gateway, settings: &[(&str, &str)], count: usize) {
    let folder = Folder::new();
    let mut arguments = compiled_java("BeyondLimit", &["zookeeper", "slf4j-nop"], &folder);
    arguments.extend([gateway.address(), count.to_string()].map(OsString::from));
    serve(&folder, "java".as_ref(), &arguments, |request| match request {
        "restart" => {
            assert!(gateway.reload(settings), "the settings are wrong");
            gateway.restart();
        }
        other => panic!("a client asks: please {other}"),
    });
}

/// A Java client watches at a gateway that is killed again and again, and hears of every change that is made at another.
#[track_caller]
pub fn missed(gateway: &mut Gateway, other: &Gateway, (count, rounds): (usize, usize)) {
    let (folder, proxy) = (Folder::new(), Proxy::start(&gateway.address()));
    let mut arguments = compiled_java("Missed", &["zookeeper", "slf4j-nop"], &folder);
    let [count, rounds] = [count, rounds].map(|number| number.to_string());
    arguments.extend([proxy.address(), other.address(), count, rounds].map(OsString::from));
    serve(&folder, "java".as_ref(), &arguments, |request| match request {
        "cut" => proxy.cut(),
        "kill" => {
            wait_for("a gateway that is told what the other one is", || {
                (gateway.zxid()? == other.zxid()?).then_some(())
            });
            gateway.kill();
        }
        "restart" => gateway.restart(),
        "restore" => proxy.restore(),
        other => panic!("a client asks: please {other}"),
    });
}

/// A gateway is cut off from its core under Java's clients.
#[track_caller]
pub fn outage_in_java(core: &mut Ensemble) {
    let folder = Folder::new();
    let arguments = compiled_java("Outage", &["zookeeper", "slf4j-nop"], &folder);
    outage(core, &folder, "java".as_ref(), arguments);
}

/// The same under kazoo's.
#[track_caller]
pub fn outage_in_python(core: &mut Ensemble) {
    let script = tools::clients().join("outage.py").into();
    outage(core, &Folder::new(), tools::python().as_os_str(), vec![script]);
}

/// The same under those of Apache's C client.
#[track_caller]
pub fn outage_in_c(core: &mut Ensemble) {
    let folder = Folder::new();
    let program = compiled_c("outage", &folder);
    outage(core, &folder, program.as_os_str(), Vec::new());
}

#[track_caller]
fn outage(core: &mut Ensemble, folder: &Folder, program: &OsStr, mut arguments: Vec<OsString>) {
    let behind = core.gateway_behind_cut(101, &[]);
    let elsewhere = core.gateway(102, &[]);
    arguments.extend([behind.address(), elsewhere.address()].map(OsString::from));
    serve(folder, program, &arguments, |request| match request {
        "cut" => behind.silence(),
        "restore" => behind.restore(),
        other => panic!("a client asks: please {other}"),
    });
}

#[track_caller]
fn run(folder: &Folder, program: &OsStr, arguments: &[OsString], proxy: &Proxy, target: &mut Target) {
    serve(folder, program, arguments, |request| match request {
        "cut" => proxy.cut(),
        "restore" => proxy.restore(),
        "restart" => target.restart(),
        other => panic!("a client asks: please {other}"),
    });
}

/// Runs a program to its end, and does what it asks.
#[track_caller]
fn serve(folder: &Folder, program: &OsStr, arguments: &[OsString], mut grant: impl FnMut(&str)) {
    let mut process = Process::spawn("client", folder.path(), program, arguments);
    let mut input = process.stdin().expect("the standard input is taken once");
    for asked in 0.. {
        let Some(request) = next_request(&mut process, asked) else { break };
        grant(&request);
        // A program that ended instead of reading is judged by its status.
        let _ = writeln!(input, "done");
    }
    let status = process.wait();
    assert!(status.success(), "{}: {status}:\n{}", program.display(), process.log());
}

/// What the program asks for, after so many requests; none when it has ended.
#[track_caller]
fn next_request(process: &mut Process, asked: usize) -> Option<String> {
    wait_at_most(PATIENCE, || {
        let running = process.is_running();
        let log = process.log();
        // Without the last line, which may not be complete.
        let lines = log.rsplit_once('\n').map_or("", |(lines, _)| lines).lines();
        let request = lines.filter_map(|line| line.strip_prefix("please ")).nth(asked).map(str::to_owned);
        (request.is_some() || !running).then_some(request)
    })
    .unwrap_or_else(|| panic!("a client neither ends nor asks for anything:\n{}", process.log()))
}
