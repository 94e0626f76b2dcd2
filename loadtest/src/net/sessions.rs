//! Many sessions at once: opening them, asking each the same, closing them.

use std::ops::Range;
use std::os::linux::net::TcpStreamExt;
use std::time::{Duration, Instant};

use palisade_wire::request::Request;
use palisade_wire::{ErrorCode, OpCode};

use crate::env::Progress;
use crate::failure::Failure;
use crate::net::conn::{Conn, Incoming};
use crate::net::reactor::Reactor;

/// How many sessions are opened at once where nothing else is asked for.
pub(crate) const AT_ONCE: usize = 200;
/// How long nothing may move.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long all sessions together may take to be closed.
const CLOSE_LIMIT: Duration = Duration::from_secs(30);
/// How often the progress bar moves.
const TICK: Duration = Duration::from_millis(100);

/// Opens the sessions, `at_once` of them at a time.
pub(crate) fn open(
    reactor: &mut Reactor,
    ids: Range<usize>,
    at_once: usize,
    progress: &Progress,
) -> Result<(), Failure> {
    let total = ids.len();
    progress.phase("opening sessions", total as u64);
    let mut next = ids.start;
    let (mut open, mut moved) = (0, Instant::now());
    while open < total {
        while next < ids.end && next - ids.start - open < at_once {
            let target = reactor.conn(next).target;
            reactor
                .dial(next)
                .map_err(|error| Failure::During(format!("{target} cannot be reached: {error}")))?;
            next += 1;
        }
        let mut failed = None;
        reactor.poll(moved + PATIENCE, &mut |now, _, incoming| match incoming {
            Incoming::Open => (open, moved) = (open + 1, now),
            Incoming::Lost(reason) => failed = Some(reason),
            _ => {}
        })?;
        if let Some(reason) = failed {
            let hint = match total {
                1 => "is it a server's client port, and has the server a leader?",
                _ => "does it limit connections (maxClientCnxns) or descriptors?",
            };
            let text = format!("session {} of {total}: {reason}; {hint}", open + 1);
            return Err(Failure::During(text));
        }
        if moved.elapsed() >= PATIENCE {
            let target = reactor.conn(ids.start).target;
            let text = format!("{target} opened {open} of {total} sessions and then none for {PATIENCE:?}");
            return Err(Failure::During(text));
        }
        progress.at(open as u64);
    }
    Ok(())
}

/// Sends `count` requests on each of the connections, `window` at a time on each, and waits for all answers.
/// `push` is told which request it is. A refusal ends it.
pub(crate) fn ask(
    reactor: &mut Reactor,
    ids: Range<usize>,
    (count, window): (usize, usize),
    progress: &Progress,
    push: &mut dyn FnMut(Instant, &mut Conn, usize),
) -> Result<(), Failure> {
    let total = ids.len() * count;
    let mut sent = vec![0; ids.len()];
    let mut heard = Instant::now();
    for (id, sent) in ids.clone().zip(&mut sent) {
        while *sent < count.min(window) {
            push(heard, reactor.conn(id), *sent);
            *sent += 1;
        }
        reactor.flush(id)?;
    }
    let mut answered = 0;
    while answered < total {
        let mut failed = None;
        reactor.poll(heard + PATIENCE, &mut |now, conn, incoming| match incoming {
            Incoming::Reply { header, .. } => {
                (answered, heard) = (answered + 1, now);
                if header.err != ErrorCode::OK && header.err != ErrorCode::NO_NODE {
                    failed = Some(format!("{} answered: {}", conn.target, header.err));
                }
                if let Some(sent) = conn.id.checked_sub(ids.start).and_then(|n| sent.get_mut(n))
                    && *sent < count
                {
                    push(now, conn, *sent);
                    *sent += 1;
                }
            }
            Incoming::Lost(reason) => failed = Some(reason),
            _ => {}
        })?;
        if let Some(reason) = failed {
            return Err(Failure::During(reason));
        }
        if heard.elapsed() >= PATIENCE {
            let text =
                format!("{answered} of {total} requests were answered, and then none for {PATIENCE:?}");
            return Err(Failure::During(text));
        }
        progress.at(answered as u64);
    }
    Ok(())
}

/// Has acknowledgements of what comes next wait a little, as they do when a client answers. On one machine, whoever sends has
/// to process an immediate one by itself, which takes a fifth of its time.
pub(crate) fn acknowledge_late(reactor: &Reactor) {
    for socket in reactor.conns().iter().filter_map(|conn| conn.socket.as_ref()) {
        // Where this is not known, it is only slower.
        socket.set_quickack(false).ok();
    }
}

/// Closes all sessions that are open, so that the server need not wait until they time out.
pub(crate) fn close(reactor: &mut Reactor, progress: &Progress) -> Result<(), Failure> {
    let start = Instant::now();
    let mut last = vec![None; reactor.len()];
    for (id, last) in last.iter_mut().enumerate() {
        if !reactor.conn(id).is_open() {
            continue;
        }
        *last = Some(reactor.conn(id).push(start, OpCode::CloseSession, &Request::CloseSession));
        // A connection that cannot send is as good as closed.
        let _ = reactor.flush(id);
    }
    let total = last.iter().flatten().count();
    progress.phase("closing sessions", total as u64);
    // What is still open then is not worth losing the results for: it times out.
    while start.elapsed() < CLOSE_LIMIT {
        let left = reactor.conns().iter().filter(|conn| conn.is_open()).count();
        if left == 0 {
            break;
        }
        progress.at((total - left) as u64);
        reactor.poll(Instant::now() + TICK, &mut |_, conn, incoming| {
            if let Incoming::Reply { header, .. } = incoming
                && last.get(conn.id).copied().flatten() == Some(header.xid)
            {
                conn.hang_up();
            }
        })?;
    }
    Ok(())
}
