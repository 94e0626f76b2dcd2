//! Requests of one connection that are not answered yet, in their order.
//!
//! Replies leave in the order of requests. A read behind an unanswered write waits for it and is then executed on a
//! replica that has that write. A write behind such a read is not forwarded before the read was executed: otherwise
//! the read could see a write that its session made after it. Nor is a write sent behind a sync before that is answered:
//! otherwise its events could pass the replies that wait behind the sync.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use palisade_wire::{Id, OpCode};

use crate::throttle::{Progress, Work};

/// A request, apart from its frame.
#[derive(Clone, Debug)]
pub(super) struct Job {
    /// The client's xid.
    pub xid: i32,
    /// The type.
    pub op: OpCode,
    /// The record.
    pub body: Bytes,
    /// The connection's identities when the request came.
    pub ids: Arc<[Id]>,
    /// What it asks of the core.
    pub work: Work,
    /// Which limits it has passed.
    pub progress: Progress,
    /// Whether the gateway asks for itself: the client gets no reply.
    pub internal: bool,
}

impl Job {
    /// A request that no limit holds up.
    pub(super) fn free(xid: i32, op: OpCode, body: Bytes, ids: Arc<[Id]>) -> Self {
        Self { xid, op, body, ids, work: Work::Free, progress: Progress::default(), internal: false }
    }

    /// A request that the gateway makes for itself.
    pub(super) fn internal(xid: i32, op: OpCode, body: Bytes) -> Self {
        Self { internal: true, ..Self::free(xid, op, body, Arc::from([])) }
    }
}

/// A request and where it stands.
#[derive(Debug)]
enum Entry {
    /// The replica will answer it in its turn.
    Local(Job),
    /// The core will; it was not yet given to the link.
    Unsent(Job),
    /// The core will; the link has it. The body is kept for a sync only.
    Sent(Job, Instant),
    /// Answered, but not the first in line. The connection ends after the last.
    Done { reply: Bytes, last: bool },
}

/// What stands first.
#[derive(Debug)]
pub(super) enum Front {
    /// A request for the replica.
    Local(Job),
    /// A finished reply.
    Done { reply: Bytes, last: bool },
}

/// The line of unanswered requests. Takes no memory before there was one: sessions that only read have none.
#[derive(Debug, Default)]
pub(super) struct Pipeline(Option<Box<Line>>);

impl Deref for Pipeline {
    type Target = Line;

    fn deref(&self) -> &Line {
        static NOTHING: Line = Line::new();
        self.0.as_deref().unwrap_or(&NOTHING)
    }
}

impl DerefMut for Pipeline {
    fn deref_mut(&mut self) -> &mut Line {
        self.0.get_or_insert_with(|| Box::new(Line::new()))
    }
}

/// See [`Pipeline`].
#[derive(Debug)]
pub(super) struct Line {
    entries: VecDeque<Entry>,
    /// The tag of the first entry; tags count up and are never used again.
    first: u64,
    /// Every entry before this tag is sent or done.
    cursor: u64,
    /// The last sync that was sent.
    last_sync: Option<u64>,
    /// Bytes of bodies held here.
    held: usize,
    /// Requests that the link has.
    in_flight: usize,
}

impl Line {
    const fn new() -> Self {
        Self { entries: VecDeque::new(), first: 0, cursor: 0, last_sync: None, held: 0, in_flight: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of requests that wait here.
    pub(super) const fn held(&self) -> usize {
        self.held
    }

    /// Requests that the link has and has not answered.
    pub(super) const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Adds a request for the replica.
    pub(super) fn push_local(&mut self, job: Job) {
        self.held += job.body.len();
        self.entries.push_back(Entry::Local(job));
    }

    /// Adds a request for the core.
    pub(super) fn push_forward(&mut self, job: Job) {
        self.held += job.body.len();
        self.entries.push_back(Entry::Unsent(job));
    }

    /// Adds a reply that is known already.
    pub(super) fn push_done(&mut self, reply: Bytes, last: bool) {
        self.entries.push_back(Entry::Done { reply, last });
    }

    /// Takes the first entry off, if it needs nobody else.
    pub(super) fn pop(&mut self) -> Option<Front> {
        match self.entries.front()? {
            Entry::Local(_) | Entry::Done { .. } => {}
            Entry::Unsent(_) | Entry::Sent(..) => return None,
        }
        let front = self.entries.pop_front()?;
        self.first += 1;
        self.cursor = self.cursor.max(self.first);
        match front {
            Entry::Local(job) => {
                self.held -= job.body.len();
                Some(Front::Local(job))
            }
            Entry::Done { reply, last } => Some(Front::Done { reply, last }),
            Entry::Unsent(_) | Entry::Sent(..) => None,
        }
    }

    /// A request for the replica that was taken off must wait: it is the first again.
    pub(super) fn put_back(&mut self, job: Job) {
        self.held += job.body.len();
        self.entries.push_front(Entry::Local(job));
        self.first -= 1;
        self.cursor = self.first;
    }

    /// Whether a sync that was sent is not answered. They are answered in their order.
    fn is_behind_sync(&self) -> bool {
        self.last_sync.and_then(|tag| self.sent(tag)).is_some_and(|(job, _)| job.op == OpCode::Sync)
    }

    /// The next request to give to the link, and its tag.
    pub(super) fn peek_unsent(&mut self) -> Option<(u64, &mut Job)> {
        let at = loop {
            let at = usize::try_from(self.cursor - self.first).ok()?;
            match self.entries.get(at)? {
                Entry::Local(_) => return None,
                Entry::Sent(..) | Entry::Done { .. } => self.cursor += 1,
                Entry::Unsent(_) => break at,
            }
        };
        let is_behind_sync = self.is_behind_sync();
        match self.entries.get_mut(at) {
            Some(Entry::Unsent(job)) if job.op == OpCode::Sync || !is_behind_sync => Some((self.cursor, job)),
            _ => None,
        }
    }

    /// The link has this one since then.
    pub(super) fn mark_sent(&mut self, tag: u64, since: Instant) {
        let Some(entry) = self.position(tag).and_then(|at| self.entries.get_mut(at)) else { return };
        let Entry::Unsent(mut job) =
            std::mem::replace(entry, Entry::Done { reply: Bytes::new(), last: false })
        else {
            return;
        };
        self.held -= job.body.len();
        self.in_flight += 1;
        if job.op == OpCode::Sync {
            self.last_sync = Some(tag);
        } else {
            job.body = Bytes::new();
        }
        *entry = Entry::Sent(job, since);
    }

    /// Answers a request that was not sent; whether it is the first in line, and the caller puts the reply into the
    /// outbox itself.
    pub(super) fn refuse(&mut self, tag: u64, reply: impl FnOnce() -> Bytes) -> Answered {
        if let Some(Entry::Unsent(job)) = self.position(tag).and_then(|at| self.entries.get(at)) {
            self.held -= job.body.len();
        }
        self.answered(tag, false, reply)
    }

    /// The sent request with this tag, and since when it is.
    pub(super) fn sent(&self, tag: u64) -> Option<(&Job, Instant)> {
        match self.entries.get(self.position(tag)?)? {
            Entry::Sent(job, since) => Some((job, *since)),
            _ => None,
        }
    }

    /// Marks a sent request as answered. If it is the first in line it is taken off, and the caller puts the reply
    /// into the outbox itself; otherwise `reply` makes the frame that waits here, and that is the connection's `last`
    /// or not.
    pub(super) fn answered(&mut self, tag: u64, last: bool, reply: impl FnOnce() -> Bytes) -> Answered {
        match self.position(tag) {
            Some(0) => {
                let entry = self.entries.pop_front();
                self.in_flight -= usize::from(matches!(entry, Some(Entry::Sent(..))));
                self.first += 1;
                self.cursor = self.cursor.max(self.first);
                Answered::First
            }
            Some(at) => {
                if let Some(entry) = self.entries.get_mut(at) {
                    self.in_flight -= usize::from(matches!(entry, Entry::Sent(..)));
                    *entry = Entry::Done { reply: reply(), last };
                }
                Answered::Kept
            }
            None => Answered::Unknown,
        }
    }

    fn position(&self, tag: u64) -> Option<usize> {
        let at = usize::try_from(tag.checked_sub(self.first)?).ok()?;
        (at < self.entries.len()).then_some(at)
    }

    /// Whether a closeSession waits here or is on its way, or another last reply waits.
    pub(super) fn is_closing(&self) -> bool {
        self.entries.iter().any(|entry| match entry {
            Entry::Unsent(job) | Entry::Sent(job, _) => job.op == OpCode::CloseSession,
            Entry::Local(_) => false,
            Entry::Done { last, .. } => *last,
        })
    }

    /// The first request that waits for the core: its tag, and whether the link has it.
    pub(super) fn waits_for_core(&self) -> Option<(u64, bool)> {
        let waits = |entry: &Entry| match entry {
            Entry::Unsent(_) => Some(false),
            Entry::Sent(..) => Some(true),
            Entry::Local(_) | Entry::Done { .. } => None,
        };
        (self.first..).zip(&self.entries).find_map(|(tag, entry)| Some((tag, waits(entry)?)))
    }

    /// Gives up on the core: all that waits for it is answered by `reply`, without an answer from there. Behind one that
    /// failed so, none may have its effect and be told so.
    pub(super) fn fail(&mut self, reply: impl Fn(&Job) -> Bytes) {
        for entry in &mut self.entries {
            let job = match entry {
                Entry::Unsent(job) => {
                    self.held -= job.body.len();
                    job
                }
                Entry::Sent(job, _) => {
                    self.in_flight -= 1;
                    job
                }
                Entry::Local(_) | Entry::Done { .. } => continue,
            };
            let (reply, last) = (reply(job), job.op == OpCode::CloseSession);
            *entry = Entry::Done { reply, last };
        }
    }

    /// Whether a request waits for a leader.
    pub(super) fn is_stalled(&self) -> bool {
        let at = usize::try_from(self.cursor - self.first).unwrap_or(usize::MAX);
        matches!(self.entries.get(at), Some(Entry::Unsent(_)))
    }

    /// Forgets all of them.
    pub(super) fn clear(&mut self) {
        self.first += self.entries.len() as u64;
        self.cursor = self.first;
        self.held = 0;
        self.in_flight = 0;
        self.entries.clear();
    }
}

/// What became of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answered {
    /// Its request was the first in line, and is off it now.
    First,
    /// Its reply waits for earlier ones.
    Kept,
    /// No such request waits any more.
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(xid: i32, op: OpCode) -> Job {
        Job::free(xid, op, Bytes::from_static(b"body"), Arc::from([]))
    }

    fn send(pipeline: &mut Pipeline) -> Option<(u64, i32)> {
        let (tag, xid) = pipeline.peek_unsent().map(|(tag, job)| (tag, job.xid))?;
        pipeline.mark_sent(tag, Instant::now());
        Some((tag, xid))
    }

    fn answer(pipeline: &mut Pipeline, tag: u64) -> Answered {
        pipeline.answered(tag, false, || Bytes::from(tag.to_string()))
    }

    fn local(pipeline: &mut Pipeline) -> Option<i32> {
        match pipeline.pop()? {
            Front::Local(job) => Some(job.xid),
            Front::Done { .. } => None,
        }
    }

    #[test]
    fn writes_are_sent_without_waiting_and_answered_in_order() {
        let mut pipeline = Pipeline::default();
        for xid in 1..=3 {
            pipeline.push_forward(job(xid, OpCode::Create));
        }
        assert_eq!([send(&mut pipeline), send(&mut pipeline)], [Some((0, 1)), Some((1, 2))]);
        assert_eq!(answer(&mut pipeline, 0), Answered::First);
        assert_eq!(answer(&mut pipeline, 0), Answered::Unknown);
        assert_eq!(send(&mut pipeline), Some((2, 3)));
        assert_eq!(send(&mut pipeline), None);
        assert_eq!(answer(&mut pipeline, 2), Answered::Kept);
        assert!(pipeline.pop().is_none());
        assert_eq!(answer(&mut pipeline, 1), Answered::First);
        assert!(matches!(pipeline.pop(), Some(Front::Done { reply, last: false }) if reply == "2"));
        assert!(pipeline.is_empty());
    }

    #[test]
    fn a_read_waits_for_the_write_before_it_and_holds_back_the_write_behind_it() {
        let mut pipeline = Pipeline::default();
        pipeline.push_forward(job(1, OpCode::Create));
        pipeline.push_local(job(2, OpCode::GetData));
        pipeline.push_forward(job(3, OpCode::Delete));
        assert_eq!(send(&mut pipeline), Some((0, 1)));
        assert_eq!(send(&mut pipeline), None);
        assert!(!pipeline.is_stalled());
        assert_eq!(local(&mut pipeline), None);
        assert_eq!(answer(&mut pipeline, 0), Answered::First);
        assert_eq!(local(&mut pipeline), Some(2));
        assert!(pipeline.is_stalled());
        assert_eq!(send(&mut pipeline), Some((2, 3)));
    }

    #[test]
    fn a_write_waits_for_the_sync_before_it_and_a_sync_does_not() {
        let mut pipeline = Pipeline::default();
        for (xid, op) in [(1, OpCode::Create), (2, OpCode::Sync), (3, OpCode::Sync), (4, OpCode::Create)] {
            pipeline.push_forward(job(xid, op));
        }
        let sent: Vec<_> = std::iter::from_fn(|| send(&mut pipeline)).map(|(_, xid)| xid).collect();
        assert_eq!(sent, [1, 2, 3]);
        assert_eq!(answer(&mut pipeline, 0), Answered::First);
        assert_eq!(answer(&mut pipeline, 1), Answered::First);
        assert_eq!(send(&mut pipeline), None);
        assert_eq!(answer(&mut pipeline, 2), Answered::First);
        assert_eq!(send(&mut pipeline), Some((3, 4)));
    }

    #[test]
    fn what_the_link_does_not_take_stays_where_it_is() {
        let mut pipeline = Pipeline::default();
        pipeline.push_forward(job(1, OpCode::Sync));
        pipeline.push_forward(job(2, OpCode::Create));
        let tag = pipeline.peek_unsent().map(|(tag, _)| tag).unwrap();
        assert!(pipeline.is_stalled() && pipeline.sent(tag).is_none());
        assert_eq!(send(&mut pipeline), Some((0, 1)));
        assert_eq!(
            pipeline.sent(tag).map(|(job, _)| (job.xid, job.body.len())),
            Some((1, 4)),
            "a sync's is kept"
        );
        assert_eq!(send(&mut pipeline), None);
    }

    #[test]
    fn what_is_refused_is_answered_in_its_place() {
        let mut pipeline = Pipeline::default();
        pipeline.push_forward(job(1, OpCode::Create));
        pipeline.push_forward(job(2, OpCode::Create));
        send(&mut pipeline);
        let (tag, second) = pipeline.peek_unsent().map(|(tag, job)| (tag, job.xid)).unwrap();
        assert_eq!((tag, second), (1, 2));
        assert_eq!(pipeline.refuse(tag, || Bytes::from_static(b"no")), Answered::Kept);
        assert_eq!((pipeline.held(), send(&mut pipeline)), (0, None));
        assert_eq!(answer(&mut pipeline, 0), Answered::First);
        assert!(matches!(pipeline.pop(), Some(Front::Done { reply, last: false }) if reply == "no"));
    }

    #[test]
    fn what_the_link_has_is_counted() {
        let mut pipeline = Pipeline::default();
        (1..=5).for_each(|xid| pipeline.push_forward(job(xid, OpCode::Create)));
        assert!(pipeline.peek_unsent().is_some());
        assert_eq!(pipeline.in_flight(), 0);
        assert_eq!((0..4).filter_map(|_| send(&mut pipeline)).count(), 4);
        answer(&mut pipeline, 2);
        answer(&mut pipeline, 0);
        assert_eq!(pipeline.in_flight(), 2);
        pipeline.refuse(4, Bytes::new);
        pipeline.fail(|_| Bytes::new());
        assert_eq!(pipeline.in_flight(), 0);
        pipeline.push_forward(job(6, OpCode::Create));
        send(&mut pipeline);
        pipeline.clear();
        assert_eq!(pipeline.in_flight(), 0);
    }

    #[test]
    fn held_bytes_are_those_that_wait_here() {
        let mut pipeline = Pipeline::default();
        pipeline.push_forward(job(1, OpCode::Create));
        pipeline.push_local(job(2, OpCode::GetData));
        assert_eq!(pipeline.held(), 8);
        send(&mut pipeline);
        assert_eq!(pipeline.held(), 4);
        answer(&mut pipeline, 0);
        local(&mut pipeline);
        assert_eq!((pipeline.held(), pipeline.len()), (0, 0));
    }

    #[test]
    fn what_waits_for_the_core_fails_together_and_reads_between_go_on() {
        let mut pipeline = Pipeline::default();
        pipeline.push_forward(job(1, OpCode::Create));
        pipeline.push_local(job(2, OpCode::GetData));
        pipeline.push_forward(job(3, OpCode::CloseSession));
        assert_eq!(send(&mut pipeline), Some((0, 1)));
        assert_eq!(pipeline.waits_for_core(), Some((0, true)));
        pipeline.fail(|job| Bytes::from(format!("failed {}", job.xid)));
        assert_eq!((pipeline.waits_for_core(), pipeline.held()), (None, 4));
        assert!(pipeline.sent(0).is_none(), "a late answer finds nobody");
        assert!(matches!(pipeline.pop(), Some(Front::Done { reply, last: false }) if reply == "failed 1"));
        assert_eq!(local(&mut pipeline), Some(2));
        assert!(matches!(pipeline.pop(), Some(Front::Done { reply, last: true }) if reply == "failed 3"));
        pipeline.push_forward(job(4, OpCode::Create));
        assert_eq!(pipeline.waits_for_core(), Some((3, false)));
        assert_eq!(send(&mut pipeline), Some((3, 4)));
    }

    #[test]
    fn answers_after_a_clear_are_unknown() {
        let mut pipeline = Pipeline::default();
        pipeline.push_forward(job(1, OpCode::CloseSession));
        assert!(pipeline.is_closing());
        send(&mut pipeline);
        pipeline.push_done(Bytes::new(), true);
        pipeline.clear();
        assert_eq!(answer(&mut pipeline, 0), Answered::Unknown);
        pipeline.push_forward(job(2, OpCode::Create));
        assert_eq!(send(&mut pipeline), Some((2, 2)));
    }
}
