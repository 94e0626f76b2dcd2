//! What scanners, broken programs and attackers send.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an attacker listens for an answer.
const CURIOSITY: Duration = Duration::from_millis(50);

/// Lengths that no honest peer announces.
const LENGTHS: [i32; 9] = [-1, -65_536, i32::MIN, i32::MAX, 0x7fff_0000, 0x4000_0000, 1 << 24, 0, 1];

/// A small generator of numbers, so that every run sends the same bytes.
#[derive(Debug)]
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}

/// Everything once, on every one of `ports`; the ports at the same time. Answers do not matter, survival does.
pub fn attack(ports: &[u16], round: u64) {
    thread::scope(|scope| {
        for port in ports {
            scope.spawn(move || attack_one(*port, round));
        }
    });
}

fn attack_one(port: u16, round: u64) {
    for _ in 0..200 {
        drop(connect(port));
    }
    let mut noise = Noise(u64::from(port) << 16 | (round + 1));
    for _ in 0..100 {
        let count = 1 + noise.next() as usize % 4096;
        send(port, &noise.bytes(count));
    }
    for length in LENGTHS {
        send(port, &length.to_be_bytes());
        send(port, &[&length.to_be_bytes()[..], &noise.bytes(64)].concat());
        send(port, &i64::from(length).to_be_bytes());
        send(port, &[&i64::from(length).to_be_bytes()[..], &noise.bytes(64)].concat());
    }
    for honest in HONEST_BEGINNINGS {
        for end in 0..=honest.len() {
            send(port, &honest[..end]);
        }
        send(port, &[honest, &[0xff; 256]].concat());
        send(port, &[honest, &noise.bytes(256)].concat());
    }
    for greeting in [&b"ruok"[..], b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"] {
        send(port, greeting);
    }
}

/// How the protocols of the several ports begin, so that the garbage behind gets past the first check.
const HONEST_BEGINNINGS: [&[u8]; 3] = [
    // A client's ConnectRequest with a timeout of 10 s.
    b"\0\0\0\x2d\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x27\x10\0\0\0\0\0\0\0\0\0\0\0\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    // An election connection of server 1 at 127.0.0.1:1.
    b"\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\0\0\0\x01\0\0\0\x0b127.0.0.1:1",
    // A learner's OBSERVERINFO of server 77 with protocol version 0x10000.
    b"\0\0\0\x10\0\0\0\0\0\0\0\0\0\0\0\x14\0\0\0\0\0\0\0\x4d\0\x01\0\0\0\0\0\0\0\0\0\0\xff\xff\xff\xff",
];

/// Connections that announce much, send a little, and stay silent.
#[must_use]
pub fn hold_half_frames(ports: &[u16], each: usize) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for port in ports {
        for number in 0..each {
            let Some(mut stream) = connect(*port) else { continue };
            let beginning = HONEST_BEGINNINGS[number % HONEST_BEGINNINGS.len()];
            let part = &beginning[..number % beginning.len()];
            let announced = [&(1_000_000_i32).to_be_bytes()[..], &[7; 10]].concat();
            // The server may have closed it already.
            let _ = stream.write_all(if number % 2 == 0 { part } else { &announced });
            held.push(stream);
        }
    }
    held
}

/// Sends bytes, and listens a moment.
fn send(port: u16, bytes: &[u8]) {
    let Some(mut stream) = connect(port) else { return };
    if stream.write_all(bytes).is_ok() {
        let _ = stream.read(&mut [0; 256]);
    }
}

/// A connection; none where nobody listens, as on the quorum port of a follower.
fn connect(port: u16) -> Option<TcpStream> {
    let stream =
        TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), CONNECT_TIMEOUT).ok()?;
    stream.set_read_timeout(Some(CURIOSITY)).expect("a timeout above zero is accepted");
    Some(stream)
}
