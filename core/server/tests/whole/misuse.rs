//! What is refused, and that a refusal says why and changes nothing; and strangers on all ports.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use crate::support::{self, Trio};
use palisade_server::{Config, Ports, Reservation, StartError, Voter};
use palisade_zab::Ensemble;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A voter that is an ensemble by itself.
fn alone(folder: &Path) -> Config {
    let text = format!("server.1=127.0.0.1:{}:{}", free_port(), free_port());
    Config::new(1, Ensemble::parse(&text).unwrap(), folder)
}

fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.append(&mut contents(&path));
        } else {
            found.insert(path.clone(), std::fs::read(path).unwrap());
        }
    }
    found
}

/// The refusal, after which every file is as it was.
async fn refused(config: Config) -> StartError {
    let before = contents(&config.storage.data_dir);
    let folder = config.storage.data_dir.clone();
    let error = Voter::start(config, Ports::default()).await.unwrap_err();
    assert_eq!(contents(&folder), before, "{error}");
    error
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let folder = TempDir::new().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = alone(folder.path());
    config.bind.election = Some(taken.local_addr().unwrap());
    let told = refused(config).await.to_string();
    assert!(told.contains("election") && told.contains(&taken.local_addr().unwrap().to_string()), "{told}");
}

#[tokio::test]
async fn a_start_that_fails_half_way_gives_its_ports_back() {
    let folder = TempDir::new().unwrap();
    let any = "127.0.0.1:0".parse().unwrap();
    let (election, admin) = (Reservation::bind(any).unwrap(), Reservation::bind(any).unwrap());
    let (elections, taken) = (election.address(), Reservation::bind(admin.address()).unwrap());
    let _listening = taken.listen().unwrap();
    let ports = Ports { election: Some(election), admin: Some(admin), quorum: None };
    let error = Voter::start(alone(folder.path()), ports).await.unwrap_err();
    assert!(matches!(error, StartError::Port { port: "admin", .. }), "{error}");
    let free = async {
        while Reservation::bind(elections).and_then(Reservation::listen).is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(support::PATIENCE, free).await.expect("the election port is still taken");
}

#[tokio::test]
async fn mistakes_in_the_settings_are_told_before_anything_is_touched() {
    let folder = TempDir::new().unwrap();
    let mut config = alone(folder.path());
    config.timing.sync_limit = 0;
    assert!(
        matches!(refused(config).await, StartError::Config(mistakes) if mistakes[0].key == "timing.sync_limit")
    );
}

#[tokio::test]
async fn the_data_of_another_server_and_damaged_data_are_refused() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("myid"), "2\n").unwrap();
    let told = refused(alone(folder.path())).await.to_string();
    assert!(told.contains("myid"), "{told}");

    std::fs::write(folder.path().join("myid"), "1\n").unwrap();
    std::fs::create_dir_all(folder.path().join("version-2")).unwrap();
    std::fs::write(folder.path().join("version-2/snapshot.5"), b"ZKSN and then nonsense").unwrap();
    let told = refused(alone(folder.path())).await.to_string();
    assert!(told.contains("snapshot"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_voter_alone_serves_and_nobody_else_may_use_its_files() {
    let folder = TempDir::new().unwrap();
    let mut config = alone(folder.path());
    config.bind.admin = Some("127.0.0.1:0".parse().unwrap());
    let voter = Voter::start(config, Ports::default()).await.unwrap();
    let admin = voter.addresses().admin.unwrap();
    while support::ask(admin, "isro").await != "rw" {
        tokio::task::yield_now().await;
    }
    let second = Voter::start(alone(folder.path()), Ports::default()).await.unwrap_err();
    assert!(matches!(second, StartError::Disk(palisade_disk::DiskError::InUse { .. })), "{second}");
    voter.stop().await.unwrap();
    let again = Voter::start(alone(folder.path()), Ports::default()).await.unwrap();
    again.stop().await.unwrap();
}

/// Bytes that are no protocol, from a small generator so that a failure comes again.
fn garbage(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    match seed % 5 {
        0 => vec![0xff; 8],
        1 => Vec::new(),
        2 => b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        // A packet or frame whose length claims two gigabytes.
        3 => [&[0, 0, 0, 16][..], &[0; 8], &i32::MAX.to_be_bytes(), &[1; 100]].concat(),
        _ => (0..next() % 400).map(|_| next() as u8).collect(),
    }
}

async fn pester(port: SocketAddr, seed: u64) {
    // Refused where the port is closed, reset where the bytes are disliked: both are fine.
    if let Ok(mut stream) = TcpStream::connect(port).await {
        let _ = stream.write_all(&garbage(seed)).await;
        let _ = stream.shutdown().await;
        let _ = stream.read(&mut [0; 64]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_on_every_port_keep_nobody_from_electing_and_serving() {
    let mut trio = Trio::start(|_| ()).await;
    let ports: Vec<_> =
        trio.addresses.values().flat_map(|at| [at.quorum, at.election, at.admin.unwrap()]).collect();
    let pestering = tokio::spawn(async move {
        for seed in 0.. {
            for port in &ports {
                pester(*port, seed).await;
            }
        }
    });
    for round in 0..3 {
        let leader = trio.leader().await;
        let mut observer = trio.observer(9).await;
        let session = (5 << 56) + round;
        observer.open_session(session, 30_000).await;
        observer.create(session, 1, &format!("/{round}"), 0).await;
        trio.kill(leader).await;
        trio.restart(leader).await;
    }
    assert_eq!(trio.observer(9).await.tree.node_count(), 8);
    pestering.abort();
    trio.stop_all().await;
}
