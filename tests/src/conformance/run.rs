//! Runs a sequence against one server, and writes down what every client is told.

use palisade_wire::reply::ReplyHeader;
use palisade_wire::request::{Create, Request, xid};
use palisade_wire::{Acl, OpCode, Reader, Zxid};

use super::connect::{Session, Slot};
use super::connection::{Connection, Silence};
use super::step::{Call, Connect, ROOT, Relative, SLOTS, Step};
use super::targets::{Kind, Target};
use super::text::{EVENT, Names};
use super::{Sessions, TIMEOUTS_MS};

/// What the clients were told in one step, line by line.
pub(super) type Told = Vec<String>;

/// Runs `steps` in a folder of its own, `root`, which must not be there yet; it is as long as [`ROOT`]. The first
/// element is what happened before the first step, the last what came behind the last. The run ends early when the
/// server does not answer.
pub(super) fn run(target: &Target, kind: Kind, root: &str, steps: &[Step]) -> Vec<Told> {
    let mut run = Run::new(&target.address, kind, root);
    let mut told = vec![run.begin()];
    for step in steps {
        told.push(run.step(step));
        if run.silent {
            return told;
        }
    }
    told.push(run.end());
    told
}

/// One run and its clients.
#[derive(Debug)]
pub(super) struct Run<'a> {
    pub(super) address: &'a str,
    pub(super) root: &'a str,
    kind: Kind,
    pub(super) slots: [Slot; SLOTS],
    /// A client that is not part of the sequence.
    bystander: Option<(Connection, Session)>,
    /// Sessions that no client uses any more.
    pub(super) left: Vec<Session>,
    pub(super) names: Names,
    start: i64,
    pub(super) told: Told,
    /// The server did not answer: nothing that follows says anything.
    silent: bool,
}

impl<'a> Run<'a> {
    fn new(address: &'a str, kind: Kind, root: &'a str) -> Self {
        Self {
            address,
            root,
            kind,
            bystander: None,
            slots: Default::default(),
            left: Vec::new(),
            names: Names::new(kind, root),
            start: 0,
            told: Told::new(),
            silent: false,
        }
    }

    fn begin(&mut self) -> Told {
        self.bystander = self.dial_bystander();
        for slot in 0..SLOTS {
            self.connect(slot, Connect::new_session(TIMEOUTS_MS.1));
        }
        let create =
            Create { path: ROOT.into(), data: Some(b"root"), acl: Acl::open(), flags: 0, ttl_ms: None };
        self.calls(0, &[Call::new(OpCode::Create, &Request::Create(create))]);
        self.start = self.slots[0].last_seen;
        self.names.start_at(self.start);
        std::mem::take(&mut self.told)
    }

    fn step(&mut self, step: &Step) -> Told {
        match step {
            Step::Calls(slot, calls) => self.calls(*slot, calls),
            Step::Garbage(slot, bytes) => self.garbage(*slot, &bytes.0),
            Step::Drop(slot, bytes) => {
                if let Some(mut connection) = self.slots[*slot].connection.take() {
                    connection.send(&bytes.0);
                }
            }
            Step::Connect(slot, how) => self.connect(*slot, *how),
            Step::Handshake(bytes) => self.handshake(&bytes.0),
            Step::Close(slot, calls) => self.close(*slot, calls),
        }
        std::mem::take(&mut self.told)
    }

    /// Reads what is still under way, and closes all sessions.
    fn end(&mut self) -> Told {
        self.barrier(|_| ());
        self.told.push(self.names.order());
        let told = std::mem::take(&mut self.told);
        let sessions = self.slots.iter_mut().filter_map(|slot| slot.session.take());
        let bystander = self.bystander.take().map(|(_, session)| session);
        for session in sessions.chain(std::mem::take(&mut self.left)).chain(bystander).collect::<Vec<_>>() {
            self.bury(session);
        }
        told
    }

    fn calls(&mut self, slot: usize, calls: &[Call]) {
        let Slot { connection: Some(connection), xid: last, last_seen, .. } = &mut self.slots[slot] else {
            self.told.push("not connected".to_owned());
            return;
        };
        let mut frames = Vec::new();
        let mut expected = Vec::new();
        for call in calls {
            *last = last.wrapping_add(1);
            let xid = call.xid.unwrap_or(*last);
            let relative = match call.relative {
                Some(Relative::LastSeen) => *last_seen,
                _ => self.start,
            };
            frames.extend_from_slice(&call.frame(xid, relative, self.root));
            if call.is(OpCode::Ping) && calls.len() > 1 {
                continue;
            }
            expected.push(Expected { call, xid });
        }
        connection.send(&frames);
        let pings = calls.len() - expected.len();
        let mut pongs = 0;
        for expected in &expected {
            let Some(reply) = self.reply(slot, expected, &mut pongs) else { break };
            self.told.push(reply);
        }
        if self.slots[slot].connection.is_none() {
            return;
        }
        // The rule on pings in a pipeline.
        if pings > 0 {
            while pongs < pings && self.pong(slot) {
                pongs += 1;
            }
            self.told.push(format!("{pongs} pings answered"));
        }
        if calls.iter().any(|call| self.kind.may_spare_its_zxid(call)) {
            self.level();
        }
    }

    /// Lets the bystander write something, after which all servers have used a new zxid, whether they had before or not.
    fn level(&mut self) {
        let Some((connection, _)) = &mut self.bystander else { return };
        let delete = Request::Delete { path: format!("{ROOT}/missing").into(), version: -1 };
        connection.send(&Call::new(OpCode::Delete, &delete).frame(1, 0, self.root));
        match connection.frame() {
            Ok(Some(frame)) => {
                let header = ReplyHeader::decode(&mut Reader::new(&frame));
                let zxid = header.map_or(0, |header| header.zxid.0);
                self.names.zxid(Zxid(zxid));
            }
            Ok(None) => self.told.push("the bystander's connection ended".to_owned()),
            Err(Silence) => self.silence(),
        }
    }

    /// The rule on local sessions: their beginning and end are no transactions.
    pub(super) fn level_sessions(&mut self) {
        if self.kind.sessions == Sessions::Local {
            self.level();
        }
    }

    /// Reads up to the reply that is expected, and counts pings' that come before.
    fn reply(&mut self, slot: usize, expected: &Expected<'_>, pongs: &mut usize) -> Option<String> {
        loop {
            let (header, body) = self.frame(slot)?;
            if header.xid == xid::PING && !expected.call.is(OpCode::Ping) {
                *pongs += 1;
                continue;
            }
            let last_seen = &mut self.slots[slot].last_seen;
            let went_back = (1..*last_seen).contains(&header.zxid.0);
            *last_seen = header.zxid.0.max(*last_seen);
            let any_zxid = expected.call.is(OpCode::CloseSession) && self.kind.sessions == Sessions::Local;
            let mut text = self.names.reply(expected.call, any_zxid, &header, &body);
            if header.xid != expected.xid {
                text += &format!(", as xid {} instead of {}", header.xid, expected.xid);
            }
            if went_back {
                text += ", with a zxid before an earlier one";
            }
            return Some(text);
        }
    }

    /// Reads up to a ping's reply; false if there is none.
    fn pong(&mut self, slot: usize) -> bool {
        let Some((header, _)) = self.frame(slot) else { return false };
        if header.xid != xid::PING {
            self.told.push(format!("a reply to the xid {} instead of a ping's", header.xid));
        }
        header.xid == xid::PING
    }

    /// Reads up to a frame that is no event; none at the end of the connection.
    fn frame(&mut self, slot: usize) -> Option<(ReplyHeader, Vec<u8>)> {
        loop {
            let frame = match self.slots[slot].connection.as_mut()?.frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => {
                    self.told.push("the connection ended".to_owned());
                    self.slots[slot].connection = None;
                    return None;
                }
                Err(Silence) => {
                    self.silence();
                    return None;
                }
            };
            let mut reader = Reader::new(&frame);
            match ReplyHeader::decode(&mut reader) {
                Ok(header) if header.xid == xid::NOTIFICATION => {
                    self.told.push(self.names.event(&header, reader.rest()));
                }
                Ok(header) => return Some((header, reader.rest().to_vec())),
                Err(_) => self.told.push(format!("a frame without a header: {}", frame.escape_ascii())),
            }
        }
    }

    fn garbage(&mut self, slot: usize, bytes: &[u8]) {
        let Some(mut connection) = self.slots[slot].connection.take() else {
            self.told.push("not connected".to_owned());
            return;
        };
        connection.send(bytes);
        self.until_the_end(connection);
    }

    pub(super) fn until_the_end(&mut self, mut connection: Connection) {
        loop {
            match connection.frame() {
                Ok(Some(frame)) => {
                    let mut reader = Reader::new(&frame);
                    match ReplyHeader::decode(&mut reader) {
                        Ok(header) if header.xid == xid::NOTIFICATION => {
                            self.told.push(self.names.event(&header, reader.rest()));
                        }
                        _ => self.told.push(format!("unexpected: {}", frame.escape_ascii())),
                    }
                }
                Ok(None) => return self.told.push("the connection ended".to_owned()),
                Err(Silence) => return self.silence(),
            }
        }
    }

    /// Closes a session. The order in which its ephemeral znodes go is the server's, so events that follow each other
    /// are sorted.
    fn close(&mut self, slot: usize, calls: &[Call]) {
        self.barrier(|_| ());
        let before = self.told.len();
        let last = Call::new(OpCode::CloseSession, &Request::CloseSession);
        self.calls(slot, &[calls, &[last]].concat());
        if let Some(connection) = self.slots[slot].connection.take() {
            self.until_the_end(connection);
            self.slots[slot].session = None;
        }
        self.level_sessions();
        sort_events(&mut self.told[before..]);
        self.barrier(sort_events);
    }

    /// Lets every client read the events that were sent to it.
    fn barrier(&mut self, arrange: impl Fn(&mut [String])) {
        for slot in 0..SLOTS {
            if self.slots[slot].connection.is_some() {
                self.told.push(format!("client {slot}:"));
                let before = self.told.len();
                self.calls(slot, &[Call::ping()]);
                arrange(&mut self.told[before..]);
            }
        }
    }

    pub(super) fn silence(&mut self) {
        self.told.push("SILENCE: no answer, and the connection stays open".to_owned());
        self.silent = true;
        self.slots.iter_mut().for_each(|slot| slot.connection = None);
    }
}

/// A reply that must come.
#[derive(Debug)]
struct Expected<'a> {
    call: &'a Call,
    xid: i32,
}

fn sort_events(told: &mut [String]) {
    told.chunk_by_mut(|line, next| line.starts_with(EVENT) && next.starts_with(EVENT))
        .for_each(<[String]>::sort);
}
