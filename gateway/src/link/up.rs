//! The connection that is up, without its socket.

use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use palisade_wire::txn::TxnRecord;
use palisade_zab::{CloseReason, LinkId};

use crate::link::contact::Probe;

/// See the module.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) id: LinkId,
    pub(crate) voter: String,
    pub(crate) greeted: bool,
    pub(crate) serving: bool,
    /// Whether this leader makes sure of its quorum before it answers a sync.
    pub(crate) confirms_sync: bool,
    pub(crate) out: BytesMut,
    /// The ensemble's configuration, as NEWLEADER told it.
    pub(crate) config: Option<Bytes>,
    /// Of the packet handed in last: decoded once to see that it can be.
    pub(crate) decoded: Option<TxnRecord>,
    pub(crate) closed: Option<CloseReason>,
    /// The epoch to be served in, once a sync is answered.
    pub(crate) fence: Option<u32>,
    /// Asks the leader how fresh the replica is, and when next.
    pub(crate) probe: Option<(Arc<Probe>, Instant)>,
}

impl Link {
    pub(crate) fn new(id: LinkId, voter: String) -> Self {
        Self {
            id,
            voter,
            greeted: false,
            serving: false,
            confirms_sync: false,
            out: BytesMut::new(),
            config: None,
            decoded: None,
            closed: None,
            fence: None,
            probe: None,
        }
    }
}
