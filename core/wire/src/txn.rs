//! Transactions, as they stand in proposals and in the log (Apache `SerializeUtils`, `zookeeper.jute`).

use bytes::{BufMut, Bytes, BytesMut};

use crate::SessionId;
use crate::acl::Acl;
use crate::error_code::ErrorCode;
use crate::jute::{DecodeError, Reader, Result, Writer, share};
use crate::opcode::OpCode;
use crate::zxid::Zxid;

/// The only digest version that Apache 3.6 and later writes.
pub const DIGEST_VERSION: i32 = 2;

/// Who asked for a transaction, and where it stands in history. The type is that of the [`Txn`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxnHeader {
    /// The client's session.
    pub session: SessionId,
    /// The client's xid; 0 for the leader's own transactions.
    pub cxid: i32,
    /// Position in history.
    pub zxid: Zxid,
    /// The leader's wall clock, ms since 1970.
    pub time: i64,
}

/// A create, in the form that is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateTxn {
    /// Full path, sequence number included.
    pub path: String,
    /// Data; null and empty are distinct.
    pub data: Option<Bytes>,
    /// The resolved ACL.
    pub acl: Vec<Acl>,
    /// The parent's stored creation counter after this; −1 if unknown (3.3 and earlier).
    pub parent_cversion: i32,
}

/// What a transaction does. Deterministic: checks were made before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Txn {
    /// Type 1: a persistent or ephemeral znode.
    Create(CreateTxn, /* ephemeral */ bool),
    /// Type 15: the same, asked for by create2.
    Create2(CreateTxn, /* ephemeral */ bool),
    /// Type 19.
    CreateContainer(CreateTxn),
    /// Type 21, with the time to live in ms.
    CreateTtl(CreateTxn, i64),
    /// Type 2.
    Delete(String),
    /// Type 20: the leader's removal of an empty container or expired TTL znode.
    DeleteContainer(String),
    /// Type 5.
    SetData {
        /// The path.
        path: String,
        /// The new data.
        data: Option<Bytes>,
        /// The new version.
        version: i32,
    },
    /// Type 16: like SetData, of the configuration.
    Reconfig {
        /// The path.
        path: String,
        /// The new configuration's text.
        data: Option<Bytes>,
        /// The new version.
        version: i32,
    },
    /// Type 7.
    SetAcl {
        /// The path.
        path: String,
        /// The new ACL.
        acl: Vec<Acl>,
        /// The new aversion.
        version: i32,
    },
    /// Type 13, inside a multi only: a check that passed, with version + 1.
    Check {
        /// The path.
        path: String,
        /// The checked version + 1.
        version: i32,
    },
    /// Type 14. If any part is an [`Txn::Error`], nothing is applied.
    Multi(Vec<Self>),
    /// Type −10, with the timeout in ms.
    CreateSession(i32),
    /// Type −11, with the ephemerals to delete; `None` from 3.5 and earlier.
    CloseSession(Option<Vec<String>>),
    /// Type −1: a request that failed.
    Error(ErrorCode),
}

impl Txn {
    /// The type.
    pub const fn op(&self) -> OpCode {
        match self {
            Self::Create(..) => OpCode::Create,
            Self::Create2(..) => OpCode::Create2,
            Self::CreateContainer(_) => OpCode::CreateContainer,
            Self::CreateTtl(..) => OpCode::CreateTtl,
            Self::Delete(_) => OpCode::Delete,
            Self::DeleteContainer(_) => OpCode::DeleteContainer,
            Self::SetData { .. } => OpCode::SetData,
            Self::Reconfig { .. } => OpCode::Reconfig,
            Self::SetAcl { .. } => OpCode::SetAcl,
            Self::Check { .. } => OpCode::Check,
            Self::Multi(_) => OpCode::Multi,
            Self::CreateSession(_) => OpCode::CreateSession,
            Self::CloseSession(_) => OpCode::CloseSession,
            Self::Error(_) => OpCode::Error,
        }
    }

    /// Writes the body.
    pub fn encode(&self, buf: &mut BytesMut) {
        match self {
            Self::Create(c, ephemeral) | Self::Create2(c, ephemeral) => {
                encode_create(c, buf);
                buf.write_bool(*ephemeral);
                buf.put_i32(c.parent_cversion);
            }
            Self::CreateContainer(c) => {
                encode_create(c, buf);
                buf.put_i32(c.parent_cversion);
            }
            Self::CreateTtl(c, ttl) => {
                encode_create(c, buf);
                buf.put_i32(c.parent_cversion);
                buf.put_i64(*ttl);
            }
            Self::Delete(path) | Self::DeleteContainer(path) => buf.write_string(path),
            Self::SetData { path, data, version } | Self::Reconfig { path, data, version } => {
                buf.write_string(path);
                buf.write_opt_buffer(data.as_deref());
                buf.put_i32(*version);
            }
            Self::SetAcl { path, acl, version } => {
                buf.write_string(path);
                Acl::encode_list(acl, buf);
                buf.put_i32(*version);
            }
            Self::Check { path, version } => {
                buf.write_string(path);
                buf.put_i32(*version);
            }
            Self::Multi(parts) => {
                let mut body = BytesMut::new();
                buf.write_vec(parts.iter(), |b, part| {
                    body.clear();
                    part.encode(&mut body);
                    b.put_i32(part.op().as_i32());
                    b.write_buffer(&body);
                });
            }
            Self::CreateSession(timeout_ms) => buf.put_i32(*timeout_ms),
            Self::CloseSession(paths) => {
                if let Some(paths) = paths {
                    buf.write_vec(paths.iter(), |b, path| b.write_string(path));
                }
            }
            Self::Error(code) => buf.put_i32(code.0),
        }
    }

    fn decode(op: i32, whole: &Bytes, r: &mut Reader<'_>) -> Result<Self> {
        let known =
            OpCode::from_i32(op).ok_or(DecodeError::Unknown { field: "txn type", value: op.into() })?;
        Ok(match known {
            OpCode::Create => {
                let (c, ephemeral) = decode_create_ephemeral(whole, r)?;
                Self::Create(c, ephemeral)
            }
            OpCode::Create2 => {
                let (c, ephemeral) = decode_create_ephemeral(whole, r)?;
                Self::Create2(c, ephemeral)
            }
            OpCode::CreateContainer => {
                let mut c = decode_create(whole, r)?;
                c.parent_cversion = r.i32("parentCVersion")?;
                Self::CreateContainer(c)
            }
            OpCode::CreateTtl => {
                let mut c = decode_create(whole, r)?;
                c.parent_cversion = r.i32("parentCVersion")?;
                Self::CreateTtl(c, r.i64("ttl")?)
            }
            OpCode::Delete => Self::Delete(string(r, "path")?),
            OpCode::DeleteContainer => Self::DeleteContainer(string(r, "path")?),
            OpCode::SetData => {
                let (path, data, version) = decode_set(whole, r)?;
                Self::SetData { path, data, version }
            }
            OpCode::Reconfig => {
                let (path, data, version) = decode_set(whole, r)?;
                Self::Reconfig { path, data, version }
            }
            OpCode::SetAcl => Self::SetAcl {
                path: string(r, "path")?,
                acl: r.opt_vec("acl", Acl::decode)?.unwrap_or_default(),
                version: r.i32("version")?,
            },
            OpCode::Check => Self::Check { path: string(r, "path")?, version: r.i32("version")? },
            OpCode::Multi => Self::Multi(r.vec("multi", |r| decode_part(whole, r))?),
            OpCode::CreateSession => Self::CreateSession(r.i32("timeOut")?),
            OpCode::CloseSession if !has_paths(r) => Self::CloseSession(None),
            OpCode::CloseSession => {
                Self::CloseSession(r.opt_vec("paths2Delete", |r| string(r, "path2Delete"))?)
            }
            OpCode::Error => Self::Error(ErrorCode(r.i32("err")?)),
            _ => {
                return Err(DecodeError::Unknown { field: "txn type", value: op.into() });
            }
        })
    }
}

/// Whether the list of a closeSession is there. Without it the body ends at once, or a digest follows (servers with
/// `zookeeper.closeSessionTxn.enabled=false`): of all lists, only that of two empty paths is as short and begins
/// alike, and its other bytes are zero.
fn has_paths(r: &Reader<'_>) -> bool {
    let mut digest = r.clone();
    let is_digest = digest.i32("digest version") == Ok(DIGEST_VERSION)
        && digest.i64("digest").is_ok_and(|digest| digest != 0)
        && digest.is_empty();
    !r.is_empty() && !is_digest
}

fn string(r: &mut Reader<'_>, field: &'static str) -> Result<String> {
    Ok(r.string(field)?.into_owned())
}

fn decode_part(whole: &Bytes, r: &mut Reader<'_>) -> Result<Txn> {
    let op = r.i32("sub txn type")?;
    let mut body = Reader::new(r.buffer("sub txn")?);
    if !OpCode::from_i32(op).is_some_and(may_be_part) {
        return Err(DecodeError::Unknown { field: "sub txn type", value: op.into() });
    }
    Txn::decode(op, whole, &mut body)
}

/// What Apache applies inside a multi (`DataTree.processTxn`).
const fn may_be_part(op: OpCode) -> bool {
    matches!(
        op,
        OpCode::Create
            | OpCode::Create2
            | OpCode::CreateContainer
            | OpCode::CreateTtl
            | OpCode::Delete
            | OpCode::DeleteContainer
            | OpCode::SetData
            | OpCode::Check
            | OpCode::Error
    )
}

fn encode_create(c: &CreateTxn, buf: &mut BytesMut) {
    buf.write_string(&c.path);
    buf.write_opt_buffer(c.data.as_deref());
    Acl::encode_list(&c.acl, buf);
}

fn decode_create(whole: &Bytes, r: &mut Reader<'_>) -> Result<CreateTxn> {
    Ok(CreateTxn {
        path: string(r, "path")?,
        data: r.opt_buffer("data")?.map(|d| share(whole, d)),
        acl: r.opt_vec("acl", Acl::decode)?.unwrap_or_default(),
        parent_cversion: -1,
    })
}

/// 3.3 and earlier end after the flag; the parent's counter is then unknown.
fn decode_create_ephemeral(whole: &Bytes, r: &mut Reader<'_>) -> Result<(CreateTxn, bool)> {
    let mut c = decode_create(whole, r)?;
    let ephemeral = r.bool("ephemeral")?;
    if !r.is_empty() {
        c.parent_cversion = r.i32("parentCVersion")?;
    }
    Ok((c, ephemeral))
}

fn decode_set(whole: &Bytes, r: &mut Reader<'_>) -> Result<(String, Option<Bytes>, i32)> {
    Ok((string(r, "path")?, r.opt_buffer("data")?.map(|d| share(whole, d)), r.i32("version")?))
}

/// A transaction with its header and, from 3.6 on, the digest of the tree after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnRecord {
    /// Who and where.
    pub header: TxnHeader,
    /// What.
    pub txn: Txn,
    /// The tree's digest after this transaction, as the leader computed it.
    pub digest: Option<u64>,
}

impl TxnRecord {
    /// Reads one. Data is shared with `payload`, not copied.
    ///
    /// A digest of an unknown version is read as absent, as are bytes that are too few for one.
    pub fn decode(payload: &Bytes) -> Result<Self> {
        let mut r = Reader::new(payload);
        let session = r.i64("txn clientId")?;
        let cxid = r.i32("txn cxid")?;
        let zxid = Zxid(r.i64("txn zxid")?);
        let time = r.i64("txn time")?;
        let op = r.i32("txn type")?;
        let txn = Txn::decode(op, payload, &mut r)?;
        Ok(Self { header: TxnHeader { session, cxid, zxid, time }, txn, digest: decode_digest(r) })
    }

    /// Reads the zxid alone.
    pub fn peek_zxid(payload: &[u8]) -> Result<Zxid> {
        let mut r = Reader::new(payload);
        r.i64("txn clientId")?;
        r.i32("txn cxid")?;
        Ok(Zxid(r.i64("txn zxid")?))
    }

    /// Writes one.
    ///
    /// The digest of a closeSession without its list is left out: Apache's readers would take it for the list.
    pub fn encode(&self) -> Bytes {
        crate::jute::encode(|buf| {
            buf.put_i64(self.header.session);
            buf.put_i32(self.header.cxid);
            buf.put_i64(self.header.zxid.0);
            buf.put_i64(self.header.time);
            buf.put_i32(self.txn.op().as_i32());
            self.txn.encode(buf);
            if let Some(digest) = self.digest.filter(|_| self.txn != Txn::CloseSession(None)) {
                buf.put_i32(DIGEST_VERSION);
                buf.put_u64(digest);
            }
        })
    }
}

fn decode_digest(mut r: Reader<'_>) -> Option<u64> {
    let version = r.i32("digest version").ok()?;
    let digest = r.i64("digest").ok()?;
    (version == DIGEST_VERSION).then_some(digest as u64)
}
