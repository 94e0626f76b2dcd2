//! Writes on their way to the core.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use palisade_wire::request::{Create, Request};
use palisade_wire::{CreateMode, DecodeError, OpCode};

use super::Root;
use super::root::QUOTA;

/// Znodes that every tree keeps (Apache `ZKDatabase.isSpecialPath`).
const UNDELETABLE: [&str; 4] = ["/", "/zookeeper", "/zookeeper/config", "/zookeeper/quota"];

/// No znode's name, with or without a number behind it.
const NO_NAME: char = '\0';

/// Why a write cannot be named as the core wants it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unnamable {
    /// The body is not that of a request of this type.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
    /// It names very many znodes: with the core's names, the request is larger than voters take.
    #[error("with the root before its paths, the request has {0} bytes, more than voters take")]
    TooLarge(usize),
}

/// The body of a write with the core's names in it. Clients may send `max_frame` bytes; voters take twice that of a
/// learner, and close the connection of one that sends more.
///
/// # Errors
/// See [`Unnamable`].
pub(crate) fn confine(root: &Root, op: OpCode, body: Bytes, max_frame: usize) -> Result<Bytes, Unnamable> {
    if !root.is_confined() {
        return Ok(body);
    }
    let mut request = Request::decode(op, &body)?;
    rename(root, &mut request);
    let mut renamed = BytesMut::with_capacity(body.len() + root.quota_path().len());
    request.encode(&mut renamed);
    // What a learner wraps it in is small.
    if renamed.len() > max_frame.saturating_mul(3) / 2 {
        return Err(Unnamable::TooLarge(renamed.len()));
    }
    Ok(renamed.freeze())
}

fn rename(root: &Root, request: &mut Request<'_>) {
    match request {
        Request::Create(create) => rename_create(root, create),
        // What no server lets go the core refuses by these very names.
        Request::Delete { path, .. } if UNDELETABLE.contains(&&**path) => {}
        Request::Delete { path, .. }
        | Request::SetData { path, .. }
        | Request::SetAcl { path, .. }
        | Request::Check { path, .. } => enter(root, path),
        Request::Multi(ops) => ops.iter_mut().for_each(|(_, op)| rename(root, op)),
        // No other write names a znode.
        _ => {}
    }
}

fn rename_create(root: &Root, create: &mut Create<'_>) {
    let sequential = CreateMode::from_flags(create.flags).is_some_and(CreateMode::is_sequential);
    // The number is appended to the name, so it must be that of a child, or of a sibling, as the client has it.
    match &*create.path {
        "/" if sequential => create.path = Cow::Owned(format!("{}/", root.path())),
        QUOTA if sequential => create.path = Cow::Owned(root.stand_in()),
        // Its parent is the root, here as there, but the root's path with a slash behind it is nobody's.
        path if path.rfind('/') == Some(1) => create.path = Cow::Owned(format!("{}/{NO_NAME}", root.path())),
        _ => enter(root, &mut create.path),
    }
}

/// Where a write names the empty path, no server takes it for the root.
fn enter(root: &Root, path: &mut Cow<'_, str>) {
    if !path.is_empty() {
        *path = Cow::Owned(root.enter(path).into_owned());
    }
}

#[cfg(test)]
mod tests {
    use palisade_wire::Acl;

    use super::*;

    const MAX_FRAME: usize = 1_024;

    fn encoded(request: &Request<'_>) -> Bytes {
        let mut body = BytesMut::new();
        request.encode(&mut body);
        body.freeze()
    }

    fn create(path: &str, mode: CreateMode) -> Request<'_> {
        let flags = mode.flags();
        Request::Create(Create { path: path.into(), data: Some(b"x"), acl: Acl::open(), flags, ttl_ms: None })
    }

    fn delete(path: &str) -> Request<'_> {
        Request::Delete { path: path.into(), version: 3 }
    }

    fn confined_body(op: OpCode, body: Bytes) -> Result<Bytes, Unnamable> {
        confine(&Root::new("/t/a"), op, body, MAX_FRAME)
    }

    fn confined(op: OpCode, request: &Request<'_>) -> Bytes {
        confine(&Root::new("/t/a"), op, encoded(request), MAX_FRAME).unwrap()
    }

    #[test]
    fn every_write_names_what_the_core_calls_it() {
        let set = |path: &'static str| Request::SetData { path: path.into(), data: None, version: -1 };
        assert_eq!(confined(OpCode::SetData, &set("/x")), encoded(&set("/t/a/x")));
        let set_acl =
            |path: &'static str| Request::SetAcl { path: path.into(), acl: Acl::open(), version: 1 };
        assert_eq!(confined(OpCode::SetAcl, &set_acl("/")), encoded(&set_acl("/t/a")));
        assert_eq!(confined(OpCode::Delete, &delete("/x")), encoded(&delete("/t/a/x")));
        let mode = CreateMode::EphemeralSequential;
        assert_eq!(confined(OpCode::Create, &create("/x-", mode)), encoded(&create("/t/a/x-", mode)));
    }

    #[test]
    fn a_multi_is_renamed_part_by_part() {
        let multi = |prefix: &str| {
            let path = |name: &str| Cow::<str>::Owned(format!("{prefix}/{name}"));
            encoded(&Request::Multi(vec![
                (OpCode::Check, Request::Check { path: path("c"), version: 1 }),
                (OpCode::Delete, Request::Delete { path: path("d"), version: -1 }),
                (OpCode::SetData, Request::SetData { path: path("s"), data: Some(b""), version: 0 }),
            ]))
        };
        assert_eq!(confined_body(OpCode::Multi, multi("")).unwrap(), multi("/t/a"));
    }

    #[test]
    fn what_is_numbered_stays_inside() {
        let mode = CreateMode::PersistentSequential;
        assert_eq!(confined(OpCode::Create, &create("/", mode)), encoded(&create("/t/a/", mode)));
        let beside_quotas = encoded(&create("/t/a/zookeeper/quota", mode));
        assert_eq!(confined(OpCode::Create, &create(QUOTA, mode)), beside_quotas);
        let quota = encoded(&create("/zookeeper/quota/t/a/", mode));
        assert_eq!(confined(OpCode::Create, &create("/zookeeper/quota/", mode)), quota);
        let mode = CreateMode::Persistent;
        assert_eq!(confined(OpCode::Create, &create("/", mode)), encoded(&create("/t/a", mode)));
        for (nameless, outside) in
            [("//", "/t/a/\0"), ("//x", "/t/a/\0"), ("//x/", "/t/a//x/"), ("/x/", "/t/a/x/")]
        {
            assert_eq!(confined(OpCode::Create, &create(nameless, mode)), encoded(&create(outside, mode)));
        }
    }

    #[test]
    fn what_every_tree_keeps_is_kept() {
        for path in UNDELETABLE {
            assert_eq!(confined(OpCode::Delete, &delete(path)), encoded(&delete(path)));
        }
    }

    #[test]
    fn bodies_pass_untouched_without_a_root() {
        let body = Bytes::from_static(b"not even a request");
        assert_eq!(confine(&Root::new("/"), OpCode::Create, body.clone(), 0), Ok(body.clone()));
        assert!(matches!(confined_body(OpCode::Create, body), Err(Unnamable::Malformed(_))));
    }

    #[test]
    fn what_grows_beyond_what_voters_take_is_refused() {
        let multi = |parts| {
            let part = || (OpCode::Delete, Request::Delete { path: "/x".into(), version: -1 });
            encoded(&Request::Multi((0..parts).map(|_| part()).collect()))
        };
        let root = Root::new("/tenants/of/a/long/name");
        let (mut last, mut refused) = (0, None);
        for parts in 0..60 {
            match confine(&root, OpCode::Multi, multi(parts), MAX_FRAME) {
                Ok(body) => last = body.len(),
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        assert!((MAX_FRAME..=MAX_FRAME * 3 / 2).contains(&last), "{last}");
        assert!(matches!(refused, Some(Unnamable::TooLarge(_))));
    }
}
