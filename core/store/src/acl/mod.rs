//! Who may do what (Apache `PrepRequestProcessor.fixupACL`, `ZooKeeperServer.checkACL`, the authentication providers).

use std::borrow::Cow;

use palisade_wire::{Acl, ErrorCode, Id, Perms};

/// Whether `ids` may do `wanted` on a znode with the list `acl`. An empty list, and the super identity, allow
/// everything.
pub fn check(_acl: &[Acl], _wanted: Perms, _ids: &[Id]) -> bool {
    todo!()
}

/// Whether the super identity is among `ids`.
pub fn is_super(_ids: &[Id]) -> bool {
    todo!()
}

/// The list as it is stored: entries checked, `auth` replaced by the caller's identities, duplicates dropped.
///
/// # Errors
/// [`ErrorCode::INVALID_ACL`].
pub fn fix_up(_acl: &[Acl], _ids: &[Id]) -> Result<Vec<Acl>, ErrorCode> {
    todo!()
}

/// The list as getACL shows it: without ADMIN, `ids` see digest hashes as `x`.
pub fn mask<'a>(_acl: &'a [Acl], _ids: &[Id]) -> Cow<'a, [Acl]> {
    todo!()
}

/// The identity that the credential `user:password` proves under scheme digest: `user:base64(sha1(user:password))`.
pub fn digest_id(_credential: &[u8]) -> Id {
    todo!()
}
