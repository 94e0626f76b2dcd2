//! Stand-ins for the edge in tests.

use std::sync::Arc;

use palisade_store::{Change, DataTree, TxnOutcome};
use palisade_wire::Zxid;
use palisade_wire::txn::{Txn, TxnHeader};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::core_link::{Answer, Requester, Ticket};
use crate::replica::ReplicaObserver;

/// Writes down everything that the edge is told, in order.
#[derive(Debug, Default)]
pub(crate) struct Edge {
    said: Mutex<Vec<String>>,
    more: Notify,
    /// Tags of requests whose requester has gone.
    gone: Mutex<Vec<u64>>,
}

impl Edge {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn ticket(self: &Arc<Self>, tag: u64) -> Ticket {
        Ticket::new(Arc::clone(self) as Arc<dyn Requester>, tag)
    }

    /// From now on, nobody waits for this one.
    pub(crate) fn leave(&self, tag: u64) {
        self.gone.lock().push(tag);
    }

    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.said.lock())
    }

    /// Waits until a line that contains `text` was written.
    pub(crate) async fn until(&self, text: &str) {
        loop {
            let more = self.more.notified();
            if self.said.lock().iter().any(|line| line.contains(text)) {
                return;
            }
            more.await;
        }
    }

    fn say(&self, line: String) {
        self.said.lock().push(line);
        self.more.notify_one();
    }
}

impl Requester for Edge {
    fn answered(&self, tag: u64, answer: Answer<'_>) {
        self.say(match answer {
            Answer::Applied { header, outcome, .. } => {
                format!("answer {tag}: {} {:?}", header.zxid, outcome.error)
            }
            Answer::Synced { zxid } => format!("answer {tag}: synced {zxid}"),
            Answer::Revalidated { valid } => format!("answer {tag}: valid {valid}"),
            Answer::Lost => format!("answer {tag}: lost"),
        });
    }

    fn is_waiting(&self, tag: u64) -> bool {
        !self.gone.lock().contains(&tag)
    }
}

impl ReplicaObserver for Edge {
    fn changed(&self, header: &TxnHeader, change: &Change<'_>) {
        let zxid = header.zxid;
        self.say(match change {
            Change::Created { path, .. } => format!("{zxid} created {path}"),
            Change::Deleted { path, .. } => format!("{zxid} deleted {path}"),
            Change::DataChanged { path, .. } => format!("{zxid} data {path}"),
            Change::ChildrenChanged { path, .. } => format!("{zxid} children {path}"),
            Change::SessionCreated { session, .. } => format!("{zxid} session {session:#x}"),
            Change::SessionClosed { session } => format!("{zxid} session {session:#x} closed"),
        });
    }

    fn applied(&self, header: &TxnHeader, txn: &Txn, _outcome: &TxnOutcome<'_>) {
        self.say(format!("{} {:?}", header.zxid, txn.op()));
    }

    fn replaced(&self, old: &DataTree, new: &DataTree, rewound: bool) {
        let how = if rewound { "rewound" } else { "replaced" };
        self.say(format!("{how} {} by {}", old.last_zxid(), new.last_zxid()));
    }
}

/// A header.
pub(crate) const fn header(session: i64, cxid: i32, zxid: i64) -> TxnHeader {
    TxnHeader { session, cxid, zxid: Zxid(zxid), time: 1_700_000_000_000 }
}
