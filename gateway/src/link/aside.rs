//! A tree that takes the place of the replica: on disk first, and shown only when it is whole.

use palisade_store::DataTree;
use palisade_wire::txn::TxnRecord;
use tracing::error;

use crate::replica::agrees;

/// See the module.
#[derive(Debug, Default)]
pub(crate) enum Aside {
    /// There is none: the replica is shown and on disk.
    #[default]
    Nothing,
    /// The disk thread is at it. If that fails, what was hidden before still is.
    OnItsWay(Option<Box<DataTree>>),
    /// It is on disk. A leader makes its tree while it goes on: there may be parts of transactions in it that the
    /// learner has yet to deliver.
    Hidden(Box<DataTree>),
}

impl Aside {
    /// The disk thread was told to replace what it holds.
    pub(crate) fn begin(&mut self) {
        let before = self.take();
        *self = Self::OnItsWay(before);
    }

    /// The disk holds this tree now.
    pub(crate) fn arrived(&mut self, tree: Box<DataTree>) {
        *self = Self::Hidden(tree);
    }

    /// The disk holds what it held before.
    pub(crate) fn failed(&mut self) {
        if let Self::OnItsWay(before) = std::mem::take(self) {
            *self = before.map_or(Self::Nothing, Self::Hidden);
        }
    }

    pub(crate) const fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }

    pub(crate) const fn is_on_its_way(&self) -> bool {
        matches!(self, Self::OnItsWay(_))
    }

    pub(crate) const fn is_hidden(&self) -> bool {
        matches!(self, Self::Hidden(_))
    }

    /// Applies what the learner delivered to the hidden tree. Only after the last of these is it whole.
    pub(crate) fn apply<'a>(&mut self, records: impl Iterator<Item = &'a TxnRecord>) {
        let Self::Hidden(tree) = self else { return };
        let last = records.inspect(|record| {
            tree.apply(&record.header, &record.txn, &mut |_| {});
        });
        if let Some(last) = last.last()
            && agrees(tree, last) == Some(false)
        {
            error!(zxid = %last.header.zxid, "the tree that the leader sent has not the leader's digest");
        }
    }

    /// The hidden tree, to be shown from now on.
    pub(crate) fn take(&mut self) -> Option<Box<DataTree>> {
        match std::mem::take(self) {
            Self::Hidden(tree) => Some(tree),
            other => {
                *self = other;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use palisade_wire::Zxid;

    use super::*;

    fn tree(zxid: i64) -> Box<DataTree> {
        let mut tree = DataTree::new();
        tree.set_last_zxid(Zxid(zxid));
        Box::new(tree)
    }

    #[test]
    fn what_was_hidden_stays_hidden_when_its_replacement_fails() {
        let mut aside = Aside::default();
        aside.begin();
        assert!(aside.is_on_its_way() && aside.take().is_none());
        aside.failed();
        assert!(aside.is_nothing());
        aside.begin();
        aside.arrived(tree(5));
        aside.begin();
        assert!(aside.is_on_its_way());
        aside.failed();
        assert_eq!(aside.take().map(|tree| tree.last_zxid()), Some(Zxid(5)));
        assert!(aside.is_nothing());
    }
}
