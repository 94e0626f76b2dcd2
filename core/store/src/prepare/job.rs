//! The checks of each kind of write, in Apache's order, and what they let through.

use bytes::Bytes;
use palisade_wire::request::{Create, Request};
use palisade_wire::txn::{CreateTxn, Txn, TxnHeader};
use palisade_wire::{Acl, CreateMode, DEFAULT_MAX_FRAME, ErrorCode, Id, OpCode, Perms, path};

use super::outstanding::{Draft, View};
use super::{PrepareConfig, PrepareRequest};
use crate::acl;
use crate::session::SessionState;
use crate::tree::{AclId, CONFIG, Meta, Owner, QUOTA, ZOOKEEPER};

type Result<T> = std::result::Result<T, ErrorCode>;

/// One request being prepared.
pub(super) struct Job<'a> {
    pub(super) draft: Draft<'a>,
    pub(super) config: PrepareConfig,
    pub(super) header: TxnHeader,
    pub(super) state: SessionState,
    pub(super) auth: Option<&'a [Id]>,
    /// Bytes of all ACLs so far.
    pub(super) acl_bytes: usize,
}

impl Job<'_> {
    /// Any request that becomes a transaction.
    pub(super) fn write(&mut self, request: &PrepareRequest) -> Result<Txn> {
        let op = OpCode::from_i32(request.op).ok_or(ErrorCode::UNIMPLEMENTED)?;
        let decode = || Request::decode(op, &request.body).map_err(|_| ErrorCode::MARSHALLING_ERROR);
        match op {
            OpCode::Create
            | OpCode::Create2
            | OpCode::CreateContainer
            | OpCode::CreateTtl
            | OpCode::Delete
            | OpCode::SetData
            | OpCode::SetAcl => self.single(op, &decode()?, &request.body),
            OpCode::Multi => match decode()? {
                Request::Multi(ops) => self.multi(&ops, &request.body),
                _ => Err(ErrorCode::MARSHALLING_ERROR),
            },
            OpCode::Reconfig => decode().and(Err(ErrorCode::RECONFIG_DISABLED)),
            OpCode::CreateSession => match decode()? {
                Request::CreateSession(timeout_ms) => Ok(Txn::CreateSession(timeout_ms)),
                _ => Err(ErrorCode::MARSHALLING_ERROR),
            },
            OpCode::CloseSession => Ok(self.close_session()),
            _ => Err(ErrorCode::UNIMPLEMENTED),
        }
    }

    /// One operation, alone or as a part of a multi.
    fn single(&mut self, op: OpCode, request: &Request<'_>, body: &Bytes) -> Result<Txn> {
        match request {
            Request::Create(create) => self.create(op, create, body),
            Request::Delete { path, version } => self.delete(path, *version),
            Request::SetData { path, data, version } => {
                self.set_data(path, data.map(|d| body.slice_ref(d)), *version)
            }
            Request::SetAcl { path, acl, version } => self.set_acl(path, acl, *version),
            Request::Check { path, version } => self.check(path, *version),
            _ => Err(ErrorCode::UNIMPLEMENTED),
        }
    }

    /// All parts see the effects of those before them. After a failure no part has any.
    fn multi(&mut self, ops: &[(OpCode, Request<'_>)], body: &Bytes) -> Result<Txn> {
        self.auth()?;
        // Apache refuses the whole request for what it cannot decode, and counts these flags as such: unknown ones, and
        // those for a time to live, unless they come with one.
        let is_bad = |flags: i32| CreateMode::from_flags(flags).is_none_or(CreateMode::is_ttl);
        let bad_flags =
            |r: &Request<'_>| matches!(r, Request::Create(c) if c.ttl_ms.is_none() && is_bad(c.flags));
        if ops.iter().any(|(_, request)| bad_flags(request)) {
            return Err(ErrorCode::MARSHALLING_ERROR);
        }
        let mut parts = Vec::with_capacity(ops.len());
        let mut failed = false;
        for (op, request) in ops {
            if failed {
                parts.push(Txn::Error(ErrorCode::RUNTIME_INCONSISTENCY));
                continue;
            }
            let part = self.single(in_multi(*op, request), request, body).unwrap_or_else(|code| {
                failed = true;
                self.draft.roll_back();
                Txn::Error(code)
            });
            parts.push(part);
        }
        Ok(Txn::Multi(parts))
    }

    fn create(&mut self, op: OpCode, create: &Create<'_>, body: &Bytes) -> Result<Txn> {
        let mode = CreateMode::from_flags(create.flags).ok_or(ErrorCode::BAD_ARGUMENTS)?;
        let owner = self.owner(op, mode, create.ttl_ms)?;
        self.check_session(mode.is_ephemeral())?;
        let parent_path = parent_of(&create.path)?;
        let acl = self.fix_up(&create.acl)?;
        let parent = self.view(parent_path)?;
        self.check_acl(&parent, Perms::CREATE)?;
        let mut full_path = create.path.to_string();
        if mode.is_sequential() {
            full_path += &format!("{:010}", parent.meta.cversion);
        }
        check_path(&full_path)?;
        if self.draft.view(&full_path).is_some() {
            return Err(ErrorCode::NODE_EXISTS);
        }
        if Owner::from_stored(parent.meta.owner).is_ephemeral() {
            return Err(ErrorCode::NO_CHILDREN_FOR_EPHEMERALS);
        }
        self.check_quota(&full_path, create.data.map_or(0, <[u8]>::len), 0, 1)?;
        let parent_cversion = parent.meta.cversion.wrapping_add(1);
        let zxid = self.header.zxid;
        let mut new_parent = parent.clone();
        new_parent.meta.child_created(parent_cversion, zxid);
        new_parent.children += 1;
        self.draft.replace(parent_path, Some(&parent), Some(new_parent));
        let meta = Meta::created(zxid, self.header.time, owner, AclId::default());
        let view = View::new(&full_path, create.data, meta, self.draft.share_acl(&acl));
        self.draft.replace(&full_path, None, Some(view));
        let data = create.data.map(|d| body.slice_ref(d));
        let txn = CreateTxn { path: full_path, data, acl, parent_cversion };
        Ok(match (owner, op) {
            (Owner::Container, _) => Txn::CreateContainer(txn),
            (Owner::Ttl(ttl_ms), _) => Txn::CreateTtl(txn, ttl_ms),
            (owner, OpCode::Create2) => Txn::Create2(txn, owner.is_ephemeral()),
            (owner, _) => Txn::Create(txn, owner.is_ephemeral()),
        })
    }

    /// What will keep the new znode alive. A lone create with the container's flag makes a plain znode, and a
    /// createContainer a container whatever its flag says.
    ///
    /// Apache lets a createTTL pass that has another mode's flag and a negative time, and breaks when it applies
    /// it; here it is refused.
    fn owner(&self, op: OpCode, mode: CreateMode, ttl_ms: Option<i64>) -> Result<Owner> {
        if mode.is_ttl() && !self.config.extended_types {
            return Err(ErrorCode::UNIMPLEMENTED);
        }
        match (op, ttl_ms) {
            (OpCode::CreateTtl, Some(ttl_ms))
                if mode.is_ttl() && (1..=Owner::MAX_TTL_MS).contains(&ttl_ms) =>
            {
                Ok(Owner::Ttl(ttl_ms))
            }
            (OpCode::CreateTtl, _) => Err(ErrorCode::BAD_ARGUMENTS),
            _ if mode.is_ttl() => Err(ErrorCode::BAD_ARGUMENTS),
            (OpCode::CreateContainer, _) => Ok(Owner::Container),
            _ if mode.is_ephemeral() => Ok(Owner::Ephemeral(self.header.session)),
            _ => Ok(Owner::Persistent),
        }
    }

    fn delete(&mut self, path: &str, version: i32) -> Result<Txn> {
        self.check_session(false)?;
        let parent_path = deletable(path)?;
        let parent = self.view(parent_path)?;
        self.check_acl(&parent, Perms::DELETE)?;
        let node = self.view(path)?;
        next_version(node.meta.version, version)?;
        if node.children > 0 {
            return Err(ErrorCode::NOT_EMPTY);
        }
        self.remove(path, &node, parent_path, &parent);
        Ok(Txn::Delete(path.into()))
    }

    /// The leader's own: no session, permission or version is asked for, but no other znode may be hit.
    pub(super) fn delete_container(&mut self, path: &str) -> Result<Txn> {
        let parent_path = deletable(path)?;
        let node = self.view(path)?;
        if node.children > 0 {
            return Err(ErrorCode::NOT_EMPTY);
        }
        if !matches!(Owner::from_stored(node.meta.owner), Owner::Container | Owner::Ttl(_)) {
            return Err(ErrorCode::BAD_VERSION);
        }
        let parent = self.view(parent_path)?;
        self.remove(path, &node, parent_path, &parent);
        Ok(Txn::DeleteContainer(path.into()))
    }

    fn remove(&mut self, path: &str, node: &View, parent_path: &str, parent: &View) {
        let mut new_parent = parent.clone();
        new_parent.meta.child_deleted(self.header.zxid);
        new_parent.children = new_parent.children.saturating_sub(1);
        self.draft.replace(parent_path, Some(parent), Some(new_parent));
        self.draft.replace(path, Some(node), None);
    }

    fn set_data(&mut self, path: &str, data: Option<Bytes>, version: i32) -> Result<Txn> {
        self.check_session(false)?;
        check_path(path)?;
        let node = self.view(path)?;
        self.check_acl(&node, Perms::WRITE)?;
        self.check_quota(path, data.as_ref().map_or(0, Bytes::len), node.data_len, 0)?;
        let version = next_version(node.meta.version, version)?;
        let mut new = node.clone();
        new.meta.data_set(version, self.header.zxid, self.header.time);
        new.set_data(path, data.as_deref());
        self.draft.replace(path, Some(&node), Some(new));
        Ok(Txn::SetData { path: path.into(), data, version })
    }

    fn set_acl(&mut self, path: &str, acl: &[Acl], version: i32) -> Result<Txn> {
        self.check_session(false)?;
        check_path(path)?;
        let acl = self.fix_up(acl)?;
        let node = self.view(path)?;
        self.check_acl(&node, Perms::ADMIN)?;
        let version = next_version(node.meta.aversion, version)?;
        let mut new = node.clone();
        new.meta.aversion = version;
        new.acl = self.draft.share_acl(&acl);
        self.draft.replace(path, Some(&node), Some(new));
        Ok(Txn::SetAcl { path: path.into(), acl, version })
    }

    /// Only as a part of a multi.
    fn check(&self, path: &str, version: i32) -> Result<Txn> {
        self.check_session(false)?;
        check_path(path)?;
        let node = self.view(path)?;
        self.check_acl(&node, Perms::READ)?;
        let version = next_version(node.meta.version, version)?;
        Ok(Txn::Check { path: path.into(), version })
    }

    /// The list is always written: without it, a digest behind the header breaks Apache's readers.
    /// Names the ephemerals to be deleted, but no more of them than other servers accept in a transaction: each replica
    /// deletes the session's others by itself.
    pub(super) fn close_session(&mut self) -> Txn {
        let mut paths = self.draft.ephemerals(self.header.session);
        for path in &paths {
            let parent_path = path.rfind('/').map_or("", |slash| &path[..slash]);
            if let (Some(node), Some(parent)) = (self.draft.view(path), self.draft.view(parent_path)) {
                self.remove(path, &node, parent_path, &parent);
            }
        }
        let mut bytes = 0;
        let fits = paths.iter().take_while(|path| {
            bytes += 4 + path.len();
            bytes <= DEFAULT_MAX_FRAME
        });
        paths.truncate(fits.count());
        Txn::CloseSession(Some(paths))
    }

    fn view(&self, path: &str) -> Result<View> {
        self.draft.view(path).ok_or(ErrorCode::NO_NODE)
    }

    fn auth(&self) -> Result<&'_ [Id]> {
        self.auth.ok_or(ErrorCode::MARSHALLING_ERROR)
    }

    /// Each `auth` entry grows by as many identities as the connection has. A transaction must not grow beyond what
    /// other servers accept.
    fn fix_up(&mut self, acl: &[Acl]) -> Result<Vec<Acl>> {
        let acl = acl::fix_up(acl, self.auth()?)?;
        self.acl_bytes += acl::encoded_len(&acl);
        if self.acl_bytes > DEFAULT_MAX_FRAME { Err(ErrorCode::INVALID_ACL) } else { Ok(acl) }
    }

    fn check_acl(&self, node: &View, wanted: Perms) -> Result<()> {
        let auth = self.auth()?;
        if self.config.skip_acl || acl::check(&node.acl, wanted, auth) {
            return Ok(());
        }
        Err(ErrorCode::NO_AUTH)
    }

    fn check_quota(&self, path: &str, len: usize, old_len: usize, count: i64) -> Result<()> {
        if self.config.enforce_quota && self.draft.quota_forbids(path, len as i64 - old_len as i64, count) {
            return Err(ErrorCode::QUOTA_EXCEEDED);
        }
        Ok(())
    }

    fn check_session(&self, for_ephemeral: bool) -> Result<()> {
        match self.state {
            SessionState::Open => Ok(()),
            SessionState::Local if !for_ephemeral => Ok(()),
            SessionState::Local | SessionState::Unknown | SessionState::Closing => {
                Err(ErrorCode::SESSION_EXPIRED)
            }
            SessionState::Moved => Err(ErrorCode::SESSION_MOVED),
        }
    }
}

/// In a multi, the flag decides: a create with the container's does make a container, and a createTTL without one
/// for a time to live is a plain create (`Op.create`).
fn in_multi(op: OpCode, request: &Request<'_>) -> OpCode {
    match request {
        Request::Create(c) if c.flags == CreateMode::Container.flags() => OpCode::CreateContainer,
        Request::Create(c)
            if op == OpCode::CreateTtl
                && !CreateMode::from_flags(c.flags).is_some_and(CreateMode::is_ttl) =>
        {
            OpCode::Create
        }
        _ => op,
    }
}

/// What stands before the last '/': "" for a top-level znode and for "/" itself.
fn parent_of(path: &str) -> Result<&str> {
    if path.contains('\0') {
        return Err(ErrorCode::BAD_ARGUMENTS);
    }
    let slash = path.rfind('/').ok_or(ErrorCode::BAD_ARGUMENTS)?;
    Ok(&path[..slash])
}

/// The parent of a znode that may be deleted.
fn deletable(path: &str) -> Result<&str> {
    if ["/", ZOOKEEPER, QUOTA, CONFIG].contains(&path) {
        return Err(ErrorCode::BAD_ARGUMENTS);
    }
    parent_of(path)
}

fn check_path(path: &str) -> Result<()> {
    if path::is_valid(path) { Ok(()) } else { Err(ErrorCode::BAD_ARGUMENTS) }
}

/// The version after this one. It is never −1, which would mean "any" when a client asks for it
/// (ZOOKEEPER-4743).
const fn next_version(current: i32, expected: i32) -> Result<i32> {
    if expected != -1 && expected != current {
        return Err(ErrorCode::BAD_VERSION);
    }
    match current.wrapping_add(1) {
        -1 => Ok(0),
        next => Ok(next),
    }
}
