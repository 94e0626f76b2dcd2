//! A TCP proxy: it breaks connections as a network does, and notes what clients send, if it is clients that it serves.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How often a copier looks whether bytes may pass again.
const LOOK: Duration = Duration::from_millis(5);

/// A proxy on a free port of 127.0.0.1; gone with all its connections when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    /// Connections are refused.
    is_cut: bool,
    /// Bytes wait here.
    is_silent: bool,
    is_dropped: bool,
    ends: Vec<TcpStream>,
    requests: BTreeMap<i32, Vec<usize>>,
    /// Bytes that clients have sent.
    sent: usize,
}

impl Proxy {
    /// Starts a proxy in front of `server` (host:port).
    pub fn start(server: &str) -> Self {
        let server: SocketAddr = server.parse().expect("an address");
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("cannot listen on a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let acceptor = thread::spawn(move || accept(&listener, server, &shared));
        Self { address, state, acceptor: Some(acceptor) }
    }

    /// Where clients connect.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Its port.
    pub const fn port(&self) -> u16 {
        self.address.port()
    }

    /// Ends all connections, and every new one at once.
    pub fn cut(&self) {
        let mut state = lock(&self.state);
        state.is_cut = true;
        state.end_all();
    }

    /// Keeps all connections, and lets no byte through: nobody is told that the other side cannot be reached.
    pub fn silence(&self) {
        lock(&self.state).is_silent = true;
    }

    /// Lets clients through again, and what waited here.
    pub fn restore(&self) {
        let mut state = lock(&self.state);
        (state.is_cut, state.is_silent) = (false, false);
    }

    /// How many bytes clients have sent.
    pub fn sent(&self) -> usize {
        lock(&self.state).sent
    }

    /// The lengths of all requests of a type that clients have sent, in bytes.
    pub fn requests(&self, op: i32) -> Vec<usize> {
        lock(&self.state).requests.get(&op).cloned().unwrap_or_default()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        {
            let mut state = lock(&self.state);
            state.is_dropped = true;
            state.end_all();
        }
        // Wakes the acceptor; when that fails, it has ended already.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl State {
    fn end_all(&mut self) {
        for end in self.ends.drain(..) {
            // Fails only when the other side was first.
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept(listener: &TcpListener, server: SocketAddr, state: &Arc<Mutex<State>>) {
    while let Ok((client, _)) = listener.accept() {
        if lock(state).is_dropped {
            return;
        }
        // A server that does not listen is seen as a connection that ends.
        let Ok(server) = TcpStream::connect(server) else { continue };
        if let Err(error) = connect(&client, &server, state) {
            eprintln!("proxy: {error}");
        }
    }
}

/// Copies both ways in threads of their own.
fn connect(client: &TcpStream, server: &TcpStream, state: &Arc<Mutex<State>>) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    {
        let mut state = lock(state);
        if state.is_cut {
            return client.shutdown(Shutdown::Both);
        }
        state.ends.extend([client.try_clone()?, server.try_clone()?]);
    }
    let (from, to, shared) = (client.try_clone()?, server.try_clone()?, Arc::clone(state));
    let mut frames = Frames::default();
    thread::spawn(move || {
        copy(from, to, |bytes| {
            frames.note(bytes, &shared);
            lock(&shared).sent += bytes.len();
            wait_for_sound(&shared);
        });
    });
    let (from, to, shared) = (server.try_clone()?, client.try_clone()?, Arc::clone(state));
    thread::spawn(move || copy(from, to, |_| wait_for_sound(&shared)));
    Ok(())
}

/// Waits until bytes may pass, or the proxy is gone.
fn wait_for_sound(state: &Mutex<State>) {
    let is_silent = || {
        let state = lock(state);
        state.is_silent && !state.is_dropped
    };
    while is_silent() {
        thread::sleep(LOOK);
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, mut note: impl FnMut(&[u8])) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        note(&buffer[..count]);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    // Nobody is told of an end either.
    note(&[]);
    for end in [from, to] {
        // Fails only when the other direction was first.
        let _ = end.shutdown(Shutdown::Both);
    }
}

/// Finds the requests in a stream of bytes: a length, then, but in the first, a number and a type.
#[derive(Default)]
struct Frames {
    is_connected: bool,
    start: Vec<u8>,
    skip: usize,
}

impl Frames {
    fn note(&mut self, mut bytes: &[u8], state: &Mutex<State>) {
        const START: usize = 12;
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            let taken = (START - self.start.len()).min(bytes.len() - skipped);
            self.start.extend(&bytes[skipped..skipped + taken]);
            bytes = &bytes[skipped + taken..];
            if self.start.len() == START {
                let field = |at: usize| {
                    i32::from_be_bytes([
                        self.start[at],
                        self.start[at + 1],
                        self.start[at + 2],
                        self.start[at + 3],
                    ])
                };
                let (length, op) = (field(0) as usize, field(8));
                if self.is_connected {
                    lock(state).requests.entry(op).or_default().push(length);
                }
                self.is_connected = true;
                self.skip = length.saturating_add(4).saturating_sub(START);
                self.start.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_found_in_pieces() {
        let mut stream = vec![0, 0, 0, 44];
        stream.extend([7; 44]);
        for (length, op) in [(8, 11), (300, 101), (8, 11)] {
            stream.extend(u32::to_be_bytes(length));
            stream.extend(u32::to_be_bytes(9));
            stream.extend(u32::to_be_bytes(op));
            stream.extend(vec![1; length as usize - 8]);
        }
        for piece in [1, 5, 13, 1000] {
            let (mut frames, state) = (Frames::default(), Mutex::new(State::default()));
            stream.chunks(piece).for_each(|bytes| frames.note(bytes, &state));
            assert_eq!(lock(&state).requests, BTreeMap::from([(11, vec![8, 8]), (101, vec![300])]));
        }
    }

    #[test]
    fn a_cut_ends_connections_and_a_restore_lets_new_ones_through() {
        let server = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let proxy = Proxy::start(&server.local_addr().unwrap().to_string());
        let mut buffer = [0; 5];
        for _ in 0..2 {
            let mut client = TcpStream::connect(proxy.address()).unwrap();
            client.write_all(b"hello").unwrap();
            let (mut served, _) = server.accept().unwrap();
            served.read_exact(&mut buffer).unwrap();
            assert_eq!(&buffer, b"hello");
            proxy.cut();
            assert_eq!(client.read(&mut buffer).unwrap(), 0);
            assert_eq!(served.read(&mut buffer).unwrap(), 0);
            let mut refused = TcpStream::connect(proxy.address()).unwrap();
            assert_eq!(refused.read(&mut buffer).unwrap_or(0), 0);
            // The connection that was refused had reached the server.
            drop(server.accept().unwrap());
            proxy.restore();
        }
    }
}
