use std::path::Path;

use palisade_disk::Untold;
use palisade_wire::Acl;
use palisade_wire::txn::{CreateTxn, Txn, TxnRecord};

use super::*;
use crate::link::testing::{Edge, header};

const MAX_RECORD: usize = 2 << 20;

fn storage(dir: &Path) -> config::Storage {
    config::Storage { data_dir: dir.to_owned(), ..config::Storage::default() }
}

fn start(dir: &Path) -> (Disk, Replica) {
    let (tree, _, log) = open(&storage(dir), MAX_RECORD, &mut Untold).unwrap().split();
    let replica = Replica::new(tree, Edge::new());
    (Disk::start(log, replica.clone(), Arc::default()).unwrap(), replica)
}

fn create(n: u32) -> TxnRecord {
    let create = CreateTxn {
        path: format!("/{n}"),
        data: Some(vec![7; 1_000].into()),
        acl: Acl::open(),
        parent_cversion: n as i32,
    };
    TxnRecord { header: header(1, 0, Zxid::new(1, n).0), txn: Txn::Create(create, false), digest: None }
}

/// As the link does: first to the log, then to the tree.
fn write(disk: &mut Disk, replica: &Replica, n: u32) {
    let record = create(n);
    disk.append(record.header.zxid, record.encode()).unwrap();
    replica.write().apply(&record, None);
}

async fn flushed(disk: &mut Disk, zxid: Zxid) {
    while !matches!(disk.done().await.unwrap(), Done::Flushed(durable) if durable >= zxid) {}
}

#[tokio::test]
async fn what_was_appended_is_found_again_whatever_the_snapshot_did_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let (mut disk, replica) = start(dir.path());
    disk.write_accepted_epoch(1).unwrap();
    for n in 1..=2_000 {
        write(&mut disk, &replica, n);
        if n % 500 == 0 {
            disk.snapshot().unwrap();
        }
    }
    flushed(&mut disk, Zxid::new(1, 2_000)).await;
    assert!(!disk.is_backlogged());
    disk.stop();
    let opened = open(&storage(dir.path()), MAX_RECORD, &mut Untold).unwrap();
    assert_eq!(opened.tree, *replica.read());
    assert_eq!(opened.epochs.accepted, 1);
}

#[tokio::test]
async fn a_finished_snapshot_replaces_what_is_older() {
    let dir = tempfile::tempdir().unwrap();
    let (mut disk, replica) = start(dir.path());
    disk.write_accepted_epoch(1).unwrap();
    for n in 1..=50 {
        write(&mut disk, &replica, n);
        if n % 10 == 0 {
            flushed(&mut disk, Zxid::new(1, n)).await;
            // So small a tree is one chunk, written before the next command is taken.
            disk.snapshot().unwrap();
        }
    }
    disk.stop();
    let opened = open(&storage(dir.path()), MAX_RECORD, &mut Untold).unwrap();
    assert_eq!(opened.tree, *replica.read());
    assert_eq!(opened.replayed, 0);
    let files = std::fs::read_dir(dir.path().join("version-2")).unwrap();
    let snapshots =
        files.filter(|f| f.as_ref().unwrap().file_name().to_string_lossy().starts_with("snapshot."));
    assert_eq!(snapshots.count(), 3);
}

#[tokio::test]
async fn a_tree_from_the_leader_takes_the_place_of_everything() {
    let dir = tempfile::tempdir().unwrap();
    let (mut disk, replica) = start(dir.path());
    disk.write_accepted_epoch(2).unwrap();
    for n in 1..=10 {
        write(&mut disk, &replica, n);
    }
    let mut tree = DataTree::new();
    let record = create(5);
    tree.apply(&record.header, &record.txn, &mut |_| {});
    disk.install(Box::new(tree.clone())).unwrap();
    let installed = loop {
        if let Done::Installed(tree) = disk.done().await.unwrap() {
            break tree;
        }
    };
    assert_eq!(*installed, tree);
    let next = create(6);
    disk.append(next.header.zxid, next.encode()).unwrap();
    tree.apply(&next.header, &next.txn, &mut |_| {});
    disk.stop();
    assert_eq!(open(&storage(dir.path()), MAX_RECORD, &mut Untold).unwrap().tree, tree);
}

#[tokio::test]
async fn the_log_is_cut_and_goes_on_from_there() {
    let dir = tempfile::tempdir().unwrap();
    let (mut disk, replica) = start(dir.path());
    disk.write_accepted_epoch(1).unwrap();
    for n in 1..=10 {
        write(&mut disk, &replica, n);
    }
    disk.truncate(Zxid::new(1, 7)).unwrap();
    let mut tree = loop {
        if let Done::Truncated(tree) = disk.done().await.unwrap() {
            break tree;
        }
    };
    assert_eq!(tree.last_zxid(), Zxid::new(1, 7));
    assert!(tree.node("/7").is_some() && tree.node("/8").is_none());
    let next = create(8);
    disk.append(next.header.zxid, next.encode()).unwrap();
    tree.apply(&next.header, &next.txn, &mut |_| {});
    disk.truncate(Zxid::new(9, 1)).unwrap();
    while !matches!(disk.done().await.unwrap(), Done::NotTruncated(_)) {}
    disk.stop();
    assert_eq!(open(&storage(dir.path()), MAX_RECORD, &mut Untold).unwrap().tree, *tree);
}

#[tokio::test]
async fn a_gap_ends_the_thread_and_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (mut disk, _replica) = start(dir.path());
    let record = create(7);
    disk.append(record.header.zxid, record.encode()).unwrap();
    let done = disk.done().await.unwrap();
    assert!(matches!(done, Done::Failed(DiskError::NotContiguous { .. })), "{done:?}");
    assert!(disk.done().await.is_err());
    disk.stop();
}

/// A gateway whose disk may be taken away, and is tried again at once.
struct Failing {
    dir: tempfile::TempDir,
    disk: Disk,
    replica: Replica,
}

impl Failing {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (tree, _, (mut files, log)) =
            open(&storage(dir.path()), MAX_RECORD, &mut Untold).unwrap().split();
        files.rest = Duration::ZERO;
        let replica = Replica::new(tree, Edge::new());
        let disk = Disk::start((files, log), replica.clone(), Arc::default()).unwrap();
        Self { dir, disk, replica }
    }

    async fn write(&mut self, numbers: std::ops::RangeInclusive<u32>) {
        let last = *numbers.end();
        for n in numbers {
            write(&mut self.disk, &self.replica, n);
        }
        flushed(&mut self.disk, Zxid::new(1, last)).await;
    }

    fn rename(&self, from: &str, to: &str) {
        std::fs::rename(self.dir.path().join(from), self.dir.path().join(to)).unwrap();
    }

    /// A log that is open can be written wherever it is: only the next one cannot.
    fn take_away(&mut self) {
        self.rename("version-2", "away");
        self.disk.snapshot().unwrap();
    }

    fn give_back(&mut self) {
        self.rename("away", "version-2");
        self.disk.snapshot().unwrap();
    }

    fn stop(self) -> Opened {
        self.disk.stop();
        open(&storage(self.dir.path()), MAX_RECORD, &mut Untold).unwrap()
    }
}

#[tokio::test]
async fn a_disk_that_fails_is_done_without_and_filled_again_later() {
    let mut gateway = Failing::start();
    gateway.disk.write_accepted_epoch(1).unwrap();
    gateway.write(1..=10).await;
    gateway.take_away();
    gateway.write(11..=20).await;
    assert!(!gateway.replica.is_on_disk());
    gateway.disk.write_accepted_epoch(2).unwrap();
    while !matches!(gateway.disk.done().await.unwrap(), Done::AcceptedEpoch(2)) {}
    gateway.disk.truncate(Zxid::new(1, 19)).unwrap();
    while !matches!(gateway.disk.done().await.unwrap(), Done::NotTruncated(_)) {}
    // Still away.
    gateway.disk.snapshot().unwrap();
    gateway.write(21..=30).await;
    assert!(!gateway.replica.is_on_disk());
    gateway.give_back();
    gateway.write(31..=40).await;
    assert!(gateway.replica.is_on_disk());
    let replica = gateway.replica.clone();
    let opened = gateway.stop();
    assert_eq!(opened.tree, *replica.read());
    assert_eq!(opened.epochs.accepted, 2);
}

#[tokio::test]
async fn without_a_disk_a_crash_leaves_the_past() {
    let mut gateway = Failing::start();
    gateway.disk.write_accepted_epoch(1).unwrap();
    gateway.write(1..=10).await;
    gateway.take_away();
    gateway.write(11..=20).await;
    gateway.rename("away", "version-2");
    assert_eq!(gateway.stop().tree.last_zxid(), Zxid::new(1, 10));
}

#[tokio::test]
async fn a_tree_from_the_leader_brings_the_disk_back() {
    let mut gateway = Failing::start();
    gateway.disk.write_accepted_epoch(1).unwrap();
    gateway.write(1..=10).await;
    gateway.take_away();
    gateway.write(11..=20).await;
    gateway.rename("away", "version-2");
    let mut tree = DataTree::new();
    let record = create(5);
    tree.apply(&record.header, &record.txn, &mut |_| {});
    gateway.disk.install(Box::new(tree.clone())).unwrap();
    while !matches!(gateway.disk.done().await.unwrap(), Done::Installed(_)) {}
    assert!(gateway.replica.is_on_disk());
    let next = create(6);
    gateway.disk.append(next.header.zxid, next.encode()).unwrap();
    tree.apply(&next.header, &next.txn, &mut |_| {});
    assert_eq!(gateway.stop().tree, tree);
}

#[tokio::test]
async fn a_tree_of_a_leader_is_whole_after_a_restart_only_if_all_of_it_had_come() {
    let dir = tempfile::tempdir().unwrap();
    let is_whole = || open(&storage(dir.path()), MAX_RECORD, &mut Untold).unwrap().is_whole;
    let (mut disk, replica) = start(dir.path());
    disk.write_accepted_epoch(1).unwrap();
    write(&mut disk, &replica, 1);
    disk.stop();
    assert!(is_whole(), "nobody sent it a tree");
    let (mut disk, replica) = start(dir.path());
    disk.install(Box::new(replica.read().clone())).unwrap();
    while !matches!(disk.done().await.unwrap(), Done::Installed(_)) {}
    write(&mut disk, &replica, 2);
    disk.stop();
    assert!(!is_whole(), "the leader had not said that this was all");
    let (mut disk, replica) = start(dir.path());
    disk.whole(Zxid::new(1, 3)).unwrap();
    disk.truncate(Zxid::new(1, 2)).unwrap();
    while !matches!(disk.done().await.unwrap(), Done::NotTruncated(_)) {}
    disk.stop();
    assert!(!is_whole(), "it is not there yet");
    let (mut disk, _) = start(dir.path());
    write(&mut disk, &replica, 3);
    disk.stop();
    assert!(is_whole());
}

/// Keeps from where on what the log tells of is exact, and which transactions that were.
#[derive(Default)]
struct Told(Option<Zxid>, Vec<u32>);

impl History for Told {
    fn more(&self) -> More {
        More { enough: u64::MAX, limit: u64::MAX }
    }

    fn begins(&mut self, _: Zxid, exact_from: Option<Zxid>) {
        *self = Self(exact_from, Vec::new());
    }

    fn changed(&mut self, header: &TxnHeader, _: &Change<'_>) {
        self.1.push(header.zxid.counter());
        self.1.dedup();
    }
}

#[tokio::test]
async fn the_log_tells_exactly_what_came_after_a_tree_that_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let told = || {
        let mut told = Told::default();
        open(&storage(dir.path()), MAX_RECORD, &mut told).unwrap();
        told
    };
    let (mut disk, replica) = start(dir.path());
    disk.write_accepted_epoch(1).unwrap();
    (1..=3).for_each(|n| write(&mut disk, &replica, n));
    disk.stop();
    let Told(from, zxids) = told();
    assert_eq!((from, &zxids[..]), (Some(Zxid::ZERO), &[1, 2, 3][..]), "nobody sent it a tree");

    let (mut disk, replica) = start(dir.path());
    disk.install(Box::new(replica.read().clone())).unwrap();
    while !matches!(disk.done().await.unwrap(), Done::Installed(_)) {}
    write(&mut disk, &replica, 4);
    write(&mut disk, &replica, 5);
    disk.stop();
    assert_eq!(told().0, None, "parts of what followed may have been in the tree that the leader sent");
    let (mut disk, _) = start(dir.path());
    disk.whole(Zxid::new(1, 4)).unwrap();
    disk.stop();
    let Told(from, zxids) = told();
    assert_eq!((from, zxids.last()), (Some(Zxid::new(1, 4)), Some(&5)));

    // A snapshot of its own, just before the end, hides nothing of what came before it.
    let (mut disk, replica) = start(dir.path());
    for n in 6..=9 {
        write(&mut disk, &replica, n);
        flushed(&mut disk, Zxid::new(1, n)).await;
    }
    disk.snapshot().unwrap();
    disk.stop();
    let Told(from, zxids) = told();
    assert_eq!((from, zxids.last()), (Some(Zxid::new(1, 4)), Some(&9)));
}

#[test]
fn a_voters_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("myid"), "3\n").unwrap();
    let error = open(&storage(dir.path()), MAX_RECORD, &mut Untold).unwrap_err();
    assert!(error.to_string().contains("gateway"), "{error}");
}
