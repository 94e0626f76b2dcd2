use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use palisade_disk::{DataDir, LogOptions, RestoreOptions};
use palisade_store::DataTree;
use palisade_wire::txn::{CreateTxn, Txn, TxnHeader, TxnRecord};
use palisade_wire::{Acl, Zxid};
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::thread::{DiskThread, Done};
use super::{Job, JobQueue};
use crate::alone::{self, Foreground};
use crate::metrics::Metrics;
use crate::state::SharedTree;

struct Disk {
    folder: TempDir,
    tree: Arc<SharedTree>,
    metrics: Arc<Metrics>,
    jobs: JobQueue,
    done: mpsc::Receiver<Done>,
    thread: std::thread::JoinHandle<()>,
}

fn start(folder: TempDir) -> Disk {
    start_on(folder, None)
}

fn start_on(folder: TempDir, foreground: Option<&Foreground>) -> Disk {
    let dir = DataDir::open(folder.path(), folder.path(), Some(1)).unwrap();
    let restored = dir.restore(&RestoreOptions::default()).unwrap();
    let log =
        dir.open_log(&restored.tail, LogOptions { preallocate: 1 << 16, ..LogOptions::default() }).unwrap();
    let tree = Arc::new(SharedTree::new(restored.tree));
    tree.settle();
    let metrics = Arc::new(Metrics::default());
    let jobs = JobQueue::default();
    let (done_in, done) = mpsc::channel(64);
    let thread = DiskThread {
        dir,
        log,
        tree: tree.clone(),
        restore: RestoreOptions::default(),
        purge_retain: 3,
        metrics: metrics.clone(),
        jobs: jobs.clone(),
        done: done_in,
    };
    let thread = thread.spawn(foreground).unwrap();
    Disk { folder, tree, metrics, jobs, done, thread }
}

impl Disk {
    fn stop(self) -> TempDir {
        self.jobs.close();
        self.thread.join().unwrap();
        self.folder
    }

    fn push(&self, job: Job) {
        self.jobs.push(job);
        self.jobs.announce();
    }

    fn next(&mut self) -> Done {
        self.done.blocking_recv().unwrap()
    }

    fn files(&self) -> BTreeSet<String> {
        let listed = std::fs::read_dir(self.folder.path().join("version-2")).unwrap();
        listed.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
    }
}

fn create(n: u32) -> (Zxid, Bytes) {
    let zxid = Zxid::new(1, n);
    let header = TxnHeader { session: 1, cxid: 0, zxid, time: 0 };
    let created =
        CreateTxn { path: format!("/{n}"), data: None, acl: Acl::open(), parent_cversion: n as i32 };
    (zxid, TxnRecord { header, txn: Txn::Create(created, false), digest: None }.encode())
}

fn append(n: u32) -> Job {
    let (zxid, payload) = create(n);
    Job::Append { zxid, payload }
}

fn apply(tree: &SharedTree, n: u32) {
    let record = TxnRecord::decode(&create(n).1).unwrap();
    tree.update(|tree| drop(tree.apply(&record.header, &record.txn, &mut |_| ())));
}

#[test]
fn appends_that_wait_together_share_a_flush_and_other_jobs_keep_their_place() {
    let mut disk = start(TempDir::new().unwrap());
    disk.push(Job::AcceptEpoch(1));
    for n in 1..=50 {
        disk.push(append(n));
    }
    disk.push(Job::EnterEpoch(1));
    disk.push(append(51));
    assert!(matches!(disk.next(), Done::EpochAccepted(1)));
    let mut flushed = Zxid::ZERO;
    while flushed < Zxid::new(1, 50) {
        let Done::Flushed(zxid) = disk.next() else { panic!("out of order") };
        assert!(zxid > flushed);
        flushed = zxid;
    }
    assert!(matches!(disk.next(), Done::EpochEntered(1)));
    assert!(matches!(disk.next(), Done::Flushed(zxid) if zxid == Zxid::new(1, 51)));
    assert!(disk.metrics.fsynctime.view().count < 50);
    let again = start(disk.stop());
    assert_eq!(again.tree.read().last_zxid(), Zxid::new(1, 51));
    again.stop();
}

#[test]
fn a_snapshot_is_written_while_appends_go_on_and_the_log_begins_a_new_file() {
    let mut disk = start(TempDir::new().unwrap());
    for n in 1..=3 {
        apply(&disk.tree, n);
        disk.push(append(n));
    }
    disk.push(Job::Snapshot);
    disk.push(append(4));
    let mut written = None;
    while written.is_none() {
        if let Done::Snapshot(snapshot) = disk.next() {
            written = snapshot;
        }
    }
    assert_eq!(written.unwrap().zxid, Zxid::new(1, 3));
    while !disk.files().contains("log.100000004") {
        std::thread::yield_now();
    }
    assert!(disk.files().contains("snapshot.100000003"), "{:?}", disk.files());
    let again = start(disk.stop());
    assert_eq!(again.tree.read().last_zxid(), Zxid::new(1, 4));
    again.stop();
}

#[test]
fn no_snapshot_is_taken_of_what_may_yet_be_undone() {
    let mut disk = start(TempDir::new().unwrap());
    disk.push(append(1));
    apply(&disk.tree, 1);
    disk.tree.unsettle();
    disk.push(Job::Snapshot);
    assert!(matches!(disk.next(), Done::Flushed(_)));
    assert!(matches!(disk.next(), Done::Snapshot(None)));
    assert!(!disk.files().contains("snapshot.100000001"));
    disk.stop();
}

#[test]
fn the_log_is_cut_and_the_tree_is_what_is_left() {
    let mut disk = start(TempDir::new().unwrap());
    for n in 1..=5 {
        disk.push(append(n));
    }
    disk.push(Job::Truncate { to: Zxid::new(1, 2) });
    disk.push(Job::Truncate { to: Zxid::new(7, 2) });
    let tree = loop {
        match disk.next() {
            Done::Flushed(_) => {}
            Done::Truncated(last, tree) => break (last, tree),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((tree.0, tree.1.last_zxid()), (Zxid::new(1, 2), Zxid::new(1, 2)));
    assert!(tree.1.node("/2").is_some() && tree.1.node("/3").is_none());
    assert!(matches!(disk.next(), Done::NotTruncated));
    disk.push(append(3));
    assert!(matches!(disk.next(), Done::Flushed(zxid) if zxid == Zxid::new(1, 3)));
    disk.stop();
}

#[test]
fn a_received_tree_replaces_everything() {
    let mut disk = start(TempDir::new().unwrap());
    for n in 1..=5 {
        disk.push(append(n));
    }
    let zxid = Zxid::new(2, 7);
    let mut tree = Box::new(DataTree::new());
    tree.set_last_zxid(zxid);
    disk.push(Job::Install { zxid, tree });
    let installed = loop {
        match disk.next() {
            Done::Flushed(_) => {}
            Done::Installed(zxid, tree) => break (zxid, tree.last_zxid()),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(installed, (zxid, zxid));
    let again = start(disk.stop());
    assert_eq!(again.tree.read().last_zxid(), zxid);
    assert!(again.tree.read().node("/1").is_none());
    again.stop();
}

#[test]
fn a_gap_in_the_log_ends_the_thread_with_an_error_and_drops_what_is_queued() {
    let mut disk = start(TempDir::new().unwrap());
    disk.push(append(1));
    disk.push(append(3));
    disk.push(append(4));
    loop {
        match disk.next() {
            Done::Flushed(zxid) => assert_eq!(zxid, Zxid::new(1, 1)),
            Done::Failed(error) => break assert!(error.to_string().contains("0x100000003"), "{error}"),
            other => panic!("{other:?}"),
        }
    }
    assert!(disk.done.blocking_recv().is_none());
    disk.thread.join().unwrap();
}

#[test]
fn a_quick_disk_is_flushed_by_the_thread_of_the_tasks_in_the_order_of_the_jobs() {
    let folder = alone::run(|foreground| async move {
        let mut disk = start_on(TempDir::new().unwrap(), Some(&foreground));
        let (mut here, mut pushed, mut flushed) = (0, 0, 0);
        while flushed < 200 {
            if pushed < 200 {
                disk.jobs.push(append(pushed + 1));
                pushed += 1;
            }
            if pushed % 16 == 0 {
                disk.jobs.push(Job::AcceptEpoch(pushed));
            }
            // As if every flush were quick.
            (0..20).for_each(|_| disk.jobs.flushed(std::time::Duration::ZERO));
            if disk.jobs.claim_here() {
                here += 1;
                foreground.want();
            } else {
                disk.jobs.announce();
            }
            match disk.done.recv().await.unwrap() {
                Done::Flushed(zxid) => {
                    assert!(zxid.counter() > flushed);
                    flushed = zxid.counter();
                }
                Done::EpochAccepted(_) => {}
                other => panic!("{other:?}"),
            }
        }
        assert!(here > 0);
        disk.jobs.push(append(201));
        if disk.jobs.claim_here() {
            foreground.want();
        }
        // Also what is claimed is done before the end.
        disk.jobs.close();
        while disk.done.recv().await.is_some() {}
        disk.folder
    });
    let again = start(folder.unwrap());
    assert_eq!(again.tree.read().last_zxid(), Zxid::new(1, 201));
    again.stop();
}
