//! Taking history away: truncation, replacement by a leader's snapshot, purge.
//!
//! Each is a sequence of durable steps, ordered so that what is found after a crash between any two of them is a
//! history that this server has had, or the one it was to get; never a mixture.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use palisade_wire::Zxid;

use super::file::{FileReader, Step};
use super::reader::LogReader;
use super::writer::{LogOptions, TxnLog};
use crate::dir::DataDir;
use crate::error::{Context, DiskError, Result};
use crate::snapshot::{SnapshotDigest, SnapshotFile, SnapshotInfo};
use crate::{fs, names};

/// The fewest snapshots that a purge keeps.
const MIN_RETAINED: usize = 3;

/// One durable step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    Delete(PathBuf),
    /// Drop everything from this byte on.
    Shorten(PathBuf, u64),
}

impl Cut {
    pub(super) fn run(&self) -> Result<()> {
        match self {
            Self::Delete(path) => fs::remove(path),
            Self::Shorten(path, at) => cut_file(path, *at),
        }
    }
}

/// What a truncation leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// The newest snapshot.
    pub(super) base: Zxid,
    /// The last transaction.
    pub(super) last: Zxid,
}

/// Durably shortens a file.
pub(super) fn cut_file(path: &Path, at: u64) -> Result<()> {
    let file = OpenOptions::new().write(true).open(path).context("open", path)?;
    file.set_len(at).context("shorten", path)?;
    file.sync_all().context("sync", path)
}

impl DataDir {
    /// Begins a new history with a snapshot, complete but unfinished; everything else in the directory is deleted, as by
    /// [`TxnLog::install`]. For a log that failed: it must not be used any more.
    ///
    /// # Errors
    ///
    /// Those of [`TxnLog::install`].
    pub fn start_over(
        &self,
        snapshot: SnapshotFile,
        digest: Option<SnapshotDigest>,
        options: LogOptions,
    ) -> Result<TxnLog> {
        let mut log = TxnLog::behind(self.clone(), snapshot.zxid(), options);
        log.install(snapshot, digest)?;
        Ok(log)
    }
}

impl TxnLog {
    /// Forgets every transaction after `to`, in snapshots and log, durably. Returns the last one that is left: `to`, or
    /// the one before it if `to` is not in the log. The caller restores afterwards: the tree in memory is too new.
    ///
    /// A crash in the middle leaves a history that reaches at least to `to` and at most to the old end.
    ///
    /// # Errors
    ///
    /// [`DiskError::CannotTruncate`] if `to` is beyond the end, or if no loadable snapshot and contiguous log lead to
    /// it: nothing was changed. [`DiskError::Io`].
    pub fn truncate(&mut self, to: Zxid) -> Result<Zxid> {
        self.roll()?;
        let plan = self.plan(to)?;
        let steps = self.truncate_steps(&plan, to)?;
        self.run(&steps)?;
        self.last = plan.last;
        Ok(plan.last)
    }

    /// Replaces the whole history by a snapshot that a leader sent, complete but unfinished. Everything else is
    /// deleted, because the old transactions need not belong to the new history. The next append follows its zxid.
    ///
    /// A crash in the middle leaves a prefix of the old history, or the new snapshot.
    ///
    /// # Errors
    ///
    /// [`DiskError::Corrupt`] if the snapshot's stream is incomplete, [`DiskError::Io`].
    pub fn install(&mut self, mut snapshot: SnapshotFile, digest: Option<SnapshotDigest>) -> Result<()> {
        self.roll()?;
        snapshot.seal(digest)?;
        let zxid = snapshot.zxid();
        let path = snapshot.path().to_owned();
        // Once the new snapshot has its name, no old transaction may be left that would be replayed on top of it.
        let later = self.log_steps_after(zxid)?;
        self.run(&later)?;
        let published = snapshot.publish();
        self.poison_on_error(published)?;
        let rest = self.steps_without(&path)?;
        self.run(&rest)?;
        self.last = zxid;
        Ok(())
    }

    /// Deletes what the `retain` (at least 3) newest snapshots do not need. Returns how many files went.
    ///
    /// # Errors
    ///
    /// [`DiskError::Io`].
    pub fn purge(&mut self, retain: usize) -> Result<usize> {
        let snapshots = self.dir.snapshots().list()?;
        let oldest = snapshots.iter().filter(|s| s.whole).nth(retain.max(MIN_RETAINED) - 1);
        let Some(oldest) = oldest.map(|s| s.zxid) else { return Ok(0) };
        let mut steps: Vec<Cut> = snapshots.iter().rev().filter(|s| s.zxid < oldest).map(delete).collect();
        let mut logs = names::logs(self.dir.log_path())?;
        // The last log that begins at or before the snapshot may hold transactions after it.
        let first_needed = logs.iter().rposition(|log| log.zxid <= oldest).unwrap_or(0);
        logs.truncate(first_needed);
        steps.extend(logs.into_iter().map(|log| Cut::Delete(log.path)));
        for step in &steps {
            step.run()?;
        }
        Ok(steps.len())
    }

    pub(super) fn run(&mut self, steps: &[Cut]) -> Result<()> {
        let result = steps.iter().try_for_each(Cut::run);
        self.poison_on_error(result)
    }

    /// Sees that the history up to `to` can be had once everything newer is gone.
    pub(super) fn plan(&self, to: Zxid) -> Result<Plan> {
        let refuse = |what| DiskError::CannotTruncate { to, last: self.last, what };
        if to > self.last {
            return Err(refuse("it has not reached that transaction"));
        }
        let snapshots = self.dir.snapshots();
        // One that was finished after `to` may hold parts of what is to be forgotten.
        let is_usable = |s: &SnapshotInfo| {
            let loaded = snapshots.load(s, self.options.max_record);
            loaded.is_ok_and(|(_, digest)| digest.is_none_or(|digest| digest.zxid <= to))
        };
        let all = snapshots.list()?;
        let base = all
            .iter()
            .find(|s| s.zxid <= to && s.whole && is_usable(s))
            .ok_or_else(|| refuse("no snapshot as old as that can be loaded"))?
            .zxid;
        let mut last = base;
        for record in LogReader::new(&self.dir, base, self.options.max_record)? {
            let zxid = match record {
                Ok(record) => record.zxid,
                Err(error) => {
                    tracing::warn!("the log cannot be truncated to {to}: {error}");
                    return Err(refuse(
                        "the log does not lead to it from the newest snapshot that is old enough",
                    ));
                }
            };
            if zxid > to {
                break;
            }
            last = zxid;
        }
        Ok(Plan { base, last })
    }

    /// Snapshots first: with the whole log still there, nothing is lost by their deletion.
    pub(super) fn truncate_steps(&self, plan: &Plan, to: Zxid) -> Result<Vec<Cut>> {
        let snapshots = self.dir.snapshots().list()?;
        let mut steps: Vec<Cut> = snapshots.iter().filter(|s| s.zxid > plan.base).map(delete).collect();
        steps.extend(self.log_steps_after(to)?);
        Ok(steps)
    }

    /// Removes transactions after `to` from the log, from its end, so that what is left at any time is contiguous.
    pub(super) fn log_steps_after(&self, to: Zxid) -> Result<Vec<Cut>> {
        let mut steps = Vec::new();
        for log in names::logs(self.dir.log_path())?.into_iter().rev() {
            if log.zxid > to {
                steps.push(Cut::Delete(log.path));
                continue;
            }
            let mut file = FileReader::open(&log.path, self.options.max_record)?;
            while let Step::Record { start, zxid, .. } = file.next()? {
                if zxid > to {
                    steps.push(Cut::Shorten(log.path, start));
                    break;
                }
            }
            break;
        }
        Ok(steps)
    }

    /// Removes all but the snapshot at `keep`. Snapshots after it go before the logs that they do not need, the newest
    /// first; none of those logs has a transaction after `keep`.
    pub(super) fn steps_without(&self, keep: &Path) -> Result<Vec<Cut>> {
        let snapshots = self.dir.snapshots().list()?;
        let mut steps: Vec<Cut> = snapshots.iter().filter(|s| s.path != keep).map(delete).collect();
        let logs = names::logs(self.dir.log_path())?;
        steps.extend(logs.into_iter().map(|log| Cut::Delete(log.path)));
        Ok(steps)
    }
}

fn delete(snapshot: &SnapshotInfo) -> Cut {
    Cut::Delete(snapshot.path.clone())
}
