//! Quotas: how much a sub-tree may hold, and how much it does (Apache `Quotas`, `StatsTrack`, `DataTree`).
//!
//! The limits of /a/b are the text of /zookeeper/quota/a/b/zookeeper_limits. What it holds is kept as the text of
//! zookeeper_stats beside it: every replica keeps it up to date on its own, without transactions, versions or events.

use std::collections::{BTreeMap, BTreeSet};

use super::node::NodeId;
use super::{DataTree, QUOTA};

const LIMITS: &str = "zookeeper_limits";
const STATS: &str = "zookeeper_stats";

/// Paths that have limits.
#[derive(Clone, Debug, Default)]
pub(super) struct Quotas {
    limited: BTreeSet<Box<str>>,
}

impl Quotas {
    /// The deepest path with limits among `path` and its ancestors. The root has none.
    fn limit_over<'p>(&self, path: &'p str) -> Option<&'p str> {
        if self.limited.is_empty() {
            return None;
        }
        let ends = [path.len()].into_iter().chain(path.rmatch_indices('/').map(|(i, _)| i));
        ends.map(|end| &path[..end]).find(|prefix| self.limited.contains(*prefix))
    }
}

impl DataTree {
    /// After the creation of a znode with `bytes` of data.
    pub(super) fn quota_created(&mut self, path: &str, bytes: usize) {
        match quota_node(path) {
            Some((limited, LIMITS)) => {
                self.quotas.limited.insert(limited.into());
            }
            Some((counted, STATS)) => self.recount(counted),
            _ => {}
        }
        self.quota_changed(path, signed(bytes), 1);
    }

    /// After the deletion of a znode that had `bytes` of data.
    pub(super) fn quota_deleted(&mut self, path: &str, bytes: usize) {
        if let Some((limited, LIMITS)) = quota_node(path) {
            self.quotas.limited.remove(limited);
        }
        self.quota_changed(path, -signed(bytes), -1);
    }

    /// After a change by so much of what the sub-trees that hold `path` hold.
    pub(super) fn quota_changed(&mut self, path: &str, bytes: i64, count: i64) {
        let Some(limited) = self.quotas.limit_over(path) else { return };
        let Some(id) = self.find(&format!("{QUOTA}{limited}/{STATS}")) else { return };
        let Some(node) = self.get(id) else { return };
        let mut usage = Usage::parse(node.data());
        usage.count = usage.count.wrapping_add(count);
        usage.bytes = usage.bytes.wrapping_add(bytes);
        self.replace_data(id, Some(usage.text().as_bytes()), |_| {});
    }

    /// Finds the limits in a tree that was loaded, and counts what they limit.
    pub(crate) fn restore_quotas(&mut self) {
        let nodes = self.nodes.iter().filter_map(|node| quota_node(node.path()));
        let limits = nodes.filter(|(_, name)| *name == LIMITS);
        let limited: Vec<Box<str>> = limits.map(|(path, _)| path.into()).collect();
        for path in &limited {
            self.recount(path);
        }
        self.quotas.limited = limited.into_iter().collect();
    }

    /// Whether a hard limit forbids that what holds `path` grows by so much. As in Apache, what is not applied yet
    /// does not count.
    pub(crate) fn quota_forbids(&self, path: &str, bytes: i64, count: i64) -> bool {
        let Some(limited) = self.quotas.limit_over(path) else { return false };
        let usage = |name: &str| {
            let node = self.node(&format!("{QUOTA}{limited}/{name}"))?;
            Some(Usage::parse(node.data()))
        };
        let (Some(limits), Some(used)) = (usage(LIMITS), usage(STATS)) else { return false };
        let exceeds = |hard: &str, used: i64, more: i64| {
            let limit = limits.others.get(hard).copied().unwrap_or(-1);
            more != 0 && limit > -1 && used.saturating_add(more) > limit
        };
        exceeds("countHardLimit", used.count, count) || exceeds("byteHardLimit", used.bytes, bytes)
    }

    fn recount(&mut self, path: &str) {
        let mut usage = Usage { count: 0, bytes: 0, others: BTreeMap::new() };
        let mut open: Vec<NodeId> = self.find(path).into_iter().collect();
        while let Some(node) = open.pop().and_then(|id| self.get(id)) {
            usage.count += 1;
            usage.bytes += signed(node.data_len());
            open.extend_from_slice(node.children());
        }
        if let Some(id) = self.find(&format!("{QUOTA}{path}/{STATS}")) {
            self.replace_data(id, Some(usage.text().as_bytes()), |_| {});
        }
    }
}

/// Splits /zookeeper/quota/a/b/name into /a/b and the name. Limits on the root are none.
fn quota_node(path: &str) -> Option<(&str, &str)> {
    let (limited, name) = path.strip_prefix(QUOTA)?.rsplit_once('/')?;
    (!limited.is_empty() && matches!(name, LIMITS | STATS)).then_some((limited, name))
}

fn signed(len: usize) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX)
}

/// The text of limits and stats: `count=1,bytes=2` and, for limits, `=;byteHardLimit=3;countHardLimit=4`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Usage {
    count: i64,
    bytes: i64,
    others: BTreeMap<String, i64>,
}

impl Usage {
    /// What is missing or no number is −1: a client may have written anything.
    fn parse(text: Option<&[u8]>) -> Self {
        let text = String::from_utf8_lossy(text.unwrap_or_default());
        let mut usage = Self { count: -1, bytes: -1, others: BTreeMap::new() };
        for pair in text.split([',', ';']).filter(|pair| !pair.is_empty()) {
            let mut halves = pair.split('=');
            let key = halves.next().unwrap_or_default();
            let value = halves.next().and_then(|value| value.parse().ok()).unwrap_or(-1);
            match key {
                "count" => usage.count = value,
                "bytes" => usage.bytes = value,
                _ => {
                    usage.others.insert(key.into(), value);
                }
            }
        }
        usage
    }

    /// The "=" behind the bytes keeps parsers of 3.4 from what follows.
    fn text(&self) -> String {
        let mut text = format!("count={},bytes={}", self.count, self.bytes);
        if !self.others.is_empty() {
            text.push('=');
        }
        for (key, value) in &self.others {
            text += &format!(";{key}={value}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use palisade_wire::txn::{CreateTxn, Txn, TxnHeader};
    use palisade_wire::{Acl, Zxid};

    use super::*;

    fn run(tree: &mut DataTree, txn: Txn) -> Vec<String> {
        let zxid = Zxid(tree.last_zxid().0 + 1);
        let mut changes = Vec::new();
        let header = TxnHeader { session: 1, cxid: 0, zxid, time: 0 };
        tree.apply(&header, &txn, &mut |change| changes.push(format!("{change:?}")));
        assert_eq!(tree.digest(), tree.recompute_digest());
        changes
    }

    fn create(path: &str, data: &'static str) -> Txn {
        let data = Some(Bytes::from_static(data.as_bytes()));
        let create = CreateTxn { path: path.into(), data, acl: Acl::open(), parent_cversion: -1 };
        Txn::Create(create, false)
    }

    fn stats(tree: &DataTree, path: &str) -> String {
        let node = tree.node(&format!("{QUOTA}{path}/{STATS}")).unwrap();
        assert_eq!((node.stat().version, node.mzxid()), (0, node.czxid()), "counted in place");
        String::from_utf8(node.data().unwrap().to_vec()).unwrap()
    }

    fn with_limits(text: &'static str) -> DataTree {
        let mut tree = DataTree::new();
        for (path, data) in [
            ("/a", "four"),
            ("/a/b", "seven77"),
            ("/zookeeper/quota/a", ""),
            ("/zookeeper/quota/a/zookeeper_limits", text),
            ("/zookeeper/quota/a/zookeeper_stats", "nonsense"),
        ] {
            run(&mut tree, create(path, data));
        }
        tree
    }

    #[test]
    fn a_limited_subtree_is_counted() {
        let mut tree = with_limits("count=1,bytes=-1");
        assert_eq!(stats(&tree, "/a"), "count=2,bytes=11");
        let changes = run(&mut tree, create("/a/b/c", "x"));
        assert_eq!(changes.len(), 2, "the stats change without an event: {changes:?}");
        assert_eq!(stats(&tree, "/a"), "count=3,bytes=12");
        run(&mut tree, Txn::SetData { path: "/a".into(), data: None, version: 1 });
        assert_eq!(stats(&tree, "/a"), "count=3,bytes=8");
        run(&mut tree, Txn::Delete("/a/b/c".into()));
        run(&mut tree, create("/ab", "not below /a"));
        assert_eq!(stats(&tree, "/a"), "count=2,bytes=7");
        run(&mut tree, Txn::Delete("/zookeeper/quota/a/zookeeper_limits".into()));
        run(&mut tree, create("/a/x", "no longer counted"));
        assert_eq!(stats(&tree, "/a"), "count=2,bytes=7");
    }

    #[test]
    fn hard_limits_forbid() {
        let tree = with_limits("count=-1,bytes=1=;byteHardLimit=20;countHardLimit=3");
        assert!(!tree.quota_forbids("/a/x", 9, 1));
        assert!(tree.quota_forbids("/a/x", 10, 1));
        assert!(tree.quota_forbids("/a/x", 0, 2));
        assert!(!tree.quota_forbids("/a", -5, 0));
        assert!(!tree.quota_forbids("/ab", 1000, 1000));
    }

    #[test]
    fn limits_are_found_again_after_loading() {
        let mut tree = with_limits("count=1,bytes=-1");
        tree.quotas = Quotas::default();
        run(&mut tree, create("/a/missed", "x"));
        tree.restore_quotas();
        assert_eq!(stats(&tree, "/a"), "count=3,bytes=12");
        run(&mut tree, Txn::Delete("/a/missed".into()));
        assert_eq!(stats(&tree, "/a"), "count=2,bytes=11");
    }

    #[test]
    fn limits_on_the_root_are_ignored() {
        let mut tree = DataTree::new();
        run(&mut tree, create("/zookeeper/quota/zookeeper_limits", "count=1,bytes=1"));
        assert!(tree.quotas.limited.is_empty() && !tree.quota_forbids("/x", 1, 1));
    }

    #[test]
    fn texts_round_trip() {
        for text in ["count=1,bytes=2", "count=-1,bytes=5=;byteHardLimit=7;countHardLimit=0"] {
            assert_eq!(Usage::parse(Some(text.as_bytes())).text(), text);
        }
        assert_eq!(Usage::parse(Some(b"count=,bytes=x,=,;;")).count, -1);
        assert_eq!(Usage::parse(None).text(), "count=-1,bytes=-1");
    }
}
