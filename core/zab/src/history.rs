//! What a server holds durably, and what is on its way to the disk.

use std::collections::VecDeque;

use bytes::Bytes;
use palisade_wire::Zxid;

use crate::config::{ConfigError, Recovered};
use crate::log::{Gap, RecentLog};

/// Work for the disk and the tree; becomes an output of the machine that owns the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HistoryOp {
    Append { zxid: Zxid, payload: Bytes },
    Truncate { to: Zxid },
    InstallSnapshot { zxid: Zxid },
    WriteAcceptedEpoch { epoch: u32 },
    WriteCurrentEpoch { epoch: u32 },
    Deliver { zxid: Zxid, payload: Bytes },
}

/// An epoch file: what was asked for, and what is known to be durable.
#[derive(Clone, Copy, Debug)]
struct EpochFile {
    asked: u32,
    durable: u32,
}

/// The log with its cursors (`delivered <= last`, `flushed <= last`), and the epochs.
///
/// While a *fence* (a truncation or an installation) is under way, nothing is appended or delivered, and flushes
/// reported belong to what was appended before it.
#[derive(Debug)]
pub(crate) struct History {
    log: RecentLog,
    delivered: Zxid,
    flushed: Zxid,
    fenced: bool,
    accepted: EpochFile,
    current: EpochFile,
    want_snapshot: bool,
}

impl History {
    pub(crate) fn new(recovered: Recovered) -> Result<Self, ConfigError> {
        let Recovered { accepted_epoch, current_epoch, last_zxid, recent } = recovered;
        if current_epoch > accepted_epoch {
            return Err(ConfigError::Recovered("currentEpoch is greater than acceptedEpoch"));
        }
        if last_zxid.epoch() > current_epoch.max(accepted_epoch) {
            return Err(ConfigError::Recovered("the log ends in an epoch later than acceptedEpoch"));
        }
        let mut recent = recent.into_iter();
        let base = recent.next().map_or(last_zxid, |(zxid, _)| zxid);
        let mut log = RecentLog::new(base);
        for (zxid, payload) in recent {
            log.push(zxid, payload).map_err(|_| ConfigError::Recovered("the log has a gap"))?;
        }
        if log.last() != last_zxid {
            return Err(ConfigError::Recovered("the log does not end where it should"));
        }
        Ok(Self {
            log,
            delivered: last_zxid,
            flushed: last_zxid,
            fenced: false,
            accepted: EpochFile { asked: accepted_epoch, durable: accepted_epoch },
            current: EpochFile { asked: current_epoch, durable: current_epoch },
            want_snapshot: false,
        })
    }

    pub(crate) fn log(&self) -> &RecentLog {
        &self.log
    }

    pub(crate) fn last(&self) -> Zxid {
        self.log.last()
    }

    /// The last zxid that was handed out to be applied.
    pub(crate) fn delivered(&self) -> Zxid {
        self.delivered
    }

    /// Everything up to here is durable.
    pub(crate) fn flushed(&self) -> Zxid {
        self.flushed
    }

    /// Whether a truncation or an installation is under way.
    pub(crate) fn is_fenced(&self) -> bool {
        self.fenced
    }

    /// The newest accepted epoch, durable or not.
    pub(crate) fn accepted_epoch(&self) -> u32 {
        self.accepted.asked
    }

    /// Whether the promise to take part in `epoch` is durable.
    pub(crate) fn is_accepted(&self, epoch: u32) -> bool {
        self.accepted.durable >= epoch
    }

    /// The durable current epoch.
    pub(crate) fn current_epoch(&self) -> u32 {
        self.current.durable
    }

    /// Whether only a snapshot can repair this history.
    pub(crate) fn wants_snapshot(&self) -> bool {
        self.want_snapshot
    }

    /// Remembers to ask the next leader for a snapshot.
    pub(crate) fn ask_for_snapshot(&mut self) {
        self.want_snapshot = true;
    }

    /// The history was made equal to a leader's: nothing needs repair any more.
    pub(crate) fn repaired(&mut self) {
        self.want_snapshot = false;
    }

    pub(crate) fn append<O: From<HistoryOp>>(
        &mut self,
        zxid: Zxid,
        payload: Bytes,
        out: &mut VecDeque<O>,
    ) -> Result<(), Gap> {
        debug_assert!(!self.fenced, "appended behind a fence");
        self.log.push(zxid, payload.clone())?;
        out.push_back(HistoryOp::Append { zxid, payload }.into());
        Ok(())
    }

    /// Hands out everything up to `to` that was not yet.
    pub(crate) fn deliver<O: From<HistoryOp>>(&mut self, to: Zxid, out: &mut VecDeque<O>) {
        debug_assert!(!self.fenced, "delivered behind a fence");
        for (zxid, payload) in self.log.after(self.delivered).take_while(|(zxid, _)| *zxid <= to) {
            self.delivered = *zxid;
            out.push_back(HistoryOp::Deliver { zxid: *zxid, payload: payload.clone() }.into());
        }
    }

    pub(crate) fn trim(&mut self, floor: Zxid, count: usize, bytes: usize) {
        self.log.trim(floor.min(self.delivered), count, bytes);
    }

    pub(crate) fn truncate<O: From<HistoryOp>>(&mut self, to: Zxid, out: &mut VecDeque<O>) {
        self.fenced = true;
        out.push_back(HistoryOp::Truncate { to }.into());
    }

    pub(crate) fn install<O: From<HistoryOp>>(&mut self, zxid: Zxid, out: &mut VecDeque<O>) {
        self.fenced = true;
        out.push_back(HistoryOp::InstallSnapshot { zxid }.into());
    }

    pub(crate) fn write_accepted<O: From<HistoryOp>>(&mut self, epoch: u32, out: &mut VecDeque<O>) {
        if epoch > self.accepted.asked {
            self.accepted.asked = epoch;
            out.push_back(HistoryOp::WriteAcceptedEpoch { epoch }.into());
        }
    }

    pub(crate) fn write_current<O: From<HistoryOp>>(&mut self, epoch: u32, out: &mut VecDeque<O>) {
        if epoch > self.current.asked {
            self.current.asked = epoch;
            out.push_back(HistoryOp::WriteCurrentEpoch { epoch }.into());
        }
    }

    pub(crate) fn on_flushed(&mut self, zxid: Zxid) {
        if !self.fenced {
            self.flushed = self.flushed.max(zxid.min(self.log.last()));
        }
    }

    /// The truncation is done: the history ends at `zxid` now.
    pub(crate) fn on_truncated(&mut self, zxid: Zxid) {
        debug_assert!(self.fenced, "a truncation was reported that was not asked for");
        self.log.truncate(zxid);
        self.fence_lifted(zxid);
    }

    /// The truncation was not possible: the history is as it was, and all of it durable.
    pub(crate) fn on_truncate_failed(&mut self) {
        self.want_snapshot = true;
        self.fence_lifted(self.log.last());
    }

    /// The history is the snapshot now.
    pub(crate) fn on_installed(&mut self, zxid: Zxid) {
        debug_assert!(self.fenced, "an installation was reported that was not asked for");
        self.want_snapshot = false;
        self.log = RecentLog::new(zxid);
        self.fence_lifted(zxid);
    }

    fn fence_lifted(&mut self, last: Zxid) {
        self.fenced = false;
        self.delivered = last;
        self.flushed = last;
    }

    pub(crate) fn on_accepted_written(&mut self, epoch: u32) {
        self.accepted.durable = self.accepted.durable.max(epoch.min(self.accepted.asked));
    }

    pub(crate) fn on_current_written(&mut self, epoch: u32) {
        self.current.durable = self.current.durable.max(epoch.min(self.current.asked));
    }
}
