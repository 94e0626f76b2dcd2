//! The tree as a stream: sessions, ACL map, znodes parents first, and "/" as terminator.
//!
//! These are parts 2 to 5 of Apache's snapshot file, and what follows a SNAP packet before its signature
//! (Apache `SerializeUtils.serializeSnapshot`, `DataTree.serialize`).

mod reader;
mod writer;

#[cfg(test)]
mod tests;

pub use reader::{SnapshotError, SnapshotReader};
pub use writer::SnapshotCursor;

/// Stands where the next path would, after the last znode.
const TERMINATOR: &str = "/";

/// Bytes of a znode's record beside its path and data: two lengths, the ACL's id, and the metadata.
const NODE_FIXED: usize = 4 + 4 + 8 + 60;
