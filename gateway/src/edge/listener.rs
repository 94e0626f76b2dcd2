//! Ports: who is let in.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use palisade_admin::port;
use palisade_wire::Id;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use super::Edge;
use super::client::Client;
use super::connection::Connection;
use super::handshake::{Greeting, Opened, Opening};
use super::outbox::CloseReason;
use crate::exec::remote_id;
use crate::session::Refusal;
use crate::throttle;

/// Pause after a failed accept: the process is out of something.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections of the admin port at a time.
const MAX_ADMIN: usize = 64;

/// Counts connections of each kind.
#[derive(Debug, Default)]
pub(super) struct Admission {
    connections: AtomicUsize,
    handshakes: AtomicUsize,
    admins: AtomicUsize,
}

/// One connection's place; given back when dropped.
#[derive(Debug)]
struct Place {
    edge: Arc<Edge>,
    _counted: Connected,
    _counted_by_address: throttle::Place,
}

/// One connection among all; given back when dropped.
#[derive(Debug)]
struct Connected(Arc<Edge>);

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

impl Place {
    /// Takes a place, or says which limit is reached.
    fn take(edge: &Arc<Edge>, address: IpAddr) -> Result<Self, &'static str> {
        let counted = Connected(Arc::clone(edge));
        let connected = edge.admission.connections.fetch_add(1, Ordering::Relaxed);
        if connected >= edge.config.limits.max_connections {
            return Err("limits.max_connections");
        }
        let counted_by_address = edge.throttle.enter(address).map_err(|_| "throttle.connections")?;
        Ok(Self { edge: Arc::clone(edge), _counted: counted, _counted_by_address: counted_by_address })
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.admission.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Accepts clients until the edge stops. Nothing that one connection does ends this.
pub(super) async fn serve_clients(edge: Arc<Edge>, listener: TcpListener) {
    let (stop, accepting) = (edge.stop.clone(), edge.accepting.clone());
    let accept_all = async {
        loop {
            let Some((stream, peer)) = accept(&listener, "client").await else { continue };
            let address = peer.ip().to_canonical();
            match Place::take(&edge, address) {
                Ok(place) => welcome(place, stream, peer),
                Err(limit) => {
                    edge.hub.metrics().connection_rejected.inc();
                    edge.top.refused(address, None);
                    debug!(%peer, limit, "connection refused: the limit is reached");
                    reset(&stream);
                }
            }
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

fn welcome(place: Place, stream: TcpStream, peer: SocketAddr) {
    let edge = Arc::clone(&place.edge);
    let ids: Arc<[Id]> = Arc::from([remote_id(peer.ip())]);
    if let Some(client) = edge.hub.connect(peer, Arc::clone(&ids)) {
        let handshake = shake_hands(Arc::clone(&edge), stream, Arc::clone(&client), ids);
        edge.tasks.spawn(serve_client(place, client, handshake));
    }
}

/// Serves a client until its connection ends. What only a handshake needs is behind a pointer, and given back when that
/// is over: a connection that waits takes little more than what is kept of it.
async fn serve_client(place: Place, client: Arc<Client>, handshake: Handshake) {
    let reason = match handshake.await {
        Ok((connection, stream)) => connection.run(stream).await,
        Err(reason) => reason,
    };
    let edge = &place.edge;
    edge.hub.disconnect(&client);
    if !matches!(reason, CloseReason::Gone | CloseReason::ClosedByClient) {
        edge.hub.metrics().connection_drop_count.inc();
    }
    let refusal = match reason {
        CloseReason::TooManyWatches => Some(Refusal::Watches),
        CloseReason::SlowReader => Some(Refusal::Slow),
        _ => None,
    };
    if let Some(refusal) = refusal {
        edge.refusals.note(refusal, client.peer(), client.session());
    }
    let session = format_args!("{:#x}", client.session());
    debug!(peer = %client.peer(), session, ?reason, "connection ended");
}

/// What comes before a session: a connection, or why there is none.
type Handshake = Pin<Box<dyn Future<Output = Result<(Box<Connection>, TcpStream), CloseReason>> + Send>>;

fn shake_hands(edge: Arc<Edge>, stream: TcpStream, client: Arc<Client>, ids: Arc<[Id]>) -> Handshake {
    Box::pin(async move {
        let Some(_counted) = Counted::take(&edge.admission.handshakes, edge.config.limits.max_handshakes)
        else {
            edge.hub.metrics().connection_rejected.inc();
            reset(&stream);
            return Err(CloseReason::Refused);
        };
        let deadline = Instant::now() + edge.config.limits.handshake_timeout;
        let opening =
            Opening { greeting: Greeting { edge: Arc::clone(&edge), client, ids }, stream, deadline };
        match edge.stop.run_until_cancelled(opening.open()).await {
            Some(Opened::Session(established, stream)) => {
                Ok((Box::new(Connection::new(established)), stream))
            }
            Some(Opened::Over(reason)) => Err(reason),
            None => Err(CloseReason::Stopping),
        }
    })
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
