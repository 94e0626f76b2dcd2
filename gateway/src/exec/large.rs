//! Large data that many read at once: it is copied out of the tree once for all of them.
//!
//! After a herd was told of a change, ten thousand clients ask for the same data. A copy for each of those who do not
//! take it at once would be their number times its size.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use palisade_wire::{Stat, Zxid};
use parking_lot::Mutex;

/// Data of at least so many bytes is shared.
pub(super) const LARGE: usize = 16 << 10;
/// Copies that are known at a time. More may exist.
const COPIES: usize = 16;

/// The copies that are on their way to somebody.
#[derive(Debug, Default)]
pub(crate) struct LargeData {
    copies: Mutex<Vec<Copy>>,
}

#[derive(Debug)]
struct Copy {
    path: Box<str>,
    /// The creation and the change that made it what it is.
    version: (Zxid, Zxid),
    data: Weak<[u8]>,
}

/// Data that belongs into a frame, but is not copied there.
#[derive(Debug)]
pub(crate) struct Inset {
    /// Behind how many bytes of the buffer.
    pub(crate) at: usize,
    /// The data.
    pub(crate) data: Bytes,
    /// What of its bytes counts for whoever is sent it, as others are, too.
    pub(crate) share: usize,
}

impl LargeData {
    /// A copy of the data that a znode has, shared with others who are still being sent it, and what of its bytes counts
    /// for each: the more have it already, the less.
    pub(super) fn copy(&self, path: &str, stat: &Stat, data: &[u8]) -> (Bytes, usize) {
        let version = (stat.czxid, stat.mzxid);
        let mut copies = self.copies.lock();
        copies.retain(|copy| copy.data.strong_count() > 0);
        let known = copies.iter().find(|copy| copy.version == version && *copy.path == *path);
        if let Some(data) = known.and_then(|copy| copy.data.upgrade()) {
            let share = data.len() / Arc::strong_count(&data);
            return (Bytes::from_owner(data), share);
        }
        let data: Arc<[u8]> = data.into();
        if copies.len() == COPIES {
            copies.remove(0);
        }
        copies.push(Copy { path: path.into(), version, data: Arc::downgrade(&data) });
        let share = data.len();
        (Bytes::from_owner(data), share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_are_sent_the_same_share_it_and_nothing_is_kept_for_nobody() {
        let large = LargeData::default();
        let stat = |mzxid| Stat { czxid: Zxid(1), mzxid: Zxid(mzxid), ..Stat::default() };
        let (first, whole) = large.copy("/a", &stat(5), b"older");
        let (second, half) = large.copy("/a", &stat(5), b"older");
        assert_eq!((whole, half), (5, 2));
        assert_eq!(first.as_ptr(), second.as_ptr());
        let (new, _) = large.copy("/a", &stat(6), b"new");
        let (other, _) = large.copy("/b", &stat(5), b"other");
        assert_eq!([&*second, &*new, &*other], [&b"older"[..], b"new", b"other"]);
        drop((first, second, new, other));
        for mzxid in 0..3 * COPIES as i64 {
            drop(large.copy("/a", &stat(mzxid), b"x"));
            assert_eq!(large.copies.lock().len(), 1);
        }
        let many: Vec<_> = (0..3 * COPIES as i64).map(|mzxid| large.copy("/a", &stat(mzxid), b"x")).collect();
        assert_eq!((large.copies.lock().len(), many.len()), (COPIES, 3 * COPIES));
    }
}
