//! One machine, told what to see packet by packet.

use bytes::{Bytes, BytesMut};
use palisade_store::Timestamp;
use palisade_wire::election::{Notification, PeerState};
use palisade_wire::quorum::{LearnerInfo, PROTOCOL_VERSION, PacketType, QuorumPacket};
use palisade_wire::{Sid, Zxid};

use super::{ensemble, timing};
use crate::config::{PeerConfig, Recovered};
use crate::io::{Input, LinkId, Output};
use crate::peer::Peer;

/// A history of `count` transactions of one epoch, accepted and current.
pub(crate) fn recovered(epoch: u32, count: u32) -> Recovered {
    let txn = |counter| (Zxid::new(epoch, counter), Bytes::from(format!("{epoch}.{counter}")));
    Recovered {
        accepted_epoch: epoch,
        current_epoch: epoch,
        last_zxid: Zxid::new(epoch, count),
        recent: (1..=count).map(txn).collect(),
    }
}

pub(crate) fn packet(kind: PacketType, zxid: Zxid) -> QuorumPacket {
    QuorumPacket::new(kind, zxid, None)
}

pub(crate) fn packet_with(kind: PacketType, zxid: Zxid, data: &[u8]) -> QuorumPacket {
    QuorumPacket::new(kind, zxid, Some(Bytes::copy_from_slice(data)))
}

pub(crate) fn info(kind: PacketType, sid: Sid, accepted: u32) -> QuorumPacket {
    let info = LearnerInfo { sid, protocol_version: PROTOCOL_VERSION, config_version: 0 };
    QuorumPacket::new(kind, Zxid::new(accepted, 0), Some(info.encode()))
}

pub(crate) fn ack_epoch(current: i32, last: Zxid) -> QuorumPacket {
    packet_with(PacketType::AckEpoch, last, &current.to_be_bytes())
}

/// The packets of a recorded stream; `None` in place of a tree stream.
pub(crate) fn recorded(bytes: &[u8]) -> Vec<Option<QuorumPacket>> {
    let mut buf = BytesMut::from(bytes);
    let mut packets = Vec::new();
    while let Some(packet) = QuorumPacket::split(&mut buf, 1 << 20).unwrap() {
        let snap = packet.packet_type() == Some(PacketType::Snap);
        packets.push(Some(packet));
        if snap {
            let end = b"BenWasHere";
            let at = buf.windows(end.len()).position(|w| w == end).unwrap();
            let _tree = buf.split_to(at + end.len());
            packets.push(None);
        }
    }
    assert!(buf.is_empty(), "a packet is cut short");
    packets
}

/// A peer whose disk is instantaneous, unless told otherwise.
pub(crate) struct Script {
    pub(crate) peer: Peer,
    pub(crate) now: Timestamp,
    pub(crate) disk_works: bool,
}

impl Script {
    /// One of `n` voters.
    pub(crate) fn new(sid: Sid, n: i64, recovered: Recovered) -> Self {
        Self::tuned(sid, n, recovered, |_| {})
    }

    pub(crate) fn tuned(sid: Sid, n: i64, recovered: Recovered, tune: impl Fn(&mut PeerConfig)) -> Self {
        let mut config = PeerConfig::new(sid, ensemble(n));
        config.timing = timing();
        tune(&mut config);
        let peer = Peer::new(config, recovered, Timestamp::ZERO).unwrap();
        let mut script = Self { peer, now: Timestamp::ZERO, disk_works: true };
        script.outputs();
        script
    }

    /// What comes of an input; what the disk does at once is among it, and has been done.
    pub(crate) fn feed(&mut self, input: Input) -> Vec<Output> {
        self.peer.handle(self.now, input);
        self.outputs()
    }

    /// Lets time pass until `at` milliseconds.
    pub(crate) fn at(&mut self, at: u64) -> Vec<Output> {
        let until = Timestamp::from_millis(at);
        let mut outputs = Vec::new();
        while let Some(next) = self.peer.next_timeout().filter(|next| *next <= until) {
            self.now = next;
            self.peer.handle_timeout(next);
            outputs.extend(self.outputs());
        }
        self.now = until;
        outputs
    }

    pub(crate) fn outputs(&mut self) -> Vec<Output> {
        let mut outputs = Vec::new();
        while let Some(output) = self.peer.poll_output() {
            if self.disk_works
                && let Some(done) = done(&output)
            {
                self.peer.handle(self.now, done);
            }
            outputs.push(output);
        }
        outputs
    }

    /// A vote of another voter.
    pub(crate) fn vote(
        &mut self,
        from: Sid,
        state: PeerState,
        leader: Sid,
        zxid: Zxid,
        epoch: u32,
    ) -> Vec<Output> {
        let notification = Notification {
            state,
            leader,
            zxid,
            round: 1,
            peer_epoch: epoch.into(),
            version: 0,
            config: None,
        };
        self.feed(Input::Notification { from, notification })
    }

    pub(crate) fn learner_says(&mut self, link: u64, packet: QuorumPacket) -> Vec<Output> {
        self.feed(Input::LearnerPacket { link: LinkId(link), packet })
    }

    pub(crate) fn leader_says(&mut self, packet: QuorumPacket) -> Vec<Output> {
        self.feed(Input::LeaderPacket { link: LinkId(1), packet })
    }

    /// Has it elected by voter 1.
    pub(crate) fn elect(&mut self) {
        let (last, (_, epoch)) = (self.peer.last_zxid(), self.peer.epochs());
        let Output::SendNotification { notification, .. } =
            self.feed(Input::ElectionLinkUp { to: 1 }).remove(0)
        else {
            panic!("it is not looking")
        };
        self.vote(1, PeerState::Looking, notification.leader, last, epoch);
        self.at(300);
    }

    /// Lets a learner introduce itself and accept the epoch.
    pub(crate) fn join(
        &mut self,
        link: u64,
        kind: PacketType,
        sid: Sid,
        current: i32,
        last: Zxid,
    ) -> Vec<Output> {
        let mut outputs = self.feed(Input::LearnerUp { link: LinkId(link) });
        outputs.extend(self.learner_says(link, info(kind, sid, 0)));
        outputs.extend(self.learner_says(link, ack_epoch(current, last)));
        outputs
    }

    /// Lets a learner with the same history join to the end.
    pub(crate) fn join_fully(&mut self, link: u64, kind: PacketType, sid: Sid) -> Vec<Output> {
        let last = self.peer.last_zxid();
        let mut outputs = self.join(link, kind, sid, self.peer.epochs().1 as i32, last);
        let epoch = self.peer.epochs().1;
        outputs.extend(self.learner_says(link, packet(PacketType::Ack, Zxid::new(epoch, 0))));
        outputs
    }
}

fn done(output: &Output) -> Option<Input> {
    Some(match output {
        Output::Append { zxid, .. } => Input::Flushed { zxid: *zxid },
        Output::Truncate { to } => Input::Truncated { zxid: *to },
        Output::InstallSnapshot { zxid } => Input::SnapshotInstalled { zxid: *zxid },
        Output::WriteAcceptedEpoch { epoch } => Input::AcceptedEpochWritten { epoch: *epoch },
        Output::WriteCurrentEpoch { epoch } => Input::CurrentEpochWritten { epoch: *epoch },
        _ => return None,
    })
}

/// What was sent to a learner.
pub(crate) fn sent_to(link: u64, outputs: &[Output]) -> Vec<(PacketType, Zxid)> {
    let sent = outputs.iter().filter_map(|output| match output {
        Output::SendToLearner { link: to, packet } if *to == LinkId(link) => {
            Some((packet.packet_type().unwrap(), packet.zxid))
        }
        Output::SendSnapshot { link: to, zxid } if *to == LinkId(link) => Some((PacketType::Snap, *zxid)),
        _ => None,
    });
    sent.collect()
}

/// What was sent to the leader.
pub(crate) fn sent_to_leader(outputs: &[Output]) -> Vec<(PacketType, Zxid)> {
    let sent = outputs.iter().filter_map(|output| match output {
        Output::SendToLeader { packet, .. } => Some((packet.packet_type().unwrap(), packet.zxid)),
        _ => None,
    });
    sent.collect()
}
