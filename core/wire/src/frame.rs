//! Frames: `int length`, then that many bytes. Used by the client port and the election port.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::jute::DecodeError;

/// Room that is made for the rest of a frame without further evidence that it will come, in bytes.
const MIN_RESERVE: usize = 4096;

/// Splits the next whole frame off `buf`.
///
/// Returns `None` while it is incomplete. A length that is negative or above `max` is an error before any of
/// the body is waited for, so `buf` never needs to hold more than `max + 4` bytes. Room is made for at most twice
/// what has arrived, whatever the length claims.
pub fn split(buf: &mut BytesMut, max: usize) -> Result<Option<Bytes>, DecodeError> {
    let Some(len) = peek_len(buf) else { return Ok(None) };
    let body = usize::try_from(len)
        .ok()
        .filter(|n| *n <= max)
        .ok_or(DecodeError::Length { field: "frame", len: len.into() })?;
    if buf.len() < 4 + body {
        buf.reserve((4 + body - buf.len()).min(buf.len().max(MIN_RESERVE)));
        return Ok(None);
    }
    buf.advance(4);
    Ok(Some(buf.split_to(body).freeze()))
}

/// The length field of the frame at the start of `buf`, if its four bytes are there.
pub fn peek_len(buf: &[u8]) -> Option<i32> {
    buf.first_chunk::<4>().map(|b| i32::from_be_bytes(*b))
}

/// Appends a frame whose body is what `write` appends.
pub fn write(buf: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
    let start = buf.len();
    buf.put_i32(0);
    write(buf);
    let len = (buf.len() - start - 4) as i32;
    buf[start..start + 4].copy_from_slice(&len.to_be_bytes());
}

/// Adds to the length of the frame at the start of `buf`: so many more bytes of its body are sent from elsewhere.
pub fn lengthen(buf: &mut [u8], more: usize) {
    if let Some(field) = buf.first_chunk_mut::<4>() {
        *field = i32::from_be_bytes(*field).saturating_add(more as i32).to_be_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_as_they_went_in_at_any_cut() {
        let mut whole = BytesMut::new();
        write(&mut whole, |b| b.put_slice(b"first"));
        write(&mut whole, |_| ());
        write(&mut whole, |b| b.put_slice(b"third"));
        for cut in 0..=whole.len() {
            let mut buf = BytesMut::from(&whole[..cut]);
            let mut got = Vec::new();
            while let Some(frame) = split(&mut buf, 5).unwrap() {
                got.push(frame);
            }
            buf.extend_from_slice(&whole[cut..]);
            while let Some(frame) = split(&mut buf, 5).unwrap() {
                got.push(frame);
            }
            assert_eq!(got, [&b"first"[..], b"", b"third"]);
        }
    }

    #[test]
    fn bad_lengths_are_refused_at_once() {
        for len in [-1, i32::MIN, 6, i32::MAX] {
            let mut buf = BytesMut::new();
            buf.put_i32(len);
            assert_eq!(split(&mut buf, 5), Err(DecodeError::Length { field: "frame", len: len.into() }));
        }
    }
}
