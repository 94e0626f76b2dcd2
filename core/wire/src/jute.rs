//! Jute's binary encoding: big-endian integers, length-prefixed strings and buffers, counted vectors.
//!
//! Length −1 is null, which is distinct from empty (Apache `BinaryInputArchive`).

use std::borrow::Cow;

use bytes::{BufMut, Bytes, BytesMut};
use thiserror::Error;

use crate::OpCode;

/// Why bytes are not the record they should be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The input ended inside a field.
    #[error("{field} needs {needed} more bytes, {left} are left")]
    Truncated {
        /// The field that was being read.
        field: &'static str,
        /// Bytes that the field needs.
        needed: usize,
        /// Bytes that were left.
        left: usize,
    },
    /// A length below −1, or above what is allowed.
    #[error("{field} has the unreasonable length {len}")]
    Length {
        /// The field that was being read.
        field: &'static str,
        /// The length that was claimed.
        len: i64,
    },
    /// A null where the record needs a value.
    #[error("{field} is null")]
    Null {
        /// The field that was being read.
        field: &'static str,
    },
    /// What could be read, but for a path that is null: Java reads it, and fails later, which its answer shows (Apache
    /// `PrepRequestProcessor.getPendingChanges` and `validatePath`, `FinalRequestProcessor`).
    #[error("{op:?} has no path")]
    NoPath {
        /// The type of the request; that of a multi if it is one of its operations that has none.
        op: OpCode,
    },
    /// A number that names nothing we know.
    #[error("{field} has the unknown value {value}")]
    Unknown {
        /// The field that was being read.
        field: &'static str,
        /// The value that was found.
        value: i64,
    },
    /// Text that does not have the form that its field demands.
    #[error("{field}: {reason}")]
    Malformed {
        /// The field that was being read.
        field: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// Result of decoding.
pub type Result<T> = std::result::Result<T, DecodeError>;

/// Elements for which room is made on the word of a count alone.
const MAX_RESERVED_ITEMS: usize = 64;

/// Reads jute primitives from a byte slice without copying.
///
/// Every length is checked against the bytes that are really there, so no allocation can exceed the input.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the start of `input`.
    pub const fn new(input: &'a [u8]) -> Self {
        Self { rest: input }
    }

    /// What has not been read yet.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether everything has been read.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Takes exactly `n` bytes.
    pub fn take(&mut self, n: usize, field: &'static str) -> Result<&'a [u8]> {
        let (head, tail) = self.rest.split_at_checked(n).ok_or(DecodeError::Truncated {
            field,
            needed: n,
            left: self.rest.len(),
        })?;
        self.rest = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N]> {
        let (head, tail) = self.rest.split_first_chunk::<N>().ok_or(DecodeError::Truncated {
            field,
            needed: N,
            left: self.rest.len(),
        })?;
        self.rest = tail;
        Ok(*head)
    }

    /// A boolean; any non-zero byte is true.
    pub fn bool(&mut self, field: &'static str) -> Result<bool> {
        Ok(self.array::<1>(field)?[0] != 0)
    }

    /// A byte.
    pub fn u8(&mut self, field: &'static str) -> Result<u8> {
        Ok(self.array::<1>(field)?[0])
    }

    /// A 32-bit integer.
    pub fn i32(&mut self, field: &'static str) -> Result<i32> {
        Ok(i32::from_be_bytes(self.array(field)?))
    }

    /// A 64-bit integer.
    pub fn i64(&mut self, field: &'static str) -> Result<i64> {
        Ok(i64::from_be_bytes(self.array(field)?))
    }

    /// A buffer, `None` if null.
    pub fn opt_buffer(&mut self, field: &'static str) -> Result<Option<&'a [u8]>> {
        match self.i32(field)? {
            -1 => Ok(None),
            len => {
                let n = usize::try_from(len).map_err(|_| DecodeError::Length { field, len: len.into() })?;
                self.take(n, field).map(Some)
            }
        }
    }

    /// A buffer that must not be null.
    pub fn buffer(&mut self, field: &'static str) -> Result<&'a [u8]> {
        self.opt_buffer(field)?.ok_or(DecodeError::Null { field })
    }

    /// A string, `None` if null. Malformed UTF-8 becomes U+FFFD, exactly as in Java.
    pub fn opt_string(&mut self, field: &'static str) -> Result<Option<Cow<'a, str>>> {
        Ok(self.opt_buffer(field)?.map(decode_utf8))
    }

    /// A string that must not be null.
    pub fn string(&mut self, field: &'static str) -> Result<Cow<'a, str>> {
        self.opt_string(field)?.ok_or(DecodeError::Null { field })
    }

    /// A vector, `None` if null (count −1); any other negative count is empty, as in Java.
    ///
    /// Each element takes at least one byte of input, so a claimed count ends with the input. Room is made as elements
    /// are read.
    pub fn opt_vec<T>(
        &mut self,
        field: &'static str,
        mut element: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Option<Vec<T>>> {
        let count = self.i32(field)?;
        if count == -1 {
            return Ok(None);
        }
        let count = usize::try_from(count).unwrap_or(0);
        let mut items = Vec::with_capacity(count.min(self.rest.len() / 4).min(MAX_RESERVED_ITEMS));
        for _ in 0..count {
            items.push(element(self)?);
        }
        Ok(Some(items))
    }

    /// A vector that must not be null.
    pub fn vec<T>(
        &mut self,
        field: &'static str,
        element: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Vec<T>> {
        self.opt_vec(field, element)?.ok_or(DecodeError::Null { field })
    }
}

/// Writes jute primitives. Implemented for every [`BufMut`].
pub trait Writer: BufMut {
    /// A boolean as one byte.
    fn write_bool(&mut self, value: bool) {
        self.put_u8(value.into());
    }

    /// A buffer, null if `None`.
    fn write_opt_buffer(&mut self, value: Option<&[u8]>) {
        match value {
            None => self.put_i32(-1),
            Some(bytes) => self.write_buffer(bytes),
        }
    }

    /// A buffer. Lengths above `i32::MAX` cannot occur: every input is limited far below.
    fn write_buffer(&mut self, bytes: &[u8]) {
        self.put_i32(bytes.len() as i32);
        self.put_slice(bytes);
    }

    /// A string.
    fn write_string(&mut self, value: &str) {
        self.write_buffer(value.as_bytes());
    }

    /// A string, null if `None`.
    fn write_opt_string(&mut self, value: Option<&str>) {
        self.write_opt_buffer(value.map(str::as_bytes));
    }

    /// A vector of known length, element by element.
    fn write_vec<T>(&mut self, items: impl ExactSizeIterator<Item = T>, mut element: impl FnMut(&mut Self, T))
    where
        Self: Sized,
    {
        self.put_i32(items.len() as i32);
        for item in items {
            element(self, item);
        }
    }
}

impl<B: BufMut + ?Sized> Writer for B {}

/// Decodes UTF-8 as Java does, so that replicas agree: as Rust, except that a surrogate in three bytes is one
/// U+FFFD and not three. Java's own encoder writes such pairs for what is outside the basic plane.
fn decode_utf8(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(valid) => Cow::Borrowed(valid),
        Err(_) => Cow::Owned(decode_malformed_utf8(bytes)),
    }
}

fn decode_malformed_utf8(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    let mut rest = bytes;
    while !rest.is_empty() {
        let Some(chunk) = rest.utf8_chunks().next() else { break };
        text.push_str(chunk.valid());
        rest = &rest[chunk.valid().len()..];
        if !chunk.invalid().is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
            let surrogate = matches!(rest, [0xed, 0xa0..=0xbf, 0x80..=0xbf, ..]);
            rest = &rest[if surrogate { 3 } else { chunk.invalid().len() }..];
        }
    }
    text
}

/// The part of `whole` that `part` (a slice of it) covers, shared by reference.
pub(crate) fn share(whole: &Bytes, part: &[u8]) -> Bytes {
    whole.slice_ref(part)
}

/// Encodes into a fresh buffer.
pub fn encode(write: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut buf = BytesMut::with_capacity(128);
    write(&mut buf);
    buf.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(bytes: &[u8]) -> String {
        let mut buf = Vec::new();
        buf.write_buffer(bytes);
        Reader::new(&buf).string("s").unwrap().into_owned()
    }

    #[test]
    fn malformed_text_is_replaced_as_java_does() {
        assert_eq!(string("aé日😀".as_bytes()), "aé日😀");
        // U+1F600 as Java writes it: two surrogates of three bytes each.
        assert_eq!(string(b"a\xed\xa0\xbd\xed\xb8\x80b"), "a\u{fffd}\u{fffd}b");
        assert_eq!(string(b"\xed\xa0"), "\u{fffd}\u{fffd}");
        assert_eq!(string(b"\xe2\x82A\xff\xc0\x80"), "\u{fffd}A\u{fffd}\u{fffd}\u{fffd}");
        assert_eq!(string(b"\xf0\x9f\x98"), "\u{fffd}");
    }

    #[test]
    fn null_and_empty_are_distinct() {
        let mut buf = Vec::new();
        buf.write_opt_string(None);
        buf.write_opt_string(Some(""));
        buf.put_i32(-1);
        buf.put_i32(-2);
        buf.put_i32(0);
        let mut r = Reader::new(&buf);
        assert_eq!(r.opt_string("s"), Ok(None));
        assert_eq!(r.opt_string("s"), Ok(Some("".into())));
        assert_eq!(r.opt_vec("v", |r| r.u8("e")), Ok(None));
        assert_eq!(r.opt_vec("v", |r| r.u8("e")), Ok(Some(vec![])), "a negative count is empty");
        assert_eq!(r.opt_vec("v", |r| r.u8("e")), Ok(Some(vec![])));
        assert!(r.is_empty());
    }

    #[test]
    fn bad_lengths_are_named() {
        let length = |len: i32| Reader::new(&len.to_be_bytes()).buffer("b").unwrap_err();
        assert_eq!(length(-1), DecodeError::Null { field: "b" });
        assert_eq!(length(-2), DecodeError::Length { field: "b", len: -2 });
        assert_eq!(length(5), DecodeError::Truncated { field: "b", needed: 5, left: 0 });
    }
}
