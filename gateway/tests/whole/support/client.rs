use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use palisade_wire::connect::{ConnectRequest, ConnectResponse, PASSWORD_LEN};
use palisade_wire::reply::{ReplyHeader, WatchEvent};
use palisade_wire::request::{Create, PathWatch, Request, RequestHeader, xid};
use palisade_wire::{Acl, ErrorCode, OpCode, Reader, Zxid, frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::PATIENCE;

/// What a client keeps of its session.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Session {
    pub(crate) id: i64,
    password: [u8; PASSWORD_LEN],
    /// The largest zxid seen.
    pub(crate) seen: Zxid,
}

/// The connection is gone.
#[derive(Debug)]
pub(crate) struct Gone;

/// One connection, one request at a time. It checks that zxids never go back.
pub(crate) struct Client {
    stream: TcpStream,
    buf: BytesMut,
    pub(crate) session: Session,
    xid: i32,
    /// Events received, oldest first.
    pub(crate) events: Vec<String>,
}

impl Client {
    pub(crate) async fn connect(to: SocketAddr) -> Self {
        Self::resume(to, Session::default()).await.unwrap()
    }

    /// Connects with a session; fails if the gateway closes instead of answering.
    pub(crate) async fn resume(to: SocketAddr, session: Session) -> Result<Self, Gone> {
        let stream = TcpStream::connect(to).await.unwrap();
        let mut me = Self { stream, buf: BytesMut::new(), session, xid: 0, events: Vec::new() };
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: session.seen,
            timeout_ms: 20_000,
            session: session.id,
            password: &session.password,
            read_only: Some(false),
        };
        let mut out = BytesMut::new();
        frame::write(&mut out, |buf| request.encode(buf));
        me.stream.write_all(&out).await.map_err(|_| Gone)?;
        let response = ConnectResponse::decode(&me.frame().await?).unwrap();
        assert_ne!(response.session, 0, "the session has expired");
        me.session.id = response.session;
        me.session.password = response.password;
        Ok(me)
    }

    async fn frame(&mut self) -> Result<Bytes, Gone> {
        loop {
            if let Some(frame) = frame::split(&mut self.buf, 4 << 20).unwrap() {
                return Ok(frame);
            }
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.buf)).await.expect("no answer");
            if !read.is_ok_and(|n| n > 0) {
                return Err(Gone);
            }
        }
    }

    /// The next frame that is no event; events are kept.
    pub(crate) async fn reply(&mut self) -> Result<(ReplyHeader, Bytes), Gone> {
        loop {
            let frame = self.frame().await?;
            let mut r = Reader::new(&frame);
            let header = ReplyHeader::decode(&mut r).unwrap();
            let body = frame.slice(ReplyHeader::LEN..);
            if header.xid != xid::NOTIFICATION {
                assert!(header.zxid >= self.session.seen, "{header:?} after {}", self.session.seen);
                self.session.seen = header.zxid;
                return Ok((header, body));
            }
            let event = WatchEvent::decode(&header, &body).unwrap();
            self.events.push(format!("{:?} {}", event.kind, event.path));
        }
    }

    /// Reads until an event came.
    pub(crate) async fn event(&mut self) -> String {
        while self.events.is_empty() {
            self.ping().await.unwrap();
        }
        self.events.remove(0)
    }

    pub(crate) async fn ping(&mut self) -> Result<(), Gone> {
        self.send(xid::PING, OpCode::Ping, &Request::Ping).await?;
        self.reply().await.map(drop)
    }

    async fn send(&mut self, xid: i32, op: OpCode, request: &Request<'_>) -> Result<(), Gone> {
        let mut out = BytesMut::new();
        frame::write(&mut out, |buf| {
            RequestHeader { xid, op: op.as_i32() }.encode(buf);
            request.encode(buf);
        });
        self.stream.write_all(&out).await.map_err(|_| Gone)
    }

    /// Sends any request, and returns what answers it.
    pub(crate) async fn call(
        &mut self,
        op: OpCode,
        request: &Request<'_>,
    ) -> Result<(ErrorCode, Bytes), Gone> {
        self.xid += 1;
        self.send(self.xid, op, request).await?;
        let (header, body) = self.reply().await?;
        assert_eq!(header.xid, self.xid, "answers out of order");
        Ok((header.err, body))
    }

    pub(crate) async fn create(&mut self, path: &str, flags: i32) -> Result<ErrorCode, Gone> {
        let create = Create { path: path.into(), data: Some(b"data"), acl: Acl::open(), flags, ttl_ms: None };
        Ok(self.call(OpCode::Create, &Request::Create(create)).await?.0)
    }

    /// Asks without waiting for the answer, and returns the xid.
    pub(crate) async fn send_create(&mut self, path: &str, flags: i32) -> i32 {
        let create = Create { path: path.into(), data: None, acl: Acl::open(), flags, ttl_ms: None };
        self.xid += 1;
        self.send(self.xid, OpCode::Create, &Request::Create(create)).await.unwrap();
        self.xid
    }

    /// Asks without waiting for the answer, and returns the xid.
    pub(crate) async fn send_set(&mut self, path: &str, data: &[u8]) -> i32 {
        let request = Request::SetData { path: path.into(), data: Some(data), version: -1 };
        self.xid += 1;
        self.send(self.xid, OpCode::SetData, &request).await.unwrap();
        self.xid
    }

    /// Asks without waiting for the answer, and returns the xid.
    pub(crate) async fn send_children(&mut self, path: &str) -> i32 {
        let request = Request::GetChildren(PathWatch { path: path.into(), watch: false });
        self.xid += 1;
        self.send(self.xid, OpCode::GetChildren, &request).await.unwrap();
        self.xid
    }

    pub(crate) async fn delete(&mut self, path: &str) -> Result<ErrorCode, Gone> {
        let request = Request::Delete { path: path.into(), version: -1 };
        Ok(self.call(OpCode::Delete, &request).await?.0)
    }

    pub(crate) async fn set(&mut self, path: &str, data: &[u8]) -> Result<ErrorCode, Gone> {
        let request = Request::SetData { path: path.into(), data: Some(data), version: -1 };
        Ok(self.call(OpCode::SetData, &request).await?.0)
    }

    pub(crate) async fn get(&mut self, path: &str, watch: bool) -> Result<Vec<u8>, ErrorCode> {
        let request = Request::GetData(PathWatch { path: path.into(), watch });
        let (error, body) = self.call(OpCode::GetData, &request).await.unwrap();
        if error != ErrorCode::OK {
            return Err(error);
        }
        Ok(Reader::new(&body).buffer("data").unwrap().to_vec())
    }

    pub(crate) async fn children(&mut self, path: &str) -> Vec<String> {
        let request = Request::GetChildren(PathWatch { path: path.into(), watch: false });
        let (error, body) = self.call(OpCode::GetChildren, &request).await.unwrap();
        assert_eq!(error, ErrorCode::OK);
        Reader::new(&body).vec("children", |r| Ok(r.string("child")?.into_owned())).unwrap()
    }

    pub(crate) async fn sync(&mut self, path: &str) -> Result<ErrorCode, Gone> {
        Ok(self.call(OpCode::Sync, &Request::Sync(Some(path.into()))).await?.0)
    }

    pub(crate) async fn close(mut self) {
        assert_eq!(self.call(OpCode::CloseSession, &Request::CloseSession).await.unwrap().0, ErrorCode::OK);
    }
}
