//! Runs a sequence against one server, and writes down what every client is told.

use palisade_wire::connect::{ConnectRequest, PASSWORD_LEN};
use palisade_wire::reply::ReplyHeader;
use palisade_wire::request::{Create, Request, xid};
use palisade_wire::{Acl, OpCode, Reader, SessionId, Zxid};

use super::connection::{Connection, Silence};
use super::step::{Call, Connect, ROOT, SLOTS, Step};
use super::text::Names;

/// So long that no session ends by itself.
const TIMEOUT_MS: i32 = 40_000;

/// What the clients were told in one step, line by line.
pub(super) type Told = Vec<String>;

/// Runs `steps` in a folder of its own, `root`, which must not be there yet; it is as long as [`ROOT`]. The first
/// element is what happened before the first step, the last what came behind the last.
///
/// # Errors
///
/// A server that does not answer, with what was told until then.
pub(super) fn run(address: &str, root: &str, steps: &[Step]) -> Vec<Told> {
    let mut run = Run::new(address, root);
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

/// A session as its client knows it.
type Session = (SessionId, [u8; PASSWORD_LEN]);

#[derive(Debug, Default)]
struct Slot {
    connection: Option<Connection>,
    session: Option<Session>,
    xid: i32,
    last_seen: i64,
}

#[derive(Debug)]
struct Run<'a> {
    address: &'a str,
    root: &'a str,
    slots: [Slot; SLOTS],
    /// Sessions that no client uses any more.
    left: Vec<Session>,
    names: Names,
    start: i64,
    told: Told,
    /// The server did not answer: nothing that follows says anything.
    silent: bool,
}

impl<'a> Run<'a> {
    fn new(address: &'a str, root: &'a str) -> Self {
        Self {
            address,
            root,
            slots: Default::default(),
            left: Vec::new(),
            names: Names::new(root),
            start: 0,
            told: Told::new(),
            silent: false,
        }
    }

    fn begin(&mut self) -> Told {
        for slot in 0..SLOTS {
            self.connect(slot, Connect::New);
        }
        let create =
            Create { path: ROOT.into(), data: Some(b"root"), acl: Acl::open(), flags: 0, ttl_ms: None };
        self.calls(0, &[Call::new(OpCode::Create, &Request::Create(create))]);
        self.start = self.slots[0].last_seen;
        std::mem::take(&mut self.told)
    }

    fn step(&mut self, step: &Step) -> Told {
        match step {
            Step::Calls(slot, calls) => self.calls(*slot, calls),
            Step::Garbage(slot, bytes) => self.garbage(*slot, bytes),
            Step::Drop(slot) => self.slots[*slot].connection = None,
            Step::Connect(slot, how) => self.connect(*slot, *how),
            Step::Close(slot) => self.close(*slot),
        }
        std::mem::take(&mut self.told)
    }

    /// Reads what is still under way, and closes all sessions.
    fn end(&mut self) -> Told {
        self.barrier();
        self.told.push(self.names.order());
        let told = std::mem::take(&mut self.told);
        let sessions = self.slots.iter_mut().filter_map(|slot| slot.session.take());
        for session in sessions.chain(std::mem::take(&mut self.left)).collect::<Vec<_>>() {
            self.bury(session);
        }
        told
    }

    fn bury(&mut self, session: Session) {
        let mut connection = self.open(Some(session), Zxid::ZERO, Some(false));
        if let Ok(Some((_, response))) = connection.connected()
            && response.session == session.0
        {
            connection.send(&Call::new(OpCode::CloseSession, &Request::CloseSession).frame(1, 0, self.root));
            while let Ok(Some(_)) = connection.frame() {}
        }
    }

    fn open(&self, session: Option<Session>, seen: Zxid, read_only: Option<bool>) -> Connection {
        let (session, password) = session.unwrap_or_default();
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: seen,
            timeout_ms: TIMEOUT_MS,
            session,
            password: &password,
            read_only,
        };
        Connection::open(self.address, &request)
    }

    fn connect(&mut self, slot: usize, how: Connect) {
        let session = self.slots[slot].session;
        let is_taken_over = how == Connect::TakeOver;
        let old = self.slots[slot].connection.take();
        let old = old.filter(|_| is_taken_over);
        let mut seen = Zxid::ZERO;
        let asked = match how {
            Connect::New | Connect::NewOld => {
                self.left.extend(self.slots[slot].session.take());
                None
            }
            Connect::Resume | Connect::TakeOver => session,
            Connect::WrongPassword => session.map(|(id, _)| (id, [7; PASSWORD_LEN])),
            Connect::Unknown => Some((0x0123_4567_89ab_cdef, [7; PASSWORD_LEN])),
            Connect::Ahead => {
                seen = Zxid(i64::MAX);
                session
            }
        };
        let read_only = (how != Connect::NewOld).then_some(false);
        let mut connection = self.open(asked, seen, read_only);
        match connection.connected() {
            Err(Silence) => self.silence(),
            Ok(None) => self.told.push("no answer but the end".to_owned()),
            Ok(Some((len, response))) => {
                let name = self.names.session(response.session);
                let (timeout, read_only) = (response.timeout_ms, response.read_only);
                self.told.push(format!("session {name} for {timeout} ms, {read_only:?}, {len} bytes"));
                if response.session == 0 {
                    self.until_the_end(connection);
                } else {
                    self.slots[slot].session = Some((response.session, response.password));
                    self.slots[slot].connection = Some(connection);
                    self.slots[slot].xid = 0;
                }
            }
        }
        if let Some(old) = old {
            self.told.push("the old connection:".to_owned());
            self.until_the_end(old);
        }
    }

    fn calls(&mut self, slot: usize, calls: &[Call]) {
        let Slot { connection: Some(connection), xid: last, last_seen, .. } = &mut self.slots[slot] else {
            self.told.push("not connected".to_owned());
            return;
        };
        let mut frames = Vec::new();
        let mut xids = Vec::new();
        for call in calls {
            *last += 1;
            let xid = call.xid.unwrap_or(*last);
            let relative = match call.relative {
                Some(super::step::Relative::LastSeen) => *last_seen,
                _ => self.start,
            };
            frames.extend_from_slice(&call.frame(xid, relative, self.root));
            xids.push(xid);
        }
        connection.send(&frames);
        for (call, xid) in calls.iter().zip(xids) {
            if !self.reply(slot, call, xid) {
                return;
            }
        }
        if calls.iter().any(Call::is_malformed_write) {
            self.write(slot);
        }
    }

    /// A write, so that all servers have used a new zxid.
    fn write(&mut self, slot: usize) {
        let path = format!("{ROOT}/missing").into();
        self.calls(slot, &[Call::new(OpCode::Delete, &Request::Delete { path, version: -1 })]);
    }

    /// Reads up to the reply to `call`; false if there is none.
    fn reply(&mut self, slot: usize, call: &Call, expected: i32) -> bool {
        loop {
            let Slot { connection: Some(connection), last_seen, .. } = &mut self.slots[slot] else {
                return false;
            };
            let frame = match connection.frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => {
                    self.told.push("the connection ended".to_owned());
                    self.slots[slot].connection = None;
                    return false;
                }
                Err(Silence) => {
                    self.silence();
                    return false;
                }
            };
            let mut reader = Reader::new(&frame);
            let Ok(header) = ReplyHeader::decode(&mut reader) else {
                self.told.push(format!("a frame without a header: {}", frame.escape_ascii()));
                continue;
            };
            if header.xid == xid::NOTIFICATION {
                self.told.push(self.names.event(&header, reader.rest()));
                continue;
            }
            if header.zxid.0 > 0 {
                *last_seen = header.zxid.0;
            }
            let mut text = self.names.reply(call, &header, reader.rest());
            if header.xid != expected {
                text += &format!(", as xid {} instead of {expected}", header.xid);
            }
            self.told.push(text);
            return true;
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

    fn until_the_end(&mut self, mut connection: Connection) {
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

    /// Closes a session. The order in which its ephemeral znodes go is the server's, so events are sorted.
    fn close(&mut self, slot: usize) {
        self.barrier();
        let before = self.told.len();
        self.calls(slot, &[Call::new(OpCode::CloseSession, &Request::CloseSession)]);
        if let Some(connection) = self.slots[slot].connection.take() {
            self.until_the_end(connection);
            self.slots[slot].session = None;
        }
        let mut after = self.told.split_off(before);
        after.sort();
        self.told.extend(after);
        self.barrier_with(<[String]>::sort);
    }

    /// Lets every client read the events that were sent to it.
    fn barrier(&mut self) {
        self.barrier_with(|_| ());
    }

    fn barrier_with(&mut self, arrange: impl Fn(&mut [String])) {
        let ping = Call { xid: Some(xid::PING), ..Call::new(OpCode::Ping, &Request::Ping) };
        for slot in 0..SLOTS {
            if self.slots[slot].connection.is_some() {
                self.told.push(format!("client {slot}:"));
                let before = self.told.len();
                self.calls(slot, std::slice::from_ref(&ping));
                arrange(&mut self.told[before..]);
            }
        }
    }

    fn silence(&mut self) {
        self.told.push("SILENCE: no answer, and the connection stays open".to_owned());
        self.silent = true;
        self.slots.iter_mut().for_each(|slot| slot.connection = None);
    }
}
