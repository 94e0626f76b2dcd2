//! Very many sessions that watch, whose connections break at any byte; and one that changes what they watch. Whatever
//! they see is checked by the watch engine's own rules ([`palisade_watch::check`]).

use std::collections::{BTreeSet, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use palisade_watch::check::{Change, Seen, Watch, check};
use palisade_wire::connect::{ConnectRequest, ConnectResponse};
use palisade_wire::reply::EventType::{NodeChildrenChanged, NodeCreated, NodeDataChanged, NodeDeleted};
use palisade_wire::reply::{EventType, ReplyHeader, WatchEvent};
use palisade_wire::request::{Create, PathWatch, Request, RequestHeader, SetWatches, xid};
use palisade_wire::{Acl, ErrorCode, OpCode, Reader, SessionId, Zxid, frame, path};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::wait::PATIENCE;

const TIMEOUT_MS: i32 = 30_000;
const MAX_FRAME: usize = 4 << 20;
const ROOT: &str = "/watched";
const PATHS: [&str; 8] = [
    "/watched",
    "/watched/a",
    "/watched/a/x",
    "/watched/a/y",
    "/watched/b",
    "/watched/b/x",
    "/watched/c",
    "/watched/d",
];
const THREADS: usize = 4;
/// Time between two looks at a client, and between two changes.
const BEAT: Duration = Duration::from_millis(20);

/// How many, and how much happens.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Sessions that watch.
    pub watchers: usize,
    /// Transactions.
    pub changes: usize,
}

/// What happened in all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Events that clients received.
    pub events: usize,
    /// Connections that broke while their sessions went on.
    pub reconnects: usize,
}

/// Lets watchers connect to any of these addresses, of which the first is the writer's, and checks what they saw.
///
/// # Panics
/// Somebody was told wrongly, or not at all.
#[track_caller]
pub fn run(addresses: &[String], size: Size, seed: u64) -> Tally {
    run_while(&addresses[0], addresses, size, seed, |_| ())
}

/// The same with a writer that has a server of its own. Before each change, numbered from 0, something may be done to the
/// watchers' servers, which must all be there in the end.
///
/// # Panics
/// Somebody was told wrongly, or not at all.
#[track_caller]
pub fn run_while(
    to_writer: &str,
    addresses: &[String],
    size: Size,
    seed: u64,
    mut meanwhile: impl FnMut(usize),
) -> Tally {
    let mut writer = Writer::connect(to_writer, seed);
    writer.create(ROOT);
    let ended = AtomicBool::new(false);
    let (history, watchers) = thread::scope(|scope| {
        let end = End(&ended);
        let parts: Vec<_> = (0..THREADS)
            .map(|part| {
                let count = size.watchers / THREADS;
                let ended = &ended;
                scope.spawn(move || watch(addresses, seed + 1 + part as u64, count, ended))
            })
            .collect();
        for change in 0..size.changes {
            meanwhile(change);
            writer.change();
            thread::sleep(BEAT);
        }
        drop(end);
        let watchers: Vec<_> =
            parts.into_iter().flat_map(|part| part.join().expect("a thread of watchers")).collect();
        (writer.history, watchers)
    });
    judge(&history, &watchers, false)
}

fn judge(history: &[Change], watchers: &[Watcher], merging: bool) -> Tally {
    let mut tally = Tally::default();
    for watcher in watchers {
        if let Err(violation) = check(history, &watcher.seen, merging) {
            panic!("session {:#x}: {violation:?}\n{:#?}", watcher.session, watcher.seen);
        }
        tally.events += watcher.seen.iter().filter(|seen| matches!(seen, Seen::Event(_))).count();
        tally.reconnects += watcher.seen.iter().filter(|seen| matches!(seen, Seen::Connected)).count();
    }
    tally
}

/// Lets one znode change `rate` times a second while all watch it lastingly, and checks what they saw. `merging` says
/// whether a change of data may be told by the next one.
///
/// # Panics
/// Somebody was told wrongly, or not at all.
#[track_caller]
pub fn burst(address: &str, size: Size, rate: usize, merging: bool) -> Tally {
    let mut writer = Writer::connect(address, 0);
    writer.create(ROOT);
    let ended = AtomicBool::new(false);
    let (ready, begun) = channel();
    let watchers = thread::scope(|scope| {
        let end = End(&ended);
        let hear = |ready: Sender<()>| {
            let mut watchers: Vec<_> = (0..size.watchers / THREADS).map(|_| Watcher::default()).collect();
            for watcher in &mut watchers {
                watcher.connect(address);
                watcher.read(ROOT, Some(Watch::Persistent));
                watcher.receive_all();
                watcher.listen();
            }
            ready.send(()).expect("the writer waits");
            while !ended.load(Ordering::Acquire) {
                watchers.iter_mut().for_each(|watcher| watcher.receive(usize::MAX));
                thread::sleep(BEAT);
            }
            finish(&mut watchers);
            watchers
        };
        let spawn = |ready: Sender<()>| scope.spawn(move || hear(ready));
        let parts: Vec<_> = vec![ready; THREADS].into_iter().map(spawn).collect();
        (0..THREADS).for_each(|_| begun.recv().expect("all watchers connect"));
        writer.burst(size.changes, rate);
        drop(end);
        parts.into_iter().flat_map(|part| part.join().expect("a thread of watchers")).collect::<Vec<_>>()
    });
    judge(&writer.history, &watchers, merging)
}

/// Ends the watchers' threads, also when the writer panics.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Some watchers, until the writer has done its work and they have seen all of it.
fn watch(addresses: &[String], seed: u64, count: usize, ended: &AtomicBool) -> Vec<Watcher> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut watchers: Vec<_> = (0..count).map(|_| Watcher::default()).collect();
    let any = |random: &mut ChaCha8Rng| &addresses[random.random_range(0..addresses.len())];
    while !ended.load(Ordering::Acquire) {
        for watcher in &mut watchers {
            match random.random_range(0..100) {
                0..20 if watcher.stream.is_none() => watcher.connect(any(&mut random)),
                _ if watcher.stream.is_none() => {}
                0..10 => watcher.ask(&mut random),
                10..12 => watcher.ping(),
                12..14 => {
                    watcher.receive(random.random_range(0..300));
                    watcher.disconnect();
                }
                14..50 => watcher.receive(usize::MAX),
                _ => {}
            }
        }
        thread::sleep(BEAT);
    }
    for watcher in &mut watchers {
        if watcher.stream.is_none() {
            watcher.connect(any(&mut random));
        }
    }
    finish(&mut watchers);
    watchers
}

/// The last thing that they see stands for everything.
fn finish(watchers: &mut [Watcher]) {
    for watcher in &mut *watchers {
        watcher.send(OpCode::Sync, &Request::Sync(Some("/".into())), None);
        watcher.send(OpCode::Exists, &Request::Exists(PathWatch { path: "/".into(), watch: false }), None);
    }
    watchers.iter_mut().for_each(Watcher::receive_all);
}

/// What a client watches.
type Armed = (Watch, String);

/// One session, on one connection at a time.
#[derive(Debug, Default)]
struct Watcher {
    stream: Option<TcpStream>,
    input: BytesMut,
    session: SessionId,
    password: [u8; 16],
    last: Zxid,
    /// What the outstanding requests register.
    asked: VecDeque<Option<Armed>>,
    armed: Vec<Armed>,
    seen: Vec<Seen>,
}

impl Watcher {
    /// Connects, and sets the watches again behind the first frame, as clients do. Without a server, nothing happens.
    fn connect(&mut self, address: &str) {
        let Ok(mut stream) = TcpStream::connect(address) else { return };
        stream.set_nodelay(true).expect("a socket option of every TCP socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket option of every TCP socket");
        let mut out = BytesMut::new();
        let hello = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: self.last,
            timeout_ms: TIMEOUT_MS,
            session: self.session,
            password: &self.password,
            read_only: Some(false),
        };
        frame::write(&mut out, |b| hello.encode(b));
        if !self.armed.is_empty() {
            let of = |kind| {
                let paths = self.armed.iter().filter(move |(watch, _)| *watch == kind);
                paths.map(|(_, path)| path.clone().into()).collect()
            };
            let watches = SetWatches {
                relative_zxid: self.last,
                data: of(Watch::Data),
                exist: of(Watch::Exist),
                child: of(Watch::Child),
                persistent: of(Watch::Persistent),
                recursive: of(Watch::Recursive),
            };
            encode(&mut out, xid::SET_WATCHES, OpCode::SetWatches2, &Request::SetWatches(watches));
            self.asked.push_back(None);
        }
        let written = stream.write_all(&out).is_ok();
        let Some(response) = first_frame(&mut stream, &mut self.input).filter(|_| written) else {
            return self.disconnect();
        };
        if self.session != 0 {
            self.seen.push(Seen::Connected);
        }
        let response = ConnectResponse::decode(&response).expect("a handshake's answer");
        assert!(response.session != 0, "session {:#x} is refused", self.session);
        assert!(self.session == 0 || self.session == response.session, "it stays the same session");
        (self.session, self.password) = (response.session, response.password);
        self.stream = Some(stream);
        self.listen();
    }

    /// Waits for nothing when it receives.
    fn listen(&self) {
        if let Some(stream) = &self.stream {
            stream.set_nonblocking(true).expect("a socket option of every TCP socket");
        }
    }

    fn disconnect(&mut self) {
        self.stream = None;
        self.input.clear();
        self.asked.clear();
    }

    fn send(&mut self, op: OpCode, request: &Request<'_>, registers: Option<Armed>) {
        self.asked.push_back(registers);
        self.write(1, op, request);
    }

    fn ping(&mut self) {
        self.write(xid::PING, OpCode::Ping, &Request::Ping);
    }

    fn write(&mut self, xid: i32, op: OpCode, request: &Request<'_>) {
        let Some(stream) = &mut self.stream else { return };
        let mut out = BytesMut::new();
        encode(&mut out, xid, op, request);
        // A few small requests always fit into a socket that is alive.
        if stream.write_all(&out).is_err() {
            self.disconnect();
        }
    }

    fn ask(&mut self, random: &mut ChaCha8Rng) {
        let at = PATHS[random.random_range(0..PATHS.len())];
        let wanted = match random.random_range(0..7) {
            0 | 1 => Watch::Data,
            2 => Watch::Exist,
            3 => Watch::Child,
            4 => Watch::Persistent,
            5 => Watch::Recursive,
            _ => return self.read(at, None),
        };
        // No watch while an event may be on its way that would use an earlier one up.
        let same = |watch: Watch| match wanted {
            Watch::Data | Watch::Exist => matches!(watch, Watch::Data | Watch::Exist),
            other => watch == other,
        };
        let is_same = |(watch, path): &Armed| same(*watch) && path == at;
        let taken = self.asked.iter().flatten().any(is_same) || self.armed.iter().any(is_same);
        self.read(at, Some(wanted).filter(|_| !taken));
    }

    fn read(&mut self, at: &str, wanted: Option<Watch>) {
        let (watch, path) = (wanted.is_some(), at.into());
        let (op, request) = match wanted {
            Some(Watch::Exist) => (OpCode::Exists, Request::Exists(PathWatch { path, watch })),
            Some(Watch::Child) => (OpCode::GetChildren, Request::GetChildren(PathWatch { path, watch })),
            Some(Watch::Persistent) => (OpCode::AddWatch, Request::AddWatch { path, mode: 0 }),
            Some(Watch::Recursive) => (OpCode::AddWatch, Request::AddWatch { path, mode: 1 }),
            Some(Watch::Data) | None => (OpCode::GetData, Request::GetData(PathWatch { path, watch })),
        };
        self.send(op, &request, wanted.map(|watch| (watch, at.to_owned())));
    }

    /// Takes at most `count` bytes of what is there.
    fn receive(&mut self, mut count: usize) {
        let mut chunk = [0; 4096];
        while let Some(stream) = &mut self.stream
            && count > 0
        {
            match stream.read(&mut chunk[..count.min(4096)]) {
                Ok(0) => self.disconnect(),
                Ok(taken) => {
                    self.input.extend_from_slice(&chunk[..taken]);
                    count -= taken;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => self.disconnect(),
            }
        }
        while let Some(frame) = frame::split(&mut self.input, MAX_FRAME).expect("frames are whole") {
            self.accept(&frame);
        }
    }

    /// Waits until everything is answered.
    fn receive_all(&mut self) {
        if let Some(stream) = &self.stream {
            stream.set_nonblocking(false).expect("a socket option of every TCP socket");
        }
        self.receive(0);
        while !self.asked.is_empty() {
            let mut chunk = [0; 4096];
            let stream = self.stream.as_mut().expect("the gateway closes no connection");
            let taken = stream.read(&mut chunk).expect("an answer");
            assert!(taken > 0, "the gateway closes no connection");
            self.input.extend_from_slice(&chunk[..taken]);
            self.receive(0);
        }
    }

    fn accept(&mut self, frame: &[u8]) {
        let mut r = Reader::new(frame);
        let header = ReplyHeader::decode(&mut r).expect("a header");
        match header.xid {
            xid::NOTIFICATION => {
                let event = WatchEvent::decode(&header, r.rest()).expect("an event");
                self.armed.retain(|(watch, path)| !watch.is_used_up_by(path, event.kind, event.path));
                self.seen.push(Seen::Event(Change::new(event.zxid, event.kind, event.path)));
            }
            // Java's client does not remember it, either.
            xid::PING => self.seen.push(Seen::Ping(header.zxid)),
            _ => self.reply(&header),
        }
    }

    fn reply(&mut self, header: &ReplyHeader) {
        self.seen.push(Seen::Reply(header.zxid));
        self.last = header.zxid;
        let Some((watch, path)) = self.asked.pop_front().expect("an answer to a request") else { return };
        let watch = match (watch, header.err) {
            (Watch::Exist, ErrorCode::OK) => Watch::Data,
            (Watch::Exist, ErrorCode::NO_NODE) | (_, ErrorCode::OK) => watch,
            (Watch::Data | Watch::Child, ErrorCode::NO_NODE) => return,
            (_, error) => panic!("{watch:?} of {path}: {error}"),
        };
        self.seen.push(Seen::Watching(watch, path.clone()));
        let armed = (watch, path);
        if !self.armed.contains(&armed) {
            self.armed.push(armed);
        }
    }
}

fn encode(out: &mut BytesMut, xid: i32, op: OpCode, request: &Request<'_>) {
    frame::write(out, |b| {
        RequestHeader { xid, op: op.as_i32() }.encode(b);
        request.encode(b);
    });
}

/// Reads until a frame is whole; none if the server ends.
fn first_frame(stream: &mut TcpStream, input: &mut BytesMut) -> Option<bytes::Bytes> {
    let mut chunk = [0; 4096];
    loop {
        if let Some(frame) = frame::split(input, MAX_FRAME).expect("frames are whole") {
            return Some(frame);
        }
        let taken = stream.read(&mut chunk).ok().filter(|taken| *taken > 0)?;
        input.extend_from_slice(&chunk[..taken]);
    }
}

/// The session that changes everything, and knows what it changed.
struct Writer {
    session: Watcher,
    exists: BTreeSet<&'static str>,
    history: Vec<Change>,
    random: ChaCha8Rng,
}

impl Writer {
    fn connect(address: &str, seed: u64) -> Self {
        let mut session = Watcher::default();
        session.connect(address);
        let random = ChaCha8Rng::seed_from_u64(seed);
        Self { session, exists: BTreeSet::new(), history: Vec::new(), random }
    }

    fn change(&mut self) {
        let at = PATHS[self.random.random_range(0..PATHS.len())];
        let parent_exists = path::parent(at).is_some_and(|parent| self.exists.contains(parent));
        let has_children = self.exists.iter().any(|other| path::parent(other) == Some(at));
        if !self.exists.contains(at) && parent_exists {
            self.create(at);
        } else if self.exists.contains(at) && at != ROOT && !has_children && self.random.random_bool(0.4) {
            let zxid = self.call(OpCode::Delete, &Request::Delete { path: at.into(), version: -1 });
            self.exists.remove(at);
            self.happened(zxid, at, NodeDeleted);
        } else if self.exists.contains(at) {
            let request = Request::SetData { path: at.into(), data: Some(b"x"), version: -1 };
            let zxid = self.call(OpCode::SetData, &request);
            self.history.push(Change::new(zxid, NodeDataChanged, at));
        }
    }

    fn create(&mut self, at: &'static str) {
        let create = Create { path: at.into(), data: None, acl: Acl::open(), flags: 0, ttl_ms: None };
        let zxid = self.call(OpCode::Create, &Request::Create(create));
        self.exists.insert(at);
        self.happened(zxid, at, NodeCreated);
    }

    fn happened(&mut self, zxid: Zxid, at: &str, kind: EventType) {
        self.history.push(Change::new(zxid, kind, at));
        let parent = path::parent(at).expect("no other than the root has none");
        self.history.push(Change::new(zxid, NodeChildrenChanged, parent));
    }

    /// Changes the root's data so many times, without waiting for each answer.
    fn burst(&mut self, changes: usize, rate: usize) {
        let (begin, first) = (Instant::now(), self.session.seen.len());
        for sent in 0..changes {
            let due = Duration::from_secs(1) * sent as u32 / rate as u32;
            thread::sleep(due.saturating_sub(begin.elapsed()));
            let request = Request::SetData { path: ROOT.into(), data: Some(b"x"), version: -1 };
            self.session.send(OpCode::SetData, &request, None);
            self.session.listen();
            self.session.receive(usize::MAX);
        }
        self.session.receive_all();
        let answers = self.session.seen[first..].iter();
        self.history.extend(answers.filter_map(|seen| match seen {
            Seen::Reply(zxid) => Some(Change::new(*zxid, NodeDataChanged, ROOT)),
            _ => None,
        }));
    }

    /// The zxid of the transaction.
    fn call(&mut self, op: OpCode, request: &Request<'_>) -> Zxid {
        self.session.send(op, request, None);
        self.session.receive_all();
        self.session.last
    }
}
