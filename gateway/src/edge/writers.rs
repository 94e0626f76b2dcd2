//! Threads that write to the sockets of very many clients.
//!
//! Ten thousand system calls take tens of milliseconds of all processors. Tasks of the runtime would keep its threads from
//! serving other clients meanwhile, and may wait for each other on one of them while another is idle. Between threads of
//! their own and those of the runtime, the operating system shares the processors out.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use parking_lot::{Condvar, Mutex};
use tokio::runtime::Handle;
use tracing::warn;

use super::client::Client;
use super::hub::Hub;

/// Clients that a writer takes at a time.
pub(super) const BATCH: usize = 32;
/// More would only wait for each other.
const MAX_WRITERS: usize = 8;

/// Clients to write to. Each is there at most once ([`Client::get_in_line`]). Once it is closed, their own tasks write.
#[derive(Debug, Default)]
pub(super) struct Unwritten {
    line: Mutex<Line>,
    /// Tells a writer that there are some, or that there will be none any more.
    news: Condvar,
}

#[derive(Debug, Default)]
struct Line {
    clients: VecDeque<Arc<Client>>,
    closed: bool,
}

impl Line {
    fn take(&mut self) -> Vec<Arc<Client>> {
        let count = self.clients.len().min(BATCH);
        self.clients.drain(..count).collect()
    }
}

impl Unwritten {
    /// Puts these clients to the end of the line.
    pub(super) fn add(&self, clients: &mut Vec<Arc<Client>>) {
        let mut line = self.line.lock();
        if line.closed {
            drop(line);
            return clients.drain(..).for_each(|client| client.leave_line());
        }
        line.clients.extend(clients.drain(..));
        drop(line);
        self.news.notify_one();
    }

    /// Writes to some of them; whether there were any.
    pub(super) fn write_some(&self, hub: &Hub) -> bool {
        let batch = self.line.lock().take();
        write(hub, &batch);
        !batch.is_empty()
    }

    /// Waits for clients. None when the line is closed.
    fn wait(&self) -> Option<Vec<Arc<Client>>> {
        let mut line = self.line.lock();
        while line.clients.is_empty() && !line.closed {
            self.news.wait(&mut line);
        }
        (!line.closed).then(|| line.take())
    }

    fn close(&self) {
        let mut line = self.line.lock();
        line.closed = true;
        let left = std::mem::take(&mut line.clients);
        drop(line);
        self.news.notify_all();
        left.iter().for_each(|client| client.leave_line());
    }
}

fn write(hub: &Hub, batch: &[Arc<Client>]) {
    let (mut bytes, mut events) = (0, 0);
    for client in batch {
        let flushed = client.flush_for_task();
        hub.count_released(flushed.released);
        (bytes, events) = (bytes + flushed.bytes, events + flushed.events);
    }
    hub.stats().written(bytes, events);
}

/// The running threads. Dropped, they end, which takes no longer than a batch.
#[derive(Debug)]
pub(super) struct Writers {
    hub: Arc<Hub>,
    threads: Vec<JoinHandle<()>>,
}

impl Writers {
    /// As many as there are processors. What the operating system refuses is done without.
    pub(super) fn start(hub: &Arc<Hub>) -> Self {
        let count = thread::available_parallelism().map_or(1, NonZeroUsize::get).min(MAX_WRITERS);
        let runtime = Handle::current();
        let start = |_| {
            let (hub, runtime) = (Arc::clone(hub), runtime.clone());
            let work = move || {
                // Its clock counts.
                let _entered = runtime.enter();
                while let Some(batch) = hub.notifications().unwritten.wait() {
                    write(&hub, &batch);
                }
            };
            thread::Builder::new().name("writer".into()).spawn(work)
        };
        let (threads, refused): (Vec<_>, Vec<_>) = (0..count).map(start).partition(Result::is_ok);
        if let Some(Err(error)) = refused.first() {
            warn!(%error, started = threads.len(), "a thread that writes to clients could not be started");
        }
        if threads.is_empty() {
            hub.notifications().unwritten.close();
        }
        Self { hub: Arc::clone(hub), threads: threads.into_iter().flatten().collect() }
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.hub.notifications().unwritten.close();
        for thread in self.threads.drain(..) {
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}
