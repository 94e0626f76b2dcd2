//! Why a link breaks.

use std::time::Duration;

use palisade_wire::{DecodeError, Zxid};
use palisade_zab::CloseReason;

use crate::gateway::GatewayError;
use crate::link::snap::SnapError;
use crate::replica::disk::DiskGone;

/// Why a connection to a leader ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("closed by the leader")]
    Closed,
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("cannot be decoded: {0}")]
    Garbled(#[from] DecodeError),
    #[error("transaction {zxid} cannot be decoded: {source}")]
    Txn { zxid: Zxid, source: DecodeError },
    #[error("bad snapshot: {0}")]
    Snapshot(#[from] SnapError),
    #[error("the snapshot stalled for {0:?}")]
    Stalled(Duration),
    #[error("{0}")]
    Refused(CloseReason),
    #[error("the greeting that was sent is not that of this learner")]
    Greeting,
    /// Not this connection only: the gateway cannot go on.
    #[error("{0}")]
    Fatal(#[from] GatewayError),
}

impl From<DiskGone> for LinkError {
    fn from(_: DiskGone) -> Self {
        Self::Fatal(GatewayError::DiskGone)
    }
}
