//! Requests that the replica answers.

use std::cell::Cell;

use bytes::{BufMut, BytesMut};
use palisade_store::DataTree;
use palisade_watch::{Slot, WatchIndex, WatchKind, WatchLimits};
use palisade_wire::multi::MultiHeader;
use palisade_wire::reply::ReplyHeader;
use palisade_wire::request::Request;
use palisade_wire::{DecodeError, ErrorCode, Id, OpCode, SessionId, frame};
use parking_lot::Mutex;

use super::large::{Inset, LargeData};
use super::status::{self, Status};
use super::{reads, write_header, write_reply};
use crate::tenancy::Root;

/// What a request sees: the replica at one moment, and who asks.
///
/// The tree must stay locked until the frames written here are in the connection's outbox: only then does every
/// event with a zxid up to theirs stand before them, and no change slips between a read and its watch.
#[derive(Clone, Copy)]
pub(crate) struct Local<'a> {
    /// The replica.
    pub tree: &'a DataTree,
    /// What of it the client sees; the paths of watches are the client's.
    pub root: &'a Root,
    /// What the gateway tells of itself.
    pub status: &'a Status,
    /// Where watches are left.
    pub watches: &'a Mutex<WatchIndex>,
    /// How many may be left there.
    pub limits: &'a WatchLimits,
    /// Copies of large data that are shared.
    pub large: &'a LargeData,
    /// Where large data is left that belongs into the frame.
    pub inset: &'a Cell<Option<Inset>>,
    /// Whether a watch was refused, as there is no room for it.
    pub refused: &'a Cell<bool>,
    /// The connection.
    pub slot: Slot,
    /// Its session.
    pub session: SessionId,
    /// Its identities when the request came.
    pub ids: &'a [Id],
}

impl Local<'_> {
    /// Executes a request and appends its reply. SetWatches is not for here: it is [`CatchUp`](super::CatchUp).
    ///
    /// Large data is left in [`Self::inset`]: the frame's length does not count it, and the caller puts it where it
    /// belongs.
    ///
    /// A body that does not decode is answered with [`ErrorCode::MARSHALLING_ERROR`], that of a write included. What only
    /// has no path is answered as by Apache: a multi with an empty list of results besides, others as they treat such a path.
    pub(crate) fn answer(&self, xid: i32, request: Result<Request<'_>, DecodeError>, out: &mut BytesMut) {
        let zxid = self.tree.last_zxid();
        match request {
            Ok(request) if !self.has_room(&request) => {
                self.refused.set(true);
                write_header(out, xid, zxid, ErrorCode::BAD_ARGUMENTS);
            }
            Ok(request) => write_reply(out, xid, zxid, |b| self.execute(&request, b)),
            Err(DecodeError::NoPath { op: OpCode::Multi }) => frame::write(out, |b| {
                ReplyHeader { xid, zxid, err: ErrorCode::MARSHALLING_ERROR }.encode(b);
                MultiHeader::END.encode(b);
            }),
            Err(DecodeError::NoPath { .. }) => write_header(out, xid, zxid, ErrorCode::BAD_ARGUMENTS),
            Err(_) => write_header(out, xid, zxid, ErrorCode::MARSHALLING_ERROR),
        }
    }

    /// Whether there is room for what the request watches, if anything.
    fn has_room(&self, request: &Request<'_>) -> bool {
        watched(request).is_none_or(|(path, kind)| {
            self.watches.lock().has_room(self.slot, path, kind, self.limits).is_ok()
        })
    }

    fn execute(&self, request: &Request<'_>, out: &mut BytesMut) -> Result<(), ErrorCode> {
        if let Some(done) = status::answer(self, request, out) {
            return done;
        }
        match request {
            Request::Exists(p) => reads::exists(self, &p.path, p.watch, out),
            Request::GetData(p) => reads::get_data(self, &p.path, p.watch, out),
            Request::GetChildren(p) => reads::get_children(self, &p.path, p.watch, false, out),
            Request::GetChildren2(p) => reads::get_children(self, &p.path, p.watch, true, out),
            Request::GetAcl(path) => reads::get_acl(self, path, out),
            Request::GetAllChildrenNumber(path) => reads::get_all_children_number(self, path, out),
            Request::GetEphemerals(prefix) => {
                reads::get_ephemerals(self, prefix.as_deref(), out);
                Ok(())
            }
            Request::MultiRead(ops) => reads::multi_read(self, ops, out),
            Request::WhoAmI => {
                reads::who_am_i(self.ids, out);
                Ok(())
            }
            Request::CheckWatches { path, kind } => {
                self.watches.lock().check(self.slot, path, watch_kind(*kind)?)
            }
            Request::RemoveWatches { path, kind } => {
                let kind = watch_kind(*kind)?;
                let path = path.as_deref().ok_or(ErrorCode::NO_WATCHER)?;
                self.watches.lock().remove(self.slot, path, kind)
            }
            Request::AddWatch { path, mode } => self.add_watch(path, *mode, out),
            // The voters are not the client's: as where it is switched off.
            Request::Reconfig { .. } => Err(ErrorCode::RECONFIG_DISABLED),
            _ => Err(ErrorCode::MARSHALLING_ERROR),
        }
    }

    fn add_watch(&self, path: &str, mode: i32, out: &mut BytesMut) -> Result<(), ErrorCode> {
        match mode {
            0 => self.watches.lock().add_persistent(self.slot, path),
            1 => self.watches.lock().add_recursive(self.slot, path),
            _ => return Err(ErrorCode::MARSHALLING_ERROR),
        }
        // Java drops the connection without this ErrorResponse.
        out.put_i32(ErrorCode::OK.0);
        Ok(())
    }
}

/// What the request asks to watch, if anything, and how.
pub(crate) fn watched<'a>(request: &'a Request<'_>) -> Option<(&'a str, WatchKind)> {
    match request {
        Request::Exists(p) | Request::GetData(p) => p.watch.then_some((&p.path, WatchKind::Data)),
        Request::GetChildren(p) | Request::GetChildren2(p) => {
            p.watch.then_some((&p.path, WatchKind::Children))
        }
        Request::AddWatch { path, mode: 0 } => Some((path, WatchKind::Persistent)),
        Request::AddWatch { path, mode: 1 } => Some((path, WatchKind::Recursive)),
        _ => None,
    }
}

fn watch_kind(kind: i32) -> Result<WatchKind, ErrorCode> {
    WatchKind::from_i32(kind).map_err(|_| ErrorCode::MARSHALLING_ERROR)
}

#[cfg(test)]
#[path = "local_tests.rs"]
mod tests;
