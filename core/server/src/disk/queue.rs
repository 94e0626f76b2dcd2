//! Jobs for the disk, and whose turn it is to do them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use palisade_store::DataTree;
use palisade_wire::Zxid;
use parking_lot::{Condvar, Mutex, MutexGuard};

/// Queued bytes above which the driver takes in nothing that makes more.
const ROOM: usize = 64 << 20;
/// A disk is quick if it flushes within this, so many times in a row.
const QUICK: Duration = Duration::from_millis(1);
const QUICK_IN_A_ROW: u32 = 8;
/// Queued bytes above which a thread of its own is worth being woken for them.
const LITTLE: usize = 64 << 10;

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

/// The queue between the driver and those who do the jobs, one at a time: the disk thread, or the driver's own thread
/// between two turns, if it is one that may ([`crate::alone`]).
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
    /// Flushes in a row that were quick.
    quick: AtomicU32,
}

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Job>,
    /// How many of the jobs are no appends.
    others: usize,
    turn: Turn,
    /// Whether jobs were queued since anybody was last told.
    unannounced: bool,
    closed: bool,
}

/// Who does jobs now. Nobody else takes any before what came of them has been told: so that is told in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Turn {
    #[default]
    Nobody,
    /// The disk thread.
    Thread,
    /// The driver's own thread, or it is going to.
    Here,
}

impl JobQueue {
    /// Queues a job. After [`JobQueue::close`] it is dropped. Who does it starts with [`JobQueue::announce`], so that many
    /// are found at once.
    pub(crate) fn push(&self, job: Job) {
        let mut state = self.inner.state.lock();
        if !state.closed {
            self.inner.bytes.fetch_add(job.cost(), Ordering::Relaxed);
            state.others += usize::from(!matches!(job, Job::Append { .. }));
            state.jobs.push_back(job);
            state.unannounced = true;
        }
    }

    /// Wakes the thread if it waits and there are jobs.
    pub(crate) fn announce(&self) {
        let mut state = self.inner.state.lock();
        if state.turn != Turn::Here && std::mem::take(&mut state.unannounced) {
            drop(state);
            self.inner.changed.notify_one();
        }
    }

    /// Whether the caller is to do what is queued, with [`JobQueue::take_here`], because it is a few appends and the disk is
    /// quick. Otherwise it is left to the thread, which is to be told of it.
    pub(crate) fn claim_here(&self) -> bool {
        let mut state = self.inner.state.lock();
        let little = state.others == 0 && self.inner.bytes.load(Ordering::Relaxed) <= LITTLE;
        let quick = self.inner.quick.load(Ordering::Relaxed) >= QUICK_IN_A_ROW;
        let claimed = state.unannounced && state.turn == Turn::Nobody && little && quick && !state.closed;
        if claimed {
            state.unannounced = false;
            state.turn = Turn::Here;
        }
        claimed
    }

    /// Whether more may be taken in.
    pub(crate) fn has_room(&self) -> bool {
        self.inner.bytes.load(Ordering::Relaxed) < ROOM
    }

    /// Lets what is queued be done, and the thread end.
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

    /// A flush took this long.
    pub(super) fn flushed(&self, took: Duration) {
        let before = self.inner.quick.load(Ordering::Relaxed);
        let quick = if took <= QUICK { before.saturating_add(1) } else { 0 };
        self.inner.quick.store(quick, Ordering::Relaxed);
    }

    /// The thread's: waits for jobs and moves all of them to `jobs`, which it has done, and told of, when it calls this
    /// again. False once the queue is closed and empty.
    pub(super) fn take_all(&self, jobs: &mut VecDeque<Job>) -> bool {
        let mut state = self.inner.state.lock();
        if state.turn == Turn::Thread {
            state.turn = Turn::Nobody;
        }
        while state.jobs.is_empty() || state.turn == Turn::Here {
            if state.closed && state.jobs.is_empty() && state.turn != Turn::Here {
                return false;
            }
            self.inner.changed.wait(&mut state);
        }
        state.turn = Turn::Thread;
        self.take(state, jobs);
        true
    }

    /// What was left to the caller by [`JobQueue::claim_here`]: appends, up to the first that is none. When it is done and
    /// told of, [`JobQueue::done_here`] is to follow.
    pub(super) fn take_here(&self, jobs: &mut VecDeque<Job>) {
        let mut state = self.inner.state.lock();
        if state.others == 0 {
            return self.take(state, jobs);
        }
        while let Some(append) = state.jobs.pop_front_if(|job| matches!(job, Job::Append { .. })) {
            self.inner.bytes.fetch_sub(append.cost(), Ordering::Relaxed);
            jobs.push_back(append);
        }
        state.unannounced = true;
    }

    fn take(&self, mut state: MutexGuard<'_, State>, jobs: &mut VecDeque<Job>) {
        self.inner.bytes.store(0, Ordering::Relaxed);
        state.others = 0;
        std::mem::swap(jobs, &mut state.jobs);
    }

    /// It is the next one's turn.
    pub(super) fn done_here(&self) {
        let mut state = self.inner.state.lock();
        state.turn = Turn::Nobody;
        if state.closed {
            self.inner.changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(counter: u32) -> Job {
        Job::Append { zxid: Zxid::new(1, counter), payload: Bytes::from_static(b"payload") }
    }

    /// Of a disk that is quick.
    fn queue() -> JobQueue {
        let queue = JobQueue::default();
        (0..QUICK_IN_A_ROW).for_each(|_| queue.flushed(QUICK));
        queue
    }

    fn taken_here(queue: &JobQueue) -> usize {
        let mut jobs = VecDeque::new();
        queue.take_here(&mut jobs);
        assert!(jobs.iter().all(|job| matches!(job, Job::Append { .. })));
        jobs.len()
    }

    #[test]
    fn appends_are_claimed_once_and_with_what_came_meanwhile() {
        let queue = queue();
        assert!(!queue.claim_here(), "there is nothing to do");
        queue.push(append(1));
        assert!(queue.claim_here());
        queue.push(append(2));
        assert!(!queue.claim_here(), "it is claimed");
        assert_eq!(taken_here(&queue), 2);
        queue.push(append(3));
        assert!(!queue.claim_here(), "of the others, nothing is told yet");
        queue.done_here();
        assert!(queue.claim_here());
        assert_eq!(taken_here(&queue), 1);
    }

    #[test]
    fn a_disk_is_quick_after_some_quick_flushes_in_a_row() {
        let queue = queue();
        queue.push(append(1));
        queue.flushed(QUICK * 2);
        for _ in 1..QUICK_IN_A_ROW {
            queue.flushed(QUICK);
            assert!(!queue.claim_here());
        }
        queue.flushed(QUICK);
        assert!(queue.claim_here());
    }

    #[test]
    fn what_takes_long_is_left_to_the_thread() {
        let queue = queue();
        queue.push(append(1));
        queue.push(Job::Snapshot);
        assert!(!queue.claim_here());
        let mut jobs = VecDeque::new();
        assert!(queue.take_all(&mut jobs));
        queue.push(append(2));
        assert!(!queue.claim_here(), "the thread has not told of what it took");

        let queue = self::queue();
        let payload = Bytes::from(vec![0; LITTLE]);
        queue.push(Job::Append { zxid: Zxid::new(1, 1), payload });
        assert!(!queue.claim_here());
    }

    #[test]
    fn what_is_queued_behind_the_claim_and_is_no_append_waits_for_the_thread() {
        let queue = queue();
        queue.push(append(1));
        assert!(queue.claim_here());
        queue.push(append(2));
        queue.push(Job::Purge);
        queue.push(append(3));
        assert_eq!(taken_here(&queue), 2);
        queue.close();
        queue.done_here();
        let mut jobs = VecDeque::new();
        assert!(queue.take_all(&mut jobs));
        assert!(matches!(jobs.make_contiguous(), [Job::Purge, Job::Append { .. }]));
        jobs.clear();
        assert!(!queue.take_all(&mut jobs));
    }
}
