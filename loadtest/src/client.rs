//! A connection with a session: frames out, replies in. No more of a client than measuring needs.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use palisade_wire::connect::{ConnectRequest, ConnectResponse};
use palisade_wire::reply::ReplyHeader;
use palisade_wire::request::{Request, RequestHeader, xid};
use palisade_wire::{DecodeError, ErrorCode, OpCode, Reader, Zxid, frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Session timeout that is asked for.
const SESSION_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a dial and a handshake may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest reply that is accepted.
const MAX_REPLY: usize = 4 << 20;

/// Why a connection is of no use any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// It could not be opened in time.
    #[error(
        "{0} did not answer within {CONNECT_TIMEOUT:?}; is a server listening there, and has it a leader?"
    )]
    ConnectTimeout(String),
    /// The operating system refused or broke it.
    #[error("connection to {target}: {source}")]
    Io {
        /// The server.
        target: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The server closed it.
    #[error("{0} closed the connection")]
    Closed(String),
    /// The server refused to open a session.
    #[error("{0} refused a new session")]
    Refused(String),
    /// The bytes are not ZooKeeper's client protocol.
    #[error("{target} sent what is not a reply: {source}")]
    Protocol {
        /// The server.
        target: String,
        /// What is wrong with the bytes.
        source: DecodeError,
    },
    /// Replies must arrive in the order of the requests.
    #[error("{target} answered request {got} where {expected} was due")]
    Order {
        /// The server.
        target: String,
        /// The xid that was due.
        expected: i32,
        /// The xid that came.
        got: i32,
    },
    /// A request that setting up needs failed.
    #[error("{target}: cannot {what}: {error}")]
    Setup {
        /// The server.
        target: String,
        /// What was tried.
        what: String,
        /// The server's answer.
        error: ErrorCode,
    },
}

/// One session on one connection.
#[derive(Debug)]
pub(crate) struct Client {
    target: String,
    stream: TcpStream,
    input: BytesMut,
    output: BytesMut,
    next_xid: i32,
    ping_interval: Duration,
}

impl Client {
    /// Dials and opens a session.
    pub(crate) async fn connect(target: &str) -> Result<Self, ClientError> {
        timeout(CONNECT_TIMEOUT, Self::handshake(target))
            .await
            .map_err(|_| ClientError::ConnectTimeout(target.into()))?
    }

    async fn handshake(target: &str) -> Result<Self, ClientError> {
        let io = |source| ClientError::Io { target: target.into(), source };
        let stream = TcpStream::connect(target).await.map_err(io)?;
        stream.set_nodelay(true).map_err(io)?;
        let mut client = Self {
            target: target.into(),
            stream,
            input: BytesMut::with_capacity(64 << 10),
            output: BytesMut::with_capacity(16 << 10),
            next_xid: 1,
            ping_interval: SESSION_TIMEOUT / 3,
        };
        let hello = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: Zxid(0),
            timeout_ms: SESSION_TIMEOUT.as_millis() as i32,
            session: 0,
            password: &[0; 16],
            read_only: Some(false),
        };
        frame::write(&mut client.output, |b| hello.encode(b));
        client.flush().await?;
        let answer = loop {
            if let Some(answer) = client.next_frame()? {
                break ConnectResponse::decode(&answer).map_err(|source| client.protocol(source))?;
            }
            client.fill().await?;
        };
        if answer.session == 0 || answer.timeout_ms <= 0 {
            return Err(ClientError::Refused(client.target));
        }
        client.ping_interval = Duration::from_millis(answer.timeout_ms.unsigned_abs().into()) / 3;
        Ok(client)
    }

    /// How often something must be sent to keep the session.
    pub(crate) const fn ping_interval(&self) -> Duration {
        self.ping_interval
    }

    /// Puts a request into the output buffer and returns its xid. [`Client::flush`] sends it.
    pub(crate) fn push(&mut self, op: OpCode, request: &Request<'_>) -> i32 {
        let xid = self.next_xid;
        self.next_xid = xid.checked_add(1).unwrap_or(1);
        frame::write(&mut self.output, |b| {
            RequestHeader { xid, op: op.as_i32() }.encode(b);
            request.encode(b);
        });
        xid
    }

    /// Puts a ping into the output buffer.
    pub(crate) fn push_ping(&mut self) {
        frame::write(&mut self.output, |b| {
            RequestHeader { xid: xid::PING, op: OpCode::Ping.as_i32() }.encode(b);
        });
    }

    /// Sends what was pushed.
    pub(crate) async fn flush(&mut self) -> Result<(), ClientError> {
        if !self.output.is_empty() {
            let sent = self.stream.write_all_buf(&mut self.output).await;
            sent.map_err(|source| ClientError::Io { target: self.target.clone(), source })?;
        }
        Ok(())
    }

    /// Waits for more bytes. Safe to cancel.
    pub(crate) async fn fill(&mut self) -> Result<(), ClientError> {
        match self.stream.read_buf(&mut self.input).await {
            Ok(0) => Err(ClientError::Closed(self.target.clone())),
            Ok(_) => Ok(()),
            Err(source) => Err(ClientError::Io { target: self.target.clone(), source }),
        }
    }

    /// The next reply that has arrived whole. Answers to pings are left out.
    pub(crate) fn next_reply(&mut self) -> Result<Option<ReplyHeader>, ClientError> {
        while let Some(frame) = self.next_frame()? {
            let header =
                ReplyHeader::decode(&mut Reader::new(&frame)).map_err(|source| self.protocol(source))?;
            if header.xid != xid::PING {
                return Ok(Some(header));
            }
        }
        Ok(None)
    }

    /// Fails unless `got` is the xid that was due.
    pub(crate) fn check_order(&self, expected: i32, got: i32) -> Result<(), ClientError> {
        if expected == got {
            return Ok(());
        }
        Err(ClientError::Order { target: self.target.clone(), expected, got })
    }

    /// Sends one request and waits for its answer.
    pub(crate) async fn call(&mut self, op: OpCode, request: &Request<'_>) -> Result<ErrorCode, ClientError> {
        let xid = self.push(op, request);
        self.flush().await?;
        loop {
            if let Some(header) = self.next_reply()? {
                self.check_order(xid, header.xid)?;
                return Ok(header.err);
            }
            self.fill().await?;
        }
    }

    /// The error for a set-up step that the server refused.
    pub(crate) fn setup_error(&self, what: String, error: ErrorCode) -> ClientError {
        ClientError::Setup { target: self.target.clone(), what, error }
    }

    /// Closes the session, so that the server need not wait for it to expire.
    pub(crate) async fn close(mut self) -> Result<(), ClientError> {
        match timeout(CONNECT_TIMEOUT, self.call(OpCode::CloseSession, &Request::CloseSession)).await {
            Ok(Ok(_)) | Ok(Err(ClientError::Closed(_))) => Ok(()),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(ClientError::ConnectTimeout(self.target)),
        }
    }

    fn next_frame(&mut self) -> Result<Option<Bytes>, ClientError> {
        frame::split(&mut self.input, MAX_REPLY).map_err(|source| self.protocol(source))
    }

    fn protocol(&self, source: DecodeError) -> ClientError {
        ClientError::Protocol { target: self.target.clone(), source }
    }
}
