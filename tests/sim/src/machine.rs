//! Voters and observers behind one face, so that the world drives both alike.

use palisade_store::Timestamp;
use palisade_wire::Zxid;
use palisade_wire::quorum::QuorumPacket;
use palisade_zab::{Input, Learner, LearnerInput, LearnerOutput, LinkId, Output, Peer};

/// A machine under test.
#[derive(Debug)]
pub(crate) enum Machine {
    /// A voter.
    Voter(Box<Peer>),
    /// An observer that takes no part in elections.
    Observer(Box<Learner>),
}

/// What a machine wants done.
#[derive(Debug)]
pub(crate) enum Act {
    /// As a voter says it; an observer's outputs of the same name are put into this form.
    Common(Output),
    /// An observer closes its link, and will be dialed for again.
    ObserverClose(LinkId),
    /// An observer answers a ping.
    AnswerPing(LinkId, Zxid),
    /// An observer has the leader's answer to a sync.
    FromLeader(QuorumPacket),
    /// An observer is in sync over this link, with the leader of this epoch.
    ObserverServing(LinkId, u32),
}

impl Machine {
    /// Hands in what happened. Inputs that only voters know must not be given to observers.
    pub(crate) fn handle(&mut self, now: Timestamp, input: Input) {
        match self {
            Self::Voter(peer) => peer.handle(now, input),
            Self::Observer(learner) => {
                if let Some(input) = for_learner(input) {
                    learner.handle(now, input);
                }
            }
        }
    }

    /// Hands in that time has come.
    pub(crate) fn handle_timeout(&mut self, now: Timestamp) {
        match self {
            Self::Voter(peer) => peer.handle_timeout(now),
            Self::Observer(learner) => learner.handle_timeout(now),
        }
    }

    /// When it wants to be woken.
    pub(crate) fn next_timeout(&self) -> Option<Timestamp> {
        match self {
            Self::Voter(peer) => peer.next_timeout(),
            Self::Observer(learner) => learner.next_timeout(),
        }
    }

    /// The next thing to do.
    pub(crate) fn poll(&mut self) -> Option<Act> {
        match self {
            Self::Voter(peer) => peer.poll_output().map(Act::Common),
            Self::Observer(learner) => learner.poll_output().map(from_learner),
        }
    }

    /// The zxid for the next proposal, if this machine leads.
    pub(crate) fn next_zxid(&self) -> Option<Zxid> {
        match self {
            Self::Voter(peer) => peer.next_zxid(),
            Self::Observer(_) => None,
        }
    }
}

fn for_learner(input: Input) -> Option<LearnerInput> {
    Some(match input {
        Input::LeaderLinkUp { link } => LearnerInput::LinkUp { link },
        Input::LeaderPacket { link, packet } => LearnerInput::Packet { link, packet },
        Input::LeaderSnapshotReceived { link, zxid } => LearnerInput::SnapshotReceived { link, zxid },
        Input::LeaderLinkDown { link } => LearnerInput::LinkDown { link },
        Input::Flushed { zxid } => LearnerInput::Flushed { zxid },
        Input::Truncated { zxid } => LearnerInput::Truncated { zxid },
        Input::TruncateFailed => LearnerInput::TruncateFailed,
        Input::SnapshotInstalled { zxid } => LearnerInput::SnapshotInstalled { zxid },
        Input::AcceptedEpochWritten { epoch } => LearnerInput::AcceptedEpochWritten { epoch },
        Input::CurrentEpochWritten { epoch } => LearnerInput::CurrentEpochWritten { epoch },
        _ => return None,
    })
}

fn from_learner(output: LearnerOutput) -> Act {
    Act::Common(match output {
        LearnerOutput::Send { link, packet } => Output::SendToLeader { link, packet },
        LearnerOutput::Close { link, .. } => return Act::ObserverClose(link),
        LearnerOutput::AnswerPing { link, zxid } => return Act::AnswerPing(link, zxid),
        LearnerOutput::Packet { packet, .. } => return Act::FromLeader(packet),
        LearnerOutput::Serving { link, epoch } => return Act::ObserverServing(link, epoch),
        LearnerOutput::Append { zxid, payload } => Output::Append { zxid, payload },
        LearnerOutput::Truncate { to } => Output::Truncate { to },
        LearnerOutput::InstallSnapshot { zxid } => Output::InstallSnapshot { zxid },
        LearnerOutput::WriteAcceptedEpoch { epoch } => Output::WriteAcceptedEpoch { epoch },
        LearnerOutput::WriteCurrentEpoch { epoch } => Output::WriteCurrentEpoch { epoch },
        LearnerOutput::Deliver { zxid, payload } => Output::Deliver { zxid, payload },
    })
}
