//! The replicated state and its rules, deterministic and without I/O, clock or ambient randomness.
//!
//! * [`DataTree`]: znodes, sessions and the tree digest; [`DataTree::apply`] is the only way to change it.
//! * [`prepare`]: turns a client's request into the one transaction that it becomes (leader only).
//! * [`snapshot`]: the tree as a stream of bytes, while transactions go on.
//! * [`acl`]: who may do what.
//! * [`session`]: which sessions live and when they expire.

pub mod acl;
pub mod prepare;
pub mod session;
pub mod snapshot;
pub mod tree;

mod time;

pub use prepare::{PrepareRequest, Preparer};
pub use session::{SessionState, SessionTracker};
pub use snapshot::{SnapshotCursor, SnapshotError, SnapshotReader};
pub use time::Timestamp;
pub use tree::{Change, DataTree, NodeRef, Owner, PartOutcome, TxnOutcome, TxnResult, Usage};
