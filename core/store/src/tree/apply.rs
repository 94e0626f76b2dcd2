//! What transactions do (Apache `DataTree.processTxn`), also when their effects are there already: a replay over
//! a fuzzy snapshot must end in the tree that the live replicas have.

use palisade_wire::txn::{CreateTxn, Txn, TxnHeader};
use palisade_wire::{Acl, ErrorCode, OpCode, SessionId, Zxid, path};

use super::node::{Meta, NodeId};
use super::packed::Node;
use super::{Change, DataTree, Owner, PartOutcome, TxnOutcome, TxnResult};

type Changes<'c> = dyn FnMut(Change<'_>) + 'c;

impl DataTree {
    /// Applies one transaction whole and reports what changed, in the order in which watches must fire:
    /// the znode itself, then its parent's children.
    ///
    /// Never fails: what cannot be done (its effect is already there, in a replay over a fuzzy snapshot) is
    /// left undone, and the outcome says so. Applying a transaction again is harmless. [`DataTree::last_zxid`]
    /// rises after the whole transaction and never falls. A multi with an error part has no effects.
    pub fn apply<'t>(
        &mut self,
        header: &TxnHeader,
        txn: &'t Txn,
        changes: &mut impl FnMut(Change<'_>),
    ) -> TxnOutcome<'t> {
        let outcome = self.apply_part(header, txn, changes);
        self.last_zxid = self.last_zxid.max(header.zxid);
        outcome
    }

    fn apply_part<'t>(
        &mut self,
        header: &TxnHeader,
        txn: &'t Txn,
        changes: &mut Changes<'_>,
    ) -> TxnOutcome<'t> {
        match txn {
            Txn::Create(c, ephemeral) | Txn::Create2(c, ephemeral) => {
                let owner = if *ephemeral { Owner::Ephemeral(header.session) } else { Owner::Persistent };
                self.create(header, c, owner, changes)
            }
            Txn::CreateContainer(c) => self.create(header, c, Owner::Container, changes),
            Txn::CreateTtl(c, ttl_ms) => self.create(header, c, Owner::Ttl(*ttl_ms), changes),
            Txn::Delete(path) | Txn::DeleteContainer(path) => {
                TxnOutcome::error(self.delete(path, header.zxid, changes))
            }
            Txn::SetData { path, data, version } | Txn::Reconfig { path, data, version } => {
                self.set_data(header, path, data.as_deref(), *version, changes)
            }
            Txn::SetAcl { path, acl, version } => self.set_acl(path, acl, *version),
            Txn::Check { .. } => TxnOutcome::OK,
            Txn::Multi(parts) => self.multi(header, parts, changes),
            Txn::CreateSession(timeout_ms) => {
                self.sessions.insert(header.session, *timeout_ms);
                changes(Change::SessionCreated { session: header.session, timeout_ms: *timeout_ms });
                TxnOutcome::OK
            }
            Txn::CloseSession(paths) => {
                self.close_session(header, paths.as_deref().unwrap_or_default(), changes);
                TxnOutcome::OK
            }
            Txn::Error(code) => TxnOutcome::error(*code),
        }
    }

    fn create<'t>(
        &mut self,
        header: &TxnHeader,
        c: &'t CreateTxn,
        owner: Owner,
        changes: &mut Changes<'_>,
    ) -> TxnOutcome<'t> {
        let Some(parent) = path::parent(&c.path).and_then(|p| self.find(p)) else {
            return TxnOutcome::error(ErrorCode::NO_NODE);
        };
        let exists = self.find(&c.path);
        self.edit_meta(parent, |meta| meta.child_created(c.parent_cversion, header.zxid));
        if let Some(id) = exists {
            // The snapshot may have been written before a later setACL, or with an ACL that it does not have
            // (ZOOKEEPER-4846); the replay brings the former again.
            self.replace_acl(id, &c.acl, |_| {});
            return TxnOutcome::error(ErrorCode::NODE_EXISTS);
        }
        let acl = self.acls.intern(&c.acl);
        let meta = Meta::created(header.zxid, header.time, owner, acl);
        let node = Node::new(&c.path, c.data.as_deref(), meta);
        let stat = node.stat();
        self.insert(parent, node);
        self.quota_created(&c.path, c.data.as_ref().map_or(0, |d| d.len()));
        let is_ephemeral = owner.is_ephemeral();
        changes(Change::Created { path: &c.path, acl: self.acls.get(acl), is_ephemeral });
        self.tell_children_changed(parent, changes);
        TxnOutcome { error: ErrorCode::OK, result: TxnResult::Created { path: &c.path, stat } }
    }

    /// The parent learns of the deletion even if the znode is gone already.
    fn delete(&mut self, path: &str, zxid: Zxid, changes: &mut Changes<'_>) -> ErrorCode {
        let Some(parent) = path::parent(path).and_then(|p| self.find(p)) else {
            return ErrorCode::NO_NODE;
        };
        self.edit_meta(parent, |meta| meta.child_deleted(zxid));
        let Some(id) = self.find(path) else {
            return ErrorCode::NO_NODE;
        };
        self.delete_children(id, changes);
        self.remove(id, changes);
        self.tell_children_changed(parent, changes);
        ErrorCode::OK
    }

    /// Only a replay over a fuzzy snapshot meets children here: of a later znode at the same path. What follows
    /// in the log creates them again.
    fn delete_children(&mut self, id: NodeId, changes: &mut Changes<'_>) {
        let children = |tree: &Self, id| tree.get(id).map_or(&[][..], Node::children).to_vec();
        let mut descendants = children(self, id);
        let mut next = 0;
        while let Some(id) = descendants.get(next).copied() {
            descendants.extend(children(self, id));
            next += 1;
        }
        for id in descendants.into_iter().rev() {
            self.remove(id, changes);
        }
    }

    fn remove(&mut self, id: NodeId, changes: &mut Changes<'_>) {
        if let Some(node) = self.unlink(id) {
            self.quota_deleted(node.path(), node.data_len());
            let ephemeral_since = node.owner().is_ephemeral().then(|| node.meta().ctime);
            let acl = self.acls.get(node.acl());
            changes(Change::Deleted { path: node.path(), acl, ephemeral_since });
            self.acls.release(node.acl());
        }
    }

    fn set_data(
        &mut self,
        header: &TxnHeader,
        path: &str,
        data: Option<&[u8]>,
        version: i32,
        changes: &mut Changes<'_>,
    ) -> TxnOutcome<'static> {
        let Some(id) = self.find(path) else {
            return TxnOutcome::error(ErrorCode::NO_NODE);
        };
        let old_len = self.get(id).map_or(0, Node::data_len);
        self.replace_data(id, data, |meta| meta.data_set(version, header.zxid, header.time));
        self.quota_changed(path, data.map_or(0, <[u8]>::len) as i64 - old_len as i64, 0);
        if let Some(node) = self.get(id) {
            changes(Change::DataChanged { path: shown(node), acl: self.acls.get(node.acl()) });
        }
        self.stat_outcome(id)
    }

    fn set_acl(&mut self, path: &str, acl: &[Acl], version: i32) -> TxnOutcome<'static> {
        let Some(id) = self.find(path) else {
            return TxnOutcome::error(ErrorCode::NO_NODE);
        };
        self.replace_acl(id, acl, |meta| meta.aversion = version);
        self.stat_outcome(id)
    }

    fn stat_outcome(&self, id: NodeId) -> TxnOutcome<'static> {
        let result = self.get(id).map_or(TxnResult::None, |node| TxnResult::Stat(node.stat()));
        TxnOutcome { error: ErrorCode::OK, result }
    }

    fn multi<'t>(
        &mut self,
        header: &TxnHeader,
        parts: &'t [Txn],
        changes: &mut Changes<'_>,
    ) -> TxnOutcome<'t> {
        let failed = parts.iter().position(|part| matches!(part, Txn::Error(_)));
        let results = parts.iter().enumerate().map(|(i, part)| match (failed, part) {
            (None, part) => PartOutcome { op: part.op(), outcome: self.apply_part(header, part, changes) },
            (Some(_), Txn::Error(code)) => failed_part(*code),
            (Some(culprit), _) if i < culprit => failed_part(ErrorCode::OK),
            (Some(_), _) => failed_part(ErrorCode::RUNTIME_INCONSISTENCY),
        });
        TxnOutcome { error: ErrorCode::OK, result: TxnResult::Multi(results.collect()) }
    }

    /// Deletes what the leader listed, which makes a replay exact (ZOOKEEPER-3145), and what the session owns
    /// beyond it, for transactions of 3.5 and earlier.
    fn close_session(&mut self, header: &TxnHeader, listed: &[String], changes: &mut Changes<'_>) {
        for path in listed {
            self.delete(path, header.zxid, changes);
        }
        let rest: Vec<Box<str>> = self.ephemerals(header.session).map(Into::into).collect();
        for path in &rest {
            self.delete(path, header.zxid, changes);
        }
        self.sessions.remove(&header.session);
        changes(Change::SessionClosed { session: header.session });
    }

    fn tell_children_changed(&self, parent: NodeId, changes: &mut Changes<'_>) {
        if let Some(node) = self.get(parent) {
            changes(Change::ChildrenChanged { path: shown(node), acl: self.acls.get(node.acl()) });
        }
    }

    /// Enters a session outside of any transaction: a snapshot has it.
    pub(crate) fn restore_session(&mut self, session: SessionId, timeout_ms: i32) {
        self.sessions.insert(session, timeout_ms);
    }
}

fn shown(node: &Node) -> &str {
    if node.path_bytes().is_empty() { "/" } else { node.path() }
}

const fn failed_part(code: ErrorCode) -> PartOutcome<'static> {
    PartOutcome { op: OpCode::Error, outcome: TxnOutcome::error(code) }
}
