//! A voter that follows.

use std::collections::VecDeque;
use std::time::Duration;

use palisade_store::Timestamp;
use palisade_wire::Sid;
use palisade_wire::quorum::{PacketType, QuorumPacket};

use super::{Peer, State};
use crate::history::History;
use crate::io::{CloseReason, LearnerOutput, LinkId, Output, Role};
use crate::learner::{Kind, Session, SessionConfig};

/// Bounds of the pause between two attempts to connect. The leader that was elected is about to listen: the pauses grow
/// with the time that has passed.
const RETRY: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(100));

/// A follower, from the election to its end.
#[derive(Debug)]
pub(super) struct Following {
    pub(super) leader: Sid,
    /// Since when.
    since: Timestamp,
    /// Until when connecting is tried.
    pub(super) connect_until: Timestamp,
    pub(super) link: Link,
}

#[derive(Debug)]
pub(super) enum Link {
    /// Dial again then.
    Retry(Timestamp),
    Dialing(LinkId),
    Up(Box<Session>),
}

impl Peer {
    pub(super) fn start_following(&mut self, leader: Sid, now: Timestamp) {
        let connect_until = now + self.config.timing.init();
        self.state =
            State::Following(Following { leader, since: now, connect_until, link: Link::Retry(now) });
        self.dial();
    }

    /// Joins the same leader in the same epoch, in which its vote is given and the end of its log may be hidden.
    fn join_again(&mut self, now: Timestamp) {
        if let State::Following(following) = &mut self.state {
            following.connect_until = now + self.config.timing.tick;
            let leader = following.leader;
            self.out.push_back(Output::RoleChanged(Role::Following { leader }));
            self.dial();
        }
    }

    fn dial(&mut self) {
        if let State::Following(following) = &mut self.state {
            self.next_link += 1;
            let link = LinkId(self.next_link);
            following.link = Link::Dialing(link);
            self.out.push_back(Output::ConnectLeader { link, sid: following.leader });
        }
    }

    pub(super) fn on_leader_link_up(&mut self, link: LinkId, now: Timestamp) {
        let State::Following(following) = &mut self.state else {
            return;
        };
        if !matches!(following.link, Link::Dialing(dialed) if dialed == link) {
            return;
        }
        let config = SessionConfig {
            sid: self.config.sid,
            kind: Kind::Follower,
            timing: self.config.timing,
            config_version: self.config.ensemble.version(),
            max_held: self.config.max_backlog,
        };
        let session = Session::start(config, link, &self.history, now, &mut self.learner_out);
        following.link = Link::Up(Box::new(session));
        self.forward_learner_outputs();
    }

    pub(super) fn on_leader_link_down(&mut self, link: LinkId, now: Timestamp) {
        let State::Following(following) = &mut self.state else {
            return;
        };
        match &following.link {
            Link::Dialing(dialed) if *dialed == link => {
                let pause = (now.since(following.since) / 4).clamp(RETRY.0, RETRY.1);
                following.link = Link::Retry(now + pause);
            }
            Link::Up(session) if session.link() == link => self.go_looking(now),
            _ => {}
        }
    }

    pub(super) fn on_following_timeout(&mut self, now: Timestamp) {
        let State::Following(following) = &self.state else {
            return;
        };
        match &following.link {
            Link::Up(_) => self.follow(now, None, |session, _, out| session.on_timeout(now, out)),
            Link::Dialing(link) if now >= following.connect_until => {
                let reason = CloseReason::Timeout;
                self.out.push_back(Output::CloseLeader { link: *link, reason });
                self.go_looking(now);
            }
            Link::Retry(_) if now >= following.connect_until => self.go_looking(now),
            Link::Retry(at) if now >= *at => self.dial(),
            Link::Retry(_) | Link::Dialing(_) => {}
        }
    }

    /// Runs a step of the session, if there is one (with that link, if one is given). If that closed its link, joins the
    /// same leader again to be sent a snapshot, or looks for a leader.
    pub(super) fn follow(
        &mut self,
        now: Timestamp,
        link: Option<LinkId>,
        step: impl FnOnce(&mut Session, &mut History, &mut VecDeque<LearnerOutput>),
    ) {
        let State::Following(Following { link: Link::Up(session), .. }) = &mut self.state else {
            return;
        };
        if link.is_some_and(|link| session.link() != link) {
            return;
        }
        step(session, &mut self.history, &mut self.learner_out);
        if let Some(epoch) = session.active_epoch() {
            self.decided.peer_epoch = epoch.into();
        }
        let (closed, repairable) = (session.is_closed(), session.is_repairable());
        self.forward_learner_outputs();
        let (count, bytes) = (self.config.log_count, self.config.log_bytes);
        self.history.trim(self.history.flushed(), count, bytes);
        if closed && repairable {
            self.join_again(now);
        } else if closed {
            self.go_looking(now);
        }
    }

    /// Translates what the learner's half wants done.
    fn forward_learner_outputs(&mut self) {
        use LearnerOutput as L;
        let outputs = self.learner_out.drain(..).map(|output| match output {
            L::Send { link, packet } => Output::SendToLeader { link, packet },
            L::Close { link, reason } => Output::CloseLeader { link, reason },
            // No client is served here, so no session was touched.
            L::AnswerPing { link, zxid } => Output::SendToLeader {
                link,
                packet: QuorumPacket::new(PacketType::Ping, zxid, Some(bytes::Bytes::new())),
            },
            L::Append { zxid, payload } => Output::Append { zxid, payload },
            L::Truncate { to } => Output::Truncate { to },
            L::InstallSnapshot { zxid } => Output::InstallSnapshot { zxid },
            L::WriteAcceptedEpoch { epoch } => Output::WriteAcceptedEpoch { epoch },
            L::WriteCurrentEpoch { epoch } => Output::WriteCurrentEpoch { epoch },
            L::Deliver { zxid, payload } => Output::Deliver { zxid, payload },
            L::Serving { epoch, .. } => Output::Serving { epoch },
            L::Packet { link, packet } => Output::LeaderPacket { link, packet },
        });
        self.out.extend(outputs);
    }
}
