//! Multi and multiRead: a list without a count, ended by a header that says so (`MultiOperationRecord`).

use bytes::BufMut;

use crate::acl::Acl;
use crate::error_code::ErrorCode;
use crate::jute::{DecodeError, Reader, Result, Writer};
use crate::opcode::OpCode;
use crate::request::Request;
use crate::stat::Stat;

/// Type, whether the list ends here, and an error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MultiHeader {
    /// An [`OpCode`], unchecked; −1 for an error result and at the end.
    pub op: i32,
    /// Whether this is the end.
    pub done: bool,
    /// −1 in requests and at the end; the result's code in replies.
    pub err: i32,
}

impl MultiHeader {
    /// The end of a list.
    pub const END: Self = Self { op: -1, done: true, err: -1 };

    /// Reads one.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self> {
        Ok(Self { op: r.i32("multi type")?, done: r.bool("multi done")?, err: r.i32("multi err")? })
    }

    /// Writes one.
    pub fn encode(self, buf: &mut impl BufMut) {
        buf.put_i32(self.op);
        buf.write_bool(self.done);
        buf.put_i32(self.err);
    }
}

/// Which operations a list may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Read,
    Write,
}

impl Kind {
    const fn allows(self, op: OpCode) -> bool {
        match self {
            Self::Read => matches!(op, OpCode::GetData | OpCode::GetChildren),
            Self::Write => matches!(
                op,
                OpCode::Create
                    | OpCode::Create2
                    | OpCode::CreateContainer
                    | OpCode::CreateTtl
                    | OpCode::Delete
                    | OpCode::SetData
                    | OpCode::Check
            ),
        }
    }
}

pub(crate) fn decode_ops<'a>(r: &mut Reader<'a>, kind: Kind) -> Result<Vec<(OpCode, Request<'a>)>> {
    let mut ops = Vec::new();
    loop {
        let header = MultiHeader::decode(r)?;
        if header.done {
            return Ok(ops);
        }
        let op = OpCode::from_i32(header.op)
            .filter(|op| kind.allows(*op))
            .ok_or(DecodeError::Unknown { field: "multi type", value: header.op.into() })?;
        ops.push((op, Request::read(op, r)?));
    }
}

pub(crate) fn encode_ops(ops: &[(OpCode, Request<'_>)], buf: &mut impl BufMut) {
    for (op, request) in ops {
        MultiHeader { op: op.as_i32(), done: false, err: -1 }.encode(buf);
        request.encode(buf);
    }
    MultiHeader::END.encode(buf);
}

/// The outcome of one operation of a multi or multiRead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MultiResult<'a> {
    /// [`OpCode::Create`].
    Create(&'a str),
    /// The other creates, always typed [`OpCode::Create2`].
    Create2(&'a str, Stat),
    /// [`OpCode::Delete`].
    Delete,
    /// [`OpCode::SetData`].
    SetData(Stat),
    /// [`OpCode::Check`].
    Check,
    /// [`OpCode::GetData`].
    GetData(Option<&'a [u8]>, Stat),
    /// [`OpCode::GetChildren`].
    GetChildren(Vec<&'a str>),
    /// Any operation of a failed multi, or a failed one of a multiRead. [`ErrorCode::OK`] stands for an
    /// operation before the one that failed.
    Error(ErrorCode),
}

impl MultiResult<'_> {
    /// Writes the header and the body of one result.
    pub fn encode(&self, buf: &mut impl BufMut) {
        let header = |op: OpCode, buf: &mut _| {
            MultiHeader { op: op.as_i32(), done: false, err: 0 }.encode(buf);
        };
        match self {
            Self::Create(path) => {
                header(OpCode::Create, buf);
                buf.write_string(path);
            }
            Self::Create2(path, stat) => {
                header(OpCode::Create2, buf);
                buf.write_string(path);
                stat.encode(buf);
            }
            Self::Delete => header(OpCode::Delete, buf),
            Self::SetData(stat) => {
                header(OpCode::SetData, buf);
                stat.encode(buf);
            }
            Self::Check => header(OpCode::Check, buf),
            Self::GetData(data, stat) => {
                header(OpCode::GetData, buf);
                buf.write_opt_buffer(*data);
                stat.encode(buf);
            }
            Self::GetChildren(names) => {
                header(OpCode::GetChildren, buf);
                buf.write_vec(names.iter(), |b, name| b.write_string(name));
            }
            Self::Error(code) => {
                MultiHeader { op: -1, done: false, err: code.0 }.encode(buf);
                buf.put_i32(code.0);
            }
        }
    }
}

/// A create request as one operation of a multi, with the common defaults; for clients and tests.
pub fn create_op<'a>(path: &'a str, data: &'a [u8], flags: i32) -> (OpCode, Request<'a>) {
    let create =
        crate::request::Create { path: path.into(), data: Some(data), acl: Acl::open(), flags, ttl_ms: None };
    (OpCode::Create, Request::Create(create))
}
