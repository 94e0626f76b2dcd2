//! Dialing a peer by name. The name is resolved at each dial, so that a changed address needs no restart.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

/// Why a peer could not be dialed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("cannot resolve {address}: {source}")]
    Resolve { address: String, source: io::Error },
    #[error("{address} resolves to no address")]
    NoAddress { address: String },
    #[error("cannot connect to {address}: {source}")]
    Connect { address: String, source: io::Error },
}

/// All addresses that `address` (`host:port`) stands for now.
pub(crate) async fn resolve(address: &str, limit: Duration) -> Result<Vec<SocketAddr>, DialError> {
    let looked_up =
        timeout(limit, lookup_host(address)).await.unwrap_or_else(|_| Err(timed_out("no answer", limit)));
    match looked_up {
        Ok(found) => {
            let found: Vec<_> = found.collect();
            if found.is_empty() {
                Err(DialError::NoAddress { address: address.to_owned() })
            } else {
                Ok(found)
            }
        }
        Err(source) => Err(DialError::Resolve { address: address.to_owned(), source }),
    }
}

/// Connects to the first address of `address` that answers; `limit` bounds the lookup and each attempt.
pub(crate) async fn dial(address: &str, limit: Duration) -> Result<TcpStream, DialError> {
    let mut last = None;
    for candidate in resolve(address, limit).await? {
        match timeout(limit, TcpStream::connect(candidate)).await {
            Ok(Ok(stream)) => {
                prepare(&stream);
                return Ok(stream);
            }
            Ok(Err(error)) => last = Some(error),
            Err(_) => last = Some(timed_out("no connection", limit)),
        }
    }
    let source = last.unwrap_or_else(|| io::Error::other("no address"));
    Err(DialError::Connect { address: address.to_owned(), source })
}

/// Small packets leave at once, and a peer whose host vanished is noticed. Best effort: a socket that refuses
/// is about to fail anyway.
pub(super) fn prepare(stream: &TcpStream) {
    let socket = socket2::SockRef::from(stream);
    for outcome in [socket.set_tcp_nodelay(true), socket.set_keepalive(true)] {
        if let Err(error) = outcome {
            tracing::debug!(%error, "socket option refused");
        }
    }
}

fn timed_out(what: &str, limit: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("{what} within {limit:?}"))
}
