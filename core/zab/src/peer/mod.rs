//! A voter.

#[cfg(test)]
mod chaos_tests;
mod elect;
mod follow;
mod lead;
#[cfg(test)]
mod noise_tests;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use palisade_store::Timestamp;
use palisade_wire::Zxid;

use crate::config::{ConfigError, PeerConfig, Recovered};
use crate::election::{Election, Vote};
use crate::history::History;
use crate::io::{CloseReason, Input, LearnerOutput, Output, Role};
use crate::leader::{Leader, Office};
use elect::own_vote;
use follow::{Following, Link};

/// A voter: elects, leads, follows. See the crate's documentation for how to drive it.
#[derive(Debug)]
pub struct Peer {
    config: PeerConfig,
    history: History,
    state: State,
    /// The election's round, which only rises.
    round: i64,
    /// The vote that decided the last election; its epoch is brought up to date when serving starts.
    decided: Vote,
    /// The greatest accepted epoch that voters have claimed while this peer led.
    seen_epoch: u32,
    next_link: u64,
    out: VecDeque<Output>,
    /// What the learner's half wants done, on its way to `out`.
    learner_out: VecDeque<LearnerOutput>,
}

#[derive(Debug)]
enum State {
    /// Looking for a leader; without an election while the log is being replaced, as it is not known where it ends.
    Looking(Option<Election>),
    Following(Following),
    Leading(Box<Leader>),
}

impl Peer {
    /// A voter that starts looking for a leader at once.
    ///
    /// # Errors
    /// If a setting or the recovered state makes no sense.
    pub fn new(config: PeerConfig, recovered: Recovered, now: Timestamp) -> Result<Self, ConfigError> {
        config.validate()?;
        let history = History::new(recovered)?;
        let mut peer = Self {
            decided: own_vote(&config, &history, 0),
            config,
            history,
            state: State::Looking(None),
            round: 0,
            seen_epoch: 0,
            next_link: 0,
            out: VecDeque::new(),
            learner_out: VecDeque::new(),
        };
        peer.look_for_leader(now);
        Ok(peer)
    }

    /// Takes in what happened.
    pub fn handle(&mut self, now: Timestamp, input: Input) {
        match input {
            Input::Notification { from, notification } => self.on_notification(from, &notification, now),
            Input::ElectionLinkUp { to } => self.on_election_link(to),
            Input::LearnerUp { link } => {
                if !self.lead(now, |leader, ctx| {
                    leader.on_link_up(link, ctx);
                    Office::Keep
                }) {
                    let reason = CloseReason::NotLeading;
                    self.out.push_back(Output::CloseLearner { link, reason });
                }
            }
            Input::LearnerPacket { link, packet } => {
                self.lead(now, |leader, ctx| leader.on_packet(link, packet, ctx));
            }
            Input::SnapshotSent { link } => {
                self.lead(now, |leader, ctx| {
                    leader.on_snapshot_sent(link, ctx);
                    Office::Keep
                });
            }
            Input::LearnerDown { link } => {
                self.lead(now, |leader, _| {
                    leader.on_link_down(link);
                    Office::Keep
                });
            }
            Input::LeaderLinkUp { link } => self.on_leader_link_up(link, now),
            Input::LeaderPacket { link, packet } => self.follow(now, Some(link), |session, history, out| {
                session.on_packet(packet, now, history, out);
            }),
            Input::LeaderSnapshotReceived { link, zxid } => {
                self.follow(now, Some(link), |session, history, out| {
                    session.on_snapshot(zxid, now, history, out);
                });
            }
            Input::LeaderLinkDown { link } => self.on_leader_link_down(link, now),
            Input::Flushed { zxid } => {
                self.history.on_flushed(zxid);
                self.on_durable(now);
            }
            Input::Truncated { zxid } => {
                self.history.on_truncated(zxid);
                self.on_fence_lifted(now);
            }
            Input::TruncateFailed => {
                self.history.on_truncate_failed();
                self.on_fence_lifted(now);
            }
            Input::SnapshotInstalled { zxid } => {
                self.history.on_installed(zxid);
                self.on_fence_lifted(now);
            }
            Input::AcceptedEpochWritten { epoch } => {
                self.history.on_accepted_written(epoch);
                self.on_durable(now);
            }
            Input::CurrentEpochWritten { epoch } => {
                self.history.on_current_written(epoch);
                self.on_durable(now);
            }
            Input::Propose { zxid, payload } => {
                self.lead(now, |leader, ctx| leader.propose(zxid, payload, ctx));
            }
            Input::Sync { token } => {
                self.lead(now, |leader, ctx| {
                    leader.sync(token, ctx);
                    Office::Keep
                });
            }
        }
    }

    /// Takes in that [`Peer::next_timeout`] was reached. Harmless when early.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        match &mut self.state {
            State::Looking(None) => {}
            State::Looking(Some(election)) => {
                let verdict = election.on_timeout(&self.config, now);
                self.on_verdict(verdict, None, now);
            }
            State::Following(_) => self.on_following_timeout(now),
            State::Leading(_) => {
                self.lead(now, Leader::on_timeout);
            }
        }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When to call [`Peer::handle_timeout`]; ask again after each call of a handler.
    pub fn next_timeout(&self) -> Option<Timestamp> {
        match &self.state {
            State::Looking(election) => election.as_ref().map(Election::deadline),
            State::Following(following) => match &following.link {
                Link::Retry(at) => Some(following.connect_until.min(*at)),
                Link::Dialing(_) => Some(following.connect_until),
                Link::Up(session) => session.deadline(),
            },
            State::Leading(leader) => Some(leader.deadline(&self.config)),
        }
    }

    /// The present role.
    pub fn role(&self) -> Role {
        match &self.state {
            State::Looking(_) => Role::Looking,
            State::Following(following) => Role::Following { leader: following.leader },
            State::Leading(_) => Role::Leading,
        }
    }

    /// The epoch in which this peer serves, between [`Output::Serving`] and the next change of role.
    pub fn serving_epoch(&self) -> Option<u32> {
        match &self.state {
            State::Looking(_) => None,
            State::Following(Following { link: Link::Up(session), .. }) => session.active_epoch(),
            State::Following(_) => None,
            State::Leading(leader) => leader.established_epoch(),
        }
    }

    /// The zxid for the next proposal. `None` if this peer does not lead (yet), or has used up its epoch's counter:
    /// then it gives up its leadership as soon as the last one is committed.
    pub fn next_zxid(&self) -> Option<Zxid> {
        match &self.state {
            State::Leading(leader) => leader.next_zxid(self.history.last()),
            State::Looking(_) | State::Following(_) => None,
        }
    }

    /// How many proposals are not committed yet.
    pub fn in_flight(&self) -> usize {
        match &self.state {
            State::Leading(leader) => leader.in_flight(&self.history),
            State::Looking(_) | State::Following(_) => 0,
        }
    }

    /// The last logged transaction (flushed or not).
    pub fn last_zxid(&self) -> Zxid {
        self.history.last()
    }

    /// The last transaction handed out with [`Output::Deliver`], or found on disk.
    pub fn delivered(&self) -> Zxid {
        self.history.delivered()
    }

    /// The accepted epoch, asked to be written at least, and the durable current epoch.
    pub fn epochs(&self) -> (u32, u32) {
        (self.history.accepted_epoch(), self.history.current_epoch())
    }

    /// Pretends that the log ends at `zxid`, durably.
    #[cfg(test)]
    pub(crate) fn skip_to(&mut self, zxid: Zxid) {
        self.history.truncate(zxid, &mut self.out);
        self.history.on_truncated(zxid);
        self.out.clear();
    }

    /// Ends the present role. Links have been closed.
    fn go_looking(&mut self, now: Timestamp) {
        self.out.push_back(Output::RoleChanged(Role::Looking));
        self.look_for_leader(now);
    }

    /// Something is durable: promises that waited for it can be made.
    fn on_durable(&mut self, now: Timestamp) {
        match &self.state {
            State::Looking(_) => {}
            State::Following(_) => {
                self.follow(now, None, |session, history, out| session.on_durable(now, history, out));
            }
            State::Leading(_) => {
                self.lead(now, Leader::on_durable);
            }
        }
    }

    /// The log was cut or replaced, or could not be cut.
    fn on_fence_lifted(&mut self, now: Timestamp) {
        match &self.state {
            State::Looking(None) => self.look_for_leader(now),
            State::Following(_) => {
                self.follow(now, None, |session, history, out| session.on_fence_lifted(now, history, out));
            }
            State::Looking(Some(_)) | State::Leading(_) => {}
        }
    }
}
