//! `zoo.cfg` files, which Apache's servers and Palisade's voters both read.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use crate::ports::Ports;

/// One voter of an ensemble on 127.0.0.1.
#[derive(Clone, Debug)]
pub struct Member {
    /// The server id, the N of `server.N` and the content of `myid`.
    pub id: u8,
    /// The port on which the leader listens for learners.
    pub quorum_port: u16,
    /// The port for leader election.
    pub election_port: u16,
    /// The client port, which only Apache serves.
    pub client_port: u16,
    /// Whether it follows without a vote.
    pub is_observer: bool,
}

impl Member {
    /// Members 1 to `count`, with ports of the given lease.
    pub fn several(count: u8, ports: &mut Ports) -> Vec<Self> {
        let member = |id| Self {
            id,
            quorum_port: ports.take(),
            election_port: ports.take(),
            client_port: ports.take(),
            is_observer: false,
        };
        (1..=count).map(member).collect()
    }
}

/// Milliseconds of Apache's basic unit of time: short, so that elections and expiry take little of it.
pub const TICK_MS: u32 = 500;

/// A line for a server that takes a snapshot every hundred transactions.
pub const SNAPSHOT_OFTEN: &str = "snapCount=100";

/// Lines for a server that takes snapshots often, and makes znodes with a time to live.
pub const ALL_TYPES: &str = "snapCount=100\nextendedTypesEnabled=true";

/// A line for a server that keeps all transactions of a test in one log.
pub const SNAPSHOT_SELDOM: &str = "snapCount=1000000";

/// A line for an Apache server that leads itself, as gateways need it, instead of being a standalone one.
pub const ENSEMBLE_OF_ONE: &str = "standaloneEnabled=false";

/// Lines for a server that does nothing by itself: hardly a snapshot, and no reaping of containers.
pub const QUIET: &str =
    "snapCount=1000000\nextendedTypesEnabled=true\nznode.container.checkIntervalMs=100000000";

/// Writes `folder/zoo.cfg` and `folder/data/myid` for member `id`, and returns the file's path. One member alone makes
/// Apache's server a standalone one. `extra` lines are appended.
pub fn write(folder: &Path, members: &[Member], id: u8, extra: &[&str]) -> PathBuf {
    let data = folder.join("data");
    fs::create_dir_all(&data).expect("cannot create a data folder");
    let own = members.iter().find(|member| member.id == id).expect("the member is in the list");
    let mut text = format!(
        "tickTime={TICK_MS}\ninitLimit=20\nsyncLimit=10\ndataDir={}\nclientPort={}\nclientPortAddress=127.0.0.1\n",
        data.display(),
        own.client_port
    );
    if members.len() > 1 || extra.contains(&ENSEMBLE_OF_ONE) {
        fs::write(data.join("myid"), format!("{id}\n")).expect("cannot write myid");
        for member in members {
            let Member { id, quorum_port, election_port, is_observer, .. } = member;
            let role = if *is_observer { "observer" } else { "participant" };
            writeln!(text, "server.{id}=127.0.0.1:{quorum_port}:{election_port}:{role}")
                .expect("a String takes all");
        }
    }
    for line in extra {
        writeln!(text, "{line}").expect("a String takes all");
    }
    let path = folder.join("zoo.cfg");
    fs::write(&path, text).expect("cannot write zoo.cfg");
    path
}
