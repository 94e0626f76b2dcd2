use bytes::BufMut;

use crate::SessionId;
use crate::jute::{Reader, Result};
use crate::zxid::Zxid;

/// A znode's metadata as clients see it: 68 bytes (`zookeeper.jute`, `Stat`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// Transaction that created the znode.
    pub czxid: Zxid,
    /// Transaction that last set its data.
    pub mzxid: Zxid,
    /// Leader's wall clock at creation, ms since 1970.
    pub ctime: i64,
    /// Leader's wall clock at the last setting of data, ms since 1970.
    pub mtime: i64,
    /// Number of changes of the data.
    pub version: i32,
    /// Number of creations and deletions of children.
    pub cversion: i32,
    /// Number of changes of the ACL.
    pub aversion: i32,
    /// Owning session of an ephemeral znode; 0 for all others, container and TTL znodes included.
    pub ephemeral_owner: SessionId,
    /// Bytes of data; 0 if null.
    pub data_length: i32,
    /// Number of children.
    pub num_children: i32,
    /// Transaction that last created or deleted a child.
    pub pzxid: Zxid,
}

impl Stat {
    /// Encoded size in bytes.
    pub const LEN: usize = 68;

    /// Reads one.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self> {
        Ok(Self {
            czxid: Zxid(r.i64("czxid")?),
            mzxid: Zxid(r.i64("mzxid")?),
            ctime: r.i64("ctime")?,
            mtime: r.i64("mtime")?,
            version: r.i32("version")?,
            cversion: r.i32("cversion")?,
            aversion: r.i32("aversion")?,
            ephemeral_owner: r.i64("ephemeralOwner")?,
            data_length: r.i32("dataLength")?,
            num_children: r.i32("numChildren")?,
            pzxid: Zxid(r.i64("pzxid")?),
        })
    }

    /// Writes one, in one piece: a buffer looks for room at every call.
    pub fn encode(&self, buf: &mut impl BufMut) {
        let mut bytes = [0; Self::LEN];
        let mut b = &mut bytes[..];
        b.put_i64(self.czxid.0);
        b.put_i64(self.mzxid.0);
        b.put_i64(self.ctime);
        b.put_i64(self.mtime);
        b.put_i32(self.version);
        b.put_i32(self.cversion);
        b.put_i32(self.aversion);
        b.put_i64(self.ephemeral_owner);
        b.put_i32(self.data_length);
        b.put_i32(self.num_children);
        b.put_i64(self.pzxid.0);
        buf.put_slice(&bytes);
    }
}
