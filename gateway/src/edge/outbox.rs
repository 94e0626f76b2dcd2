//! Frames on their way to one client.

use bytes::BytesMut;

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
    /// The gateway stops.
    Stopping,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// When everything queued is written.
    AfterFlush(CloseReason),
    /// Now; what is queued is dropped.
    Now(CloseReason),
}

/// Frames that were not yet given to the socket, in the order in which the client will see them.
///
/// Whoever makes an event or a reply appends it here and goes on: nobody waits for a slow reader. Replies are bounded
/// by their requests, which are not read while much is unsent; events are not, so a reader that is too slow for its
/// own watches is closed (it registers them again, so nothing is skipped).
#[derive(Debug)]
pub(super) struct Outbox {
    frames: BytesMut,
    /// Bytes taken by the connection's task and not yet written.
    taken: usize,
    /// How many of `frames` are events.
    events: usize,
    /// How many of `taken` were events.
    events_taken: usize,
    /// Bytes of events at which one more closes the connection. Replies do not count: a single one may be larger, and
    /// its reader none the slower.
    limit: usize,
    end: Option<End>,
}

impl Outbox {
    pub(super) fn new(limit: usize) -> Self {
        Self { frames: BytesMut::new(), taken: 0, events: 0, events_taken: 0, limit, end: None }
    }

    /// Appends an event's frame.
    pub(super) fn push_event(&mut self, frame: &[u8]) {
        if self.end.is_some() {
            return;
        }
        if self.events_taken + self.events + frame.len() > self.limit {
            self.end(End::Now(CloseReason::SlowReader));
            return;
        }
        self.events += frame.len();
        self.frames.extend_from_slice(frame);
    }

    /// The buffer to which replies are appended.
    pub(super) const fn replies(&mut self) -> &mut BytesMut {
        &mut self.frames
    }

    /// Moves whole frames from `frames` to the end of the queue.
    pub(super) fn append(&mut self, frames: &mut BytesMut) {
        if self.frames.is_empty() {
            std::mem::swap(&mut self.frames, frames);
        } else {
            self.frames.extend_from_slice(frames);
        }
        frames.clear();
    }

    /// Bytes that the socket has not taken.
    pub(super) fn unsent(&self) -> usize {
        self.taken + self.frames.len()
    }

    /// Hands everything to the connection's task, whose buffer holds `left` unwritten bytes of earlier. Takes
    /// nothing while `left` is not zero, and nothing once the connection ends now: an answer must not leave after an
    /// event before it was dropped, or the client would register its watches as of a zxid that hides the event.
    pub(super) fn take(&mut self, into: &mut BytesMut) {
        if matches!(self.end, Some(End::Now(_))) {
            self.frames.clear();
        }
        if into.is_empty() {
            std::mem::swap(&mut self.frames, into);
            self.frames.clear();
            self.events_taken = std::mem::take(&mut self.events);
        }
        self.taken = into.len();
    }

    /// Ends the connection. The first reason stays, but nothing is more urgent than now.
    pub(super) fn end(&mut self, end: End) {
        match (self.end, end) {
            (None, _) | (Some(End::AfterFlush(_)), End::Now(_)) => self.end = Some(end),
            _ => {}
        }
        if matches!(self.end, Some(End::Now(_))) {
            self.frames = BytesMut::new();
        }
    }

    /// Whether and how the connection ends.
    pub(super) const fn ending(&self) -> Option<End> {
        self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_leave_in_order() {
        let mut outbox = Outbox::new(100);
        let (mut replies, mut sending) = (BytesMut::from("reply"), BytesMut::new());
        outbox.push_event(b"event");
        outbox.append(&mut replies);
        assert!(replies.is_empty());
        outbox.take(&mut sending);
        assert_eq!(sending, "eventreply");
        outbox.push_event(b"next");
        outbox.take(&mut sending);
        assert_eq!((&sending[..], outbox.unsent()), (&b"eventreply"[..], 14));
        sending.clear();
        outbox.take(&mut sending);
        assert_eq!(sending, "next");
    }

    #[test]
    fn a_slow_reader_is_closed_by_events_not_by_replies() {
        let mut outbox = Outbox::new(10);
        let mut sending = BytesMut::new();
        outbox.push_event(b"events");
        outbox.replies().extend_from_slice(&[0; 9]);
        outbox.take(&mut sending);
        outbox.append(&mut BytesMut::from(&[0; 20][..]));
        outbox.push_event(b"more");
        assert_eq!(outbox.ending(), None);
        outbox.push_event(b"e");
        assert_eq!(outbox.ending(), Some(End::Now(CloseReason::SlowReader)));
        assert_eq!(outbox.unsent(), 15);
    }

    #[test]
    fn events_that_were_written_no_longer_count() {
        let mut outbox = Outbox::new(10);
        let mut sending = BytesMut::new();
        for _ in 0..3 {
            outbox.push_event(b"0123456789");
            outbox.take(&mut sending);
            sending.clear();
            outbox.take(&mut sending);
        }
        assert_eq!(outbox.ending(), None);
    }

    #[test]
    fn after_a_dropped_event_no_answer_leaves() {
        let mut outbox = Outbox::new(10);
        let mut sending = BytesMut::new();
        outbox.push_event(b"too long for this");
        outbox.replies().extend_from_slice(b"late answer");
        outbox.append(&mut BytesMut::from("another"));
        outbox.take(&mut sending);
        assert_eq!((&sending[..], outbox.unsent()), (&b""[..], 0));
    }

    #[test]
    fn the_first_reason_stays_unless_the_end_becomes_urgent() {
        let mut outbox = Outbox::new(10);
        outbox.end(End::AfterFlush(CloseReason::ClosedByClient));
        outbox.end(End::AfterFlush(CloseReason::Refused));
        assert_eq!(outbox.ending(), Some(End::AfterFlush(CloseReason::ClosedByClient)));
        outbox.end(End::Now(CloseReason::Moved));
        outbox.end(End::Now(CloseReason::Idle));
        assert_eq!(outbox.ending(), Some(End::Now(CloseReason::Moved)));
    }
}
