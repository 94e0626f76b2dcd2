//! From an accepted socket to an established session (Apache `ZooKeeperServer.processConnectRequest`).

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use palisade_admin::port;
use palisade_admin::words::{Question, Word};
use palisade_wire::connect::{ConnectRequest, ConnectResponse};
use palisade_wire::{Id, SessionId, Zxid, frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::Edge;
use super::claim::{Claim, Claimed};
use super::client::Client;
use super::connection::{Established, finish};
use super::outbox::CloseReason;
use crate::exec::status::Mode;
use crate::session::{Proof, Refusal, negotiate};

/// Largest first frame: a connect request has 45 bytes, and some room for an odd password.
const MAX_CONNECT: usize = 1024;
/// How often a client that is ahead of the replica is looked at again.
const LAG_POLL: Duration = Duration::from_millis(5);
/// How long a client that is ahead of the replica may wait for it.
const MAX_LAG: Duration = Duration::from_secs(1);

/// What a connection turned out to be.
pub(super) enum Opened {
    /// A client with a session.
    Session(Established, TcpStream),
    /// Something that is over: monitoring, or a client that was turned away.
    Over(CloseReason),
}

impl Wanted {
    /// What the client must not be shown less than: what it saw, and what its session was vouched for at.
    fn has_seen(&self) -> Zxid {
        match self.proof {
            Proof::Vouched(at) => self.last_zxid_seen.max(at),
            Proof::Apache | Proof::Wrong => self.last_zxid_seen,
        }
    }
}

/// A socket whose client has not said yet what it wants.
pub(super) struct Opening {
    pub greeting: Greeting,
    pub stream: TcpStream,
    /// When the client must have said what it wants.
    pub deadline: Instant,
}

/// A client that has no session yet.
pub(super) struct Greeting {
    pub edge: Arc<Edge>,
    pub client: Arc<Client>,
    pub ids: Arc<[Id]>,
}

/// What came of a connect request.
pub(super) enum Greeted {
    /// A session.
    Session(Established),
    /// The session has ended: the client is told so.
    Ended(ConnectResponse),
    /// The client was turned away without a word.
    Over(CloseReason),
}

/// The parts of a connect request that outlive its frame.
pub(super) struct Wanted {
    last_zxid_seen: Zxid,
    pub(super) timeout: Duration,
    pub(super) session: SessionId,
    pub(super) proof: Proof,
    read_only: Option<bool>,
}

impl Opening {
    /// Reads the first words, and answers them.
    pub(super) async fn open(mut self) -> Opened {
        let mut inbox = BytesMut::new();
        let wanted = match self.first_words(&mut inbox).await {
            Ok(Some(wanted)) => wanted,
            Ok(None) => return Opened::Over(CloseReason::ClosedByClient),
            Err(reason) => return Opened::Over(reason),
        };
        let Self { greeting, stream, deadline } = self;
        match greeting.establish(wanted, inbox).await {
            Greeted::Session(established) => Opened::Session(established, stream),
            Greeted::Ended(response) => Opened::Over(send_refusal(stream, &response, deadline).await),
            Greeted::Over(reason) => Opened::Over(reason),
        }
    }

    /// The connect request; `None` if it was a four-letter word, which is answered.
    async fn first_words(&mut self, inbox: &mut BytesMut) -> Result<Option<Wanted>, CloseReason> {
        self.read_until(inbox, 4).await?;
        if let Some(word) = inbox.first_chunk::<4>().and_then(|b| Word::parse(*b)) {
            self.four_letter(word, inbox).await?;
            return Ok(None);
        }
        let len = frame::peek_len(inbox).and_then(|len| usize::try_from(len).ok());
        let len = len.filter(|len| *len <= MAX_CONNECT).ok_or(CloseReason::Malformed)?;
        self.read_until(inbox, 4 + len).await?;
        let frame = inbox.split_to(4 + len);
        self.greeting.wanted(&frame[4..]).map(Some)
    }

    async fn read_until(&mut self, inbox: &mut BytesMut, len: usize) -> Result<(), CloseReason> {
        while inbox.len() < len {
            inbox.reserve(MAX_CONNECT);
            let read = timeout_at(self.deadline, self.stream.read_buf(inbox)).await;
            match read {
                Err(_) => return Err(CloseReason::Idle),
                Ok(Ok(0) | Err(_)) => return Err(CloseReason::Gone),
                Ok(Ok(read)) => self.greeting.edge.hub.metrics().bytes_received_count.add(read as u64),
            }
        }
        Ok(())
    }

    async fn four_letter(&mut self, word: Word, inbox: &mut BytesMut) -> Result<(), CloseReason> {
        let mut argument = None;
        if word == Word::Stmk {
            self.read_until(inbox, 12).await?;
            argument = inbox.get(4..).and_then(|b| b.first_chunk::<8>()).map(|b| i64::from_be_bytes(*b));
        }
        let Greeting { edge, client, .. } = &self.greeting;
        client.stats.received(1);
        edge.hub.stats().received(1);
        let answer = if edge.allows(word) {
            Question { word, argument, asking: Some(client.number()) }.answer(edge)
        } else {
            Box::new(std::iter::once(word.refusal()))
        };
        port::write(&mut self.stream, answer).await.map_err(|_| CloseReason::Gone)
    }
}

impl Greeting {
    /// What a connect request asks for.
    pub(super) fn wanted(&self, frame: &[u8]) -> Result<Wanted, CloseReason> {
        let request = ConnectRequest::decode(frame).map_err(|_| CloseReason::Malformed)?;
        let sessions = &self.edge.config.sessions;
        let session = request.session;
        let metrics = self.edge.hub.metrics();
        self.edge.hub.stats().received(1);
        self.client.stats.received(1);
        metrics.connection_request_count.inc();
        if session != 0 {
            metrics.connection_revalidate_count.inc();
        }
        Ok(Wanted {
            last_zxid_seen: request.last_zxid_seen,
            timeout: negotiate(request.timeout_ms, sessions.min_timeout, sessions.max_timeout),
            session,
            proof: self.edge.passwords.check(session, request.password),
            read_only: request.read_only,
        })
    }

    /// Counts the answer to a connect request, and the new session that was made meanwhile.
    fn count(&self, is_new: bool, took: Duration) {
        let stats = self.edge.hub.stats();
        stats.sent(1);
        self.client.stats.sent(1);
        if is_new {
            stats.began_session(took, self.edge.config.sessions.local);
        }
    }

    /// Finds or makes the session. `inbox` has what the client sent behind its connect request.
    pub(super) async fn establish(self, wanted: Wanted, inbox: BytesMut) -> Greeted {
        let patience = self.edge.patience(wanted.timeout);
        let deadline = Instant::now() + patience;
        let mut rooted = self.edge.rooted.subscribe();
        if !matches!(timeout_at(deadline, rooted.wait_for(|rooted| *rooted)).await, Ok(Ok(_))) {
            return Greeted::Over(CloseReason::NoLeader);
        }
        let now = Instant::now();
        // Whoever has made up a session takes nobody's turn.
        if wanted.session == 0 || wanted.proof != Proof::Wrong {
            let Some(turn) = self.turn(wanted.session == 0, now, deadline) else {
                return Greeted::Over(CloseReason::Refused);
            };
            if turn > now {
                sleep_until(turn).await;
            }
        }
        if !self.edge.replica.is_whole() {
            return Greeted::Over(CloseReason::NoLeader);
        }
        if self.edge.status.mode() == Mode::CutOff || self.edge.accepting.is_cancelled() {
            return Greeted::Over(CloseReason::NoLeader);
        }
        if !self.caught_up(wanted.has_seen(), patience.min(MAX_LAG)).await {
            self.edge.refusals.note(Refusal::Ahead, self.client.peer(), wanted.session);
            return Greeted::Over(CloseReason::Refused);
        }
        let mut link_state = self.edge.link.state();
        let mut claim =
            Claim { edge: &self.edge, client: &self.client, link_state: &mut link_state, deadline };
        let claimed = claim.make(&wanted).await;
        match claimed {
            Claimed::Unknown => Greeted::Over(CloseReason::NoLeader),
            Claimed::Ended => {
                let read_only = wanted.read_only.map(|_| false);
                Greeted::Ended(ConnectResponse::refused(read_only))
            }
            Claimed::Lives { session, password, introduced } => {
                let only_reads = wanted.read_only == Some(true) && !link_state.borrow().is_connected();
                let response = ConnectResponse {
                    protocol_version: 0,
                    timeout_ms: millis(wanted.timeout),
                    session,
                    password,
                    read_only: wanted.read_only.map(|_| only_reads),
                };
                self.count(wanted.session == 0, now.elapsed());
                self.client.push_response(&response);
                self.client.stats.set_timeout(wanted.timeout);
                let Self { edge, client, ids } = self;
                let timeout = wanted.timeout;
                Greeted::Session(Established {
                    edge,
                    client,
                    session,
                    timeout,
                    ids,
                    inbox,
                    link_state,
                    introduced,
                    only_reads,
                })
            }
        }
    }

    /// When it is this client's turn, unless that is after `deadline`.
    fn turn(&self, is_new: bool, now: Instant, deadline: Instant) -> Option<Instant> {
        let turn = self.edge.pace.turn(is_new, now, deadline)?;
        if !is_new {
            return Some(turn);
        }
        let address = self.client.peer().ip().to_canonical();
        let begins = self.edge.throttle.new_session(address, now, deadline);
        if begins.is_none() {
            self.edge.top.refused(address, None);
        }
        Some(begins?.max(turn))
    }

    /// Waits a little for the replica if the client has seen more than it: with several gateways, one may lag behind
    /// another. A client that is still ahead then must look for another gateway (§ ordering: never back in time).
    async fn caught_up(&self, seen: Zxid, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while seen > self.edge.replica.last_zxid() {
            if Instant::now() >= deadline {
                return false;
            }
            sleep(LAG_POLL).await;
        }
        true
    }
}

/// Past the outbox, which may have ended with the session.
async fn send_refusal(mut stream: TcpStream, response: &ConnectResponse, deadline: Instant) -> CloseReason {
    let mut bytes = BytesMut::new();
    frame::write(&mut bytes, |b| response.encode(b));
    let written = timeout_at(deadline, stream.write_all(&bytes)).await;
    match written {
        Ok(Ok(())) => {
            finish(stream).await;
            CloseReason::SessionEnded
        }
        Ok(Err(_)) | Err(_) => CloseReason::Gone,
    }
}

pub(super) fn millis(timeout: Duration) -> i32 {
    i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX)
}
