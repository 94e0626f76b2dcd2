//! The gateway's copy of the tree.
//!
//! One task, the link, changes it; everybody reads it. Changes come in batches: a reader sees the tree between two
//! transactions, never within one.

use std::fmt;
use std::sync::Arc;

use palisade_store::{Change, DataTree, TxnOutcome};
use palisade_wire::Zxid;
use palisade_wire::txn::{Txn, TxnHeader};
use parking_lot::{RwLock, RwLockReadGuard};

/// Who is told of every change, in order.
///
/// All methods are called by the link's task *under the replica's write lock*: no reader sees the change before the
/// observer does. They must be quick, must not block, and must not touch the replica.
pub trait ReplicaObserver: Send + Sync + 'static {
    /// One effect of the transaction `header`, in Apache's order of effects. Called before
    /// [`Self::applied`] of the same transaction. A failed transaction has no effects.
    fn changed(&self, header: &TxnHeader, change: &Change<'_>);

    /// The transaction is applied. The [`Answer`](crate::core_link::Answer) to the request that asked for it, if
    /// this gateway forwarded it, comes right after this call and before anything of the next transaction.
    fn applied(&self, header: &TxnHeader, txn: &Txn, outcome: &TxnOutcome<'_>);

    /// The leader sent a whole tree, and it takes the place of the old one: what changed between them was missed.
    /// If `new.last_zxid()` is below `old.last_zxid()`, the core lost history that clients may have seen.
    fn replaced(&self, old: &DataTree, new: &DataTree);
}

/// The tree, and who is told of its changes. Cheap to clone; clones are the same replica.
#[derive(Clone)]
pub struct Replica {
    shared: Arc<Shared>,
}

struct Shared {
    tree: RwLock<DataTree>,
    observer: Arc<dyn ReplicaObserver>,
}

impl Replica {
    /// A replica that starts with `tree`, as restored from disk.
    pub fn new(tree: DataTree, observer: Arc<dyn ReplicaObserver>) -> Self {
        Self { shared: Arc::new(Shared { tree: RwLock::new(tree), observer }) }
    }

    /// The tree as of now; the applier waits until the guard is dropped. Keep it short, never across an await.
    pub fn read(&self) -> RwLockReadGuard<'_, DataTree> {
        self.shared.tree.read()
    }

    /// The last transaction of the tree.
    pub fn last_zxid(&self) -> Zxid {
        self.read().last_zxid()
    }
}

impl fmt::Debug for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replica").field("last_zxid", &self.last_zxid()).finish_non_exhaustive()
    }
}
