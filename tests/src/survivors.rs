//! Clients that go on by themselves, as those of all libraries do: they connect again, set their watches again, and
//! begin a new session when they are told that theirs has ended. What they went through is counted.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use palisade_wire::reply::EventType;

use crate::herd::{Client, Trouble};
use crate::wait::wait_for;

/// Of those who may lose their sessions: short, so that the core ends them soon.
pub const SHORT_MS: i32 = 4_000;
/// Of all others.
pub const LONG_MS: i32 = 40_000;
const THREADS: usize = 4;
const READS_PER_SECOND: u32 = 500;
const OWNER_PAUSE: Duration = Duration::from_millis(100);
const NEWS: usize = 10;
const EPHEMERAL: i32 = 1;
/// A new znode that somebody waits for.
const LATE: &str = "/late";

/// What a client is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// Reads and watches; the core does not know the session, unless the server makes it so.
    Reader,
    /// Wrote once, so that the core knows the session, and only reads since.
    Former,
    /// Owns an ephemeral znode.
    Owner,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    /// Whether each client is to write once.
    write: AtomicBool,
    reads: AtomicUsize,
    /// Turns in which a reader did not get its answer.
    failed: AtomicUsize,
    /// Clients that have written since they were asked to.
    wrote: AtomicUsize,
    /// Clients whose sessions have ended, as they were told.
    expired: AtomicUsize,
    /// When each owner lost its connection last.
    let_go: Mutex<Vec<Option<Instant>>>,
    /// What readers have not been told.
    untold: Mutex<Vec<Vec<(EventType, String)>>>,
}

/// What the clients went through so far.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// Answered reads.
    pub reads: usize,
    /// Turns in which a reader did not get its answer.
    pub failed: usize,
    /// Sessions that have ended, as their clients were told.
    pub expired: usize,
}

/// How many clients of each kind.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    /// They read, and watch in one of four ways.
    pub readers: usize,
    /// They have written once.
    pub formers: usize,
    /// They own ephemeral znodes.
    pub owners: usize,
}

impl Crowd {
    /// 100 clients, or as many as the environment variable `HERD_SESSIONS` says.
    pub fn from_environment() -> Self {
        let sessions = std::env::var("HERD_SESSIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(100);
        Self { readers: sessions - sessions / 5, formers: sessions / 10, owners: sessions / 10 }
    }
}

/// The running clients.
#[derive(Debug)]
pub struct Survivors {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Result<(), String>>>,
    crowd: Crowd,
}

fn news(number: usize) -> String {
    format!("/news/{number}")
}

fn owned(number: usize) -> String {
    format!("/owned/{number}")
}

impl Survivors {
    /// Connects all clients to `address`, where `writer` prepares what they watch; none of them may fail so far.
    #[track_caller]
    pub fn start(address: &str, writer: &mut Client, crowd: Crowd) -> Self {
        for parent in ["/news", "/owned", "/log", "/news/old"] {
            writer.create(parent, 0).expect("a server that takes writes");
        }
        (0..NEWS)
            .for_each(|number| drop(writer.create(&news(number), 0).expect("a server that takes writes")));
        let Crowd { readers, formers, owners } = crowd;
        let mut shares: Vec<Vec<Survivor>> = (0..THREADS).map(|_| Vec::new()).collect();
        let roles = [(Role::Reader, readers), (Role::Former, formers), (Role::Owner, owners)];
        let roles = roles.into_iter().flat_map(|(role, count)| (0..count).map(move |place| (role, place)));
        for (number, (role, place)) in roles.enumerate() {
            let survivor =
                Survivor::start(address, number, role, place).expect("a server that takes clients");
            match role {
                Role::Reader | Role::Former => shares[number % THREADS].push(survivor),
                // Who waits at a closed door must hold up nobody.
                Role::Owner => shares.push(vec![survivor]),
            }
        }
        let shared = Arc::new(Shared {
            let_go: Mutex::new(vec![None; owners]),
            untold: Mutex::new((0..readers).map(expected).collect()),
            ..Shared::default()
        });
        let threads = shares.into_iter().map(|share| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || go_on(share, &shared))
        });
        let threads = threads.collect();
        Self { shared, threads, crowd }
    }

    /// Changes all that the readers watch, each once.
    #[track_caller]
    pub fn change(writer: &mut Client) {
        for number in 0..NEWS {
            writer.set(&news(number), b"1", -1).expect("a server that takes writes");
        }
        writer.create("/news/new", 0).expect("a server that takes writes");
        writer.delete("/news/old").expect("a server that takes writes");
        writer.create(LATE, 0).expect("a server that takes writes");
    }

    /// What they went through.
    #[track_caller]
    pub fn report(&mut self) -> Report {
        if let Some(at) = self.threads.iter().position(JoinHandle::is_finished) {
            let ended = self.threads.swap_remove(at).join().expect("no client panics");
            panic!("a client ended: {ended:?}");
        }
        let of = |counter: &AtomicUsize| counter.load(Ordering::SeqCst);
        let Shared { reads, failed, expired, .. } = &*self.shared;
        Report { reads: of(reads), failed: of(failed), expired: of(expired) }
    }

    /// When each owner lost its connection last; waits until all have.
    #[track_caller]
    pub fn wait_until_owners_are_let_go(&self) -> Vec<Instant> {
        wait_for("owners that are let go", || {
            let let_go = self.shared.let_go.lock().unwrap_or_else(PoisonError::into_inner);
            let_go.iter().copied().collect::<Option<Vec<_>>>()
        })
    }

    /// Waits until somebody sees no znode of an owner any more; when that was, for each owner.
    #[track_caller]
    pub fn wait_until_owners_are_gone(&self, watcher: &mut Client) -> Vec<Instant> {
        let gone = |number| {
            wait_for("an owner's end", || {
                let owner = watcher.owner(&owned(number)).expect("a server that reads");
                owner.is_none().then(Instant::now)
            })
        };
        (0..self.crowd.owners).map(gone).collect()
    }

    /// Waits until every reader was told of every change of [`Self::change`], and everybody whose session ended that it
    /// did, and until all of them write, without a restart.
    #[track_caller]
    pub fn wait_until_well(&mut self) {
        let Crowd { readers, formers, owners } = self.crowd;
        wait_for("events of all changes", || {
            self.report();
            let untold = self.shared.untold.lock().unwrap_or_else(PoisonError::into_inner);
            untold.iter().all(Vec::is_empty).then_some(())
        });
        wait_for("the end of sessions, as told", || {
            (self.report().expired >= formers + owners).then_some(())
        });
        self.shared.write.store(true, Ordering::SeqCst);
        wait_for("a write by everybody", || {
            self.report();
            (self.shared.wrote.load(Ordering::SeqCst) >= readers + formers + owners).then_some(())
        });
        assert_eq!(self.report().expired, formers + owners, "nobody else lost a session");
    }

    /// Stops.
    #[track_caller]
    pub fn finish(mut self) -> Report {
        let report = self.report();
        self.shared.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            thread.join().expect("no client panics").expect("no server talks nonsense");
        }
        report
    }
}

/// What a reader is to be told of [`Survivors::change`].
fn expected(reader: usize) -> Vec<(EventType, String)> {
    let data = |number| (EventType::NodeDataChanged, news(number));
    let mut expected = vec![data(reader % NEWS)];
    match reader % 4 {
        0 | 1 => expected.push((EventType::NodeChildrenChanged, "/news".to_owned())),
        2 => expected.push((EventType::NodeCreated, LATE.to_owned())),
        _ => {
            expected.extend((0..NEWS).map(data));
            expected.push((EventType::NodeCreated, "/news/new".to_owned()));
            expected.push((EventType::NodeDeleted, "/news/old".to_owned()));
        }
    }
    expected
}

struct Survivor {
    client: Client,
    address: String,
    role: Role,
    /// Among all, and among those of its role.
    number: usize,
    place: usize,
    connected: bool,
    value: Vec<u8>,
    wrote: bool,
}

impl Survivor {
    fn start(address: &str, number: usize, role: Role, place: usize) -> Result<Self, Trouble> {
        let timeout_ms = if role == Role::Reader { LONG_MS } else { SHORT_MS };
        let mut client = Client::connect(address, timeout_ms)?;
        match role {
            Role::Reader => match place % 4 {
                0 => client.watch_children("/news")?,
                1 => client.watch_for_good("/news", false)?,
                2 => drop(client.owner(LATE)?),
                _ => client.watch_for_good("/news", true)?,
            },
            Role::Former => drop(client.create(&format!("/log/former-{place}"), 0)?),
            Role::Owner => drop(client.create(&owned(place), EPHEMERAL)?),
        }
        let value = client.get(&news(place % NEWS))?;
        let address = address.to_owned();
        Ok(Self { client, address, role, number, place, connected: true, value, wrote: false })
    }

    /// Does what it does all the time, once.
    fn turn(&mut self, shared: &Shared) -> Result<(), Trouble> {
        if !self.connected {
            self.connect(shared)?;
        }
        let path = news(self.place % NEWS);
        let value = self.client.get(&path)?;
        shared.reads.fetch_add(1, Ordering::SeqCst);
        let before = std::mem::replace(&mut self.value, value);
        if self.role == Role::Reader {
            if self.value != before && !self.client.was_told(EventType::NodeDataChanged, &path) {
                return Err(Trouble::Nonsense(format!("{path} is new, and no event told of it")));
            }
            let mut untold = shared.untold.lock().unwrap_or_else(PoisonError::into_inner);
            untold[self.place].retain(|(kind, path)| !self.client.was_told(*kind, path));
        }
        if shared.write.load(Ordering::SeqCst) && !self.wrote {
            self.client.create(&format!("/log/{}-", self.number), 2)?;
            self.wrote = true;
            shared.wrote.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }

    fn connect(&mut self, shared: &Shared) -> Result<(), Trouble> {
        match self.client.reconnect(&self.address) {
            Err(Trouble::Expired) => {
                let timeout_ms = if self.role == Role::Reader { LONG_MS } else { SHORT_MS };
                self.client = Client::connect(&self.address, timeout_ms)?;
                shared.expired.fetch_add(1, Ordering::SeqCst);
            }
            other => other?,
        }
        self.connected = true;
        Ok(())
    }

    fn failed(&mut self, trouble: Trouble, shared: &Shared) -> Result<(), String> {
        match trouble {
            Trouble::Nonsense(_) => return Err(format!("client {}: {trouble:?}", self.number)),
            // The answer to a write, after which the connection is as good as before.
            Trouble::Refused(_) => return Ok(()),
            Trouble::Disconnected | Trouble::Expired | Trouble::Silence => {}
        }
        match self.role {
            Role::Reader => drop(shared.failed.fetch_add(1, Ordering::SeqCst)),
            Role::Owner if self.connected => {
                let mut let_go = shared.let_go.lock().unwrap_or_else(PoisonError::into_inner);
                let_go[self.place] = Some(Instant::now());
            }
            Role::Former | Role::Owner => {}
        }
        self.connected = false;
        Ok(())
    }
}

/// One client's turn after the other, at a steady pace.
fn go_on(mut survivors: Vec<Survivor>, shared: &Shared) -> Result<(), String> {
    let is_owner = survivors.first().is_some_and(|survivor| survivor.role == Role::Owner);
    let pause =
        if is_owner { OWNER_PAUSE } else { Duration::from_secs(1) * THREADS as u32 / READS_PER_SECOND };
    let mut turn = Instant::now();
    loop {
        for survivor in &mut survivors {
            if shared.stop.load(Ordering::SeqCst) {
                return Ok(());
            }
            if let Err(trouble) = survivor.turn(shared) {
                survivor.failed(trouble, shared)?;
            }
            turn += pause;
            thread::sleep(turn.saturating_duration_since(Instant::now()));
        }
        // Nobody hurries after a wait.
        turn = turn.max(Instant::now());
    }
}
