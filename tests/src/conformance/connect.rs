//! How clients of a run come and go.

use palisade_wire::connect::{ConnectRequest, ConnectResponse, PASSWORD_LEN};
use palisade_wire::request::Request;
use palisade_wire::{OpCode, SessionId, Zxid};

use super::TIMEOUTS_MS;
use super::connection::{Connection, Silence};
use super::run::Run;
use super::step::{Call, Connect, How};

/// A session as its client knows it.
pub(super) type Session = (SessionId, [u8; PASSWORD_LEN]);

/// One client.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) connection: Option<Connection>,
    pub(super) session: Option<Session>,
    /// Of the connection's last request.
    pub(super) xid: i32,
    /// The zxid of the session's last reply.
    pub(super) last_seen: i64,
}

impl Connect {
    pub(super) const fn new_session(timeout_ms: i32) -> Self {
        Self { how: How::New, timeout_ms, read_only: Some(false) }
    }
}

impl Run<'_> {
    pub(super) fn connect(&mut self, slot: usize, connect: Connect) {
        let session = self.slots[slot].session;
        let is_taken_over = connect.how == How::TakeOver;
        let old = self.slots[slot].connection.take().filter(|_| is_taken_over);
        let mut seen = self.slots[slot].last_seen;
        let asked = match connect.how {
            How::New => {
                self.left.extend(self.slots[slot].session.take());
                None
            }
            How::Resume | How::TakeOver => session,
            How::WrongPassword => session.map(|(id, _)| (id, [7; PASSWORD_LEN])),
            How::Unknown => Some((0x0123_4567_89ab_cdef, [7; PASSWORD_LEN])),
            How::Ahead => {
                seen = i64::MAX;
                session
            }
        };
        let mut connection = self.open(asked, Zxid(seen), connect);
        match connection.connected() {
            Err(Silence) => self.silence(),
            Ok(None) => self.told.push("no answer but the end".to_owned()),
            Ok(Some((len, response))) => {
                self.response(len, &response);
                if response.session == 0 {
                    self.until_the_end(connection);
                } else {
                    self.slots[slot].session = Some((response.session, response.password));
                    self.slots[slot].connection = Some(connection);
                    self.slots[slot].xid = 0;
                }
            }
        }
        if let Some(old) = old {
            self.told.push("the old connection:".to_owned());
            self.until_the_end(old);
        }
        self.level_sessions();
    }

    /// A client of its own.
    pub(super) fn dial_bystander(&self) -> Option<(Connection, Session)> {
        let mut connection = self.open(None, Zxid::ZERO, Connect::new_session(TIMEOUTS_MS.1));
        let (_, response) = connection.connected().ok()??;
        Some((connection, (response.session, response.password)))
    }

    fn response(&mut self, len: usize, response: &ConnectResponse) {
        let name = self.names.session(response.session);
        let (timeout, read_only) = (response.timeout_ms, response.read_only);
        self.told.push(format!("session {name} for {timeout} ms, {read_only:?}, {len} bytes"));
    }

    /// First bytes that need not be a connect request.
    pub(super) fn handshake(&mut self, bytes: &[u8]) {
        let mut connection = Connection::dial(self.address);
        connection.send(bytes);
        match connection.connected() {
            Err(Silence) => self.silence(),
            Ok(None) => self.told.push("no answer but the end".to_owned()),
            Ok(Some((len, response))) => {
                self.response(len, &response);
                if response.session != 0 {
                    self.left.push((response.session, response.password));
                }
            }
        }
        self.level_sessions();
    }

    /// Ends a session that nobody uses.
    pub(super) fn bury(&mut self, session: Session) {
        let mut connection = self.open(Some(session), Zxid::ZERO, Connect::new_session(TIMEOUTS_MS.1));
        if let Ok(Some((_, response))) = connection.connected()
            && response.session == session.0
        {
            connection.send(&Call::new(OpCode::CloseSession, &Request::CloseSession).frame(1, 0, self.root));
            while let Ok(Some(_)) = connection.frame() {}
        }
    }

    fn open(&self, session: Option<Session>, seen: Zxid, connect: Connect) -> Connection {
        let (session, password) = session.unwrap_or_default();
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: seen,
            timeout_ms: connect.timeout_ms,
            session,
            password: &password,
            read_only: connect.read_only,
        };
        Connection::open(self.address, &request)
    }
}
