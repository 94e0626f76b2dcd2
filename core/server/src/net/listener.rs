//! A listening port that never stays down: whatever happens to it, it is opened again.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::dial::prepare;
use super::log_gate::LogGate;
use super::reservation::Reservation;

/// Pause after the first failure; doubles with each further one.
const MIN_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// What monitoring says about a port.
#[derive(Debug)]
pub(crate) struct PortStats {
    /// For logs and metrics: `quorum`, `election`, `admin`.
    pub(crate) name: &'static str,
    /// Whether connections are accepted now.
    pub(crate) up: AtomicBool,
    /// How often it had to be opened again after a failure.
    pub(crate) restarts: AtomicU64,
    /// Connections accepted.
    pub(crate) accepted: AtomicU64,
    /// Connections closed for bad bytes, silence, or because there were too many.
    pub(crate) refused: AtomicU64,
    gate: LogGate,
}

impl PortStats {
    pub(crate) fn new(name: &'static str) -> Arc<Self> {
        Arc::new(Self {
            name,
            up: AtomicBool::new(false),
            restarts: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            gate: LogGate::default(),
        })
    }

    /// Counts and logs a connection that was closed because of what its other end did.
    pub(crate) fn refuse(&self, from: SocketAddr, reason: impl std::fmt::Display) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        if let Some(held_back) = self.gate.pass() {
            tracing::warn!(port = self.name, %from, %reason, held_back, "connection refused");
        }
    }
}

/// What a [`Listener`] starts with.
pub(crate) enum Opening {
    /// A port to be opened when it is wanted.
    Reserved(Reservation),
    /// A port that is open already.
    Open(std::net::TcpListener),
}

/// A port, whether or not it is open.
pub(crate) struct Listener {
    pub(crate) stats: Arc<PortStats>,
    pub(crate) address: SocketAddr,
    /// True while connections are wanted.
    pub(crate) open: watch::Receiver<bool>,
    /// Connections that have not yet said who they are, at most; more are closed at once.
    pub(crate) max_unidentified: usize,
    pub(crate) shutdown: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

impl Listener {
    /// Serves until shutdown. Each connection is handed to `serve` in a task of its own, with a permit to be
    /// dropped as soon as the other end has said who it is.
    pub(crate) async fn run<S, F>(mut self, opening: Opening, serve: S)
    where
        S: Fn(TcpStream, SocketAddr, OwnedSemaphorePermit) -> F,
        F: Future<Output = ()> + Send + 'static,
    {
        let mut opening = Some(opening);
        let mut pause = MIN_PAUSE;
        let shutdown = self.shutdown.clone();
        loop {
            let round = self.round(&mut opening, &serve);
            let Some(outcome) = shutdown.run_until_cancelled(round).await else { break };
            self.stats.up.store(false, Ordering::Relaxed);
            match outcome {
                Ok(()) => pause = MIN_PAUSE,
                Err(error) => {
                    self.stats.restarts.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(
                        port = self.stats.name, address = %self.address, %error, ?pause,
                        "port is down; opening it again after a pause"
                    );
                    if shutdown.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                        break;
                    }
                    pause = (pause * 2).min(MAX_PAUSE);
                }
            }
        }
        self.stats.up.store(false, Ordering::Relaxed);
    }

    /// From closed to open to closed again.
    async fn round<S, F>(&mut self, opening: &mut Option<Opening>, serve: &S) -> io::Result<()>
    where
        S: Fn(TcpStream, SocketAddr, OwnedSemaphorePermit) -> F,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = match opening.take() {
            Some(Opening::Open(listener)) => listener,
            Some(Opening::Reserved(reservation)) => self.wait_and_listen(reservation).await?,
            None => self.wait_and_listen(Reservation::bind(self.address)?).await?,
        };
        let listener = TcpListener::from_std(listener)?;
        self.stats.up.store(true, Ordering::Relaxed);
        tracing::info!(port = self.stats.name, address = %self.address, "port is open");
        let mut open = self.open.clone();
        tokio::select! {
            () = until(&mut open, false) => {
                tracing::info!(port = self.stats.name, address = %self.address, "port is closed");
                Ok(())
            }
            failed = self.accept(listener, serve) => failed,
        }
    }

    async fn wait_and_listen(&mut self, reservation: Reservation) -> io::Result<std::net::TcpListener> {
        until(&mut self.open, true).await;
        reservation.listen()
    }

    async fn accept<S, F>(&self, listener: TcpListener, serve: &S) -> io::Result<()>
    where
        S: Fn(TcpStream, SocketAddr, OwnedSemaphorePermit) -> F,
        F: Future<Output = ()> + Send + 'static,
    {
        let unidentified = Arc::new(Semaphore::new(self.max_unidentified));
        loop {
            let (stream, from) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) if is_passing(&error) => {
                    self.stats.refuse(self.address, error);
                    tokio::time::sleep(MIN_PAUSE).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            self.stats.accepted.fetch_add(1, Ordering::Relaxed);
            let Ok(permit) = unidentified.clone().try_acquire_owned() else {
                self.stats.refuse(from, "too many connections that have not said who they are");
                continue;
            };
            prepare(&stream);
            let (served, shutdown) = (serve(stream, from, permit), self.shutdown.clone());
            self.tasks.spawn(async move {
                shutdown.run_until_cancelled(served).await;
            });
        }
    }
}

/// Waits until the port is wanted or not; for ever once nobody is left who could change that.
async fn until(open: &mut watch::Receiver<bool>, wanted: bool) {
    if open.wait_for(|open| *open == wanted).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Errors of one connection, or of a machine short of something, that say nothing about the listening socket.
fn is_passing(error: &io::Error) -> bool {
    /// `ENFILE`, `EMFILE`, `ENOBUFS`, `ENOMEM` of Linux.
    const SHORTAGES: [i32; 4] = [23, 24, 105, 12];
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
            | io::ErrorKind::OutOfMemory
    ) || error.raw_os_error().is_some_and(|code| SHORTAGES.contains(&code))
}
