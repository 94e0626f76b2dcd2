//! The election port: one initial message, then framed notifications (Apache `QuorumCnxManager`, `FastLeaderElection`).

use bytes::{BufMut, Bytes, BytesMut};

use crate::jute::{DecodeError, Reader, Result, Writer};
use crate::zxid::Zxid;
use crate::{Sid, frame};

/// Initial message with the dialer's address, 3.5 and later.
const PROTOCOL_V1: i64 = -65536;
/// Initial message with several addresses, 3.6 and later with `multiAddress.enabled`.
const PROTOCOL_V2: i64 = -65535;
/// Longest address list.
const MAX_ADDRESSES: i32 = 2048;
/// Largest notification frame, bytes.
pub const MAX_NOTIFICATION: usize = 512 * 1024;

/// What a dialer says first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitialMessage {
    /// The dialer.
    pub sid: Sid,
    /// Election addresses (`host:port`) at which it can be dialed back; empty from 3.4.
    pub addresses: Vec<String>,
}

impl InitialMessage {
    /// Splits it off `buf`; `None` while it is incomplete.
    pub fn split(buf: &mut BytesMut) -> Result<Option<Self>> {
        let Some(first) = buf.first_chunk::<8>().map(|b| i64::from_be_bytes(*b)) else {
            return Ok(None);
        };
        match first {
            0.. => {
                let _sid = buf.split_to(8);
                Ok(Some(Self { sid: first, addresses: Vec::new() }))
            }
            PROTOCOL_V1 | PROTOCOL_V2 => Self::split_addressed(buf),
            other => Err(DecodeError::Unknown { field: "election protocol version", value: other }),
        }
    }

    fn split_addressed(buf: &mut BytesMut) -> Result<Option<Self>> {
        const FIXED: usize = 20;
        if buf.len() < FIXED {
            return Ok(None);
        }
        let mut r = Reader::new(buf);
        r.i64("election protocol version")?;
        let sid = r.i64("election sid")?;
        let len = r.i32("election address length")?;
        if !(1..=MAX_ADDRESSES).contains(&len) {
            return Err(DecodeError::Length { field: "election address", len: len.into() });
        }
        let len = len as usize;
        if r.rest().len() < len {
            return Ok(None);
        }
        let text = std::str::from_utf8(r.take(len, "election address")?)
            .map_err(|_| DecodeError::Malformed { field: "election address", reason: "not UTF-8" })?;
        let addresses = text.split('|').map(str::to_owned).collect::<Vec<_>>();
        if addresses.iter().any(|a| !is_host_port(a)) {
            return Err(DecodeError::Malformed { field: "election address", reason: "not host:port" });
        }
        let _message = buf.split_to(FIXED + len);
        Ok(Some(Self { sid, addresses }))
    }

    /// Writes it in the form that every version from 3.4.6 on reads. One address at most is written.
    pub fn encode(&self, buf: &mut BytesMut) {
        let Some(address) = self.addresses.first() else {
            buf.put_i64(self.sid);
            return;
        };
        buf.put_i64(PROTOCOL_V1);
        buf.put_i64(self.sid);
        buf.write_string(address);
    }
}

fn is_host_port(address: &str) -> bool {
    address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

/// What a peer is doing (`QuorumPeer.ServerState`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum PeerState {
    /// Electing.
    Looking = 0,
    /// Following a leader.
    Following = 1,
    /// Leading.
    Leading = 2,
    /// Observing a leader.
    Observing = 3,
}

/// A vote, told to another peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// The sender's state.
    pub state: PeerState,
    /// The proposed leader.
    pub leader: Sid,
    /// The proposed leader's last logged transaction.
    pub zxid: Zxid,
    /// The election round.
    pub round: i64,
    /// The proposed leader's current epoch.
    pub peer_epoch: i64,
    /// 2 if the configuration is there, lower for old peers and where it must not be compared.
    pub version: i32,
    /// The sender's last seen configuration.
    pub config: Option<Bytes>,
}

impl Notification {
    /// Length of a notification of versions 0 and 1.
    const V1_LEN: usize = 40;

    /// Reads the body of a frame.
    ///
    /// Accepts 28 bytes (3.3), 36 and 40 bytes (3.4) and the form with a configuration (3.5 and later).
    pub fn decode(body: &Bytes) -> Result<Self> {
        let mut r = Reader::new(body);
        let state = match r.i32("state")? {
            0 => PeerState::Looking,
            1 => PeerState::Following,
            2 => PeerState::Leading,
            3 => PeerState::Observing,
            other => {
                return Err(DecodeError::Unknown { field: "state", value: other.into() });
            }
        };
        let leader = r.i64("leader")?;
        let zxid = Zxid(r.i64("zxid")?);
        let round = r.i64("election epoch")?;
        let peer_epoch = if r.is_empty() { zxid.0 >> 32 } else { r.i64("peer epoch")? };
        let mut version = if r.is_empty() { 0 } else { r.i32("version")? };
        let mut config = None;
        if body.len() == Self::V1_LEN {
            version = 0;
        } else if version > 1 {
            config = Some(crate::jute::share(body, r.buffer("config")?));
        }
        Ok(Self { state, leader, zxid, round, peer_epoch, version, config })
    }

    /// Writes the frame.
    pub fn encode(&self, buf: &mut BytesMut) {
        frame::write(buf, |b| {
            b.put_i32(self.state as i32);
            b.put_i64(self.leader);
            b.put_i64(self.zxid.0);
            b.put_i64(self.round);
            b.put_i64(self.peer_epoch);
            b.put_i32(self.version);
            if let Some(config) = &self.config {
                b.write_buffer(config);
            }
        });
    }
}
