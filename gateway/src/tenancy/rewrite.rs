//! Writes on their way to the core.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use palisade_wire::request::{Create, Request};
use palisade_wire::{CreateMode, DecodeError, OpCode};

use super::Root;

/// Znodes that every tree keeps (Apache `ZKDatabase.isSpecialPath`).
const UNDELETABLE: [&str; 4] = ["/", "/zookeeper", "/zookeeper/config", "/zookeeper/quota"];

/// The body of a write with the core's names in it.
///
/// # Errors
/// The body is not that of a request of this type.
pub(crate) fn confine(root: &Root, op: OpCode, body: Bytes) -> Result<Bytes, DecodeError> {
    if !root.is_confined() {
        return Ok(body);
    }
    let mut request = Request::decode(op, &body)?;
    rename(root, &mut request);
    let mut renamed = BytesMut::with_capacity(body.len() + root.quota_path().len());
    request.encode(&mut renamed);
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
    if create.path == "/" && sequential {
        // The number is appended to the name: it must be that of a child.
        create.path = Cow::Owned(format!("{}/", root.path()));
    } else {
        enter(root, &mut create.path);
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

    fn confined(op: OpCode, request: &Request<'_>) -> Bytes {
        confine(&Root::new("/t/a"), op, encoded(request)).unwrap()
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
        assert_eq!(confine(&Root::new("/t/a"), OpCode::Multi, multi("")).unwrap(), multi("/t/a"));
    }

    #[test]
    fn a_numbered_child_of_the_root_stays_inside() {
        let mode = CreateMode::PersistentSequential;
        assert_eq!(confined(OpCode::Create, &create("/", mode)), encoded(&create("/t/a/", mode)));
        let mode = CreateMode::Persistent;
        assert_eq!(confined(OpCode::Create, &create("/", mode)), encoded(&create("/t/a", mode)));
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
        assert_eq!(confine(&Root::new("/"), OpCode::Create, body.clone()), Ok(body.clone()));
        assert!(confine(&Root::new("/t/a"), OpCode::Create, body).is_err());
    }
}
