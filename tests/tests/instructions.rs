//! How many instructions a read costs, as callgrind counts them. Unlike time, that is the same on every machine.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use bytes::BytesMut;
use palisade_tests::folder::Folder;
use palisade_tests::ports::Ports;
use palisade_tests::process::Process;
use palisade_tests::tools;
use palisade_wire::connect::ConnectRequest;
use palisade_wire::request::{Create, PathWatch, Request, RequestHeader};
use palisade_wire::{Acl, OpCode, Zxid, frame};
use rustix::process::Signal;

/// Where a connection's task makes answers of what it has read. What is around it (reading, waiting, the scheduler)
/// depends on the moment, and is not counted.
const HOT: &str = "*palisade_gateway::edge::connection::Connection::turn*";
/// Instructions of one `getData` of 100 bytes, of 16 that come together, as last looked at.
const EXPECTED: f64 = 1_460.0;
/// How far it may be off, either way. Raise `EXPECTED` knowingly, lower it with pride.
const MARGIN: f64 = 0.15;

/// Requests that come together.
const DEPTH: usize = 16;
const ROUNDS: usize = 1_000;
const WARM_UP: usize = 100;
const PATH: &str = "/read";

#[test]
fn a_read_costs_no_more_instructions_than_before() {
    let [few, many] = [WARM_UP, WARM_UP + ROUNDS].map(instructions);
    let each = (many - few) / (ROUNDS * DEPTH) as f64;
    let (least, most) = (EXPECTED * (1.0 - MARGIN), EXPECTED * (1.0 + MARGIN));
    assert!((least..=most).contains(&each), "{each:.0} instructions for a read, not {least:.0} to {most:.0}");
}

/// Instructions within [`HOT`] of a gateway's process that serves that many rounds of reads.
fn instructions(rounds: usize) -> f64 {
    let folder = Folder::new();
    let mut ports = Ports::lease();
    let port = ports.take_consecutive(3);
    let counts = folder.path().join("callgrind.out");
    let mut dev = start(folder.path(), port, &counts);
    dev.wait_for_line("ready");
    let mut client = Client::connect(port);
    client.create();
    for _ in 0..rounds {
        client.read(DEPTH);
    }
    drop(client);
    dev.signal(Signal::TERM);
    dev.wait();
    let counts = fs::read_to_string(&counts).expect("callgrind writes its counts");
    let total = counts.lines().find_map(|line| line.strip_prefix("totals: ")).expect("a line of totals");
    let total: f64 = total.trim().parse().expect("a number");
    assert!(total > 0.0, "there is no function {HOT}: name the one that serves a connection");
    total
}

fn start(folder: &Path, port: u16, counts: &Path) -> Process {
    let arguments = [
        "--tool=callgrind".to_owned(),
        format!("--toggle-collect={HOT}"),
        format!("--callgrind-out-file={}", counts.display()),
        tools::palisade().display().to_string(),
        "dev".to_owned(),
        format!("--data-dir={}", folder.join("data").display()),
        format!("--client-port={port}"),
    ];
    Process::spawn("palisade-dev", folder, "valgrind", arguments)
}

struct Client(TcpStream);

impl Client {
    fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the gateway is ready");
        stream.set_nodelay(true).expect("a TCP socket");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a TCP socket");
        let mut client = Self(stream);
        let hello = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: Zxid::ZERO,
            timeout_ms: 40_000,
            session: 0,
            password: &[0; 16],
            read_only: Some(false),
        };
        let mut frames = BytesMut::new();
        frame::write(&mut frames, |b| hello.encode(b));
        client.exchange(&frames, 1);
        client
    }

    fn create(&mut self) {
        let data = Some(&[7; 100][..]);
        let create = Create { path: PATH.into(), data, acl: Acl::open(), flags: 0, ttl_ms: None };
        let frames = request(OpCode::Create, &Request::Create(create));
        self.exchange(&frames, 1);
    }

    fn read(&mut self, count: usize) {
        let one = request(OpCode::GetData, &Request::GetData(PathWatch { path: PATH.into(), watch: false }));
        self.exchange(&one.repeat(count), count);
    }

    /// Sends it all at once, and reads that many frames.
    fn exchange(&mut self, frames: &[u8], count: usize) {
        self.0.write_all(frames).expect("the gateway takes requests");
        for _ in 0..count {
            let mut len = [0; 4];
            self.0.read_exact(&mut len).expect("the gateway answers");
            let mut body = vec![0; u32::from_be_bytes(len) as usize];
            self.0.read_exact(&mut body).expect("the gateway answers");
        }
    }
}

fn request(op: OpCode, body: &Request<'_>) -> BytesMut {
    let mut frames = BytesMut::new();
    frame::write(&mut frames, |b| {
        RequestHeader { xid: 1, op: op.as_i32() }.encode(b);
        body.encode(b);
    });
    frames
}
