//! Many sessions that read and write at a steady pace and put up with nothing: no lost connection, no failed read, no
//! failed write, none that took effect twice.

mod client;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

pub use client::{Client, Trouble};

use crate::wait::wait_for;

const TIMEOUT_MS: i32 = 10_000;
/// Threads of readers; each drives its share of the sessions.
const READER_THREADS: usize = 4;
/// Sessions that write, each with an ephemeral znode, in a thread of its own: a write that waits holds up no other.
const WRITERS: usize = 10;
const SEQUENTIAL: i32 = 2;
const EPHEMERAL: i32 = 1;

/// How many, and how fast.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Sessions that read and watch.
    pub readers: usize,
    /// Reads in a second, all together.
    pub reads: u32,
    /// Writes in a second, all together.
    pub writes: u32,
}

impl Size {
    /// 200 sessions, or as many as the environment variable `HERD_SESSIONS` says.
    pub fn from_environment() -> Self {
        let sessions = std::env::var("HERD_SESSIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(200);
        Self { readers: sessions - WRITERS, reads: 500, writes: 50 }
    }
}

#[derive(Debug, Default)]
struct Tally {
    stop: AtomicBool,
    reads: AtomicU64,
    writes: AtomicU64,
    events: AtomicU64,
    /// Microseconds.
    longest_read: AtomicU64,
    longest_write: AtomicU64,
}

impl Tally {
    fn timed<T>(longest: &AtomicU64, count: &AtomicU64, call: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let answer = call();
        let took = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        longest.fetch_max(took, Ordering::Relaxed);
        count.fetch_add(1, Ordering::Relaxed);
        answer
    }
}

/// The running sessions.
#[derive(Debug)]
pub struct Herd {
    tally: Arc<Tally>,
    threads: Vec<JoinHandle<Result<(), String>>>,
    sessions: usize,
}

impl Herd {
    /// Connects all sessions to `address`, and lets them begin.
    #[track_caller]
    pub fn start(address: &str, size: Size) -> Self {
        let tally = Arc::new(Tally::default());
        prepare(address).expect("a server that takes writes");
        let mut threads = Vec::new();
        for thread in 0..READER_THREADS {
            let count = (size.readers + thread) / READER_THREADS;
            let sessions = connect(address, count);
            let (pause, tally) = (pause(READER_THREADS, size.reads), Arc::clone(&tally));
            threads.push(thread::spawn(move || read(sessions, pause, &tally)));
        }
        for (number, client) in connect(address, WRITERS).into_iter().enumerate() {
            let (pause, tally) = (pause(WRITERS, size.writes), Arc::clone(&tally));
            threads.push(thread::spawn(move || {
                write(client, number, pause, &tally).map_err(|e| format!("writer {number}: {e}"))
            }));
        }
        Self { tally, threads, sessions: size.readers + WRITERS }
    }

    /// Waits until this many more writes are acknowledged.
    #[track_caller]
    pub fn wait_for_writes(&mut self, count: u64) {
        self.wait_for_more("acknowledged writes", |tally| &tally.writes, count);
    }

    /// Waits until this many more reads are answered.
    #[track_caller]
    pub fn wait_for_reads(&mut self, count: u64) {
        self.wait_for_more("answered reads", |tally| &tally.reads, count);
    }

    #[track_caller]
    fn wait_for_more(&mut self, what: &str, counter: fn(&Tally) -> &AtomicU64, count: u64) {
        let wanted = counter(&self.tally).load(Ordering::Relaxed) + count;
        wait_for(&format!("{count} more {what}"), || {
            self.assert_well();
            (counter(&self.tally).load(Ordering::Relaxed) >= wanted).then_some(())
        });
    }

    /// The longest that a write took since this was asked last.
    pub fn take_longest_write(&self) -> Duration {
        Duration::from_micros(self.tally.longest_write.swap(0, Ordering::Relaxed))
    }

    #[track_caller]
    fn assert_well(&mut self) {
        if let Some(at) = self.threads.iter().position(JoinHandle::is_finished) {
            let ended = self.threads.swap_remove(at).join().expect("no client panics");
            panic!("a client ended: {ended:?}");
        }
    }

    /// Stops, and tells what was done. Panics with what went wrong if anything did.
    #[track_caller]
    pub fn finish(self) -> String {
        let Self { tally, threads, sessions } = self;
        tally.stop.store(true, Ordering::Relaxed);
        let troubles: Vec<String> =
            threads.into_iter().filter_map(|t| t.join().expect("no client panics").err()).collect();
        assert!(troubles.is_empty(), "{troubles:#?}");
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        format!(
            "{sessions} sessions: {} reads (longest {:.1} ms), {} writes, {} events, no failure",
            of(&tally.reads),
            of(&tally.longest_read) as f64 / 1e3,
            of(&tally.writes),
            of(&tally.events),
        )
    }
}

fn pause(threads: usize, rate: u32) -> Duration {
    Duration::from_secs(1) * u32::try_from(threads).expect("a few threads") / rate
}

fn watched(writer: usize) -> String {
    format!("/herd/data-{writer}")
}

fn prepare(address: &str) -> Result<(), Trouble> {
    let mut client = Client::connect(address, TIMEOUT_MS)?;
    client.create("/herd", 0)?;
    for writer in 0..WRITERS {
        client.create(&watched(writer), 0)?;
        client.create(&format!("/herd/line-{writer}"), 0)?;
    }
    Ok(())
}

#[track_caller]
fn connect(address: &str, count: usize) -> Vec<Client> {
    (0..count).map(|_| Client::connect(address, TIMEOUT_MS).expect("a session")).collect()
}

/// Reads with one session after the other; each watches what it read.
fn read(mut sessions: Vec<Client>, pause: Duration, tally: &Tally) -> Result<(), String> {
    let mut seen = vec![[0_i64; WRITERS]; sessions.len()];
    let mut turn = Instant::now();
    for round in 0_usize.. {
        for (number, client) in sessions.iter_mut().enumerate() {
            if tally.stop.load(Ordering::Relaxed) {
                let events: usize = sessions.iter().map(Client::events).sum();
                tally.events.fetch_add(events as u64, Ordering::Relaxed);
                return Ok(());
            }
            let writer = (number + round) % WRITERS;
            let path = watched(writer);
            let data = Tally::timed(&tally.longest_read, &tally.reads, || client.get(&path))
                .map_err(|e| format!("reading {path}, session {:#x}: {e:?}", client.session()))?;
            let value: i64 = String::from_utf8_lossy(&data).parse().unwrap_or(-1);
            let before = std::mem::replace(&mut seen[number][writer], value);
            if value < before {
                return Err(format!("{path} went from {before} back to {value}"));
            }
            turn += pause;
            thread::sleep(turn.saturating_duration_since(Instant::now()));
        }
    }
    Ok(())
}

/// Writes in two ways that show when a write takes effect twice or not at all: setData with the version that follows,
/// and sequential znodes, whose numbers must follow one another.
fn write(mut client: Client, number: usize, pause: Duration, tally: &Tally) -> Result<(), String> {
    let (path, line) = (watched(number), format!("/herd/line-{number}/n-"));
    client.create(&format!("/herd/owner-{number}"), EPHEMERAL).map_err(|e| format!("{e:?}"))?;
    let mut turn = Instant::now();
    for count in 0_i32.. {
        if tally.stop.load(Ordering::Relaxed) {
            break;
        }
        let value = (count + 1).to_string();
        Tally::timed(&tally.longest_write, &tally.writes, || client.set(&path, value.as_bytes(), count))
            .map_err(|e| format!("setData of version {count}: {e:?}"))?;
        turn += pause;
        thread::sleep(turn.saturating_duration_since(Instant::now()));
        let name = Tally::timed(&tally.longest_write, &tally.writes, || client.create(&line, SEQUENTIAL))
            .map_err(|e| format!("sequential create {count}: {e:?}"))?;
        if name != format!("{line}{count:010}") {
            return Err(format!("create {count} made {name}"));
        }
        turn += pause;
        thread::sleep(turn.saturating_duration_since(Instant::now()));
    }
    Ok(())
}
