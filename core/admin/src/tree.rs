//! Listings of what stands in a tree, in batches that hold it for a moment each. What changes meanwhile may be listed or
//! not.

use std::sync::Arc;

use palisade_store::DataTree;
use palisade_wire::SessionId;

use crate::json::Batches;

/// Entries that are looked at under one lock.
pub const BATCH: usize = 1024;

/// Something that holds a tree.
pub trait HasTree: Send + Sync + 'static {
    /// Looks at the tree while nobody changes it.
    fn with_tree<R>(&self, look: impl FnOnce(&DataTree) -> R) -> R;
}

/// Sessions with their timeouts in ms, ascending.
pub fn sessions<T: HasTree>(server: Arc<T>) -> Batches<(SessionId, i32)> {
    let mut next = Some(None);
    Box::new(std::iter::from_fn(move || {
        let batch: Vec<_> = {
            let after = next?;
            server.with_tree(|tree| tree.sessions_after(after).take(BATCH).collect())
        };
        next = batch.last().filter(|_| batch.len() == BATCH).map(|(session, _)| Some(*session));
        Some(batch)
    }))
}

/// Sessions that own ephemerals, ascending.
pub fn ephemeral_owners<T: HasTree>(server: &T) -> impl Iterator<Item = SessionId> {
    let mut next = Some(None);
    let batches = std::iter::from_fn(move || {
        let after = next?;
        let batch: Vec<_> = server.with_tree(|tree| tree.ephemeral_owners_after(after).take(BATCH).collect());
        next = batch.last().filter(|_| batch.len() == BATCH).map(|owner| Some(*owner));
        Some(batch)
    });
    batches.flatten()
}

/// Sessions with paths of their ephemerals; one with many comes in several batches.
pub fn ephemerals<T: HasTree>(server: Arc<T>) -> Batches<(SessionId, Vec<String>)> {
    // All sessions up to the first are done, and so many paths of the one behind it.
    let (mut done, mut skip) = (None, 0);
    Box::new(std::iter::from_fn(move || {
        let batch = server.with_tree(|tree| {
            let (mut batch, mut room) = (Vec::new(), BATCH);
            while room > 0 {
                let Some(owner) = tree.ephemeral_owners_after(done).next() else { break };
                let paths: Vec<_> = tree.ephemerals(owner).skip(skip).take(room).map(str::to_owned).collect();
                if paths.len() == room {
                    skip += room;
                } else {
                    (done, skip) = (Some(owner), 0);
                }
                room -= paths.len().max(1);
                batch.push((owner, paths));
            }
            batch
        });
        (!batch.is_empty()).then_some(batch)
    }))
}

#[cfg(test)]
mod tests {
    use palisade_wire::txn::{CreateTxn, Txn, TxnHeader};
    use palisade_wire::{Acl, Zxid};

    use super::*;

    struct Server(DataTree);

    impl HasTree for Server {
        fn with_tree<R>(&self, look: impl FnOnce(&DataTree) -> R) -> R {
            look(&self.0)
        }
    }

    /// Session n owns n ephemerals.
    fn server(sessions: i64) -> Arc<Server> {
        let mut tree = DataTree::new();
        let mut zxid = 0;
        for session in 1..=sessions {
            let mut apply = |txn: Txn| {
                zxid += 1;
                let header = TxnHeader { session, cxid: 0, zxid: Zxid(zxid), time: 0 };
                tree.apply(&header, &txn, &mut |_| ());
            };
            apply(Txn::CreateSession(1000));
            for i in 0..session {
                let create = CreateTxn {
                    path: format!("/{session}-{i}"),
                    data: None,
                    acl: Acl::open(),
                    parent_cversion: -1,
                };
                apply(Txn::Create(create, true));
            }
        }
        Arc::new(Server(tree))
    }

    #[test]
    fn batches_make_up_the_whole() {
        let count = 70;
        let server = server(count);
        let listed: Vec<_> = sessions(server.clone()).flatten().map(|(session, _)| session).collect();
        assert_eq!(listed, (1..=count).collect::<Vec<_>>());
        assert_eq!(ephemeral_owners(&*server).count() as i64, count);
        let batches: Vec<_> = ephemerals(server).collect();
        assert!(batches.len() > 1);
        let mut paths = vec![0; count as usize + 1];
        for (owner, listed) in batches.into_iter().flatten() {
            assert!(listed.len() <= BATCH);
            paths[owner as usize] += listed.len();
        }
        assert_eq!(paths, (0..=count as usize).collect::<Vec<_>>());
    }

    #[test]
    fn a_full_batch_may_be_the_last() {
        let count = 0;
        assert_eq!(sessions(server(count)).flatten().count(), 0);
        assert_eq!(ephemerals(server(count)).count(), 0);
        assert_eq!(ephemerals(server(1)).flatten().count(), 1);
    }
}
