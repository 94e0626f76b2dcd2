//! The connection that is up, without its socket.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use palisade_wire::txn::TxnRecord;
use palisade_zab::{CloseReason, LinkId};

use crate::link::queue;
use crate::link::touches::Rounds;

/// See the module.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) id: LinkId,
    pub(crate) voter: String,
    /// Since when.
    pub(crate) since: Instant,
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
    /// Asks the leader, once it takes requests, what has arrived there and how fresh the replica is.
    pub(crate) rounds: Option<Rounds>,
}

impl Link {
    pub(crate) fn new(id: LinkId, voter: String) -> Self {
        Self {
            id,
            voter,
            since: Instant::now(),
            greeted: false,
            serving: false,
            confirms_sync: false,
            out: BytesMut::new(),
            config: None,
            decoded: None,
            closed: None,
            fence: None,
            rounds: None,
        }
    }

    /// Sends a sync: when it is answered, all that the leader's tree has in part is here, and this epoch can be served.
    pub(crate) fn ask_for_the_rest(&mut self, epoch: u32) {
        queue::bare_sync().encode(&mut self.out);
        self.fence = Some(epoch);
    }
}
