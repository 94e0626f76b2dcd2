//! What whoever watched the server before it was restored would have been told.

use palisade_store::Change;
use palisade_wire::Zxid;
use palisade_wire::txn::TxnHeader;

use super::{Base, Candidates};
use crate::dir::DataDir;
use crate::error::{Context, Result};
use crate::names;
use crate::snapshot::SnapshotInfo;

/// How much log to replay that is in the newest snapshot already, bytes. A restore begins with an older one for that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct More {
    /// No older snapshot is looked for than one that has so much behind it.
    pub enough: u64,
    /// No snapshot that has more behind it than this.
    pub limit: u64,
}

/// Is told what the transactions change that a restore replays.
pub trait History {
    /// What to replay for this alone.
    fn more(&self) -> More;

    /// A replay begins, and nothing counts that was told before. The tree has everything up to `base`; it may have parts
    /// of what follows, up to `exact_from`, and does not change where it has them already. `None` if it is not known how
    /// far that reaches.
    fn begins(&mut self, base: Zxid, exact_from: Option<Zxid>);

    /// One effect of a transaction, in Apache's order of effects.
    fn changed(&mut self, header: &TxnHeader, change: &Change<'_>);
}

/// Nobody wants to know.
#[derive(Clone, Copy, Debug, Default)]
pub struct Untold;

impl History for Untold {
    fn more(&self) -> More {
        More::default()
    }

    fn begins(&mut self, _: Zxid, _: Option<Zxid>) {}

    fn changed(&mut self, _: &TxnHeader, _: &Change<'_>) {}
}

impl DataDir {
    /// A snapshot before the newest one, loaded; `None` if there is none to begin with.
    pub(super) fn base_before_newest(&self, candidates: &Candidates<'_>, more: More) -> Option<Base> {
        let newest = candidates.found.first().filter(|newest| newest.whole && more.enough > 0)?;
        let older = candidates.found.iter().filter(|older| older.whole && older.zxid < newest.zxid);
        let mut before = None;
        for older in older {
            let between = self.log_between(older, newest).ok().filter(|between| *between <= more.limit);
            let Some(between) = between else { break };
            before = Some(older);
            if between >= more.enough {
                break;
            }
        }
        let before = before?;
        match Base::load(&self.snapshots(), before, candidates.options) {
            Ok(base) => Some(Base { count_from: newest.zxid, ..base }),
            Err(error) => {
                tracing::warn!(path = %before.path.display(), "begins with the newest snapshot: {error}");
                None
            }
        }
    }

    /// Bytes of log that were begun between two snapshots: with each, another file is begun.
    fn log_between(&self, from: &SnapshotInfo, to: &SnapshotInfo) -> Result<u64> {
        let mut bytes = 0;
        for log in names::logs(self.log_path())? {
            if log.zxid > from.zxid && log.zxid <= to.zxid {
                bytes += log.path.metadata().context("inspect", &log.path)?.len();
            }
        }
        Ok(bytes)
    }
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
