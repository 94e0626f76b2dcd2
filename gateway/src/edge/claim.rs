//! The session that a client asks for: a new one, or one that it had before.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use palisade_wire::connect::PASSWORD_LEN;
use palisade_wire::request::Request;
use palisade_wire::{OpCode, SessionId, Zxid};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use super::Edge;
use super::client::{Client, SESSION_TAG, Verdict};
use super::handshake::{Wanted, millis};
use crate::config::Owners;
use crate::core_link::{LinkState, Place, Refused, Ticket};
use crate::session::adoption::{Standing, standing};
use crate::session::{Proof, Refusal};

/// Pause before the core is asked again by whom requests of his own keep from it: he has no place in line.
const BUSY_RETRY: Duration = Duration::from_millis(100);

/// A client's wish for a session.
pub(super) struct Claim<'a> {
    pub edge: &'a Arc<Edge>,
    pub client: &'a Arc<Client>,
    pub link_state: &'a mut watch::Receiver<LinkState>,
    /// When it must be decided.
    pub deadline: Instant,
}

/// What came of it.
pub(super) enum Claimed {
    /// The session lives, and is this connection's.
    Lives {
        session: SessionId,
        /// What the client shall present next time.
        password: [u8; PASSWORD_LEN],
        /// Whether the leader need not be told any more that this gateway has the session.
        introduced: bool,
    },
    /// It has ended, or never was.
    Ended,
    /// That cannot be told now, or there is no room: the client shall try elsewhere.
    Unknown,
}

/// A session that was looked up in the replica.
enum Found {
    /// Let in, as of this zxid.
    Taken {
        at: Zxid,
        introduced: bool,
    },
    /// Not known to have ended by this zxid: the core decides.
    AskTheCore {
        at: Zxid,
    },
    Ended,
    TooMany,
}

impl Claim<'_> {
    pub(super) async fn make(&mut self, wanted: &Wanted) -> Claimed {
        if wanted.session != 0 {
            return self.resume(wanted).await;
        }
        let session = self.edge.session_ids.issue();
        self.edge.hub.attach(session, self.client);
        // Whatever becomes of the session comes after this.
        let at = self.edge.replica.last_zxid();
        let verdict = if self.edge.config.sessions.local {
            self.create_local(session, wanted.timeout).await
        } else {
            self.create(session, wanted.timeout).await
        };
        let password = self.edge.passwords.issue(session, at);
        claimed(verdict, session, password)
    }

    async fn create(&mut self, session: SessionId, timeout: Duration) -> Verdict {
        let edge = Arc::clone(self.edge);
        let mut body = BytesMut::new();
        Request::CreateSession(millis(timeout)).encode(&mut body);
        let body: Bytes = body.freeze();
        let call = (session, 0, OpCode::CreateSession);
        self.ask(|ticket, place| edge.forward(call, body.clone(), Arc::default(), ticket, place)).await
    }

    /// The core learns of it when it needs to. Who was never in sync has nothing to read, and lets nobody in.
    async fn create_local(&mut self, session: SessionId, timeout: Duration) -> Verdict {
        let edge = Arc::clone(self.edge);
        let link_state = &mut *self.link_state;
        let open = async { while !edge.admits_new_sessions() && link_state.changed().await.is_ok() {} };
        if timeout_at(self.deadline, open).await.is_err() {
            return Verdict::Unknown;
        }
        if !edge.hub.local().add(session, millis(timeout)) {
            self.refuse(Refusal::TooMany, session);
            return Verdict::Unknown;
        }
        self.client.begin_local();
        Verdict::Lives
    }

    async fn resume(&mut self, wanted: &Wanted) -> Claimed {
        let Wanted { session, proof, timeout, .. } = *wanted;
        // Closes the session's other connection here, even if the password is wrong: so does Apache.
        self.edge.hub.attach(session, self.client);
        if proof == Proof::Wrong {
            self.refuse(Refusal::Password, session);
            return Claimed::Ended;
        }
        match self.find(session, proof, millis(timeout)) {
            Found::Taken { at, introduced } => {
                let password = self.edge.passwords.renew(session, proof, at);
                Claimed::Lives { session, password, introduced }
            }
            Found::AskTheCore { at } => {
                let edge = Arc::clone(self.edge);
                let ask =
                    |ticket, place: &mut _| edge.link.revalidate(session, millis(timeout), ticket, place);
                let verdict = self.ask(ask).await;
                if verdict == Verdict::Ended {
                    self.refuse(Refusal::Session, session);
                }
                claimed(verdict, session, self.edge.passwords.renew(session, proof, at))
            }
            Found::Ended => {
                self.refuse(Refusal::Session, session);
                Claimed::Ended
            }
            Found::TooMany => {
                self.refuse(Refusal::TooMany, session);
                Claimed::Unknown
            }
        }
    }

    /// Looks the session up, and takes it in if nobody else needs to be asked. No transaction comes in between.
    fn find(&self, session: SessionId, proof: Proof, timeout_ms: i32) -> Found {
        let Edge { hub, replica, link, config, .. } = &**self.edge;
        let tree = replica.read();
        // The password stays, as clients know it from Apache, unless this gateway could not adopt the session by it.
        let at = match proof {
            Proof::Vouched(before) if replica.closed().horizon() <= before => before,
            _ => tree.last_zxid(),
        };
        if hub.local().was_closed(session) {
            return Found::Ended;
        }
        if hub.local().touch(session, timeout_ms) {
            self.client.set_local(true);
            return Found::Taken { at, introduced: false };
        }
        match standing(&tree, &replica.closed(), session, proof) {
            Standing::Local if hub.local().add(session, timeout_ms) => {
                self.client.set_local(true);
                Found::Taken { at, introduced: false }
            }
            Standing::Local => Found::TooMany,
            // Without a core, a reader is let in on what the replica knows, and asked for later.
            Standing::Global if !link.state().borrow().is_connected() => {
                let owns = tree.ephemerals(session).next().is_some();
                if config.stale_reads.enabled && (!owns || config.stale_reads.owners == Owners::Keep) {
                    Found::Taken { at, introduced: false }
                } else {
                    Found::AskTheCore { at }
                }
            }
            Standing::Global | Standing::Unclear => Found::AskTheCore { at },
            Standing::Ended => Found::Ended,
        }
    }

    fn refuse(&self, refusal: Refusal, session: SessionId) {
        self.edge.refusals.note(refusal, self.client.peer(), session);
    }

    /// Asks the core, as soon as there is one, and waits for its verdict, both until the deadline.
    async fn ask(&mut self, ask: impl Fn(Ticket, &mut Place) -> Result<(), Refused>) -> Verdict {
        let (client, link_state) = (self.client, &mut *self.link_state);
        let asked = async {
            let mut place = Place::default();
            loop {
                link_state.mark_unchanged();
                match ask(Ticket::new(Arc::clone(client) as _, SESSION_TAG), &mut place) {
                    Ok(()) => break,
                    Err(Refused::Busy(_)) if place.is_behind_itself() => sleep(BUSY_RETRY).await,
                    Err(Refused::Busy(_)) => client.changed().await,
                    Err(Refused::NotConnected | Refused::NotForwarded(_)) => {
                        if link_state.changed().await.is_err() {
                            return Verdict::Unknown;
                        }
                    }
                }
            }
            loop {
                if let Some(verdict) = client.lock().verdict.take() {
                    return verdict;
                }
                client.changed().await;
            }
        };
        timeout_at(self.deadline, asked).await.unwrap_or(Verdict::Unknown)
    }
}

const fn claimed(verdict: Verdict, session: SessionId, password: [u8; PASSWORD_LEN]) -> Claimed {
    match verdict {
        Verdict::Lives => Claimed::Lives { session, password, introduced: true },
        Verdict::Ended => Claimed::Ended,
        Verdict::Unknown => Claimed::Unknown,
    }
}
