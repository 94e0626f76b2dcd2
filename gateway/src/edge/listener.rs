//! Ports: who is let in.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use palisade_admin::port;
use palisade_wire::Id;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use super::Edge;
use super::connection::Connection;
use super::handshake::{Greeting, Opened, Opening};
use super::outbox::CloseReason;
use crate::config::Config;
use crate::exec::remote_id;

/// Pause after a failed accept: the process is out of something.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections of the admin port at a time.
const MAX_ADMIN: usize = 64;

/// Counts connections, all and by address.
#[derive(Debug)]
pub(super) struct Admission {
    by_address: Mutex<FxHashMap<IpAddr, usize>>,
    connections: AtomicUsize,
    handshakes: AtomicUsize,
    admins: AtomicUsize,
    max_connections: usize,
    max_handshakes: usize,
    /// 0 is unlimited.
    max_per_address: usize,
}

/// One connection's place; given back when dropped.
#[derive(Debug)]
struct Place {
    edge: Arc<Edge>,
    address: IpAddr,
}

/// One place of a plain counter; given back when dropped.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn take(counter: &'a AtomicUsize, max: usize) -> Option<Self> {
        let counted = Self(counter);
        (counter.fetch_add(1, Ordering::Relaxed) < max).then_some(counted)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Admission {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            by_address: Mutex::default(),
            connections: AtomicUsize::new(0),
            handshakes: AtomicUsize::new(0),
            admins: AtomicUsize::new(0),
            max_connections: config.limits.max_connections,
            max_handshakes: config.limits.max_handshakes,
            max_per_address: config.client.max_per_address,
        }
    }

    /// Takes a place, or says which limit is reached.
    fn enter(&self, address: IpAddr) -> Result<(), &'static str> {
        let mut by_address = self.by_address.lock();
        let here = by_address.get(&address).copied().unwrap_or(0);
        if self.connections.load(Ordering::Relaxed) >= self.max_connections {
            return Err("limits.max_connections");
        }
        if self.max_per_address > 0 && here >= self.max_per_address {
            return Err("client.max_per_address");
        }
        by_address.insert(address, here + 1);
        self.connections.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn leave(&self, address: IpAddr) {
        let mut by_address = self.by_address.lock();
        if let Some(here) = by_address.get_mut(&address) {
            *here -= 1;
            if *here == 0 {
                by_address.remove(&address);
            }
        }
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.edge.admission.leave(self.address);
    }
}

/// Accepts clients until the edge stops. Nothing that one connection does ends this.
pub(super) async fn serve_clients(edge: Arc<Edge>, listener: TcpListener) {
    let (stop, accepting) = (edge.stop.clone(), edge.accepting.clone());
    let accept_all = async {
        loop {
            let Some((stream, peer)) = accept(&listener, "client").await else { continue };
            let address = peer.ip().to_canonical();
            if let Err(limit) = edge.admission.enter(address) {
                edge.hub.metrics().connection_rejected.inc();
                debug!(%peer, limit, "connection refused: the limit is reached");
                reset(&stream);
                continue;
            }
            let place = Place { edge: Arc::clone(&edge), address };
            edge.tasks.spawn(serve_client(place, stream, peer));
        }
    };
    tokio::select! {
        () = accept_all => {}
        () = stop.cancelled() => {}
        () = accepting.cancelled() => {}
    }
}

async fn accept(listener: &TcpListener, port: &str) -> Option<(TcpStream, SocketAddr)> {
    match listener.accept().await {
        Ok((stream, peer)) => {
            if let Err(error) = stream.set_nodelay(true) {
                debug!(%peer, %error, "TCP_NODELAY not set");
            }
            Some((stream, peer))
        }
        Err(error) if is_of_one_connection(&error) => None,
        Err(error) => {
            warn!(port, %error, "accept failed; trying again");
            sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// Whether the connection to accept failed, not the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Over the limit, the client shall know at once: no lingering half-open connection.
fn reset(stream: &TcpStream) {
    stream.set_zero_linger().ok();
}

async fn serve_client(place: Place, stream: TcpStream, peer: SocketAddr) {
    let edge = Arc::clone(&place.edge);
    let ids: Arc<[Id]> = Arc::from([remote_id(peer.ip())]);
    let Some(client) = edge.hub.connect(peer, Arc::clone(&ids)) else {
        return;
    };
    let reason = if edge.stop.is_cancelled() {
        CloseReason::Stopping
    } else {
        let deadline = Instant::now() + edge.config.limits.handshake_timeout;
        let greeting = Greeting { edge: Arc::clone(&edge), client: Arc::clone(&client), ids };
        let opening = Opening { greeting, stream, deadline };
        serve_session(&edge, opening).await
    };
    edge.hub.disconnect(&client);
    if !matches!(reason, CloseReason::Gone | CloseReason::ClosedByClient) {
        edge.hub.metrics().connection_drop_count.inc();
    }
    let session = format_args!("{:#x}", client.session());
    debug!(%peer, session, ?reason, "connection ended");
}

async fn serve_session(edge: &Edge, opening: Opening) -> CloseReason {
    let Some(counted) = Counted::take(&edge.admission.handshakes, edge.admission.max_handshakes) else {
        edge.hub.metrics().connection_rejected.inc();
        reset(&opening.stream);
        return CloseReason::Refused;
    };
    // Boxed, so that what a handshake needs is given back when it is over.
    let Some(opened) = edge.stop.run_until_cancelled(Box::pin(opening.open())).await else {
        return CloseReason::Stopping;
    };
    drop(counted);
    match opened {
        Opened::Over(reason) => reason,
        Opened::Session(established, stream) => Box::new(Connection::new(established)).run(stream).await,
    }
}

/// Answers four-letter words and HTTP on the admin port until the edge stops.
pub(super) async fn serve_admin(edge: Arc<Edge>, listener: TcpListener) {
    let stop = edge.stop.clone();
    stop.run_until_cancelled(async {
        loop {
            let Some((stream, peer)) = accept(&listener, "admin").await else { continue };
            let edge = Arc::clone(&edge);
            let tasks = edge.tasks.clone();
            tasks.spawn(async move {
                let Some(_counted) = Counted::take(&edge.admission.admins, MAX_ADMIN) else {
                    return info!(%peer, "admin connection refused: {MAX_ADMIN} are open");
                };
                let answered = edge.stop.run_until_cancelled(port::serve(stream, Arc::clone(&edge)));
                if let Some(Err(error)) = answered.await {
                    debug!(%peer, %error, "admin connection got no answer");
                }
            });
        }
    })
    .await;
}
