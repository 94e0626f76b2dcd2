//! `/zookeeper/palisade/status`: what a gateway can do for its clients, as a znode that is in no tree.
//!
//! It can be read and watched by its exact path. It has no parent, so no listing shows it; it is in no count and no
//! digest, and nobody can write it. Its watches fire when the mode changes; zxid and age change all the time.

use std::fmt;
use std::sync::atomic::{AtomicI32, AtomicI64, AtomicU8, Ordering};
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use palisade_admin::system::wall_clock;
use palisade_store::DataTree;
use palisade_wire::request::Request;
use palisade_wire::{Acl, ErrorCode, Id, Perms, Sid, Stat, Writer, Zxid};

use super::Local;

/// Where it is, as clients see it.
pub(crate) const PATH: &str = "/zookeeper/palisade/status";
/// Nothing may be made here: what is not in the tree must not get a parent there.
const FOLDER: &str = "/zookeeper/palisade";

/// What a gateway can do for its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Mode {
    /// Nothing yet: there never was a core.
    Starting,
    /// Everything.
    ReadWrite,
    /// Read what may be out of date: the core is out of reach.
    Stale,
    /// Nothing: what could be read is older than it may be.
    CutOff,
}

impl Mode {
    const ALL: [Self; 4] = [Self::Starting, Self::ReadWrite, Self::Stale, Self::CutOff];

    /// Its name in the status and in logs.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::ReadWrite => "read-write",
            Self::Stale => "stale",
            Self::CutOff => "cut-off",
        }
    }
}

/// What the znode tells.
pub(crate) struct Status {
    tenant: String,
    gateway: Sid,
    mode: AtomicU8,
    /// How often the mode changed, when last (wall clock, ms), and what the replica's zxid was.
    changes: AtomicI32,
    changed_ms: AtomicI64,
    changed_at: AtomicI64,
    started_ms: i64,
    age: Box<dyn Fn() -> Option<Duration> + Send + Sync>,
}

fn wall_ms() -> i64 {
    i64::try_from(wall_clock().as_millis()).unwrap_or(i64::MAX)
}

impl Status {
    /// `age` tells the proven age of the replica, `None` without a proof.
    pub(crate) fn new(
        tenant: &str,
        gateway: Sid,
        age: impl Fn() -> Option<Duration> + Send + Sync + 'static,
    ) -> Self {
        let now = wall_ms();
        Self {
            tenant: tenant.to_owned(),
            gateway,
            mode: AtomicU8::new(Mode::Starting as u8),
            changes: AtomicI32::new(0),
            changed_ms: AtomicI64::new(now),
            changed_at: AtomicI64::new(0),
            started_ms: now,
            age: Box::new(age),
        }
    }

    pub(crate) fn mode(&self) -> Mode {
        let mode = usize::from(self.mode.load(Ordering::Acquire));
        Mode::ALL.get(mode).copied().unwrap_or(Mode::Starting)
    }

    /// The replica must be locked against reads until the watches have fired: nobody sees the change before its event.
    pub(crate) fn set_mode(&self, mode: Mode, zxid: Zxid) {
        self.changes.fetch_add(1, Ordering::Relaxed);
        self.changed_ms.store(wall_ms(), Ordering::Relaxed);
        self.changed_at.store(zxid.0, Ordering::Relaxed);
        self.mode.store(mode as u8, Ordering::Release);
    }

    /// The proven age of what can be read here.
    pub(crate) fn age(&self) -> Option<Duration> {
        (self.age)()
    }

    /// The data: JSON. A tenant's name needs no escapes.
    fn data(&self, tree: &DataTree) -> Vec<u8> {
        let age = self.age().map_or_else(|| "null".to_owned(), |age| age.as_millis().to_string());
        let (mode, zxid) = (self.mode().name(), tree.last_zxid().0);
        format!(
            "{{\"mode\":\"{mode}\",\"zxid\":\"{zxid:#x}\",\"age_ms\":{age},\"tenant\":\"{}\",\"gateway\":{}}}",
            self.tenant, self.gateway
        )
        .into_bytes()
    }

    fn stat(&self, data: &[u8]) -> Stat {
        let changed_at = Zxid(self.changed_at.load(Ordering::Relaxed));
        Stat {
            czxid: Zxid::ZERO,
            mzxid: changed_at,
            ctime: self.started_ms,
            mtime: self.changed_ms.load(Ordering::Relaxed),
            version: self.changes.load(Ordering::Relaxed),
            cversion: 0,
            aversion: 0,
            ephemeral_owner: 0,
            data_length: i32::try_from(data.len()).unwrap_or(i32::MAX),
            num_children: 0,
            pzxid: Zxid::ZERO,
        }
    }

    /// Data and Stat.
    pub(super) fn read(&self, tree: &DataTree) -> (Vec<u8>, Stat) {
        let data = self.data(tree);
        let stat = self.stat(&data);
        (data, stat)
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Status").field("mode", &self.mode()).finish_non_exhaustive()
    }
}

/// Who may do what with it; events about it go to everybody.
pub(crate) fn acl() -> Vec<Acl> {
    vec![Acl { perms: Perms::READ, id: Id::new("world", "anyone") }]
}

/// Answers a read of the status; `None` for all others.
pub(super) fn answer(
    local: &Local<'_>,
    request: &Request<'_>,
    out: &mut BytesMut,
) -> Option<Result<(), ErrorCode>> {
    let (path, watch) = match request {
        Request::Exists(p) | Request::GetData(p) | Request::GetChildren(p) | Request::GetChildren2(p) => {
            (&p.path, p.watch)
        }
        Request::GetAcl(path) | Request::GetAllChildrenNumber(path) => (path, false),
        _ => return None,
    };
    if path != PATH {
        return None;
    }
    let (data, stat) = local.status.read(local.tree);
    let is_of_children = matches!(request, Request::GetChildren(_) | Request::GetChildren2(_));
    if watch && is_of_children {
        local.watches.lock().add_child(local.slot, PATH);
    } else if watch {
        local.watches.lock().add_data(local.slot, PATH);
    }
    match request {
        Request::GetData(_) => out.write_opt_buffer(Some(&data)),
        Request::GetAcl(_) => Acl::encode_list(&acl(), out),
        Request::GetChildren(_) | Request::GetChildren2(_) | Request::GetAllChildrenNumber(_) => {
            out.put_i32(0);
        }
        _ => {}
    }
    if !matches!(request, Request::GetChildren(_) | Request::GetAllChildrenNumber(_)) {
        stat.encode(out);
    }
    Some(Ok(()))
}

/// Whether a write is aimed at the status, or at what would be its parent.
pub(crate) fn is_written_by(request: &Request<'_>) -> bool {
    let is_ours =
        |path: &str| path.strip_prefix(FOLDER).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    match request {
        Request::Create(create) => is_ours(&create.path),
        Request::Delete { path, .. } | Request::SetData { path, .. } | Request::SetAcl { path, .. } => {
            is_ours(path)
        }
        Request::Multi(ops) => ops.iter().any(|(_, op)| is_written_by(op)),
        _ => false,
    }
}
