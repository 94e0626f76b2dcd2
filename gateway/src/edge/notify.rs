//! How events reach the sockets of very many clients: in waves, and written by [writers](super::writers) instead of each
//! client's task.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use palisade_watch::{Hearers, Herds, Pacer, Pacing};
use palisade_wire::Acl;
use palisade_wire::reply::EventType;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::client::Client;
use super::delivery::Delivery;
use super::hub::Hub;
use super::writers::{BATCH, Unwritten, Writers};
use crate::metrics::Metrics;

/// Up to so many clients are written to by their own tasks.
pub(super) const DIRECT: usize = 32;

/// Events on their way to very many clients.
#[derive(Debug)]
pub(crate) struct Notifications {
    started: Instant,
    pacer: Mutex<Pacer>,
    /// Tells the pacing task that somebody waits, or that the operator changed his mind.
    paced: Notify,
    /// Clients to write to.
    pub(super) unwritten: Unwritten,
    /// Sessions that were told before their wave, and not yet charged for.
    early: AtomicU64,
    /// What very many hear again and again. Whoever locks it has locked the watch index.
    herds: Mutex<Herds>,
    pub(super) metrics: Arc<Metrics>,
}

impl Notifications {
    pub(super) fn new(pacing: Pacing, metrics: Arc<Metrics>) -> Self {
        Self {
            started: Instant::now(),
            pacer: Mutex::new(Pacer::new(pacing)),
            paced: Notify::new(),
            unwritten: Unwritten::default(),
            early: AtomicU64::new(0),
            herds: Mutex::default(),
            metrics,
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// From now on events are paced like this.
    pub(crate) fn set_pacing(&self, pacing: Pacing) {
        self.pacer.lock().set_pacing(pacing);
        self.paced.notify_one();
    }

    /// Begins to tell of something to those who may read according to `acl`, unless it is `None`. `version` is that of
    /// the watch index, which must be locked until it is told.
    pub(super) fn deliver<'a>(
        &'a self,
        (kind, path): (EventType, &'a str),
        acl: Option<&'a [Acl]>,
        version: u64,
    ) -> Delivery<'a> {
        let pacing = *self.pacer.lock().pacing();
        let mut herds = self.herds.lock();
        if kind != EventType::NodeDataChanged {
            herds.forget(path);
        }
        let hearers = Hearers { acl, version, merge_above: pacing.merge_above() };
        Delivery { notifications: self, herds, kind, path, hearers, pacing }
    }

    /// Has the sessions of these connections told in waves.
    pub(super) fn hold<'a>(&self, first: impl Iterator<Item = &'a Arc<Client>>, now: Duration) {
        let mut first = first.peekable();
        if first.peek().is_some() {
            let mut pacer = self.pacer.lock();
            first.for_each(|client| pacer.hold(client.slot(), client.session_timeout(), now));
            self.paced.notify_one();
        }
    }

    /// Has clients written to, the first of them while the others are found.
    pub(super) fn hand_over<'a>(&self, clients: impl Iterator<Item = &'a Arc<Client>>) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut clients = clients.peekable();
        while clients.peek().is_some() {
            batch.extend(clients.by_ref().take(BATCH).filter(|client| client.get_in_line()).cloned());
            self.unwritten.add(&mut batch);
        }
    }

    /// A client that was told in a wave reads.
    pub(super) fn reread(&self, client: &Client) {
        if let Some(wave) = client.take_reread()
            && !self.pacer.lock().reread(wave, self.now())
        {
            client.forget_wave();
        }
    }

    /// Lets the waves go.
    async fn pace(&self, hub: &Hub) {
        loop {
            match self.next_wave() {
                None => self.paced.notified().await,
                Some(next) => sleep_until(next).await,
            }
            self.release(hub);
        }
    }

    /// When the next wave may leave, if somebody waits for one.
    pub(super) fn next_wave(&self) -> Option<Instant> {
        Some(self.started + self.pacer.lock().next()?)
    }

    /// Lets a wave go, if it is time.
    pub(super) fn release(&self, hub: &Hub) {
        let now = self.now();
        let mut told = Vec::new();
        let slots = hub.connections().read();
        let waiting = {
            let mut pacer = self.pacer.lock();
            pacer.told_early(self.early.swap(0, Ordering::Relaxed));
            pacer.poll(now, |slot, wave| {
                let Some(client) = slots.get(slot) else { return 0 };
                let events = client.release_events(wave);
                told.extend((events > 0).then(|| Arc::clone(client)));
                events
            });
            pacer.waiting()
        };
        drop(slots);
        hub.metrics().palisade_sessions_held.set(waiting);
        self.hand_over(told.iter());
    }

    /// Held events left with another frame.
    pub(super) fn told_early(&self) {
        self.early.fetch_add(1, Ordering::Relaxed);
    }

    /// How long ago this moment was.
    pub(super) fn since(&self, moment: Duration) -> Duration {
        self.now().saturating_sub(moment)
    }
}

/// Starts what delivers events, until `stop`.
pub(super) fn start(hub: &Arc<Hub>, stop: &CancellationToken, tasks: &TaskTracker) {
    let writers = Writers::start(hub);
    let (hub, stop) = (Arc::clone(hub), stop.clone());
    tasks.spawn(async move {
        let _writers = writers;
        stop.run_until_cancelled(hub.notifications().pace(&hub)).await;
    });
}
