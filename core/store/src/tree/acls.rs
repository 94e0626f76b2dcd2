use std::sync::Arc;

use hashbrown::HashMap;
use palisade_wire::{Acl, Id, Perms};

/// An access control list in an [`AclTable`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct AclId(u32);

impl AclId {
    /// world:anyone, everything.
    pub(crate) const OPEN: Self = Self(0);
    /// Nobody, nothing: stands for a list that a fuzzy snapshot names but does not have.
    pub(crate) const UNKNOWN: Self = Self(1);

    /// The id in a snapshot (Apache `ReferenceCountedACLCache`): −1 is the open list, others are positive.
    pub(crate) const fn in_snapshot(self) -> i64 {
        if self.0 == Self::OPEN.0 { -1 } else { self.0 as i64 }
    }
}

#[derive(Clone, Debug)]
struct Entry {
    list: Arc<[Acl]>,
    /// Znodes that have it. Never 0 for the first two.
    uses: u32,
}

/// Every distinct access control list, once.
#[derive(Clone, Debug)]
pub(crate) struct AclTable {
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    ids: HashMap<Arc<[Acl]>, AclId>,
}

impl AclTable {
    pub(crate) fn new() -> Self {
        let nobody = Acl { perms: Perms(0), id: Id::new("world", "anyone") };
        let mut table = Self { entries: Vec::new(), free: Vec::new(), ids: HashMap::new() };
        table.intern(&Acl::open());
        table.intern(&[nobody]);
        table
    }

    /// The id of `list`, which has one more user now.
    pub(crate) fn intern(&mut self, list: &[Acl]) -> AclId {
        if let Some(id) = self.ids.get(list).copied() {
            self.retain(id);
            return id;
        }
        let list: Arc<[Acl]> = list.into();
        let entry = Some(Entry { list: list.clone(), uses: 1 });
        let id = match self.free.pop() {
            Some(index) => {
                self.entries[index as usize] = entry;
                AclId(index)
            }
            None => {
                self.entries.push(entry);
                AclId(self.entries.len() as u32 - 1)
            }
        };
        self.ids.insert(list, id);
        id
    }

    /// `list` itself, shared with the table if it is there.
    pub(crate) fn share(&self, list: &[Acl]) -> Arc<[Acl]> {
        self.ids.get_key_value(list).map_or_else(|| list.into(), |(shared, _)| shared.clone())
    }

    /// One more user.
    pub(crate) fn retain(&mut self, id: AclId) {
        if let Some(Some(entry)) = self.entries.get_mut(id.0 as usize) {
            entry.uses += 1;
        }
    }

    /// One user less; the list goes with its last one.
    pub(crate) fn release(&mut self, id: AclId) {
        let Some(slot) = self.entries.get_mut(id.0 as usize) else { return };
        let Some(entry) = slot else { return };
        entry.uses -= 1;
        if entry.uses == 0 {
            self.ids.remove(&entry.list);
            *slot = None;
            self.free.push(id.0);
        }
    }

    /// The list; the one that grants nothing if there is none of that id.
    pub(crate) fn get(&self, id: AclId) -> &Arc<[Acl]> {
        let entry = |id: AclId| self.entries.get(id.0 as usize).and_then(Option::as_ref);
        let entry = entry(id).or_else(|| entry(AclId::UNKNOWN));
        &entry.expect("the unknown list is pinned by new()").list
    }

    /// All lists that a snapshot must name, ascending by id.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (AclId, &Arc<[Acl]>)> {
        let all = (0..).map(AclId).zip(&self.entries).skip(1);
        all.filter_map(|(id, entry)| {
            let entry = entry.as_ref()?;
            (id != AclId::UNKNOWN || entry.uses > 1).then_some((id, &entry.list))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(user: &str) -> Vec<Acl> {
        vec![Acl { perms: Perms::ALL, id: Id::new("digest", user) }]
    }

    #[test]
    fn equal_lists_share_an_id_until_the_last_user_goes() {
        let mut table = AclTable::new();
        assert_eq!(table.intern(&Acl::open()), AclId::OPEN);
        let a = table.intern(&list("a:x"));
        assert_eq!(table.intern(&list("a:x")), a);
        let b = table.intern(&list("b:x"));
        assert_ne!(a, b);
        table.release(a);
        assert_eq!(**table.get(a), list("a:x"));
        table.release(a);
        assert_eq!(table.get(a), table.get(AclId::UNKNOWN));
        assert_eq!(table.intern(&list("c:x")), a, "ids are used again");
        assert_eq!(**table.get(b), list("b:x"));
        assert_eq!(table.iter().map(|(id, _)| id).collect::<Vec<_>>(), [a, b]);
    }

    #[test]
    fn the_unknown_list_grants_nothing() {
        let table = AclTable::new();
        assert!(!crate::acl::check(table.get(AclId::UNKNOWN), Perms::ALL, &[]));
    }
}
