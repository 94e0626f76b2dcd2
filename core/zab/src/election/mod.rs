//! Fast leader election (Apache `FastLeaderElection`).

#[cfg(test)]
mod tests;
mod vote;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use palisade_store::Timestamp;
use palisade_wire::Sid;
use palisade_wire::election::{Notification, PeerState};

pub(crate) use vote::Vote;

use crate::config::PeerConfig;
use crate::ensemble::Ensemble;

/// Rounds that are believed. They rise by one with each election; a peer that claims more is broken, and must not drag
/// the others to where counting ends.
const ROUNDS: std::ops::RangeInclusive<i64> = 0..=i64::MAX / 2;

/// What a step of the election asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing.
    Wait,
    /// Tell all voters the proposal.
    Broadcast,
    /// Tell the proposal to one peer that is behind or does not vote.
    Reply,
    /// The election is over; this is the vote that won.
    Elected(Vote),
}

/// One search for a leader: from going looking to the decision. Its round may rise meanwhile.
#[derive(Debug)]
pub(crate) struct Election {
    sid: Sid,
    /// This server's own vote, with the round in which it started.
    initial: Vote,
    proposal: Vote,
    /// Votes of this round, by voter.
    received: BTreeMap<Sid, Vote>,
    /// Votes of those who have decided, in whatever round.
    decided: BTreeMap<Sid, Vote>,
    interval: Duration,
    repeat_at: Timestamp,
    /// Set while a quorum agrees: when nothing better can come any more.
    finalize_at: Option<Timestamp>,
    /// The leader whose loss this search is about. Its vote is not waited for.
    lost: Option<Sid>,
}

impl Election {
    /// Starts a round with this server's own vote; the caller broadcasts [`Election::proposal`]. `lost` is the leader
    /// that was followed until now, if any was.
    pub(crate) fn new(sid: Sid, own: Vote, lost: Option<Sid>, config: &PeerConfig, now: Timestamp) -> Self {
        let mut election = Self {
            sid,
            initial: own,
            proposal: own,
            received: BTreeMap::from([(sid, own)]),
            decided: BTreeMap::new(),
            interval: config.min_notification_interval,
            repeat_at: now + config.min_notification_interval,
            finalize_at: None,
            lost,
        };
        election.check_quorum(config, now);
        election
    }

    /// The vote that this server casts at present.
    pub(crate) fn proposal(&self) -> Vote {
        self.proposal
    }

    /// The present round.
    pub(crate) fn round(&self) -> i64 {
        self.proposal.round
    }

    pub(crate) fn deadline(&self) -> Timestamp {
        self.finalize_at.unwrap_or(self.repeat_at)
    }

    /// Takes in a notification.
    pub(crate) fn on_notification(
        &mut self,
        from: Sid,
        notification: &Notification,
        config: &PeerConfig,
        now: Timestamp,
    ) -> Verdict {
        let ensemble = &config.ensemble;
        if !ensemble.is_voter(from) {
            return Verdict::Reply;
        }
        if from == self.sid {
            return Verdict::Wait;
        }
        let vote = Vote::of(notification);
        if !ROUNDS.contains(&vote.round) {
            return Verdict::Wait;
        }
        match vote.state {
            PeerState::Looking if vote.round < self.round() => Verdict::Reply,
            _ if !ensemble.is_voter(vote.leader) => Verdict::Wait,
            PeerState::Looking => self.on_looking(from, vote, config, now),
            PeerState::Following | PeerState::Leading => self.on_decided(from, vote, ensemble),
            PeerState::Observing => Verdict::Wait,
        }
    }

    /// Takes in that [`Election::deadline`] has come.
    pub(crate) fn on_timeout(&mut self, config: &PeerConfig, now: Timestamp) -> Verdict {
        if let Some(at) = self.finalize_at {
            return if now >= at { Verdict::Elected(self.proposal) } else { Verdict::Wait };
        }
        if now < self.repeat_at {
            return Verdict::Wait;
        }
        self.interval = (self.interval * 2).min(config.max_notification_interval);
        self.repeat_at = now + self.interval;
        Verdict::Broadcast
    }

    fn on_looking(&mut self, from: Sid, vote: Vote, config: &PeerConfig, now: Timestamp) -> Verdict {
        let mut verdict = Verdict::Wait;
        self.decided.remove(&from);
        if vote.round > self.round() {
            self.received.clear();
            let own = Vote { round: vote.round, ..self.initial };
            self.propose(if vote.beats(&own, &config.ensemble) { vote } else { own });
            verdict = Verdict::Broadcast;
        } else if vote.beats(&self.proposal, &config.ensemble) {
            self.propose(vote);
            verdict = Verdict::Broadcast;
        } else if self.proposal.beats(&vote, &config.ensemble) {
            // It may have been looking for no leader yet when it was told.
            verdict = Verdict::Reply;
        }
        self.received.insert(from, vote.kept());
        self.check_quorum(config, now);
        verdict
    }

    fn propose(&mut self, vote: Vote) {
        self.proposal = Vote { state: PeerState::Looking, ..vote.kept() };
        self.received.insert(self.sid, self.proposal);
        self.finalize_at = None;
    }

    fn check_quorum(&mut self, config: &PeerConfig, now: Timestamp) {
        if !has_quorum(&self.received, &self.proposal, &config.ensemble) {
            self.finalize_at = None;
        } else if self.is_unanimous(&config.ensemble) {
            self.finalize_at = Some(now);
        } else {
            self.finalize_at.get_or_insert(now + config.finalize_wait);
        }
    }

    /// Whether nobody is left who might know better. Which of the votes that a quorum agrees on wins is a matter of
    /// taste, not of safety: a leader that lacks something committed gets no quorum in discovery.
    fn is_unanimous(&self, ensemble: &Ensemble) -> bool {
        ensemble
            .voters()
            .filter(|sid| Some(*sid) != self.lost)
            .all(|sid| self.received.get(&sid).is_some_and(|vote| self.proposal.agrees(vote)))
    }

    /// A peer that follows or leads: joins its leader if a quorum says so and the leader itself claims it.
    fn on_decided(&mut self, from: Sid, vote: Vote, ensemble: &Ensemble) -> Verdict {
        if vote.round == self.round() {
            self.received.insert(from, vote.kept());
            if has_quorum(&self.received, &vote, ensemble) && self.leader_claims(&self.received, &vote) {
                return Verdict::Elected(vote);
            }
        }
        self.decided.insert(from, vote.kept());
        if has_quorum(&self.decided, &vote, ensemble) && self.leader_claims(&self.decided, &vote) {
            return Verdict::Elected(vote);
        }
        Verdict::Wait
    }

    /// Whether the leader voted for says itself that it leads; without that, a dead leader would be followed for as
    /// long as others have not noticed.
    fn leader_claims(&self, votes: &BTreeMap<Sid, Vote>, vote: &Vote) -> bool {
        if vote.leader == self.sid {
            self.round() == vote.round
        } else {
            votes.get(&vote.leader).is_some_and(|v| v.state == PeerState::Leading)
        }
    }
}

fn has_quorum(votes: &BTreeMap<Sid, Vote>, vote: &Vote, ensemble: &Ensemble) -> bool {
    let agreeing = votes.iter().filter(|(_, v)| vote.agrees(v)).map(|(sid, _)| *sid);
    ensemble.has_quorum(&agreeing.collect::<BTreeSet<_>>())
}
