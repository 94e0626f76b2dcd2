//! Writing the applied tree to a file while transactions go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use palisade_disk::{DiskError, SnapshotDigest, SnapshotFile, Snapshots};
use palisade_store::{DataTree, SnapshotCursor};
use palisade_wire::Zxid;
use parking_lot::{Condvar, Mutex};

use crate::state::SharedTree;

/// Bytes serialised under one hold of the tree's lock.
const CHUNK: usize = 64 << 10;

/// A snapshot that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    /// Its zxid.
    pub(crate) zxid: Zxid,
    /// Its size.
    pub(crate) bytes: u64,
    /// How long it took.
    pub(crate) took: Duration,
}

/// How far the log is durable.
#[derive(Debug)]
pub(super) struct Durable {
    zxid: Mutex<Zxid>,
    raised: Condvar,
}

impl Durable {
    pub(super) const fn new(zxid: Zxid) -> Self {
        Self { zxid: Mutex::new(zxid), raised: Condvar::new() }
    }

    pub(super) fn raise(&self, zxid: Zxid) {
        *self.zxid.lock() = zxid;
        self.raised.notify_all();
    }

    /// Waits until the log is durable up to `zxid`. False if `cancelled` was set first, and [`Durable::wake`] called.
    fn wait_for(&self, zxid: Zxid, cancelled: &AtomicBool) -> bool {
        let mut durable = self.zxid.lock();
        while *durable < zxid && !cancelled.load(Ordering::Relaxed) {
            self.raised.wait(&mut durable);
        }
        *durable >= zxid
    }

    fn wake(&self) {
        drop(self.zxid.lock());
        self.raised.notify_all();
    }
}

/// A snapshot being written by a thread of its own. Dropped, it is given up.
#[derive(Debug)]
pub(super) struct Running {
    cancelled: Arc<AtomicBool>,
    durable: Arc<Durable>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// Starts one; `report` gets the outcome, `None` if it was given up because the tree was replaced.
    pub(super) fn start(
        snapshots: Snapshots,
        tree: Arc<SharedTree>,
        durable: Arc<Durable>,
        report: impl FnOnce(Result<Option<Written>, DiskError>) + Send + 'static,
    ) -> std::io::Result<Self> {
        let cancelled = Arc::new(AtomicBool::new(false));
        let (flag, log) = (cancelled.clone(), durable.clone());
        let thread = std::thread::Builder::new()
            .name("snapshot".to_owned())
            .spawn(move || report(write_applied(&snapshots, &tree, &log, &flag)))?;
        Ok(Self { cancelled, durable, thread: Some(thread) })
    }

    pub(super) fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.cancelled.store(true, Ordering::Relaxed);
        self.durable.wake();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the snapshot thread panicked");
        }
    }
}

fn write_applied(
    snapshots: &Snapshots,
    tree: &SharedTree,
    durable: &Durable,
    cancelled: &AtomicBool,
) -> Result<Option<Written>, DiskError> {
    let started = Instant::now();
    let Some((mut cursor, generation)) = tree.settled_cursor() else { return Ok(None) };
    let zxid = cursor.zxid();
    let mut file = snapshots.create(zxid)?;
    let mut chunk = BytesMut::with_capacity(2 * CHUNK);
    let digest = loop {
        let step = tree.read_same(generation, |tree| {
            let done = cursor.write_chunk(tree, &mut chunk, CHUNK);
            done.then(|| digest_of(tree))
        });
        let Some(finished) = step.filter(|_| !cancelled.load(Ordering::Relaxed)) else { return Ok(None) };
        file.write(&chunk)?;
        chunk.clear();
        if let Some(digest) = finished {
            break digest;
        }
    };
    // It may hold parts of transactions up to here; before they are in the log, nobody could complete them.
    if !durable.wait_for(digest.zxid, cancelled) {
        return Ok(None);
    }
    let bytes = file.finish(Some(digest))?;
    Ok(Some(Written { zxid, bytes, took: started.elapsed() }))
}

/// Writes a tree that nobody changes, and leaves it to the log to make the file valid.
pub(super) fn write_received(
    snapshots: &Snapshots,
    zxid: Zxid,
    tree: &DataTree,
) -> Result<SnapshotFile, DiskError> {
    let mut file = snapshots.create(zxid)?;
    let mut cursor = SnapshotCursor::new(tree);
    let mut chunk = BytesMut::with_capacity(2 * CHUNK);
    loop {
        let done = cursor.write_chunk(tree, &mut chunk, CHUNK);
        file.write(&chunk)?;
        chunk.clear();
        if done {
            return Ok(file);
        }
    }
}

fn digest_of(tree: &DataTree) -> SnapshotDigest {
    SnapshotDigest { zxid: tree.last_zxid(), digest: tree.digest() }
}
