//! How events reach the sockets of very many clients: in waves, and written by workers instead of each client's task.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use palisade_store::acl;
use palisade_watch::{Event, Fired, Pacer, Pacing, Slot};
use palisade_wire::{Acl, Perms};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::client::Client;
use super::hub::Hub;

/// Up to so many clients are written to by their own tasks.
const DIRECT: usize = 32;
/// Clients that a worker writes to before others get a chance.
const BATCH: usize = 32;

/// Events on their way to very many clients.
#[derive(Debug)]
pub(crate) struct Notifications {
    started: Instant,
    pacer: Mutex<Pacer>,
    /// Tells the pacing task that somebody waits, or that the operator changed his mind.
    paced: Notify,
    /// Clients to write to.
    unwritten: Mutex<VecDeque<Arc<Client>>>,
    /// Tells a worker that there are some.
    written_to: Notify,
    /// Sessions that were told before their wave, and not yet charged for.
    early: AtomicU64,
}

impl Notifications {
    pub(super) fn new(pacing: Pacing) -> Self {
        Self {
            started: Instant::now(),
            pacer: Mutex::new(Pacer::new(pacing)),
            paced: Notify::new(),
            unwritten: Mutex::default(),
            written_to: Notify::new(),
            early: AtomicU64::new(0),
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// From now on events are paced like this.
    pub(crate) fn set_pacing(&self, pacing: Pacing) {
        self.pacer.lock().set_pacing(pacing);
        self.paced.notify_one();
    }

    /// Queues an event for all who hear it, and sees to it that it leaves. `acl` must let them read, unless it is
    /// `None`. `client` finds the connection in a slot.
    pub(super) fn deliver<'a>(
        &self,
        event: &Arc<Event>,
        acl: Option<&[Acl]>,
        fired: &[Fired],
        client: impl Fn(Slot) -> Option<&'a Arc<Client>>,
    ) {
        let may_read = |ids: &[_]| acl.is_none_or(|acl| acl::check(acl, Perms::READ, ids));
        let pacing = *self.pacer.lock().pacing();
        if !pacing.applies_to(fired.len()) {
            let clients = fired.iter().filter_map(|fired| client(fired.slot));
            let told = clients.filter(|client| client.push_event(event, may_read));
            if fired.len() > DIRECT {
                self.hand_over(told);
            } else {
                told.for_each(|client| client.wake());
            }
            return;
        }
        let now = self.now();
        let mut waiting = Vec::new();
        for Fired { slot, one_shot } in fired {
            let Some(client) = client(*slot) else { continue };
            if client.hold_event(event, may_read, pacing.merge && !one_shot, now) {
                waiting.push((*slot, client.session_timeout()));
            }
        }
        if !waiting.is_empty() {
            let mut pacer = self.pacer.lock();
            waiting.into_iter().for_each(|(slot, timeout)| pacer.hold(slot, timeout, now));
            self.paced.notify_one();
        }
    }

    /// Has clients written to, the first of them while the others are found.
    fn hand_over<'a>(&self, clients: impl Iterator<Item = &'a Arc<Client>>) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut clients = clients.peekable();
        while clients.peek().is_some() {
            batch.extend(clients.by_ref().take(BATCH).cloned());
            self.unwritten.lock().extend(batch.drain(..));
            self.written_to.notify_one();
        }
    }

    /// A client that was told in a wave reads.
    pub(super) fn reread(&self, client: &Client) {
        if let Some(wave) = client.take_reread()
            && !self.pacer.lock().reread(wave)
        {
            client.forget_wave();
        }
    }

    /// Writes to clients, as one of several workers.
    async fn write(&self, hub: &Hub) {
        loop {
            if self.write_some(hub) {
                tokio::task::yield_now().await;
            } else {
                self.written_to.notified().await;
            }
        }
    }

    /// Writes to some of the clients that wait for it; whether there were any.
    pub(super) fn write_some(&self, hub: &Hub) -> bool {
        let batch: Vec<_> = {
            let mut unwritten = self.unwritten.lock();
            let count = unwritten.len().min(BATCH);
            unwritten.drain(..count).collect()
        };
        if batch.is_empty() {
            return false;
        }
        self.written_to.notify_one();
        batch.iter().for_each(|client| hub.count_released(client.flush_for_task()));
        true
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
        let waiting = hub.with_clients(|client| {
            let mut pacer = self.pacer.lock();
            pacer.told_early(self.early.swap(0, Ordering::Relaxed));
            pacer.poll(now, |slot, wave| {
                let before = told.len();
                told.extend(client(slot).filter(|client| client.release_events(wave)));
                told.len() > before
            });
            pacer.waiting()
        });
        hub.metrics().palisade_sessions_held.set(waiting as u64);
        if !told.is_empty() {
            self.unwritten.lock().extend(told);
            self.written_to.notify_one();
        }
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

/// Starts the tasks that deliver events, until `stop`.
pub(super) fn start(hub: &Arc<Hub>, stop: &CancellationToken, tasks: &TaskTracker) {
    let workers = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    for _ in 0..workers {
        let (hub, stop) = (Arc::clone(hub), stop.clone());
        tasks.spawn(async move { stop.run_until_cancelled(hub.notifications().write(&hub)).await });
    }
    let (hub, stop) = (Arc::clone(hub), stop.clone());
    tasks.spawn(async move { stop.run_until_cancelled(hub.notifications().pace(&hub)).await });
}
