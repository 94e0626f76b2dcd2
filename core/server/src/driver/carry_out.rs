//! Carrying out what the Zab machine wants done.

use bytes::Bytes;
use palisade_wire::Zxid;
use palisade_wire::quorum::{PacketType, QuorumPacket};
use palisade_wire::txn::TxnRecord;
use palisade_zab::{Input, LinkId, Output, Role};

use super::leading::Leading;
use super::learners::Sync;
use super::{Driver, Fatal};
use crate::disk::Job;
use crate::quorum::Outgoing;
use crate::status::Phase;

impl Driver {
    pub(super) fn carry_out(&mut self, output: Output) -> Result<(), Fatal> {
        match output {
            Output::SendNotification { to, notification } => self.election.send(to, notification),

            Output::ConnectLeader { link, sid } => self.connect_leader(link, sid),
            Output::CloseLeader { link, reason } => {
                if self.links.leader.take_if(|leader| leader.link == link).is_some() {
                    tracing::info!(%reason, "link to the leader closed");
                }
                self.links.received = None;
                self.links.read.clear();
            }
            Output::SendToLeader { link, packet } => self.send_to_leader(link, packet),
            // A voter has no sessions of its own, so it asks for nothing that these would answer.
            Output::LeaderPacket { .. } => {}

            Output::SendToLearner { link, packet } => self.send_to_learner(link, packet),
            Output::SendSnapshot { link, zxid } => self.send_snapshot(link, zxid),
            Output::CloseLearner { link, reason } => {
                self.drop_learner(link, &reason);
            }
            Output::LearnerPacket { link, packet, .. } => self.on_request(link, &packet),

            Output::Append { zxid, payload } => {
                if self.links.leading.is_some() {
                    self.shared.metrics.proposal_count.inc();
                }
                self.jobs.push(Job::Append { zxid, payload });
            }
            Output::Truncate { to } => {
                tracing::warn!(%to, "log is cut: the leader's history does not have what follows");
                self.jobs.push(Job::Truncate { to });
            }
            Output::InstallSnapshot { zxid } => return self.install_snapshot(zxid),
            Output::WriteAcceptedEpoch { epoch } => self.jobs.push(Job::AcceptEpoch(epoch)),
            Output::WriteCurrentEpoch { epoch } => self.jobs.push(Job::EnterEpoch(epoch)),

            Output::Deliver { zxid, payload } => return self.deliver(zxid, &payload),
            Output::RoleChanged(role) => self.change_role(role),
            Output::Serving { epoch } => self.begin_serving(epoch),
            Output::SyncReady { token } => self.answer_sync(token),
        }
        Ok(())
    }

    fn connect_leader(&mut self, link: LinkId, sid: i64) {
        match self.quorum_addresses.get(&sid) {
            Some(address) => self.links.leader = Some(self.leader_port.open(link, address.clone())),
            None => self.links.follow_ups.push_back(Input::LeaderLinkDown { link }),
        }
    }

    fn send_to_leader(&mut self, link: LinkId, packet: QuorumPacket) {
        self.shared.metrics.packets_sent.add(1);
        if let Some(leader) = self.links.leader.as_mut().filter(|leader| leader.link == link)
            && leader.send(packet).is_err()
        {
            tracing::warn!("the leader does not read what it is sent; closing the link");
            self.links.leader = None;
            self.links.follow_ups.push_back(Input::LeaderLinkDown { link });
        }
    }

    fn send_to_learner(&mut self, link: LinkId, packet: QuorumPacket) {
        match packet.packet_type() {
            Some(PacketType::UpToDate) => {
                self.note_synced(link);
                self.publish_learners();
            }
            Some(PacketType::Diff) => {
                self.shared.metrics.diff_count.inc();
                self.note_sync(link, Sync::Diff);
            }
            Some(PacketType::Trunc) => self.note_sync(link, Sync::Diff),
            _ => {}
        }
        self.send(link, Outgoing::Packet(packet));
    }

    fn send_snapshot(&mut self, link: LinkId, zxid: Zxid) {
        self.shared.metrics.snap_count.inc();
        self.note_sync(link, Sync::Tree);
        let (cursor, generation) = self.shared.tree.cursor();
        self.send(link, Outgoing::Tree { zxid, cursor, generation });
    }

    /// Queues something for a learner. A link whose queue is full is closed: what followed would leave a gap.
    pub(super) fn send(&mut self, link: LinkId, item: Outgoing) {
        self.shared.metrics.packets_sent.add(1);
        if let Err(overflow) = self.links.learners.send(link, item) {
            self.drop_learner(link, &overflow);
            self.links.follow_ups.push_back(Input::LearnerDown { link });
        }
    }

    fn install_snapshot(&mut self, zxid: Zxid) -> Result<(), Fatal> {
        match self.links.received.take() {
            Some((_, received, tree)) if received == zxid => {
                tracing::info!(%zxid, znodes = tree.node_count(), "installing the leader's tree");
                self.jobs.push(Job::Install { zxid, tree });
                Ok(())
            }
            _ => Err(Fatal::Internal(format!("asked to install a tree at {zxid} that was not received"))),
        }
    }

    fn deliver(&mut self, zxid: Zxid, payload: &Bytes) -> Result<(), Fatal> {
        let prepared = self.links.leading.as_mut().and_then(|leading| leading.take_proposed(zxid));
        let proposed = prepared.is_some();
        let record = match prepared.or_else(|| self.links.read.take(zxid)) {
            Some(record) => record,
            None => TxnRecord::decode(payload).map_err(|source| Fatal::Transaction { zxid, source })?,
        };
        let digest = self.shared.tree.update(|tree| {
            tree.apply(&record.header, &record.txn, &mut |_| ());
            tree.digest()
        });
        if zxid >= self.links.exact_from && record.digest.is_some_and(|expected| expected != digest) {
            self.report_divergence(zxid);
        }
        if let Some(leading) = &mut self.links.leading {
            leading.applied(&record);
        }
        self.note_applied(&record, proposed);
        if self.schedule.applied(payload.len()) {
            self.jobs.push(Job::Snapshot);
        }
        Ok(())
    }

    fn report_divergence(&self, zxid: Zxid) {
        self.shared.metrics.digest_mismatches_count.add(1);
        if let Some(held_back) = self.links.gate.pass() {
            tracing::error!(%zxid, held_back, "this tree differs from the leader's: their digests disagree");
        }
    }

    fn change_role(&mut self, role: Role) {
        self.shared.tree.unsettle();
        self.links.leading = None;
        self.links.serving = false;
        self.links.read.clear();
        self.shared.metrics.outstanding_requests.set(0);
        self.shared.pending_syncs.set(0);
        let phase = match role {
            Role::Looking => {
                self.links.leader = None;
                self.links.received = None;
                self.links.learners.clear();
                self.shared.metrics.looking_count.add(1);
                tracing::info!("looking for a leader");
                Phase::Looking
            }
            Role::Following { leader } => {
                tracing::info!(leader, "following");
                Phase::Following { leader, epoch: None }
            }
            Role::Leading => {
                tracing::info!("leading");
                Phase::Leading { epoch: None }
            }
        };
        self.quorum_open.send_replace(role == Role::Leading);
        self.shared.set_phase(phase, self.clock.now());
        self.publish_learners();
    }

    fn begin_serving(&mut self, epoch: u32) {
        let phase = match self.peer.role() {
            Role::Leading => {
                let now = self.clock.now();
                // Whatever part of a transaction the tree held, the whole of it has been applied by now.
                self.links.exact_from = self.links.exact_from.min(self.peer.last_zxid());
                let tree = self.shared.tree.read();
                self.links.leading = Some(Leading::new(&self.leading_config, &tree, now));
                drop(tree);
                self.shared.proposal_size.reset();
                Phase::Leading { epoch: Some(epoch) }
            }
            Role::Following { leader } => Phase::Following { leader, epoch: Some(epoch) },
            Role::Looking => return,
        };
        self.links.serving = true;
        self.shared.tree.settle();
        tracing::info!(epoch, role = ?self.peer.role(), "serving");
        self.shared.set_phase(phase, self.clock.now());
    }

    /// Closes a learner's link, if it is still there.
    pub(super) fn drop_learner(&mut self, link: LinkId, reason: &dyn std::fmt::Display) -> bool {
        let Some(learner) = self.links.learners.remove(link) else { return false };
        if let Some(held_back) = self.links.gate.pass() {
            tracing::info!(?link, from = %learner.from, sid = learner.sid, %reason, held_back, "learner gone");
        }
        self.publish_learners();
        true
    }

    fn publish_learners(&self) {
        self.shared.set_learners(self.links.learners.counts());
    }
}
