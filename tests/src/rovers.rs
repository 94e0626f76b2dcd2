//! Clients that write and read all the time, and go to the next server when theirs lets them go. No session may end, and
//! no write may be lost, take effect twice, or fail in another way than clients know from a lost connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use palisade_wire::ErrorCode;

use crate::herd::{Client, Trouble};
use crate::wait::{wait_at_most, wait_for};

const TIMEOUT_MS: i32 = 10_000;
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(10);
const EPHEMERAL: i32 = 1;

#[derive(Debug, Default)]
struct Tally {
    stop: AtomicBool,
    writes: AtomicU64,
    reads: AtomicU64,
    /// Connections that ended.
    moves: AtomicU64,
    /// Writes of which the clients had to find out themselves.
    unknown: AtomicU64,
}

/// The running clients.
#[derive(Debug)]
pub struct Rovers {
    tally: Arc<Tally>,
    threads: Vec<JoinHandle<Result<(), String>>>,
}

impl Rovers {
    /// So many clients, each connected to one of the addresses.
    #[track_caller]
    pub fn start(addresses: &[String], count: usize) -> Self {
        let mut first = Client::connect(&addresses[0], TIMEOUT_MS).expect("a server that takes clients");
        first.create("/rovers", 0).expect("a server that takes writes");
        let tally = Arc::new(Tally::default());
        let start = |number| {
            let rover =
                Rover { number, at: number, addresses: addresses.to_vec(), tally: Arc::clone(&tally) };
            thread::spawn(move || rover.run().map_err(|trouble| format!("client {number}: {trouble}")))
        };
        let threads = (0..count).map(start).collect();
        Self { tally, threads }
    }

    /// Waits until this many more writes are acknowledged.
    #[track_caller]
    pub fn wait_for_writes(&mut self, count: u64) {
        let wanted = self.tally.writes.load(Ordering::SeqCst) + count;
        wait_for(&format!("{count} more writes"), || {
            if let Some(at) = self.threads.iter().position(JoinHandle::is_finished) {
                panic!(
                    "a client ended: {:?}",
                    self.threads.swap_remove(at).join().expect("no client panics")
                );
            }
            (self.tally.writes.load(Ordering::SeqCst) >= wanted).then_some(())
        });
    }

    /// Stops, and tells what was done. Panics with what went wrong if anything did.
    #[track_caller]
    pub fn finish(self) -> String {
        self.tally.stop.store(true, Ordering::SeqCst);
        for thread in self.threads {
            thread.join().expect("no client panics").expect("no client has lost anything");
        }
        let of = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        let Tally { writes, reads, moves, unknown, .. } = &*self.tally;
        format!(
            "{} writes, {} reads, {} connections lost, {} writes of unknown outcome",
            of(writes),
            of(reads),
            of(moves),
            of(unknown)
        )
    }
}

struct Rover {
    number: usize,
    /// Counts the addresses up.
    at: usize,
    addresses: Vec<String>,
    tally: Arc<Tally>,
}

impl Rover {
    fn address(&self) -> &str {
        &self.addresses[self.at % self.addresses.len()]
    }

    fn run(mut self) -> Result<(), String> {
        let path = format!("/rovers/{}", self.number);
        let told = |trouble| format!("{trouble:?}");
        let mut client = Client::connect(self.address(), TIMEOUT_MS).map_err(told)?;
        client.create(&path, EPHEMERAL).map_err(told)?;
        let (mut version, mut uncertain) = (0, false);
        while !self.tally.stop.load(Ordering::SeqCst) {
            match self.step(&mut client, &path, &mut version, &mut uncertain) {
                Ok(()) => {}
                Err(Trouble::Disconnected | Trouble::Silence) => self.go_on(&mut client)?,
                Err(Trouble::Refused(ErrorCode::CONNECTION_LOSS)) => {}
                Err(trouble) => return Err(format!("at version {version}: {trouble:?}")),
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// One write behind the last, and one read. The data is the version that it makes.
    fn step(
        &self,
        client: &mut Client,
        path: &str,
        version: &mut i32,
        uncertain: &mut bool,
    ) -> Result<(), Trouble> {
        if *uncertain {
            self.tally.unknown.fetch_add(1, Ordering::SeqCst);
            // Whatever was on its way before has had its effect by then, or never will.
            client.sync()?;
            let data = client.get(path)?;
            *version = self.check(&data, [*version, *version + 1])?;
            *uncertain = false;
        }
        *uncertain = true;
        client.set(path, (*version + 1).to_string().as_bytes(), *version)?;
        (*version, *uncertain) = (*version + 1, false);
        self.tally.writes.fetch_add(1, Ordering::SeqCst);
        let data = client.get(path)?;
        self.check(&data, [*version; 2])?;
        self.tally.reads.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn check(&self, data: &[u8], allowed: [i32; 2]) -> Result<i32, Trouble> {
        let found = String::from_utf8_lossy(data).parse().unwrap_or(-1);
        let wrong = || Trouble::Nonsense(format!("{found} where one of {allowed:?} must be"));
        allowed.contains(&found).then_some(found).ok_or_else(wrong)
    }

    /// Takes the session to the next server that lets it in.
    fn go_on(&mut self, client: &mut Client) -> Result<(), String> {
        self.tally.moves.fetch_add(1, Ordering::SeqCst);
        let connected = wait_at_most(PATIENCE, || {
            self.at += 1;
            match client.reconnect(self.address()) {
                Ok(()) => Some(Ok(())),
                Err(Trouble::Expired) => Some(Err("the session has ended".to_owned())),
                Err(_) => None,
            }
        });
        connected.unwrap_or_else(|| Err("no server lets it in".to_owned()))
    }
}
