//! What goes into the machines and what comes out.

use std::fmt;

use bytes::Bytes;
use palisade_wire::election::Notification;
use palisade_wire::quorum::QuorumPacket;
use palisade_wire::{Sid, Zxid};

use crate::history::HistoryOp;

/// One connection of the quorum port, never reused, so that what belongs to a dead connection is recognised.
///
/// Links to learners are numbered by the owner, links to the leader by the machine that asks for them (by the owner
/// for a lone [`crate::Learner`]); the two kinds are never mixed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

impl fmt::Debug for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "link{}", self.0)
    }
}

/// What a peer is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Electing. The quorum port is closed, nothing is served.
    Looking,
    /// Joining, then following this leader.
    Following {
        /// The leader.
        leader: Sid,
    },
    /// Elected: the quorum port is open. It leads indeed once [`Output::Serving`] is emitted.
    Leading,
}

/// Why the machine closes a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// This peer does not lead (any more).
    #[error("this server does not lead")]
    NotLeading,
    /// This peer no longer follows that leader, or starts anew.
    #[error("no longer following that leader")]
    NotFollowing,
    /// The peer was silent for longer than the init or sync limit, or did not acknowledge a proposal in time.
    #[error("silent for too long")]
    Timeout,
    /// A packet that the protocol does not allow at this point, or that cannot be decoded.
    #[error("protocol violation: {0}")]
    Protocol(&'static str),
    /// The learner speaks a protocol older than 3.4's.
    #[error("learner's protocol is too old")]
    OldProtocol,
    /// The learner's configuration is newer than this leader's.
    #[error("learner's configuration is newer than this leader's")]
    ConfigAhead,
    /// The learner follows under this leader's own id.
    #[error("learner claims this server's id")]
    OwnSid,
    /// This observer's id is a voter's in the leader's configuration: what it acknowledged would be counted.
    #[error("this observer's id is that of a voter: choose another")]
    VoterSid,
    /// The same voter has connected again.
    #[error("replaced by a newer connection of the same voter")]
    Replaced,
    /// The learner has confirmed too little of what was sent to it.
    #[error("too far behind")]
    Slow,
    /// The learner knows a later epoch or a longer history than the leader: the leader is deposed or was elected
    /// without it.
    #[error("learner is ahead of the leader")]
    Ahead,
    /// The log would get a gap; the next attempt asks for a snapshot.
    #[error("history received is not contiguous")]
    Gap,
}

/// What happened, for a [`crate::Peer`].
///
/// Inputs that name a link which the machine no longer knows are ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A notification came from the peer at the other end of an election connection.
    Notification {
        /// That connection's peer. It need not be a voter.
        from: Sid,
        /// What it said.
        notification: Notification,
    },
    /// A new election connection to `to` is established, by whichever side: it is told the present vote.
    ElectionLinkUp {
        /// The peer.
        to: Sid,
    },

    /// A learner has connected to the quorum port.
    LearnerUp {
        /// A number of the owner's choice, never used before.
        link: LinkId,
    },
    /// A packet from a learner.
    LearnerPacket {
        /// Its link.
        link: LinkId,
        /// The packet.
        packet: QuorumPacket,
    },
    /// The snapshot asked for with [`Output::SendSnapshot`] has been handed to the socket to its end. Until then
    /// the owner answers for progress: it closes the link when the stream stalls for the init limit.
    SnapshotSent {
        /// Its link.
        link: LinkId,
    },
    /// The connection to a learner is gone. Not needed for links that the machine has closed.
    LearnerDown {
        /// Its link.
        link: LinkId,
    },

    /// The connection asked for with [`Output::ConnectLeader`] is established.
    LeaderLinkUp {
        /// The number from that output.
        link: LinkId,
    },
    /// A packet from the leader. SNAP is handed in when its packet is read, before its tree stream; reading that,
    /// the owner answers for progress: it reports `LeaderLinkDown` when the stream stalls for the init limit.
    LeaderPacket {
        /// Its link.
        link: LinkId,
        /// The packet.
        packet: QuorumPacket,
    },
    /// The tree stream behind SNAP was read and verified, signature included. The owner keeps that tree aside until
    /// [`Output::InstallSnapshot`], and forgets it when the link ends.
    LeaderSnapshotReceived {
        /// Its link.
        link: LinkId,
        /// The zxid of the SNAP packet.
        zxid: Zxid,
    },
    /// The connection to the leader is gone or could not be established. Not needed for links that the machine has
    /// closed.
    LeaderLinkDown {
        /// Its link.
        link: LinkId,
    },

    /// Everything appended up to this zxid is durable. Answers [`Output::Append`].
    Flushed {
        /// The last durable one.
        zxid: Zxid,
    },
    /// The log is cut and the tree was rebuilt from what is left. Answers [`Output::Truncate`].
    Truncated {
        /// The last zxid that is left; at most the one asked for, equal to it if the log held that.
        zxid: Zxid,
    },
    /// The log cannot be cut there (no snapshot that old is left); nothing was changed. Answers
    /// [`Output::Truncate`]; the machine asks the leader for a snapshot instead.
    TruncateFailed,
    /// The snapshot is durable, in place of the log and the tree. Answers [`Output::InstallSnapshot`].
    SnapshotInstalled {
        /// Its zxid.
        zxid: Zxid,
    },
    /// Answers [`Output::WriteAcceptedEpoch`].
    AcceptedEpochWritten {
        /// The epoch.
        epoch: u32,
    },
    /// Answers [`Output::WriteCurrentEpoch`].
    CurrentEpochWritten {
        /// The epoch.
        epoch: u32,
    },

    /// The leader's owner proposes a transaction. `zxid` must be [`crate::Peer::next_zxid`]; ignored if this peer
    /// no longer leads. The owner bounds what is in flight ([`crate::Peer::in_flight`]).
    Propose {
        /// The transaction's zxid.
        zxid: Zxid,
        /// Header, record and digest, as in a PROPOSAL.
        payload: Bytes,
    },
    /// The leader's owner wants to know when everything proposed before now is committed *and* a quorum has confirmed,
    /// after now, that it still follows. Answered by [`Output::SyncReady`], or never if leadership is lost first.
    Sync {
        /// Handed back.
        token: u64,
    },
}

/// What a [`crate::Peer`] wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a vote over the election connection to `to`; dial it if there is none. Only the newest per peer matters:
    /// an older one not yet sent is replaced. Lost ones are sent again by timer.
    SendNotification {
        /// The peer; possibly one that only ever dialed us, then dropped if its connection is gone.
        to: Sid,
        /// The vote.
        notification: Notification,
    },

    /// Dial the quorum port of this peer, once. Answered by `LeaderLinkUp` or `LeaderLinkDown`; the machine retries.
    /// Whatever connection to a leader there was has been closed before.
    ConnectLeader {
        /// The new link's number.
        link: LinkId,
        /// Whom to dial.
        sid: Sid,
    },
    /// Close the connection to the leader, or stop dialing. No answer.
    CloseLeader {
        /// Its link.
        link: LinkId,
        /// For the log.
        reason: CloseReason,
    },
    /// Send a packet to the leader.
    SendToLeader {
        /// The link.
        link: LinkId,
        /// The packet.
        packet: QuorumPacket,
    },

    /// The leader sent something that is not Zab's: SYNC or REVALIDATE, which answer what the owner has sent, if it
    /// does. It holds for the tree as of all `Deliver`s before it.
    LeaderPacket {
        /// The link.
        link: LinkId,
        /// The packet.
        packet: QuorumPacket,
    },

    /// Send a packet to a learner. The owner closes a link whose queue exceeds its own bound, too.
    SendToLearner {
        /// The link.
        link: LinkId,
        /// The packet.
        packet: QuorumPacket,
    },
    /// Send SNAP, the tree stream and its signature to a learner; packets that follow wait behind it. The stream may be
    /// fuzzy. Answered by [`Input::SnapshotSent`].
    SendSnapshot {
        /// The link.
        link: LinkId,
        /// The zxid for the SNAP packet. The tree to be sent contains at least everything up to it: exactly
        /// what was delivered when this output was emitted.
        zxid: Zxid,
    },
    /// Close the connection to a learner. No answer.
    CloseLearner {
        /// The link.
        link: LinkId,
        /// For the log.
        reason: CloseReason,
    },
    /// A synchronised learner sent something that is not Zab's: REQUEST, REVALIDATE, or PING (data: touched
    /// sessions). Answers to it are put into that link's queue by the owner, after all outputs before this one.
    LearnerPacket {
        /// The link.
        link: LinkId,
        /// The id that the learner gave.
        sid: Sid,
        /// The packet, unchanged.
        packet: QuorumPacket,
    },

    /// Append to the log and flush soon. Contiguous with what was appended before. Answered by [`Input::Flushed`].
    Append {
        /// The transaction's zxid.
        zxid: Zxid,
        /// Header, record and digest.
        payload: Bytes,
    },
    /// Cut the log behind `to`, durably (with snapshots later than `to`), and rebuild the tree from what is left.
    /// Answered by [`Input::Truncated`] or [`Input::TruncateFailed`]; until then no other disk output and no
    /// `Deliver` is emitted.
    Truncate {
        /// What to keep, inclusive.
        to: Zxid,
    },
    /// Make the tree received last ([`Input::LeaderSnapshotReceived`]) the present one, and durable as a snapshot that
    /// replaces the whole log: after a crash, either the old log or the new snapshot is found. Answered by
    /// [`Input::SnapshotInstalled`]; until then no other disk output and no `Deliver` is emitted.
    InstallSnapshot {
        /// The snapshot's zxid.
        zxid: Zxid,
    },
    /// Write and flush the `acceptedEpoch` file. Answered by [`Input::AcceptedEpochWritten`].
    WriteAcceptedEpoch {
        /// The epoch.
        epoch: u32,
    },
    /// Write and flush the `currentEpoch` file. Answered by [`Input::CurrentEpochWritten`].
    WriteCurrentEpoch {
        /// The epoch.
        epoch: u32,
    },

    /// Apply to the tree: the next transaction of the history.
    Deliver {
        /// The transaction's zxid.
        zxid: Zxid,
        /// Header, record and digest.
        payload: Bytes,
    },
    /// The role has changed. It ends what the former role had: on `Looking`, all links of the quorum port are closed
    /// (their `Close…` outputs come before), and unanswered syncs and proposals will not be answered. `Following` may
    /// come twice in a row, when a follower joins the same leader anew: it does not serve meanwhile.
    RoleChanged(Role),
    /// Leading: a quorum follows, the history is committed and delivered, proposals may be made from now on.
    /// Following: synchronised (UPTODATE). Until the next [`Output::RoleChanged`].
    Serving {
        /// The epoch.
        epoch: u32,
    },
    /// Answers [`Input::Sync`]. Commits and informs that it waited for are among the outputs before it.
    SyncReady {
        /// From the input.
        token: u64,
    },
}

/// What happened, for a lone [`crate::Learner`]. As the variants of [`Input`] of the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LearnerInput {
    /// The owner has connected to what may be a leader. Replaces any earlier link.
    LinkUp {
        /// A number of the owner's choice, never used before.
        link: LinkId,
    },
    /// A packet from the leader; SNAP before its tree stream (see [`Input::LeaderPacket`]).
    Packet {
        /// Its link.
        link: LinkId,
        /// The packet.
        packet: QuorumPacket,
    },
    /// The tree stream behind SNAP was read and verified; keep it aside until [`LearnerOutput::InstallSnapshot`].
    SnapshotReceived {
        /// Its link.
        link: LinkId,
        /// The zxid of the SNAP packet.
        zxid: Zxid,
    },
    /// The connection is gone. Not needed for links that the machine has closed.
    LinkDown {
        /// Its link.
        link: LinkId,
    },
    /// Answers [`LearnerOutput::Truncate`].
    Truncated {
        /// The last zxid that is left.
        zxid: Zxid,
    },
    /// Answers [`LearnerOutput::Truncate`]: it cannot be done, nothing was changed.
    TruncateFailed,
    /// Answers [`LearnerOutput::InstallSnapshot`].
    SnapshotInstalled {
        /// Its zxid.
        zxid: Zxid,
    },
    /// Everything appended up to this zxid is durable. An observer's promises rest on no flush: this only keeps
    /// count.
    Flushed {
        /// The last durable one.
        zxid: Zxid,
    },
    /// Answers [`LearnerOutput::WriteAcceptedEpoch`].
    AcceptedEpochWritten {
        /// The epoch.
        epoch: u32,
    },
    /// Answers [`LearnerOutput::WriteCurrentEpoch`].
    CurrentEpochWritten {
        /// The epoch.
        epoch: u32,
    },
}

/// What a lone [`crate::Learner`] wants done. As the variants of [`Output`] of the same name.
///
/// Everything that changes the log or the tree comes after the leader's UPTODATE, so it is committed and may be shown
/// to clients. `Truncate`, and `InstallSnapshot` with a zxid below what was delivered, mean that the leader's committed
/// history is *behind* the replica's: the ensemble has lost data (it was restored from a backup).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LearnerOutput {
    /// Send a packet to the leader.
    Send {
        /// The link.
        link: LinkId,
        /// The packet.
        packet: QuorumPacket,
    },
    /// Close the connection. The owner dials again (another server, perhaps) when it likes.
    Close {
        /// The link.
        link: LinkId,
        /// For the log.
        reason: CloseReason,
    },
    /// Answer a PING now: send `PING` with this zxid and the sessions touched since the last one as data
    /// (`palisade_wire::quorum::encode_touched`; empty, not null, if there are none).
    AnswerPing {
        /// The link.
        link: LinkId,
        /// The zxid to echo.
        zxid: Zxid,
    },
    /// The leader sent something that is not Zab's: SYNC or REVALIDATE. It holds for the tree as of all `Deliver`s
    /// before it.
    Packet {
        /// The link.
        link: LinkId,
        /// The packet.
        packet: QuorumPacket,
    },
    /// Append to the log; a flush is not urgent.
    Append {
        /// The transaction's zxid.
        zxid: Zxid,
        /// Header, record and digest.
        payload: Bytes,
    },
    /// Cut the log behind `to` and rebuild the tree. Nothing else is emitted until it is answered, except packets. Answered
    /// with another zxid, or as failed, the link is closed and the next one gets a snapshot.
    Truncate {
        /// What to keep, inclusive.
        to: Zxid,
    },
    /// Make the tree received last the present one, in place of tree and log. Nothing else is emitted until it is
    /// answered, except packets.
    InstallSnapshot {
        /// The snapshot's zxid.
        zxid: Zxid,
    },
    /// Write the `acceptedEpoch` file.
    WriteAcceptedEpoch {
        /// The epoch.
        epoch: u32,
    },
    /// Write the `currentEpoch` file.
    WriteCurrentEpoch {
        /// The epoch.
        epoch: u32,
    },
    /// Apply to the tree: the next committed transaction.
    Deliver {
        /// The transaction's zxid.
        zxid: Zxid,
        /// Header, record and digest.
        payload: Bytes,
    },
    /// The replica is in sync with the leader of this epoch, and everything synchronised is delivered: requests may
    /// be forwarded over this link until it ends.
    Serving {
        /// The link.
        link: LinkId,
        /// The epoch.
        epoch: u32,
    },
}

impl From<HistoryOp> for Output {
    fn from(op: HistoryOp) -> Self {
        match op {
            HistoryOp::Append { zxid, payload } => Self::Append { zxid, payload },
            HistoryOp::Truncate { to } => Self::Truncate { to },
            HistoryOp::InstallSnapshot { zxid } => Self::InstallSnapshot { zxid },
            HistoryOp::WriteAcceptedEpoch { epoch } => Self::WriteAcceptedEpoch { epoch },
            HistoryOp::WriteCurrentEpoch { epoch } => Self::WriteCurrentEpoch { epoch },
            HistoryOp::Deliver { zxid, payload } => Self::Deliver { zxid, payload },
        }
    }
}

impl From<HistoryOp> for LearnerOutput {
    fn from(op: HistoryOp) -> Self {
        match op {
            HistoryOp::Append { zxid, payload } => Self::Append { zxid, payload },
            HistoryOp::Truncate { to } => Self::Truncate { to },
            HistoryOp::InstallSnapshot { zxid } => Self::InstallSnapshot { zxid },
            HistoryOp::WriteAcceptedEpoch { epoch } => Self::WriteAcceptedEpoch { epoch },
            HistoryOp::WriteCurrentEpoch { epoch } => Self::WriteCurrentEpoch { epoch },
            HistoryOp::Deliver { zxid, payload } => Self::Deliver { zxid, payload },
        }
    }
}
