use bytes::BufMut;
use palisade_wire::{SessionId, Stat, Zxid};

use super::acls::AclId;

/// What keeps a znode alive (Apache `EphemeralType`, the stored `ephemeralOwner`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// Nothing: it stays until it is deleted.
    Persistent,
    /// This session.
    Ephemeral(SessionId),
    /// Its children: a container is reaped after its last child went.
    Container,
    /// Its children and changes: reaped when it had neither for this many ms; 0 is never.
    Ttl(i64),
}

impl Owner {
    /// The longest time to live, in ms: 2^40 − 1.
    pub const MAX_TTL_MS: i64 = 0xff_ffff_ffff;

    const CONTAINER: i64 = i64::MIN;
    const TTL: i64 = 0xff_i64 << 56;

    /// Reads the stored form. A session id that begins with 0xff but is not of the exact form of a time to live
    /// is a session's, as it would be on a server without extended types.
    pub const fn from_stored(stored: i64) -> Self {
        match stored {
            0 => Self::Persistent,
            Self::CONTAINER => Self::Container,
            _ if stored & !Self::MAX_TTL_MS == Self::TTL => Self::Ttl(stored & Self::MAX_TTL_MS),
            _ => Self::Ephemeral(stored),
        }
    }

    /// The stored form. Bits of a time to live above [`Owner::MAX_TTL_MS`] are lost.
    pub const fn stored(self) -> i64 {
        match self {
            Self::Persistent => 0,
            Self::Ephemeral(session) => session,
            Self::Container => Self::CONTAINER,
            Self::Ttl(ms) => Self::TTL | (ms & Self::MAX_TTL_MS),
        }
    }

    /// Whether a session owns the znode.
    pub const fn is_ephemeral(self) -> bool {
        matches!(self, Self::Ephemeral(_))
    }
}

/// A znode's metadata as it is stored (`StatPersisted`), and which list is its ACL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) czxid: Zxid,
    pub(crate) mzxid: Zxid,
    pub(crate) pzxid: Zxid,
    pub(crate) ctime: i64,
    pub(crate) mtime: i64,
    /// [`Owner`], in stored form.
    pub(crate) owner: i64,
    pub(crate) version: i32,
    /// Children ever created.
    pub(crate) cversion: i32,
    pub(crate) aversion: i32,
    /// In the tree that the znode is in; means nothing elsewhere.
    pub(crate) acl: AclId,
}

impl Meta {
    /// Of a znode that comes into being.
    pub(crate) const fn created(zxid: Zxid, time: i64, owner: Owner, acl: AclId) -> Self {
        Self {
            czxid: zxid,
            mzxid: zxid,
            pzxid: zxid,
            ctime: time,
            mtime: time,
            owner: owner.stored(),
            version: 0,
            cversion: 0,
            aversion: 0,
            acl,
        }
    }

    /// As clients see it. The visible `cversion` counts deletions too; the owner is that of ephemerals only.
    pub(crate) fn stat(&self, data_len: usize, children: usize) -> Stat {
        let owner = Owner::from_stored(self.owner);
        let children = i32::try_from(children).unwrap_or(i32::MAX);
        Stat {
            czxid: self.czxid,
            mzxid: self.mzxid,
            ctime: self.ctime,
            mtime: self.mtime,
            version: self.version,
            cversion: self.cversion.wrapping_mul(2).wrapping_sub(children),
            aversion: self.aversion,
            ephemeral_owner: if owner.is_ephemeral() { self.owner } else { 0 },
            data_length: i32::try_from(data_len).unwrap_or(i32::MAX),
            num_children: children,
            pzxid: self.pzxid,
        }
    }

    /// A child was created when the parent's counter became `cversion` (−1: unknown, one more). A counter that
    /// is not larger says that the parent knows already (a replay over a fuzzy snapshot).
    pub(crate) const fn child_created(&mut self, cversion: i32, zxid: Zxid) {
        let cversion = if cversion == -1 { self.cversion.wrapping_add(1) } else { cversion };
        if cversion > self.cversion {
            self.cversion = cversion;
            self.pzxid = zxid;
        }
    }

    /// A child was deleted.
    pub(crate) const fn child_deleted(&mut self, zxid: Zxid) {
        if zxid.0 > self.pzxid.0 {
            self.pzxid = zxid;
        }
    }

    /// Data was set.
    pub(crate) const fn data_set(&mut self, version: i32, zxid: Zxid, time: i64) {
        self.version = version;
        self.mzxid = zxid;
        self.mtime = time;
    }
}

/// CRC-32 of path and data: the part of a znode's digest that only setting data changes.
pub(crate) fn content_crc(path: impl AsRef<[u8]>, data: Option<&[u8]>) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(path.as_ref());
    crc.update(data.unwrap_or_default());
    crc.finalize()
}

/// A znode's share of the tree digest (Apache `DigestCalculator`, version 2). Nothing below /zookeeper has any:
/// those znodes may differ between replicas.
pub(crate) fn node_digest(path: impl AsRef<[u8]>, content_crc: u32, meta: &Meta) -> u64 {
    if path.as_ref().starts_with(b"/zookeeper/") {
        return 0;
    }
    let mut bytes = [0u8; 60];
    let mut b = &mut bytes[..];
    for long in [meta.czxid.0, meta.mzxid.0, meta.pzxid.0, meta.ctime, meta.mtime] {
        b.put_i64(long);
    }
    for int in [meta.version, meta.cversion, meta.aversion] {
        b.put_i32(int);
    }
    b.put_i64(meta.owner);
    // The length seeds nothing but the combining of checksums, which is not used here.
    let mut crc = crc32fast::Hasher::new_with_initial(content_crc);
    crc.update(&bytes);
    crc.finalize().into()
}

/// Where a znode is in the tree's slab.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NodeId(pub(crate) u32);

impl NodeId {
    /// The root is never removed.
    pub(crate) const ROOT: Self = Self(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_round_trip() {
        for owner in [
            Owner::Persistent,
            Owner::Container,
            Owner::Ttl(1),
            Owner::Ttl(Owner::MAX_TTL_MS),
            Owner::Ephemeral(0x0100_000f_9fc8_0000),
            Owner::Ephemeral(-1),
        ] {
            assert_eq!(Owner::from_stored(owner.stored()), owner);
        }
        assert_eq!(Owner::Container.stored(), i64::MIN);
        assert_eq!(Owner::Ttl(5).stored() as u64, 0xff00_0000_0000_0005);
    }

    #[test]
    fn visible_cversion_counts_deletions() {
        let meta = Meta { cversion: 3, ..Meta::default() };
        assert_eq!(meta.stat(0, 2).cversion, 4);
        assert_eq!(Meta::default().stat(0, 1).cversion, -1);
    }

    #[test]
    fn a_stale_counter_leaves_the_parent_alone() {
        let mut meta = Meta { cversion: 5, pzxid: Zxid(9), ..Meta::default() };
        meta.child_created(5, Zxid(7));
        assert_eq!((meta.cversion, meta.pzxid), (5, Zxid(9)));
        meta.child_created(-1, Zxid(10));
        assert_eq!((meta.cversion, meta.pzxid), (6, Zxid(10)));
        meta.child_deleted(Zxid(8));
        assert_eq!(meta.pzxid, Zxid(10));
    }
}
