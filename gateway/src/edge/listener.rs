//! Ports: who is let in.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant as StdInstant};

use palisade_admin::port;
use palisade_wire::Id;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use super::Edge;
use super::client::Client;
use super::connection::{Serving, finish};
use super::handshake::{Greeting, Opened, Opening};
use super::outbox::CloseReason;
use crate::exec::remote_id;
use crate::session::Refusal;
use crate::throttle::{self, Crowded, Waiting};

/// Pause after a failed accept: the process is out of something.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections of the admin port at a time.
const MAX_ADMIN: usize = 64;

/// Counts connections of each kind.
#[derive(Debug, Default)]
pub(super) struct Admission {
    connections: AtomicUsize,
    /// Those of them that wait for a place.
    waiting: AtomicUsize,
    handshakes: AtomicUsize,
    admins: AtomicUsize,
}

/// One connection's place; given back when dropped.
#[derive(Debug)]
struct Place {
    counted: Connected,
    counted_by_address: throttle::Place,
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

impl Connected {
    /// One more, if the gateway bears it.
    fn take(edge: &Arc<Edge>) -> Option<Self> {
        let counted = Self(Arc::clone(edge));
        let connected = edge.admission.connections.fetch_add(1, Ordering::Relaxed);
        (connected < edge.config.limits.max_connections).then_some(counted)
    }

    /// Takes a place among those that limits allow, for a connection that may wait since then.
    fn enter(&self, address: IpAddr, since: &mut Option<StdInstant>) -> Result<throttle::Place, Crowded> {
        let patience = self.0.config.limits.handshake_timeout;
        self.0.throttle.enter(address, Waiting { since, patience })
    }
}

impl Place {
    const fn edge(&self) -> &Arc<Edge> {
        &self.counted.0
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
            let Some(counted) = Connected::take(&edge) else {
                turn_away(&edge, &stream, peer, "limits.max_connections");
                continue;
            };
            let mut since = None;
            match counted.enter(peer.ip().to_canonical(), &mut since) {
                Ok(counted_by_address) => welcome(Place { counted, counted_by_address }, stream, peer),
                Err(Crowded(Some(wait))) => {
                    let (edge, waits) = (Arc::clone(&edge), (since, wait));
                    edge.tasks.clone().spawn(async move {
                        let waiting = wait_for_place(counted, (stream, peer), waits);
                        let waiting = edge.accepting.run_until_cancelled(waiting);
                        edge.stop.run_until_cancelled(waiting).await
                    });
                }
                Err(Crowded(None)) => turn_away(&edge, &stream, peer, "throttle.connections"),
            }
        }
    };
    tokio::select! {
        () = accept_all => {}
        () = stop.cancelled() => {}
        () = accepting.cancelled() => {}
    }
}

/// Until others have gone, or it took too long. As many may wait as others still find room, so that those whom a limit keeps
/// out do not keep out others.
async fn wait_for_place(
    counted: Connected,
    (stream, peer): (TcpStream, SocketAddr),
    (mut since, mut wait): (Option<StdInstant>, Duration),
) {
    let edge = Arc::clone(&counted.0);
    let Edge { admission, config, .. } = &*edge;
    let room = config.limits.max_connections.saturating_sub(admission.connections.load(Ordering::Relaxed));
    let Some(_waiting) = Counted::take(&admission.waiting, room) else {
        return turn_away(&edge, &stream, peer, "throttle.connections");
    };
    loop {
        sleep(wait).await;
        match counted.enter(peer.ip().to_canonical(), &mut since) {
            Ok(counted_by_address) => return welcome(Place { counted, counted_by_address }, stream, peer),
            Err(Crowded(Some(time))) => wait = time,
            Err(Crowded(None)) => return turn_away(&edge, &stream, peer, "throttle.connections"),
        }
    }
}

fn turn_away(edge: &Edge, stream: &TcpStream, peer: SocketAddr, limit: &str) {
    edge.hub.metrics().connection_rejected.inc();
    edge.top.refused(peer.ip().to_canonical(), None);
    debug!(%peer, limit, "connection refused: the limit is reached");
    reset(stream);
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
    let edge = Arc::clone(place.edge());
    let ids = place.counted_by_address.ids(|| Arc::from([remote_id(peer.ip())]));
    if let Some(client) = edge.hub.connect(peer, Arc::clone(&ids)) {
        edge.hub.watches().lock().count_together(client.slot(), place.counted_by_address.watches());
        let handshake = shake_hands(Arc::clone(&edge), stream, Arc::clone(&client), ids);
        edge.tasks.spawn(serve_client(place, client, handshake));
    }
}

/// Serves a client until its connection ends. What only a handshake needs is behind a pointer, and given back when that
/// is over: a connection that waits takes little more than what is kept of it.
#[expect(clippy::manual_async_fn, reason = "an async function would keep its arguments twice")]
fn serve_client(
    place: Place,
    client: Arc<Client>,
    handshake: Handshake,
) -> impl Future<Output = ()> + Send + 'static {
    async move {
        // Nothing else is kept over what follows.
        let mut serving = match handshake.await {
            Ok(serving) => serving,
            Err(reason) => return tell_end(place.edge(), &client, reason),
        };
        let reason = (&mut serving).await;
        let stream = serving.over(reason);
        if let Some(stream) = stream {
            // Boxed, as it would be a part of every connection's task.
            Box::pin(finish(stream)).await;
        }
        tell_end(place.edge(), &client, reason);
    }
}

/// A connection has ended.
fn tell_end(edge: &Edge, client: &Arc<Client>, reason: CloseReason) {
    edge.hub.disconnect(client);
    let metrics = edge.hub.metrics();
    match reason {
        CloseReason::Gone => metrics.connection_drop_count.inc(),
        CloseReason::ClosedByClient => {}
        _ => metrics.palisade_connections_closed.inc(),
    }
    if reason == CloseReason::Idle && client.session() == 0 {
        metrics.sessionless_connections_expired.inc();
    }
    let refusal = match reason {
        CloseReason::TooManyWatches => Some(Refusal::Watches),
        CloseReason::SlowReader => Some(Refusal::Slow),
        CloseReason::Unread => Some(Refusal::Unread),
        CloseReason::SlowRequest => Some(Refusal::SlowRequest),
        _ => None,
    };
    if let Some(refusal) = refusal {
        edge.refusals.note(refusal, client.peer(), client.session());
    }
    let session = format_args!("{:#x}", client.session());
    debug!(peer = %client.peer(), session, ?reason, "connection ended");
}

/// What comes before a session: a connection, or why there is none.
type Handshake = Pin<Box<dyn Future<Output = Result<Serving, CloseReason>> + Send>>;

fn shake_hands(edge: Arc<Edge>, stream: TcpStream, client: Arc<Client>, ids: Arc<[Id]>) -> Handshake {
    Box::pin(async move {
        let Some(_counted) = Counted::take(&edge.admission.handshakes, edge.config.limits.max_handshakes)
        else {
            edge.hub.metrics().connection_rejected.inc();
            reset(&stream);
            return Err(CloseReason::Refused);
        };
        let deadline = Instant::now() + edge.config.limits.handshake_timeout;
        let greeting = Greeting { edge: Arc::clone(&edge), client, ids };
        let opening = Opening { greeting, stream, deadline };
        // Pinned here: the token's future would keep it twice.
        let opening = pin!(opening.open());
        match edge.stop.run_until_cancelled(opening).await {
            Some(Opened::Session(established, stream)) => Ok(Serving::new(established, stream)),
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

#[cfg(test)]
mod tests {
    use super::super::connection::Connection;
    use super::*;

    /// What the runtime adds to the future of a task, bytes. Both together are aligned to 128: a block whose size is no
    /// power of two is only found by taking a larger one.
    const TASK: usize = 120;
    /// What a shared pointer's counters take.
    const SHARED: usize = 16;

    fn future_of<A, B, C, F>(_: fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    /// The allocator has blocks of these sizes.
    #[test]
    fn a_connection_that_waits_takes_little() {
        let task = future_of(serve_client) + TASK;
        let sizes = (task, size_of::<Client>() + SHARED, size_of::<Connection>());
        assert!(sizes.0 <= 256 && sizes.1 <= 512 && sizes.2 <= 320, "{sizes:?}");
    }
}
