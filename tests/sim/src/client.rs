//! A client, as the client libraries are: it keeps its session alive, gives its connection up when that is silent,
//! looks for another gateway, registers its watches again. And it checks what it is told.

mod told;

use std::collections::{BTreeSet, VecDeque};

use bytes::{Bytes, BytesMut};
use palisade_watch::check::{Seen, Watch, check};
use palisade_wire::connect::{ConnectRequest, PASSWORD_LEN};
use palisade_wire::request::{PathWatch, Request, RequestHeader, SetWatches, xid};
use palisade_wire::{OpCode, SessionId, Zxid, frame};

use crate::effects::Effects;
use crate::history::History;
use crate::oracle::{Check, Violation};
use crate::params::Habits;
use crate::wires::WireId;

const MAX_FRAME: usize = 1 << 20;

/// How a client stands to its gateways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// It has no connection.
    None,
    /// It has asked for its session over this one.
    Opening(WireId),
    /// It has its session.
    Open(WireId),
}

/// What a request was, as far as its reply tells.
#[derive(Clone, Debug)]
pub(crate) enum Asked {
    /// Data and stat, and perhaps a watch.
    Data(String, bool),
    /// Existence, and perhaps a watch.
    Exists(String, bool),
    /// Children, and perhaps a watch.
    Children(String, bool),
    /// A persistent watch of either kind.
    AddWatch(Watch, String),
    /// A write.
    Write(Write),
    /// A barrier behind this transaction.
    Sync(Zxid),
    /// Watches that are set again.
    Watches,
    /// The end of the session.
    Close,
}

/// What is to be known of a write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Write {
    /// Its number, if it carries one.
    pub(crate) number: Option<u32>,
    /// Its type.
    pub(crate) op: i32,
    /// Whether it creates an ephemeral znode.
    pub(crate) ephemeral: bool,
}

/// What came of what was received.
#[derive(Debug, Default)]
pub(crate) struct Received {
    /// To be sent.
    pub(crate) answer: Option<Bytes>,
    /// Writes that were answered with their outcome, and those of which nobody knows it.
    pub(crate) answered: usize,
    pub(crate) lost: usize,
    /// Whether the connection is of no use any more.
    pub(crate) over: bool,
}

/// What all clients compare with.
#[derive(Debug)]
pub(crate) struct Truth<'a> {
    pub(crate) history: &'a History,
    pub(crate) effects: &'a mut Effects,
    /// Whether held events may be merged.
    pub(crate) merging: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) session: SessionId,
    password: [u8; PASSWORD_LEN],
    last_zxid: Zxid,
    next_xid: i32,
    pub(crate) habits: Habits,
    pub(crate) link: Link,
    inbox: BytesMut,
    asked: VecDeque<(i32, Asked)>,
    armed: Vec<(Watch, String)>,
    seen: Vec<Seen>,
    /// Whether it asked for its session's end.
    pub(crate) closing: bool,
    /// The ephemeral znodes that it was told that it has, by the transactions that created them.
    owned: BTreeSet<Zxid>,
    /// When it was sent something last, or began to wait for it.
    heard: u64,
    /// When it last sent something.
    sent: u64,
    /// What its gateway remembers.
    pub(crate) horizon: Zxid,
    /// It dials nobody before this.
    pub(crate) not_before: u64,
    /// Pings answered over the present connection.
    pub(crate) pings: usize,
}

impl Client {
    pub(crate) fn new(habits: Habits) -> Self {
        Self {
            session: 0,
            password: [0; PASSWORD_LEN],
            last_zxid: Zxid::ZERO,
            next_xid: 0,
            habits,
            link: Link::None,
            inbox: BytesMut::new(),
            asked: VecDeque::new(),
            armed: Vec::new(),
            seen: Vec::new(),
            closing: false,
            owned: BTreeSet::new(),
            heard: 0,
            sent: 0,
            horizon: Zxid::ZERO,
            not_before: 0,
            pings: 0,
        }
    }

    /// Whether its application takes it that it has its session.
    pub(crate) const fn believes(&self, now: u64) -> bool {
        matches!(self.link, Link::Open(_)) && !self.closing && !self.is_fed_up(now)
    }

    /// When it lost ephemeral znodes that it was told that it has, and with them its session.
    pub(crate) fn was_robbed(&self, history: &History) -> Option<Zxid> {
        let bereavement = history.bereaved(self.session)?;
        (!self.owned.is_disjoint(&bereavement.lost)).then_some(bereavement.at)
    }

    /// Whether it has heard nothing for too long: two thirds of the timeout, as in Java.
    pub(crate) const fn is_fed_up(&self, now: u64) -> bool {
        now >= self.heard + 2 * self.habits.timeout / 3
    }

    /// Whether the server must be shown that it is there.
    pub(crate) const fn owes_ping(&self, now: u64) -> bool {
        now >= self.sent + self.habits.timeout / 3
    }

    /// Requests that are not answered.
    pub(crate) fn waiting(&self) -> usize {
        self.asked.len()
    }

    /// Whether it has or is about to have such a watch. Then it asks for no other: an event may be on its way that uses
    /// the first up.
    fn watches(&self, path: &str, wanted: &[Watch]) -> bool {
        let asked = self.asked.iter().any(|(_, asked)| match asked {
            Asked::Data(other, true) => other == path && wanted.contains(&Watch::Data),
            Asked::Exists(other, true) => other == path && wanted.contains(&Watch::Exist),
            Asked::Children(other, true) => other == path && wanted.contains(&Watch::Child),
            Asked::AddWatch(watch, other) => other == path && wanted.contains(watch),
            _ => false,
        });
        asked || self.armed.iter().any(|(watch, other)| other == path && wanted.contains(watch))
    }

    /// Dials, and asks for its session or a new one.
    pub(crate) fn open(&mut self, wire: WireId, now: u64) -> Bytes {
        (self.link, self.heard, self.sent, self.pings) = (Link::Opening(wire), now, now, 0);
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: self.last_zxid,
            timeout_ms: self.habits.timeout as i32,
            session: self.session,
            password: &self.password,
            read_only: Some(false),
        };
        let mut bytes = BytesMut::new();
        frame::write(&mut bytes, |b| request.encode(b));
        bytes.freeze()
    }

    /// The connection is gone, or is given up.
    pub(crate) fn lose(&mut self) {
        self.link = Link::None;
        self.inbox.clear();
        self.asked.clear();
    }

    fn frame(&mut self, xid: i32, op: OpCode, request: &Request<'_>) -> Bytes {
        let mut bytes = BytesMut::new();
        frame::write(&mut bytes, |b| {
            RequestHeader { xid, op: op.as_i32() }.encode(b);
            request.encode(b);
        });
        bytes.freeze()
    }

    pub(crate) fn ping(&mut self, now: u64) -> Bytes {
        self.sent = now;
        self.frame(xid::PING, OpCode::Ping, &Request::Ping)
    }

    fn xid(&mut self) -> i32 {
        self.next_xid += 1;
        self.next_xid
    }

    /// A write, whose body is made elsewhere.
    pub(crate) fn write(&mut self, write: Write, body: &[u8], now: u64) -> Bytes {
        let xid = self.xid();
        self.sent = now;
        self.asked.push_back((xid, Asked::Write(write)));
        let mut bytes = BytesMut::new();
        frame::write(&mut bytes, |b| {
            RequestHeader { xid, op: write.op }.encode(b);
            b.extend_from_slice(body);
        });
        bytes.freeze()
    }

    /// Any other request.
    pub(crate) fn ask(&mut self, asked: Asked, now: u64) -> Bytes {
        let read = |path: &str, watch| PathWatch { path: path.to_owned().into(), watch };
        let asked = match asked {
            Asked::Data(path, watch) => {
                let watch = watch && !self.watches(&path, &[Watch::Data]);
                Asked::Data(path, watch)
            }
            Asked::Exists(path, watch) => {
                let watch = watch && !self.watches(&path, &[Watch::Data, Watch::Exist]);
                Asked::Exists(path, watch)
            }
            Asked::Children(path, watch) => {
                let watch = watch && !self.watches(&path, &[Watch::Child]);
                Asked::Children(path, watch)
            }
            Asked::AddWatch(watch, path) if self.watches(&path, &[watch]) => Asked::Exists(path, false),
            other => other,
        };
        let (op, request) = match &asked {
            Asked::Data(path, watch) => (OpCode::GetData, Request::GetData(read(path, *watch))),
            Asked::Exists(path, watch) => (OpCode::Exists, Request::Exists(read(path, *watch))),
            Asked::Children(path, watch) => (OpCode::GetChildren2, Request::GetChildren2(read(path, *watch))),
            Asked::AddWatch(watch, path) => {
                let mode = i32::from(*watch == Watch::Recursive);
                (OpCode::AddWatch, Request::AddWatch { path: path.clone().into(), mode })
            }
            Asked::Sync(_) => (OpCode::Sync, Request::Sync(Some("/".into()))),
            Asked::Close => (OpCode::CloseSession, Request::CloseSession),
            Asked::Write(..) | Asked::Watches => (OpCode::Ping, Request::Ping),
        };
        self.closing |= matches!(asked, Asked::Close);
        self.sent = now;
        let xid = self.xid();
        let bytes = self.frame(xid, op, &request);
        self.asked.push_back((xid, asked));
        bytes
    }

    /// Watches are set again before anything else.
    fn rewatch(&mut self) -> Bytes {
        let of = |kind| {
            self.armed.iter().filter(move |(watch, _)| *watch == kind).map(|(_, path)| path.clone().into())
        };
        let watches = SetWatches {
            relative_zxid: self.last_zxid,
            data: of(Watch::Data).collect(),
            exist: of(Watch::Exist).collect(),
            child: of(Watch::Child).collect(),
            persistent: of(Watch::Persistent).collect(),
            recursive: of(Watch::Recursive).collect(),
        };
        self.asked.push_back((xid::SET_WATCHES, Asked::Watches));
        self.frame(xid::SET_WATCHES, OpCode::SetWatches2, &Request::SetWatches(watches))
    }

    /// The gateway's tree was replaced, which only the simulator knows.
    pub(crate) fn replaced(&mut self, zxid: Zxid) {
        if matches!(self.link, Link::Open(_)) {
            self.seen.push(Seen::Replaced(zxid));
            if self.asked.iter().any(|(_, asked)| matches!(asked, Asked::Watches)) {
                self.seen.push(Seen::Gap);
            }
        }
    }

    /// Whether all that this session saw is what it may rely on.
    pub(crate) fn check(&self, history: &History, merging: bool) -> Check {
        check(history.changes(), &self.seen, merging)
            .map_err(|v| Violation(format!("Watches: session {:#x}: {v:?}\n{:#?}", self.session, self.seen)))
    }
}
