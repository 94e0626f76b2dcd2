//! The floor: the same load on a server that only echoes. What it uses is what the operating system takes for the
//! same frames on the same connections, so no server can use less.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use bytes::{BufMut, BytesMut};
use palisade_wire::connect::{ConnectResponse, session_password};
use palisade_wire::{Stat, frame};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};

use crate::env::Env;
use crate::failure::Failure;
use crate::net::sessions;
use crate::outcome::Outcome;
use crate::process::Process;
use crate::scenario::requests::Load;
use crate::scenario::steady::{self, Steady};
use crate::site::Site;
use crate::usage::Servers;

/// The hidden command that makes this program the echo server.
pub(crate) const COMMAND: &str = "echo-server";
/// How long the echo server may take to start.
const START_LIMIT: Duration = Duration::from_secs(10);
/// Bytes of a reply's header.
const HEADER: usize = 16;
const SESSION: i64 = 1;
const LISTENER: u64 = u64::MAX;

/// Bytes of the answer to each request of the load, without the frame's length; none if an echo cannot stand for it.
pub(crate) fn answer_len(steady: &Steady) -> Option<usize> {
    match steady.load {
        Load::Get => Some(HEADER + 4 + steady.size + Stat::LEN),
        Load::Exists | Load::Set => Some(HEADER + Stat::LEN),
        Load::Children => {
            let names: usize = (0..steady.children).map(|n| 4 + steady::child_name(n).len()).sum();
            Some(HEADER + 4 + names + Stat::LEN)
        }
        Load::Mixed(_) | Load::Create | Load::Ephemeral => None,
    }
}

/// Fails unless there is a floor of this load; otherwise returns the length of an answer.
fn check(steady: &Steady) -> Result<usize, Failure> {
    answer_len(steady).ok_or_else(|| {
        let name = steady.load.name();
        Failure::Before(format!("there is no floor of {name}: an echo cannot stand for it"))
    })
}

/// Runs the load on an echo server, which is a process of its own.
pub(crate) fn run(env: &Env, steady: &Steady) -> Result<Outcome, Failure> {
    let length = check(steady)?;
    let program = std::env::current_exe()?;
    let arguments = [COMMAND.to_owned(), length.to_string()];
    let mut process = Process::spawn("echo server".into(), OsStr::new(&program), arguments)?;
    let port = wait_for_port(&mut process)?;
    let site = Site {
        targets: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))],
        root: "/floor".into(),
        session_timeout: Duration::from_secs(30),
        servers: Servers { pids: vec![process.pid()], upstream: Vec::new() },
    };
    let mut reactor = site.sessions(env, steady.connections, sessions::AT_ONCE)?;
    let plan = steady::plan(&site, steady);
    steady::drive(env, &site, steady, &plan, &mut reactor)
}

/// Runs the load on the servers and then on an echo server, and adds what the latter took to the result.
pub(crate) fn run_both(env: &Env, site: &Site, steady: &Steady) -> Result<Outcome, Failure> {
    check(steady)?;
    let mut outcome = steady::run(env, site, steady)?;
    let floor = run(env, steady)?;
    let get = |outcome: &Outcome, name| outcome.get(name).unwrap_or(f64::NAN);
    let cpu = get(&floor, "server cpu");
    outcome.metric("floor throughput", get(&floor, "throughput"), "op/s");
    outcome.metric("floor p50", get(&floor, "p50"), "ms");
    outcome.metric("floor cpu", cpu, "us/op");
    if let Some(own) = outcome.get("server cpu") {
        outcome.metric("server cpu / floor cpu", own / cpu, "");
    }
    outcome.latencies.extend(floor.latencies.into_iter().map(|(_, latency)| ("floor".to_owned(), latency)));
    Ok(outcome)
}

fn wait_for_port(process: &mut Process) -> Result<u16, Failure> {
    let deadline = Instant::now() + START_LIMIT;
    loop {
        let output = process.output();
        if let Some(port) = output.strip_suffix('\n').and_then(|line| line.parse().ok()) {
            return Ok(port);
        }
        process.check_running().map_err(Failure::During)?;
        if Instant::now() > deadline {
            return Err(Failure::During(format!("the echo server did not start: {output}")));
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Answers every frame with one of `length` bytes that begins with the request's first four, the xid; the first frame
/// of a connection with the answer to a handshake. Prints its port. Never ends by itself.
pub(crate) fn serve(length: usize) -> Result<(), Failure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("{}", listener.local_addr()?.port());
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(io::Error::from)?;
    let add = |source: &dyn std::os::fd::AsFd, id| {
        epoll::add(&epoll, source.as_fd(), EventData::new_u64(id), EventFlags::IN).map_err(io::Error::from)
    };
    add(&listener, LISTENER)?;
    let (mut peers, mut last) = (BTreeMap::new(), 0);
    let mut events: Vec<epoll::Event> = Vec::with_capacity(1024);
    let mut echo = Echo { length, buffer: vec![0; 256 << 10], output: BytesMut::new() };
    loop {
        events.clear();
        match epoll::wait(&epoll, spare_capacity(&mut events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(io::Error::from(error).into()),
        }
        for event in &events {
            let data = event.data;
            if data.u64() == LISTENER {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                add(&stream, last)?;
                peers.insert(last, Peer { stream, partial: Vec::new(), greeted: false });
                last += 1;
            } else if let Some(peer) = peers.get_mut(&data.u64())
                && echo.answer(peer).is_err()
            {
                peers.remove(&data.u64());
            }
        }
    }
}

/// A connection of the echo server. It blocks, but is read only when there is something to read, and the load
/// generator takes every answer.
#[derive(Debug)]
struct Peer {
    stream: TcpStream,
    partial: Vec<u8>,
    greeted: bool,
}

#[derive(Debug)]
struct Echo {
    length: usize,
    buffer: Vec<u8>,
    output: BytesMut,
}

impl Echo {
    /// One read, and one write with all answers to it.
    fn answer(&mut self, peer: &mut Peer) -> io::Result<()> {
        let count = peer.stream.read(&mut self.buffer)?;
        let mut input =
            self.buffer.get(..count).filter(|input| !input.is_empty()).ok_or(io::ErrorKind::UnexpectedEof)?;
        let whole;
        if !peer.partial.is_empty() {
            peer.partial.extend_from_slice(input);
            whole = std::mem::take(&mut peer.partial);
            input = &whole;
        }
        self.output.clear();
        while let Some((body, rest)) = split(input) {
            let xid = body.first_chunk::<4>().copied().unwrap_or_default();
            if peer.greeted {
                self.output.put_u32(self.length as u32);
                self.output.put_slice(&xid);
                self.output.put_bytes(0, self.length.saturating_sub(xid.len()));
            } else {
                peer.greeted = true;
                greet(&mut self.output);
            }
            input = rest;
        }
        peer.partial.extend_from_slice(input);
        peer.stream.write_all(&self.output)
    }
}

fn split(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = frame::peek_len(input).and_then(|length| usize::try_from(length).ok())?;
    input.get(4..)?.split_at_checked(length)
}

/// The answer to a handshake.
pub(crate) fn greet(output: &mut BytesMut) {
    let answer = ConnectResponse {
        protocol_version: 0,
        timeout_ms: 30_000,
        session: SESSION,
        password: session_password(SESSION),
        read_only: Some(false),
    };
    frame::write(output, |b| answer.encode(b));
}
