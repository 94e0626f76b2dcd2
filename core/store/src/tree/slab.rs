use super::node::NodeId;
use super::packed::Node;

/// Nodes per chunk. Chunks are never moved, so growth neither copies nor doubles.
const CHUNK: usize = 1 << 10;

#[derive(Clone, Debug)]
enum Slot {
    Used(Node),
    /// The next free slot, or this slot's own index at the end of the list.
    Free(u32),
}

/// Znodes by id. Freed ids are used again.
#[derive(Clone, Debug, Default)]
pub(super) struct Slab {
    chunks: Vec<Vec<Slot>>,
    /// Slots ever used.
    slots: u32,
    free: Option<u32>,
    len: usize,
    /// The last node's `born`.
    born: u32,
}

impl Slab {
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, id: NodeId) -> Option<&Node> {
        match self.slot(id.0)? {
            Slot::Used(node) => Some(node),
            Slot::Free(_) => None,
        }
    }

    pub(super) fn get_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        match self.slot_mut(id.0)? {
            Slot::Used(node) => Some(node),
            Slot::Free(_) => None,
        }
    }

    /// Stores `node` and gives it an id and a `born`.
    pub(super) fn insert(&mut self, mut node: Node) -> NodeId {
        self.born = self.born.wrapping_add(1);
        node.born = self.born;
        self.len += 1;
        if let Some(index) = self.free {
            if let Some(slot) = self.slot_mut(index) {
                let next = match std::mem::replace(slot, Slot::Used(node)) {
                    Slot::Free(next) if next != index => Some(next),
                    _ => None,
                };
                self.free = next;
            }
            return NodeId(index);
        }
        let index = self.slots;
        self.slots += 1;
        if (index as usize).is_multiple_of(CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.push(Slot::Used(node));
        }
        NodeId(index)
    }

    pub(super) fn remove(&mut self, id: NodeId) -> Option<Node> {
        let next = self.free.unwrap_or(id.0);
        let slot = self.slot_mut(id.0)?;
        if matches!(slot, Slot::Free(_)) {
            return None;
        }
        let Slot::Used(node) = std::mem::replace(slot, Slot::Free(next)) else {
            return None;
        };
        self.free = Some(id.0);
        self.len -= 1;
        Some(node)
    }

    /// All znodes, by id.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Node> {
        self.chunks.iter().flatten().filter_map(|slot| match slot {
            Slot::Used(node) => Some(node),
            Slot::Free(_) => None,
        })
    }

    fn slot(&self, index: u32) -> Option<&Slot> {
        self.chunks.get(index as usize / CHUNK)?.get(index as usize % CHUNK)
    }

    fn slot_mut(&mut self, index: u32) -> Option<&mut Slot> {
        self.chunks.get_mut(index as usize / CHUNK)?.get_mut(index as usize % CHUNK)
    }
}

#[cfg(test)]
mod tests {
    use super::super::node::Meta;
    use super::*;

    fn node(path: &str) -> Node {
        Node::new(path, None, Meta::default())
    }

    #[test]
    fn a_free_slot_costs_nothing_extra() {
        assert_eq!(size_of::<Slot>(), size_of::<Node>());
    }

    #[test]
    fn ids_are_used_again_but_not_births() {
        let mut slab = Slab::default();
        let ids: Vec<_> = (0..2500).map(|i| slab.insert(node(&format!("/{i}")))).collect();
        let born = slab.get(ids[1500]).unwrap().born;
        assert_eq!(slab.remove(ids[1500]).unwrap().path(), "/1500");
        assert_eq!(slab.remove(ids[7]).unwrap().path(), "/7");
        assert!(slab.remove(ids[7]).is_none() && slab.get(ids[7]).is_none());
        assert_eq!((slab.len(), slab.iter().count()), (2498, 2498));
        assert_eq!(slab.insert(node("/x")), ids[7]);
        assert_eq!(slab.insert(node("/y")), ids[1500]);
        assert_ne!(slab.get(ids[1500]).unwrap().born, born);
        assert_eq!(slab.insert(node("/z")), NodeId(2500));
    }
}
