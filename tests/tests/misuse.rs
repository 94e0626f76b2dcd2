//! Mistakes of operators and damaged files: one clear message, a non-zero exit, and no file changed.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use palisade_tests::clients;
use palisade_tests::folder::Folder;
use palisade_tests::palisade::{Core, refusal};
use palisade_tests::ports::Ports;
use palisade_tests::zoo_cfg::{self, Member, SNAPSHOT_SELDOM};

/// Runs `palisade` with arguments that it must refuse; its message must name all of `wanted`, and it must change
/// nothing below `guarded`.
#[track_caller]
fn refused(guarded: &Path, arguments: &[&str], wanted: &[&str]) {
    let before = contents(guarded);
    let folder = Folder::new();
    let message = refusal(folder.path(), arguments);
    for text in wanted {
        assert!(message.contains(text), "palisade {arguments:?}: no '{text}' in:\n{message}");
    }
    assert!(!message.contains("panicked"), "palisade {arguments:?}: {message}");
    let after = contents(guarded);
    let names = |files: &BTreeMap<PathBuf, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&before), names(&after), "palisade {arguments:?}: files came or went");
    assert!(before == after, "palisade {arguments:?}: a file was changed");
}

/// All files below a folder.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(contents(&path));
        } else {
            files.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    files
}

#[test]
fn wrong_configurations() {
    let folder = Folder::new();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let gateway = write(
        "gateway.toml",
        "id = 999\n[tenant]\nname = \"x\"\n[client]\naddress = \"nowhere\"\n[core]\nvoters = []\n[strage]\nx = 1\n",
    );
    let mistakes = ["id", "254", "address", "nowhere", "voters", "strage"];
    refused(folder.path(), &["gateway", "--config", &gateway], &mistakes);
    let voter = write("zoo.cfg", "tickTime=0\nserver.1=127.0.0.1:x:3888\n");
    refused(folder.path(), &["core", "--config", &voter], &["tickTime", "dataDir", "server.1"]);
    let voter = write("core.toml", "id = [\n");
    refused(folder.path(), &["core", "--config", &voter], &["core.toml"]);
    refused(folder.path(), &["core", "--config", "/nowhere/zoo.cfg"], &["/nowhere/zoo.cfg"]);
    refused(folder.path(), &["gateway"], &["--config"]);
    refused(folder.path(), &["nonsense"], &["nonsense"]);
}

#[test]
fn ports_in_use() {
    let (folder, mut ports) = (Folder::new(), Ports::lease());
    let members = Member::several(3, &mut ports);
    let config = zoo_cfg::write(folder.path(), &members, 1, &[]);
    let config = config.to_str().unwrap();
    let taken = TcpListener::bind(("127.0.0.1", members[0].election_port)).unwrap();
    let port = members[0].election_port.to_string();
    refused(folder.path(), &["core", "--config", config], &[&port, "in use"]);
    drop(taken);

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    refused(folder.path(), &["core", "--config", config, "--admin-address", &address], &[&address, "in use"]);

    let port = ports.take_consecutive(3) + 1;
    let taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let first = (port - 1).to_string();
    let data = folder.subfolder("dev");
    let arguments = ["dev", "--client-port", &first, "--data-dir", data.to_str().unwrap()];
    refused(&data, &arguments, &[&port.to_string(), "in use"]);
    drop(taken);
}

#[test]
fn data_of_another_server() {
    let mut core = Core::start();
    core.voters.iter_mut().for_each(|voter| voter.stop());
    let data = core.folder.path().join("voter-1/data");
    let members: Vec<String> = core.members.iter().map(toml_member).collect();
    let config = core.folder.path().join("core.toml");
    let text = format!(
        "id = 2\n[ensemble]\nmembers = [{}]\n[storage]\ndata_dir = \"{}\"\n",
        members.join(", "),
        data.display()
    );
    fs::write(&config, text).unwrap();
    refused(core.folder.path(), &["core", "--config", config.to_str().unwrap()], &["myid", "1", "2"]);
    let config = core.folder.path().join("voter-1/zoo.cfg");
    fs::write(data.join("myid"), "9\n").unwrap();
    refused(core.folder.path(), &["core", "--config", config.to_str().unwrap()], &["myid", "9"]);
}

fn toml_member(member: &Member) -> String {
    let Member { id, quorum_port, election_port, .. } = member;
    format!("\"server.{id}=127.0.0.1:{quorum_port}:{election_port}\"")
}

#[test]
fn damaged_files() {
    let mut core = Core::start_with(SNAPSHOT_SELDOM);
    let gateway = core.gateway(101, "gateway");
    clients::populate(&gateway.address(), "palisade");
    drop(gateway);
    core.voters.iter_mut().for_each(|voter| voter.stop());
    let voter = core.folder.path().join("voter-1");
    let log = files_named(&voter, "log.").pop().unwrap();
    let config = voter.join("zoo.cfg");
    let refused_with = |damage: &dyn Fn(), wanted: &[&str]| {
        let saved = contents(&voter);
        damage();
        refused(&voter, &["core", "--config", config.to_str().unwrap()], wanted);
        for (path, bytes) in saved {
            fs::write(path, bytes).unwrap();
        }
    };
    let log_name = log.file_name().unwrap().to_str().unwrap();
    refused_with(&|| change(&log, 2000, 0xff), &[log_name]);
    refused_with(&|| change(&log, 7, 9), &[log_name, "version"]);
    refused_with(&|| change(&log, 0, b'X'), &[log_name]);
    for snapshot in files_named(&voter, "snapshot.") {
        let name = snapshot.file_name().unwrap().to_str().unwrap().to_owned();
        refused_with(&|| change(&snapshot, 7, 9), &[&name, "version"]);
        refused_with(&|| change(&snapshot, 30, 0xff), &[&name]);
    }
    refused_with(
        &|| fs::write(voter.join("data/version-2/currentEpoch"), "soon").unwrap(),
        &["currentEpoch"],
    );
}

/// Changes one byte of a file.
fn change(path: &Path, offset: usize, byte: u8) {
    let mut bytes = fs::read(path).unwrap();
    assert_ne!(bytes[offset], byte, "the damage must be one");
    bytes[offset] = byte;
    fs::write(path, bytes).unwrap();
}

fn files_named(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let named = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(prefix);
    contents(folder).into_keys().filter(named).collect()
}
