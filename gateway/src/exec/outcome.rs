//! Replies to writes.

use std::borrow::Cow;

use bytes::BytesMut;
use palisade_store::{PartOutcome, TxnOutcome, TxnResult};
use palisade_wire::multi::{MultiHeader, MultiResult};
use palisade_wire::txn::Txn;
use palisade_wire::{ErrorCode, OpCode, Writer, Zxid};

use super::write_reply;
use crate::tenancy::Root;

/// Appends the reply to the request of type `op` whose transaction came to this; what it created is named as seen
/// from `root`.
///
/// A failed multi is a success with a list of errors.
pub(crate) fn write_outcome(
    out: &mut BytesMut,
    root: &Root,
    (xid, op): (i32, OpCode),
    (zxid, txn): (Zxid, &Txn),
    outcome: &TxnOutcome<'_>,
) {
    write_reply(out, xid, zxid, |b| {
        if !outcome.error.is_ok() {
            return Err(outcome.error);
        }
        match &outcome.result {
            TxnResult::None => {}
            TxnResult::Created { path, stat } => {
                b.write_string(&inside(root, path)?);
                if op != OpCode::Create {
                    stat.encode(b);
                }
            }
            TxnResult::Stat(stat) => {
                if let Txn::Reconfig { data, .. } = txn {
                    b.write_opt_buffer(data.as_deref());
                }
                stat.encode(b);
            }
            TxnResult::Multi(parts) => {
                for part in parts {
                    write_part(part, root, b)?;
                }
                MultiHeader::END.encode(b);
            }
        }
        Ok(())
    });
}

/// The client's name for what it created: it cannot have created anything outside its root.
fn inside<'a>(root: &Root, path: &'a str) -> Result<Cow<'a, str>, ErrorCode> {
    root.leave(path).ok_or(ErrorCode::RUNTIME_INCONSISTENCY)
}

fn write_part(part: &PartOutcome<'_>, root: &Root, out: &mut BytesMut) -> Result<(), ErrorCode> {
    match (&part.op, &part.outcome.result) {
        (OpCode::Error, _) => MultiResult::Error(part.outcome.error),
        (_, _) if !part.outcome.error.is_ok() => MultiResult::Error(part.outcome.error),
        (OpCode::Create, TxnResult::Created { path, .. }) => {
            MultiResult::Create(&inside(root, path)?).encode(out);
            return Ok(());
        }
        (_, TxnResult::Created { path, stat }) => {
            MultiResult::Create2(&inside(root, path)?, *stat).encode(out);
            return Ok(());
        }
        (_, TxnResult::Stat(stat)) => MultiResult::SetData(*stat),
        (OpCode::Delete, _) => MultiResult::Delete,
        (OpCode::Check, _) => MultiResult::Check,
        _ => MultiResult::Error(ErrorCode::RUNTIME_INCONSISTENCY),
    }
    .encode(out);
    Ok(())
}

#[cfg(test)]
mod tests {
    use palisade_wire::Stat;
    use palisade_wire::reply::ReplyHeader;

    use super::*;

    fn reply(op: OpCode, txn: &Txn, outcome: &TxnOutcome<'_>) -> (ErrorCode, Vec<u8>) {
        let mut out = BytesMut::new();
        write_outcome(&mut out, &Root::new("/"), (7, op), (Zxid(9), txn), outcome);
        let frame = palisade_wire::frame::split(&mut out, 1 << 20).unwrap().unwrap();
        assert!(out.is_empty());
        let mut r = palisade_wire::Reader::new(&frame);
        let header = ReplyHeader::decode(&mut r).unwrap();
        assert_eq!((header.xid, header.zxid), (7, Zxid(9)));
        (header.err, r.rest().to_vec())
    }

    fn encoded(write: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
        palisade_wire::jute::encode(write).to_vec()
    }

    #[test]
    fn create_tells_the_path_and_create2_the_stat_as_well() {
        let stat = Stat { czxid: Zxid(9), ..Stat::default() };
        let outcome = TxnOutcome { error: ErrorCode::OK, result: TxnResult::Created { path: "/a", stat } };
        let txn = Txn::Delete(String::new());
        assert_eq!(reply(OpCode::Create, &txn, &outcome).1, encoded(|b| b.write_string("/a")));
        for op in [OpCode::Create2, OpCode::CreateContainer, OpCode::CreateTtl] {
            let both = encoded(|b| {
                b.write_string("/a");
                stat.encode(b);
            });
            assert_eq!(reply(op, &txn, &outcome).1, both);
        }
    }

    #[test]
    fn a_failed_write_has_no_body() {
        let txn = Txn::Error(ErrorCode::NO_NODE);
        let outcome = TxnOutcome::error(ErrorCode::NO_NODE);
        assert_eq!(reply(OpCode::SetData, &txn, &outcome), (ErrorCode::NO_NODE, vec![]));
    }

    #[test]
    fn a_failed_multi_is_a_success_with_errors() {
        let part = |code| PartOutcome { op: OpCode::Error, outcome: TxnOutcome::error(code) };
        let codes = [ErrorCode::OK, ErrorCode::NODE_EXISTS, ErrorCode::RUNTIME_INCONSISTENCY];
        let parts = codes.into_iter().map(part).collect();
        let outcome = TxnOutcome { error: ErrorCode::OK, result: TxnResult::Multi(parts) };
        let expected = encoded(|b| {
            for code in codes {
                MultiResult::Error(code).encode(b);
            }
            MultiHeader::END.encode(b);
        });
        assert_eq!(reply(OpCode::Multi, &Txn::Multi(vec![]), &outcome), (ErrorCode::OK, expected));
    }

    #[test]
    fn every_kind_of_part_has_its_result() {
        let stat = Stat { version: 3, ..Stat::default() };
        let created = || TxnResult::Created { path: "/a", stat };
        let part = |op, result| PartOutcome { op, outcome: TxnOutcome { error: ErrorCode::OK, result } };
        let parts = vec![
            part(OpCode::Create, created()),
            part(OpCode::CreateContainer, created()),
            part(OpCode::CreateTtl, created()),
            part(OpCode::Create2, created()),
            part(OpCode::SetData, TxnResult::Stat(stat)),
            part(OpCode::Delete, TxnResult::None),
            part(OpCode::Check, TxnResult::None),
        ];
        let outcome = TxnOutcome { error: ErrorCode::OK, result: TxnResult::Multi(parts) };
        let expected = encoded(|b| {
            MultiResult::Create("/a").encode(b);
            for _ in 0..3 {
                MultiResult::Create2("/a", stat).encode(b);
            }
            MultiResult::SetData(stat).encode(b);
            MultiResult::Delete.encode(b);
            MultiResult::Check.encode(b);
            MultiHeader::END.encode(b);
        });
        assert_eq!(reply(OpCode::Multi, &Txn::Multi(vec![]), &outcome).1, expected);
    }

    #[test]
    fn a_reconfig_tells_the_new_configuration() {
        let data = Some(bytes::Bytes::from_static(b"server.1="));
        let txn = Txn::Reconfig { path: String::new(), data: data.clone(), version: 1 };
        let outcome = TxnOutcome { error: ErrorCode::OK, result: TxnResult::Stat(Stat::default()) };
        let expected = encoded(|b| {
            b.write_opt_buffer(data.as_deref());
            Stat::default().encode(b);
        });
        assert_eq!(reply(OpCode::Reconfig, &txn, &outcome).1, expected);
    }
}
