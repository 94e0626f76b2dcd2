//! Requests on one connection, one after the other: setting up and cleaning up.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use palisade_wire::request::{Create, PathWatch, Request};
use palisade_wire::{Acl, CreateMode, ErrorCode, OpCode, Reader};

use crate::failure::Failure;
use crate::net::conn::Incoming;
use crate::net::reactor::Reactor;

/// Unanswered requests at any time.
const WINDOW: usize = 256;
/// Longest silence of a server that has something to answer.
const SILENCE: Duration = Duration::from_secs(30);

/// A create of a persistent, open znode.
pub(crate) fn create<'a>(path: &'a str, data: &'a [u8]) -> (OpCode, Request<'a>) {
    create_as(path, data, CreateMode::Persistent)
}

/// A create of an open znode.
pub(crate) fn create_as<'a>(path: &'a str, data: &'a [u8], mode: CreateMode) -> (OpCode, Request<'a>) {
    let request = Create {
        path: Cow::Borrowed(path),
        data: Some(data),
        acl: Acl::open(),
        flags: mode.flags(),
        ttl_ms: None,
    };
    (OpCode::Create, Request::Create(request))
}

/// A delete of any version.
pub(crate) fn delete(path: &str) -> (OpCode, Request<'_>) {
    (OpCode::Delete, Request::Delete { path: Cow::Borrowed(path), version: -1 })
}

/// A list of children, without their parent's Stat.
pub(crate) fn children(path: &str) -> (OpCode, Request<'_>) {
    (OpCode::GetChildren, Request::GetChildren(PathWatch { path: Cow::Borrowed(path), watch: false }))
}

/// Sends the requests on connection `id`, and hands every successful answer to `answered` with its number. The first
/// refusal ends it.
pub(crate) fn send<'a>(
    reactor: &mut Reactor,
    id: usize,
    requests: impl IntoIterator<Item = (OpCode, Request<'a>)>,
    mut answered: impl FnMut(usize, &[u8]) -> Result<(), String>,
) -> Result<(), Failure> {
    let mut requests = requests.into_iter().fuse();
    let mut waiting: VecDeque<(i32, OpCode)> = VecDeque::with_capacity(WINDOW);
    let (mut count, mut heard) = (0, Instant::now());
    loop {
        let target = reactor.conn(id).target;
        // Half a window at a time, so that a wake-up is worth it.
        if waiting.len() <= WINDOW / 2 {
            for (op, request) in requests.by_ref().take(WINDOW - waiting.len()) {
                waiting.push_back((reactor.conn(id).push(heard, op, &request), op));
            }
            reactor.flush(id)?;
        }
        if waiting.is_empty() {
            return Ok(());
        }
        let mut failed = None;
        reactor.poll(heard + SILENCE, &mut |now, conn, incoming| {
            if conn.id != id {
                return;
            }
            heard = now;
            let outcome = match incoming {
                Incoming::Reply { header, body } => match waiting.pop_front() {
                    Some((xid, op)) if xid == header.xid => {
                        count += 1;
                        refused(op, header.err).and_then(|()| answered(count - 1, body))
                    }
                    _ => Err(format!("answered request {} out of turn", header.xid)),
                },
                Incoming::Lost(reason) => Err(reason),
                _ => Ok(()),
            };
            if let Err(reason) = outcome {
                failed.get_or_insert(reason);
            }
        })?;
        if let Some(reason) = failed {
            return Err(Failure::During(format!("{target}: {reason}")));
        }
        if heard.elapsed() >= SILENCE {
            return Err(Failure::During(format!("{target} has not answered for {SILENCE:?}")));
        }
    }
}

fn refused(op: OpCode, error: ErrorCode) -> Result<(), String> {
    // What is to be deleted may be gone with its session already.
    if error.is_ok() || (op == OpCode::Delete && error == ErrorCode::NO_NODE) {
        return Ok(());
    }
    Err(format!("{op:?} while preparing or cleaning up: {error}"))
}

/// Sends the requests and forgets the answers.
pub(crate) fn send_all<'a>(
    reactor: &mut Reactor,
    id: usize,
    requests: impl IntoIterator<Item = (OpCode, Request<'a>)>,
) -> Result<(), Failure> {
    send(reactor, id, requests, |_, _| Ok(()))
}

/// Deletes the znode with everything below it.
pub(crate) fn remove_tree(reactor: &mut Reactor, id: usize, root: &str) -> Result<(), Failure> {
    let mut levels: Vec<Vec<String>> = vec![vec![root.to_owned()]];
    while let Some(parents) = levels.last().filter(|level| !level.is_empty()) {
        let mut next = Vec::new();
        send(reactor, id, parents.iter().map(|path| children(path)), |n, body| {
            let parent = parents.get(n).map_or("", String::as_str);
            next.extend(child_names(body)?.into_iter().map(|name| format!("{parent}/{name}")));
            Ok(())
        })?;
        levels.push(next);
    }
    for level in levels.iter().rev() {
        send_all(reactor, id, level.iter().map(|path| delete(path)))?;
    }
    Ok(())
}

/// The names in the answer to [`children`].
pub(crate) fn child_names(body: &[u8]) -> Result<Vec<String>, String> {
    let names = Reader::new(body).vec("children", |r| r.string("child").map(Cow::into_owned));
    names.map_err(|error| format!("a list of children: {error}"))
}
