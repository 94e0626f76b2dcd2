//! Frames in the bytes that a client has sent.

use bytes::{Buf, Bytes, BytesMut};
use palisade_wire::{OpCode, frame};

use crate::config::Limits;
use crate::edge::outbox::CloseReason;
use crate::edge::room::{LARGE, Purpose};

/// Xid and type.
const HEADER: usize = 8;
/// Larger bodies are not copied out of the read buffer: they keep it alive instead.
const COPY_UP_TO: usize = 16 << 10;
/// As many times its own length a request takes that sets watches again: as a list of paths, and as events if all of them
/// changed.
const REGISTERING: usize = 4;

/// Takes the frame off the inbox and keeps the body behind its header.
pub(super) fn split_body(inbox: &mut BytesMut, len: usize) -> Bytes {
    let start = 4 + HEADER;
    if len <= COPY_UP_TO {
        let body = Bytes::copy_from_slice(&inbox[start..4 + len]);
        inbox.advance(4 + len);
        return body;
    }
    let mut frame = inbox.split_to(4 + len).freeze();
    leave_behind(inbox, len);
    frame.split_off(start)
}

/// A frame of `len` bytes was taken off. If it was large, nothing that comes behind it keeps its memory alive.
pub(super) fn leave_behind(inbox: &mut BytesMut, len: usize) {
    if len > LARGE {
        *inbox = BytesMut::from(&inbox[..]);
    }
}

/// The length of the body of the frame at the head of the inbox, if all of it is there.
pub(super) fn next_frame(inbox: &BytesMut, limits: &Limits) -> Result<Option<usize>, CloseReason> {
    let Some(len) = frame::peek_len(inbox) else { return Ok(None) };
    let max = limits.max_frame.max(limits.max_set_watches);
    let len =
        usize::try_from(len).ok().filter(|len| (HEADER..=max).contains(len)).ok_or(CloseReason::Malformed)?;
    if len > limits.max_frame {
        let Some(op) = peek_op(inbox) else { return Ok(None) };
        if !registers_watches(op) || len > limits.max_set_watches {
            return Err(CloseReason::Malformed);
        }
    }
    Ok((inbox.len() >= 4 + len).then_some(len))
}

/// How much of the frame at the head of the inbox is missing, if anything, and the bytes that it will take with all that is
/// made of it, as far as that is known.
pub(in crate::edge) fn incomplete(inbox: &[u8]) -> Option<(usize, (usize, Purpose))> {
    let len = usize::try_from(i32::from_be_bytes(*inbox.first_chunk()?)).ok()?;
    let missing = (4 + len).saturating_sub(inbox.len());
    let takes = match peek_op(inbox) {
        None => (0, Purpose::Other),
        Some(op) if registers_watches(op) => (len * REGISTERING, Purpose::Watches),
        Some(_) => (len, Purpose::Other),
    };
    (missing > 0).then_some((missing, takes))
}

fn registers_watches(op: i32) -> bool {
    matches!(OpCode::from_i32(op), Some(OpCode::SetWatches | OpCode::SetWatches2))
}

/// The type of the request at the head of the inbox.
fn peek_op(inbox: &[u8]) -> Option<i32> {
    inbox.get(8..)?.first_chunk().map(|op| i32::from_be_bytes(*op))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_cut_exactly() {
        for len in [HEADER, HEADER + 1, COPY_UP_TO, COPY_UP_TO + 1, LARGE, LARGE + 1] {
            let mut inbox = BytesMut::new();
            frame::write(&mut inbox, |b| b.extend((0..len).map(|i| i as u8)));
            let expected = inbox[4 + HEADER..].to_vec();
            inbox.extend_from_slice(b"rest");
            let limits = Limits { max_frame: len, ..Limits::default() };
            assert_eq!(next_frame(&inbox, &limits), Ok(Some(len)));
            assert_eq!(split_body(&mut inbox, len), expected);
            assert_eq!(inbox, "rest");
            assert!(len <= LARGE || inbox.capacity() < LARGE, "{len} bytes are kept for what follows");
        }
    }

    #[test]
    fn what_registers_watches_takes_more_than_its_length() {
        let frame = |op: i32| [300, 1, op].map(i32::to_be_bytes).concat();
        assert_eq!(incomplete(&frame(OpCode::Create.as_i32())), Some((292, (300, Purpose::Other))));
        for op in [OpCode::SetWatches, OpCode::SetWatches2] {
            assert_eq!(incomplete(&frame(op.as_i32())), Some((292, (1_200, Purpose::Watches))));
        }
        assert_eq!(incomplete(&frame(1)[..11]), Some((293, (0, Purpose::Other))), "nobody knows yet");
        assert_eq!(incomplete(&[0, 0]), None);
        assert_eq!(incomplete(&[frame(1), vec![0; 292]].concat()), None);
    }

    #[test]
    fn frames_without_a_header_and_too_long_ones_are_malformed() {
        let limits = Limits { max_frame: 100, max_set_watches: 200, ..Limits::default() };
        for len in [-1, 0, 7, 201, i32::MAX] {
            let inbox = BytesMut::from(&i32::to_be_bytes(len)[..]);
            assert_eq!(next_frame(&inbox, &limits), Err(CloseReason::Malformed), "{len}");
        }
        let other = BytesMut::from(&[101, 1, 5].map(i32::to_be_bytes).concat()[..]);
        assert_eq!(next_frame(&other, &limits), Err(CloseReason::Malformed));
        let set_watches = BytesMut::from(&[200, 1, 101].map(i32::to_be_bytes).concat()[..]);
        assert_eq!(next_frame(&set_watches, &limits), Ok(None));
    }
}
