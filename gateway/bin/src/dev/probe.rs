//! Finds out whether a gateway accepts writes, as a client would: by writing.

use std::borrow::Cow;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use palisade_wire::connect::{ConnectRequest, ConnectResponse};
use palisade_wire::reply::ReplyHeader;
use palisade_wire::request::{Request, RequestHeader};
use palisade_wire::{ErrorCode, OpCode, Reader, Zxid, frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// Pause between two attempts.
const PAUSE: Duration = Duration::from_millis(20);
/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(2);
/// Largest answer to one of these requests.
const MAX_FRAME: usize = 1 << 10;
/// A znode that does not exist. Deleting it is a transaction like any other, agreed by a quorum, that leaves the
/// tree as it is.
const NO_SUCH_ZNODE: &str = "/palisade-dev-probe";

/// Waits until a client can open a session and write.
pub(super) async fn until_writable(address: SocketAddr) {
    while !matches!(timeout(ATTEMPT, write_once(address)).await, Ok(Ok(true))) {
        sleep(PAUSE).await;
    }
}

/// Opens a session, deletes a znode that does not exist, closes the session. True if all was answered well.
async fn write_once(address: SocketAddr) -> io::Result<bool> {
    let mut connection = Connection { stream: TcpStream::connect(address).await?, input: BytesMut::new() };
    let hello = ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: Zxid(0),
        timeout_ms: 10_000,
        session: 0,
        password: &[0; 16],
        read_only: Some(false),
    };
    connection.send(|b| hello.encode(b)).await?;
    let answer = ConnectResponse::decode(&connection.receive().await?).map_err(io::Error::other)?;
    if answer.session == 0 {
        return Ok(false);
    }
    let delete = Request::Delete { path: Cow::Borrowed(NO_SUCH_ZNODE), version: -1 };
    let deleted = connection.call(1, OpCode::Delete, &delete).await?;
    let closed = connection.call(2, OpCode::CloseSession, &Request::CloseSession).await?;
    Ok(deleted == ErrorCode::NO_NODE && closed.is_ok())
}

struct Connection {
    stream: TcpStream,
    input: BytesMut,
}

impl Connection {
    async fn send(&mut self, write: impl FnOnce(&mut BytesMut)) -> io::Result<()> {
        let mut output = BytesMut::new();
        frame::write(&mut output, write);
        self.stream.write_all_buf(&mut output).await
    }

    async fn receive(&mut self) -> io::Result<Bytes> {
        loop {
            if let Some(frame) = frame::split(&mut self.input, MAX_FRAME).map_err(io::Error::other)? {
                return Ok(frame);
            }
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    async fn call(&mut self, xid: i32, op: OpCode, request: &Request<'_>) -> io::Result<ErrorCode> {
        self.send(|b| {
            RequestHeader { xid, op: op.as_i32() }.encode(b);
            request.encode(b);
        })
        .await?;
        let reply = self.receive().await?;
        let header = ReplyHeader::decode(&mut Reader::new(&reply)).map_err(io::Error::other)?;
        if header.xid == xid { Ok(header.err) } else { Err(io::Error::other("an answer to nothing")) }
    }
}

#[cfg(test)]
mod tests {
    use palisade_wire::connect::session_password;
    use tokio::net::TcpListener;

    use super::*;

    /// Answers one connection with `codes`, one per request behind the handshake.
    async fn server(listener: &TcpListener, codes: &[ErrorCode]) -> Vec<i32> {
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = Connection { stream, input: BytesMut::new() };
        connection.receive().await.unwrap();
        let answer = ConnectResponse {
            protocol_version: 0,
            timeout_ms: 10_000,
            session: 5,
            password: session_password(5),
            read_only: Some(false),
        };
        connection.send(|b| answer.encode(b)).await.unwrap();
        let mut ops = Vec::new();
        for err in codes {
            let request = connection.receive().await.unwrap();
            let header = RequestHeader::decode(&mut Reader::new(&request)).unwrap();
            ops.push(header.op);
            let reply = ReplyHeader { xid: header.xid, zxid: Zxid(1), err: *err };
            connection.send(|b| reply.encode(b)).await.unwrap();
        }
        ops
    }

    #[tokio::test]
    async fn only_a_committed_write_counts() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        for (delete, writable) in [(ErrorCode::CONNECTION_LOSS, false), (ErrorCode::NO_NODE, true)] {
            let codes = [delete, ErrorCode::OK];
            let (probed, ops) = tokio::join!(write_once(address), server(&listener, &codes));
            assert_eq!(probed.unwrap(), writable);
            assert_eq!(ops, [OpCode::Delete.as_i32(), OpCode::CloseSession.as_i32()]);
        }
    }

    #[tokio::test]
    async fn it_tries_again_until_a_write_is_committed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serve = async {
            drop(listener.accept().await.unwrap());
            server(&listener, &[ErrorCode::NO_NODE, ErrorCode::OK]).await
        };
        let (ops, ()) = tokio::join!(serve, until_writable(address));
        assert_eq!(ops.len(), 2);
    }
}
