//! Passwords of sessions: Apache's, or this tenant's own.

use std::sync::OnceLock;

use hmac::{Hmac, Mac};
use palisade_wire::connect::session_password;
use palisade_wire::{SessionId, Zxid};
use sha1::Sha1;

use crate::config::Config;

/// Takes the place of `sessions.secret` where none is set; as public as Apache's constant.
const NO_SECRET: &[u8] = b"palisade: no secret is set";

/// What a client's password proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// A gateway of this tenant vouched for the session: it had not ended by this zxid.
    Vouched(Zxid),
    /// The client knows how Apache computes passwords.
    Apache,
    /// Nothing.
    Wrong,
}

/// Issues and checks passwords.
///
/// A password of this tenant has the zxid at which it was issued and a keyed hash of tenant, session and zxid. A
/// handshake may issue a new one; clients present the last. Apache's is a function of the session's id that everybody can
/// compute: sessions that an Apache server or a gateway without local sessions created have it. It is not accepted
/// where tenants are kept apart, by a secret or by a sub-tree.
///
/// A tenant that is confined to a sub-tree always has a secret, be it that of the settings or one that its root was
/// made with: whoever could compute passwords would come to another tenant's sessions through its own gateway.
#[derive(Debug)]
pub(crate) struct Passwords {
    tenant: String,
    /// Keyed, and has taken in the tenant. Without it nothing is issued or accepted.
    mac: OnceLock<Hmac<Sha1>>,
    apache: bool,
    local: bool,
}

impl Passwords {
    pub(crate) fn new(config: &Config) -> Self {
        let secret = config.sessions.secret.as_ref();
        let is_confined = config.tenant.root != "/";
        let passwords = Self {
            tenant: config.tenant.name.clone(),
            mac: OnceLock::new(),
            apache: secret.is_none() && !is_confined,
            local: config.sessions.local,
        };
        match secret {
            Some(secret) => passwords.learn(secret.as_bytes()),
            None if is_confined => {}
            None => passwords.learn(NO_SECRET),
        }
        passwords
    }

    /// The secret that the tenant's root was made with. That of the settings goes before it.
    pub(crate) fn learn(&self, secret: &[u8]) {
        self.mac.get_or_init(|| {
            // A key is hashed first if it is longer than a block, as HMAC does anyway.
            let mut mac = Hmac::<Sha1>::new_from_slice(secret).expect("HMAC takes keys of any length");
            mac.update(&[self.tenant.len() as u8]);
            mac.update(self.tenant.as_bytes());
            mac
        });
    }

    /// All zeros, which is no password, without a secret.
    fn vouch(&self, session: SessionId, at: Zxid) -> [u8; 16] {
        let Some(mut mac) = self.mac.get().cloned() else { return [0; 16] };
        mac.update(&session.to_be_bytes());
        mac.update(&at.0.to_be_bytes());
        let mut password = [0; 16];
        let (zxid, hash) = password.split_at_mut(8);
        zxid.copy_from_slice(&at.0.to_be_bytes());
        hash.copy_from_slice(&mac.finalize().into_bytes()[..8]);
        password
    }

    /// The password of a new session, which has not ended by `at`.
    pub(crate) fn issue(&self, session: SessionId, at: Zxid) -> [u8; 16] {
        if self.local || !self.apache { self.vouch(session, at) } else { session_password(session) }
    }

    /// The password of a session that came with `proof`, and has not ended by `at`.
    pub(crate) fn renew(&self, session: SessionId, proof: Proof, at: Zxid) -> [u8; 16] {
        match proof {
            Proof::Vouched(_) => self.vouch(session, at),
            Proof::Apache | Proof::Wrong => session_password(session),
        }
    }

    /// What a password proves.
    pub(crate) fn check(&self, session: SessionId, password: &[u8]) -> Proof {
        let Ok(password) = <&[u8; 16]>::try_from(password) else { return Proof::Wrong };
        if self.apache && *password == session_password(session) {
            return Proof::Apache;
        }
        let (zxid, _) = password.split_at(8);
        let at = Zxid(i64::from_be_bytes(zxid.try_into().unwrap_or_default()));
        // Every byte is looked at: how long it takes must not tell how many are right.
        let differences = self.vouch(session, at).iter().zip(password).fold(0, |d, (a, b)| d | (a ^ b));
        if differences == 0 && self.mac.get().is_some() { Proof::Vouched(at) } else { Proof::Wrong }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(tenant: &str) -> Config {
        let mut config = Config::default();
        config.tenant.name = tenant.to_owned();
        config.sessions.local = true;
        config
    }

    const SESSION: SessionId = 0x6500_0000_0001_0000;

    #[test]
    fn a_password_proves_its_session_and_zxid_at_every_gateway_of_the_tenant() {
        let password = Passwords::new(&config("a")).issue(SESSION, Zxid(77));
        let other = Passwords::new(&config("a"));
        assert_eq!(other.check(SESSION, &password), Proof::Vouched(Zxid(77)));
        assert_eq!(other.check(SESSION + 1, &password), Proof::Wrong);
        for i in 0..16 {
            let mut changed = password;
            changed[i] ^= 1;
            assert_eq!(other.check(SESSION, &changed), Proof::Wrong, "byte {i}");
        }
        for len in [0, 8, 15] {
            assert_eq!(other.check(SESSION, &password[..len]), Proof::Wrong);
        }
    }

    #[test]
    fn another_tenant_or_secret_makes_another_password() {
        let password = Passwords::new(&config("a")).issue(SESSION, Zxid(77));
        assert_eq!(Passwords::new(&config("b")).check(SESSION, &password), Proof::Wrong);
        let mut secret = config("a");
        secret.sessions.secret = Some("sixteen letters!".to_owned());
        let secret = Passwords::new(&secret);
        assert_eq!(secret.check(SESSION, &password), Proof::Wrong);
        assert_eq!(secret.check(SESSION, &secret.issue(SESSION, Zxid(5))), Proof::Vouched(Zxid(5)));
    }

    #[test]
    fn apaches_password_counts_unless_tenants_are_kept_apart() {
        let apache = session_password(SESSION);
        let mut config = config("a");
        config.sessions.local = false;
        let passwords = Passwords::new(&config);
        assert_eq!(passwords.check(SESSION, &apache), Proof::Apache);
        assert_eq!(passwords.issue(SESSION, Zxid(9)), apache);
        assert_eq!(passwords.renew(SESSION, Proof::Apache, Zxid(9)), apache);
        for (root, secret) in [("/", Some("sixteen letters!")), ("/a", None)] {
            config.tenant.root = root.to_owned();
            config.sessions.secret = secret.map(str::to_owned);
            let passwords = Passwords::new(&config);
            passwords.learn(b"that of the root");
            assert_eq!(passwords.check(SESSION, &apache), Proof::Wrong);
            assert_eq!(passwords.check(SESSION, &passwords.issue(SESSION, Zxid(9))), Proof::Vouched(Zxid(9)));
        }
    }

    #[test]
    fn a_confined_tenants_passwords_cannot_be_computed_by_others() {
        let mut config = config("a");
        config.tenant.root = "/a".to_owned();
        let open = Passwords::new(&self::config("a")).issue(SESSION, Zxid(7));
        let (confined, other) = (Passwords::new(&config), Passwords::new(&config));
        for password in [open, [0; 16], confined.issue(SESSION, Zxid(7))] {
            assert_eq!(confined.check(SESSION, &password), Proof::Wrong, "nobody has a password yet");
        }
        confined.learn(b"one secret");
        other.learn(b"another");
        assert_eq!(confined.check(SESSION, &open), Proof::Wrong);
        let password = confined.issue(SESSION, Zxid(7));
        assert_eq!(confined.check(SESSION, &password), Proof::Vouched(Zxid(7)));
        assert_eq!(other.check(SESSION, &password), Proof::Wrong);
        other.learn(b"one secret");
        assert_eq!(other.check(SESSION, &password), Proof::Wrong, "what is learned stays");
    }
}
