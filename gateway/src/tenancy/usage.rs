//! How much a tenant has.

use palisade_store::{DataTree, Usage};

use super::root::{QUOTA, RESERVED, Root};

impl Root {
    /// The core's sub-trees that hold what is the tenant's: they are to be tracked ([`DataTree::track`]) for
    /// [`Root::usage`]. None for the whole tree.
    pub(crate) fn tracked(&self) -> Vec<&str> {
        if self.is_confined() { vec![self.path(), self.quota_path()] } else { Vec::new() }
    }

    /// What stands in the tenant's tree: its znodes, and the bytes of their paths, as the tenant knows them, and data.
    /// Costs nothing.
    pub(crate) fn usage(&self, tree: &DataTree) -> Usage {
        if !self.is_confined() {
            let (ephemerals, bytes) = (tree.ephemeral_count(), tree.approximate_data_size());
            return Usage { znodes: tree.node_count() - 1, ephemerals, bytes };
        }
        let Usage { znodes, ephemerals, bytes } = tree.tracked();
        let prefixes = (znodes * self.path().len()) as u64;
        // The znode by which the parent of all quotas is listed stands for the one that holds them.
        let twice =
            usize::from(tree.node(&self.stand_in()).is_some() && tree.node(self.quota_path()).is_some());
        Usage {
            znodes: znodes - twice,
            ephemerals,
            bytes: bytes.saturating_sub(prefixes + (twice * QUOTA.len()) as u64),
        }
    }

    /// Number of all descendants of a client's `path`; `None` if it does not exist.
    pub(crate) fn descendants(&self, tree: &DataTree, path: &str) -> Option<usize> {
        let count = tree.descendants(&self.enter(path));
        match path {
            "" | "/" if self.is_confined() => count.map(|_| self.usage(tree).znodes.saturating_sub(1)),
            RESERVED if self.is_confined() => Some(count? + tree.descendants(self.quota_path())?),
            _ => count,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use palisade_wire::txn::{CreateTxn, Txn, TxnHeader};
    use palisade_wire::{Acl, Zxid};

    use super::*;

    fn create(tree: &mut DataTree, path: &str, data: &'static [u8], ephemeral: bool) {
        let txn = CreateTxn {
            path: path.to_owned(),
            data: Some(Bytes::from_static(data)),
            acl: Acl::open(),
            parent_cversion: -1,
        };
        let zxid = Zxid(tree.last_zxid().0 + 1);
        let header = TxnHeader { session: 7, cxid: 1, zxid, time: 5 };
        let txn = Txn::Create(txn, ephemeral);
        let outcome = tree.apply(&header, &txn, &mut |_| {});
        assert!(outcome.error.is_ok(), "{path}");
    }

    #[test]
    fn a_part_counts_as_a_tree_of_its_own() {
        let (whole, root) = (Root::new("/"), Root::new("/t/a"));
        let (mut own, mut shared) = (DataTree::new(), DataTree::new());
        shared.track(root.tracked());
        for (path, _) in root.births() {
            if shared.node(&path).is_none() {
                create(&mut shared, &path, b"", false);
            }
        }
        assert_eq!(root.usage(&shared), whole.usage(&own));
        let added = [("/x", true), ("/y", false), ("/y/z", false), ("/zookeeper/quota/y", false)];
        for (path, ephemeral) in added {
            create(&mut own, path, b"data", ephemeral);
            create(&mut shared, &root.enter(path), b"data", ephemeral);
            assert_eq!(root.usage(&shared), whole.usage(&own), "{path}");
        }
        create(&mut shared, "/t/ab", b"another's", true);
        assert_eq!(root.usage(&shared), whole.usage(&own));
        for path in ["/", "/y", "/x", "/zookeeper", "/zookeeper/quota", "/zookeeper/config", "/none"] {
            let expected = whole.descendants(&own, path);
            assert_eq!(root.descendants(&shared, path), expected, "{path}");
        }
        let mut anew = shared.clone();
        anew.track_like(&shared);
        assert_eq!(anew.tracked(), shared.tracked());
    }
}
