//! ZooKeeper's bytes, and nothing else: no I/O and no clock.
//!
//! * [`jute`]: the primitive codec ([`Reader`], [`Writer`]) and its limits.
//! * [`frame`]: length-prefixed frames of the client and election ports.
//! * [`connect`], [`request`], [`reply`], [`multi`]: the client protocol.
//! * [`quorum`], [`election`]: the protocols between servers.
//! * [`txn`]: transactions as they stand in proposals, logs and the SNAP stream's tail.
//! * [`path`]: which znode paths are well formed.
//!
//! Decoders accept what Apache ZooKeeper accepts, never panic, and never allocate by a length that was
//! merely claimed. Encoders write what Apache ZooKeeper writes.

pub mod connect;
pub mod election;
pub mod frame;
pub mod jute;
pub mod multi;
pub mod path;
pub mod quorum;
pub mod reply;
pub mod request;
pub mod txn;

mod acl;
mod create_mode;
mod error_code;
mod opcode;
mod stat;
mod zxid;

pub use acl::{Acl, Id, Perms};
pub use create_mode::CreateMode;
pub use error_code::ErrorCode;
pub use jute::{DecodeError, Reader, Writer};
pub use opcode::OpCode;
pub use stat::Stat;
pub use zxid::Zxid;

/// A server's id in the ensemble (`myid`). Negative values are reserved for anonymous observers.
pub type Sid = i64;

/// A session's id. Its high byte is the low byte of the [`Sid`] of the server that issued it.
pub type SessionId = i64;

/// Default of `jute.maxbuffer`: the largest client frame, in bytes.
pub const DEFAULT_MAX_FRAME: usize = 0xf_ffff;
