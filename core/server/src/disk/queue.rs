//! Jobs for the disk thread.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use palisade_store::DataTree;
use palisade_wire::Zxid;
use parking_lot::{Condvar, Mutex};

/// Queued bytes above which the driver takes in nothing that makes more.
const ROOM: usize = 64 << 20;

/// Something to be done to the files.
#[derive(Debug)]
pub(crate) enum Job {
    /// Append to the log, and flush.
    Append {
        /// The transaction's zxid.
        zxid: Zxid,
        /// Its bytes.
        payload: Bytes,
    },
    /// Record the promise not to listen to older epochs.
    AcceptEpoch(u32),
    /// Record the epoch that this voter is in.
    EnterEpoch(u32),
    /// Cut the log and read back what is left.
    Truncate {
        /// The last transaction to keep.
        to: Zxid,
    },
    /// Replace everything by a tree that the leader sent.
    Install {
        /// Its last transaction.
        zxid: Zxid,
        /// The tree; handed back when it is durable.
        tree: Box<DataTree>,
    },
    /// Begin a snapshot of the applied tree and a new log file. Passed over while one is being written.
    Snapshot,
    /// Delete what is no longer needed.
    Purge,
}

impl Job {
    fn cost(&self) -> usize {
        match self {
            Self::Append { payload, .. } => 64 + payload.len(),
            _ => 64,
        }
    }
}

/// The queue between driver and disk thread.
///
/// Pushing never blocks, because the driver must not. The bound is [`JobQueue::has_room`], which the driver asks before
/// it takes in anything that leads to more jobs.
#[derive(Clone, Debug, Default)]
pub(crate) struct JobQueue {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    changed: Condvar,
    /// Bytes of the jobs in the queue.
    bytes: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Whether jobs were queued since the thread was last woken.
    unannounced: bool,
    closed: bool,
}

impl JobQueue {
    /// Queues a job. After [`JobQueue::close`] it is dropped. A thread that waits for jobs starts with
    /// [`JobQueue::announce`], so that it finds many at once.
    pub(crate) fn push(&self, job: Job) {
        let mut state = self.inner.state.lock();
        if !state.closed {
            self.inner.bytes.fetch_add(job.cost(), Ordering::Relaxed);
            state.jobs.push_back(job);
            state.unannounced = true;
        }
    }

    /// Wakes the thread if it waits and there are jobs.
    pub(crate) fn announce(&self) {
        if std::mem::take(&mut self.inner.state.lock().unannounced) {
            self.inner.changed.notify_one();
        }
    }

    /// Whether more may be taken in.
    pub(crate) fn has_room(&self) -> bool {
        self.inner.bytes.load(Ordering::Relaxed) < ROOM
    }

    /// Lets the thread finish what is queued and end.
    pub(crate) fn close(&self) {
        self.inner.state.lock().closed = true;
        self.inner.changed.notify_one();
    }

    /// Forgets what is queued, as a crash would, and lets the thread end.
    pub(crate) fn abandon(&self) {
        let mut state = self.inner.state.lock();
        state.jobs.clear();
        state.closed = true;
        self.inner.changed.notify_one();
    }

    /// Waits for jobs and moves all of them to `jobs`. False once the queue is closed and empty.
    pub(super) fn take_all(&self, jobs: &mut VecDeque<Job>) -> bool {
        let mut state = self.inner.state.lock();
        while state.jobs.is_empty() {
            if state.closed {
                return false;
            }
            self.inner.changed.wait(&mut state);
        }
        self.inner.bytes.store(0, Ordering::Relaxed);
        std::mem::swap(jobs, &mut state.jobs);
        true
    }
}
