//! Starts three voters and the server for the clients, of either side, and kills and restarts them.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::compare::config::{self, Front, Ports};
use crate::env::Env;
use crate::failure::Failure;
use crate::machines::{self, Elsewhere};
use crate::process::Process;
use crate::site::Site;
use crate::usage::Servers;

const JARS: &str = "/usr/share/java";
/// How many voters there are. The server for the clients comes after them.
pub(crate) const VOTERS: usize = 3;
/// How long a side may take until all its servers serve.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long one server may take to answer `srvr`.
const STATUS_LIMIT: Duration = Duration::from_secs(2);
/// Within the bounds of both sides' `tickTime`.
const SESSION_TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    /// Apache ZooKeeper.
    Apache,
    /// Palisade.
    Palisade,
}

impl Side {
    /// For people.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Apache => "Apache",
            Self::Palisade => "Palisade",
        }
    }
}

/// Of a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limits {
    /// As they are if nobody says anything.
    Default,
    /// The same without those that slow locks down: how many there can be is measured.
    WithoutLocks,
    /// None on requests.
    Off,
}

/// How to start one server, and the process once it runs.
#[derive(Debug)]
struct Server {
    name: String,
    program: OsString,
    arguments: Vec<OsString>,
    ports: Ports,
    /// Where it runs, if not where this process does.
    machine: Option<Elsewhere>,
    process: Option<Process>,
}

impl Server {
    /// Not started yet, and to run where this process does.
    const fn new(name: String, program: OsString, arguments: Vec<OsString>, ports: Ports) -> Self {
        Self { name, program, arguments, ports, machine: None, process: None }
    }
}

/// Three voters and the server that clients connect to. Dropping it kills them and removes their folder.
#[derive(Debug)]
pub(crate) struct Ensemble {
    side: Side,
    /// Those behind the voters are for clients. Dropped before the folder is.
    servers: Vec<Server>,
    _folder: TempDir,
}

impl Ensemble {
    /// Starts a side with nothing in it, and waits until all its servers serve.
    pub(super) fn start(env: &Env, side: Side, palisade: &Path) -> Result<Self, Failure> {
        Self::with_fronts(env, side, palisade, &[config::COMPARED], None)
    }

    /// The same with a server for each of two tenants, discovery and scheduling, of which Palisade's see a sub-tree each.
    /// Scheduling's, which is the last, may have processors of its own.
    pub(crate) fn tenants(
        env: &Env,
        side: Side,
        palisade: &Path,
        limits: Limits,
        last: Option<Elsewhere>,
    ) -> Result<Self, Failure> {
        Self::with_fronts(env, side, palisade, &config::tenants(limits), last)
    }

    fn with_fronts(
        env: &Env,
        side: Side,
        palisade: &Path,
        fronts: &[Front],
        last: Option<Elsewhere>,
    ) -> Result<Self, Failure> {
        env.progress.phase(&format!("starting {}", side.name()), 1);
        let place = last.map_or_else(std::env::temp_dir, |_| machines::folders());
        let folder = TempDir::with_prefix_in(format!("palisade-compare-{}-", side.name()), &place)
            .map_err(|error| Failure::Before(format!("a folder in {}: {error}", place.display())))?;
        let ports = free_ports(VOTERS + fronts.len())?;
        let mut servers = match side {
            Side::Apache => apache(folder.path(), &ports)?,
            Side::Palisade => palisade_servers(palisade, folder.path(), &ports, fronts)?,
        };
        if let Some(server) = servers.last_mut() {
            server.machine = last;
        }
        let mut ensemble = Self { side, servers, _folder: folder };
        (0..ensemble.servers.len()).try_for_each(|n| ensemble.restart(n))?;
        ensemble.wait_until_serving(env)?;
        Ok(ensemble)
    }

    /// Fails unless everything that both sides need is installed.
    pub(crate) fn check(palisade: &Path) -> Result<(), Failure> {
        class_path(Path::new(JARS))?;
        check_java()?;
        binary(palisade).map(|_| ())
    }

    /// A site at the server for the clients, with the given servers watched.
    pub(super) fn site(&self, watched: &[usize]) -> Site {
        self.site_at(VOTERS, watched)
    }

    /// A site at one of several servers for the clients, with the given servers watched.
    pub(crate) fn site_at(&self, front: usize, watched: &[usize]) -> Site {
        let port = self.servers.get(front).map_or(0, |server| server.ports.status);
        let pid =
            |n: &usize| self.servers.get(*n).and_then(|server| server.process.as_ref()).map(Process::pid);
        Site {
            targets: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))],
            root: "/palisade-loadtest".into(),
            session_timeout: SESSION_TIMEOUT,
            servers: Servers { pids: watched.iter().filter_map(pid).collect(), upstream: Vec::new() },
        }
    }

    /// A site with only the server for the clients watched.
    pub(super) fn front(&self) -> Site {
        self.site(&[VOTERS])
    }

    /// A site with all servers watched.
    pub(super) fn all(&self) -> Site {
        self.site(&[0, 1, 2, 3])
    }

    /// Where the voters listen for learners.
    pub(super) fn upstream(&self) -> Vec<SocketAddr> {
        let voters = self.servers.iter().take(VOTERS);
        voters.map(|server| SocketAddr::from((Ipv4Addr::LOCALHOST, server.ports.quorum))).collect()
    }

    /// Where a server for the clients is monitored; none at Apache's.
    pub(crate) fn admin(&self, front: usize) -> Option<u16> {
        self.servers.get(front).filter(|_| self.side == Side::Palisade).map(|server| server.ports.quorum)
    }

    /// The voter that leads.
    pub(crate) fn leader(&self) -> Result<usize, Failure> {
        let leads = |n: &usize| {
            self.servers.get(*n).is_some_and(|server| mode(server.ports.status).as_deref() == Some("leader"))
        };
        let none = || Failure::During(format!("{}: no voter leads", self.side.name()));
        (0..VOTERS).find(leads).ok_or_else(none)
    }

    /// `kill -9`.
    pub(super) fn kill(&mut self, n: usize) {
        if let Some(server) = self.servers.get_mut(n) {
            server.process = None;
        }
    }

    /// Starts a server that does not run, with the data that it had.
    pub(super) fn restart(&mut self, n: usize) -> Result<(), Failure> {
        if let Some(server) = self.servers.get_mut(n) {
            let name = format!("{} {}", self.side.name(), server.name);
            let _away = server.machine.as_ref().map(Elsewhere::enter).transpose()?;
            server.process = Some(Process::spawn(name, &server.program, &server.arguments)?);
        }
        Ok(())
    }

    /// Starts one of Palisade's gateways again, so that it tells watchers in waves of this rate. Apache's servers have none.
    pub(crate) fn pace(&mut self, env: &Env, front: usize, rate: u32) -> Result<(), Failure> {
        if self.side == Side::Apache {
            return Ok(());
        }
        let gateway = self.servers.get(front);
        let file = gateway.and_then(|gateway| gateway.arguments.last()).cloned().unwrap_or_default();
        fs::write(&file, config::paced(&fs::read_to_string(&file)?, rate))?;
        self.kill(front);
        self.restart(front)?;
        self.wait_until_serving(env)
    }

    /// Where a voter's votes arrive: it listens there as soon as it can take part in an election.
    pub(super) fn election(&self, n: usize) -> SocketAddr {
        let port = self.servers.get(n).map_or(0, |server| server.ports.election);
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }

    /// Waits until each server leads, follows or observes.
    pub(super) fn wait_until_serving(&mut self, env: &Env) -> Result<(), Failure> {
        let deadline = Instant::now() + START_LIMIT;
        for server in &mut self.servers {
            let Some(process) = &mut server.process else { continue };
            while mode(server.ports.status).is_none() {
                env.interrupt.check()?;
                process.check_running().map_err(Failure::During)?;
                if Instant::now() >= deadline {
                    let output = process.output();
                    return Err(Failure::During(format!(
                        "{} {} does not serve after {START_LIMIT:?}; its last output:\n{output}",
                        self.side.name(),
                        server.name
                    )));
                }
                thread::sleep(POLL);
            }
        }
        Ok(())
    }
}

fn apache(folder: &Path, ports: &[Ports]) -> Result<Vec<Server>, Failure> {
    let class_path = class_path(Path::new(JARS))?;
    let server = |(id, own): (usize, &Ports)| {
        let text = |data: &Path| config::apache(data, ports, *own, id > VOTERS);
        let file = write_config(folder, id, "zoo.cfg", text)?;
        let arguments = vec![
            // What Apache's own start script gives a server.
            "-Xmx1000m".into(),
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=error".into(),
            "-cp".into(),
            class_path.clone(),
            "org.apache.zookeeper.server.quorum.QuorumPeerMain".into(),
            file.into(),
        ];
        let name = if id > VOTERS { "observer".to_owned() } else { format!("voter {id}") };
        Ok(Server::new(name, "java".into(), arguments, *own))
    };
    (1..).zip(ports).map(server).collect()
}

fn palisade_servers(
    palisade: &Path,
    folder: &Path,
    ports: &[Ports],
    fronts: &[Front],
) -> Result<Vec<Server>, Failure> {
    let program: OsString = binary(palisade)?.into();
    let (voters, gateways) = ports.split_at(VOTERS);
    let mut servers = Vec::with_capacity(ports.len());
    for (id, own) in (1..).zip(voters) {
        let file = write_config(folder, id, "zoo.cfg", |data| config::voter(data, voters))?;
        let admin = format!("127.0.0.1:{}", own.status).into();
        let arguments = vec!["core".into(), "--config".into(), file.into(), "--admin-address".into(), admin];
        let name = format!("voter {id}");
        servers.push(Server::new(name, program.clone(), arguments, *own));
    }
    for (n, (own, front)) in (1..).zip(gateways.iter().zip(fronts)) {
        let text = |data: &Path| config::gateway(data, voters, *own, (100 + n, front));
        let file = write_config(folder, VOTERS + n, "gateway.toml", text)?;
        let arguments = vec!["gateway".into(), "--config".into(), file.into()];
        let name = format!("gateway {n}");
        servers.push(Server::new(name, program.clone(), arguments, *own));
    }
    Ok(servers)
}

fn binary(palisade: &Path) -> Result<PathBuf, Failure> {
    palisade.canonicalize().map_err(|error| {
        let build = "run `cargo build --release -p palisade`, or name the binary with --palisade";
        Failure::Before(format!("{}: {error}; {build}", palisade.display()))
    })
}

/// What the server says that it is, which it does once it is part of an ensemble with a leader.
fn mode(port: u16) -> Option<String> {
    let ask = || {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(STATUS_LIMIT))?;
        stream.write_all(b"srvr")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        io::Result::Ok(answer)
    };
    let answer = ask().ok()?;
    answer.lines().find_map(|line| line.strip_prefix("Mode: ")).map(str::to_owned)
}

/// Ports that are free now: all are held until the last one is found, so they differ.
fn free_ports(servers: usize) -> io::Result<Vec<Ports>> {
    let mut held = Vec::with_capacity(servers * 3);
    let mut take = || {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
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
        let error = binary(Path::new("/nowhere/palisade")).unwrap_err().to_string();
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
