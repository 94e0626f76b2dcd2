//! Watches that a client registers again after it was away (Apache `DataTree.setWatches`).

use bytes::BytesMut;
use palisade_wire::reply::{EventType, WatchEvent};
use palisade_wire::request::SetWatches;
use palisade_wire::{Zxid, frame};

use super::Local;

/// The zxid of an event that no transaction fired.
const CATCH_UP: Zxid = Zxid(-1);

fn event(out: &mut BytesMut, kind: EventType, path: &str) {
    frame::write(out, |b| WatchEvent { zxid: CATCH_UP, kind, path }.encode(b));
}

/// Appends an event for what changed after `relative_zxid`, and registers the rest. Persistent watches miss what
/// happened while the client was away: so it is in Apache's, and clients expect it.
pub(super) fn catch_up(local: &Local<'_>, watches: &SetWatches<'_>, out: &mut BytesMut) {
    let since = watches.relative_zxid;
    let mut index = local.watches.lock();
    for path in &watches.data {
        match local.tree.node(&local.root.enter(path)) {
            None => event(out, EventType::NodeDeleted, path),
            Some(node) if node.mzxid() > since => event(out, EventType::NodeDataChanged, path),
            Some(_) => index.add_data(local.slot, path),
        }
    }
    for path in &watches.exist {
        match local.tree.node(&local.root.enter(path)) {
            None => index.add_data(local.slot, path),
            Some(_) => event(out, EventType::NodeCreated, path),
        }
    }
    for path in &watches.child {
        match local.tree.node(&local.root.enter(path)) {
            None => event(out, EventType::NodeDeleted, path),
            Some(node) if node.pzxid() > since => event(out, EventType::NodeChildrenChanged, path),
            Some(_) => index.add_child(local.slot, path),
        }
    }
    for path in &watches.persistent {
        index.add_persistent(local.slot, path);
    }
    for path in &watches.recursive {
        index.add_recursive(local.slot, path);
    }
}
