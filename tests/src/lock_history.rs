//! Clients that compete for locks, and the history of who believed when to hold which, all by one clock.
//!
//! A lock is an ephemeral znode. A client believes to hold one from the answer that says so until its connection ends, or
//! is silent for two thirds of its session's timeout: so do the clients of Java, C, kazoo and Curator's recipes.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use palisade_wire::ErrorCode;

use crate::herd::{Client, Trouble};
use crate::wait::wait_for;

/// Of the clients' sessions.
pub const TIMEOUT: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(20);
const PARENT: &str = "/locks";
const EPHEMERAL: i32 = 1;

/// One time that a client believed to hold a lock.
#[derive(Clone, Copy, Debug)]
struct Held {
    lock: usize,
    side: usize,
    from: Instant,
    to: Instant,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    history: Mutex<Vec<Held>>,
    /// Who believes to hold each lock now: the side plus one, 0 for nobody.
    holders: Vec<AtomicUsize>,
    /// Sessions whose clients were told that they have ended.
    expired: AtomicUsize,
}

/// The running clients.
#[derive(Debug)]
pub struct Competitors {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Result<(), Trouble>>>,
}

impl Competitors {
    /// For each lock, one client at each of the addresses: the sides.
    #[track_caller]
    pub fn start(addresses: &[String], locks: usize) -> Self {
        let mut first = connect(&addresses[0]).expect("a server that takes clients");
        first.create(PARENT, 0).expect("a server that takes writes");
        let holders = (0..locks).map(|_| AtomicUsize::new(0)).collect();
        let shared = Arc::new(Shared { holders, ..Shared::default() });
        let mut threads = Vec::new();
        for (side, address) in addresses.iter().enumerate() {
            for lock in 0..locks {
                let competitor =
                    Competitor { side, lock, address: address.clone(), shared: Arc::clone(&shared) };
                threads.push(thread::spawn(move || competitor.run()));
            }
        }
        Self { shared, threads }
    }

    /// Waits until clients of this side believe to hold all locks.
    #[track_caller]
    pub fn wait_for_side(&self, side: usize) {
        wait_for(&format!("all locks in the hands of side {side}"), || {
            let mut holders = self.shared.holders.iter().map(|holder| holder.load(Ordering::SeqCst));
            holders.all(|holder| holder == side + 1).then_some(())
        });
    }

    /// Waits until so many clients were told that their sessions have ended.
    #[track_caller]
    pub fn wait_for_expired(&self, count: usize) {
        wait_for(&format!("{count} expired sessions"), || {
            (self.shared.expired.load(Ordering::SeqCst) >= count).then_some(())
        });
    }

    /// Stops, and says how the locks went from hand to hand. Panics if at any moment two clients believed to hold one.
    #[track_caller]
    pub fn finish(self) -> String {
        self.shared.stop.store(true, Ordering::SeqCst);
        for thread in self.threads {
            thread.join().expect("no client panics").expect("no server talks nonsense");
        }
        let mut history = self.shared.history.lock().unwrap_or_else(PoisonError::into_inner).clone();
        history.sort_by_key(|held| (held.lock, held.from));
        let (mut changes, mut shortest) = (0, Duration::MAX);
        for pair in history.windows(2) {
            let [before, after] = pair else { continue };
            if before.lock != after.lock {
                continue;
            }
            let free = after.from.checked_duration_since(before.to);
            let free = free.unwrap_or_else(|| {
                panic!("two clients held a lock for {:?}: {pair:?}", before.to.duration_since(after.from))
            });
            if before.side != after.side {
                changes += 1;
                shortest = shortest.min(free);
            }
        }
        let expired = self.shared.expired.load(Ordering::SeqCst);
        format!(
            "{} times held, {changes} changes of sides, free for {shortest:?} at the least, {expired} expired",
            history.len()
        )
    }
}

fn connect(address: &str) -> Result<Client, Trouble> {
    let timeout_ms = i32::try_from(TIMEOUT.as_millis()).expect("seconds");
    Client::connect_with(address, timeout_ms, TIMEOUT * 2 / 3)
}

/// Wants one lock.
struct Competitor {
    side: usize,
    lock: usize,
    address: String,
    shared: Arc<Shared>,
}

impl Competitor {
    fn run(self) -> Result<(), Trouble> {
        let mut session: Option<Client> = None;
        while !self.is_over() {
            let connected = match &mut session {
                Some(client) => client.reconnect(&self.address),
                None => connect(&self.address).map(|client| session = Some(client)),
            };
            let served = match (connected, &mut session) {
                (Ok(()), Some(client)) => self.compete(client),
                (connected, _) => connected,
            };
            match served {
                Err(Trouble::Expired) => {
                    self.shared.expired.fetch_add(1, Ordering::SeqCst);
                    session = None;
                }
                Err(trouble @ Trouble::Nonsense(_)) => return Err(trouble),
                _ => {}
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.shared.stop.load(Ordering::SeqCst)
    }

    /// Until the connection fails, or all is over.
    fn compete(&self, client: &mut Client) -> Result<(), Trouble> {
        let path = format!("{PARENT}/{}", self.lock);
        while !self.is_over() {
            match client.create(&path, EPHEMERAL) {
                Ok(_) => return self.hold(client),
                // Perhaps by this session, on an earlier connection.
                Err(Trouble::Refused(ErrorCode::NODE_EXISTS)) => {
                    if client.owner(&path)? == Some(client.session()) {
                        return self.hold(client);
                    }
                }
                Err(Trouble::Refused(_)) => {}
                Err(trouble) => return Err(trouble),
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    fn hold(&self, client: &mut Client) -> Result<(), Trouble> {
        let Self { side, lock, .. } = *self;
        let from = Instant::now();
        self.shared.holders[lock].store(side + 1, Ordering::SeqCst);
        let mut held = Ok(());
        while held.is_ok() && !self.is_over() {
            thread::sleep(PAUSE);
            held = client.ping();
        }
        let to = Instant::now();
        let _ = self.shared.holders[lock].compare_exchange(side + 1, 0, Ordering::SeqCst, Ordering::SeqCst);
        let held_until = Held { lock, side, from, to };
        self.shared.history.lock().unwrap_or_else(PoisonError::into_inner).push(held_until);
        held
    }
}
