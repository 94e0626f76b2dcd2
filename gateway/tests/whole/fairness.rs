//! Neighbours of clients that write as much as they can: counted in what those get done meanwhile, not in time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use palisade_gateway::{Config, Gateway, GatewayHandle, Listeners};
use palisade_wire::ErrorCode;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::support::{Client, Core, connected};

/// Requests that a greedy client has unanswered at any time.
const DEPTH: usize = 500;
const GREEDY: usize = 4;
/// Writes of the neighbour.
const WRITES: u64 = 40;
/// Writes that the core, or the leader, has at a time.
const WINDOW: usize = 20;

/// Clients that always have very many unanswered writes.
struct Flood {
    done: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<()>>,
}

impl Flood {
    /// Begins it, and waits until it is one.
    async fn start(to: SocketAddr) -> Self {
        let done = Arc::new(AtomicU64::new(0));
        Client::connect(to).await.create("/flood", 0).await.unwrap();
        let tasks = (0..GREEDY).map(|_| tokio::spawn(flood(to, Arc::clone(&done)))).collect();
        let flood = Self { done, tasks };
        while flood.done() < (GREEDY * DEPTH) as u64 {
            tokio::task::yield_now().await;
        }
        flood
    }

    fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn flood(to: SocketAddr, done: Arc<AtomicU64>) {
    let mut client = Client::connect(to).await;
    let mut unanswered = 0;
    loop {
        while unanswered < DEPTH {
            client.send_set("/flood", b"more").await;
            unanswered += 1;
        }
        assert_eq!(client.reply().await.unwrap().0.err, ErrorCode::OK);
        done.fetch_add(1, Ordering::Relaxed);
        unanswered -= 1;
    }
}

async fn start(config: Config) -> GatewayHandle {
    let gateway = Gateway::start(config, Listeners::default()).await.unwrap();
    connected(&gateway).await;
    gateway
}

/// How many writes of the flood are answered, on the average, until one of the neighbour's is; and until it could take
/// and give back a lock, and begin and end a session.
async fn measure(flood: &Flood, neighbour: SocketAddr) -> (u64, u64) {
    let mut client = Client::connect(neighbour).await;
    client.create("/modest", 0).await.unwrap();
    let begun = flood.done();
    for n in 0..WRITES {
        assert_eq!(client.set("/modest", &n.to_be_bytes()).await.unwrap(), ErrorCode::OK);
    }
    let per_write = (flood.done() - begun) / WRITES;
    let begun = flood.done();
    for _ in 0..WRITES / 4 {
        let mut other = Client::connect(neighbour).await;
        assert_eq!(other.create("/modest/lock", 1).await.unwrap(), ErrorCode::OK);
        assert_eq!(other.delete("/modest/lock").await.unwrap(), ErrorCode::OK);
        other.close().await;
    }
    (per_write, (flood.done() - begun) / (WRITES / 4))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_does_not_wait_behind_another_sessions_thousands() {
    let core = Core::start().await;
    let folder = TempDir::new().unwrap();
    let mut config = core.config(101, folder.path());
    config.limits.window = WINDOW;
    let gateway = start(config).await;
    let flood = Flood::start(gateway.client_address()).await;
    let (per_write, per_session) = measure(&flood, gateway.client_address()).await;
    println!(
        "flood's writes per write {per_write}, per session {per_session}; unanswered {}",
        DEPTH * GREEDY
    );
    // Behind all that is unanswered it would be the whole of that.
    assert!(per_write < (DEPTH * GREEDY / 4) as u64, "{per_write}");
    assert!(per_session < (DEPTH * GREEDY) as u64, "four requests, none behind all: {per_session}");
    drop(flood);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_does_not_wait_behind_another_gateways_thousands() {
    let core = Core::with(|config| config.fairness.in_flight = WINDOW).await;
    let folders = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let mut greedy = core.config(101, folders[0].path());
    greedy.tenant.name = "greedy".to_owned();
    greedy.limits.window = DEPTH * GREEDY;
    let (greedy, modest) = (start(greedy).await, start(core.config(102, folders[1].path())).await);
    let flood = Flood::start(greedy.client_address()).await;
    let (per_write, per_session) = measure(&flood, modest.client_address()).await;
    println!(
        "flood's writes per write {per_write}, per session {per_session}; unanswered {}",
        DEPTH * GREEDY
    );
    assert!(per_write < (DEPTH * GREEDY / 4) as u64, "{per_write}");
    assert!(per_session < (DEPTH * GREEDY) as u64, "four requests, none behind all: {per_session}");
    drop(flood);
    greedy.stop().await;
    modest.stop().await;
}
