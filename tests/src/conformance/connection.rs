//! A client's connection, byte by byte.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use bytes::{Bytes, BytesMut};
use palisade_wire::connect::{ConnectRequest, ConnectResponse};
use palisade_wire::frame;

use crate::wait::PATIENCE;

const MAX_REPLY: usize = 64 << 20;

/// A connection; none of its methods waits longer than [`PATIENCE`].
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    buf: BytesMut,
}

/// The server says nothing although it should.
#[derive(Debug)]
pub(crate) struct Silence;

impl Connection {
    /// Connects, and sends nothing.
    pub(crate) fn dial(address: &str) -> Self {
        let stream = TcpStream::connect(address).expect("a server that accepts connections");
        stream.set_nodelay(true).expect("a socket option of every TCP socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket option of every TCP socket");
        Self { stream, buf: BytesMut::new() }
    }

    /// Connects, and sends the first frame.
    pub(crate) fn open(address: &str, request: &ConnectRequest<'_>) -> Self {
        let mut connection = Self::dial(address);
        let mut out = BytesMut::new();
        frame::write(&mut out, |buf| request.encode(buf));
        connection.send(&out);
        connection
    }

    /// Sends bytes. That the server has gone shows when its answer is read.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// The answer to the first frame; none if the server closes the connection, which it also does after having
    /// refused the session.
    pub(crate) fn connected(&mut self) -> Result<Option<(usize, ConnectResponse)>, Silence> {
        let frame = self.frame()?;
        Ok(frame.and_then(|frame| Some((frame.len(), ConnectResponse::decode(&frame).ok()?))))
    }

    /// The next frame; none at the end of the connection.
    pub(crate) fn frame(&mut self) -> Result<Option<Bytes>, Silence> {
        let mut chunk = [0; 8192];
        loop {
            match frame::split(&mut self.buf, MAX_REPLY) {
                Ok(Some(frame)) => return Ok(Some(frame)),
                Ok(None) => {}
                Err(_) => return Ok(None),
            }
            match self.stream.read(&mut chunk) {
                Ok(count @ 1..) => self.buf.extend_from_slice(&chunk[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Err(Silence);
                }
                Ok(0) | Err(_) => return Ok(None),
            }
        }
    }
}
