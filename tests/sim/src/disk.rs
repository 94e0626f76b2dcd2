//! A disk that carries out one write after another, slowly, and forgets what was not flushed when its server crashes.

use std::collections::VecDeque;

use bytes::Bytes;
use palisade_wire::Zxid;

use crate::chance::Chance;

/// A write.
#[derive(Clone, Debug)]
pub(crate) enum Write {
    /// Append a transaction and flush.
    Append(Zxid, Bytes),
    /// Cut the log behind a zxid.
    Truncate(Zxid),
    /// Replace log and snapshot.
    Install(Image),
    /// The `acceptedEpoch` file.
    AcceptedEpoch(u32),
    /// The `currentEpoch` file.
    CurrentEpoch(u32),
}

/// What a completed write has to report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    /// All appends up to here are durable.
    Flushed(Zxid),
    /// The log ends here.
    Truncated(Zxid),
    /// The log cannot be cut there.
    TruncateFailed,
    /// The snapshot is in place.
    Installed(Zxid),
    /// The file is written.
    AcceptedEpoch(u32),
    /// The file is written.
    CurrentEpoch(u32),
}

/// A snapshot, and which transactions led to it (for the oracle only; a real one does not say).
#[derive(Clone, Debug, Default)]
pub(crate) struct Image {
    /// Up to where it is complete.
    pub(crate) zxid: Zxid,
    /// The tree stream; empty for a fresh tree.
    pub(crate) stream: Bytes,
    /// All transactions up to `zxid`.
    pub(crate) applied: Vec<Zxid>,
    /// From where on a replica that replays behind it is exact: the stream may be fuzzy.
    pub(crate) exact_from: Zxid,
}

/// The files of one server.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    accepted_epoch: u32,
    current_epoch: u32,
    image: Image,
    log: Vec<(Zxid, Bytes)>,
    queue: VecDeque<Write>,
    /// How many writes of the queue are being carried out.
    busy: usize,
    /// Which sessions a gateway knew to have ended, at its last snapshot.
    ended: Option<Vec<u8>>,
}

impl Disk {
    /// Queues a write. Returns whether the disk was idle: then it must be [`Disk::start`]ed.
    pub(crate) fn submit(&mut self, write: Write) -> bool {
        self.queue.push_back(write);
        self.busy == 0
    }

    /// Begins the next write, together with the appends directly behind it if it is one.
    /// Returns whether there was one.
    pub(crate) fn start(&mut self) -> bool {
        let appends = self.queue.iter().take_while(|w| matches!(w, Write::Append(..))).count();
        self.busy = appends.max(1).min(self.queue.len());
        self.busy > 0
    }

    /// Whether what was begun is a file of an epoch, for which more is flushed than a log.
    pub(crate) fn is_at_epoch(&self) -> bool {
        let next = self.queue.front().filter(|_| self.busy > 0);
        matches!(next, Some(Write::AcceptedEpoch(_) | Write::CurrentEpoch(_)))
    }

    /// Completes what was begun.
    pub(crate) fn complete(&mut self) -> Option<Done> {
        let mut done = None;
        for _ in 0..std::mem::take(&mut self.busy) {
            let write = self.queue.pop_front()?;
            done = Some(self.carry_out(write));
        }
        done
    }

    fn carry_out(&mut self, write: Write) -> Done {
        match write {
            Write::Append(zxid, payload) => {
                self.log.push((zxid, payload));
                Done::Flushed(zxid)
            }
            Write::Truncate(to) if to < self.image.zxid => Done::TruncateFailed,
            Write::Truncate(to) => {
                self.log.retain(|(zxid, _)| *zxid <= to);
                Done::Truncated(self.last_zxid())
            }
            Write::Install(image) => {
                let zxid = image.zxid;
                self.image = image;
                self.log.clear();
                Done::Installed(zxid)
            }
            Write::AcceptedEpoch(epoch) => {
                self.accepted_epoch = epoch;
                Done::AcceptedEpoch(epoch)
            }
            Write::CurrentEpoch(epoch) => {
                self.current_epoch = epoch;
                Done::CurrentEpoch(epoch)
            }
        }
    }

    /// Loses power. Of the writes under way any number, from the first on, may have reached the platter.
    pub(crate) fn crash(&mut self, chance: &mut Chance) {
        let survive = if self.busy > 0 { chance.index(self.busy + 1) } else { 0 };
        for _ in 0..survive {
            if let Some(write) = self.queue.pop_front() {
                self.carry_out(write);
            }
        }
        self.queue.clear();
        self.busy = 0;
    }

    /// Takes a periodic snapshot of what the server applied; older parts of the log go.
    pub(crate) fn snapshot(&mut self, image: Image) {
        self.log.retain(|(zxid, _)| *zxid > image.zxid);
        self.image = image;
    }

    /// A gateway's note beside its snapshot.
    pub(crate) fn note_ended(&mut self, ended: Vec<u8>) {
        self.ended = Some(ended);
    }

    /// The last such note.
    pub(crate) fn ended(&self) -> Option<&[u8]> {
        self.ended.as_deref()
    }

    /// Both epoch files.
    pub(crate) const fn epochs(&self) -> (u32, u32) {
        (self.accepted_epoch, self.current_epoch)
    }

    /// The snapshot.
    pub(crate) const fn image(&self) -> &Image {
        &self.image
    }

    /// The log behind the snapshot.
    pub(crate) fn log(&self) -> impl DoubleEndedIterator<Item = &(Zxid, Bytes)> {
        self.log.iter().filter(|(zxid, _)| *zxid > self.image.zxid)
    }

    /// The last durable transaction.
    pub(crate) fn last_zxid(&self) -> Zxid {
        self.log.last().map_or(self.image.zxid, |(zxid, _)| self.image.zxid.max(*zxid))
    }
}
