use std::fmt;

use bytes::BufMut;

use crate::jute::{Reader, Result, Writer};

/// Permission bits of an [`Acl`] entry. Unknown bits are kept as they are (Apache `ZooDefs.Perms`).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Perms(pub i32);

impl Perms {
    /// Read data, children and Stat.
    pub const READ: Self = Self(1);
    /// Set data.
    pub const WRITE: Self = Self(2);
    /// Create a child.
    pub const CREATE: Self = Self(4);
    /// Delete a child.
    pub const DELETE: Self = Self(8);
    /// Set the ACL.
    pub const ADMIN: Self = Self(16);
    /// All five.
    pub const ALL: Self = Self(31);

    /// Whether any bit of `wanted` is granted.
    pub const fn intersects(self, wanted: Self) -> bool {
        self.0 & wanted.0 != 0
    }
}

impl fmt::Debug for Perms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (bit, letter) in [(4, 'c'), (8, 'd'), (1, 'r'), (2, 'w'), (16, 'a')] {
            if self.0 & bit != 0 {
                write!(f, "{letter}")?;
            }
        }
        if self.0 & !31 != 0 {
            write!(f, "+{:#x}", self.0 & !31)?;
        }
        Ok(())
    }
}

/// An identity: an authentication scheme and what it calls its subject.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    /// `world`, `ip`, `digest`, `auth`, `x509`, `sasl`, `super` …
    pub scheme: String,
    /// The subject, in the scheme's own form.
    pub id: String,
}

impl Id {
    /// An identity from its two parts.
    pub fn new(scheme: impl Into<String>, id: impl Into<String>) -> Self {
        Self { scheme: scheme.into(), id: id.into() }
    }

    /// Reads one. Null reads as empty: kazoo encodes "" so, and an empty scheme is as invalid as none.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self> {
        Ok(Self {
            scheme: r.opt_string("id scheme")?.unwrap_or_default().into_owned(),
            id: r.opt_string("id")?.unwrap_or_default().into_owned(),
        })
    }

    /// Writes one.
    pub fn encode(&self, buf: &mut impl BufMut) {
        buf.write_string(&self.scheme);
        buf.write_string(&self.id);
    }
}

/// One entry of an access control list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Acl {
    /// What is granted.
    pub perms: Perms,
    /// To whom.
    pub id: Id,
}

impl Acl {
    /// The list that grants everything to everybody.
    pub fn open() -> Vec<Self> {
        vec![Self { perms: Perms::ALL, id: Id::new("world", "anyone") }]
    }

    /// The list that lets everybody read.
    pub fn read_only() -> Vec<Self> {
        vec![Self { perms: Perms::READ, id: Id::new("world", "anyone") }]
    }

    /// Reads one entry.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self> {
        Ok(Self { perms: Perms(r.i32("acl perms")?), id: Id::decode(r)? })
    }

    /// Writes one entry.
    pub fn encode(&self, buf: &mut impl BufMut) {
        buf.put_i32(self.perms.0);
        self.id.encode(buf);
    }

    /// Writes a list.
    pub fn encode_list(list: &[Self], buf: &mut impl BufMut) {
        buf.write_vec(list.iter(), |b, acl| acl.encode(b));
    }
}
