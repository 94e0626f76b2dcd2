//! Starts three voters and the server for the clients, of either side.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::compare::config::{self, Ports};
use crate::env::Env;
use crate::failure::Failure;
use crate::process::Process;
use crate::site::Site;
use crate::usage::Servers;
use tempfile::TempDir;

const JARS: &str = "/usr/share/java";
const VOTERS: usize = 3;
/// How long a side may take until all its servers serve.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long one server may take to answer `srvr`.
const STATUS_LIMIT: Duration = Duration::from_secs(2);
/// Within the bounds of both sides' `tickTime`.
const SESSION_TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);

/// Three voters and the server that clients connect to. Dropping it kills them and removes their folder.
#[derive(Debug)]
pub(super) struct Ensemble {
    name: &'static str,
    /// Each with the port where it answers `srvr`; the last one is for clients. Dropped before the folder is.
    servers: Vec<(Process, u16)>,
    _folder: TempDir,
}

impl Ensemble {
    /// Apache's: the fourth server observes.
    pub(super) fn apache() -> Result<Self, Failure> {
        let class_path = class_path(Path::new(JARS))?;
        check_java()?;
        let folder = TempDir::with_prefix("palisade-compare-apache-")?;
        let all = free_ports(VOTERS + 1)?;
        let mut servers = Vec::with_capacity(all.len());
        for (id, own) in (1..).zip(&all) {
            let text = |data: &Path| config::apache(data, &all, *own, id > VOTERS);
            let file = write_config(folder.path(), id, "zoo.cfg", text)?;
            let arguments: [OsString; 6] = [
                // What Apache's own start script gives a server.
                "-Xmx1000m".into(),
                "-Dorg.slf4j.simpleLogger.defaultLogLevel=error".into(),
                "-cp".into(),
                class_path.clone(),
                "org.apache.zookeeper.server.quorum.QuorumPeerMain".into(),
                file.into(),
            ];
            let process = Process::spawn(format!("Apache server {id}"), OsStr::new("java"), arguments)?;
            servers.push((process, own.status));
        }
        Ok(Self { name: "Apache", servers, _folder: folder })
    }

    /// Palisade's: the fourth server is a gateway.
    pub(super) fn palisade(binary: &Path) -> Result<Self, Failure> {
        let binary = binary.canonicalize().map_err(|error| {
            let build = "run `cargo build --release -p palisade`, or name the binary with --palisade";
            Failure::Before(format!("{}: {error}; {build}", binary.display()))
        })?;
        let folder = TempDir::with_prefix("palisade-compare-")?;
        let all = free_ports(VOTERS + 1)?;
        let (voters, gateway) = all.split_at(VOTERS);
        let mut servers = Vec::with_capacity(all.len());
        for (id, own) in (1..).zip(voters) {
            let file = write_config(folder.path(), id, "zoo.cfg", |data| config::voter(data, voters))?;
            let admin = format!("127.0.0.1:{}", own.status).into();
            let arguments: [OsString; 5] =
                ["core".into(), "--config".into(), file.into(), "--admin-address".into(), admin];
            let process = Process::spawn(format!("voter {id}"), binary.as_os_str(), arguments)?;
            servers.push((process, own.status));
        }
        for own in gateway {
            let text = |data: &Path| config::gateway(data, voters, own.status, own.quorum);
            let file = write_config(folder.path(), VOTERS + 1, "gateway.toml", text)?;
            let arguments: [OsString; 3] = ["gateway".into(), "--config".into(), file.into()];
            let process = Process::spawn("gateway".into(), binary.as_os_str(), arguments)?;
            servers.push((process, own.status));
        }
        Ok(Self { name: "Palisade", servers, _folder: folder })
    }

    /// Which side it is.
    pub(super) const fn name(&self) -> &'static str {
        self.name
    }

    /// Where clients connect, and all server processes.
    pub(super) fn site(&self) -> Site {
        let port = self.servers.last().map_or(0, |(_, port)| *port);
        Site {
            targets: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))],
            root: "/palisade-loadtest".into(),
            session_timeout: SESSION_TIMEOUT,
            servers: Servers {
                pids: self.servers.iter().map(|(process, _)| process.pid()).collect(),
                upstream: Vec::new(),
            },
        }
    }

    /// Waits until each server leads, follows or observes.
    pub(super) fn wait_until_serving(&mut self, env: &Env) -> Result<(), Failure> {
        let deadline = Instant::now() + START_LIMIT;
        for (process, port) in &mut self.servers {
            while !serves(*port) {
                env.interrupt.check()?;
                process.check_running().map_err(Failure::During)?;
                if Instant::now() >= deadline {
                    let output = process.output();
                    return Err(Failure::During(format!(
                        "{}: not all servers serve after {START_LIMIT:?}; the last output of the one on port \
                         {port}:\n{output}",
                        self.name
                    )));
                }
                thread::sleep(POLL);
            }
        }
        Ok(())
    }
}

/// Whether the server answers `srvr` with its mode, which it does once it is part of an ensemble with a leader.
fn serves(port: u16) -> bool {
    let ask = || {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(STATUS_LIMIT))?;
        stream.write_all(b"srvr")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        io::Result::Ok(answer)
    };
    ask().is_ok_and(|answer| answer.contains("Mode: "))
}

/// Ports that are free now: all are held until the last one is found, so they differ.
fn free_ports(servers: usize) -> io::Result<Vec<Ports>> {
    let mut held = Vec::with_capacity(servers * 3);
    let mut take = || {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let port = listener.local_addr()?.port();
        held.push(listener);
        io::Result::Ok(port)
    };
    (0..servers).map(|_| Ok(Ports { quorum: take()?, election: take()?, status: take()? })).collect()
}

/// Writes a server's configuration and its `myid`, and returns the configuration's path.
fn write_config(
    folder: &Path,
    id: usize,
    name: &str,
    text: impl FnOnce(&Path) -> String,
) -> io::Result<PathBuf> {
    let folder = folder.join(id.to_string());
    let data = folder.join("data");
    fs::create_dir_all(&data)?;
    if name == "zoo.cfg" {
        fs::write(data.join("myid"), format!("{id}\n"))?;
    }
    let file = folder.join(name);
    fs::write(&file, text(&data))?;
    Ok(file)
}

/// The jars of Debian's package; its manifest names the others.
fn class_path(folder: &Path) -> Result<OsString, Failure> {
    let jars = ["zookeeper.jar", "slf4j-simple.jar"].map(|name| folder.join(name));
    if let Some(missing) = jars.iter().find(|jar| !jar.exists()) {
        let advice = "install Debian's packages libzookeeper-java and libslf4j-java";
        return Err(Failure::Before(format!("{} is missing: {advice}", missing.display())));
    }
    std::env::join_paths(jars).map_err(|error| Failure::Before(error.to_string()))
}

fn check_java() -> Result<(), Failure> {
    let version = Command::new("java").arg("-version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    match version {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => {
            Err(Failure::Before(format!("`java -version` ended with {status}; is the Java runtime whole?")))
        }
        Err(error) => {
            Err(Failure::Before(format!("java: {error}; install Debian's package default-jre-headless")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_what_to_do() {
        let error = class_path(Path::new("/nowhere")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/zookeeper.jar") && error.contains("libzookeeper-java"), "{error}");
        let error = Ensemble::palisade(Path::new("/nowhere/palisade")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/palisade") && error.contains("--palisade"), "{error}");
    }

    #[test]
    fn ports_differ() {
        let mut ports: Vec<u16> =
            free_ports(4).unwrap().iter().flat_map(|p| [p.quorum, p.election, p.status]).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 12);
    }
}
