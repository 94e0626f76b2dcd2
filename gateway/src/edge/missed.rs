//! What watchers missed when a leader sent a whole tree instead of the transactions that led to it.
//!
//! Every watch of the present connections is kept, and told of each difference between the two trees that it would
//! have heard of. What began and ended between them leaves no trace but in its parent's list of children. A znode that
//! was deleted and created again is told as both.

use palisade_store::{DataTree, NodeRef};
use palisade_watch::WatchIndex;
use palisade_wire::Acl;
use palisade_wire::reply::EventType;
use rustc_hash::FxHashSet;

use crate::tenancy::Root;

/// Which paths somebody watches.
#[derive(Debug)]
pub(super) struct Watched<'a> {
    /// The core's paths.
    exact: Vec<String>,
    /// The clients' paths.
    recursive: FxHashSet<String>,
    root: &'a Root,
}

impl<'a> Watched<'a> {
    pub(super) fn new(watches: &WatchIndex, root: &'a Root) -> Self {
        let exact = watches.exact_paths().iter().map(|path| root.enter(path).into_owned()).collect();
        Self { exact, recursive: watches.recursive_paths().into_iter().collect(), root }
    }

    /// Whether a recursive watch is at this path of the core, or above it.
    fn is_covered(&self, path: &str) -> bool {
        let Some(path) = self.root.leave(path) else { return false };
        let above = path.match_indices('/').map(|(at, _)| if at == 0 { "/" } else { &path[..at] });
        self.recursive.contains(&*path) || above.into_iter().any(|above| self.recursive.contains(above))
    }
}

/// One event that was missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Missed<'t> {
    pub(super) kind: EventType,
    /// The core's path.
    pub(super) path: &'t str,
    /// Who may hear of it.
    pub(super) acl: &'t [Acl],
}

/// The events between two trees: first what is gone, from the leaves up; then what is new, from the root down; then
/// changed data; then changed lists of children.
pub(super) fn missed<'t>(old: &'t DataTree, new: &'t DataTree, watched: &Watched<'_>) -> Vec<Missed<'t>> {
    let mut differences = Differences::default();
    if !watched.recursive.is_empty() {
        for node in new.iter().filter(|node| watched.is_covered(node.path())) {
            differences.compare(old.node(node.path()), Some(node));
        }
        for node in old.iter().filter(|node| watched.is_covered(node.path())) {
            if new.node(node.path()).is_none() {
                differences.compare(Some(node), None);
            }
        }
    }
    for path in watched.exact.iter().filter(|path| !watched.is_covered(path)) {
        differences.compare(old.node(path), new.node(path));
    }
    differences.in_order()
}

#[derive(Default)]
struct Differences<'t> {
    deleted: Vec<NodeRef<'t>>,
    created: Vec<NodeRef<'t>>,
    data: Vec<NodeRef<'t>>,
    lists: Vec<NodeRef<'t>>,
}

impl<'t> Differences<'t> {
    fn compare(&mut self, before: Option<NodeRef<'t>>, now: Option<NodeRef<'t>>) {
        let same = match (before, now) {
            (Some(before), Some(now)) if before.czxid() == now.czxid() => Some((before, now)),
            _ => None,
        };
        if let Some((before, now)) = same {
            if before.mzxid() != now.mzxid() {
                self.data.push(now);
            }
            if before.pzxid() != now.pzxid() {
                self.lists.push(now);
            }
            return;
        }
        self.deleted.extend(before);
        self.created.extend(now);
        // Its first children came after it.
        self.lists.extend(now.filter(|now| now.pzxid() != now.czxid()));
    }

    fn in_order(mut self) -> Vec<Missed<'t>> {
        for nodes in [&mut self.deleted, &mut self.created, &mut self.data, &mut self.lists] {
            nodes.sort_unstable_by_key(NodeRef::path);
        }
        self.deleted.reverse();
        let kinds = [
            (EventType::NodeDeleted, self.deleted),
            (EventType::NodeCreated, self.created),
            (EventType::NodeDataChanged, self.data),
            (EventType::NodeChildrenChanged, self.lists),
        ];
        let event = |kind| move |node: NodeRef<'t>| Missed { kind, path: node.path(), acl: node.acl() };
        kinds.into_iter().flat_map(|(kind, nodes)| nodes.into_iter().map(event(kind))).collect()
    }
}

#[cfg(test)]
mod tests {
    use palisade_watch::Slot;
    use palisade_wire::Zxid;
    use palisade_wire::txn::{CreateTxn, Txn, TxnHeader};

    use super::*;

    fn create(path: &str) -> Txn {
        let (path, acl) = (path.to_owned(), Acl::open().to_vec());
        Txn::Create(CreateTxn { path, data: None, acl, parent_cversion: -1 }, false)
    }

    fn set(path: &str) -> Txn {
        Txn::SetData { path: path.to_owned(), data: None, version: 1 }
    }

    fn tree(txns: &[Txn]) -> DataTree {
        let mut tree = DataTree::new();
        for (zxid, txn) in (1..).zip(txns) {
            let header = TxnHeader { session: 1, cxid: 1, zxid: Zxid(zxid), time: 0 };
            tree.apply(&header, txn, &mut |_| {});
        }
        tree
    }

    /// The events, in short: `-/a` is deleted, `+/a` created, `=/a` has other data, `*/a` other children.
    fn events(watch: impl FnOnce(&mut WatchIndex), root: &str) -> Vec<String> {
        let before: Vec<Txn> =
            ["/t", "/t/gone", "/t/gone/leaf", "/t/same", "/t/again", "/t/data", "/x"].map(create).into();
        let after = [
            Txn::Delete("/t/gone/leaf".to_owned()),
            Txn::Delete("/t/gone".to_owned()),
            Txn::Delete("/t/again".to_owned()),
            create("/t/again"),
            create("/t/new"),
            create("/t/new/leaf"),
            create("/t/new/fleeting"),
            Txn::Delete("/t/new/fleeting".to_owned()),
            set("/t/data"),
            set("/x"),
        ];
        let (old, new) = (tree(&before), tree(&[&before[..], &after].concat()));
        let (mut watches, root) = (WatchIndex::default(), Root::new(root));
        watch(&mut watches);
        let missed = missed(&old, &new, &Watched::new(&watches, &root));
        let text = |missed: &Missed<'_>| {
            let sign = match missed.kind {
                EventType::NodeDeleted => '-',
                EventType::NodeCreated => '+',
                EventType::NodeDataChanged => '=',
                EventType::NodeChildrenChanged => '*',
            };
            format!("{sign}{}", missed.path)
        };
        missed.iter().map(text).collect()
    }

    fn slot() -> Slot {
        Slot::new(1).unwrap()
    }

    #[test]
    fn only_what_is_watched_is_compared() {
        assert_eq!(events(|_| {}, "/"), [""; 0]);
        let seen = events(
            |watches| {
                for path in ["/t/same", "/t/again", "/t/none", "/t/data"] {
                    watches.add_data(slot(), path);
                }
                watches.add_persistent(slot(), "/t/new");
                watches.add_child(slot(), "/t");
            },
            "/",
        );
        assert_eq!(seen, ["-/t/again", "+/t/again", "+/t/new", "=/t/data", "*/t", "*/t/new"]);
    }

    #[test]
    fn recursive_watches_hear_of_everything_below_in_order_and_once() {
        let all = [
            "-/t/gone/leaf",
            "-/t/gone",
            "-/t/again",
            "+/t/again",
            "+/t/new",
            "+/t/new/leaf",
            "=/t/data",
            "*/t",
            "*/t/new",
        ];
        let recursive = |watches: &mut WatchIndex, path| {
            watches.add_recursive(slot(), path);
            watches.add_data(slot(), "/t/data");
        };
        assert_eq!(events(|watches| recursive(watches, "/t"), "/"), all);
        let of_clients = |watches: &mut WatchIndex| {
            watches.add_recursive(slot(), "/");
            watches.add_data(slot(), "/data");
        };
        assert_eq!(events(of_clients, "/t"), all, "and of nothing outside the tenant's root");
        let whole = events(|watches| recursive(watches, "/"), "/");
        assert_eq!(whole.len(), all.len() + 1);
        assert!(whole.contains(&"=/x".to_owned()));
    }
}
