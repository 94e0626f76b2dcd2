//! A server for tests that knows how long it took, because it was told.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use bytes::{BufMut, BytesMut};
use palisade_wire::jute::Writer;
use palisade_wire::reply::ReplyHeader;
use palisade_wire::request::{Request, RequestHeader};
use palisade_wire::{ErrorCode, OpCode, Reader, Zxid, frame};

use crate::env::{Env, Interrupt, Progress};
use crate::scenario::floor::greet;
use crate::site::Site;
use crate::usage::Servers;

/// Answers that may wait on one connection.
const WAITING: usize = 100_000;

/// How it answers getData; everything else is answered at once.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Behaviour {
    /// How long an answer takes.
    pub(crate) delay: Duration,
    /// When nothing is answered, counted from the first getData: from, to.
    pub(crate) stall: Option<(Duration, Duration)>,
    /// How many connections are served; the others are closed at once.
    pub(crate) connections: Option<usize>,
    /// Which of them hear nothing, not even a greeting: from, to.
    pub(crate) mute: Option<(usize, usize)>,
}

/// A server on a port of its own, which lives as long as the test's process.
pub(crate) fn start(behaviour: Behaviour) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let first = Arc::new(OnceLock::new());
    thread::spawn(move || {
        let mut muted = Vec::new();
        for (n, stream) in listener.incoming().enumerate() {
            if behaviour.connections.is_some_and(|most| n >= most) {
                continue;
            }
            let stream = stream.unwrap();
            if behaviour.mute.is_some_and(|(from, to)| n >= from && n < to) {
                muted.push(stream);
                continue;
            }
            let first = Arc::clone(&first);
            thread::spawn(move || serve(stream, behaviour, &first));
        }
    });
    address
}

/// Somewhere to run, without anybody watching.
pub(crate) fn site(address: SocketAddr) -> (Env, Site) {
    let env = Env { interrupt: Interrupt::default(), progress: Progress::new() };
    let site = Site {
        targets: vec![address],
        root: "/test".into(),
        session_timeout: Duration::from_secs(30),
        servers: Servers::default(),
    };
    (env, site)
}

/// Serves one connection until it ends, which is no error.
fn serve(mut stream: TcpStream, behaviour: Behaviour, first: &OnceLock<Instant>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (answers, waiting) = sync_channel(WAITING);
    let writer = stream.try_clone()?;
    thread::spawn(move || write(writer, &waiting));
    let (mut input, mut buffer) = (BytesMut::new(), [0; 4096]);
    let mut greeted = false;
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        input.put_slice(&buffer[..count]);
        while let Some(body) = frame::split(&mut input, 1 << 20).unwrap() {
            let mut output = BytesMut::new();
            let due = if std::mem::replace(&mut greeted, true) {
                let header = RequestHeader::decode(&mut Reader::new(&body)).unwrap();
                frame::write(&mut output, |b| answer(b, header, &body[8..]));
                due(behaviour, first, header)
            } else {
                greet(&mut output);
                Instant::now()
            };
            // Fails when the client has hung up.
            let _ = answers.send((due, output));
        }
    }
}

fn due(behaviour: Behaviour, first: &OnceLock<Instant>, header: RequestHeader) -> Instant {
    let now = Instant::now();
    if header.op != OpCode::GetData.as_i32() {
        return now;
    }
    let since = now - *first.get_or_init(|| now);
    match behaviour.stall {
        Some((from, to)) if since >= from && since < to => now + (to - since),
        _ => now + behaviour.delay,
    }
}

fn answer(output: &mut BytesMut, header: RequestHeader, body: &[u8]) {
    ReplyHeader { xid: header.xid, zxid: Zxid(1), err: ErrorCode::OK }.encode(output);
    match OpCode::from_i32(header.op).map(|op| Request::decode(op, body).unwrap()) {
        Some(Request::Create(create)) => output.write_string(&create.path),
        Some(Request::GetChildren(_)) => output.put_i32(0),
        _ => {}
    }
}

fn write(mut stream: TcpStream, waiting: &Receiver<(Instant, BytesMut)>) -> io::Result<()> {
    while let Ok((due, output)) = waiting.recv() {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        stream.write_all(&output)?;
    }
    Ok(())
}
