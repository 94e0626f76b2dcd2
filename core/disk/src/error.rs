use std::io;
use std::path::{Path, PathBuf};

use palisade_wire::{Sid, Zxid};
use thiserror::Error;

/// What to do when a file that is needed is damaged.
pub(crate) const REPLACE: &str = "nothing was changed; restore the file from a copy or, if all other servers \
     of the ensemble are healthy, move this server's version-2 directories away and start it empty: it is \
     then filled by the leader";

/// What is said about a file whose format has another version.
pub(crate) const UNKNOWN_VERSION: &str = "it has a format version that is not known here (only 2 is); was it written by \
     something newer?";

/// Why the data directory cannot be used. None is retried on the same log: a voter ends with it, a gateway goes on without
/// its disk and later begins a new history there ([`crate::DataDir::start_over`]).
#[derive(Debug, Error)]
pub enum DiskError {
    /// The operating system refused.
    #[error("cannot {verb} {}: {source}", path.display())]
    Io {
        /// What was attempted.
        verb: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file does not hold what it must.
    #[error("{} is damaged at byte {offset}: {what}; {advice}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where in the file, in bytes (of the decompressed content in a compressed snapshot).
        offset: u64,
        /// What is wrong there.
        what: String,
        /// What to do about it.
        advice: &'static str,
    },
    /// Another process uses the directory.
    #[error("{} is in use by another process; stop that one, or give each its own directory", path.display())]
    InUse {
        /// The locked directory.
        path: PathBuf,
    },
    /// Snapshots in the log directory, or logs in the snapshot directory.
    #[error(
        "{} does not belong into this directory; are the data and the log directory swapped? Move the file, \
         or correct the configuration",
        path.display()
    )]
    Misplaced {
        /// The file.
        path: PathBuf,
    },
    /// `myid` names another server, or nothing.
    #[error("{}: {what}", path.display())]
    MyId {
        /// The `myid` file.
        path: PathBuf,
        /// What is wrong, and what to do.
        what: String,
    },
    /// There are snapshots, but not even a directory for the log.
    #[error(
        "{} does not exist, though there are snapshots; is the log's disk mounted? If the log is lost, acknowledged \
         transactions may be: move the snapshots away too and start this server empty if all others are healthy",
        path.display()
    )]
    NoLogDir {
        /// The missing directory.
        path: PathBuf,
    },
    /// There is a log, but no snapshot that it could be applied to.
    #[error(
        "{} holds transactions from {first} on, but {} holds no snapshot to apply them to; restore the newest \
         snapshot from a copy, or set trust_empty_snapshot if the log is known to be complete from the very \
         first transaction",
        log.display(), snapshots.display()
    )]
    NoSnapshot {
        /// The first log file.
        log: PathBuf,
        /// Where a snapshot was looked for.
        snapshots: PathBuf,
        /// First transaction in the log.
        first: Zxid,
    },
    /// Snapshots exist, and none can be loaded.
    #[error(
        "none of the {count} snapshots in {} can be loaded (the newest: {newest}); {REPLACE}", dir.display()
    )]
    NoLoadableSnapshot {
        /// Where they are.
        dir: PathBuf,
        /// How many there are.
        count: usize,
        /// What is wrong with the newest.
        newest: Box<Self>,
    },
    /// The epoch files contradict each other or the log.
    #[error("{}: {what}; {REPLACE}", dir.display())]
    Epochs {
        /// Where they are.
        dir: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A transaction was appended that does not follow the last one. This is a defect of the caller.
    #[error("transaction {zxid} was appended after {last}, which it does not follow; nothing was written")]
    NotContiguous {
        /// Last transaction in the log.
        last: Zxid,
        /// The transaction that was refused.
        zxid: Zxid,
    },
    /// A transaction was appended that could not be read back. This is a defect of the caller.
    #[error("transaction {zxid} cannot be logged: {what}; nothing was written")]
    Unloggable {
        /// The transaction that was refused.
        zxid: Zxid,
        /// Why.
        what: &'static str,
    },
    /// The log cannot be cut to a transaction that it has not reached, or that no snapshot precedes.
    #[error("the log, which ends at {last}, cannot be cut back to {to}: {what}; nothing was changed")]
    CannotTruncate {
        /// Where to cut.
        to: Zxid,
        /// Last transaction in the log.
        last: Zxid,
        /// Why not.
        what: &'static str,
    },
    /// An earlier write failed: what the file holds is unknown.
    #[error("{} failed before and takes no more writes; restart this server", path.display())]
    Poisoned {
        /// The file that failed.
        path: PathBuf,
    },
}

impl DiskError {
    pub(crate) fn corrupt(path: &Path, offset: u64, what: impl Into<String>) -> Self {
        Self::Corrupt { path: path.to_owned(), offset, what: what.into(), advice: REPLACE }
    }

    pub(crate) fn my_id(path: &Path, what: impl Into<String>) -> Self {
        Self::MyId { path: path.to_owned(), what: what.into() }
    }

    pub(crate) fn other_server(path: &Path, found: Sid, expected: Sid) -> Self {
        let what = format!(
            "this directory belongs to server {found}, not to server {expected}; correct the directory or the id"
        );
        Self::my_id(path, what)
    }
}

/// Result of disk operations.
pub type Result<T> = std::result::Result<T, DiskError>;

/// Names path and verb in an I/O error.
pub(crate) trait Context<T> {
    fn context(self, verb: &'static str, path: &Path) -> Result<T>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, verb: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| DiskError::Io { verb, path: path.to_owned(), source })
    }
}
