//! Listings that may be long: they are made in batches, and hold locks for one batch at a time.

use std::sync::Arc;

use palisade_admin::json::Batches;
use palisade_admin::source::{Connection, GlobalSessions, Sessions};
use palisade_admin::system::wall_clock;
use palisade_admin::tree::{self, BATCH, HasTree};
use palisade_store::DataTree;
use palisade_watch::Slot;
use palisade_wire::{OpCode, SessionId};

use super::millis;
use crate::edge::{Client, Edge};

impl HasTree for Edge {
    fn with_tree<R>(&self, look: impl FnOnce(&DataTree) -> R) -> R {
        look(&self.replica.read())
    }
}

/// Connections of clients.
pub(super) fn connections(edge: Arc<Edge>, asking: Option<usize>) -> Batches<Connection> {
    let mut from = Some(0);
    Box::new(std::iter::from_fn(move || {
        let (clients, next) = edge.hub.connections().from(from?, BATCH);
        from = next;
        Some(clients.iter().map(|client| connection(&edge, client, asking)).collect())
    }))
}

fn connection(edge: &Edge, client: &Client, asking: Option<usize>) -> Connection {
    let (received, sent) = client.stats.packets();
    let (last, latency) = (client.stats.last(), client.stats.latency.view());
    let timeout_ms = client.stats.timeout_ms();
    let started = edge.hub.stats().started;
    let patience = match u64::try_from(timeout_ms) {
        Ok(1..) => timeout_ms as u64,
        _ => millis(edge.config.limits.handshake_timeout),
    };
    let heard_ms =
        last.at.map_or(last.established_ms, |at| millis(wall_clock().saturating_sub(at.elapsed())));
    Connection {
        peer: client.peer(),
        interest: u8::from(asking != Some(client.number())),
        queued: client.waiting(),
        received,
        sent,
        session: client.session(),
        last_op: last.op.map_or("NA", short_name),
        established_ms: last.established_ms,
        timeout_ms,
        last_cxid: last.xid.into(),
        last_zxid: last.zxid,
        last_response_ms: last.at.map_or(0, |at| millis(at.saturating_duration_since(started))),
        last_latency_ms: last.took_ms,
        latency: (latency.min, latency.avg as u64, latency.max),
        expires_ms: heard_ms + patience,
    }
}

/// What `cons` calls an operation.
const fn short_name(op: OpCode) -> &'static str {
    match op {
        OpCode::Ping => "PING",
        OpCode::CreateSession => "SESS",
        OpCode::Multi => "MULT",
        OpCode::MultiRead => "MLTR",
        OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => "CREA",
        OpCode::Delete | OpCode::DeleteContainer => "DELE",
        OpCode::SetData => "SETD",
        OpCode::Reconfig => "RECO",
        OpCode::SetAcl => "SETA",
        OpCode::CloseSession => "CLOS",
        OpCode::Sync => "SYNC",
        OpCode::Check => "CHEC",
        OpCode::Exists => "EXIS",
        OpCode::GetData => "GETD",
        OpCode::SetWatches => "SETW",
        OpCode::SetWatches2 => "STW2",
        OpCode::AddWatch => "ADDW",
        OpCode::GetAcl => "GETA",
        OpCode::GetChildren | OpCode::GetChildren2 => "GETC",
        OpCode::GetAllChildrenNumber => "GETACN",
        OpCode::CheckWatches => "CHKW",
        OpCode::RemoveWatches => "REMW",
        OpCode::WhoAmI => "HOMI",
        OpCode::GetEphemerals => "GETE",
        OpCode::Notification | OpCode::Auth | OpCode::Sasl | OpCode::Error => "NA",
    }
}

/// Whether a session may be told of here. Where a tenant sees a part of the tree only, the sessions of others are no
/// business of its: it is told of those that were given out here, are connected here, or own a znode that it sees.
fn is_ours(edge: &Edge, tree: &DataTree, session: SessionId) -> bool {
    const ID_BITS: u32 = 56;
    let root = edge.hub.root();
    !root.is_confined()
        || (session >> ID_BITS) & 0xff == edge.config.id
        || edge.hub.connections().has(session)
        // One session is one tenant's, so any one of its znodes tells whose.
        || tree.ephemerals(session).next().is_some_and(|path| root.leave(path).is_some())
}

/// Sessions: the core's, and those that only this gateway knows.
pub(super) fn sessions(edge: Arc<Edge>) -> Sessions {
    let now = wall_clock();
    let local = edge.config.sessions.local.then(|| {
        let left = edge.hub.local().expiries();
        left.into_iter().map(|(left, sessions)| (millis(now + left), sessions)).collect()
    });
    let ours = {
        let edge = Arc::clone(&edge);
        move |mut batch: Vec<(SessionId, i32)>| {
            let tree = edge.replica.read();
            batch.retain(|(session, _)| is_ours(&edge, &tree, *session));
            drop(tree);
            batch
        }
    };
    let count = session_count(&edge);
    Sessions { local, global: GlobalSessions::Known(count, Box::new(tree::sessions(edge).map(ours))) }
}

/// How many of the core's sessions may be told of.
pub(super) fn session_count(edge: &Edge) -> usize {
    let tree = edge.replica.read();
    if edge.hub.root().is_confined() {
        tree.sessions().filter(|(session, _)| is_ours(edge, &tree, *session)).count()
    } else {
        tree.sessions().len()
    }
}

/// How many sessions own ephemerals that may be told of.
pub(super) fn ephemeral_owners(edge: &Edge) -> usize {
    tree::ephemeral_owners(edge).filter(|owner| is_ours(edge, &edge.replica.read(), *owner)).count()
}

/// Sessions with paths of their ephemerals.
pub(super) fn ephemerals(edge: Arc<Edge>) -> Batches<(SessionId, Vec<String>)> {
    Box::new(tree::ephemerals(Arc::clone(&edge)).map(move |batch| {
        let tree = edge.replica.read();
        let ours = batch.into_iter().filter(|(owner, _)| is_ours(&edge, &tree, *owner));
        let inside = |path: &String| edge.hub.root().leave(path).map(Into::into);
        ours.map(|(owner, paths)| (owner, paths.iter().filter_map(inside).collect())).collect()
    }))
}

/// Watched paths with the sessions of their watchers.
pub(super) fn watches_by_path(edge: Arc<Edge>) -> Batches<(String, Vec<SessionId>)> {
    let mut from = Some(0);
    Box::new(std::iter::from_fn(move || {
        let (paths, next) = edge.hub.watches().lock().paths_from(from?, BATCH);
        from = next;
        let sessions = |slots: Vec<Slot>| slots.into_iter().map(|slot| session_in(&edge, slot)).collect();
        Some(paths.into_iter().map(|(path, slots)| (path, sessions(slots))).collect())
    }))
}

/// Sessions that watch, with the paths.
pub(super) fn watches_by_session(edge: Arc<Edge>) -> Batches<(SessionId, Vec<String>)> {
    // The slot to look for, and the path of it to go on from.
    let (mut from, mut path) = (0, 0);
    Box::new(std::iter::from_fn(move || {
        let (mut batch, mut room) = (Vec::new(), BATCH);
        while room > 0 {
            let (slot, (paths, next)) = {
                let watches = edge.hub.watches().lock();
                let Some(slot) = watches.watcher_from(from) else { break };
                // The one that was listed in part may be gone.
                path = if slot.index() == from { path } else { 0 };
                (slot, watches.paths_of(slot, path, room))
            };
            (from, path) = next.map_or((slot.index() + 1, 0), |next| (slot.index(), next));
            room -= if next.is_some() { room } else { paths.len().max(1) };
            batch.push((session_in(&edge, slot), paths));
        }
        (!batch.is_empty()).then_some(batch)
    }))
}

fn session_in(edge: &Edge, slot: Slot) -> SessionId {
    edge.hub.connections().get(slot).map_or(0, |client| client.session())
}
