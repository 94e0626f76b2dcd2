//! Apache ZooKeeper servers.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::folder::Folder;
use crate::four_letter;
use crate::ports::Ports;
use crate::process::Process;
use crate::tools;
use crate::wait::wait_for;
use crate::zoo_cfg::{self, Member};

const SETTINGS: [&str; 5] = [
    "admin.enableServer=false",
    "4lw.commands.whitelist=*",
    "extendedTypesEnabled=true",
    "maxClientCnxns=0",
    zoo_cfg::SNAPSHOT_OFTEN,
];

const EXTENDED_TYPES: &str = "-Dzookeeper.extendedTypesEnabled=true";

/// One Apache server with its folder.
#[derive(Debug)]
pub struct ApacheServer {
    member: Member,
    folder: PathBuf,
    config: PathBuf,
    java_options: Vec<OsString>,
    process: Option<Process>,
}

impl ApacheServer {
    /// Starts member `id` of `members` in `folder`, whose `data` may hold an earlier state.
    pub fn start(folder: &Path, members: &[Member], id: u8) -> Self {
        Self::start_with(folder, members, id, &SETTINGS, &[EXTENDED_TYPES])
    }

    /// Starts an observer of `voters` in `folder`, and waits until it serves.
    #[track_caller]
    pub fn start_observer(folder: &Path, voters: &[Member], ports: &mut Ports) -> Self {
        let id = u8::try_from(voters.len()).expect("a few voters") + 1;
        let mut members = voters.to_vec();
        members.extend(Member::several(1, ports).into_iter().map(|m| Member { id, is_observer: true, ..m }));
        let settings = [&SETTINGS[..], &["peerType=observer"]].concat();
        let server = Self::start_with(folder, &members, id, &settings, &[EXTENDED_TYPES]);
        server.wait_until_serving();
        server
    }

    /// Starts a server that does nothing by itself: no snapshot and no reaping of containers. `settings` are more lines
    /// of its `zoo.cfg`, `options` more of the JVM's; without such a line it is a standalone one.
    #[track_caller]
    pub fn start_quiet(folder: &Path, ports: &mut Ports, settings: &[&str], options: &[&str]) -> Self {
        let settings = [&SETTINGS[..], &[zoo_cfg::SNAPSHOT_SELDOM], settings].concat();
        let quiet = [EXTENDED_TYPES, "-Dznode.container.checkIntervalMs=100000000"];
        let options = [&quiet, options].concat();
        let server = Self::start_with(folder, &Member::several(1, ports), 1, &settings, &options);
        server.wait_until_serving();
        server
    }

    fn start_with(
        folder: &Path,
        members: &[Member],
        id: u8,
        settings: &[&str],
        java_options: &[&str],
    ) -> Self {
        std::fs::create_dir_all(folder).expect("cannot create a server's folder");
        let config = zoo_cfg::write(folder, members, id, settings);
        let java_options = java_options.iter().map(OsString::from).collect();
        let member =
            members.iter().find(|member| member.id == id).expect("the member is in the list").clone();
        let mut server = Self { member, folder: folder.to_owned(), config, java_options, process: None };
        server.restart();
        server
    }

    /// Starts the server again, killing it first when it runs.
    pub fn restart(&mut self) {
        self.kill();
        let main = "org.apache.zookeeper.server.quorum.QuorumPeerMain";
        let mut arguments = self.java_options.clone();
        arguments.extend(tools::java_arguments(main, "slf4j-simple"));
        arguments.push(self.config.clone().into());
        let name = format!("apache-{}", self.member.id);
        self.process = Some(Process::spawn(&name, &self.folder, "java", arguments));
    }

    /// kill -9, if it runs.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Who it is, with its quorum ports.
    pub fn member(&self) -> &Member {
        &self.member
    }

    /// The port for clients.
    pub fn client_port(&self) -> u16 {
        self.member.client_port
    }

    /// How often the digest of a transaction or a snapshot was not that of the tree that it made.
    #[track_caller]
    pub fn digest_mismatches(&self) -> u64 {
        let metric = four_letter::metric(self.client_port(), "zk_digest_mismatches_count");
        metric.and_then(|count| count.parse().ok()).expect("a serving Apache server counts digest mismatches")
    }

    /// Waits until clients are served.
    #[track_caller]
    pub fn wait_until_serving(&self) {
        wait_for(&format!("Apache server {} serving", self.member.id), || {
            four_letter::mode(self.client_port())
        });
    }
}

/// An ensemble of Apache voters on 127.0.0.1, or a standalone server when it has one member.
#[derive(Debug)]
pub struct ApacheEnsemble {
    /// The servers, in the order of their ids.
    pub servers: Vec<ApacheServer>,
    members: Vec<Member>,
    _folder: Folder,
    _ports: Ports,
}

impl ApacheEnsemble {
    /// Starts `voters` servers, and waits until all of them serve.
    pub fn start(voters: u8) -> Self {
        Self::start_with(voters, &[])
    }

    /// The same with further options of Java.
    pub fn start_with(voters: u8, java_options: &[&str]) -> Self {
        let (folder, mut ports) = (Folder::new(), Ports::lease());
        let members = Member::several(voters, &mut ports);
        let options = [&[EXTENDED_TYPES], java_options].concat();
        let start = |member: &Member| {
            let folder = folder.path().join(format!("apache-{}", member.id));
            ApacheServer::start_with(&folder, &members, member.id, &SETTINGS, &options)
        };
        let servers: Vec<ApacheServer> = members.iter().map(start).collect();
        for server in &servers {
            server.wait_until_serving();
        }
        Self { servers, members, _folder: folder, _ports: ports }
    }

    /// The connect string: `host:port` of every server.
    pub fn hosts(&self) -> String {
        let address = |server: &ApacheServer| format!("127.0.0.1:{}", server.client_port());
        self.servers.iter().map(address).collect::<Vec<_>>().join(",")
    }

    /// The members, with their quorum ports.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The index of the server that leads.
    pub fn leader(&self) -> usize {
        wait_for("an Apache leader", || {
            self.servers
                .iter()
                .position(|server| four_letter::mode(server.client_port()).as_deref() == Some("leader"))
        })
    }
}
