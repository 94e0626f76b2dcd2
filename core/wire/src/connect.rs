//! The handshake of a client connection. Neither message has a header (facts of `ZooKeeperServer.processConnectRequest`).

use bytes::BufMut;

use crate::SessionId;
use crate::jute::{Reader, Result, Writer};
use crate::zxid::Zxid;

/// Bytes of a session's password.
pub const PASSWORD_LEN: usize = 16;

/// First frame of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectRequest<'a> {
    /// Always 0; servers ignore it.
    pub protocol_version: i32,
    /// The largest zxid that the client has seen in a reply.
    pub last_zxid_seen: Zxid,
    /// Wanted session timeout, ms.
    pub timeout_ms: i32,
    /// 0 for a new session.
    pub session: SessionId,
    /// Password of the session to resume; any content, null included, for a new one.
    pub password: &'a [u8],
    /// Whether a read-only server will do; `None` if the client is too old to send the byte, and must then not
    /// be sent it either.
    pub read_only: Option<bool>,
}

impl<'a> ConnectRequest<'a> {
    /// Reads one. Bytes after the record are ignored.
    pub fn decode(body: &'a [u8]) -> Result<Self> {
        let mut r = Reader::new(body);
        Ok(Self {
            protocol_version: r.i32("protocolVersion")?,
            last_zxid_seen: Zxid(r.i64("lastZxidSeen")?),
            timeout_ms: r.i32("timeOut")?,
            session: r.i64("sessionId")?,
            password: r.opt_buffer("passwd")?.unwrap_or_default(),
            read_only: if r.is_empty() { None } else { Some(r.bool("readOnly")?) },
        })
    }

    /// Writes one.
    pub fn encode(&self, buf: &mut impl BufMut) {
        buf.put_i32(self.protocol_version);
        buf.put_i64(self.last_zxid_seen.0);
        buf.put_i32(self.timeout_ms);
        buf.put_i64(self.session);
        buf.write_buffer(self.password);
        if let Some(read_only) = self.read_only {
            buf.write_bool(read_only);
        }
    }
}

/// The server's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectResponse {
    /// Always 0.
    pub protocol_version: i32,
    /// Negotiated session timeout, ms; 0 if the session is not valid.
    pub timeout_ms: i32,
    /// The session's id; 0 if the session is not valid.
    pub session: SessionId,
    /// The session's password; zeros if the session is not valid. C clients need exactly 16 bytes.
    pub password: [u8; PASSWORD_LEN],
    /// Whether the server is read-only; sent if and only if the client sent its byte.
    pub read_only: Option<bool>,
}

impl ConnectResponse {
    /// The answer to a client whose session is unknown, expired, or not its own.
    pub const fn refused(read_only: Option<bool>) -> Self {
        Self { protocol_version: 0, timeout_ms: 0, session: 0, password: [0; PASSWORD_LEN], read_only }
    }

    /// Reads one.
    pub fn decode(body: &[u8]) -> Result<Self> {
        let mut r = Reader::new(body);
        Ok(Self {
            protocol_version: r.i32("protocolVersion")?,
            timeout_ms: r.i32("timeOut")?,
            session: r.i64("sessionId")?,
            password: {
                let bytes = r.buffer("passwd")?;
                bytes
                    .try_into()
                    .map_err(|_| crate::DecodeError::Length { field: "passwd", len: bytes.len() as i64 })?
            },
            read_only: if r.is_empty() { None } else { Some(r.bool("readOnly")?) },
        })
    }

    /// Writes one.
    pub fn encode(&self, buf: &mut impl BufMut) {
        buf.put_i32(self.protocol_version);
        buf.put_i32(self.timeout_ms);
        buf.put_i64(self.session);
        buf.write_buffer(&self.password);
        if let Some(read_only) = self.read_only {
            buf.write_bool(read_only);
        }
    }
}

/// The password of a session: a pure function of its id that every Apache server computes alike
/// (`ZooKeeperServer.generatePasswd`: sixteen bytes of `java.util.Random` seeded with the id XOR 0xB3415C00).
pub fn session_password(session: SessionId) -> [u8; PASSWORD_LEN] {
    const MULTIPLIER: u64 = 0x5_DEEC_E66D;
    const MASK: u64 = (1 << 48) - 1;
    let mut state = (session as u64 ^ 0xB341_5C00 ^ MULTIPLIER) & MASK;
    let mut password = [0; PASSWORD_LEN];
    for chunk in password.chunks_exact_mut(4) {
        state = state.wrapping_mul(MULTIPLIER).wrapping_add(0xB) & MASK;
        chunk.copy_from_slice(&((state >> 16) as u32).to_le_bytes());
    }
    password
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_those_of_the_real_server() {
        let hex = |id| session_password(id).iter().map(|b| format!("{b:02x}")).collect::<String>();
        assert_eq!(hex(0x0100_0011_55f9_0000), "0d7e1f3f168b397233c8be494f58bf2c");
        assert_eq!(hex(0x0100_000f_9fc8_0000), "4afd032c0f8610cc385a4ffb70021a9d");
    }

    #[test]
    fn the_read_only_byte_is_optional() {
        for read_only in [None, Some(false), Some(true)] {
            let request = ConnectRequest {
                protocol_version: 0,
                last_zxid_seen: Zxid(7),
                timeout_ms: 4000,
                session: -5,
                password: &[1; 16],
                read_only,
            };
            let mut buf = Vec::new();
            request.encode(&mut buf);
            assert_eq!(buf.len(), if read_only.is_some() { 45 } else { 44 });
            assert_eq!(ConnectRequest::decode(&buf), Ok(request));
            let mut buf = Vec::new();
            ConnectResponse::refused(read_only).encode(&mut buf);
            assert_eq!(buf.len(), if read_only.is_some() { 37 } else { 36 });
            assert_eq!(ConnectResponse::decode(&buf), Ok(ConnectResponse::refused(read_only)));
        }
    }
}
