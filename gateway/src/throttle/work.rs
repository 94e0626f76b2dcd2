//! What a write asks of the core, as far as limits care.

use palisade_wire::request::{Create, Request};
use palisade_wire::{CreateMode, path};

use crate::top::Tally;

/// What one request asks of the core.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Work {
    /// Passes whatever the limits: it lets go of something, as deletes and closes do, or costs nothing.
    #[default]
    Free,
    /// A change of a znode below `parent`.
    Set {
        /// The parent's path; of a multi, that of its weightiest part.
        parent: Box<str>,
    },
    /// The making of a znode, which may become the parent of locks.
    Create {
        /// Its path; of a multi, that of its weightiest part.
        path: Box<str>,
    },
    /// An acquisition of a lock or a candidacy: an ephemeral sequential create below `parent`.
    Lock {
        /// The parent's path.
        parent: Box<str>,
    },
}

impl Work {
    /// What this request asks.
    pub(crate) fn of(request: &Request<'_>) -> Self {
        match request {
            Request::Create(create) => Self::of_create(create),
            Request::SetData { path, .. } | Request::SetAcl { path, .. } => {
                Self::Set { parent: parent(path).into() }
            }
            Request::Multi(ops) => {
                let parts = ops.iter().map(|(_, op)| Self::of(op));
                parts.max_by_key(Self::weight).unwrap_or_default()
            }
            _ => Self::Free,
        }
    }

    fn of_create(create: &Create<'_>) -> Self {
        let mode = CreateMode::from_flags(create.flags);
        if mode.is_some_and(|mode| mode.is_ephemeral() && mode.is_sequential()) {
            Self::Lock { parent: parent(&create.path).into() }
        } else {
            Self::Create { path: (&*create.path).into() }
        }
    }

    /// Whether it makes znodes.
    pub(super) const fn creates(&self) -> bool {
        matches!(self, Self::Lock { .. } | Self::Create { .. })
    }

    /// Below which path it writes; none if it costs nothing.
    pub(super) fn parent(&self) -> Option<&str> {
        match self {
            Self::Free => None,
            Self::Set { parent } | Self::Lock { parent } => Some(parent),
            Self::Create { path } => Some(parent(path)),
        }
    }

    /// Tells that a limit refused it, and where.
    pub(crate) fn refused(&self, tally: &mut Tally) {
        let is_lock = matches!(self, Self::Lock { .. });
        tally.refused(self.lock_parent().or_else(|| self.parent()).unwrap_or_default(), is_lock);
    }

    /// What is a lock's parent, or may become one.
    pub(super) fn lock_parent(&self) -> Option<&str> {
        match self {
            Self::Lock { parent: path } | Self::Create { path } => Some(path),
            Self::Free | Self::Set { .. } => None,
        }
    }

    /// A multi counts as the heaviest of its parts.
    const fn weight(&self) -> u8 {
        match self {
            Self::Free => 0,
            Self::Set { .. } => 1,
            Self::Create { .. } => 2,
            Self::Lock { .. } => 3,
        }
    }
}

/// Where the siblings are, too: under that, the locks below their parents are counted together.
pub(super) fn parent(path: &str) -> &str {
    path::parent(path).unwrap_or("/")
}

#[cfg(test)]
mod tests {
    use palisade_wire::OpCode;
    use palisade_wire::multi::create_op;

    use super::*;

    fn create(path: &str, mode: CreateMode) -> Request<'_> {
        create_op(path, b"", mode.flags()).1
    }

    #[test]
    fn numbered_ephemerals_are_locks() {
        let lock = |parent: &str| Work::Lock { parent: parent.into() };
        for name in ["/o/1/lock-", "/o/1/_c_6a4f-lock-", "/o/1/6a4f__lock__", "/o/1/latch-", "/o/1/n_"] {
            assert_eq!(Work::of(&create(name, CreateMode::EphemeralSequential)), lock("/o/1"));
        }
        let made = Work::Create { path: "/o/1/x".into() };
        assert_eq!((made.parent(), made.lock_parent()), (Some("/o/1"), Some("/o/1/x")));
        for mode in [CreateMode::Persistent, CreateMode::Ephemeral, CreateMode::PersistentSequential] {
            assert_eq!(Work::of(&create("/o/1/x", mode)), made);
        }
    }

    #[test]
    fn a_multi_counts_as_its_heaviest_part() {
        let delete = (OpCode::Delete, Request::Delete { path: "/a/b".into(), version: -1 });
        let lock = (OpCode::Create, create("/l/x-", CreateMode::EphemeralSequential));
        assert_eq!(Work::of(&Request::Multi(vec![delete.clone()])), Work::Free);
        assert_eq!(Work::of(&Request::Multi(vec![delete, lock])), Work::Lock { parent: "/l".into() });
        assert_eq!(Work::of(&Request::Multi(vec![])), Work::Free);
    }

    #[test]
    fn what_lets_go_or_costs_nothing_is_free() {
        let delete = Request::Delete { path: "/a/b".into(), version: -1 };
        for request in
            [delete, Request::CloseSession, Request::Sync(None), Request::Ping, Request::CreateSession(1)]
        {
            assert_eq!(Work::of(&request), Work::Free);
        }
    }

    #[test]
    fn siblings_are_counted_together() {
        for (parent, expected) in [("/orders/17", "/orders"), ("/orders", "/"), ("/", "/"), ("", "/")] {
            assert_eq!(super::parent(parent), expected);
        }
    }
}
