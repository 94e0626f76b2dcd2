//! Events of before this process began, as its transaction log tells of them: a client that comes back to a gateway that
//! was killed is told what it missed, as one that comes back to a running one.

use palisade_disk::{History, More};
use palisade_store::{Change, DataTree, acl};
use palisade_watch::{Event, Recent};
use palisade_wire::reply::EventType;
use palisade_wire::txn::{TxnHeader, TxnRecord};
use palisade_wire::{Acl, Perms, SessionId, Zxid};

use crate::config::Config;
use crate::tenancy::Root;

/// Log that is replayed for this alone, as a multiple of what may be remembered of it: an event takes more than the
/// transaction's header, and less than data.
const ENOUGH: u64 = 4;
/// The same, bytes, however much data is in it: what a gateway replays within a second or two.
const LIMIT: u64 = 256 << 20;

/// What watchers hear of a change, and of which of the core's paths; the list that must let them read.
pub(super) fn heard<'c>(change: &Change<'c>) -> Option<(EventType, &'c str, &'c [Acl])> {
    match *change {
        Change::Created { path, acl, .. } => Some((EventType::NodeCreated, path, acl)),
        Change::Deleted { path, acl, .. } => Some((EventType::NodeDeleted, path, acl)),
        Change::DataChanged { path, acl } => Some((EventType::NodeDataChanged, path, acl)),
        Change::ChildrenChanged { path, acl } => Some((EventType::NodeChildrenChanged, path, acl)),
        Change::SessionCreated { .. } | Change::SessionClosed { .. } => None,
    }
}

/// The list that must let a client read; `None` if everybody may.
pub(super) fn guarded(acl: &[Acl]) -> Option<&[Acl]> {
    Some(acl).filter(|acl| !acl::check(acl, Perms::READ, &[]))
}

/// Gathers them while the log is replayed.
#[derive(Debug)]
pub(crate) struct Remembered {
    recent: Recent,
    root: Root,
    /// Each effect of what comes after this one is told; `None` if that is not known of any.
    exact_from: Option<Zxid>,
}

impl Remembered {
    /// None yet.
    pub(crate) fn new(config: &Config) -> Self {
        let recent = Recent::new(config.notifications.replay_limit());
        Self { recent, root: Root::new(&config.tenant.root), exact_from: None }
    }

    /// Replays this log on a snapshot's tree, as a restore does; the sessions that ended, and when.
    pub(super) fn replay(
        &mut self,
        tree: &mut DataTree,
        exact_from: Zxid,
        log: &[TxnRecord],
    ) -> Vec<(SessionId, Zxid)> {
        let mut ended = Vec::new();
        self.begins(tree.last_zxid(), Some(exact_from));
        for TxnRecord { header, txn, .. } in log {
            tree.apply(header, txn, &mut |change| {
                self.changed(header, &change);
                if let Change::SessionClosed { session } = change {
                    ended.push((session, header.zxid));
                }
            });
        }
        ended
    }

    /// What was gathered, and leads to the last transaction that was replayed.
    pub(crate) fn into_recent(self) -> Recent {
        self.recent
    }
}

impl History for Remembered {
    fn more(&self) -> More {
        More { enough: ENOUGH.saturating_mul(self.recent.limit() as u64), limit: LIMIT }
    }

    fn begins(&mut self, _base: Zxid, exact_from: Option<Zxid>) {
        self.exact_from = exact_from;
        self.recent.forget();
        exact_from.into_iter().for_each(|zxid| self.recent.begin(zxid));
    }

    fn changed(&mut self, header: &TxnHeader, change: &Change<'_>) {
        let is_exact = self.exact_from.is_some_and(|from| from < header.zxid);
        if is_exact
            && self.recent.is_on()
            && let Some((kind, path, acl)) = heard(change)
            && let Some(path) = self.root.leave(path)
        {
            self.recent.push(&Event::new(header.zxid, kind, &path), guarded(acl));
        }
    }
}

#[cfg(test)]
mod tests {
    use palisade_wire::Id;
    use palisade_wire::txn::{CreateTxn, Txn};

    use super::*;

    fn create(path: &str, acl: Vec<Acl>) -> Txn {
        Txn::Create(CreateTxn { path: path.to_owned(), data: None, acl, parent_cversion: -1 }, false)
    }

    /// Replays these, of which the first is 1, from a tree that is exact from `exact_from` on; with its beginning of each
    /// event, and whether it is for everybody.
    fn replay(config: &Config, exact_from: Option<i64>, txns: &[Txn]) -> (Recent, Vec<(i64, String, bool)>) {
        let mut remembered = Remembered::new(config);
        let mut tree = DataTree::new();
        // A replay that was given up.
        remembered.begins(Zxid::ZERO, Some(Zxid::ZERO));
        let header = TxnHeader { session: 1, cxid: 1, zxid: Zxid(1), time: 0 };
        remembered.changed(&header, &Change::DataChanged { path: "/t/void", acl: &Acl::open() });
        remembered.begins(Zxid::ZERO, exact_from.map(Zxid));
        for (zxid, txn) in (1..).zip(txns) {
            let header = TxnHeader { zxid: Zxid(zxid), ..header };
            tree.apply(&header, txn, &mut |change| remembered.changed(&header, &change));
        }
        let mut recent = remembered.into_recent();
        recent.go_on(tree.last_zxid());
        let event = |recent: &palisade_watch::RecentEvent| {
            let event = &recent.event;
            (event.zxid().0, format!("{:?} {}", event.kind(), event.path()), recent.acl.is_none())
        };
        let events = recent.since(Zxid::ZERO).map(event).collect();
        (recent, events)
    }

    #[test]
    fn what_the_log_tells_of_is_remembered_as_clients_see_it() {
        let mut config = Config::default();
        config.tenant.root = "/t".to_owned();
        let secret = vec![Acl { perms: Perms::ALL, id: Id::new("digest", "me:hash") }];
        let txns = [
            create("/t", Acl::open().to_vec()),
            create("/other", Acl::open().to_vec()),
            create("/t/a", secret),
            Txn::SetData { path: "/t/a".to_owned(), data: None, version: 1 },
            Txn::Delete("/t/a".to_owned()),
        ];
        let (recent, events) = replay(&config, Some(2), &txns);
        let expected = [
            (3, "NodeCreated /a", false),
            (3, "NodeChildrenChanged /", true),
            (4, "NodeDataChanged /a", false),
            (5, "NodeDeleted /a", false),
            (5, "NodeChildrenChanged /", true),
        ];
        assert_eq!(events, expected.map(|(zxid, event, open)| (zxid, event.to_owned(), open)));
        assert!(recent.reaches_back_to(Zxid(2)) && !recent.reaches_back_to(Zxid(1)));
        // Nothing is certain but what is still to come.
        let (recent, events) = replay(&config, None, &txns);
        assert_eq!(events, []);
        assert!(recent.reaches_back_to(Zxid(5)) && !recent.reaches_back_to(Zxid(4)));
        config.notifications.replay = false;
        let (recent, events) = replay(&config, Some(0), &txns);
        assert_eq!((events, recent.reaches_back_to(Zxid(5))), (vec![], false));
        assert_eq!(Remembered::new(&config).more().enough, 0);
    }
}
