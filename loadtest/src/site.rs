//! Where a run takes place: the servers, and the znodes that it makes there and removes again.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

use palisade_wire::OpCode;
use palisade_wire::request::Request;

use crate::env::{Env, Interrupt, reserve_descriptors};
use crate::failure::Failure;
use crate::net::reactor::Reactor;
use crate::net::{batch, sessions};
use crate::usage::Servers;

/// How long cleaning up tries to reach the server: it may have been full, or without a leader.
const CLEAN_UP_LIMIT: Duration = Duration::from_secs(30);
/// The same after a run that failed, whose reason is to be said soon.
const FAILED_LIMIT: Duration = Duration::from_secs(2);
const RETRY: Duration = Duration::from_millis(200);

/// Where a run takes place.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    /// Where to connect; connections are spread over them in turn. At least one.
    pub(crate) targets: Vec<SocketAddr>,
    /// The parent of everything that is created.
    pub(crate) root: String,
    /// The session timeout that is asked for.
    pub(crate) session_timeout: Duration,
    /// Whose use of processor and memory is measured.
    pub(crate) servers: Servers,
}

/// The addresses that the names stand for, one for each.
pub(crate) fn resolve(names: &[String]) -> Result<Vec<SocketAddr>, Failure> {
    let one = |name: &String| {
        let mut addresses =
            name.to_socket_addrs().map_err(|error| Failure::Before(format!("{name}: {error}")))?;
        addresses.next().ok_or_else(|| Failure::Before(format!("{name} has no address")))
    };
    names.iter().map(one).collect()
}

impl Site {
    /// Runs `body` between the creation of the root and the removal of all that is below. What cannot work is found
    /// before: `connections` that are more than this process may have, targets that do not serve, servers that cannot
    /// be measured, a root that cannot be made.
    pub(crate) fn with_root<T>(
        &self,
        env: &Env,
        connections: usize,
        body: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        reserve_descriptors((connections + self.targets.len()) as u64)?;
        self.servers.check()?;
        self.prepare(env).map_err(Failure::before)?;
        let outcome = body();
        let limit = if outcome.is_ok() { CLEAN_UP_LIMIT } else { FAILED_LIMIT };
        if let Err(error) = self.clean_up(env, limit) {
            env.progress.line(&format!("{} stays as it is: {error}", self.root));
        }
        outcome
    }

    fn prepare(&self, env: &Env) -> Result<(), Failure> {
        let mut reactor = self.reactor(env.interrupt.clone(), self.targets.len())?;
        sessions::open(&mut reactor, 0..self.targets.len(), sessions::AT_ONCE, &env.progress)?;
        batch::send_all(&mut reactor, 0, [batch::create(&self.root, &[])]).map_err(|error| {
            Failure::Before(format!("{error}; {} must not exist, and its parent must", self.root))
        })?;
        sessions::close(&mut reactor, &env.progress)
    }

    fn clean_up(&self, env: &Env, limit: Duration) -> Result<(), Failure> {
        let deadline = Instant::now() + limit;
        loop {
            // After an interrupt too the znodes should go.
            let outcome = self.try_clean_up(env);
            if outcome.is_ok() || Instant::now() >= deadline {
                return outcome;
            }
            std::thread::sleep(RETRY);
        }
    }

    fn try_clean_up(&self, env: &Env) -> Result<(), Failure> {
        let mut reactor = self.reactor(Interrupt::default(), 1)?;
        sessions::open(&mut reactor, 0..1, 1, &env.progress)?;
        env.progress.phase("cleaning up", 1);
        batch::remove_tree(&mut reactor, 0, &self.root)?;
        sessions::close(&mut reactor, &env.progress)
    }

    /// A reactor with so many connections, not dialed yet.
    pub(crate) fn reactor(&self, interrupt: Interrupt, connections: usize) -> Result<Reactor, Failure> {
        let mut reactor = Reactor::new(interrupt)?;
        reactor.add(&self.targets, connections, self.session_timeout);
        Ok(reactor)
    }

    /// A reactor with so many sessions, all open; this is still before the load.
    pub(crate) fn sessions(&self, env: &Env, count: usize, at_once: usize) -> Result<Reactor, Failure> {
        let mut reactor = self.reactor(env.interrupt.clone(), count)?;
        sessions::open(&mut reactor, 0..count, at_once, &env.progress).map_err(Failure::before)?;
        Ok(reactor)
    }

    /// Makes sure that each target has what was created at the first one.
    pub(crate) fn sync(&self, reactor: &mut Reactor) -> Result<(), Failure> {
        for id in 0..self.targets.len().min(reactor.len()) {
            let sync = Request::Sync(Some(self.root.as_str().into()));
            batch::send_all(reactor, id, [(OpCode::Sync, sync)])?;
        }
        Ok(())
    }

    /// A path below the root.
    pub(crate) fn path(&self, name: impl std::fmt::Display) -> String {
        format!("{}/{name}", self.root)
    }
}
