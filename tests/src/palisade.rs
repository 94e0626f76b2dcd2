//! Palisade's processes: `dev`, voters and gateways.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use crate::folder::Folder;
use crate::four_letter;
use crate::http;
use crate::ports::Ports;
use crate::process::Process;
use crate::tools;
use crate::wait::{wait_at_most, wait_for};
use crate::zoo_cfg::{self, Member};

/// The names of the tenants that `palisade dev` serves, in the order of their ports.
pub const DEV_TENANTS: [&str; 3] = ["discovery", "messaging", "scheduling"];

/// `palisade dev`: three voters and three tenants' gateways in one process.
#[derive(Debug)]
pub struct Dev {
    /// The process.
    pub process: Process,
    client_port: u16,
}

impl Dev {
    /// Starts it on `folder/data`, and waits until it is ready. `client_port` and the two ports behind are for clients.
    #[track_caller]
    pub fn start(folder: &Path, client_port: u16) -> Self {
        let data = folder.join("data");
        let arguments = ["dev".into(), "--data-dir".into(), data.into(), "--client-port".into()];
        let port = client_port.to_string().into();
        let arguments: Vec<OsString> = arguments.into_iter().chain([port]).collect();
        let mut process = Process::spawn("palisade-dev", folder, tools::palisade(), arguments);
        process.wait_for_line("ready");
        Self { process, client_port }
    }

    /// The address of a tenant's gateway, by its place in [`DEV_TENANTS`].
    pub fn address(&self, tenant: u16) -> String {
        format!("127.0.0.1:{}", self.client_port + tenant)
    }
}

/// One voter with its folder.
#[derive(Debug)]
pub struct Voter {
    member: Member,
    admin_port: u16,
    folder: PathBuf,
    config: PathBuf,
    process: Option<Process>,
}

impl Voter {
    /// Starts member `id` of `members` in `folder`, whose `data` may hold an earlier state.
    pub fn start(folder: &Path, members: &[Member], id: u8, admin_port: u16, setting: &str) -> Self {
        std::fs::create_dir_all(folder).expect("cannot create a voter's folder");
        let config = zoo_cfg::write(folder, members, id, &[setting]);
        let member =
            members.iter().find(|member| member.id == id).expect("the member is in the list").clone();
        let mut voter = Self { member, admin_port, folder: folder.to_owned(), config, process: None };
        voter.restart();
        voter
    }

    /// Starts the voter again, killing it first when it runs.
    pub fn restart(&mut self) {
        self.kill();
        let admin = format!("127.0.0.1:{}", self.admin_port);
        let config = self.config.clone().into();
        let arguments: [OsString; 5] =
            ["core".into(), "--config".into(), config, "--admin-address".into(), admin.into()];
        let name = format!("voter-{}", self.member.id);
        self.process = Some(Process::spawn(&name, &self.folder, tools::palisade(), arguments));
    }

    /// kill -9, if it runs.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Asks for a clean stop, and waits for it.
    #[track_caller]
    pub fn stop(&mut self) {
        let mut process = self.process.take().expect("a voter that runs");
        process.signal(rustix::process::Signal::TERM);
        let status = process.wait();
        assert!(status.success(), "voter {} after SIGTERM: {status}", self.member.id);
    }

    /// The running process.
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("a voter that runs")
    }

    /// Ports: quorum, election, admin.
    pub fn ports(&self) -> [u16; 3] {
        [self.member.quorum_port, self.member.election_port, self.admin_port]
    }

    /// `leader` or `follower`; none while it is neither.
    pub fn mode(&self) -> Option<String> {
        four_letter::mode(self.admin_port)
    }
}

/// Voters on 127.0.0.1, each a process with a `zoo.cfg`.
#[derive(Debug)]
pub struct Core {
    /// The voters, in the order of their ids.
    pub voters: Vec<Voter>,
    /// The members, with their quorum ports.
    pub members: Vec<Member>,
    /// Each voter's folder is `voter-N` in here.
    pub folder: Folder,
    /// More ports can be taken here.
    pub ports: Ports,
}

impl Core {
    /// Starts three voters, and waits until one leads and the others follow.
    #[track_caller]
    pub fn start() -> Self {
        Self::start_with(zoo_cfg::SNAPSHOT_OFTEN)
    }

    /// The same with another line in their `zoo.cfg` files.
    #[track_caller]
    pub fn start_with(setting: &str) -> Self {
        let (folder, mut ports) = (Folder::new(), Ports::lease());
        let members = Member::several(3, &mut ports);
        Self::start_in(folder, ports, members, setting)
    }

    /// Starts the voters in folders that may hold an earlier state.
    #[track_caller]
    pub fn start_in(folder: Folder, mut ports: Ports, members: Vec<Member>, setting: &str) -> Self {
        let start = |member: &Member| {
            let folder = folder.path().join(format!("voter-{}", member.id));
            Voter::start(&folder, &members, member.id, ports.take(), setting)
        };
        let voters = members.iter().map(start).collect();
        let core = Self { voters, members, folder, ports };
        core.wait_until_complete();
        core
    }

    /// Waits until one voter leads and all others follow.
    #[track_caller]
    pub fn wait_until_complete(&self) {
        wait_for("a leader and its followers", || {
            let modes: Vec<String> = self.voters.iter().filter_map(Voter::mode).collect();
            let leaders = modes.iter().filter(|mode| *mode == "leader").count();
            let followers = modes.iter().filter(|mode| *mode == "follower").count();
            (leaders == 1 && followers == self.voters.len() - 1).then_some(())
        });
    }

    /// The index of the voter that leads.
    #[track_caller]
    pub fn leader(&self) -> usize {
        wait_for("a leader", || {
            self.voters.iter().position(|voter| voter.mode().as_deref() == Some("leader"))
        })
    }

    /// A gateway in front of these voters, for the tenant `name`.
    #[track_caller]
    pub fn gateway(&mut self, id: u8, name: &str) -> Gateway {
        self.gateway_with(id, name, &[])
    }

    /// The same with other values of some keys: `("sessions.local", "true")`.
    #[track_caller]
    pub fn gateway_with(&mut self, id: u8, name: &str, settings: &[(&str, &str)]) -> Gateway {
        let folder = self.folder.subfolder(name);
        Gateway::start_with(&folder, id, &self.members, &mut self.ports, settings)
    }
}

/// A tenant's gateway.
#[derive(Debug)]
pub struct Gateway {
    folder: PathBuf,
    config: PathBuf,
    keys: BTreeMap<&'static str, String>,
    client_port: u16,
    admin_port: u16,
    process: Option<Process>,
}

impl Gateway {
    /// Starts a gateway in `folder` in front of the given voters, and waits until it serves.
    #[track_caller]
    pub fn start(folder: &Path, id: u8, voters: &[Member], ports: &mut Ports) -> Self {
        Self::start_with(folder, id, voters, ports, &[])
    }

    /// The same with other values of some keys: `("sessions.local", "true")`.
    #[track_caller]
    pub fn start_with(
        folder: &Path,
        id: u8,
        voters: &[Member],
        ports: &mut Ports,
        settings: &[(&str, &str)],
    ) -> Self {
        std::fs::create_dir_all(folder).expect("cannot create a gateway's folder");
        let (client_port, admin_port) = (ports.take(), ports.take());
        let voters: Vec<String> =
            voters.iter().map(|voter| format!("\"127.0.0.1:{}\"", voter.quorum_port)).collect();
        let keys = BTreeMap::from([
            ("id", id.to_string()),
            ("tenant.name", "\"tests\"".to_owned()),
            ("tenant.root", "\"/\"".to_owned()),
            ("client.address", format!("\"127.0.0.1:{client_port}\"")),
            ("core.voters", format!("[{}]", voters.join(", "))),
            ("storage.data_dir", format!("\"{}\"", folder.join("data").display())),
            ("sessions.min_timeout", "\"1s\"".to_owned()),
            ("sessions.max_timeout", "\"40s\"".to_owned()),
            ("admin.address", format!("\"127.0.0.1:{admin_port}\"")),
        ]);
        let config = folder.join("gateway.toml");
        let folder = folder.to_owned();
        let mut gateway = Self { folder, config, keys, client_port, admin_port, process: None };
        gateway.write_config(settings);
        gateway.restart();
        gateway
    }

    /// Writes the settings that the gateway was started with, some of them with other values.
    fn write_config(&self, settings: &[(&str, &str)]) {
        let mut keys: BTreeMap<&str, &str> = self.keys.iter().map(|(key, value)| (*key, &**value)).collect();
        keys.extend(settings.iter().copied());
        let text: String = keys.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
        std::fs::write(&self.config, text).expect("cannot write the gateway's configuration");
    }

    /// Has the running gateway read its settings again, with other values of some keys, and waits until it has; whether
    /// it took them over.
    #[track_caller]
    pub fn reload(&mut self, settings: &[(&str, &str)]) -> bool {
        self.write_config(settings);
        let told = |log: &str| log.lines().filter(|line| line.contains("SIGHUP:")).count();
        let before = told(&self.process().log());
        self.process().signal(rustix::process::Signal::HUP);
        let log = wait_for("the settings read again", || {
            let log = self.process().log();
            (told(&log) > before).then_some(log)
        });
        let last = log.lines().rfind(|line| line.contains("SIGHUP:"));
        last.is_some_and(|line| line.contains("taken over"))
    }

    /// kill -9, if it runs.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts the gateway again, killing it first when it runs, and waits until it serves.
    #[track_caller]
    pub fn restart(&mut self) {
        self.kill();
        let arguments = ["gateway".into(), "--config".into(), self.config.clone().into_os_string()];
        self.process = Some(Process::spawn("gateway", &self.folder, tools::palisade(), arguments));
        self.wait_until_serving();
    }

    /// Waits until clients are served.
    #[track_caller]
    pub fn wait_until_serving(&mut self) {
        let port = self.client_port;
        wait_for("a serving gateway", || {
            assert!(self.process().is_running(), "the gateway ended");
            four_letter::mode(port)
        });
    }

    /// The running process.
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("a gateway that runs")
    }

    /// Where clients connect.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.client_port)
    }

    /// A number out of its metrics.
    #[track_caller]
    pub fn counter(&self, name: &str) -> u64 {
        let page = http::get(self.admin_port, "/metrics").expect("a gateway tells its metrics").body;
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let value = line.and_then(|value| value.parse::<f64>().ok());
        value.unwrap_or_else(|| panic!("{name} is not in {page}")) as u64
    }

    /// The last transaction that its clients see; none while it does not serve.
    pub fn zxid(&self) -> Option<String> {
        let answer = four_letter::ask(self.client_port, "srvr").ok()?;
        answer.lines().find_map(|line| line.strip_prefix("Zxid: ")).map(str::to_owned)
    }

    /// Ports: client, admin.
    pub fn ports(&self) -> [u16; 2] {
        [self.client_port, self.admin_port]
    }
}

/// Runs `palisade` with arguments that must make it refuse to start, and returns what it said.
#[track_caller]
pub fn refusal(folder: &Path, arguments: &[&str]) -> String {
    let mut process = Process::spawn("refused", folder, tools::palisade(), arguments);
    let status = process.wait();
    let log = process.log();
    assert!(!status.success() && status.code().is_some(), "palisade {arguments:?}: {status}:\n{log}");
    log
}

/// Whether somebody listens on the port within a moment.
pub fn is_listening(port: u16) -> bool {
    let soon = std::time::Duration::from_secs(5);
    wait_at_most(soon, || TcpStream::connect(("127.0.0.1", port)).ok()).is_some()
}
