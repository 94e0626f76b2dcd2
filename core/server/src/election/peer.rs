//! One other voter: dialing it, telling it our vote, hearing its votes.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use palisade_wire::election::{InitialMessage, MAX_NOTIFICATION, Notification};
use palisade_wire::{Sid, frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use super::{ElectionEvent, Shared};
use crate::net::{DialError, dial};

/// Pause after the first failed dial; doubles with each further one.
const MIN_PAUSE: Duration = Duration::from_millis(50);
/// Longest pause. Short, because an election waits for it.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// Time that a peer with a larger sid has to dial back before it is asked again: asking ends the connection that it
/// may be about to make.
const DIAL_BACK_WAIT: Duration = Duration::from_millis(250);

/// The other side of a [`Peer`].
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) outbox: Arc<watch::Sender<Option<Notification>>>,
    pub(super) handover: mpsc::Sender<Handover>,
    pub(super) connected: watch::Receiver<bool>,
}

/// What an accepted connection means for a peer.
pub(super) enum Handover {
    /// It is the connection now.
    Adopt(Connection),
    /// The peer has no connection and may not be its dialer: dial it.
    DialBack,
}

/// A connection whose other end is known.
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    /// Bytes that came in already.
    pub(super) received: BytesMut,
}

pub(super) struct Peer {
    pub(super) shared: Arc<Shared>,
    pub(super) sid: Sid,
    /// Where to dial it; `None` if it is not in the member list.
    pub(super) address: Option<String>,
    pub(super) outgoing: watch::Receiver<Option<Notification>>,
    pub(super) inbound: mpsc::Receiver<Handover>,
    pub(super) connected: watch::Sender<bool>,
}

impl Peer {
    /// Runs until shutdown or, for a peer outside the member list, until its connection ends.
    pub(super) async fn run(mut self) {
        let mut wanted = false;
        while let Some(first) = self.connect(wanted).await {
            let mut next = Some(first);
            wanted = false;
            while let Some(connection) = next.take() {
                self.connected.send_replace(true);
                if self.shared.events.send(ElectionEvent::Up(self.sid)).await.is_err() {
                    return;
                }
                match self.talk(connection).await {
                    Ended::Replaced(connection) => next = Some(connection),
                    Ended::DialBack => wanted = true,
                    Ended::Broken(error) if self.shared.gate.pass().is_some() => {
                        tracing::info!(peer = self.sid, %error, "election connection ended");
                    }
                    Ended::Broken(_) => {}
                }
            }
            self.connected.send_replace(false);
            if self.address.is_none() {
                return;
            }
        }
    }

    /// Waits for a connection: one that the peer dialed or, once there is something to say, one that we dialed.
    async fn connect(&mut self, mut wanted: bool) -> Option<Connection> {
        let mut pause = Duration::ZERO;
        loop {
            tokio::select! {
                biased;
                handover = self.inbound.recv() => match handover? {
                    Handover::Adopt(connection) => return Some(connection),
                    Handover::DialBack => (wanted, pause) = (true, Duration::ZERO),
                },
                changed = self.outgoing.changed(), if !wanted => {
                    changed.ok()?;
                    wanted = true;
                }
                dialed = dial_peer(&self.shared, self.sid, self.address.as_deref(), pause), if wanted => {
                    match dialed {
                        Ok(ControlFlow::Break(connection)) => return Some(connection),
                        Ok(ControlFlow::Continue(())) => pause = DIAL_BACK_WAIT,
                        Err(error) if pause.is_zero() => {
                            tracing::warn!(peer = self.sid, %error, "cannot dial; trying again");
                        }
                        Err(error) => tracing::debug!(peer = self.sid, %error, "cannot dial"),
                    }
                    pause = (pause * 2).clamp(MIN_PAUSE, MAX_PAUSE);
                }
            }
        }
    }

    /// Tells and hears votes until the connection is of no more use.
    async fn talk(&mut self, connection: Connection) -> Ended {
        let Connection { mut stream, mut received } = connection;
        // The peer may have lost what an earlier connection carried, so the last vote is told again.
        self.outgoing.mark_changed();
        loop {
            loop {
                match frame::split(&mut received, MAX_NOTIFICATION) {
                    Ok(Some(body)) if body.is_empty() => return Ended::Broken(malformed("an empty frame")),
                    Ok(Some(body)) => self.hear(&body).await,
                    Ok(None) => break,
                    Err(error) => return Ended::Broken(malformed(error)),
                }
            }
            tokio::select! {
                biased;
                handover = self.inbound.recv() => return match handover {
                    Some(Handover::Adopt(connection)) => Ended::Replaced(connection),
                    Some(Handover::DialBack) => Ended::DialBack,
                    None => Ended::Broken(io::Error::other("shutting down")),
                },
                changed = self.outgoing.changed() => {
                    if changed.is_err() {
                        return Ended::Broken(io::Error::other("shutting down"));
                    }
                    if let Err(error) = self.tell(&mut stream).await {
                        return Ended::Broken(error);
                    }
                }
                read = stream.read_buf(&mut received) => match read {
                    Ok(0) => return Ended::Broken(io::ErrorKind::UnexpectedEof.into()),
                    Ok(_) => {}
                    Err(error) => return Ended::Broken(error),
                },
            }
        }
    }

    async fn hear(&self, body: &bytes::Bytes) {
        match Notification::decode(body) {
            // Refused only at shutdown.
            Ok(vote) => drop(self.shared.events.send(ElectionEvent::Vote(self.sid, vote)).await),
            Err(error) => tracing::debug!(peer = self.sid, %error, "vote ignored"),
        }
    }

    async fn tell(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        let mut buf = BytesMut::new();
        if let Some(vote) = &*self.outgoing.borrow_and_update() {
            vote.encode(&mut buf);
        }
        within(self.shared.config.connect_timeout, stream.write_all(&buf)).await
    }
}

/// Why [`Peer::talk`] returned.
enum Ended {
    /// By a newer connection.
    Replaced(Connection),
    /// The peer does not have this connection any more.
    DialBack,
    Broken(io::Error),
}

/// After `pause`, dials and introduces ourselves. A peer with a larger sid is to dial back: then there is no
/// connection yet.
async fn dial_peer(
    shared: &Shared,
    sid: Sid,
    address: Option<&str>,
    pause: Duration,
) -> Result<ControlFlow<Connection>, DialError> {
    sleep(pause).await;
    let Some(address) = address else { return std::future::pending().await };
    let config = &shared.config;
    let mut stream = dial(address, config.connect_timeout).await?;
    let mut hello = BytesMut::new();
    InitialMessage { sid: config.sid, addresses: vec![config.own_address.clone()] }.encode(&mut hello);
    within(config.connect_timeout, stream.write_all(&hello))
        .await
        .map_err(|source| DialError::Connect { address: address.to_owned(), source })?;
    Ok(if config.sid > sid {
        ControlFlow::Break(Connection { stream, received: BytesMut::with_capacity(256) })
    } else {
        ControlFlow::Continue(())
    })
}

async fn within<T>(limit: Duration, io: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(limit, io).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

fn malformed(error: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}
