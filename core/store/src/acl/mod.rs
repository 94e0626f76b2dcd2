//! Who may do what (Apache `PrepRequestProcessor.fixupACL`, `ZooKeeperServer.checkACL`, the authentication providers).

mod ip;

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hashbrown::HashSet;
use palisade_wire::{Acl, ErrorCode, Id, Perms};
use sha1::{Digest, Sha1};

/// Schemes whose identities a client proved, so that `auth` may stand for them.
const AUTHENTICATED: [&str; 3] = ["digest", "sasl", "x509"];

/// Whether `ids` may do any of `wanted` on a znode with the list `acl`. An empty list, and the super identity,
/// allow everything.
pub fn check(acl: &[Acl], wanted: Perms, ids: &[Id]) -> bool {
    acl.is_empty()
        || acl.iter().any(|entry| entry.perms.intersects(wanted) && is_anybody_of(&entry.id, ids))
        || is_super(ids)
}

/// Whether the super identity is among `ids`.
pub fn is_super(ids: &[Id]) -> bool {
    ids.iter().any(|id| id.scheme == "super")
}

fn is_anyone(id: &Id) -> bool {
    id.scheme == "world" && id.id == "anyone"
}

/// Whether an ACL's subject stands for one of a connection's identities.
fn is_anybody_of(subject: &Id, ids: &[Id]) -> bool {
    is_anyone(subject)
        || ids.iter().filter(|id| id.scheme == subject.scheme).any(|id| match &*id.scheme {
            "ip" => ip::matches(&subject.id, &id.id),
            "digest" | "x509" => id.id == subject.id,
            "sasl" => id.id == subject.id || id.id == "super",
            _ => false,
        })
}

/// The list as it is stored: entries checked, `auth` replaced by the caller's identities, duplicates dropped.
///
/// # Errors
/// [`ErrorCode::INVALID_ACL`].
pub fn fix_up(acl: &[Acl], ids: &[Id]) -> Result<Vec<Acl>, ErrorCode> {
    let mut fixed = Vec::with_capacity(acl.len());
    let mut seen = HashSet::with_capacity(acl.len());
    for entry in acl {
        if !seen.insert(entry) {
            continue;
        }
        if entry.id.scheme == "auth" {
            let proven = ids.iter().filter(|id| AUTHENTICATED.contains(&&*id.scheme));
            let before = fixed.len();
            fixed.extend(proven.map(|id| Acl { perms: entry.perms, id: id.clone() }));
            if fixed.len() == before {
                return Err(ErrorCode::INVALID_ACL);
            }
        } else if is_valid(&entry.id) {
            fixed.push(entry.clone());
        } else {
            return Err(ErrorCode::INVALID_ACL);
        }
    }
    if fixed.is_empty() { Err(ErrorCode::INVALID_ACL) } else { Ok(fixed) }
}

/// Bytes that a list takes in a transaction.
pub(crate) fn encoded_len(acl: &[Acl]) -> usize {
    4 + acl.iter().map(|entry| 12 + entry.id.scheme.len() + entry.id.id.len()).sum::<usize>()
}

fn is_valid(id: &Id) -> bool {
    match &*id.scheme {
        "world" => id.id == "anyone",
        "ip" => ip::is_valid(&id.id),
        "digest" => is_valid_digest(&id.id),
        "sasl" | "x509" => !id.id.is_empty(),
        _ => false,
    }
}

/// Two parts; Java's `split` drops empty ones at the end, so that "u:" is one part but ":p" is two.
fn is_valid_digest(id: &str) -> bool {
    let trimmed = id.trim_end_matches(':');
    trimmed.matches(':').count() == 1
}

/// The list as getACL shows it: without ADMIN, `ids` see digest hashes as `x`.
pub fn mask<'a>(acl: &'a [Acl], ids: &[Id]) -> Cow<'a, [Acl]> {
    if check(acl, Perms::ADMIN, ids) || !acl.iter().any(|entry| entry.id.scheme == "digest") {
        return Cow::Borrowed(acl);
    }
    let masked = |entry: &Acl| {
        let mut entry = entry.clone();
        if entry.id.scheme == "digest" {
            let user = entry.id.id.split(':').next().unwrap_or_default();
            entry.id.id = format!("{user}:x");
        }
        entry
    };
    acl.iter().map(masked).collect()
}

/// The identity that the credential `user:password` proves under scheme digest: `user:base64(sha1(user:password))`.
/// Without a colon the whole credential is the user.
pub fn digest_id(credential: &[u8]) -> Id {
    let text = String::from_utf8_lossy(credential);
    let user = text.split(':').next().unwrap_or_default();
    let hash = STANDARD.encode(Sha1::digest(text.as_bytes()));
    Id::new("digest", format!("{user}:{hash}"))
}

#[cfg(test)]
mod tests;
