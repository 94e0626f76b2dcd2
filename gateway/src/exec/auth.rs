//! Who a connection is (Apache `DigestAuthenticationProvider`, `IPAuthenticationProvider`).

use std::net::IpAddr;

use palisade_store::acl;
use palisade_wire::{ErrorCode, Id};

/// The identity that every connection has by where it comes from. A mapped IPv4 address counts as IPv4.
pub(crate) fn remote_id(address: IpAddr) -> Id {
    Id::new("ip", address.to_canonical().to_string())
}

/// Checks credentials.
#[derive(Clone, Debug, Default)]
pub(crate) struct Authenticator {
    super_digest: Option<String>,
}

impl Authenticator {
    /// `super_digest` is `super:<hash>`: whoever proves this digest identity may do everything.
    pub(crate) const fn new(super_digest: Option<String>) -> Self {
        Self { super_digest }
    }

    /// The identities that a credential proves; none for a scheme that needs no proof.
    ///
    /// A digest credential cannot be wrong: another password is another identity.
    ///
    /// # Errors
    /// [`ErrorCode::AUTH_FAILED`] for a scheme that is not served here, and for a null credential.
    pub(crate) fn authenticate(&self, scheme: &str, credential: Option<&[u8]>) -> Result<Vec<Id>, ErrorCode> {
        match (scheme, credential) {
            ("ip", _) => Ok(Vec::new()),
            ("digest", Some(credential)) => {
                let id = acl::digest_id(credential);
                let mut ids = Vec::with_capacity(2);
                if self.super_digest.as_deref() == Some(&id.id) {
                    ids.push(Id::new("super", ""));
                }
                ids.push(id);
                Ok(ids)
            }
            _ => Err(ErrorCode::AUTH_FAILED),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_credentials_become_identities() {
        let auth = Authenticator::default();
        let ids = auth.authenticate("digest", Some(b"user:password")).unwrap();
        assert_eq!(ids, [Id::new("digest", "user:tpUq/4Pn5A64fVZyQ0gOJ8ZWqkY=")]);
    }

    #[test]
    fn the_super_digest_adds_the_super_identity() {
        let digest = acl::digest_id(b"super:secret").id;
        let auth = Authenticator::new(Some(digest.clone()));
        let ids = auth.authenticate("digest", Some(b"super:secret")).unwrap();
        assert_eq!(ids, [Id::new("super", ""), Id::new("digest", digest)]);
        assert_eq!(auth.authenticate("digest", Some(b"super:guess")).unwrap().len(), 1);
    }

    #[test]
    fn other_schemes_fail() {
        let auth = Authenticator::default();
        for scheme in ["world", "auth", "super", "sasl", "x509", ""] {
            assert_eq!(auth.authenticate(scheme, Some(b"x")), Err(ErrorCode::AUTH_FAILED), "{scheme}");
        }
        assert_eq!(auth.authenticate("digest", None), Err(ErrorCode::AUTH_FAILED));
        assert_eq!(auth.authenticate("ip", Some(b"anything")), Ok(Vec::new()));
    }

    #[test]
    fn addresses_are_canonical() {
        assert_eq!(remote_id("::ffff:10.0.0.1".parse().unwrap()), Id::new("ip", "10.0.0.1"));
        assert_eq!(remote_id("::1".parse().unwrap()), Id::new("ip", "::1"));
    }
}
