//! How long transactions take from their making to each step of their way, for the monitoring port.
//!
//! Their age is told by the wall clocks of whoever made them and whoever looks (as by Apache `Request.logLatency`): one
//! that seems to come from the future is not counted.

use std::time::Duration;

use palisade_admin::system::wall_clock;
use palisade_wire::Zxid;
use palisade_wire::quorum::{PacketType, QuorumPacket};
use palisade_wire::txn::{TxnHeader, TxnRecord};
use palisade_zab::LinkId;

use super::Driver;
use super::learners::Sync;

/// When `zxid` was made, ms since 1970, if it is the first of `headers`.
fn made<'a>(mut headers: impl Iterator<Item = &'a TxnHeader>, zxid: Zxid) -> Option<i64> {
    headers.next().filter(|header| header.zxid == zxid).map(|header| header.time)
}

/// The same of those behind `from` and up to `to`.
fn made_between<'a>(
    headers: impl Iterator<Item = &'a TxnHeader>,
    from: Zxid,
    to: Zxid,
) -> impl Iterator<Item = i64> {
    let behind = headers.skip_while(move |header| header.zxid <= from);
    behind.take_while(move |header| header.zxid <= to).map(|header| header.time)
}

impl Driver {
    /// The leader sent something, `txn` with it. What it sends to bring this server up to date does not count.
    pub(super) fn note_received(&self, packet: &QuorumPacket, txn: Option<&TxnRecord>, now: Duration) {
        let metrics = &self.shared.metrics;
        match packet.packet_type() {
            _ if !self.links.serving => {}
            Some(PacketType::Proposal) => {
                metrics.learner_proposal_received_count.inc();
                if let Some(record) = txn {
                    metrics.proposal_latency.record_age(record.header.time, now);
                }
            }
            Some(PacketType::Commit) => {
                metrics.learner_commit_received_count.inc();
                if let Some(made_ms) = made(self.links.read.headers_from(packet.zxid), packet.zxid) {
                    metrics.commit_propagation_latency.record_age(made_ms, now);
                }
            }
            _ => {}
        }
    }

    /// A learner says that a proposal is in its log. Late ones, behind a quorum, do not count.
    pub(super) fn note_ack(&self, link: LinkId, packet: &QuorumPacket, now: Duration) {
        if packet.packet_type() == Some(PacketType::Ack)
            && let Some(leading) = &self.links.leading
            && let Some(made_ms) = made(leading.headers_from(packet.zxid), packet.zxid)
            && let Some(timing) = self.links.learners.sid(link).and_then(|sid| self.shared.acks.get(&sid))
        {
            timing.record_age(made_ms, now);
        }
    }

    /// The log is durable up to here.
    pub(super) fn note_flushed(&mut self, to: Zxid) {
        let from = std::mem::replace(&mut self.links.flushed, to);
        let (metrics, now) = (&self.shared.metrics, wall_clock());
        let Some(leading) = &self.links.leading else {
            for made_ms in made_between(self.links.read.headers_from(from), from, to) {
                metrics.proposal_ack_creation_latency.record_age(made_ms, now);
            }
            return;
        };
        let own = self.shared.acks.get(&self.shared.config.sid);
        for made_ms in made_between(leading.headers_from(from), from, to) {
            metrics.proposal_ack_creation_latency.record_age(made_ms, now);
            own.iter().for_each(|timing| timing.record_age(made_ms, now));
        }
    }

    /// A transaction was applied; `proposed` says whether this leader proposed it.
    pub(super) fn note_applied(&self, record: &TxnRecord, proposed: bool) {
        let (metrics, now) = (&self.shared.metrics, wall_clock());
        if proposed {
            metrics.commit_count.inc();
            metrics.quorum_ack_latency.record_age(record.header.time, now);
        }
        if self.links.serving {
            metrics.propagation_latency.record_age(record.header.time, now);
        }
    }

    /// A learner is sent what brings it up to date.
    pub(super) fn note_sync(&mut self, link: LinkId, how: Sync) {
        let under_way = self.links.learners.begin_sync(link, how);
        self.count_syncs(how, under_way);
    }

    /// A learner was told that it is up to date.
    pub(super) fn note_synced(&mut self, link: LinkId) {
        if let Some((how, under_way)) = self.links.learners.mark_synced(link) {
            self.count_syncs(how, under_way);
        }
    }

    fn count_syncs(&self, how: Sync, under_way: usize) {
        let metrics = &self.shared.metrics;
        let summary = match how {
            Sync::Diff => &metrics.inflight_diff_count,
            Sync::Tree => &metrics.inflight_snap_count,
        };
        summary.record(under_way as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_are_found_among_those_from_theirs_on() {
        let zxid = |counter: u32| Zxid::new(1, counter);
        let header =
            |counter: u32| TxnHeader { session: 1, cxid: 1, zxid: zxid(counter), time: counter.into() };
        let all = [3, 4, 6].map(header);
        let from = |counter: u32| all.iter().filter(move |header| header.zxid >= zxid(counter));
        let found = [2, 3, 6, 7].map(|counter| made(from(counter), zxid(counter)));
        assert_eq!(found, [None, Some(3), Some(6), None]);
        assert!(made_between(from(3), zxid(3), zxid(6)).eq([4, 6]));
        assert!(made_between(from(3), zxid(3), zxid(5)).eq([4]));
        assert!(made_between(from(6), zxid(6), zxid(3)).eq([]));
    }
}
