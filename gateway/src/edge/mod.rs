//! The edge: ports, connections, and the order in which each client sees what it asked for and what happens.
//!
//! * `listener` accepts, within limits; `handshake` and `claim` establish sessions; `connection` is the task that serves one,
//!   `requests` what it makes of frames.
//! * `client` is the part of a connection that others reach, with its `outbox` (frames on their way out) and its
//!   `pipeline` (requests that are not answered).
//! * `hub` takes the replica's changes to the connections that watch them.
//!
//! # Order
//!
//! A client sees an event before any answer that reflects the change. Events are queued under the replica's write
//! lock, before the write's own answer. Reads hold the read lock from the first look at the tree until their answers
//! are queued. Hence what stands in the outbox never goes back in time.

mod aside;
mod bell;
mod buffers;
mod claim;
mod client;
mod connection;
mod connections;
mod delivery;
mod drain;
pub mod driven;
mod handshake;
mod holds;
mod hub;
mod lease;
mod listener;
mod missed;
mod mode;
mod notify;
mod outbox;
mod pace;
mod pending;
mod pipeline;
mod remembered;
mod requests;
mod room;
mod stats;
#[cfg(test)]
mod tests;
mod watching;
mod writers;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use palisade_admin::words::Word;
use palisade_wire::quorum::ForwardedRequest;
use palisade_wire::{Id, OpCode, SessionId};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use aside::aside;
pub(crate) use client::Client;
pub(crate) use hub::Hub;
pub(crate) use remembered::Remembered;

use self::listener::Admission;
use self::outbox::CloseReason;
use self::pace::Pace;
use self::room::Rooms;
use crate::admin::reload::Reloads;
use crate::config::{self, Config};
use crate::core_link::{CoreLink, Place, Refused, Ticket};
use crate::exec::status::Status;
use crate::exec::{Authenticator, LargeData};
use crate::replica::Replica;
use crate::session::{Passwords, Refusals, SessionIds};
use crate::tenancy::{RootCollision, establish};
use crate::throttle::{self, LockUse, Throttle};
use crate::top::Top;

/// How often limits that ceased to bite are looked for.
const TIDY: Duration = Duration::from_secs(1);

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Edge {
    pub(crate) config: Config,
    pub(crate) hub: Arc<Hub>,
    pub(crate) top: Top,
    pub(crate) reloads: Reloads,
    pub(crate) replica: Replica,
    pub(crate) link: CoreLink,
    session_ids: SessionIds,
    passwords: Passwords,
    refusals: Refusals,
    auth: Authenticator,
    admission: Admission,
    pub(crate) throttle: Arc<Throttle>,
    pace: Pace,
    pub(crate) status: Status,
    /// What many are sent at once.
    large: LargeData,
    rooms: Rooms,
    client_address: SocketAddr,
    /// Whether the tenant's root exists.
    rooted: watch::Sender<bool>,
    /// Why it never will.
    collision: watch::Sender<Option<RootCollision>>,
    /// Cancelled when nobody is let in any more.
    accepting: CancellationToken,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// The ports.
#[derive(Debug)]
pub(crate) struct Listeners {
    /// For clients.
    pub(crate) client: TcpListener,
    /// For monitoring.
    pub(crate) admin: Option<TcpListener>,
}

/// The running edge. Dropped, it stops without waiting.
#[derive(Debug)]
pub(crate) struct EdgeHandle {
    edge: Arc<Edge>,
    admin_address: Option<SocketAddr>,
}

/// A bound socket has an address; if the system does not tell it, nobody needs to know it.
fn address(listener: &TcpListener) -> SocketAddr {
    listener.local_addr().unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)))
}

/// Starts to serve clients and monitoring. `hub` must be the replica's observer.
pub(crate) fn start(
    config: Config,
    session_ids: SessionIds,
    hub: Arc<Hub>,
    replica: Replica,
    link: CoreLink,
    listeners: Listeners,
) -> EdgeHandle {
    let Listeners { client, admin } = listeners;
    let edge = Arc::new(Edge::new(config, session_ids, hub, replica, link, address(&client)));
    edge.tasks.spawn(tidy_limits(Arc::clone(&edge)));
    edge.tasks.spawn(mode::follow(Arc::clone(&edge)));
    edge.tasks.spawn(establish_root(Arc::clone(&edge)));
    notify::start(&edge.hub, &edge.stop, &edge.tasks);
    edge.tasks.spawn(listener::serve_clients(Arc::clone(&edge), client));
    if edge.config.sessions.local {
        edge.tasks.spawn(expire_local_sessions(Arc::clone(&edge)));
    }
    let admin_address = admin.as_ref().map(address);
    if let Some(admin) = admin {
        edge.tasks.spawn(listener::serve_admin(Arc::clone(&edge), admin));
    }
    EdgeHandle { edge, admin_address }
}

/// Looks after the limits, until the edge stops.
async fn tidy_limits(edge: Arc<Edge>) {
    let mut ticks = tokio::time::interval(TIDY);
    while edge.stop.run_until_cancelled(ticks.tick()).await.is_some() {
        edge.throttle.tidy();
        edge.measure();
        edge.hub.metrics().palisade_pending_bytes.set(edge.hub.pending().used() as u64);
        edge.hub.metrics().palisade_requests_backlog.set(edge.link.backlog() as u64);
    }
}

/// Makes the tenant's root if need be, and then lets clients in.
async fn establish_root(edge: Arc<Edge>) {
    if edge.hub.root().is_confined() {
        let tenant = (&*edge.config.tenant.name, &**edge.hub.root());
        let established = establish(tenant, &edge.replica, &edge.link, || edge.session_ids.issue());
        match edge.stop.run_until_cancelled(established).await {
            Some(Ok(Some(secret))) => edge.passwords.learn(&secret),
            Some(Err(collision)) => {
                edge.collision.send_replace(Some(collision));
                return;
            }
            Some(Ok(None)) | None => return,
        }
    }
    edge.rooted.send_replace(true);
}

/// Ends local sessions in time, until the edge stops.
async fn expire_local_sessions(edge: Arc<Edge>) {
    let mut ticks = tokio::time::interval(edge.hub.local().tick());
    while edge.stop.run_until_cancelled(ticks.tick()).await.is_some() {
        edge.hub.expire_local();
    }
}

impl EdgeHandle {
    /// Where clients connect.
    pub(crate) fn client_address(&self) -> SocketAddr {
        self.edge.client_address
    }

    /// The paths with the most acquisitions of locks of late.
    pub(crate) fn busiest_locks(&self, limit: usize) -> Vec<LockUse> {
        self.edge.throttle.busiest_locks(limit)
    }

    /// The locks with the longest queues.
    pub(crate) fn longest_queues(&self, limit: usize) -> Vec<(String, u32)> {
        self.edge.throttle.longest_queues(limit)
    }

    /// From now on, events are told like this.
    pub(crate) fn set_notifications(&self, notifications: &config::Notifications) {
        self.edge.hub.set_notifications(notifications);
    }

    /// Other limits from now on, also for whom the old ones hold back.
    pub(crate) fn set_throttle(&self, throttle: throttle::config::Throttle) {
        self.edge.throttle.set(throttle);
        self.edge.hub.connections().wake_all();
    }

    /// Waits until the tenant's root turns out to be another's, if it does. Cancel-safe.
    pub(crate) async fn collision(&self) -> RootCollision {
        let mut collision = self.edge.collision.subscribe();
        let known = collision.wait_for(Option::is_some).await.ok().and_then(|known| known.clone());
        match known {
            Some(collision) => collision,
            // Never: the sender lives as long.
            None => std::future::pending().await,
        }
    }

    /// Wishes that the settings be read again.
    pub(crate) fn reloads(&self) -> Reloads {
        self.edge.reloads.clone()
    }

    /// Where monitoring connects, if anywhere.
    pub(crate) const fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_address
    }

    /// Lets nobody in any more, and closes the connections one after the other, as `[gateway] drain` says.
    pub(crate) async fn drain(&self) {
        drain::drain(&self.edge, self.edge.config.gateway.drain).await;
    }

    /// Closes the ports and all connections, and waits for their tasks. Sessions live on in the core.
    pub(crate) async fn stop(self) {
        self.edge.stop.cancel();
        self.edge.hub.connections().close_all(CloseReason::Stopping);
        self.edge.tasks.close();
        self.edge.tasks.wait().await;
    }
}

impl Drop for EdgeHandle {
    fn drop(&mut self) {
        self.edge.stop.cancel();
        self.edge.hub.connections().close_all(CloseReason::Stopping);
    }
}

impl Edge {
    /// `hub` must be the replica's observer. Lets nobody in before the tenant's root is known to exist.
    pub(crate) fn new(
        config: Config,
        session_ids: SessionIds,
        hub: Arc<Hub>,
        replica: Replica,
        link: CoreLink,
        client_address: SocketAddr,
    ) -> Self {
        let proofs = link.clone();
        let age = move || Some(Instant::from_std(proofs.proven()?).elapsed());
        Self {
            pace: Pace::new(config.sessions.renewals_per_second),
            status: Status::new(&config.tenant.name, config.id, age),
            session_ids,
            passwords: Passwords::new(&config),
            refusals: Refusals::default(),
            auth: Authenticator::new(config.auth.super_digest.clone()),
            admission: Admission::default(),
            throttle: Arc::clone(hub.throttle()),
            large: LargeData::default(),
            rooms: Rooms::new(config.limits.total_inbox_bytes),
            client_address,
            rooted: watch::Sender::new(false),
            collision: watch::Sender::default(),
            accepting: CancellationToken::new(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            config,
            hub,
            top: Top::default(),
            reloads: Reloads::default(),
            replica,
            link,
        }
    }

    /// Sees how much the tenant has.
    fn measure(&self) {
        let usage = self.hub.root().usage(&self.replica.read());
        self.throttle.measured(usage);
    }

    /// How long a request of a session with this timeout may wait while the core does not answer: clients give up on a
    /// connection that is silent for two thirds of the timeout.
    fn patience(&self, timeout: Duration) -> Duration {
        self.config.sessions.write_wait.min(timeout / 3)
    }

    fn forward(
        &self,
        (session, cxid, op): (SessionId, i32, OpCode),
        body: Bytes,
        auth: Arc<[Id]>,
        ticket: Ticket,
        place: &mut Place,
    ) -> Result<(), Refused> {
        self.link.forward(ForwardedRequest { session, cxid, op: op.as_i32(), body }, auth, ticket, place)
    }

    /// Whether the client port answers this word.
    pub(crate) fn allows(&self, word: Word) -> bool {
        let allowed = &self.config.client.four_letter_words;
        word == Word::Srvr || allowed.iter().any(|a| a == "*" || a == word.text())
    }

    /// Whether the tenant's root exists.
    pub(crate) fn is_rooted(&self) -> bool {
        *self.rooted.borrow()
    }

    /// Whether clients are asked to leave, because the process ends.
    pub(crate) fn is_draining(&self) -> bool {
        self.accepting.is_cancelled()
    }

    /// Whether new sessions are let in: there is something to read, and the core, or leave to do without it.
    fn admits_new_sessions(&self) -> bool {
        let stale = &self.config.stale_reads;
        let connected = self.link.state().borrow().is_connected();
        self.is_serving() && (connected || (stale.enabled && stale.new_sessions))
    }

    /// Where clients connect.
    pub(crate) const fn client_address(&self) -> SocketAddr {
        self.client_address
    }
}
