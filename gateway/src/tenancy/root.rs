//! The two names of a znode.

use std::borrow::Cow;

use palisade_wire::path;

/// Where quotas stand.
pub(super) const QUOTA: &str = "/zookeeper/quota";
/// Where a server keeps its own.
pub(super) const RESERVED: &str = "/zookeeper";

/// The sub-tree that a tenant's clients see as `/`, and the names of its znodes inside and outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Root {
    /// What stands before every path, empty for the whole tree.
    prefix: String,
    /// What stands before every path of a quota.
    quota: String,
}

impl Root {
    /// The sub-tree at `root`, a valid path: see [`Root::refusal`].
    pub(crate) fn new(root: &str) -> Self {
        let prefix = if root == "/" { String::new() } else { root.to_owned() };
        Self { quota: format!("{QUOTA}{prefix}"), prefix }
    }

    /// Why `root` cannot be a tenant's, if so.
    pub(crate) fn refusal(root: &str) -> Option<&'static str> {
        if !path::is_valid(root) {
            Some("is not the path of a znode")
        } else if is_below(root, RESERVED) {
            Some("is reserved: choose a path outside /zookeeper")
        } else {
            None
        }
    }

    /// Whether clients see a part of the tree only.
    pub(crate) const fn is_confined(&self) -> bool {
        !self.prefix.is_empty()
    }

    /// The core's path of the root itself.
    pub(crate) fn path(&self) -> &str {
        if self.is_confined() { &self.prefix } else { "/" }
    }

    /// The core's path of the root's quotas.
    pub(crate) fn quota_path(&self) -> &str {
        &self.quota
    }

    /// The core's path of the znode that stands for the parent of all quotas in the list of its siblings; the quotas
    /// are elsewhere.
    pub(super) fn stand_in(&self) -> String {
        format!("{}{QUOTA}", self.prefix)
    }

    /// The core's path for a client's.
    ///
    /// What does not begin with a slash names nothing, here as there, and stays as it is.
    pub(crate) fn enter<'a>(&self, path: &'a str) -> Cow<'a, str> {
        if !self.is_confined() {
            return Cow::Borrowed(path);
        }
        // As a server has it, the empty path is the root's other name.
        if matches!(path, "" | "/") {
            return Cow::Owned(self.prefix.clone());
        }
        if !path.starts_with('/') {
            return Cow::Borrowed(path);
        }
        match path.strip_prefix(QUOTA) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => {
                Cow::Owned(format!("{}{rest}", self.quota))
            }
            _ => Cow::Owned(format!("{}{path}", self.prefix)),
        }
    }

    /// The client's path for the core's; `None` outside the root.
    pub(crate) fn leave<'a>(&self, path: &'a str) -> Option<Cow<'a, str>> {
        if !self.is_confined() {
            return Some(Cow::Borrowed(path));
        }
        match strip(path, &self.prefix) {
            Some("") => Some(Cow::Borrowed("/")),
            Some(rest) => Some(Cow::Borrowed(rest)),
            None => strip(path, &self.quota).map(|rest| Cow::Owned(format!("{QUOTA}{rest}"))),
        }
    }
}

/// What follows `parent` in the path of `parent` itself or of a znode below it.
fn strip<'a>(path: &'a str, parent: &str) -> Option<&'a str> {
    path.strip_prefix(parent).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether `path` is `parent` or below it.
pub(super) fn is_below(path: &str, parent: &str) -> bool {
    strip(path, parent).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH_NAMES: &[(&str, &str)] = &[
        ("/", "/t/a"),
        ("/x", "/t/a/x"),
        ("/t/a", "/t/a/t/a"),
        ("/zookeeper", "/t/a/zookeeper"),
        ("/zookeeper/config", "/t/a/zookeeper/config"),
        ("/zookeeper/quota", "/zookeeper/quota/t/a"),
        ("/zookeeper/quota/x/zookeeper_limits", "/zookeeper/quota/t/a/x/zookeeper_limits"),
        ("/zookeeper/quotas", "/t/a/zookeeper/quotas"),
    ];

    #[test]
    fn names_lead_in_and_out() {
        let root = Root::new("/t/a");
        for (inside, outside) in BOTH_NAMES {
            assert_eq!(root.enter(inside), *outside);
            assert_eq!(root.leave(outside).as_deref(), Some(*inside));
        }
    }

    #[test]
    fn the_whole_tree_needs_no_names() {
        let root = Root::new("/");
        assert!(!root.is_confined());
        for path in ["/", "", "x", "/zookeeper/quota/x"] {
            assert_eq!(root.enter(path), path);
            assert_eq!(root.leave(path).as_deref(), Some(path));
        }
    }

    #[test]
    fn nothing_leads_out_of_the_root() {
        let root = Root::new("/t/a");
        for path in ["/..", "/../b", "//", "/./x", "/zookeeper/quota/../../x", "/zookeeper/quota//x", "/\0"] {
            let core = root.enter(path);
            assert!(
                core.starts_with("/t/a/") || core.starts_with("/zookeeper/quota/t/a/"),
                "{path:?} became {core:?}"
            );
        }
        for relative in ["x", "t/a", "../t/b", "zookeeper/quota"] {
            assert_eq!(root.enter(relative), relative, "names nothing anywhere");
        }
    }

    #[test]
    fn what_is_outside_has_no_name() {
        let root = Root::new("/t/a");
        for path in ["/", "/t", "/t/ab", "/t/b/x", "/zookeeper", "/zookeeper/config", "/zookeeper/quota/t/ab"]
        {
            assert_eq!(root.leave(path), None, "{path}");
        }
    }

    #[test]
    fn roots_are_paths_outside_what_is_reserved() {
        for good in ["/", "/a", "/tenants/discovery", "/zookeepers"] {
            assert_eq!(Root::refusal(good), None, "{good}");
        }
        for bad in ["", "a", "/a/", "/a/../b", "/zookeeper", "/zookeeper/quota/a"] {
            assert!(Root::refusal(bad).is_some(), "{bad}");
        }
    }
}
