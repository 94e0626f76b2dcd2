//! Apache's command line client, driven through its standard input.

use std::ffi::OsString;
use std::io::Write;
use std::process::ChildStdin;

use crate::folder::Folder;
use crate::process::Process;
use crate::tools;
use crate::wait::wait_for;

/// A running zkCli.
#[derive(Debug)]
pub struct ZkCli {
    process: Process,
    input: ChildStdin,
    commands: usize,
    read: usize,
    _folder: Folder,
}

impl ZkCli {
    /// Starts zkCli, and waits until it is connected to `hosts`.
    #[track_caller]
    pub fn connect(hosts: &str) -> Self {
        let folder = Folder::new();
        let mut arguments = tools::java_arguments("org.apache.zookeeper.ZooKeeperMain", "slf4j-nop");
        arguments.extend(["-server", hosts, "-waitforconnection"].map(OsString::from));
        let mut process = Process::spawn("zkcli", folder.path(), "java", arguments);
        let input = process.stdin().expect("the standard input is taken once");
        let mut client = Self { process, input, commands: 0, read: 0, _folder: folder };
        client.expect_event("SyncConnected", "None", "null");
        // What zkCli says at its start may follow the event; all of it precedes the first result.
        client.run("sync /");
        client
    }

    /// Runs one command, and returns the lines that it printed, without watch events.
    #[track_caller]
    pub fn run(&mut self, command: &str) -> Vec<String> {
        self.commands += 1;
        // zkCli prints no prompt to a pipe, so a command with a known answer marks the end.
        let marker = format!("/no-such-znode-{}", self.commands);
        let end = format!("Node does not exist: {marker}");
        writeln!(self.input, "{command}\nget {marker}").expect("zkCli reads its input");
        let lines = wait_for(&format!("the result of '{command}'"), || {
            let log = self.process.log();
            let lines: Vec<String> = log.lines().skip(self.read).map(str::to_owned).collect();
            let position = lines.iter().position(|line| *line == end)?;
            Some(lines[..position].to_vec())
        });
        self.read += lines.len() + 1;
        lines.into_iter().filter(|line| !is_event_line(line)).collect()
    }

    /// Runs one command that must print exactly `wanted`.
    #[track_caller]
    pub fn expect(&mut self, command: &str, wanted: &[&str]) {
        assert_eq!(self.run(command), wanted, "zkCli: {command}");
    }

    /// Waits for a watch event, past or future.
    #[track_caller]
    pub fn expect_event(&mut self, state: &str, kind: &str, path: &str) {
        self.process.wait_for_line(&format!("WatchedEvent state:{state} type:{kind} path:{path}"));
    }

    /// All watch events so far.
    pub fn events(&self) -> Vec<String> {
        self.process
            .log()
            .lines()
            .filter(|line| line.starts_with("WatchedEvent "))
            .map(str::to_owned)
            .collect()
    }

    /// Closes the session and ends the program.
    #[track_caller]
    pub fn quit(mut self) {
        // zkCli exits with the status of the last command before.
        writeln!(self.input, "sync /\nquit").expect("zkCli reads its input");
        assert!(self.process.wait().success(), "zkCli: quit");
    }
}

fn is_event_line(line: &str) -> bool {
    line.is_empty() || line == "WATCHER::" || line.starts_with("WatchedEvent ")
}

/// All that operators do with zkCli, against `hosts`.
#[track_caller]
pub fn tour(hosts: &str) {
    let mut tour = Tour::new(hosts);
    tour.znodes();
    tour.permissions();
    tour.watches_and_lock(hosts);
    tour.expect("deleteall /cli", &[]);
    tour.expect("get /cli", &["Node does not exist: /cli"]);
    tour.cli.quit();
}

/// A tour's client and the name of its own root, for which `/cli` stands in commands and results.
struct Tour {
    cli: ZkCli,
    root: String,
}

impl Tour {
    #[track_caller]
    fn new(hosts: &str) -> Self {
        let mut cli = ZkCli::connect(hosts);
        let made = cli.run("create -s /cli-tour-");
        let root = made
            .first()
            .and_then(|line| line.strip_prefix("Created "))
            .expect("a sequential znode")
            .to_owned();
        cli.expect(&format!("delete {root}"), &[]);
        Self { cli, root }
    }

    #[track_caller]
    fn expect(&mut self, command: &str, wanted: &[&str]) {
        let wanted: Vec<String> = wanted.iter().map(|line| line.replace("/cli", &self.root)).collect();
        assert_eq!(self.cli.run(&self.named(command)), wanted, "zkCli: {command}");
    }

    /// Runs one command that must print a Stat with the given values.
    #[track_caller]
    fn expect_stat(&mut self, command: &str, wanted: &[(&str, i64)]) {
        let lines = self.cli.run(&self.named(command));
        for (field, value) in wanted {
            let line = format!("{field} = {value}");
            assert!(lines.contains(&line), "zkCli: {command}: no line '{line}' in {lines:?}");
        }
    }

    #[track_caller]
    fn expect_event(&mut self, kind: &str, path: &str) {
        self.cli.expect_event("SyncConnected", kind, &self.named(path));
    }

    fn named(&self, text: &str) -> String {
        text.replace("/cli", &self.root)
    }

    fn znodes(&mut self) {
        self.expect("create /cli one", &["Created /cli"]);
        self.expect("create /cli two", &["Node already exists: /cli"]);
        self.expect("get /cli", &["one"]);
        self.expect_stat("get -s /cli", &[("dataLength", 3), ("dataVersion", 0), ("numChildren", 0)]);
        self.expect_stat("set -s /cli longer", &[("dataLength", 6), ("dataVersion", 1), ("cversion", 0)]);
        self.expect("set -v 0 /cli three", &["version No is not valid : /cli"]);
        self.expect("create -s /cli/s- x", &["Created /cli/s-0000000000"]);
        self.expect("create -e /cli/e x", &["Created /cli/e"]);
        self.expect("create -e -s /cli/es- x", &["Created /cli/es-0000000002"]);
        self.expect("create -c /cli/c x", &["Created /cli/c"]);
        self.expect("create /cli/e/child x", &["Ephemerals cannot have children: /cli/e/child"]);
        self.expect("create /cli/c/child x", &["Created /cli/c/child"]);
        self.expect("ls /cli", &["[c, e, es-0000000002, s-0000000000]"]);
        self.expect(
            "ls -R /cli",
            &["/cli", "/cli/c", "/cli/e", "/cli/es-0000000002", "/cli/s-0000000000", "/cli/c/child"],
        );
        self.expect_stat("stat /cli", &[("cversion", 4), ("numChildren", 4)]);
        self.expect("delete /cli/c", &["Node not empty: /cli/c"]);
        self.expect("deleteall /cli/c", &[]);
        self.expect("delete /cli/s-0000000000", &[]);
        self.expect("sync /cli", &["Sync is OK"]);
        self.expect("ls /cli", &["[e, es-0000000002]"]);
    }

    fn permissions(&mut self) {
        self.expect("getAcl /cli", &["'world,'anyone", ": cdrwa"]);
        self.expect("addauth digest ann:secret", &[]);
        self.expect("create /cli/private x auth::cdrwa", &["Created /cli/private"]);
        self.expect("getAcl /cli/private", &["'digest,'ann:7RJfAeIvrl4zdj6sS2fXrQHDvHM=", ": cdrwa"]);
        self.expect("set /cli/private y", &[]);
        self.expect("setAcl /cli/private world:anyone:r", &[]);
        self.expect("set /cli/private z", &["Insufficient permission : /cli/private"]);
        self.expect("get /cli/private", &["y"]);
    }

    /// Watches, and with them the lock recipe by hand: the second contender gets the lock when the first one's session
    /// ends.
    fn watches_and_lock(&mut self, hosts: &str) {
        let mut other = Self { cli: ZkCli::connect(hosts), root: self.root.clone() };
        self.expect("get -w /cli", &["longer"]);
        self.expect("ls -w /cli", &["[e, es-0000000002, private]"]);
        other.expect("set /cli changed", &[]);
        self.expect_event("NodeDataChanged", "/cli");
        other.expect("create /cli/lock", &["Created /cli/lock"]);
        self.expect_event("NodeChildrenChanged", "/cli");
        other.expect("create -e -s /cli/lock/n-", &["Created /cli/lock/n-0000000000"]);
        self.expect("create -e -s /cli/lock/n-", &["Created /cli/lock/n-0000000001"]);
        self.expect("ls /cli/lock", &["[n-0000000000, n-0000000001]"]);
        self.expect_stat("stat -w /cli/lock/n-0000000000", &[("dataLength", 0)]);
        other.cli.quit();
        self.expect_event("NodeDeleted", "/cli/lock/n-0000000000");
        self.expect("ls /cli/lock", &["[n-0000000001]"]);
    }
}
