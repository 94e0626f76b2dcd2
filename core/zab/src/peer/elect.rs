//! A voter that looks for a leader.

use palisade_store::Timestamp;
use palisade_wire::Sid;
use palisade_wire::election::{Notification, PeerState};

use super::{Peer, State};
use crate::config::PeerConfig;
use crate::election::{Election, Verdict, Vote};
use crate::history::History;
use crate::io::{Output, Role};

impl Peer {
    /// Starts an election, or puts it off until it is known where the log ends.
    pub(super) fn look_for_leader(&mut self, now: Timestamp) {
        let lost = if let State::Following(following) = &self.state { Some(following.leader) } else { None };
        if self.history.is_fenced() {
            self.state = State::Looking(None);
            return;
        }
        // All that is logged is history from here on (ZOOKEEPER-2845).
        self.history.deliver(self.history.last(), &mut self.out);
        self.round += 1;
        let own = own_vote(&self.config, &self.history, self.round);
        self.state = State::Looking(Some(Election::new(self.config.sid, own, lost, &self.config, now)));
        self.on_verdict(Verdict::Broadcast, None, now);
    }

    pub(super) fn on_notification(&mut self, from: Sid, notification: &Notification, now: Timestamp) {
        let state = match &mut self.state {
            State::Looking(None) => return,
            State::Looking(Some(election)) => {
                let verdict = election.on_notification(from, notification, &self.config, now);
                return self.on_verdict(verdict, Some(from), now);
            }
            State::Following(_) => PeerState::Following,
            State::Leading(_) => PeerState::Leading,
        };
        let voter = self.config.ensemble.is_voter(from);
        if from == self.config.sid || (voter && notification.state != PeerState::Looking) {
            return;
        }
        let round = if voter { self.decided.round } else { self.round };
        let notification = Vote { round, ..self.decided }.to_notification(state);
        self.out.push_back(Output::SendNotification { to: from, notification });
    }

    /// Tells a peer that has just become reachable what this one votes for.
    pub(super) fn on_election_link(&mut self, to: Sid) {
        if let State::Looking(Some(election)) = &self.state
            && to != self.config.sid
        {
            let notification = election.proposal().to_notification(PeerState::Looking);
            self.out.push_back(Output::SendNotification { to, notification });
        }
    }

    pub(super) fn on_verdict(&mut self, verdict: Verdict, from: Option<Sid>, now: Timestamp) {
        let State::Looking(Some(election)) = &self.state else {
            return;
        };
        self.round = election.round();
        let notification = election.proposal().to_notification(PeerState::Looking);
        match verdict {
            Verdict::Wait => {}
            Verdict::Broadcast => {
                for to in self.config.ensemble.voters().filter(|sid| *sid != self.config.sid) {
                    let notification = notification.clone();
                    self.out.push_back(Output::SendNotification { to, notification });
                }
            }
            Verdict::Reply => {
                self.out.extend(from.map(|to| Output::SendNotification { to, notification }));
            }
            Verdict::Elected(vote) => self.on_elected(vote, now),
        }
    }

    fn on_elected(&mut self, vote: Vote, now: Timestamp) {
        self.round = vote.round;
        self.decided = vote.kept();
        if vote.leader == self.config.sid {
            self.out.push_back(Output::RoleChanged(Role::Leading));
            self.start_leading(now);
        } else {
            self.out.push_back(Output::RoleChanged(Role::Following { leader: vote.leader }));
            self.start_following(vote.leader, now);
        }
    }
}

/// A server's vote for itself.
pub(super) fn own_vote(config: &PeerConfig, history: &History, round: i64) -> Vote {
    Vote {
        leader: config.sid,
        zxid: history.last(),
        round,
        peer_epoch: history.current_epoch().into(),
        state: PeerState::Looking,
        version: 0,
    }
}
