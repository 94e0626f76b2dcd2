//! What can be done to a server, and what is measured of it.

pub(crate) mod fanout;
pub(crate) mod floor;
pub(crate) mod idle;
pub(crate) mod lock;
pub(crate) mod orders;
pub(crate) mod outage;
pub(crate) mod requests;
pub(crate) mod slow;
pub(crate) mod steady;
pub(crate) mod storm;
pub(crate) mod watches;

use std::time::{Duration, Instant};

use crate::env::Env;
use crate::failure::Failure;
use crate::net::conn::Incoming;
use crate::net::reactor::Reactor;

/// How often the progress bar moves.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// Lets time pass: connections are kept, and none may be lost.
pub(crate) fn rest(env: &Env, reactor: &mut Reactor, what: &str, time: Duration) -> Result<(), Failure> {
    env.progress.phase_of(what, time);
    let start = Instant::now();
    while let Some(left) = time.checked_sub(start.elapsed()) {
        settle(reactor, left.min(TICK))?;
        env.progress.elapsed(start.elapsed());
    }
    Ok(())
}

/// The same without a word.
pub(crate) fn settle(reactor: &mut Reactor, time: Duration) -> Result<(), Failure> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        reactor.poll_or_fail(end, |_, _, incoming| match incoming {
            Incoming::Lost(reason) => Err(reason),
            _ => Ok(()),
        })?;
    }
    Ok(())
}
