//! Buffers between their uses. A connection has some only while it is served: one that waits holds none, and those that
//! are served in turn by a thread share what is warm in its cache.

use std::cell::RefCell;

use bytes::BytesMut;

/// Buffers that a thread keeps.
const SPARES: usize = 8;
/// What they may hold, bytes. Smaller ones are not worth it, larger ones not worth keeping.
const SIZES: std::ops::RangeInclusive<usize> = (1 << 10)..=(32 << 10);

thread_local! {
    static SPARE: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// Gives `buffer` room for `len` more bytes; if it has no memory of its own, that of a spare one.
pub(super) fn reserve(buffer: &mut BytesMut, len: usize) {
    if buffer.capacity() == 0 {
        *buffer = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
    }
    buffer.reserve(len);
}

/// Takes the memory of a buffer that holds nothing.
pub(super) fn give_back(buffer: &mut BytesMut) {
    if !buffer.is_empty() {
        return;
    }
    let buffer = std::mem::take(buffer);
    if SIZES.contains(&buffer.capacity()) {
        SPARE.with_borrow_mut(|spares| {
            if spares.len() < SPARES {
                spares.push(buffer);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_is_used_again_unless_it_holds_something() {
        let mut first = BytesMut::new();
        reserve(&mut first, 4096);
        let place = first.as_ptr();
        first.extend_from_slice(b"busy");
        give_back(&mut first);
        assert_eq!(first, "busy");
        first.clear();
        give_back(&mut first);
        assert_eq!(first.capacity(), 0);
        let mut second = BytesMut::new();
        reserve(&mut second, 100);
        assert_eq!((second.as_ptr(), second.len()), (place, 0));
    }

    #[test]
    fn no_more_is_kept_than_is_worth_it() {
        for size in [100, 1 << 20] {
            let mut buffer = BytesMut::with_capacity(size);
            give_back(&mut buffer);
            assert_eq!((buffer.capacity(), SPARE.with_borrow(Vec::len)), (0, 0));
        }
        for _ in 0..2 * SPARES {
            give_back(&mut BytesMut::with_capacity(2048));
        }
        assert_eq!(SPARE.with_borrow(Vec::len), SPARES);
    }
}
