//! What is committed, as a tree and as the changes that led to it: what clients are told is compared with this.

use std::collections::{BTreeMap, BTreeSet};

use palisade_store::{Change, DataTree};
use palisade_watch::check;
use palisade_wire::reply::EventType;
use palisade_wire::txn::{Txn, TxnRecord};
use palisade_wire::{SessionId, Zxid};

/// A znode at some moment: its mzxid and pzxid.
pub(crate) type Version = Option<(Zxid, Zxid)>;

/// All that happened so far.
#[derive(Debug, Default)]
pub(crate) struct History {
    tree: DataTree,
    /// How many committed transactions are in it.
    len: usize,
    changes: Vec<check::Change>,
    versions: BTreeMap<String, Vec<(Zxid, Version)>>,
    /// What ended sessions lost with their end.
    bereaved: BTreeMap<SessionId, Bereavement>,
}

/// The end of a session that owned ephemeral znodes.
#[derive(Clone, Debug)]
pub(crate) struct Bereavement {
    /// When.
    pub(crate) at: Zxid,
    /// The transactions that had created those znodes: a path alone may have been deleted by others, and created again.
    pub(crate) lost: BTreeSet<Zxid>,
}

impl History {
    /// How many committed transactions are in it.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Every change, in order.
    pub(crate) fn changes(&self) -> &[check::Change] {
        &self.changes
    }

    /// What this session lost when it ended, if it owned ephemeral znodes then.
    pub(crate) fn bereaved(&self, session: SessionId) -> Option<&Bereavement> {
        self.bereaved.get(&session)
    }

    /// The next transaction. Returns the session that it ended, if that owned ephemeral znodes.
    pub(crate) fn apply(&mut self, record: &TxnRecord) -> Option<SessionId> {
        let TxnRecord { header, txn, .. } = record;
        let lost = match txn {
            Txn::CloseSession(_) => self.ephemerals(header.session),
            _ => BTreeSet::new(),
        };
        let changes = &mut self.changes;
        let before = changes.len();
        self.tree.apply(header, txn, &mut |change| {
            let (kind, path) = match change {
                Change::Created { path, .. } => (EventType::NodeCreated, path),
                Change::Deleted { path, .. } => (EventType::NodeDeleted, path),
                Change::DataChanged { path, .. } => (EventType::NodeDataChanged, path),
                Change::ChildrenChanged { path, .. } => (EventType::NodeChildrenChanged, path),
                Change::SessionCreated { .. } | Change::SessionClosed { .. } => return,
            };
            changes.push(check::Change::new(header.zxid, kind, path));
        });
        for change in &self.changes[before..] {
            let stat = self.tree.node(&change.path).map(|node| (node.mzxid(), node.pzxid()));
            self.versions.entry(change.path.clone()).or_default().push((header.zxid, stat));
        }
        self.len += 1;
        if lost.is_empty() {
            return None;
        }
        self.bereaved.insert(header.session, Bereavement { at: header.zxid, lost });
        Some(header.session)
    }

    fn ephemerals(&self, session: SessionId) -> BTreeSet<Zxid> {
        let paths = self.tree.ephemerals(session);
        paths.filter_map(|path| self.tree.node(path)).map(|node| node.czxid()).collect()
    }

    /// The znode as of `zxid`; nothing is known of those that never changed.
    pub(crate) fn version(&self, path: &str, zxid: Zxid) -> Version {
        let versions = self.versions.get(path)?;
        let (_, version) = versions[..versions.partition_point(|(at, _)| *at <= zxid)].last()?;
        *version
    }
}
