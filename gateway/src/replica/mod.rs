//! The gateway's copy of the tree.
//!
//! One task, the link, changes it; everybody reads it. Changes come in batches: a reader sees the tree between two
//! transactions, never within one.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use palisade_admin::system::wall_clock;
use palisade_store::{Change, DataTree, TxnOutcome};
use palisade_wire::Zxid;
use palisade_wire::txn::{Txn, TxnHeader, TxnRecord};
use parking_lot::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tracing::error;

use crate::core_link::{Answer, Ticket};

pub(crate) mod closed;
pub(crate) mod disk;
pub(crate) mod proof;

use closed::ClosedSessions;

/// Holds the ensemble's configuration; set by each server on its own, outside of any transaction.
const CONFIG: &str = "/zookeeper/config";

/// Who is told of every change, in order.
///
/// All methods are called by the link's task *under the replica's write lock*: no reader sees the change before the
/// observer does. They must be quick, must not block, and must not touch the replica.
pub trait ReplicaObserver: Send + Sync + 'static {
    /// Whatever happens after this transaction will be told; what happened up to it may have been told of the log. Called
    /// once, before anything else, and without the lock.
    fn began(&self, _zxid: Zxid) {}

    /// One effect of the transaction `header`, in Apache's order of effects. Called before
    /// [`Self::applied`] of the same transaction. A failed transaction has no effects.
    fn changed(&self, header: &TxnHeader, change: &Change<'_>);

    /// The transaction is applied. The [`Answer`] to the request that asked for it, if this gateway forwarded it,
    /// comes right after this call and before anything of the next transaction.
    fn applied(&self, header: &TxnHeader, txn: &Txn, outcome: &TxnOutcome<'_>);

    /// Another tree takes the place of the old one, because the leader sent a whole one or made this replica
    /// forget transactions: what changed between them was missed. If it is `rewound`, the core lost history that
    /// clients may have seen, even where transactions of a later epoch have raised the zxid since.
    fn replaced(&self, old: &DataTree, new: &DataTree, rewound: bool);
}

/// The tree, and who is told of its changes. Cheap to clone; clones are the same replica.
#[derive(Clone)]
pub struct Replica {
    shared: Arc<Shared>,
}

struct Shared {
    tree: RwLock<DataTree>,
    observer: Arc<dyn ReplicaObserver>,
    /// Copy of the tree's, stored under its write lock.
    last_zxid: AtomicI64,
    /// Whether the last digest that could be compared was not the leader's.
    differs: AtomicBool,
    /// Whether a restart would begin with what is shown, or a little before.
    on_disk: AtomicBool,
    /// Whether no transaction is there in part only.
    whole: AtomicBool,
    /// Of which ends the stream has told. Changed under the tree's write lock.
    closed: Mutex<ClosedSessions>,
}

impl Replica {
    /// A replica that starts with `tree`, of whose past nothing else is known.
    pub fn new(tree: DataTree, observer: Arc<dyn ReplicaObserver>) -> Self {
        let closed = ClosedSessions::since(tree.last_zxid());
        Self::restored(tree, closed, observer)
    }

    /// A replica that starts with `tree` and the ends of sessions that are known, as restored from disk.
    pub(crate) fn restored(
        tree: DataTree,
        closed: ClosedSessions,
        observer: Arc<dyn ReplicaObserver>,
    ) -> Self {
        observer.began(tree.last_zxid());
        let shared = Shared {
            last_zxid: AtomicI64::new(tree.last_zxid().0),
            differs: AtomicBool::new(false),
            on_disk: AtomicBool::new(true),
            whole: AtomicBool::new(true),
            closed: Mutex::new(closed),
            tree: RwLock::new(tree),
            observer,
        };
        Self { shared: Arc::new(shared) }
    }

    /// The tree as of now; the applier waits until the guard is dropped. Keep it short, never across an await.
    pub fn read(&self) -> RwLockReadGuard<'_, DataTree> {
        self.shared.tree.read()
    }

    /// The last transaction of the tree. Takes no lock. While a batch is applied, it is the last one whose events are
    /// queued.
    pub fn last_zxid(&self) -> Zxid {
        Zxid(self.shared.last_zxid.load(Ordering::Acquire))
    }

    /// The sessions that are known to have ended; they are those of the tree while that is locked.
    pub(crate) fn closed(&self) -> MutexGuard<'_, ClosedSessions> {
        self.shared.closed.lock()
    }

    /// Whether this replica is known to differ from the leader's tree.
    pub fn differs(&self) -> bool {
        self.shared.differs.load(Ordering::Relaxed)
    }

    /// Whether the disk takes what comes; without it, this replica goes on in memory.
    pub fn is_on_disk(&self) -> bool {
        self.shared.on_disk.load(Ordering::Relaxed)
    }

    pub(crate) fn set_on_disk(&self, is_on_disk: bool) {
        self.shared.on_disk.store(is_on_disk, Ordering::Relaxed);
    }

    /// Whether the tree may be shown. One that a leader was sending, or that changed while it was written down, may hold
    /// parts of transactions that are not on disk: it is whole again when a leader has sent them.
    pub fn is_whole(&self) -> bool {
        self.shared.whole.load(Ordering::Acquire)
    }

    pub(crate) fn set_whole(&self, is_whole: bool) {
        self.shared.whole.store(is_whole, Ordering::Release);
    }

    /// Begins a batch; readers wait until it is dropped.
    pub(crate) fn write(&self) -> Batch<'_> {
        Batch { shared: &self.shared, tree: self.shared.tree.write() }
    }

    /// Puts `tree` in the place of the present one, and gives that back. `rewound` says that the leader took back
    /// transactions of the present one.
    pub(crate) fn replace(&self, mut tree: DataTree, rewound: bool) -> DataTree {
        tree.track_like(&self.read());
        let mut batch = self.write();
        let (old, new) = (batch.tree.last_zxid(), tree.last_zxid());
        let rewound = rewound || new < old;
        self.shared.closed.lock().missed(if rewound { new.max(old) } else { new });
        self.shared.observer.replaced(&batch.tree, &tree, rewound);
        std::mem::replace(&mut *batch.tree, tree)
    }
}

impl fmt::Debug for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replica").field("last_zxid", &self.last_zxid()).finish_non_exhaustive()
    }
}

/// Transactions that become visible together.
pub(crate) struct Batch<'a> {
    shared: &'a Shared,
    tree: RwLockWriteGuard<'a, DataTree>,
}

impl Batch<'_> {
    /// Applies one transaction; `ticket` is that of the request which asked for it, if it was forwarded from here.
    pub(crate) fn apply(&mut self, record: &TxnRecord, ticket: Option<Ticket>) {
        let TxnRecord { header, txn, .. } = record;
        let observer = &self.shared.observer;
        let outcome = self.tree.apply(header, txn, &mut |change| {
            if let Change::SessionClosed { session } = change {
                self.shared.closed.lock().insert(session, header.zxid);
            }
            observer.changed(header, &change);
        });
        observer.applied(header, txn, &outcome);
        // Before anybody is answered: no later reply may tell a smaller zxid, not even one that takes no lock.
        self.shared.last_zxid.store(self.tree.last_zxid().0, Ordering::Release);
        if let Some(ticket) = ticket {
            ticket.answer(Answer::Applied { header, txn, outcome: &outcome });
        }
        if let Some(agrees) = agrees(&self.tree, record) {
            let differed = self.shared.differs.swap(!agrees, Ordering::Relaxed);
            if !agrees && !differed {
                error!(zxid = %header.zxid, "this replica differs from the leader's tree: their digests disagree");
            }
        }
    }

    /// Puts the ensemble's configuration where clients look for it, as every Apache server does on its own. No
    /// watch fires. A leader before 3.5 has none.
    pub(crate) fn set_config(&mut self, text: &[u8]) {
        let known = self.tree.node(CONFIG).is_none_or(|node| node.data().unwrap_or_default() == text);
        if text.len() > 1 && !known {
            let now = wall_clock();
            self.tree.set_config(
                text,
                config_version(text),
                i64::try_from(now.as_millis()).unwrap_or(i64::MAX),
            );
        }
    }

    /// The last transaction applied.
    pub(crate) fn last_zxid(&self) -> Zxid {
        self.tree.last_zxid()
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.shared.last_zxid.store(self.tree.last_zxid().0, Ordering::Release);
    }
}

/// The line `version=<hex>`; zero without one.
fn config_version(text: &[u8]) -> Zxid {
    let line = text.split(|b| *b == b'\n').find_map(|line| line.strip_prefix(b"version="));
    let digits = line.and_then(|digits| std::str::from_utf8(digits).ok());
    Zxid(digits.and_then(|digits| i64::from_str_radix(digits.trim(), 16).ok()).unwrap_or(0))
}

/// Whether the tree has the digest that the leader computed after this transaction; `None` if that cannot be told.
/// A difference is told, and lived with, as Apache does.
pub(crate) fn agrees(tree: &DataTree, record: &TxnRecord) -> Option<bool> {
    let digest = record.digest.filter(|_| tree.last_zxid() == record.header.zxid)?;
    Some(tree.digest() == digest)
}
