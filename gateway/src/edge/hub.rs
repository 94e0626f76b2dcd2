//! Where changes of the replica meet those who wait for them: the watch index, and the connections.
//!
//! Locks are taken in this order, and never across an await: the replica, the watch index, the recent events, the
//! connections or the sessions, the herds, the pacer or the list of clients to write to, a connection's own, that of
//! the changes that it shares, those of the limits, or those of the link (its queue, its touches).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use palisade_admin::system::wall_clock;
use palisade_store::{Change, DataTree, TxnOutcome};
use palisade_watch::{Budget, Event, Fired, Missed as MissedEvents, Recent, Released, Slot, WatchIndex};
use palisade_wire::reply::EventType;
use palisade_wire::txn::{Txn, TxnHeader};
use palisade_wire::{Acl, Id, SessionId, Zxid};
use parking_lot::Mutex;

use super::aside::aside;
use super::client::{Client, makes_ephemerals};
use super::connections::Connections;
use super::missed::{Missed, Watched, missed};
use super::notify::Notifications;
use super::outbox::CloseReason;
use super::pending::Pending;
use super::remembered::{Remembered, guarded, heard};
use super::stats::ServerStats;
use crate::config::{self, Config};
use crate::exec::status;
use crate::metrics::Metrics;
use crate::replica::ReplicaObserver;
use crate::session::{Cxids, LocalSessions, upgrade_xid};
use crate::tenancy::Root;
use crate::throttle::Throttle;

/// Watches that are dealt with before others get at the index.
pub(super) const WATCHES_AT_ONCE: usize = 1_000;
/// The shortest interval at which local sessions are looked at.
const MIN_TICK: Duration = Duration::from_millis(10);

/// Delivers events, and knows all connections.
#[derive(Debug)]
pub(crate) struct Hub {
    watches: Mutex<WatchIndex>,
    connections: Connections,
    /// A buffer of the applier.
    fired: Mutex<Vec<Fired>>,
    stats: Arc<ServerStats>,
    local: LocalSessions,
    upgrade_xid: i32,
    cxids: Cxids,
    root: Arc<Root>,
    budget: Arc<Budget>,
    pending: Pending,
    throttle: Arc<Throttle>,
    notifications: Notifications,
    /// What happened lately, for clients that come back.
    recent: Mutex<Recent>,
}

impl Hub {
    /// Of a gateway that remembers nothing.
    #[cfg(test)]
    pub(crate) fn new(config: &Config) -> Arc<Self> {
        Self::with_past(config, Remembered::new(config))
    }

    /// Without connections and watches, of a gateway that remembers what happened before.
    pub(crate) fn with_past(config: &Config, remembered: Remembered) -> Arc<Self> {
        let stats = Arc::<ServerStats>::default();
        Arc::new(Self {
            watches: Mutex::default(),
            connections: Connections::default(),
            fired: Mutex::default(),
            local: LocalSessions::new(
                (config.sessions.min_timeout / 2).max(MIN_TICK),
                config.sessions.max_local,
            ),
            upgrade_xid: upgrade_xid(config.id),
            cxids: Cxids::new(config.id),
            root: Arc::new(Root::new(&config.tenant.root)),
            budget: Arc::new(Budget::new(config.limits.outbox_bytes, config.limits.total_outbox_bytes)),
            pending: Pending::new(config.limits.total_pending_bytes),
            throttle: Throttle::new(config.throttle.clone(), Arc::clone(&stats.metrics)),
            notifications: Notifications::new(config.notifications.pacing, Arc::clone(&stats.metrics)),
            recent: Mutex::new(remembered.into_recent()),
            stats,
        })
    }

    /// Who is connected.
    pub(crate) const fn connections(&self) -> &Connections {
        &self.connections
    }

    pub(crate) const fn watches(&self) -> &Mutex<WatchIndex> {
        &self.watches
    }

    pub(crate) const fn stats(&self) -> &Arc<ServerStats> {
        &self.stats
    }

    /// What waits for all clients.
    pub(crate) const fn pending(&self) -> &Pending {
        &self.pending
    }

    /// What clients may take.
    pub(crate) const fn throttle(&self) -> &Arc<Throttle> {
        &self.throttle
    }

    /// What of the tree clients see.
    pub(crate) const fn root(&self) -> &Arc<Root> {
        &self.root
    }

    /// The xids under which writes are forwarded.
    pub(super) const fn cxids(&self) -> &Cxids {
        &self.cxids
    }

    /// How events reach very many clients.
    pub(crate) const fn notifications(&self) -> &Notifications {
        &self.notifications
    }

    /// What happened lately.
    pub(super) const fn recent(&self) -> &Mutex<Recent> {
        &self.recent
    }

    /// From now on events are told like this.
    pub(super) fn set_notifications(&self, config: &config::Notifications) {
        self.notifications.set_pacing(config.pacing);
        self.recent.lock().set_limit(config.replay_limit());
    }

    /// A client is told what its persistent watches missed.
    pub(super) fn count_missed(&self, missed: &MissedEvents) {
        let metrics = self.metrics();
        metrics.palisade_events_replayed.add(missed.events.len() as u64);
        if !missed.is_complete {
            metrics.palisade_replays_incomplete.inc();
        }
    }

    /// Held events left.
    pub(super) fn count_released(&self, released: Released) {
        if released.events > 0 {
            let metrics = self.metrics();
            metrics.palisade_events_released.add(released.events as u64);
            let hold = self.notifications.since(released.since);
            metrics.palisade_event_hold.record(hold);
            metrics.palisade_event_longest_hold.record(hold);
            if released.early {
                self.notifications.told_early();
            }
        }
    }

    /// What is counted.
    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.stats.metrics
    }

    /// The sessions that the core does not know.
    pub(crate) const fn local(&self) -> &LocalSessions {
        &self.local
    }

    /// Ends the local sessions whose time is up.
    pub(super) fn expire_local(&self) {
        for session in self.local.take_expired() {
            self.metrics().stale_sessions_expired.inc();
            self.session_closed(session);
        }
    }

    fn session_closed(&self, session: SessionId) {
        if let Some(owner) = self.connections.owner(session) {
            owner.session_closed();
        }
    }

    /// Gives a new connection its slot; `None` if there are too many.
    pub(super) fn connect(&self, peer: SocketAddr, ids: Arc<[Id]>) -> Option<Arc<Client>> {
        let shared = (Arc::clone(&self.stats), Arc::clone(&self.root));
        self.connections.add(|slot| Client::new(slot, peer, ids, Arc::clone(&self.budget), shared))
    }

    /// Makes `client` the one whom the session's end concerns. Whoever had the session before is closed.
    pub(super) fn attach(&self, session: SessionId, client: &Arc<Client>) {
        client.lock().session = session;
        if let Some(before) = self.connections.attach(session, client) {
            before.close(CloseReason::Moved);
        }
    }

    /// Forgets a connection that has ended.
    pub(super) fn disconnect(&self, client: &Arc<Client>) {
        let session = {
            let mut state = client.lock();
            state.established = false;
            state.gone = true;
            state.give_up(&self.pending);
            state.session
        };
        self.connections.detach(session, client);
        // Nobody but the connection itself adds watches, so none can follow.
        self.remove_watches(client.slot());
        self.connections.remove(client.slot());
    }

    /// In steps, between which others get at the index.
    fn remove_watches(&self, slot: Slot) {
        let some = || self.watches.lock().remove_some(slot, WATCHES_AT_ONCE);
        if some() {
            aside(|| while some() {});
        }
    }

    /// `path` is the core's; watches and events have the client's.
    fn fire(&self, zxid: Zxid, kind: EventType, path: &str, acl: &[Acl]) {
        let Some(path) = self.root.leave(path) else { return };
        let mut event = None;
        let mut recent = self.recent.lock();
        if recent.is_on() {
            recent.push(event.insert(Event::new(zxid, kind, &path)), guarded(acl));
        }
        drop(recent);
        self.fire_clients(event, (zxid, kind, &path), acl);
    }

    /// The status of this gateway changed.
    pub(super) fn fire_status(&self, zxid: Zxid) {
        self.fire_clients(None, (zxid, EventType::NodeDataChanged, status::PATH), &status::acl());
    }

    /// Builds the event unless it is there.
    fn fire_clients(
        &self,
        event: Option<Arc<Event>>,
        (zxid, kind, path): (Zxid, EventType, &str),
        acl: &[Acl],
    ) {
        let mut watches = self.watches.lock();
        let slots = self.connections.read();
        let client = |slot: Slot| slots.get(slot);
        let event = || event.unwrap_or_else(|| Event::new(zxid, kind, path));
        let delivery = self.notifications.deliver((kind, path), guarded(acl), watches.version());
        if let Some(known) = delivery.known() {
            self.count_fired(kind, known);
            return delivery.tell_again(&event(), client);
        }
        let fired = &mut *self.fired.lock();
        watches.fire(kind, path, fired);
        if !fired.is_empty() {
            self.count_fired(kind, fired.len());
            delivery.tell(&event(), watches.version(), fired, client);
        }
    }

    fn count_fired(&self, kind: EventType, watches: usize) {
        let metrics = self.metrics();
        let summary = match kind {
            EventType::NodeCreated => &metrics.node_created_watch_count,
            EventType::NodeDeleted => &metrics.node_deleted_watch_count,
            EventType::NodeDataChanged => &metrics.node_changed_watch_count,
            EventType::NodeChildrenChanged => &metrics.node_children_watch_count,
        };
        summary.record(watches as u64);
    }

    /// Fires what watchers missed between two trees, in the order of [`missed`].
    fn fire_missed(&self, old: &DataTree, new: &DataTree) {
        let watched = Watched::new(&self.watches.lock(), &self.root);
        for Missed { kind, path, acl } in missed(old, new, &watched) {
            self.fire(new.last_zxid(), kind, path, acl);
        }
    }
}

impl ReplicaObserver for Hub {
    fn began(&self, zxid: Zxid) {
        self.recent.lock().go_on(zxid);
    }

    fn changed(&self, header: &TxnHeader, change: &Change<'_>) {
        if let Some((kind, path, acl)) = heard(change) {
            self.fire(header.zxid, kind, path, acl);
        }
        match *change {
            Change::Created { path, is_ephemeral: true, .. } => self.ephemeral_made(header.session, path),
            Change::Deleted { path, ephemeral_since: Some(since), .. } => {
                self.ephemeral_gone(header.session, path, header.time.saturating_sub(since));
            }
            Change::SessionCreated { session, .. } => {
                self.local.remove(session);
                if let Some(owner) = self.connections.owner(session) {
                    owner.became_global(header.cxid == self.upgrade_xid);
                }
            }
            Change::SessionClosed { session } => self.session_closed(session),
            Change::Created { .. }
            | Change::Deleted { .. }
            | Change::DataChanged { .. }
            | Change::ChildrenChanged { .. } => {}
        }
    }

    fn applied(&self, header: &TxnHeader, txn: &Txn, _outcome: &TxnOutcome<'_>) {
        if self.cxids.is_foreign(header.cxid)
            && !matches!(txn, Txn::CreateSession(_))
            && let Some(owner) = self.connections.owner(header.session)
        {
            owner.may_be_elsewhere();
        }
        // Perhaps asked for on an earlier connection.
        if makes_ephemerals(txn)
            && let Some(owner) = self.connections.owner(header.session)
        {
            owner.may_own();
        }
        let metrics = self.metrics();
        metrics.learner_commit_received_count.inc();
        metrics.propagation_latency.record_age(header.time, wall_clock());
    }

    fn replaced(&self, old: &DataTree, new: &DataTree, rewound: bool) {
        self.recent.lock().begin(new.last_zxid());
        self.throttle.forget_queues();
        if rewound {
            self.connections.close_all(CloseReason::HistoryReplaced);
            self.local.keep_only(&[]);
            return;
        }
        let mut certain = Vec::new();
        for (session, owner) in self.connections.owners() {
            owner.may_own();
            let (was_global, is_global) =
                (old.session_timeout(session).is_some(), new.session_timeout(session).is_some());
            if is_global {
                owner.became_global(false);
                owner.may_be_elsewhere();
            } else if owner.is_local() && owner.is_sole() {
                certain.push((session, i32::try_from(owner.stats.timeout_ms()).unwrap_or(i32::MAX)));
            } else if was_global || owner.is_local() {
                owner.session_closed();
            }
        }
        self.local.keep_only(&certain);
        self.fire_missed(old, new);
    }
}
