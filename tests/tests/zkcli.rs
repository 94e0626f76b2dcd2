//! Every command of zkCli prints the same against Apache ZooKeeper and against a gateway.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;
use std::thread;

use palisade_tests::apache::ApacheEnsemble;
use palisade_tests::target::Target;
use palisade_tests::zkcli::ZkCli;

/// One command each, all of them by one client. `HOST` is the server's address, and a semicolon separates commands whose
/// end cannot be seen, as the client is not connected.
const SCRIPT: &str = "
version
no-such-command
create /z
create /z data
create /z/data some-data
create /z/acl x world:anyone:crw
create /z/bad x world:anyone
create /z/no/parent x
create relative x
create -s /z/s- x
create -s /z/s- x
create -e /z/e x
create -e /z/e/child x
create -s -e /z/es- x
create -c /z/c
create -c /z/c/c
create -c -e /z/bad
create -t 600000 /z/t x
create -t 600000 -s /z/ts- x
create -t -5 /z/bad x
create -t 600000 -e /z/bad x
ls /z
ls -s /z
ls -R /z
ls -w /z
ls /none
ls relative
get /z/data
get -s /z/data
get -w /z/data
get /none
stat /z
stat -w /z/data
stat /none
set /z/data other
set -s /z/data longer-data
set -v 7 /z/data x
set -v 2 /z/data x
set /none x
getAcl /z/acl
getAcl -s /z/acl
getAcl /none
setAcl /z/acl world:anyone:cdrwa
setAcl -s /z/acl world:anyone:cdrwa
setAcl -v 9 /z/acl world:anyone:cdrwa
setAcl -R /z/c world:anyone:cdrwa
setAcl /z/acl nonsense
setAcl /z/acl digest:ann
setAcl /none world:anyone:cdrwa
whoami
addauth digest ann:secret
whoami
create /z/private x auth::cdrwa
getAcl /z/private
setAcl /z/private world:anyone:ca
get /z/private
set /z/private y
ls /z/private
getAcl /z/private
getAllChildrenNumber /z
getAllChildrenNumber /none
getEphemerals
getEphemerals /z/e
getEphemerals /none
listquota /z
setquota -n 20 /z
setquota -b 1000 /z
listquota /z
create /z/counted 12345
listquota /z
setquota -N 5 /z/c
setquota -B 50 /z/c
listquota /z/c
setquota -n 3 /z/data/below
setquota -n 3 /none
delquota -n /z
delquota -b /z
delquota -N /z/c
delquota /z/c
delquota /z
listquota /z
ls /zookeeper
ls -R /zookeeper/quota
delete /z
delete -v 3 /z/data
delete /none
sync /z
sync /none
addWatch /z/watched
addWatch -m PERSISTENT /z/persistent
addWatch -m PERSISTENT_RECURSIVE /z/recursive
addWatch -m NONSENSE /z/bad
create /z/watched x
create /z/watched/a x
create /z/watched/a/b x
set /z/watched/a/b y
create /z/persistent x
create /z/persistent/a x
create /z/persistent/a/b x
set /z/persistent y
create /z/recursive x
create /z/recursive/a x
set /z/recursive/a y
delete /z/recursive/a
removewatches /z/watched
removewatches /z/persistent
removewatches /z/persistent -d
removewatches /z/data
removewatches /none
set /z/watched z
set /z/persistent z
printwatches
printwatches off
printwatches
printwatches on
config
config -c
reconfig -remove 3
reconfig -members server.9=127.0.0.1:1:2
deleteall /z/watched
deleteall -b 10 /z/persistent
deleteall /z/recursive
deleteall /none
history
redo 3
get -w /z/data
delete /z/data
close;ls /;connect HOST
ls /z
create -e /z/last x
getEphemerals
get -w /z/last
delete /z/last
deleteall /z
ls /
";

/// What is printed must be the same but for the names of servers, times and ids.
#[test]
fn every_command_prints_the_same() {
    let (apache, palisade) = thread::scope(|scope| {
        let apache = scope.spawn(|| transcript(&ApacheEnsemble::start(3).hosts()));
        let palisade = transcript(&Target::palisade().address());
        (apache.join().unwrap(), palisade)
    });
    let differences: Vec<String> = apache
        .iter()
        .zip(&palisade)
        .filter(|(apache, palisade)| apache != palisade)
        .map(|((command, apache), (_, palisade))| {
            format!(
                "{command}\n  Apache:\n    {}\n  Palisade:\n    {}",
                apache.join("\n    "),
                palisade.join("\n    ")
            )
        })
        .collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Each command with what it printed, and at last all watch events.
fn transcript(hosts: &str) -> Vec<(String, Vec<String>)> {
    // One server's, so that the client does not choose.
    let host = hosts.split(',').next().unwrap();
    let mut cli = ZkCli::connect(host);
    let mut names = Names::new(host);
    let mut told = Vec::new();
    for command in SCRIPT.lines().filter(|line| !line.is_empty()) {
        let lines = cli.run(&command.replace("HOST", host).replace(';', "\n"));
        let mut lines: Vec<String> = lines.iter().map(|line| names.normalise(line)).collect();
        if command == "whoami" {
            // A set without an order.
            lines.sort();
        }
        told.push((command.to_owned(), lines));
    }
    // Events come in order, so that this one's is the last.
    cli.expect_event("SyncConnected", "NodeDeleted", "/z/last");
    told.push(("(events)".to_owned(), cli.events()));
    cli.quit();
    told
}

/// Zxids are numbered as they appear.
struct Names {
    host: String,
    zxids: BTreeMap<String, usize>,
}

impl Names {
    fn new(host: &str) -> Self {
        Self { host: host.to_owned(), zxids: BTreeMap::new() }
    }

    fn normalise(&mut self, line: &str) -> String {
        let Some((field, value)) = line.split_once(" = ") else {
            return self.without_addresses(line);
        };
        match field {
            "cZxid" | "mZxid" | "pZxid" => {
                let next = self.zxids.len();
                format!("{field} = zxid {}", self.zxids.entry(value.to_owned()).or_insert(next))
            }
            "ctime" | "mtime" => format!("{field} = a time"),
            "ephemeralOwner" if value != "0x0" => format!("{field} = a session"),
            _ => self.without_addresses(line),
        }
    }

    /// The ports of servers are those of the test.
    fn without_addresses(&self, line: &str) -> String {
        let line = line.replace(&self.host, "HOST");
        match line.split_once("=127.0.0.1:") {
            Some((server, address)) if server.starts_with("server.") => {
                let kept: String = address.chars().filter(|c| !c.is_ascii_digit()).collect();
                format!("{server}=address:{kept}")
            }
            _ => line,
        }
    }
}
