//! The thread that works the queue.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use palisade_disk::{DataDir, DiskError, RestoreOptions, TxnLog};
use palisade_store::DataTree;
use palisade_wire::Zxid;
use tokio::sync::mpsc;

use super::queue::{Job, JobQueue};
use super::snapshot::{Durable, Running, Written, write_received};
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

impl DiskThread {
    /// Starts the thread; it ends once the queue is closed, or after a failure.
    pub(crate) fn spawn(self) -> std::io::Result<JoinHandle<()>> {
        std::thread::Builder::new().name("disk".to_owned()).spawn(move || {
            let done = self.done.clone();
            let jobs = self.jobs.clone();
            if let Err(error) = self.run() {
                jobs.abandon();
                tell(&done, Done::Failed(error));
            }
        })
    }

    fn run(mut self) -> Result<(), DiskError> {
        let queue = self.jobs.clone();
        let mut jobs = VecDeque::new();
        let durable = Arc::new(Durable::new(self.log.last_zxid()));
        let mut running: Option<Running> = None;
        while queue.take_all(&mut jobs) {
            let mut unflushed = false;
            while let Some(job) = jobs.pop_front() {
                if let Job::Append { zxid, payload } = job {
                    self.log.append(zxid, &payload)?;
                    unflushed = true;
                    continue;
                }
                self.flush(&mut unflushed, &durable)?;
                self.work(job, &mut running, &durable)?;
            }
            self.flush(&mut unflushed, &durable)?;
        }
        Ok(())
    }

    fn flush(&mut self, unflushed: &mut bool, durable: &Durable) -> Result<(), DiskError> {
        if std::mem::take(unflushed) {
            let started = Instant::now();
            let zxid = self.log.sync()?;
            self.metrics.fsynctime.record(started.elapsed());
            durable.raise(zxid);
            tell(&self.done, Done::Flushed(zxid));
        }
        Ok(())
    }

    fn work(
        &mut self,
        job: Job,
        running: &mut Option<Running>,
        durable: &Arc<Durable>,
    ) -> Result<(), DiskError> {
        match job {
            Job::Append { .. } => {}
            Job::AcceptEpoch(epoch) => {
                self.dir.epochs().write_accepted(epoch)?;
                tell(&self.done, Done::EpochAccepted(epoch));
            }
            Job::EnterEpoch(epoch) => {
                self.dir.epochs().write_current(epoch)?;
                tell(&self.done, Done::EpochEntered(epoch));
            }
            Job::Truncate { to } => {
                *running = None;
                let done = self.truncate(to)?;
                durable.raise(self.log.last_zxid());
                tell(&self.done, done);
            }
            Job::Install { zxid, tree } => {
                *running = None;
                let file = write_received(&self.dir.snapshots(), zxid, &tree)?;
                // Its digest is that of some later transaction: the leader went on while it sent the tree.
                self.log.install(file, None)?;
                durable.raise(zxid);
                tell(&self.done, Done::Installed(zxid, tree));
            }
            Job::Snapshot => {
                if running.as_ref().is_none_or(Running::is_finished) {
                    *running = self.snapshot(durable)?;
                }
            }
            Job::Purge => {
                let deleted = self.log.purge(self.purge_retain)?;
                tracing::info!(deleted, retain = self.purge_retain, "old snapshots and logs purged");
            }
        }
        Ok(())
    }

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
