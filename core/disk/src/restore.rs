use bytes::Bytes;
use palisade_store::DataTree;
use palisade_wire::Zxid;

use crate::dir::DataDir;
use crate::epochs::Epochs;
use crate::error::Result;
use crate::log::LogTail;

/// How a directory is restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoreOptions {
    /// Largest transaction or znode that is accepted, bytes. Apache's `jute.maxbuffer` plus its extra.
    pub max_record: usize,
    /// How many of the last transactions to keep for synchronising learners.
    pub recent_count: usize,
    /// How many bytes of them.
    pub recent_bytes: usize,
    /// Whether a log without any snapshot is applied to an empty tree (Apache `snapshot.trust.empty`).
    pub trust_empty_snapshot: bool,
}

impl Default for RestoreOptions {
    fn default() -> Self {
        Self {
            max_record: 2 * palisade_wire::DEFAULT_MAX_FRAME,
            recent_count: 10_000,
            recent_bytes: 64 << 20,
            trust_empty_snapshot: false,
        }
    }
}

/// The state of a server as its disk has it.
#[derive(Debug)]
pub struct Restored {
    /// The tree after every transaction in the log, committed or not.
    pub tree: DataTree,
    /// The last transaction in snapshot and log.
    pub last_zxid: Zxid,
    /// The last transactions: contiguous, ascending, all after the snapshot, ending with `last_zxid`.
    pub recent: Vec<(Zxid, Bytes)>,
    /// The snapshot that was loaded.
    pub snapshot_zxid: Zxid,
    /// Transactions replayed on top of it: a large number says that a snapshot is due.
    pub replayed: u64,
    /// What this server has promised.
    pub epochs: Epochs,
    /// The first transaction after which the tree did not have the digest that was recorded, if any: a sign that
    /// this replica has diverged from the one that wrote the log. To be reported loudly.
    pub digest_mismatch: Option<Zxid>,
    /// Where the log goes on.
    pub tail: LogTail,
}

impl DataDir {
    /// Loads the newest snapshot that is whole and replays the log on top of it.
    ///
    /// A directory without any data gets `snapshot.0` of an empty tree, without which Apache ZooKeeper would
    /// later refuse the log. Nothing else is ever written.
    pub fn restore(&self, _options: &RestoreOptions) -> Result<Restored> {
        todo!()
    }
}
