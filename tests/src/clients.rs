//! Programs of real clients: each does all that applications do, and fails at the first wrong observation.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::folder::Folder;
use crate::process::Process;
use crate::tools;
use crate::zkcli;

/// Runs the tours of all clients against `hosts` (a connect string).
#[track_caller]
pub fn all_tours(hosts: &str) {
    kazoo_tour(hosts);
    c_tour(hosts);
    zkcli::tour(hosts);
}

/// kazoo's tour against `hosts`.
#[track_caller]
pub fn kazoo_tour(hosts: &str) {
    let folder = Folder::new();
    run(
        "kazoo-tour",
        &folder,
        tools::python(),
        [tools::clients().join("kazoo_tour").as_os_str(), hosts.as_ref()],
    );
}

/// kazoo's own test suite against `hosts`.
#[track_caller]
pub fn kazoo_suite(hosts: &str) {
    const LEAST: usize = 300;
    let folder = Folder::new();
    let program = tools::clients().join("kazoo_suite");
    let log = run("kazoo-suite", &folder, tools::python(), [program.as_os_str(), hosts.as_ref()]);
    let summary = log.lines().find_map(|line| line.strip_prefix("kazoo suite: "));
    let passed = summary.and_then(|line| line.split(' ').next()?.parse().ok());
    assert!(passed.is_some_and(|count: usize| count >= LEAST), "kazoo's suite ran: {summary:?}");
}

/// The C client's tours against `hosts`.
#[track_caller]
pub fn c_tour(hosts: &str) {
    let folder = Folder::new();
    for name in ["c_tour", "c_async_tour"] {
        run(name, &folder, compiled_c(name, &folder), [hosts]);
    }
}

/// A program in C from the clients' folder.
#[track_caller]
pub(crate) fn compiled_c(name: &str, folder: &Folder) -> PathBuf {
    let (source, binary) = (tools::clients().join(format!("{name}.c")), folder.path().join(name));
    let warnings = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-DTHREADED", "-o"].map(OsStr::new);
    let files = [binary.as_os_str(), source.as_os_str()];
    let libraries = ["-lzookeeper_mt", "-lpthread"].map(OsStr::new);
    run("gcc", folder, "gcc", [&warnings[..], &files, &libraries].concat());
    binary
}

/// Arguments of `java` that run a class of the clients' folder `java`, with Debian's jars of these names.
#[track_caller]
pub(crate) fn compiled_java(class: &str, jars: &[&str], folder: &Folder) -> Vec<OsString> {
    let (sources, class_path) = (tools::clients().join("java"), tools::class_path(jars));
    let classes = folder.path().join("classes");
    let file = sources.join(format!("{class}.java"));
    let options = ["-Werror", "-Xlint:all,-path,-processing", "-cp", &class_path, "-d"].map(OsStr::new);
    let paths = [classes.as_os_str(), "-sourcepath".as_ref(), sources.as_os_str(), file.as_os_str()];
    run("javac", folder, "javac", [&options[..], &paths].concat());
    tools::java_arguments_with(class, &format!("{}:{class_path}", classes.display()))
}

/// Fills `hosts` with znodes of every kind below `/name`.
#[track_caller]
pub fn populate(hosts: &str, name: &str) {
    trees(&["populate", hosts, name]);
}

/// All znodes of `hosts`, one line each, with data, ACL and every field of their Stats.
#[track_caller]
pub fn dump(hosts: &str) -> Vec<String> {
    let lines: Vec<String> = trees(&["dump", hosts]).lines().map(str::to_owned).collect();
    assert!(lines.len() > 100, "a tree worth comparing: {lines:?}");
    lines
}

#[track_caller]
fn trees(arguments: &[&str]) -> String {
    let folder = Folder::new();
    let script = tools::clients().join("trees.py");
    let arguments = [script.as_os_str()].into_iter().chain(arguments.iter().map(OsStr::new));
    run("trees", &folder, tools::python(), arguments)
}

/// Fails at the first znode that differs.
#[track_caller]
pub fn assert_same_tree(before: &[String], after: &[String]) {
    for (before, after) in before.iter().zip(after) {
        assert_eq!(before, after);
    }
    assert_eq!(before.len(), after.len(), "number of znodes");
}

/// A program that locks orders, each with a parent of its own, and beside them holds a lock and an election for long.
#[derive(Debug)]
pub struct OrderLocker {
    process: Process,
    _folder: Folder,
}

impl OrderLocker {
    /// By kazoo's recipes (`tests/clients/orders.py`), so many orders again and again, or always new ones if it is 0.
    /// Returns once it has locked many.
    #[track_caller]
    pub fn kazoo(hosts: &str, orders: u32) -> Self {
        let script = tools::clients().join("orders.py");
        Self::start(Folder::new(), tools::python(), &[script.into(), hosts.into(), orders.to_string().into()])
    }

    /// By Curator's (`tests/clients/java/CuratorOrders.java`).
    #[track_caller]
    pub fn curator(hosts: &str, orders: u32) -> Self {
        let folder = Folder::new();
        let mut arguments =
            compiled_java("CuratorOrders", &["curator-recipes", "zookeeper", "slf4j-nop"], &folder);
        arguments.extend([hosts.into(), orders.to_string().into()]);
        Self::start(folder, "java", &arguments)
    }

    #[track_caller]
    fn start(folder: Folder, program: impl AsRef<OsStr>, arguments: &[OsString]) -> Self {
        let mut process = Process::spawn("orders", folder.path(), program, arguments);
        process.wait_for_line("ready");
        Self { process, _folder: folder }
    }

    /// Lets it end; it fails if it lost a lock, or had one that somebody else had.
    #[track_caller]
    pub fn finish(mut self) {
        drop(self.process.stdin());
        assert!(self.process.wait().success(), "{}", self.process.log());
    }
}

/// Runs a program to its end, and returns what it printed; panics with that when it fails.
#[track_caller]
pub fn run<A: AsRef<OsStr>>(
    name: &str,
    folder: &Folder,
    program: impl AsRef<OsStr> + AsRef<Path>,
    arguments: impl IntoIterator<Item = A>,
) -> String {
    let mut process = Process::spawn(name, folder.path(), program, arguments);
    drop(process.stdin());
    let status = process.wait();
    let log = process.log();
    assert!(status.success(), "{name}: {status}:\n{log}");
    log
}
