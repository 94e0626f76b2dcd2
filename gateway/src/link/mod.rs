//! The link to the core: finds the leader, follows it as an observer, and carries requests to it.
//!
//! One task owns all of it but the disk's thread; the edge reaches it through the [`queue`].

mod aside;
mod backlog;
mod connection;
pub(crate) mod contact;
mod dial;
mod error;
mod follower;
pub(crate) mod in_flight;
pub(crate) mod line;
pub(crate) mod queue;
pub(crate) mod requests;
mod snap;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub(crate) mod touches;
mod up;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use palisade_zab::Recovered;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval_at, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::config::{self, Config};
use crate::core_link::{CoreLink, LinkState};
use crate::gateway::GatewayError;
use crate::link::contact::Contact;
use crate::link::dial::{Backoff, Found, find_leader};
use crate::link::error::LinkError;
use crate::link::follower::{Follower, Parts};
use crate::link::queue::Queue;
use crate::metrics::Metrics;
use crate::replica::disk::{Disk, DiskGone, Done, Opened};
use crate::replica::{Replica, ReplicaObserver};
use crate::tenancy::Root;

const BACKOFF_MIN: Duration = Duration::from_millis(5);
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// How often a search without success is told.
const REMINDER: Duration = Duration::from_secs(30);

/// The running task.
#[derive(Debug)]
pub(crate) struct LinkTask {
    task: JoinHandle<Option<GatewayError>>,
    ended: bool,
}

/// What one packet's data, one logged transaction and one znode may have in any case, bytes. Transactions outgrow
/// `jute.maxbuffer`: the end of a session lists all its ephemerals. What the core has committed must be followed.
const MAX_TXN: usize = 64 << 20;

/// The same, for this gateway.
pub(crate) fn max_packet(config: &Config) -> usize {
    MAX_TXN.max(2 * config.limits.max_frame)
}

/// Brings what was on disk to life and starts the link's task. It ends when `stop` is cancelled, or by itself when it
/// cannot go on.
pub(crate) fn start(
    config: &Config,
    opened: Opened,
    (observer, metrics): (Arc<dyn ReplicaObserver>, Arc<Metrics>),
    stop: CancellationToken,
) -> Result<(Replica, CoreLink, LinkTask), GatewayError> {
    let recovered = Recovered {
        accepted_epoch: opened.epochs.accepted,
        current_epoch: opened.epochs.current,
        last_zxid: opened.tree.last_zxid(),
        recent: Vec::new(),
    };
    metrics.restored(&opened);
    let (since_snapshot, age, is_whole) = (opened.replayed, opened.age, opened.is_whole);
    let (mut tree, closed, log) = opened.split();
    tree.track(Root::new(&config.tenant.root).tracked());
    let replica = Replica::restored(tree, closed, observer);
    replica.set_whole(is_whole);
    let disk = Disk::start(log, replica.clone(), Arc::clone(&metrics)).map_err(GatewayError::Thread)?;
    let mut queue = Queue::new(config.limits.link_limits());
    queue.contact = Arc::new(Contact::new(age));
    let queue = Arc::new(queue);
    let (state, watched) = watch::channel(LinkState::Searching);
    let parts =
        Parts { replica: replica.clone(), disk, queue: Arc::clone(&queue), state, since_snapshot, metrics };
    let link = Link {
        follower: Follower::new(config, recovered, parts)?,
        core: config.core.clone(),
        limits: connection::Limits { max_packet: max_packet(config), stall: config.core.init_timeout },
    };
    let task = tokio::spawn(link.run(stop));
    Ok((replica, CoreLink::new(queue, watched), LinkTask { task, ended: false }))
}

impl LinkTask {
    /// Waits for the task's end; what ended it, `None` if it was stopped or that was told before. Cancel-safe.
    pub(crate) async fn join(&mut self) -> Option<GatewayError> {
        if self.ended {
            return None;
        }
        let error = (&mut self.task).await.unwrap_or(Some(GatewayError::Panicked));
        self.ended = true;
        error
    }
}

struct Link {
    follower: Follower,
    core: config::Core,
    limits: connection::Limits,
}

impl Link {
    async fn run(mut self, stop: CancellationToken) -> Option<GatewayError> {
        let ended = stop.run_until_cancelled(self.follow()).await;
        let disk = self.follower.stop();
        // What was appended is made durable.
        if tokio::task::spawn_blocking(move || disk.stop()).await.is_err() {
            error!("the disk thread could not be joined");
        }
        ended
    }

    /// One leader after another.
    async fn follow(&mut self) -> GatewayError {
        let mut backoff = Backoff::new(BACKOFF_MIN, BACKOFF_MAX);
        loop {
            let found = match self.find(backoff.next()).await {
                Ok(found) => found,
                Err(e) => return e,
            };
            let voter = found.voter.clone();
            let Err(reason) = connection::run(&mut self.follower, found, self.limits).await;
            match reason {
                LinkError::Fatal(e) => return e,
                reason => info!(voter, %reason, "the link to the core broke"),
            }
            match self.follower.link_down() {
                Ok(served) if served => backoff.reset(),
                Err(LinkError::Fatal(e)) => return e,
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// Pauses, then dials until a leader answers; what the disk does meanwhile is taken in.
    async fn find(&mut self, pause: Duration) -> Result<Found, GatewayError> {
        while self.follower.is_replacing() {
            let done = self.follower.disk.done().await;
            self.take_in(done)?;
        }
        let mut greeting = BytesMut::new();
        self.follower.greeting().encode(&mut greeting);
        let (greeting, accepted) = (greeting.freeze(), self.follower.accepted_epoch());
        let core = self.core.clone();
        let mut search = pin!(async {
            sleep(pause).await;
            find_leader(&core, &greeting, accepted).await
        });
        let mut reminder = interval_at(Instant::now() + REMINDER, REMINDER);
        loop {
            tokio::select! {
                found = &mut search => return Ok(found),
                done = self.follower.disk.done() => self.take_in(done)?,
                _ = reminder.tick() => warn!(voters = ?self.core.voters, "there is still no leader to follow"),
            }
        }
    }

    /// Without a connection, nothing but the disk can fail.
    fn take_in(&mut self, done: Result<Done, DiskGone>) -> Result<(), GatewayError> {
        match done.map_err(LinkError::from).and_then(|done| self.follower.disk_done(done)) {
            Err(LinkError::Fatal(e)) => Err(e),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}
