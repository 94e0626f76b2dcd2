//! Requests of clients. Strings and buffers are borrowed from the frame.

use std::borrow::Cow;

use bytes::BufMut;

use crate::acl::Acl;
use crate::jute::{DecodeError, Reader, Result, Writer};
use crate::multi;
use crate::opcode::OpCode;
use crate::zxid::Zxid;

/// Xids with a meaning of their own (`ClientCnxn`).
pub mod xid {
    /// Reply only: a watch event.
    pub const NOTIFICATION: i32 = -1;
    /// A ping and its answer.
    pub const PING: i32 = -2;
    /// Authentication (Java, C and kazoo; Go uses an ordinary xid).
    pub const AUTH: i32 = -4;
    /// SetWatches of the C client.
    pub const SET_WATCHES: i32 = -8;
}

/// What stands before every request but the first: 8 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    /// Chosen by the client, echoed in the reply.
    pub xid: i32,
    /// The [`OpCode`], unchecked.
    pub op: i32,
}

impl RequestHeader {
    /// Reads one.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self> {
        Ok(Self { xid: r.i32("xid")?, op: r.i32("type")? })
    }

    /// Writes one.
    pub fn encode(&self, buf: &mut impl BufMut) {
        buf.put_i32(self.xid);
        buf.put_i32(self.op);
    }
}

/// Body of the four kinds of create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Create<'a> {
    /// Path, before a sequence number is appended.
    pub path: Cow<'a, str>,
    /// Data; null and empty are distinct.
    pub data: Option<&'a [u8]>,
    /// The ACL as sent; null reads as empty, which is invalid.
    pub acl: Vec<Acl>,
    /// A [`crate::CreateMode`], unchecked.
    pub flags: i32,
    /// Time to live, ms; only in [`OpCode::CreateTtl`].
    pub ttl_ms: Option<i64>,
}

/// A path and a flag that asks for a watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathWatch<'a> {
    /// The path.
    pub path: Cow<'a, str>,
    /// Whether to leave a watch.
    pub watch: bool,
}

/// Watches to register again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetWatches<'a> {
    /// What the client has seen: changes after it fire at once.
    pub relative_zxid: Zxid,
    /// Paths with a data watch.
    pub data: Vec<Cow<'a, str>>,
    /// Paths with an exist watch.
    pub exist: Vec<Cow<'a, str>>,
    /// Paths with a child watch.
    pub child: Vec<Cow<'a, str>>,
    /// Paths with a persistent watch ([`OpCode::SetWatches2`] only).
    pub persistent: Vec<Cow<'a, str>>,
    /// Paths with a persistent recursive watch ([`OpCode::SetWatches2`] only).
    pub recursive: Vec<Cow<'a, str>>,
}

/// A decoded request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// [`OpCode::Create`], [`OpCode::Create2`], [`OpCode::CreateContainer`], [`OpCode::CreateTtl`].
    Create(Create<'a>),
    /// [`OpCode::Delete`].
    Delete {
        /// The path.
        path: Cow<'a, str>,
        /// Expected version, −1 for any.
        version: i32,
    },
    /// [`OpCode::Exists`].
    Exists(PathWatch<'a>),
    /// [`OpCode::GetData`].
    GetData(PathWatch<'a>),
    /// [`OpCode::SetData`].
    SetData {
        /// The path.
        path: Cow<'a, str>,
        /// The new data.
        data: Option<&'a [u8]>,
        /// Expected version, −1 for any.
        version: i32,
    },
    /// [`OpCode::GetAcl`].
    GetAcl(Cow<'a, str>),
    /// [`OpCode::SetAcl`].
    SetAcl {
        /// The path.
        path: Cow<'a, str>,
        /// The new ACL.
        acl: Vec<Acl>,
        /// Expected aversion, −1 for any.
        version: i32,
    },
    /// [`OpCode::GetChildren`].
    GetChildren(PathWatch<'a>),
    /// [`OpCode::GetChildren2`].
    GetChildren2(PathWatch<'a>),
    /// [`OpCode::Sync`]; the path is echoed and otherwise ignored.
    Sync(Option<Cow<'a, str>>),
    /// [`OpCode::Ping`].
    Ping,
    /// [`OpCode::Check`].
    Check {
        /// The path.
        path: Cow<'a, str>,
        /// Expected version, −1 for any.
        version: i32,
    },
    /// [`OpCode::Multi`]: creates, deletes, sets and checks.
    Multi(Vec<(OpCode, Self)>),
    /// [`OpCode::MultiRead`]: getData and getChildren.
    MultiRead(Vec<(OpCode, Self)>),
    /// [`OpCode::Reconfig`].
    Reconfig {
        /// Servers to add, comma separated.
        joining: Option<Cow<'a, str>>,
        /// Ids to remove, comma separated.
        leaving: Option<Cow<'a, str>>,
        /// The whole new membership instead.
        members: Option<Cow<'a, str>>,
        /// Expected version of the configuration, −1 for any.
        config_id: i64,
    },
    /// [`OpCode::CheckWatches`].
    CheckWatches {
        /// The path.
        path: Cow<'a, str>,
        /// A watch type code, unchecked.
        kind: i32,
    },
    /// [`OpCode::RemoveWatches`].
    RemoveWatches {
        /// The path; null is nothing that anybody watches.
        path: Option<Cow<'a, str>>,
        /// A watch type code, unchecked.
        kind: i32,
    },
    /// [`OpCode::Auth`].
    Auth {
        /// The scheme, which may be null, and is none that is known then.
        scheme: Option<Cow<'a, str>>,
        /// The credential; null and empty are distinct.
        auth: Option<&'a [u8]>,
    },
    /// [`OpCode::SetWatches`] and [`OpCode::SetWatches2`].
    SetWatches(SetWatches<'a>),
    /// [`OpCode::Sasl`].
    Sasl(Option<&'a [u8]>),
    /// [`OpCode::GetEphemerals`].
    GetEphemerals(Option<Cow<'a, str>>),
    /// [`OpCode::GetAllChildrenNumber`].
    GetAllChildrenNumber(Cow<'a, str>),
    /// [`OpCode::AddWatch`].
    AddWatch {
        /// The path.
        path: Cow<'a, str>,
        /// 0 persistent, 1 persistent recursive; unchecked.
        mode: i32,
    },
    /// [`OpCode::WhoAmI`].
    WhoAmI,
    /// [`OpCode::CreateSession`], between servers only: the timeout in ms.
    CreateSession(i32),
    /// [`OpCode::CloseSession`].
    CloseSession,
}

impl<'a> Request<'a> {
    /// Reads the body of a request of type `op`. Bytes after the record are ignored.
    ///
    /// Types that no client or learner may send are [`DecodeError::Unknown`].
    pub fn decode(op: OpCode, body: &'a [u8]) -> Result<Self> {
        Self::read(op, &mut Reader::new(body))
    }

    pub(crate) fn read(op: OpCode, r: &mut Reader<'a>) -> Result<Self> {
        Ok(match op {
            OpCode::Create | OpCode::Create2 | OpCode::CreateContainer => Self::Create(create(r, false)?),
            OpCode::CreateTtl => Self::Create(create(r, true)?),
            OpCode::Delete => Self::Delete { path: r.string("path")?, version: r.i32("version")? },
            OpCode::Exists => Self::Exists(path_watch(r)?),
            OpCode::GetData => Self::GetData(path_watch(r)?),
            OpCode::SetData => {
                let path = r.opt_string("path")?;
                let (data, version) = (r.opt_buffer("data")?, r.i32("version")?);
                Self::SetData { path: named(op, path)?, data, version }
            }
            OpCode::GetAcl => Self::GetAcl(r.string("path")?),
            OpCode::SetAcl => {
                let path = r.opt_string("path")?;
                let acl = r.opt_vec("acl", Acl::decode)?.unwrap_or_default();
                let version = r.i32("version")?;
                Self::SetAcl { path: named(op, path)?, acl, version }
            }
            OpCode::GetChildren => Self::GetChildren(path_watch(r)?),
            OpCode::GetChildren2 => Self::GetChildren2(path_watch(r)?),
            OpCode::Sync => Self::Sync(r.opt_string("path")?),
            OpCode::Ping => Self::Ping,
            OpCode::Check => Self::Check { path: r.string("path")?, version: r.i32("version")? },
            OpCode::Multi => Self::Multi(multi::decode_ops(r, multi::Kind::Write)?),
            OpCode::MultiRead => Self::MultiRead(multi::decode_ops(r, multi::Kind::Read)?),
            OpCode::Reconfig => Self::Reconfig {
                joining: r.opt_string("joiningServers")?,
                leaving: r.opt_string("leavingServers")?,
                members: r.opt_string("newMembers")?,
                config_id: r.i64("curConfigId")?,
            },
            OpCode::CheckWatches => Self::CheckWatches { path: r.string("path")?, kind: r.i32("type")? },
            OpCode::RemoveWatches => {
                Self::RemoveWatches { path: r.opt_string("path")?, kind: r.i32("type")? }
            }
            OpCode::Auth => {
                r.i32("type")?;
                Self::Auth { scheme: r.opt_string("scheme")?, auth: r.opt_buffer("auth")? }
            }
            OpCode::SetWatches => Self::SetWatches(set_watches(r, false)?),
            OpCode::SetWatches2 => Self::SetWatches(set_watches(r, true)?),
            OpCode::Sasl => Self::Sasl(r.opt_buffer("token")?),
            OpCode::GetEphemerals => Self::GetEphemerals(r.opt_string("prefixPath")?),
            OpCode::GetAllChildrenNumber => Self::GetAllChildrenNumber(r.string("path")?),
            OpCode::AddWatch => Self::AddWatch { path: r.string("path")?, mode: r.i32("mode")? },
            OpCode::WhoAmI => Self::WhoAmI,
            OpCode::CreateSession => Self::CreateSession(r.i32("timeOut")?),
            OpCode::CloseSession => Self::CloseSession,
            OpCode::Notification | OpCode::DeleteContainer | OpCode::Error => {
                return Err(DecodeError::Unknown { field: "type", value: op.as_i32().into() });
            }
        })
    }

    /// Writes the body.
    pub fn encode(&self, buf: &mut impl BufMut) {
        match self {
            Self::Create(c) => {
                buf.write_string(&c.path);
                buf.write_opt_buffer(c.data);
                Acl::encode_list(&c.acl, buf);
                buf.put_i32(c.flags);
                if let Some(ttl) = c.ttl_ms {
                    buf.put_i64(ttl);
                }
            }
            Self::Delete { path, version } | Self::Check { path, version } => {
                buf.write_string(path);
                buf.put_i32(*version);
            }
            Self::Exists(p) | Self::GetData(p) | Self::GetChildren(p) | Self::GetChildren2(p) => {
                buf.write_string(&p.path);
                buf.write_bool(p.watch);
            }
            Self::SetData { path, data, version } => {
                buf.write_string(path);
                buf.write_opt_buffer(*data);
                buf.put_i32(*version);
            }
            Self::GetAcl(path) | Self::GetAllChildrenNumber(path) => buf.write_string(path),
            Self::SetAcl { path, acl, version } => {
                buf.write_string(path);
                Acl::encode_list(acl, buf);
                buf.put_i32(*version);
            }
            Self::Sync(path) | Self::GetEphemerals(path) => buf.write_opt_string(path.as_deref()),
            Self::Ping | Self::WhoAmI | Self::CloseSession => {}
            Self::Multi(ops) | Self::MultiRead(ops) => multi::encode_ops(ops, buf),
            Self::Reconfig { joining, leaving, members, config_id } => {
                buf.write_opt_string(joining.as_deref());
                buf.write_opt_string(leaving.as_deref());
                buf.write_opt_string(members.as_deref());
                buf.put_i64(*config_id);
            }
            Self::RemoveWatches { path, kind } => {
                buf.write_opt_buffer(path.as_deref().map(str::as_bytes));
                buf.put_i32(*kind);
            }
            Self::CheckWatches { path, kind } => {
                buf.write_string(path);
                buf.put_i32(*kind);
            }
            Self::Auth { scheme, auth } => {
                buf.put_i32(0);
                buf.write_opt_buffer(scheme.as_deref().map(str::as_bytes));
                buf.write_opt_buffer(*auth);
            }
            Self::SetWatches(w) => encode_set_watches(w, buf),
            Self::Sasl(token) => buf.write_opt_buffer(*token),
            Self::AddWatch { path, mode } => {
                buf.write_string(path);
                buf.put_i32(*mode);
            }
            Self::CreateSession(timeout_ms) => buf.put_i32(*timeout_ms),
        }
    }
}

fn create<'a>(r: &mut Reader<'a>, ttl: bool) -> Result<Create<'a>> {
    Ok(Create {
        path: r.string("path")?,
        data: r.opt_buffer("data")?,
        acl: r.opt_vec("acl", Acl::decode)?.unwrap_or_default(),
        flags: r.i32("flags")?,
        ttl_ms: if ttl { Some(r.i64("ttl")?) } else { None },
    })
}

/// What else the record has was read.
fn named(op: OpCode, path: Option<Cow<'_, str>>) -> Result<Cow<'_, str>> {
    path.ok_or(DecodeError::NoPath { op })
}

fn path_watch<'a>(r: &mut Reader<'a>) -> Result<PathWatch<'a>> {
    Ok(PathWatch { path: r.string("path")?, watch: r.bool("watch")? })
}

fn set_watches<'a>(r: &mut Reader<'a>, persistent: bool) -> Result<SetWatches<'a>> {
    let mut watches = SetWatches {
        relative_zxid: Zxid(r.i64("relativeZxid")?),
        data: paths(r, "dataWatches")?,
        exist: paths(r, "existWatches")?,
        child: paths(r, "childWatches")?,
        ..SetWatches::default()
    };
    if persistent {
        watches.persistent = paths(r, "persistentWatches")?;
        watches.recursive = paths(r, "persistentRecursiveWatches")?;
    }
    Ok(watches)
}

fn paths<'a>(r: &mut Reader<'a>, field: &'static str) -> Result<Vec<Cow<'a, str>>> {
    r.vec(field, |r| r.string(field))
}

/// Writes the five lists of [`OpCode::SetWatches2`]; a decoder of [`OpCode::SetWatches`] ignores the last two.
fn encode_set_watches(w: &SetWatches<'_>, buf: &mut impl BufMut) {
    buf.put_i64(w.relative_zxid.0);
    for list in [&w.data, &w.exist, &w.child, &w.persistent, &w.recursive] {
        buf.write_vec(list.iter(), |b, path| b.write_string(path));
    }
}
