//! What every client may rely on, as a check of what one of them saw.
//!
//! [`check`] needs the whole history of the tree and what one session saw, nothing else: tests of every kind can feed
//! it, in memory or over sockets. It finds each way to break these promises:
//!
//! * **Order**: a session's events come in the order of their transactions ([`Violation::OutOfOrder`]).
//! * **Once**: a one-shot watch fires at most once, a persistent one once per change and connection
//!   ([`Violation::Unasked`]).
//! * **Event before data** (G3), which is also that no reply's zxid is at or above that of an event that is withheld:
//!   what a reply stands for was told of before ([`Violation::Overtaken`]).
//! * **Never back in time** (G4): no reply stands for less than one before it, on whatever connection
//!   ([`Violation::WentBack`]).
//! * **No loss** (G5), over reconnects as well: the last reply of a session stands for everything
//!   ([`Violation::Overtaken`]), and persistent watches skip nothing ([`Violation::Skipped`]).

use palisade_wire::Zxid;
use palisade_wire::reply::EventType;

/// One effect of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The transaction.
    pub zxid: Zxid,
    /// What happened.
    pub kind: EventType,
    /// To which path.
    pub path: String,
}

impl Change {
    /// Of these parts.
    pub fn new(zxid: Zxid, kind: EventType, path: &str) -> Self {
        Self { zxid, kind, path: path.to_owned() }
    }
}

/// A kind of watch, as a client sets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// Data or existence of a znode that is there, once.
    Data,
    /// The same of one that is not. Set again after a znode came and went, it tells nothing of that: the protocol has
    /// no way to know.
    Exist,
    /// Children, once.
    Child,
    /// Both, until removed.
    Persistent,
    /// The path and all below it.
    Recursive,
}

impl Watch {
    const fn is_one_shot(self) -> bool {
        matches!(self, Self::Data | Self::Exist | Self::Child)
    }

    /// Whether this event ends a watch of this kind on `path`.
    pub fn is_used_up_by(self, path: &str, kind: EventType, changed: &str) -> bool {
        self.is_one_shot() && self.hears(path, kind, changed)
    }

    /// Whether a watch of this kind on `path` hears of this.
    fn hears(self, path: &str, kind: EventType, changed: &str) -> bool {
        use EventType::{NodeChildrenChanged, NodeDeleted};
        let below =
            || changed.strip_prefix(path.trim_end_matches('/')).is_some_and(|rest| rest.starts_with('/'));
        match self {
            Self::Data | Self::Exist => path == changed && kind != NodeChildrenChanged,
            Self::Child => path == changed && matches!(kind, NodeChildrenChanged | NodeDeleted),
            Self::Persistent => path == changed,
            Self::Recursive => kind != NodeChildrenChanged && (path == changed || below()),
        }
    }
}

/// What a client saw or did, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A new connection of its session. Its watches are set again before anything else.
    Connected,
    /// The server does not know what lasting watches missed before this connection: they may not be told.
    Gap,
    /// The server's tree was replaced as a whole by that of this zxid. What changed in between is told as of then, once
    /// per path and kind; what came and went is not.
    Replaced(Zxid),
    /// A reply with this zxid; replies that carry none (zero, negative) need not be told.
    Reply(Zxid),
    /// The answer to a ping, whose zxid this client does not remember; others are replies.
    Ping(Zxid),
    /// The reply before this set a watch.
    Watching(Watch, String),
    /// An event. Its zxid is negative if no transaction is named: it makes up for what was missed while away.
    Event(Change),
}

/// Which promise was broken, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// An event came after one of a later transaction, or after a reply that stands for it.
    OutOfOrder(Change),
    /// Nobody asked for this event: it did not happen, or its watch was used up, or it was told already.
    Unasked(Change),
    /// A reply stands for a change that the client was not told of.
    Overtaken {
        /// The reply's zxid.
        reply: Zxid,
        /// What was not told.
        missed: Change,
    },
    /// A reply stands for less than an earlier one.
    WentBack {
        /// What the earlier one stood for.
        before: Zxid,
        /// What this one does.
        reply: Zxid,
    },
    /// A persistent watch told of a change before it told of an earlier one.
    Skipped {
        /// What was told.
        told: Change,
        /// What was not.
        missed: Change,
    },
}

struct Armed {
    watch: Watch,
    path: String,
    /// Changes of the history before this one are told.
    next: usize,
    /// Those before this one were told on an earlier connection.
    before: usize,
}

struct Session<'a> {
    history: &'a [Change],
    merging: bool,
    armed: Vec<Armed>,
    last_reply: Zxid,
    last_event: Zxid,
    /// Whether the first reply of a connection is outstanding.
    catching_up: bool,
    /// Whether lasting watches may have missed what happened before that reply.
    gap: bool,
    /// Up to when changes were told as the difference of two trees only: for each tree shown since the last reply.
    replaced: Vec<Zxid>,
}

/// Checks what a session saw against all changes of the tree, in their order. No transaction may do the same to a path
/// twice. `merging` allows that a change of data is
/// not told if a later one of the same path is.
///
/// # Errors
/// The first violation.
pub fn check(history: &[Change], seen: &[Seen], merging: bool) -> Result<(), Violation> {
    let (last_reply, last_event) = (Zxid(0), Zxid(0));
    let mut session = Session {
        history,
        merging,
        armed: Vec::new(),
        last_reply,
        last_event,
        catching_up: false,
        gap: false,
        replaced: Vec::new(),
    };
    for step in seen {
        match step {
            Seen::Connected => {
                session.catching_up = true;
                session.last_event = session.last_reply;
                session.gap = false;
                session.replaced.clear();
                session.armed.iter_mut().for_each(|armed| armed.before = armed.next);
            }
            Seen::Gap => session.gap = true,
            Seen::Replaced(zxid) => session.replaced.push(*zxid),
            Seen::Reply(zxid) => session.reply(*zxid)?,
            Seen::Ping(zxid) => session.stands_for(*zxid)?,
            Seen::Watching(watch, path) => session.watch(*watch, path),
            Seen::Event(event) => session.event(event)?,
        }
    }
    Ok(())
}

impl Session<'_> {
    fn watch(&mut self, watch: Watch, path: &str) {
        if !self.armed.iter().any(|armed| armed.watch == watch && armed.path == path) {
            let next = self.end(self.last_reply);
            self.armed.push(Armed { watch, path: path.to_owned(), next, before: 0 });
        }
    }

    fn reply(&mut self, zxid: Zxid) -> Result<(), Violation> {
        if zxid < self.last_reply {
            return Err(Violation::WentBack { before: self.last_reply, reply: zxid });
        }
        self.stands_for(zxid)?;
        self.last_reply = zxid;
        Ok(())
    }

    /// The client is told that it is up to date as of `zxid`.
    fn stands_for(&mut self, zxid: Zxid) -> Result<(), Violation> {
        if self.catching_up {
            self.forgive_what_came_and_went(zxid);
        }
        if std::mem::take(&mut self.gap) {
            self.forgive_lasting_watches(zxid);
        }
        if let Some(replaced) = std::mem::take(&mut self.replaced).pop() {
            self.forgive_what_came_and_went(replaced);
            self.forgive_lasting_watches(replaced);
        }
        let end = self.end(zxid);
        for armed in &self.armed {
            let untold = self.history.get(armed.next..end).unwrap_or_default();
            if let Some(missed) =
                untold.iter().find(|change| armed.watch.hears(&armed.path, change.kind, &change.path))
            {
                return Err(Violation::Overtaken { reply: zxid, missed: missed.clone() });
            }
        }
        self.catching_up = false;
        Ok(())
    }

    /// How many changes there are up to `zxid`.
    fn end(&self, zxid: Zxid) -> usize {
        self.history.partition_point(|change| change.zxid <= zxid)
    }

    fn forgive_lasting_watches(&mut self, zxid: Zxid) {
        let end = self.end(zxid);
        for armed in self.armed.iter_mut().filter(|armed| !armed.watch.is_one_shot()) {
            armed.next = armed.next.max(end);
        }
    }

    fn forgive_what_came_and_went(&mut self, zxid: Zxid) {
        let end = self.end(zxid);
        for armed in self.armed.iter_mut().filter(|armed| armed.watch == Watch::Exist) {
            let there = |change: &&Change| {
                change.path == armed.path
                    && matches!(change.kind, EventType::NodeCreated | EventType::NodeDeleted)
            };
            let last = self.history[..end].iter().rev().find(there);
            if last.is_none_or(|last| last.kind == EventType::NodeDeleted) {
                armed.next = armed.next.max(end);
            }
        }
    }

    fn event(&mut self, event: &Change) -> Result<(), Violation> {
        if event.zxid.0 < 0 {
            return self.caught_up(event);
        }
        let again = self.was_told(event);
        if again && self.catching_up && event.zxid <= self.last_reply {
            return Ok(());
        }
        if event.zxid < self.last_event || event.zxid <= self.last_reply {
            return Err(Violation::OutOfOrder(event.clone()));
        }
        self.last_event = event.zxid;
        if self.replaced.contains(&event.zxid) {
            return self.summary(event);
        }
        let mut asked = false;
        let mut armed = std::mem::take(&mut self.armed);
        for armed in armed.iter_mut().filter(|armed| armed.watch.hears(&armed.path, event.kind, &event.path))
        {
            let told = self.history.iter().skip(armed.next).position(|change| change == event);
            let Some(told) = told.map(|at| armed.next + at) else { continue };
            asked = true;
            let missed = (armed.next..told).map(|at| &self.history[at]).find(|missed| {
                let replaced = self.merging && self.is_replaced(armed, missed);
                armed.watch.hears(&armed.path, missed.kind, &missed.path) && !replaced
            });
            // What makes up for the past uses up one-shot watches as well, whatever else it was that they missed.
            let caught_up = self.catching_up && (armed.watch.is_one_shot() || self.gap);
            let replaced = |missed: &Change| self.replaced.last().is_some_and(|zxid| missed.zxid <= *zxid);
            if let Some(missed) = missed.filter(|missed| !caught_up && !replaced(missed)) {
                return Err(Violation::Skipped { told: event.clone(), missed: missed.clone() });
            }
            armed.next = told + 1;
        }
        armed.retain(|armed| !(armed.watch.is_one_shot() && self.used_up(armed, event)));
        self.armed = armed;
        if asked || again { Ok(()) } else { Err(Violation::Unasked(event.clone())) }
    }

    /// Where the history goes on behind this change, or behind the first of those of its transaction that look the same.
    fn end_of(&self, event: &Change) -> Option<usize> {
        let end = self.end(event.zxid);
        let of_txn = self.history[..end].iter().rev().take_while(|change| change.zxid == event.zxid);
        of_txn.enumerate().filter(|(_, change)| *change == event).last().map(|(back, _)| end - back)
    }

    /// Whether a persistent watch told of this on an earlier connection. It may do so again: the server cannot know what
    /// arrived before that broke.
    fn was_told(&self, event: &Change) -> bool {
        let told = |armed: &Armed| {
            !armed.watch.is_one_shot()
                && armed.watch.hears(&armed.path, event.kind, &event.path)
                && self.end_of(event).is_some_and(|end| end <= armed.before)
        };
        self.armed.iter().any(told)
    }

    fn used_up(&self, armed: &Armed, event: &Change) -> bool {
        armed.watch.hears(&armed.path, event.kind, &event.path)
            && self.history.get(armed.next - 1) == Some(event)
    }

    /// Whether the change of data may be left out, as it is the same that the watch hears next of that path.
    fn is_replaced(&self, armed: &Armed, missed: &Change) -> bool {
        let next = |c: &&Change| c.path == missed.path && armed.watch.hears(&armed.path, c.kind, &c.path);
        let later = self.history.get(self.end(missed.zxid)..).unwrap_or_default();
        missed.kind == EventType::NodeDataChanged
            && later.iter().find(next).is_some_and(|next| next.kind == missed.kind)
    }

    /// An event that tells of the difference of two trees.
    fn summary(&mut self, event: &Change) -> Result<(), Violation> {
        let hears = |armed: &Armed| armed.watch.hears(&armed.path, event.kind, &event.path);
        if !self.armed.iter().any(hears) {
            return Err(Violation::Unasked(event.clone()));
        }
        self.armed.retain(|armed| !(armed.watch.is_one_shot() && hears(armed)));
        Ok(())
    }

    /// An event that makes up for what one-shot watches missed. Apache sends one per watch, even if they are of one
    /// change.
    fn caught_up(&mut self, event: &Change) -> Result<(), Violation> {
        if !self.catching_up {
            return Err(Violation::Unasked(event.clone()));
        }
        self.armed.retain(|armed| {
            !(armed.watch.is_one_shot() && armed.watch.hears(&armed.path, event.kind, &event.path))
        });
        Ok(())
    }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
