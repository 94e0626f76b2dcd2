//! How long transactions take from their making to each step of their way, for the monitoring port.
//!
//! Their age is told by the wall clocks of whoever made them and whoever looks (as by Apache `Request.logLatency`): one
//! that seems to come from the future is not counted.

use std::time::Duration;

use palisade_admin::metric::Timing;
use palisade_wire::Zxid;
use palisade_wire::quorum::{PacketType, QuorumPacket};
use palisade_wire::txn::TxnRecord;
use palisade_zab::LinkId;

use super::Driver;
use super::learners::Sync;

/// Notes the age of a transaction that was made then, ms since 1970.
fn note_age(timing: &Timing, made_ms: i64, now_ms: i64) {
    if let Ok(age_ms) = u64::try_from(now_ms.saturating_sub(made_ms)) {
        timing.record(Duration::from_millis(age_ms));
    }
}

impl Driver {
    /// The leader sent something, `txn` with it. What it sends to bring this server up to date does not count.
    pub(super) fn note_received(&self, packet: &QuorumPacket, txn: Option<&TxnRecord>, now_ms: i64) {
        let metrics = &self.shared.metrics;
        match packet.packet_type() {
            _ if !self.links.serving => {}
            Some(PacketType::Proposal) => {
                metrics.learner_proposal_received_count.inc();
                if let Some(record) = txn {
                    note_age(&metrics.proposal_latency, record.header.time, now_ms);
                }
            }
            Some(PacketType::Commit) => {
                metrics.learner_commit_received_count.inc();
                if let Some(made_ms) = self.links.read.made(packet.zxid) {
                    note_age(&metrics.commit_propagation_latency, made_ms, now_ms);
                }
            }
            _ => {}
        }
    }

    /// A learner says that a proposal is in its log. Late ones, behind a quorum, do not count.
    pub(super) fn note_ack(&self, link: LinkId, packet: &QuorumPacket, now_ms: i64) {
        if packet.packet_type() == Some(PacketType::Ack)
            && let Some(leading) = &self.links.leading
            && let Some(made_ms) = leading.made(packet.zxid)
            && let Some(timing) = self.links.learners.sid(link).and_then(|sid| self.shared.acks.get(&sid))
        {
            note_age(timing, made_ms, now_ms);
        }
    }

    /// The log is durable up to here.
    pub(super) fn note_flushed(&mut self, to: Zxid) {
        let from = std::mem::replace(&mut self.links.flushed, to);
        let (metrics, now_ms) = (&self.shared.metrics, self.clock.wall_ms());
        let Some(leading) = &self.links.leading else {
            for made_ms in self.links.read.made_between(from, to) {
                note_age(&metrics.proposal_ack_creation_latency, made_ms, now_ms);
            }
            return;
        };
        let own = self.shared.acks.get(&self.shared.config.sid);
        for made_ms in leading.made_between(from, to) {
            note_age(&metrics.proposal_ack_creation_latency, made_ms, now_ms);
            own.iter().for_each(|timing| note_age(timing, made_ms, now_ms));
        }
    }

    /// A transaction was applied; `proposed` says whether this leader proposed it.
    pub(super) fn note_applied(&self, record: &TxnRecord, proposed: bool) {
        let (metrics, now_ms) = (&self.shared.metrics, self.clock.wall_ms());
        if proposed {
            metrics.commit_count.inc();
            note_age(&metrics.quorum_ack_latency, record.header.time, now_ms);
        }
        if self.links.serving {
            note_age(&metrics.propagation_latency, record.header.time, now_ms);
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
