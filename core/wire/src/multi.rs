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
    let begin = r.clone();
    let mut ops = Vec::new();
    match each_op(r, kind, |op, r| {
        ops.push((op, Request::read(op, r)?));
        Ok(())
    }) {
        Err(_) if kind == Kind::Write && lacks_a_path(begin) => {
            Err(DecodeError::NoPath { op: OpCode::Multi })
        }
        Err(DecodeError::NoPath { .. }) => Err(DecodeError::Null { field: "path" }),
        Err(error) => Err(error),
        Ok(()) => Ok(ops),
    }
}

/// Hands each operation's type to `read`, which has to read its record.
fn each_op<'a>(
    r: &mut Reader<'a>,
    kind: Kind,
    mut read: impl FnMut(OpCode, &mut Reader<'a>) -> Result<()>,
) -> Result<()> {
    loop {
        let header = MultiHeader::decode(r)?;
        if header.done {
            return Ok(());
        }
        let op = OpCode::from_i32(header.op)
            .filter(|op| kind.allows(*op))
            .ok_or(DecodeError::Unknown { field: "multi type", value: header.op.into() })?;
        read(op, r)?;
    }
}

/// Whether all operations can be read as Java reads them, which takes nulls for strings, and the path of one is null.
fn lacks_a_path(mut r: Reader<'_>) -> bool {
    let mut lacks = false;
    let read = each_op(&mut r, Kind::Write, |op, r| {
        lacks |= r.opt_buffer("path")?.is_none();
        if !matches!(op, OpCode::Delete | OpCode::Check) {
            r.opt_buffer("data")?;
        }
        if !matches!(op, OpCode::Delete | OpCode::Check | OpCode::SetData) {
            r.opt_vec("acl", |r| {
                r.i32("perms")?;
                r.opt_buffer("scheme")?;
                r.opt_buffer("id")
            })?;
        }
        r.i32("flags or version")?;
        if op == OpCode::CreateTtl {
            r.i64("ttl")?;
        }
        Ok(())
    });
    read.is_ok() && lacks
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A multi of a check of `/a` and another operation.
    fn multi(op: OpCode, record: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut body = Vec::new();
        MultiHeader { op: OpCode::Check.as_i32(), done: false, err: -1 }.encode(&mut body);
        Request::Check { path: "/a".into(), version: -1 }.encode(&mut body);
        MultiHeader { op: op.as_i32(), done: false, err: -1 }.encode(&mut body);
        record(&mut body);
        MultiHeader::END.encode(&mut body);
        body
    }

    const NULL: i32 = -1;

    #[test]
    fn an_operation_without_a_path_is_told_apart() {
        for op in [OpCode::Create, OpCode::CreateTtl, OpCode::Delete, OpCode::SetData, OpCode::Check] {
            let body = multi(op, |body| {
                body.put_i32(NULL);
                match op {
                    OpCode::SetData => body.put_i32(NULL),
                    OpCode::Create | OpCode::CreateTtl => {
                        body.put_i32(NULL);
                        // An ACL for nobody.
                        body.put_slice(&[1, 31, NULL, NULL].map(i32::to_be_bytes).concat());
                    }
                    _ => {}
                }
                body.put_i32(0);
                if op == OpCode::CreateTtl {
                    body.put_i64(1);
                }
            });
            let no_path = Err(DecodeError::NoPath { op: OpCode::Multi });
            assert_eq!(Request::decode(OpCode::Multi, &body), no_path, "{op:?}");
            let cut = &body[..body.len() - 1];
            assert_ne!(Request::decode(OpCode::Multi, cut), no_path, "{op:?}");
        }
    }

    #[test]
    fn another_null_is_no_missing_path() {
        let body = multi(OpCode::Create, |body| {
            body.write_string("/b");
            body.put_slice(&[NULL, 1, 31, NULL, NULL, 0].map(i32::to_be_bytes).concat());
        });
        assert!(Request::decode(OpCode::Multi, &body).is_ok(), "as in Java");
        let mut reads = Vec::new();
        MultiHeader { op: OpCode::GetData.as_i32(), done: false, err: -1 }.encode(&mut reads);
        reads.put_slice(&[0xff, 0xff, 0xff, 0xff, 0]);
        MultiHeader::END.encode(&mut reads);
        let decoded = Request::decode(OpCode::MultiRead, &reads);
        assert_eq!(decoded, Err(DecodeError::Null { field: "path" }));
    }
}
