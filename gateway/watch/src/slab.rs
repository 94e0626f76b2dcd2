//! Values by small numbers.

use roaring::RoaringBitmap;

/// Values that are allocated together.
const CHUNK: usize = 256;

/// Values by numbers, which they keep. A number is given again when its value is gone, the smallest first, so that what is
/// left after very many values gathers in few chunks; the others give their memory back.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    chunks: Vec<Chunk<T>>,
    /// The numbers below `end` that no value has.
    free: RoaringBitmap,
    /// No value has had a number from here on.
    end: u32,
    /// The chunk without values whose memory is kept, for the next one.
    spare: Option<usize>,
}

#[derive(Debug)]
struct Chunk<T> {
    /// All there, or none.
    values: Box<[T]>,
    used: usize,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), free: RoaringBitmap::new(), end: 0, spare: None }
    }
}

impl<T> Default for Chunk<T> {
    fn default() -> Self {
        Self { values: Box::default(), used: 0 }
    }
}

const fn place(number: u32) -> (usize, usize) {
    (number as usize / CHUNK, number as usize % CHUNK)
}

impl<T: Default> Slab<T> {
    /// Whether no number has a value.
    pub(crate) fn is_empty(&self) -> bool {
        self.free.len() == u64::from(self.end)
    }

    /// Keeps a value. Its number is below 2³², as there are never so many.
    pub(crate) fn insert(&mut self, value: T) -> u32 {
        let number = match self.free.min() {
            Some(number) => {
                self.free.remove(number);
                number
            }
            None => {
                self.end += 1;
                self.end - 1
            }
        };
        let (at, within) = place(number);
        if at == self.chunks.len() {
            self.chunks.push(Chunk::default());
        }
        if self.chunks[at].values.is_empty() {
            self.chunks[at].values = match self.spare.take() {
                Some(spare) => std::mem::take(&mut self.chunks[spare].values),
                None => (0..CHUNK).map(|_| T::default()).collect(),
            };
        }
        let chunk = &mut self.chunks[at];
        chunk.values[within] = value;
        chunk.used += 1;
        self.spare = self.spare.filter(|spare| *spare != at);
        number
    }

    /// Forgets the value of a number that has one.
    pub(crate) fn remove(&mut self, number: u32) -> T {
        let (at, within) = place(number);
        let chunk = &mut self.chunks[at];
        let value = std::mem::take(&mut chunk.values[within]);
        chunk.used -= 1;
        self.free.insert(number);
        if self.chunks[at].used == 0 {
            if let Some(before) = self.spare.replace(at) {
                self.chunks[before] = Chunk::default();
            }
            if self.is_empty() {
                let spare = std::mem::take(&mut self.chunks[at]);
                *self = Self { chunks: vec![spare], spare: Some(0), ..Self::default() };
            }
        }
        value
    }

    /// The value of a number that has one.
    pub(crate) fn get(&self, number: u32) -> &T {
        let (at, within) = place(number);
        &self.chunks[at].values[within]
    }

    /// The same, to be changed.
    pub(crate) fn get_mut(&mut self, number: u32) -> &mut T {
        let (at, within) = place(number);
        &mut self.chunks[at].values[within]
    }

    /// The values from this number on, in the order of their numbers, and default ones between them.
    pub(crate) fn from(&self, number: u32) -> impl Iterator<Item = (u32, &T)> {
        let (first, within) = place(number);
        let chunks = self.chunks.iter().enumerate().skip(first);
        let values = chunks.flat_map(|(at, chunk)| {
            let numbers = (at * CHUNK) as u32..;
            numbers.zip(&*chunk.values)
        });
        values.skip_while(move |(at, _)| *at < (first * CHUNK + within) as u32)
    }

    /// How many values there is memory for.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.values.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_numbers_are_given_again() {
        let mut slab = Slab::default();
        let numbers: Vec<u32> = (0..1_000).map(|i| slab.insert(i + 1)).collect();
        assert!(numbers.iter().copied().eq(0..1_000));
        for number in [700, 20, 300] {
            assert_eq!(slab.remove(number), number + 1);
        }
        assert_eq!([0; 4].map(|_| slab.insert(7)), [20, 300, 700, 1_000]);
        *slab.get_mut(300) = 8;
        assert_eq!((*slab.get(300), *slab.get(299)), (8, 300));
        let from: Vec<_> = slab.from(998).filter(|(_, value)| **value != 0).collect();
        assert_eq!(from, [(998, &999), (999, &1_000), (1_000, &7)]);
        assert!(slab.from(1_000_000).next().is_none());
    }

    #[test]
    fn memory_is_given_back_although_something_stays() {
        let mut slab = Slab::default();
        for _ in 0..2 {
            let numbers: Vec<u32> = (0..100_000).map(|_| slab.insert(1)).collect();
            let stays = [slab.insert(2), slab.insert(3)];
            assert_eq!(slab.capacity(), 100_002_usize.next_multiple_of(CHUNK));
            assert!(numbers.iter().all(|number| slab.remove(*number) == 1));
            assert_eq!(slab.capacity(), 2 * CHUNK, "theirs, and one for the next");
            assert!(!slab.is_empty());
            let left = slab.from(0).filter(|(_, value)| **value != 0).map(|(number, _)| number);
            assert!(left.eq(stays));
            // Who comes and goes takes no other memory.
            for _ in 0..3 {
                let number = slab.insert(4);
                assert_eq!(slab.capacity(), 2 * CHUNK);
                slab.remove(number);
                assert_eq!(slab.capacity(), 2 * CHUNK);
            }
            assert_eq!(stays.map(|number| slab.remove(number)), [2, 3]);
            assert_eq!((slab.capacity(), slab.is_empty(), slab.end), (CHUNK, true, 0));
        }
    }
}
