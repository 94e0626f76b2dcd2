//! The tree as a stream: sessions, ACL map, znodes parents first, and "/" as terminator.
//!
//! These are parts 2 to 5 of Apache's snapshot file, and what follows a SNAP packet before its signature
//! (Apache `SerializeUtils.serializeSnapshot`, `DataTree.serialize`).

use bytes::BytesMut;
use palisade_wire::{DecodeError, Zxid};
use thiserror::Error;

use crate::tree::DataTree;

/// Writes a tree in chunks while transactions are applied in between.
///
/// The result is fuzzy: it holds the state at [`SnapshotCursor::zxid`] and may hold parts of later transactions.
/// Replaying every transaction after that zxid yields the exact tree.
#[derive(Debug)]
pub struct SnapshotCursor {
    zxid: Zxid,
}

impl SnapshotCursor {
    /// Starts a snapshot of `tree` as it stands now. Copies the session table.
    pub fn new(tree: &DataTree) -> Self {
        Self { zxid: tree.last_zxid() }
    }

    /// The transaction up to which the snapshot is complete: its file's name, or the SNAP packet's zxid.
    pub const fn zxid(&self) -> Zxid {
        self.zxid
    }

    /// Appends about `budget` bytes (at least one record) to `out`; true when the stream is complete.
    ///
    /// `tree` must be the one that the cursor was made of; it may have applied transactions since.
    pub fn write_chunk(&mut self, _tree: &DataTree, _out: &mut BytesMut, _budget: usize) -> bool {
        todo!()
    }
}

/// Why a stream is not a tree.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SnapshotError {
    /// A record is malformed.
    #[error("snapshot record at byte {offset} of the tree stream: {source}")]
    Record {
        /// Where the record starts, in bytes from the start of the stream.
        offset: u64,
        /// What is wrong.
        source: DecodeError,
    },
    /// A znode whose parent did not come before it.
    #[error("znode {path} at byte {offset} of the tree stream has no parent before it")]
    Orphan {
        /// The znode's path.
        path: String,
        /// Where its record starts.
        offset: u64,
    },
    /// A path came twice.
    #[error("znode {path} at byte {offset} of the tree stream came before")]
    Duplicate {
        /// The znode's path.
        path: String,
        /// Where its second record starts.
        offset: u64,
    },
}

/// Reads a tree stream as its bytes arrive.
#[derive(Debug, Default)]
pub struct SnapshotReader {
    _todo: (),
}

impl SnapshotReader {
    /// Expects the stream's first byte.
    pub fn new() -> Self {
        Self::default()
    }

    /// Consumes whole records from `input` and leaves the rest for the next call with more bytes behind it.
    ///
    /// Yields the tree, whose last zxid the caller must set, once the terminator was consumed: what is left in
    /// `input` then is what follows the stream. No single field may exceed `max_field` bytes.
    ///
    /// # Errors
    /// [`SnapshotError`] if the stream is not a tree; the reader must not be used afterwards.
    pub fn feed(
        &mut self,
        _input: &mut BytesMut,
        _max_field: usize,
    ) -> Result<Option<DataTree>, SnapshotError> {
        todo!()
    }
}
