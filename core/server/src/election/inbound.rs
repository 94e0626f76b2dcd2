//! The first bytes of an accepted connection: who dials, and what becomes of the connection.

use std::io;

use bytes::BytesMut;
use palisade_wire::election::{InitialMessage, MAX_NOTIFICATION, Notification};
use palisade_wire::{DecodeError, Sid, frame};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::ElectionPort;
use super::peer::{Connection, Handover};

/// Why a connection was closed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("it did not say who it is in time")]
    Silent,
    #[error("it ended before it had said who it is")]
    Ended,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it does not speak the election protocol: {0}")]
    Malformed(#[from] DecodeError),
    #[error("it claims to be this voter, sid {0}")]
    Myself(Sid),
    #[error("sid {0} is not in the member list and smaller than ours, so it cannot be dialed back")]
    Unlisted(Sid),
    #[error("too many peers that are not in the member list")]
    Crowded,
}

/// Finds out who dialed and hands the connection over, or asks to dial back.
///
/// The larger sid is the dialer of the one connection that two voters share: what a smaller one dials only
/// asks us to dial it. A connection for a peer that is already connected must show one well-formed vote before
/// it replaces the old one, so that a stranger who guesses a sid with random bytes disturbs nobody.
pub(super) async fn identify(port: &ElectionPort, mut stream: TcpStream) -> Result<(), Refused> {
    let config = &port.shared.config;
    let mut buf = BytesMut::with_capacity(256);
    let identify = async {
        let sid = read_initial(&mut stream, &mut buf).await?;
        if sid == config.sid {
            return Err(Refused::Myself(sid));
        }
        if sid < config.sid {
            return if config.peers.contains_key(&sid) { Ok(sid) } else { Err(Refused::Unlisted(sid)) };
        }
        if !config.peers.contains_key(&sid) || port.is_connected(sid) {
            expect_vote(&mut stream, &mut buf).await?;
        }
        Ok(sid)
    };
    let sid = timeout(config.identify_timeout, identify).await.map_err(|_| Refused::Silent)??;
    let entry = port.entry(sid).ok_or(Refused::Crowded)?;
    let handover = if sid < config.sid {
        Handover::DialBack
    } else {
        Handover::Adopt(Connection { stream, received: buf })
    };
    // Full means that another connection of this peer is being handed over right now: one of the two is enough.
    if entry.handover.try_send(handover).is_err() {
        tracing::debug!(peer = sid, "connection dropped: another one came first");
    }
    Ok(())
}

async fn read_initial(stream: &mut TcpStream, buf: &mut BytesMut) -> Result<Sid, Refused> {
    loop {
        if let Some(initial) = InitialMessage::split(buf)? {
            return Ok(initial.sid);
        }
        read_more(stream, buf).await?;
    }
}

/// Waits for a well-formed vote and leaves it in `buf`.
async fn expect_vote(stream: &mut TcpStream, buf: &mut BytesMut) -> Result<(), Refused> {
    loop {
        if let Some(len) = frame::peek_len(buf) {
            let len = usize::try_from(len)
                .ok()
                .filter(|len| (1..=MAX_NOTIFICATION).contains(len))
                .ok_or(DecodeError::Length { field: "notification", len: len.into() })?;
            if let Some(body) = buf.get(4..4 + len) {
                Notification::decode(&bytes::Bytes::copy_from_slice(body))?;
                return Ok(());
            }
        }
        read_more(stream, buf).await?;
    }
}

async fn read_more(stream: &mut TcpStream, buf: &mut BytesMut) -> Result<(), Refused> {
    if stream.read_buf(buf).await? == 0 { Err(Refused::Ended) } else { Ok(()) }
}
