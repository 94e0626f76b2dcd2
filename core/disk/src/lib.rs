//! Transaction log, snapshots and epoch files, in Apache ZooKeeper's formats: durable and recoverable.
//!
//! A process opens its [`DataDir`], calls [`DataDir::restore`] for the state that it last promised, and
//! [`DataDir::open_log`] to go on. All calls block: run them on a thread of their own.
//!
//! * [`TxnLog`]: append many, then [`TxnLog::sync`] once; truncate and purge.
//! * [`Snapshots`]: write one in chunks, or load the newest one that is whole.
//! * [`EpochFiles`]: the promises of Zab.
//!
//! Rules of this crate:
//!
//! * What a call that promises durability returned is there after any crash; a crash at any other moment leaves
//!   either what was before or what was meant.
//! * After an error nothing is retried: what the disk holds is unknown, so the process stops and recovers.
//! * Reading never modifies. Damage that a crash cannot explain is an error that names file, offset and remedy; it
//!   is never skipped, because acknowledged transactions might be in it.

mod dir;
mod epochs;
mod error;
mod fs;
mod log;
mod names;
mod restore;
mod snapshot;
#[cfg(test)]
mod testing;

pub use dir::{DataDir, read_my_id};
pub use epochs::{EpochFiles, Epochs};
pub use error::{DiskError, Result};
pub use log::{LogOptions, LogReader, LogRecord, LogTail, TxnLog};
pub use restore::{History, More, RestoreOptions, Restored, Untold};
pub use snapshot::{Compression, SnapshotDigest, SnapshotFile, SnapshotInfo, Snapshots};
