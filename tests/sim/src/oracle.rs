//! What must hold, checked at every step. Names follow the invariants of Apache's TLA+ specification of Zab.

use std::collections::BTreeMap;

use bytes::Bytes;
use palisade_wire::Zxid;
use palisade_wire::txn::TxnRecord;

use crate::network::NodeId;

/// A broken guarantee.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation(pub(crate) String);

/// Result of a check.
pub(crate) type Check = Result<(), Violation>;

fn violation(text: String) -> Check {
    Err(Violation(text))
}

/// All that was ever proposed and committed, by anybody.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    proposed: BTreeMap<Zxid, Bytes>,
    committed: Vec<Zxid>,
    digests: BTreeMap<Zxid, u64>,
    leaders: BTreeMap<u32, NodeId>,
}

impl Oracle {
    /// Committed transactions, in order.
    pub(crate) fn committed(&self) -> &[Zxid] {
        &self.committed
    }

    /// The transaction that was proposed at `zxid`.
    pub(crate) fn transaction(&self, zxid: Zxid) -> Option<TxnRecord> {
        TxnRecord::decode(self.proposed.get(&zxid)?).ok()
    }

    /// Leadership: at most one server leads an epoch, and it knows everything that was committed in
    /// earlier epochs.
    pub(crate) fn leads(&mut self, node: NodeId, epoch: u32, applied: &[Zxid]) -> Check {
        let leader = *self.leaders.entry(epoch).or_insert(node);
        if leader != node {
            return violation(format!("Leadership: both {leader} and {node} lead epoch {epoch:#x}"));
        }
        // Its quorum's acknowledgements may reach a leader that stood still only after a later epoch has begun: then it
        // knows a beginning of what is committed, and can commit nothing any more.
        if self.committed.last().is_some_and(|last| last.epoch() > epoch) {
            return self.serves(node, applied);
        }
        if !applied.starts_with(&self.committed) {
            return violation(format!(
                "LeaderCompleteness: {node} leads epoch {epoch:#x} without all that is committed: {}",
                first_difference(applied, &self.committed)
            ));
        }
        self.committed.extend_from_slice(&applied[self.committed.len()..]);
        Ok(())
    }

    /// PrefixConsistency: what a server that serves has applied is a beginning of what is committed.
    pub(crate) fn serves(&self, node: NodeId, applied: &[Zxid]) -> Check {
        if self.committed.starts_with(applied) {
            return Ok(());
        }
        violation(format!(
            "PrefixConsistency: {node} serves what is not committed: {}",
            first_difference(applied, &self.committed)
        ))
    }

    /// Integrity: a zxid stands for one transaction for ever.
    pub(crate) fn proposed(&mut self, node: NodeId, zxid: Zxid, payload: &Bytes) -> Check {
        let known = self.proposed.entry(zxid).or_insert_with(|| payload.clone());
        if known == payload {
            return Ok(());
        }
        violation(format!("Integrity: {node} has another transaction at {zxid} than was proposed"))
    }

    /// Agreement and TotalOrder: servers that serve apply the same transactions in the same order.
    ///
    /// `applied` ends in the one just applied. `commits` if the server is a leader, whose word makes it so.
    pub(crate) fn delivered(&mut self, node: NodeId, applied: &[Zxid], commits: bool) -> Check {
        let Some((zxid, before)) = applied.split_last() else { return Ok(()) };
        if let Some(known) = self.committed.get(before.len()) {
            if known == zxid {
                return Ok(());
            }
            return violation(format!("TotalOrder: {node} applied {zxid} where {known} is committed"));
        }
        if !commits {
            return violation(format!("Agreement: {node} applied {zxid}, which no leader has committed"));
        }
        if before.len() != self.committed.len() || before.last() != self.committed.last() {
            return violation(format!("TotalOrder: {node} committed {zxid} over a gap"));
        }
        self.committed.push(*zxid);
        Ok(())
    }

    /// G12: replicas at the same zxid are identical.
    pub(crate) fn digest(&mut self, node: NodeId, zxid: Zxid, digest: u64) -> Check {
        let known = *self.digests.entry(zxid).or_insert(digest);
        if known == digest {
            return Ok(());
        }
        violation(format!(
            "Identity: at {zxid} the tree of {node} has digest {digest:#x}, another had {known:#x}"
        ))
    }
}

fn first_difference(applied: &[Zxid], committed: &[Zxid]) -> String {
    let at = applied.iter().zip(committed).take_while(|(a, b)| a == b).count();
    format!("after {at} equal ones it has {:?}, committed is {:?}", applied.get(at), committed.get(at))
}
