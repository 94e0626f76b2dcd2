//! A listening port that never stays down: whatever happens to it, it is opened again.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
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

/// Held by a connection until its other end has said who it is.
pub(crate) struct Stranger {
    /// Only its being there matters.
    _here: Arc<()>,
}

#[cfg(test)]
impl Stranger {
    /// One whom nobody counts.
    pub(crate) fn uncounted() -> Self {
        Self { _here: Arc::new(()) }
    }
}

/// The connections whose other ends have not yet said who they are.
struct Strangers {
    oldest_first: VecDeque<(Weak<()>, CancellationToken)>,
    max: usize,
}

impl Strangers {
    /// Admits one more. If there are too many, the one that has been silent the longest has to go: whoever belongs
    /// here says so at once, so silent strangers keep nobody out.
    fn admit(&mut self, shutdown: &CancellationToken) -> (Stranger, CancellationToken, bool) {
        self.oldest_first.retain(|(here, _)| here.strong_count() > 0);
        let crowded = self.oldest_first.len() >= self.max;
        if crowded && let Some((_, ended)) = self.oldest_first.pop_front() {
            ended.cancel();
        }
        let (here, ended) = (Arc::new(()), shutdown.child_token());
        self.oldest_first.push_back((Arc::downgrade(&here), ended.clone()));
        (Stranger { _here: here }, ended, crowded)
    }
}

/// A port, whether or not it is open.
pub(crate) struct Listener {
    pub(crate) stats: Arc<PortStats>,
    pub(crate) address: SocketAddr,
    /// True while connections are wanted.
    pub(crate) open: watch::Receiver<bool>,
    /// Connections that have not yet said who they are, at most; for each one more, the oldest is closed.
    pub(crate) max_unidentified: usize,
    pub(crate) shutdown: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

impl Listener {
    /// Serves until shutdown. Each connection is handed to `serve` in a task of its own, with a mark to be dropped as
    /// soon as the other end has said who it is.
    pub(crate) async fn run<S, F>(mut self, opening: Opening, serve: S)
    where
        S: Fn(TcpStream, SocketAddr, Stranger) -> F,
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
        S: Fn(TcpStream, SocketAddr, Stranger) -> F,
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
        S: Fn(TcpStream, SocketAddr, Stranger) -> F,
        F: Future<Output = ()> + Send + 'static,
    {
        let mut strangers = Strangers { oldest_first: VecDeque::new(), max: self.max_unidentified };
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
            let (stranger, ended, crowded) = strangers.admit(&self.shutdown);
            if crowded {
                self.stats
                    .refuse(from, "too many connections that do not say who they are; the oldest is closed");
            }
            prepare(&stream);
            let served = serve(stream, from, stranger);
            self.tasks.spawn(async move {
                ended.run_until_cancelled(served).await;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_silent_stranger_makes_room_and_nobody_who_has_spoken() {
        let mut strangers = Strangers { oldest_first: VecDeque::new(), max: 2 };
        let shutdown = CancellationToken::new();
        let (first, first_ended, _) = strangers.admit(&shutdown);
        let (_second, second_ended, crowded) = strangers.admit(&shutdown);
        assert!(!crowded);
        drop(first);
        let (_third, _, crowded) = strangers.admit(&shutdown);
        assert!(!crowded && !first_ended.is_cancelled());
        let (_fourth, _, crowded) = strangers.admit(&shutdown);
        assert!(crowded && second_ended.is_cancelled() && !first_ended.is_cancelled());
    }
}
