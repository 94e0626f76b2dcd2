//! Connections that hear of more than they asked for, as all that they asked for is too much to remember.

use std::collections::BTreeMap;

use palisade_wire::reply::EventType;

use crate::kinds::Slot;

/// What stands for lasting watches that are too many to be kept: one path for each connection, above all of them.
///
/// Telling which event such a connection hears takes time in proportion to the number of such connections, of which there
/// are none in normal operation.
#[derive(Debug, Default)]
pub(crate) struct Covers(BTreeMap<Slot, Cover>);

#[derive(Debug)]
struct Cover {
    /// At and below it, creations, deletions and changes of data are heard.
    nodes: Box<str>,
    /// The same for changes of lists of children, if any.
    lists: Option<Box<str>>,
}

impl Covers {
    /// From now on `slot` hears of what happens at `path`, and at and below what all such paths of it have in common; of
    /// changes of lists of children, too, if `with_lists`.
    pub(crate) fn add(&mut self, slot: Slot, path: &str, with_lists: bool) {
        let cover = self.0.entry(slot).or_insert_with(|| Cover { nodes: path.into(), lists: None });
        widen(&mut cover.nodes, path);
        if with_lists {
            widen(cover.lists.get_or_insert_with(|| path.into()), path);
        }
    }

    pub(crate) fn remove(&mut self, slot: Slot) -> bool {
        self.0.remove(&slot).is_some()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn contains(&self, slot: Slot) -> bool {
        self.0.contains_key(&slot)
    }

    /// Whether `slot` hears of this.
    pub(crate) fn hears(&self, slot: Slot, event: EventType, path: &str) -> bool {
        self.0.get(&slot).is_some_and(|cover| cover.hears(event, path))
    }

    /// Tells of each connection that hears of this.
    pub(crate) fn hear(&self, event: EventType, path: &str, mut heard: impl FnMut(Slot)) {
        self.0.iter().filter(|(_, cover)| cover.hears(event, path)).for_each(|(slot, _)| heard(*slot));
    }

    /// The paths at and below which something is heard.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.values().map(|cover| &*cover.nodes)
    }
}

impl Cover {
    fn hears(&self, event: EventType, path: &str) -> bool {
        match event {
            EventType::NodeChildrenChanged => self.lists.as_deref().is_some_and(|top| is_within(top, path)),
            EventType::NodeCreated | EventType::NodeDeleted | EventType::NodeDataChanged => {
                is_within(&self.nodes, path)
            }
        }
    }
}

fn is_within(top: &str, path: &str) -> bool {
    let below = path.strip_prefix(top);
    top == "/" || below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
}

/// Puts what `top` and `path` have in common into the place of `top`.
fn widen(top: &mut Box<str>, path: &str) {
    if is_within(top, path) {
        return;
    }
    let same = top.bytes().zip(path.bytes()).take_while(|(one, other)| one == other).count();
    // Only whole names count.
    let ends = |path: &str| path.as_bytes().get(same).is_none_or(|next| *next == b'/');
    let end = match top.as_bytes()[..same].iter().rposition(|byte| *byte == b'/') {
        _ if ends(top) && ends(path) => same,
        Some(end) => end.max(1),
        None => 0,
    };
    *top = if end == 0 { "/".into() } else { top[..end].into() };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cover_is_as_narrow_as_what_it_stands_for_allows() {
        let common = |paths: &[&str]| {
            let mut covers = Covers::default();
            paths.iter().for_each(|path| covers.add(Slot::default(), path, true));
            let cover = &covers.0[&Slot::default()];
            assert_eq!(cover.lists.as_deref(), Some(&*cover.nodes));
            assert!(paths.iter().all(|path| cover.hears(EventType::NodeCreated, path)));
            cover.nodes.to_string()
        };
        for (paths, top) in [
            (&["/a/b/c"][..], "/a/b/c"),
            (&["/a/b", "/a/c"], "/a"),
            (&["/a/b", "/a/bc"], "/a"),
            (&["/a/bc", "/a/b"], "/a"),
            (&["/a/b/c", "/a/b"], "/a/b"),
            (&["/a/b", "/a/b/c"], "/a/b"),
            (&["/a", "/b"], "/"),
            (&["/", "/b"], "/"),
            (&["/a/ä", "/a/ö"], "/a"),
            (&["/a/b/c", "/a/d", "/e"], "/"),
        ] {
            assert_eq!(common(paths), top, "{paths:?}");
        }
    }

    #[test]
    fn whoever_is_covered_hears_of_what_is_below_and_of_lists_only_if_asked_for() {
        let slots = [0, 1].map(|i| Slot::new(i).unwrap());
        let mut covers = Covers::default();
        covers.add(slots[0], "/a/b", true);
        covers.add(slots[0], "/a/c/d", false);
        covers.add(slots[1], "/a/b", false);
        let heard = |event, path: &str| {
            let mut heard = Vec::new();
            covers.hear(event, path, |slot| heard.push(slot.index()));
            for slot in slots {
                assert_eq!(covers.hears(slot, event, path), heard.contains(&slot.index()));
            }
            heard
        };
        assert_eq!(heard(EventType::NodeDataChanged, "/a/b"), [0, 1]);
        assert_eq!(heard(EventType::NodeDeleted, "/a/b/x"), [0, 1]);
        assert_eq!(heard(EventType::NodeCreated, "/a/bc"), [0]);
        assert_eq!(heard(EventType::NodeCreated, "/b"), []);
        assert_eq!(heard(EventType::NodeChildrenChanged, "/a/b/x"), [0]);
        assert_eq!(heard(EventType::NodeChildrenChanged, "/a/c/d"), []);
        assert!(covers.remove(slots[0]) && !covers.remove(slots[0]) && !covers.is_empty());
        assert!(covers.contains(slots[1]) && !covers.contains(slots[0]));
    }
}
