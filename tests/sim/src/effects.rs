//! What clients' writes came to, as history has it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use palisade_wire::txn::{Txn, TxnRecord};
use palisade_wire::{SessionId, Zxid};

use crate::oracle::{Check, Violation};

/// Writes of clients. Those that carry data carry their number in it: numbers count up.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    by_number: BTreeMap<u32, Zxid>,
    last: BTreeMap<SessionId, u32>,
    /// Whose transaction each is, and whether it failed.
    by_zxid: BTreeMap<Zxid, (SessionId, bool)>,
    /// Those of which clients were told that they failed.
    failed: BTreeSet<u32>,
}

fn number(data: Option<&Bytes>) -> Option<u32> {
    Some(u32::from_be_bytes(*data?.first_chunk()?))
}

/// The number of the write that this came of, if it has data.
fn number_of(txn: &Txn) -> Option<u32> {
    match txn {
        Txn::Create(create, _) | Txn::Create2(create, _) | Txn::CreateContainer(create) => {
            number(create.data.as_ref())
        }
        Txn::SetData { data, .. } => number(data.as_ref()),
        Txn::Multi(parts) => parts.iter().find_map(number_of),
        _ => None,
    }
}

fn has_failed(txn: &Txn) -> bool {
    match txn {
        Txn::Error(_) => true,
        Txn::Multi(parts) => parts.iter().any(has_failed),
        _ => false,
    }
}

impl Effects {
    /// A transaction of a client's session was committed.
    pub(crate) fn committed(&mut self, record: &TxnRecord) -> Check {
        let (session, zxid) = (record.header.session, record.header.zxid);
        let failed = has_failed(&record.txn);
        self.by_zxid.insert(zxid, (session, failed));
        let Some(number) = number_of(&record.txn).filter(|_| !failed) else { return Ok(()) };
        if let Some(before) = self.by_number.insert(number, zxid) {
            return Err(Violation(format!(
                "ExactlyOnce: write {number} of session {session:#x} took effect at {before} and at {zxid}"
            )));
        }
        if self.failed.contains(&number) {
            return Err(Violation(format!(
                "Answers: write {number} of session {session:#x} took effect at {zxid}, its client was told that it failed"
            )));
        }
        if let Some(last) = self.last.insert(session, number).filter(|last| *last > number) {
            return Err(Violation(format!(
                "SessionOrder: write {number} of session {session:#x} took effect after its write {last}"
            )));
        }
        Ok(())
    }

    /// A client was told that its write, whose number can be known if it has one, is this transaction, or failed there.
    pub(crate) fn told(&mut self, session: SessionId, number: Option<u32>, at: Zxid, failed: bool) -> Check {
        let happened = self.by_zxid.get(&at);
        let effect = number.and_then(|number| self.by_number.get(&number));
        let right = match (number, failed) {
            (Some(_), true) => effect.is_none(),
            (Some(_), false) => effect == Some(&at),
            (None, _) => true,
        };
        if let (Some(number), true) = (number, failed) {
            self.failed.insert(number);
        }
        if right && happened == Some(&(session, failed)) {
            return Ok(());
        }
        Err(Violation(format!(
            "Answers: session {session:#x} was told that its write {number:?} is {at} (failed: {failed}), history has \
             {happened:?} there, and {effect:?} for the write"
        )))
    }
}
