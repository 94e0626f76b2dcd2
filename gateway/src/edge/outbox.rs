//! Why connections end.

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CloseReason {
    /// The client went away, or its socket failed.
    Gone,
    /// The session was closed by its client.
    ClosedByClient,
    /// The session expired, or was never valid.
    SessionEnded,
    /// The session reconnected, or reconnected elsewhere.
    Moved,
    /// Events pile up because the client does not read.
    SlowReader,
    /// Answers pile up because the client does not read, and there are too many of them for all.
    Unread,
    /// A large request does not come to its end, or its answers are not read, while others wait for room for theirs.
    SlowRequest,
    /// More watches were registered at once than a connection may have.
    TooManyWatches,
    /// Nothing was read or written for a session timeout.
    Idle,
    /// The bytes were not those of the protocol.
    Malformed,
    /// The client was refused: its credentials, its request, or a state that is ahead of this gateway.
    Refused,
    /// The link to the core broke while a write's outcome was open.
    OutcomeUnknown,
    /// No leader took a request in time.
    NoLeader,
    /// The core is silent, and may end the session and give its ephemerals to others.
    OutOfTouch,
    /// The replica was replaced by one that cannot stand for what the client has seen.
    HistoryReplaced,
    /// The core is back, and the client was told that nothing is written here.
    Writable,
    /// What could be read is older than it may be.
    TooOld,
    /// The gateway stops.
    Stopping,
}

/// How a connection ends.
pub(super) type End = palisade_watch::End<CloseReason>;

/// Frames on their way to one client.
pub(super) type Outbox = palisade_watch::Outbox<CloseReason>;
