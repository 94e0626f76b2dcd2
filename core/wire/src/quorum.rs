//! The learner protocol on the quorum port: a plain stream of [`QuorumPacket`]s (Apache `Leader`, `LearnerHandler`).

use bytes::{BufMut, Bytes, BytesMut};

use crate::acl::Id;
use crate::jute::{DecodeError, Reader, Result, Writer};
use crate::zxid::Zxid;
use crate::{SessionId, Sid};

/// The protocol version that has discovery with LEADERINFO and ACKEPOCH.
pub const PROTOCOL_VERSION: i32 = 0x10000;

/// What ends the tree stream that follows a SNAP packet.
pub const SNAP_SIGNATURE: &str = "BenWasHere";

macro_rules! packet_types {
    ($($(#[$doc:meta])* $name:ident = $value:literal;)*) => {
        /// The type of a [`QuorumPacket`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i32)]
        pub enum PacketType {
            $($(#[$doc])* $name = $value,)*
        }

        impl PacketType {
            /// The type with this number, if there is one.
            pub const fn from_i32(value: i32) -> Option<Self> {
                match value {
                    $($value => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

packet_types! {
    /// Learner to leader: a client's request ([`ForwardedRequest`]).
    Request = 1;
    /// Leader to learner: a transaction to log.
    Proposal = 2;
    /// Learner to leader: logged.
    Ack = 3;
    /// Leader to follower: apply.
    Commit = 4;
    /// Both: alive; the answer carries touched sessions.
    Ping = 5;
    /// Both: is this session alive, and now mine?
    Revalidate = 6;
    /// Leader to learner: answer to a forwarded sync.
    Sync = 7;
    /// Leader to observer: a committed transaction.
    Inform = 8;
    /// Leader to follower: commit of a reconfiguration.
    CommitAndActivate = 9;
    /// Leader to learner: you have everything that I sent you before; the epoch begins.
    NewLeader = 10;
    /// Learner to leader: a follower introduces itself ([`LearnerInfo`]).
    FollowerInfo = 11;
    /// Leader to learner: start serving.
    UpToDate = 12;
    /// Leader to learner: what you miss follows.
    Diff = 13;
    /// Leader to learner: cut your log.
    Trunc = 14;
    /// Leader to learner: the whole tree follows.
    Snap = 15;
    /// Learner to leader: an observer introduces itself ([`LearnerInfo`]).
    ObserverInfo = 16;
    /// Leader to learner: the proposed epoch.
    LeaderInfo = 17;
    /// Learner to leader: the epoch is accepted.
    AckEpoch = 18;
    /// Leader to observer: a committed reconfiguration.
    InformAndActivate = 19;
}

/// One message between a leader and a learner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumPacket {
    /// The [`PacketType`], unchecked: unknown types are ignored after synchronisation.
    pub kind: i32,
    /// Meaning depends on the type.
    pub zxid: Zxid,
    /// Meaning depends on the type; null and empty are distinct.
    pub data: Option<Bytes>,
    /// The identities of the client; only in REQUEST, where null makes an Apache leader refuse writes.
    pub auth: Option<Vec<Id>>,
}

impl QuorumPacket {
    /// A packet without identities.
    pub const fn new(kind: PacketType, zxid: Zxid, data: Option<Bytes>) -> Self {
        Self { kind: kind as i32, zxid, data, auth: None }
    }

    /// The type, if it is a known one.
    pub const fn packet_type(&self) -> Option<PacketType> {
        PacketType::from_i32(self.kind)
    }

    /// The data, empty if null.
    pub fn data(&self) -> &[u8] {
        self.data.as_deref().unwrap_or_default()
    }

    /// Splits the next whole packet off `buf`; `None` while it is incomplete.
    ///
    /// `max_data` bounds the data field, in bytes; identities are bounded to 64 KiB in total.
    pub fn split(buf: &mut BytesMut, max_data: usize) -> Result<Option<Self>> {
        let Some(len) = packet_len(buf, max_data)? else {
            return Ok(None);
        };
        let whole = buf.split_to(len).freeze();
        Self::read(&whole, &mut Reader::new(&whole)).map(Some)
    }

    /// How many bytes at the start of `buf` are whole packets: as many as there are, up to the one with which they reach
    /// `enough` bytes, and none behind a SNAP, as its tree stream is no packet. 0 while the first is incomplete.
    ///
    /// The bounds are those of [`QuorumPacket::split`]. A packet that breaks them is an error only once it is the first.
    pub fn peek_batch(buf: &[u8], max_data: usize, enough: usize) -> Result<usize> {
        let mut end = 0;
        while end < enough {
            let rest = &buf[end..];
            match packet_len(rest, max_data) {
                Ok(Some(len)) => end += len,
                Ok(None) => break,
                Err(error) if end == 0 => return Err(error),
                Err(_) => break,
            }
            if int_at(rest, 0) == Some(PacketType::Snap as i32) {
                break;
            }
        }
        Ok(end)
    }

    /// Reads the packets of which `batch` consists. Their data is shared with it.
    pub fn decode_batch(batch: &Bytes) -> Result<Vec<Self>> {
        let mut packets = Vec::with_capacity(batch.len() / 128 + 1);
        let mut r = Reader::new(batch);
        while !r.is_empty() {
            packets.push(Self::read(batch, &mut r)?);
        }
        Ok(packets)
    }

    fn read(whole: &Bytes, r: &mut Reader<'_>) -> Result<Self> {
        let kind = r.i32("packet type")?;
        let zxid = Zxid(r.i64("packet zxid")?);
        let data = r.opt_buffer("packet data")?.map(|d| crate::jute::share(whole, d));
        let auth = r.opt_vec("packet authinfo", Id::decode)?;
        Ok(Self { kind, zxid, data, auth })
    }

    /// Writes one.
    pub fn encode(&self, buf: &mut BytesMut) {
        let data_len = self.data.as_ref().map_or(0, Bytes::len);
        buf.reserve(20 + data_len);
        buf.put_i32(self.kind);
        buf.put_i64(self.zxid.0);
        buf.write_opt_buffer(self.data.as_deref());
        match &self.auth {
            None => buf.put_i32(-1),
            Some(ids) => buf.write_vec(ids.iter(), |b, id| id.encode(b)),
        }
    }
}

const MAX_AUTH: usize = 64 * 1024;

/// Length of the packet at the start of `buf`, `None` while that cannot be told or it is not all there.
fn packet_len(buf: &[u8], max_data: usize) -> Result<Option<usize>> {
    let mut at = 12;
    match field_len(buf, &mut at, "packet data", max_data)? {
        Some(()) => {}
        None => return Ok(None),
    }
    let Some(count) = int_at(buf, at) else {
        return Ok(None);
    };
    at += 4;
    let auth_start = at;
    for _ in 0..count.max(0) {
        for field in ["id scheme", "id"] {
            if field_len(buf, &mut at, field, MAX_AUTH)?.is_none() {
                return Ok(None);
            }
            if at - auth_start > MAX_AUTH {
                return Err(DecodeError::Length { field: "packet authinfo", len: (at - auth_start) as i64 });
            }
        }
    }
    Ok(Some(at))
}

/// Moves `at` past a length-prefixed field; `None` if its bytes are not all there.
fn field_len(buf: &[u8], at: &mut usize, field: &'static str, max: usize) -> Result<Option<()>> {
    let Some(len) = int_at(buf, *at) else {
        return Ok(None);
    };
    let n = match len {
        -1 => 0,
        len => usize::try_from(len)
            .ok()
            .filter(|n| *n <= max)
            .ok_or(DecodeError::Length { field, len: len.into() })?,
    };
    *at += 4 + n;
    Ok((buf.len() >= *at).then_some(()))
}

fn int_at(buf: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_be_bytes(*buf.get(at..)?.first_chunk()?))
}

/// How a learner introduces itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LearnerInfo {
    /// The learner's id. An observer must never use a voter's: it would vote.
    pub sid: Sid,
    /// [`PROTOCOL_VERSION`]; 1 if absent.
    pub protocol_version: i32,
    /// Version of the learner's configuration; 0 if absent (3.4).
    pub config_version: i64,
}

impl LearnerInfo {
    /// Reads one; later fields may be missing, or cut short, which counts as missing.
    pub fn decode(data: &[u8]) -> Result<Self> {
        let mut r = Reader::new(data);
        Ok(Self {
            sid: r.i64("learner sid")?,
            protocol_version: r.i32("protocol version").unwrap_or(1),
            config_version: r.i64("config version").unwrap_or(0),
        })
    }

    /// Writes one.
    pub fn encode(&self) -> Bytes {
        crate::jute::encode(|buf| {
            buf.put_i64(self.sid);
            buf.put_i32(self.protocol_version);
            buf.put_i64(self.config_version);
        })
    }
}

/// In the word that Palisade's leaders append to the data of LEADERINFO: a SYNC is answered only after a quorum has
/// confirmed the leader.
const CONFIRMS_SYNC: i32 = 1;

/// Data of a LEADERINFO by Palisade: the protocol version, which is all that Apache's learners read, and what this
/// leader promises beyond Apache's.
pub fn encode_leader_info() -> Bytes {
    crate::jute::encode(|buf| {
        buf.put_i32(PROTOCOL_VERSION);
        buf.put_i32(CONFIRMS_SYNC);
    })
}

/// Whether the leader that sent this LEADERINFO makes sure of its quorum before it answers a SYNC. Apache's do not
/// (ZOOKEEPER-1675).
pub fn confirms_sync(leader_info: &[u8]) -> bool {
    let promises = leader_info.get(4..).and_then(|rest| rest.first_chunk());
    promises.is_some_and(|bytes| i32::from_be_bytes(*bytes) & CONFIRMS_SYNC != 0)
}

/// A client's request on its way to the leader: data of a REQUEST packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardedRequest {
    /// The client's session.
    pub session: SessionId,
    /// The client's xid.
    pub cxid: i32,
    /// The [`crate::OpCode`], unchecked.
    pub op: i32,
    /// The request's record, unchanged; may be empty.
    pub body: Bytes,
}

impl ForwardedRequest {
    /// Reads one.
    pub fn decode(data: &Bytes) -> Result<Self> {
        let mut r = Reader::new(data);
        Ok(Self {
            session: r.i64("request session")?,
            cxid: r.i32("request cxid")?,
            op: r.i32("request type")?,
            body: crate::jute::share(data, r.rest()),
        })
    }

    /// Writes one.
    pub fn encode(&self) -> Bytes {
        let mut buf = BytesMut::with_capacity(self.encoded_len());
        self.put(&mut buf);
        buf.freeze()
    }

    /// Writes the REQUEST packet that carries it in the name of these identities.
    pub fn encode_packet(&self, auth: &[Id], buf: &mut BytesMut) {
        let len = self.encoded_len();
        buf.reserve(20 + len);
        buf.put_i32(PacketType::Request as i32);
        buf.put_i64(-1);
        // A length fits, as the body's came as one.
        buf.put_i32(len as i32);
        self.put(buf);
        buf.write_vec(auth.iter(), |b, id| id.encode(b));
    }

    /// Bytes that it takes.
    pub fn encoded_len(&self) -> usize {
        16 + self.body.len()
    }

    fn put(&self, buf: &mut BytesMut) {
        buf.put_i64(self.session);
        buf.put_i32(self.cxid);
        buf.put_i32(self.op);
        buf.put_slice(&self.body);
    }
}

/// Data of a learner's PING: sessions heard of since the last one, and their timeouts in ms.
pub fn decode_touched(data: &[u8]) -> Result<Vec<(SessionId, i32)>> {
    let mut r = Reader::new(data);
    let mut touched = Vec::with_capacity(data.len() / 12);
    while !r.is_empty() {
        touched.push((r.i64("touched session")?, r.i32("touched timeout")?));
    }
    Ok(touched)
}

/// Writes data of a learner's PING.
pub fn encode_touched(touched: impl ExactSizeIterator<Item = (SessionId, i32)>) -> Bytes {
    let mut buf = BytesMut::with_capacity(touched.len() * 12);
    for (session, timeout_ms) in touched {
        buf.put_i64(session);
        buf.put_i32(timeout_ms);
    }
    buf.freeze()
}

/// Data of a learner's REVALIDATE: session and timeout in ms.
pub fn decode_revalidate(data: &[u8]) -> Result<(SessionId, i32)> {
    let mut r = Reader::new(data);
    Ok((r.i64("session")?, r.i32("timeout")?))
}

/// Writes data of a learner's REVALIDATE.
pub fn encode_revalidate(session: SessionId, timeout_ms: i32) -> Bytes {
    crate::jute::encode(|buf| {
        buf.put_i64(session);
        buf.put_i32(timeout_ms);
    })
}

/// Data of the leader's answer to REVALIDATE: session and whether it is valid.
pub fn decode_revalidated(data: &[u8]) -> Result<(SessionId, bool)> {
    let mut r = Reader::new(data);
    Ok((r.i64("session")?, r.bool("valid")?))
}

/// Writes data of the leader's answer to REVALIDATE.
pub fn encode_revalidated(session: SessionId, valid: bool) -> Bytes {
    crate::jute::encode(|buf| {
        buf.put_i64(session);
        buf.write_bool(valid);
    })
}
