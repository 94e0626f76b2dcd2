//! A client that speaks raw bytes.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use palisade_wire::connect::{ConnectRequest, ConnectResponse, session_password};
use palisade_wire::reply::{EventType, ReplyHeader, WatchEvent};
use palisade_wire::request::{PathWatch, Request, RequestHeader, SetWatches, xid};
use palisade_wire::{Acl, ErrorCode, OpCode, Reader, SessionId, Zxid, frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);

pub(super) struct Raw {
    pub(super) stream: TcpStream,
    buf: BytesMut,
}

impl Raw {
    pub(super) async fn connect(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.unwrap(), buf: BytesMut::new() }
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next frame, or `None` at the end of the stream.
    pub(super) async fn frame(&mut self) -> Option<Bytes> {
        let read = async {
            loop {
                if let Some(frame) = frame::split(&mut self.buf, 64 << 20).unwrap() {
                    return Some(frame);
                }
                match self.stream.read_buf(&mut self.buf).await {
                    Ok(0) | Err(_) => return None,
                    Ok(_) => {}
                }
            }
        };
        timeout(PATIENCE, read).await.expect("the server says something")
    }

    /// Everything until the end of the stream.
    pub(super) async fn rest(mut self) -> Vec<u8> {
        let mut rest = self.buf.to_vec();
        let read = self.stream.read_to_end(&mut rest);
        timeout(PATIENCE, read).await.expect("the server ends the connection").ok();
        rest
    }

    pub(super) async fn handshake(
        &mut self,
        request: &ConnectRequest<'_>,
    ) -> Option<(Bytes, ConnectResponse)> {
        let mut out = BytesMut::new();
        frame::write(&mut out, |b| request.encode(b));
        self.send(&out).await;
        let frame = self.frame().await?;
        let response = ConnectResponse::decode(&frame).unwrap();
        Some((frame, response))
    }
}

/// What a client that wants a new session says.
pub(super) const fn new_session(timeout_ms: i32) -> ConnectRequest<'static> {
    ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: Zxid::ZERO,
        timeout_ms,
        session: 0,
        password: &[0; 16],
        read_only: Some(false),
    }
}

/// A client with a session.
pub(super) struct Session {
    pub(super) raw: Raw,
    pub(super) id: SessionId,
    /// What the server gave last.
    pub(super) password: [u8; 16],
    pub(super) read_only: bool,
    xid: i32,
}

/// A reply or an event.
#[derive(Debug, PartialEq)]
pub(super) enum Message {
    Reply(ReplyHeader, Bytes),
    Event(Zxid, EventType, String),
}

impl Session {
    pub(super) async fn new(raw: Raw, timeout_ms: i32) -> Self {
        Self::with(raw, &new_session(timeout_ms)).await
    }

    pub(super) async fn with(mut raw: Raw, request: &ConnectRequest<'_>) -> Self {
        let (_, response) = raw.handshake(request).await.expect("a new session");
        assert_ne!(response.session, 0);
        Self::from(raw, &response)
    }

    fn from(raw: Raw, response: &ConnectResponse) -> Self {
        let read_only = response.read_only == Some(true);
        Self { raw, id: response.session, password: response.password, read_only, xid: 0 }
    }

    /// With the password that Apache gives.
    pub(super) async fn resume(raw: Raw, id: SessionId) -> Option<Self> {
        Self::resume_with(raw, id, &session_password(id)).await
    }

    pub(super) async fn resume_with(mut raw: Raw, id: SessionId, password: &[u8]) -> Option<Self> {
        let request = ConnectRequest { session: id, password, ..new_session(10_000) };
        let (_, response) = raw.handshake(&request).await?;
        (response.session == id).then(|| Self::from(raw, &response))
    }

    /// The same session on another connection.
    pub(super) async fn again(&self, raw: Raw) -> Option<Self> {
        Self::resume_with(raw, self.id, &self.password).await
    }

    /// Sends a request without waiting; its xid.
    pub(super) async fn send(&mut self, op: OpCode, request: &Request<'_>) -> i32 {
        self.xid += 1;
        self.send_as(self.xid, op.as_i32(), request).await;
        self.xid
    }

    pub(super) async fn send_as(&mut self, xid: i32, op: i32, request: &Request<'_>) {
        let mut out = BytesMut::new();
        frame::write(&mut out, |b| {
            RequestHeader { xid, op }.encode(b);
            request.encode(b);
        });
        self.raw.send(&out).await;
    }

    pub(super) async fn send_body(&mut self, op: i32, body: &[u8]) -> i32 {
        self.xid += 1;
        let mut out = BytesMut::new();
        frame::write(&mut out, |b| {
            RequestHeader { xid: self.xid, op }.encode(b);
            b.put_slice(body);
        });
        self.raw.send(&out).await;
        self.xid
    }

    pub(super) async fn message(&mut self) -> Option<Message> {
        let frame = self.raw.frame().await?;
        let mut r = Reader::new(&frame);
        let header = ReplyHeader::decode(&mut r).unwrap();
        if header.xid == xid::NOTIFICATION {
            let event = WatchEvent::decode(&header, r.rest()).unwrap();
            return Some(Message::Event(event.zxid, event.kind, event.path.to_owned()));
        }
        Some(Message::Reply(header, frame.slice_ref(r.rest())))
    }

    pub(super) async fn reply(&mut self) -> (ReplyHeader, Bytes) {
        match self.message().await {
            Some(Message::Reply(header, body)) => (header, body),
            other => panic!("not a reply: {other:?}"),
        }
    }

    pub(super) async fn event(&mut self) -> (Zxid, EventType, String) {
        match self.message().await {
            Some(Message::Event(zxid, kind, path)) => (zxid, kind, path),
            other => panic!("not an event: {other:?}"),
        }
    }

    /// Sends a request and waits for its reply, which must be the next message.
    pub(super) async fn call(&mut self, op: OpCode, request: &Request<'_>) -> (ReplyHeader, Bytes) {
        let xid = self.send(op, request).await;
        let (header, body) = self.reply().await;
        assert_eq!(header.xid, xid);
        (header, body)
    }

    pub(super) async fn ok(&mut self, op: OpCode, request: &Request<'_>) -> Bytes {
        let (header, body) = self.call(op, request).await;
        assert_eq!(header.err, ErrorCode::OK, "{request:?}");
        body
    }

    pub(super) async fn err(&mut self, op: OpCode, request: &Request<'_>) -> ErrorCode {
        self.call(op, request).await.0.err
    }

    /// Whether the server closed the connection without another frame.
    pub(super) async fn is_closed(&mut self) -> bool {
        self.message().await.is_none()
    }
}

pub(super) fn create(path: &str, flags: i32) -> Request<'_> {
    create_with(path, flags, Acl::open())
}

pub(super) fn create_with(path: &str, flags: i32, acl: Vec<Acl>) -> Request<'_> {
    Request::Create(palisade_wire::request::Create {
        path: path.into(),
        data: Some(b"data"),
        acl,
        flags,
        ttl_ms: None,
    })
}

pub(super) fn set_data<'a>(path: &'a str, data: &'a [u8]) -> Request<'a> {
    Request::SetData { path: path.into(), data: Some(data), version: -1 }
}

pub(super) fn delete(path: &str) -> Request<'_> {
    Request::Delete { path: path.into(), version: -1 }
}

pub(super) fn get_data(path: &str, watch: bool) -> Request<'_> {
    Request::GetData(PathWatch { path: path.into(), watch })
}

pub(super) fn exists(path: &str, watch: bool) -> Request<'_> {
    Request::Exists(PathWatch { path: path.into(), watch })
}

pub(super) fn get_children(path: &str, watch: bool) -> Request<'_> {
    Request::GetChildren(PathWatch { path: path.into(), watch })
}

pub(super) fn auth(credential: &str) -> Request<'_> {
    Request::Auth { scheme: Some("digest".into()), auth: Some(credential.as_bytes()) }
}

pub(super) fn set_watches(since: Zxid) -> SetWatches<'static> {
    SetWatches { relative_zxid: since, ..SetWatches::default() }
}

/// The data of a getData reply.
pub(super) fn data(body: &[u8]) -> Vec<u8> {
    Reader::new(body).buffer("data").unwrap().to_vec()
}

/// The only string of a reply.
pub(super) fn string(body: &[u8]) -> String {
    Reader::new(body).string("string").unwrap().into_owned()
}
