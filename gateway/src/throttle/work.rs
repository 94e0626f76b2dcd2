//! What a write asks of the core, as far as limits care.

use std::cmp::Reverse;

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
        /// The parent's path.
        parent: Box<str>,
    },
    /// The making of a znode, which may become the parent of locks.
    Create {
        /// Its path.
        path: Box<str>,
    },
    /// An acquisition of a lock or a candidacy: an ephemeral sequential create below `parent`.
    Lock {
        /// The parent's path.
        parent: Box<str>,
    },
    /// Several of these in one transaction.
    Multi(Box<Multi>),
}

/// What the parts of a multi ask, but for those that are free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Multi {
    amount: Amount,
    /// All of them, or so many that stand for all.
    sample: Box<[Work]>,
    /// How many each of the sample stands for.
    each: u32,
}

/// How much a request asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amount {
    /// Changes of znodes, but for deletes.
    pub(super) writes: u32,
    /// Of those, the ones that make one.
    pub(super) creates: u32,
    /// Of those, the ones that acquire a lock.
    pub(super) locks: u32,
}

/// Parts of a multi that are looked at; of one with more, these are evenly spread, over each sort of work.
const SAMPLE: usize = 1_000;

impl Work {
    /// What this request asks.
    pub(crate) fn of(request: &Request<'_>) -> Self {
        match request {
            Request::Create(create) => Self::of_create(create),
            Request::SetData { path, .. } | Request::SetAcl { path, .. } => {
                Self::Set { parent: parent(path).into() }
            }
            Request::Multi(ops) => Self::of_parts(ops.iter().map(|(_, op)| Self::of(op))),
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

    fn of_parts(parts: impl Iterator<Item = Self>) -> Self {
        let mut parts: Vec<_> = parts.filter(|part| *part != Self::Free).collect();
        if parts.len() <= 1 {
            return parts.pop().unwrap_or_default();
        }
        let amount = parts.iter().map(Self::amount).fold(Amount::default(), |all, one| Amount {
            writes: all.writes + one.writes,
            creates: all.creates + one.creates,
            locks: all.locks + one.locks,
        });
        let each = parts.len().div_ceil(SAMPLE);
        // Of each sort as large a share, whatever their order.
        parts.sort_by_key(|part| Reverse(part.weight()));
        let sample = parts.into_iter().step_by(each).collect();
        Self::Multi(Box::new(Multi { amount, sample, each: u32::try_from(each).unwrap_or(u32::MAX) }))
    }

    /// How much of it there is.
    pub(super) const fn amount(&self) -> Amount {
        let (writes, creates, locks) = match self {
            Self::Free => (0, 0, 0),
            Self::Set { .. } => (1, 0, 0),
            Self::Create { .. } => (1, 1, 0),
            Self::Lock { .. } => (1, 1, 1),
            Self::Multi(multi) => return multi.amount,
        };
        Amount { writes, creates, locks }
    }

    /// What it consists of, and how many each of these stands for.
    pub(super) fn parts(&self) -> (&[Self], u32) {
        match self {
            Self::Free => (&[], 1),
            Self::Multi(multi) => (&multi.sample, multi.each),
            _ => (std::slice::from_ref(self), 1),
        }
    }

    /// What tells best where it writes: the weightiest of its parts.
    fn main(&self) -> &Self {
        self.parts().0.iter().max_by_key(|part| part.weight()).unwrap_or(self)
    }

    /// Below which path it writes; none if it costs nothing.
    pub(super) fn parent(&self) -> Option<&str> {
        match self.main() {
            Self::Set { parent } | Self::Lock { parent } => Some(parent),
            Self::Create { path } => Some(parent(path)),
            Self::Free | Self::Multi(_) => None,
        }
    }

    /// Tells that a limit refused it, and where.
    pub(crate) fn refused(&self, tally: &mut Tally) {
        let is_lock = self.amount().locks > 0;
        tally.refused(self.lock_parent().or_else(|| self.parent()).unwrap_or_default(), is_lock);
    }

    /// What is a lock's parent, or may become one.
    pub(super) fn lock_parent(&self) -> Option<&str> {
        match self.main() {
            Self::Lock { parent: path } | Self::Create { path } => Some(path),
            Self::Free | Self::Set { .. } | Self::Multi(_) => None,
        }
    }

    const fn weight(&self) -> u8 {
        match self {
            Self::Free | Self::Multi(_) => 0,
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
    fn a_multi_counts_by_what_is_in_it() {
        let delete = (OpCode::Delete, Request::Delete { path: "/a/b".into(), version: -1 });
        let lock = (OpCode::Create, create("/l/x-", CreateMode::EphemeralSequential));
        let made = (OpCode::Create, create("/l", CreateMode::Persistent));
        assert_eq!(Work::of(&Request::Multi(vec![delete.clone()])), Work::Free);
        assert_eq!(Work::of(&Request::Multi(vec![])), Work::Free);
        let one = Work::of(&Request::Multi(vec![delete.clone(), lock.clone()]));
        assert_eq!(one, Work::Lock { parent: "/l".into() });
        let several = Work::of(&Request::Multi(vec![made, delete, lock.clone(), lock.clone()]));
        assert_eq!(several.amount(), Amount { writes: 3, creates: 3, locks: 2 });
        assert_eq!((several.parent(), several.lock_parent()), (Some("/l"), Some("/l")));
        let many = Work::of(&Request::Multi(vec![lock.clone(); 2_500]));
        assert_eq!((many.amount().locks, many.parts().0.len(), many.parts().1), (2_500, 834, 3));
        let set = (OpCode::SetData, Request::SetData { path: "/s".into(), data: None, version: -1 });
        let hidden = Work::of(&Request::Multi(vec![[set, lock]; 1_000].concat()));
        let locks = hidden.parts().0.iter().filter(|part| part.amount().locks > 0);
        assert_eq!((locks.count(), hidden.parts().1), (500, 2), "in every second place");
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
