//! What stands in some sub-trees, kept up to date by every change: for those who serve or limit a part of a tree.

use super::DataTree;
use super::packed::Node;

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Number of znodes.
    pub znodes: usize,
    /// Number of ephemeral znodes among them.
    pub ephemerals: usize,
    /// Bytes of their full paths and data.
    pub bytes: u64,
}

/// Sub-trees that are counted.
#[derive(Clone, Debug, Default)]
pub(super) struct Tracked {
    /// None of them stands below another.
    roots: Vec<Box<str>>,
    usage: Usage,
}

impl Tracked {
    fn has(&self, path: &str) -> bool {
        let is_in =
            |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        self.roots.iter().any(|root| is_in(root))
    }

    pub(super) fn inserted(&mut self, node: &Node) {
        if self.has(node.path()) {
            self.usage.znodes += 1;
            self.usage.ephemerals += usize::from(node.owner().is_ephemeral());
            self.usage.bytes += node.content_bytes();
        }
    }

    pub(super) fn removed(&mut self, node: &Node) {
        if self.has(node.path()) {
            self.usage.znodes -= 1;
            self.usage.ephemerals -= usize::from(node.owner().is_ephemeral());
            self.usage.bytes -= node.content_bytes();
        }
    }

    pub(super) fn data_replaced(&mut self, path: &str, old_len: usize, new_len: usize) {
        if old_len != new_len && self.has(path) {
            self.usage.bytes = self.usage.bytes - old_len as u64 + new_len as u64;
        }
    }
}

impl DataTree {
    /// Counts from now on what stands in the sub-trees at `roots`, together; they need not exist yet, and none may stand
    /// below another. Visits every znode once.
    pub fn track(&mut self, roots: impl IntoIterator<Item = impl Into<Box<str>>>) {
        let mut tracked =
            Tracked { roots: roots.into_iter().map(Into::into).collect(), ..Tracked::default() };
        if !tracked.roots.is_empty() {
            self.nodes.iter().for_each(|node| tracked.inserted(node));
        }
        self.tracked = tracked;
    }

    /// Counts in the same sub-trees as `other` does. Visits every znode once if there are any.
    pub fn track_like(&mut self, other: &Self) {
        self.track(other.tracked.roots.iter().cloned());
    }

    /// What stands in the tracked sub-trees.
    pub const fn tracked(&self) -> Usage {
        self.tracked.usage
    }
}
