//! What requests do here: reads, watches and identities are answered from the replica, writes from their
//! transaction's outcome (Apache `FinalRequestProcessor`).
//!
//! Nothing here waits, and nothing here knows of sockets or of order: the caller brings the tree, under whatever
//! lock, and a buffer for the frames.

mod auth;
mod large;
mod local;
mod outcome;
mod reads;
mod set_watches;
pub(crate) mod status;

pub(crate) use auth::{Authenticator, remote_id};
pub(crate) use large::{Inset, LargeData};
pub(crate) use local::{Local, watched};
pub(crate) use outcome::write_outcome;
pub(crate) use set_watches::{CatchUp, Past, count as count_watches, reply_zxid};

use bytes::BytesMut;
use palisade_wire::reply::ReplyHeader;
use palisade_wire::{ErrorCode, Zxid, frame};

/// Appends a reply that has no body.
pub(crate) fn write_header(out: &mut BytesMut, xid: i32, zxid: Zxid, err: ErrorCode) {
    frame::write(out, |b| ReplyHeader { xid, zxid, err }.encode(b));
}

/// Appends a reply with the body that `body` writes; if it fails, a reply without a body.
pub(crate) fn write_reply(
    out: &mut BytesMut,
    xid: i32,
    zxid: Zxid,
    body: impl FnOnce(&mut BytesMut) -> Result<(), ErrorCode>,
) {
    let start = out.len();
    let mut result = Ok(());
    frame::write(out, |b| {
        ReplyHeader { xid, zxid, err: ErrorCode::OK }.encode(b);
        result = body(b);
    });
    if let Err(err) = result {
        out.truncate(start);
        write_header(out, xid, zxid, err);
    }
}
