//! The watchers of one path, in as few bytes as possible.

use roaring::RoaringBitmap;

use crate::kinds::{Kinds, Slot, Watcher};
use crate::slab::Slab;

/// So many watchers fit into the smallest piece of memory that the allocator gives.
const FEW: usize = 6;

/// The watchers of one path: mostly one, sometimes very many. What is more than one is in [`Groups`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Watchers {
    #[default]
    Nobody,
    One(Watcher),
    Group(GroupId),
}

/// A place in [`Groups`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupId(u32);

/// Watchers of all paths that have more than one.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    groups: Slab<Group>,
}

#[derive(Debug, Default)]
enum Group {
    /// Not a group.
    #[default]
    Nobody,
    /// In no order, with gaps.
    Few(Box<[Watcher; FEW]>),
    /// One set per kind, in the order of [`Kinds::SINGLE`].
    Many(Box<[RoaringBitmap; 4]>),
}

impl Group {
    fn few() -> Self {
        Self::Few(Box::default())
    }

    fn kinds(&self, slot: Slot) -> Kinds {
        match self {
            Self::Nobody => Kinds::NONE,
            Self::Few(few) => few.iter().find(|w| is(**w, slot)).map_or(Kinds::NONE, |w| w.kinds()),
            Self::Many(sets) => {
                let with =
                    Kinds::SINGLE.iter().zip(sets.iter()).filter(|(_, set)| set.contains(slot.number()));
                with.fold(Kinds::NONE, |kinds, (kind, _)| kinds.and(*kind))
            }
        }
    }

    fn set(&mut self, slot: Slot, kinds: Kinds) {
        if let Self::Few(few) = self {
            let place = few.iter().position(|w| is(*w, slot)).or_else(|| few.iter().position(|w| is_gap(*w)));
            if let Some(place) = place {
                few[place] = if kinds.is_none() { Watcher::NOBODY } else { Watcher::new(slot, kinds) };
                return;
            }
            if kinds.is_none() {
                return;
            }
            let mut sets = Box::<[RoaringBitmap; 4]>::default();
            few.iter().for_each(|w| put(&mut sets, w.slot(), w.kinds()));
            *self = Self::Many(sets);
        }
        if let Self::Many(sets) = self {
            put(sets, slot, kinds);
        }
    }

    /// At least the number of watchers: one with several kinds may count several times.
    fn len(&self) -> u64 {
        match self {
            Self::Nobody => 0,
            Self::Few(few) => few.iter().filter(|w| !is_gap(**w)).count() as u64,
            Self::Many(sets) => sets.iter().map(RoaringBitmap::len).sum(),
        }
    }

    fn for_each(&self, mask: Kinds, mut f: impl FnMut(Slot)) {
        match self {
            Self::Nobody => {}
            Self::Few(few) => few.iter().filter(|w| w.kinds().has_any(mask)).for_each(|w| f(w.slot())),
            Self::Many(sets) => {
                for (_, set) in hit(sets, mask) {
                    set.iter().for_each(|number| f(Slot::from_number(number)));
                }
            }
        }
    }

    fn fire(&mut self, mask: Kinds, mut fired: impl FnMut(Slot, Kinds, Kinds)) {
        let shot = mask.both(Kinds::ONE_SHOT);
        match self {
            Self::Nobody => {}
            Self::Few(few) => {
                for w in few.iter_mut().filter(|w| w.kinds().has_any(mask)) {
                    let (slot, before) = (w.slot(), w.kinds());
                    let left = before.without(shot);
                    *w = if left.is_none() { Watcher::NOBODY } else { Watcher::new(slot, left) };
                    fired(slot, before, left);
                }
            }
            Self::Many(sets) => {
                let mut all = RoaringBitmap::new();
                hit(sets, mask).for_each(|(_, set)| all |= set);
                let used_up: [RoaringBitmap; 4] = std::array::from_fn(|i| {
                    if Kinds::SINGLE[i].has_any(shot) {
                        std::mem::take(&mut sets[i])
                    } else {
                        RoaringBitmap::new()
                    }
                });
                let among = |sets: &[RoaringBitmap; 4], number| {
                    let with = Kinds::SINGLE.iter().zip(sets).filter(|(_, set)| set.contains(number));
                    with.fold(Kinds::NONE, |kinds, (kind, _)| kinds.and(*kind))
                };
                for number in &all {
                    let left = among(sets, number);
                    fired(Slot::from_number(number), left.and(among(&used_up, number)), left);
                }
            }
        }
    }
}

fn is(watcher: Watcher, slot: Slot) -> bool {
    !is_gap(watcher) && watcher.slot() == slot
}

fn is_gap(watcher: Watcher) -> bool {
    watcher.kinds().is_none()
}

fn put(sets: &mut [RoaringBitmap; 4], slot: Slot, kinds: Kinds) {
    for (kind, set) in Kinds::SINGLE.iter().zip(sets) {
        if kinds.has_any(*kind) {
            set.insert(slot.number());
        } else {
            set.remove(slot.number());
        }
    }
}

/// The sets whose kind is in `mask`, if anybody is in them.
fn hit(sets: &[RoaringBitmap; 4], mask: Kinds) -> impl Iterator<Item = (Kinds, &RoaringBitmap)> {
    Kinds::SINGLE.into_iter().zip(sets).filter(move |(kind, set)| kind.has_any(mask) && !set.is_empty())
}

impl Groups {
    /// The kinds of watches that `slot` has, among `watchers`.
    pub(crate) fn kinds(&self, watchers: Watchers, slot: Slot) -> Kinds {
        match watchers {
            Watchers::Nobody => Kinds::NONE,
            Watchers::One(one) if one.slot() == slot => one.kinds(),
            Watchers::One(_) => Kinds::NONE,
            Watchers::Group(id) => self.groups.get(id.0).kinds(slot),
        }
    }

    /// Makes `kinds` those of `slot`; none removes it.
    pub(crate) fn set(&mut self, watchers: &mut Watchers, slot: Slot, kinds: Kinds) {
        match *watchers {
            Watchers::Nobody if kinds.is_none() => {}
            Watchers::Nobody => *watchers = Watchers::One(Watcher::new(slot, kinds)),
            Watchers::One(one) if one.slot() == slot && kinds.is_none() => *watchers = Watchers::Nobody,
            Watchers::One(one) if one.slot() == slot => *watchers = Watchers::One(Watcher::new(slot, kinds)),
            Watchers::One(_) if kinds.is_none() => {}
            Watchers::One(one) => {
                let mut group = Group::few();
                group.set(one.slot(), one.kinds());
                group.set(slot, kinds);
                *watchers = Watchers::Group(GroupId(self.groups.insert(group)));
            }
            Watchers::Group(id) => {
                self.groups.get_mut(id.0).set(slot, kinds);
                if kinds.is_none() {
                    self.shrink(watchers, id);
                }
            }
        }
    }

    /// Gives memory back that a smaller group does not need. There is a gap between growing and shrinking, so that a
    /// number that goes up and down does not convert each time.
    fn shrink(&mut self, watchers: &mut Watchers, id: GroupId) {
        let group = self.groups.get_mut(id.0);
        match (group.len(), &*group) {
            (0, _) => {
                self.groups.remove(id.0);
                *watchers = Watchers::Nobody;
            }
            (len, Group::Many(_)) if len <= FEW as u64 / 2 => {
                let mut few = Group::few();
                for kind in Kinds::SINGLE {
                    group.for_each(kind, |slot| few.set(slot, few.kinds(slot).and(kind)));
                }
                *group = few;
            }
            _ => {}
        }
    }

    /// At least the number of watchers: one with several kinds may count several times.
    pub(crate) fn len(&self, watchers: Watchers) -> u64 {
        match watchers {
            Watchers::Nobody => 0,
            Watchers::One(_) => 1,
            Watchers::Group(id) => self.groups.get(id.0).len(),
        }
    }

    /// Every watcher with a kind in `mask`, perhaps several times, in no particular order.
    pub(crate) fn for_each(&self, watchers: Watchers, mask: Kinds, mut f: impl FnMut(Slot)) {
        match watchers {
            Watchers::One(one) if one.kinds().has_any(mask) => f(one.slot()),
            Watchers::Nobody | Watchers::One(_) => {}
            Watchers::Group(id) => self.groups.get(id.0).for_each(mask, f),
        }
    }

    /// Whether anybody has a watch with a kind in `mask`.
    pub(crate) fn any(&self, watchers: Watchers, mask: Kinds) -> bool {
        match watchers {
            Watchers::Nobody => false,
            Watchers::One(one) => one.kinds().has_any(mask),
            Watchers::Group(id) => match self.groups.get(id.0) {
                Group::Nobody => false,
                Group::Few(few) => few.iter().any(|w| w.kinds().has_any(mask)),
                Group::Many(sets) => hit(sets, mask).next().is_some(),
            },
        }
    }

    /// Uses up the one-shot watches with a kind in `mask`. Says who had a watch with a kind in `mask`, what they had,
    /// and what is left of it.
    pub(crate) fn fire(
        &mut self,
        watchers: &mut Watchers,
        mask: Kinds,
        mut fired: impl FnMut(Slot, Kinds, Kinds),
    ) {
        match *watchers {
            Watchers::Nobody => {}
            Watchers::One(one) if !one.kinds().has_any(mask) => {}
            Watchers::One(one) => {
                let left = one.kinds().without(mask.both(Kinds::ONE_SHOT));
                *watchers = if left.is_none() {
                    Watchers::Nobody
                } else {
                    Watchers::One(Watcher::new(one.slot(), left))
                };
                fired(one.slot(), one.kinds(), left);
            }
            Watchers::Group(id) => {
                self.groups.get_mut(id.0).fire(mask, fired);
                self.shrink(watchers, id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(groups: &Groups, watchers: Watchers) -> Vec<usize> {
        let mut all = Vec::new();
        groups.for_each(watchers, Kinds::ALL, |slot| all.push(slot.index()));
        all.sort_unstable();
        all.dedup();
        all
    }

    #[test]
    fn every_size_behaves_alike() {
        let both = Kinds::DATA.and(Kinds::PERSISTENT);
        for n in [1, 2, FEW, FEW + 1, 1_000] {
            let slot = |i| Slot::new(i).unwrap();
            let (mut groups, mut watchers) = (Groups::default(), Watchers::default());
            for i in 0..n {
                assert_eq!(groups.kinds(watchers, slot(i)), Kinds::NONE);
                groups.set(&mut watchers, slot(i), if i == n - 1 { both } else { Kinds::DATA });
            }
            assert_eq!(slots(&groups, watchers), (0..n).collect::<Vec<_>>());
            let mut fired = Vec::new();
            groups.fire(&mut watchers, Kinds::CHILD_TABLE, |slot, _, _| fired.push(slot.index()));
            assert_eq!(fired, [n - 1]);
            fired.clear();
            groups.fire(&mut watchers, Kinds::DATA_TABLE, |slot, before, left| {
                let last = slot.index() == n - 1;
                assert_eq!(
                    (before, left),
                    if last { (both, Kinds::PERSISTENT) } else { (Kinds::DATA, Kinds::NONE) }
                );
                fired.push(slot.index());
            });
            fired.sort_unstable();
            assert_eq!(fired, (0..n).collect::<Vec<_>>());
            assert_eq!(slots(&groups, watchers), [n - 1]);
            groups.set(&mut watchers, slot(n - 1), Kinds::NONE);
            assert_eq!(watchers, Watchers::Nobody);
            assert!(groups.groups.is_empty(), "memory is given back");
        }
    }

    #[test]
    fn it_shrinks_without_forgetting() {
        let (mut groups, mut watchers) = (Groups::default(), Watchers::default());
        let slot = |i| Slot::new(i).unwrap();
        (0..100).for_each(|i| groups.set(&mut watchers, slot(i), Kinds::CHILD.and(Kinds::RECURSIVE)));
        (1..100).for_each(|i| groups.set(&mut watchers, slot(i), Kinds::NONE));
        assert!(matches!(groups.groups.get(0), Group::Few(_)));
        assert_eq!(groups.kinds(watchers, slot(0)), Kinds::CHILD.and(Kinds::RECURSIVE));
        assert_eq!(groups.kinds(watchers, slot(1)), Kinds::NONE);
    }

    #[test]
    fn it_is_small() {
        assert_eq!((size_of::<Watchers>(), size_of::<Group>()), (8, 16));
    }
}
