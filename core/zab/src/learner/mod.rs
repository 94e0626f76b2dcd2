//! The learner's half of the quorum port: joining a leader and receiving what it broadcasts (Apache `Learner`,
//! `Follower`, `Observer`).

mod session;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use palisade_store::Timestamp;
use palisade_wire::Zxid;

pub(crate) use session::{Kind, Session, SessionConfig};

use crate::config::{ConfigError, LearnerConfig, Recovered};
use crate::history::History;
use crate::io::{LearnerInput, LearnerOutput};

/// An observer: joins whoever leads, over links that its owner dials. Driven as a [`crate::Peer`] is.
#[derive(Debug)]
pub struct Learner {
    config: LearnerConfig,
    history: History,
    session: Option<Session>,
    out: VecDeque<LearnerOutput>,
}

impl Learner {
    /// An observer without a link. Of `recovered` only epochs and `last_zxid` matter.
    ///
    /// # Errors
    /// If the timing or the recovered state makes no sense.
    pub fn new(config: LearnerConfig, recovered: Recovered) -> Result<Self, ConfigError> {
        config.timing.validate()?;
        // An observer promises nothing by its epochs, so a crash between log and epoch file is harmless.
        let accepted_epoch =
            recovered.accepted_epoch.max(recovered.current_epoch).max(recovered.last_zxid.epoch());
        let history = History::new(Recovered { accepted_epoch, recent: Vec::new(), ..recovered })?;
        Ok(Self { config, history, session: None, out: VecDeque::new() })
    }

    /// Takes in what happened.
    pub fn handle(&mut self, now: Timestamp, input: LearnerInput) {
        match input {
            LearnerInput::LinkUp { link } => {
                if let Some(old) = self.session.take() {
                    self.out.push_back(LearnerOutput::Close {
                        link: old.link(),
                        reason: crate::CloseReason::NotFollowing,
                    });
                }
                let config = SessionConfig {
                    sid: self.config.sid,
                    kind: Kind::Observer,
                    timing: self.config.timing,
                    config_version: 0,
                    max_held: self.config.max_held,
                };
                self.session = Some(Session::start(config, link, &self.history, now, &mut self.out));
            }
            LearnerInput::Packet { link, packet } => {
                self.with_session(|session, history, out| {
                    if session.link() == link {
                        session.on_packet(packet, now, history, out);
                    }
                });
            }
            LearnerInput::SnapshotReceived { link, zxid } => {
                self.with_session(|session, history, out| {
                    if session.link() == link {
                        session.on_snapshot(zxid, now, history, out);
                    }
                });
            }
            LearnerInput::LinkDown { link } => {
                self.session.take_if(|session| session.link() == link);
            }
            LearnerInput::Truncated { zxid } => {
                self.history.on_truncated(zxid);
                self.with_session(|session, history, out| session.on_fence_lifted(now, history, out));
            }
            LearnerInput::TruncateFailed => {
                self.history.on_truncate_failed();
                self.with_session(|session, history, out| session.on_fence_lifted(now, history, out));
            }
            LearnerInput::SnapshotInstalled { zxid } => {
                self.history.on_installed(zxid);
                self.with_session(|session, history, out| session.on_fence_lifted(now, history, out));
            }
            LearnerInput::Flushed { zxid } => self.history.on_flushed(zxid),
            LearnerInput::AcceptedEpochWritten { epoch } => self.history.on_accepted_written(epoch),
            LearnerInput::CurrentEpochWritten { epoch } => self.history.on_current_written(epoch),
        }
    }

    /// Takes in that [`Learner::next_timeout`] was reached. Harmless when early.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.with_session(|session, _, out| session.on_timeout(now, out));
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<LearnerOutput> {
        self.out.pop_front()
    }

    /// When to call [`Learner::handle_timeout`]; ask again after each call of a handler.
    pub fn next_timeout(&self) -> Option<Timestamp> {
        self.session.as_ref().and_then(Session::deadline)
    }

    /// The last delivered transaction.
    pub fn last_zxid(&self) -> Zxid {
        self.history.last()
    }

    /// The newest epoch in which it was synchronised: what it tells the next leader in OBSERVERINFO.
    pub fn accepted_epoch(&self) -> u32 {
        self.history.accepted_epoch()
    }

    /// Runs a step of the session, and ends the session if that closed its link.
    fn with_session(&mut self, step: impl FnOnce(&mut Session, &mut History, &mut VecDeque<LearnerOutput>)) {
        if let Some(session) = &mut self.session {
            step(session, &mut self.history, &mut self.out);
            self.history.trim(self.history.last(), 0, 0);
            self.session.take_if(|session| session.is_closed());
        }
    }
}
