//! Who works the queue: the disk thread, and the driver's own for a few appends.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use palisade_disk::{DataDir, DiskError, RestoreOptions, TxnLog};
use palisade_store::DataTree;
use palisade_wire::Zxid;
use parking_lot::Mutex;
use tokio::sync::mpsc::{self, error::TrySendError};

use super::queue::{Job, JobQueue};
use super::snapshot::{Durable, Running, Written, write_received};
use crate::alone::{Errand, Foreground};
use crate::metrics::Metrics;
use crate::state::SharedTree;

/// The answer to a job. Those of all jobs but [`Job::Snapshot`] and [`Job::Purge`] come in the order of the jobs.
#[derive(Debug)]
pub(crate) enum Done {
    /// Everything appended up to here is durable.
    Flushed(Zxid),
    /// The promise is durable.
    EpochAccepted(u32),
    /// The epoch is durable.
    EpochEntered(u32),
    /// The log was cut; this is the tree that is left, and its last transaction.
    Truncated(Zxid, Box<DataTree>),
    /// The log cannot be cut there; nothing was changed.
    NotTruncated,
    /// The tree is durable as the only history.
    Installed(Zxid, Box<DataTree>),
    /// A snapshot was written; `None` if it was given up.
    Snapshot(Option<Written>),
    /// Something failed: what the disk holds is unknown, and the voter must stop.
    Failed(DiskError),
}

/// What the thread works with.
pub(crate) struct DiskThread {
    pub(crate) dir: DataDir,
    pub(crate) log: TxnLog,
    pub(crate) tree: Arc<SharedTree>,
    pub(crate) restore: RestoreOptions,
    pub(crate) purge_retain: usize,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) jobs: JobQueue,
    pub(crate) done: mpsc::Sender<Done>,
}

/// The files in use.
struct Worker {
    files: DiskThread,
    durable: Arc<Durable>,
    /// The snapshot that was begun last.
    running: Option<Running>,
}

impl DiskThread {
    /// Starts the thread; it ends once the queue is closed, or after a failure. What a foreground claims is done by that.
    pub(crate) fn spawn(self, foreground: Option<&Foreground>) -> std::io::Result<JoinHandle<()>> {
        let (done, queue) = (self.done.clone(), self.jobs.clone());
        let durable = Arc::new(Durable::new(self.log.last_zxid()));
        let worker = Arc::new(Mutex::new(Some(Worker { files: self, durable, running: None })));
        if let Some(foreground) = foreground {
            foreground.take(Arc::new(Here::new(worker.clone(), queue.clone(), done.downgrade())));
        }
        std::thread::Builder::new().name("disk".to_owned()).spawn(move || {
            let mut jobs = VecDeque::new();
            while queue.take_all(&mut jobs) {
                let outcome = worker.lock().as_mut().map_or(Ok(()), |worker| worker.work_off(&mut jobs));
                if let Err(error) = outcome {
                    queue.abandon();
                    tell(&done, Done::Failed(error));
                    break;
                }
            }
            // And with it the lock on the files.
            worker.lock().take();
        })
    }
}

/// Appends that are flushed by the thread that runs the driver.
struct Here {
    /// `None` once the disk thread has ended.
    worker: Arc<Mutex<Option<Worker>>>,
    queue: JobQueue,
    /// Whoever waits for the end of the disk thread must not wait for this.
    done: mpsc::WeakSender<Done>,
    flushed: Mutex<Flushed>,
}

#[derive(Default)]
struct Flushed {
    jobs: VecDeque<Job>,
    /// What is to be told.
    outcome: Option<Done>,
}

impl Here {
    fn new(worker: Arc<Mutex<Option<Worker>>>, queue: JobQueue, done: mpsc::WeakSender<Done>) -> Self {
        Self { worker, queue, done, flushed: Mutex::default() }
    }
}

impl Errand for Here {
    fn run(&self) {
        let mut flushed = self.flushed.lock();
        let Flushed { jobs, outcome } = &mut *flushed;
        self.queue.take_here(jobs);
        let mut worker = self.worker.lock();
        let Some(worker) = worker.as_mut() else { return jobs.clear() };
        *outcome = worker.append_all(jobs).map_or_else(
            |error| {
                self.queue.abandon();
                Some(Done::Failed(error))
            },
            |zxid| zxid.map(Done::Flushed),
        );
    }

    fn report(&self) -> bool {
        let mut flushed = self.flushed.lock();
        let room = self.done.upgrade();
        let room = match room.as_ref().map(|done| done.try_reserve()) {
            Some(Err(TrySendError::Full(()))) => return false,
            Some(Ok(room)) => Some(room),
            Some(Err(TrySendError::Closed(()))) | None => None,
        };
        if let (Some(done), Some(room)) = (flushed.outcome.take(), room) {
            room.send(done);
        }
        self.queue.done_here();
        true
    }
}

impl Worker {
    fn work_off(&mut self, jobs: &mut VecDeque<Job>) -> Result<(), DiskError> {
        while !jobs.is_empty() {
            if let Some(zxid) = self.append_all(jobs)? {
                tell(&self.files.done, Done::Flushed(zxid));
            }
            if let Some(job) = jobs.pop_front() {
                self.work(job)?;
            }
        }
        Ok(())
    }

    /// Appends what comes first, and flushes it; the last transaction, if there was any.
    fn append_all(&mut self, jobs: &mut VecDeque<Job>) -> Result<Option<Zxid>, DiskError> {
        let mut unflushed = 0;
        while let Some(Job::Append { zxid, payload }) = jobs.front() {
            self.files.log.append(*zxid, payload)?;
            unflushed += 1;
            jobs.pop_front();
        }
        if unflushed == 0 {
            return Ok(None);
        }
        let started = Instant::now();
        let zxid = self.files.log.sync()?;
        let took = started.elapsed();
        self.files.metrics.fsynctime.record(took);
        self.files.metrics.sync_processor_batch_size.record(unflushed);
        self.files.jobs.flushed(took);
        self.durable.raise(zxid);
        Ok(Some(zxid))
    }

    fn work(&mut self, job: Job) -> Result<(), DiskError> {
        let Self { files, durable, running } = self;
        match job {
            Job::Append { .. } => {}
            Job::AcceptEpoch(epoch) => {
                files.dir.epochs().write_accepted(epoch)?;
                tell(&files.done, Done::EpochAccepted(epoch));
            }
            Job::EnterEpoch(epoch) => {
                files.dir.epochs().write_current(epoch)?;
                tell(&files.done, Done::EpochEntered(epoch));
            }
            Job::Truncate { to } => {
                *running = None;
                let done = files.truncate(to)?;
                durable.raise(files.log.last_zxid());
                tell(&files.done, done);
            }
            Job::Install { zxid, tree } => {
                *running = None;
                let file = write_received(&files.dir.snapshots(), zxid, &tree)?;
                // Its digest is that of some later transaction: the leader went on while it sent the tree.
                files.log.install(file, None)?;
                durable.raise(zxid);
                tell(&files.done, Done::Installed(zxid, tree));
            }
            Job::Snapshot => {
                if running.as_ref().is_none_or(Running::is_finished) {
                    *running = files.snapshot(durable)?;
                }
            }
            Job::Purge => {
                let deleted = files.log.purge(files.purge_retain)?;
                tracing::info!(deleted, retain = files.purge_retain, "old snapshots and logs purged");
            }
        }
        Ok(())
    }
}

impl DiskThread {
    fn truncate(&mut self, to: Zxid) -> Result<Done, DiskError> {
        match self.log.truncate(to) {
            Ok(_) => {
                let restored = self.dir.restore(&self.restore)?;
                Ok(Done::Truncated(restored.last_zxid, Box::new(restored.tree)))
            }
            Err(error @ DiskError::CannotTruncate { .. }) => {
                tracing::warn!(%error, "the leader will be asked for a snapshot instead");
                Ok(Done::NotTruncated)
            }
            Err(error) => Err(error),
        }
    }

    fn snapshot(&mut self, durable: &Arc<Durable>) -> Result<Option<Running>, DiskError> {
        self.log.roll()?;
        let done = self.done.clone();
        let report = move |outcome: Result<Option<Written>, DiskError>| {
            tell(&done, outcome.map_or_else(Done::Failed, Done::Snapshot));
        };
        match Running::start(self.dir.snapshots(), self.tree.clone(), durable.clone(), report) {
            Ok(running) => Ok(Some(running)),
            Err(error) => {
                tracing::error!(%error, "no thread for a snapshot; the next one is tried in time");
                tell(&self.done, Done::Snapshot(None));
                Ok(None)
            }
        }
    }
}

/// Blocks while the driver is behind. Refused only when the driver has ended, and then nobody needs it.
fn tell(done: &mpsc::Sender<Done>, what: Done) {
    let _ = done.blocking_send(what);
}
