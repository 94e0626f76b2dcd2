//! Watches that a client registers again after it was away (Apache `DataTree.setWatches`).

use bytes::BytesMut;
use palisade_watch::TooMany;
use palisade_wire::reply::{EventType, WatchEvent};
use palisade_wire::request::SetWatches;
use palisade_wire::{Zxid, frame};

use super::{Local, status};

/// The zxid of an event that no transaction fired.
const CATCH_UP: Zxid = Zxid(-1);

/// The lists of one-shot watches, in the order in which Apache looks at them.
#[derive(Clone, Copy)]
enum List {
    Data,
    Exist,
    Child,
}

fn event(out: &mut BytesMut, kind: EventType, path: &str) {
    frame::write(out, |b| WatchEvent { zxid: CATCH_UP, kind, path }.encode(b));
}

/// What is left to do of a request to set watches again. It may name as many as a connection may have, so it is done
/// in steps, each on the replica as it is then: a path is looked at and watched in the same step.
pub(crate) struct CatchUp<'a> {
    since: Zxid,
    left: Box<dyn Iterator<Item = (List, &'a str)> + 'a>,
}

impl<'a> CatchUp<'a> {
    /// Registers the persistent watches. They miss what happened while the client was away: so it is in Apache's, and
    /// clients expect it.
    ///
    /// # Errors
    /// They are more than there may be; nothing is done. Part of them cannot be refused: the client would believe that
    /// it watches.
    pub(crate) fn begin(local: &Local<'_>, watches: &'a SetWatches<'_>) -> Result<Self, TooMany> {
        let SetWatches { relative_zxid, data, exist, child, persistent, recursive } = watches;
        let mut index = local.watches.lock();
        let count = data.len() + exist.len() + child.len() + 2 * persistent.len() + recursive.len();
        index.has_room(local.slot, count, local.limits)?;
        for path in persistent {
            index.add_persistent(local.slot, path);
        }
        for path in recursive {
            index.add_recursive(local.slot, path);
        }
        let data = data.iter().map(|path| (List::Data, &**path));
        let exist = exist.iter().map(|path| (List::Exist, &**path));
        let child = child.iter().map(|path| (List::Child, &**path));
        Ok(Self { since: *relative_zxid, left: Box::new(data.chain(exist).chain(child)) })
    }

    /// Deals with up to `count` one-shot watches: appends an event for what changed, and registers the others. Returns
    /// whether any are left.
    pub(crate) fn step(&mut self, local: &Local<'_>, count: usize, out: &mut BytesMut) -> bool {
        let mut index = local.watches.lock();
        for _ in 0..count {
            let Some((list, path)) = self.left.next() else { return false };
            if path == status::PATH {
                // It tells something else now: of another moment, and perhaps of another gateway.
                match list {
                    List::Data => event(out, EventType::NodeDataChanged, path),
                    List::Exist => event(out, EventType::NodeCreated, path),
                    List::Child => index.add_child(local.slot, path),
                }
                continue;
            }
            let node = local.tree.node(&local.root.enter(path));
            match (list, node) {
                (List::Data | List::Child, None) => event(out, EventType::NodeDeleted, path),
                (List::Data, Some(node)) if node.mzxid() > self.since => {
                    event(out, EventType::NodeDataChanged, path);
                }
                (List::Child, Some(node)) if node.pzxid() > self.since => {
                    event(out, EventType::NodeChildrenChanged, path);
                }
                (List::Exist, Some(_)) => event(out, EventType::NodeCreated, path),
                (List::Data, Some(_)) | (List::Exist, None) => index.add_data(local.slot, path),
                (List::Child, Some(_)) => index.add_child(local.slot, path),
            }
        }
        true
    }
}
