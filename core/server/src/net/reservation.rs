//! A TCP port that is ours whether or not anybody may connect to it.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Length of the queue of connections that were made but not yet accepted.
const BACKLOG: i32 = 128;

/// A bound TCP port that refuses connections until [`Reservation::listen`].
///
/// Voters listen on their quorum port only while they lead; holding it bound in between means that nobody
/// else gets it, and that a port in use is found at start-up rather than at the next election.
#[derive(Debug)]
pub struct Reservation {
    socket: Socket,
    address: SocketAddr,
}

impl Reservation {
    /// Binds `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// Those of `bind`: in use, not a local address, not permitted.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        let address = socket
            .local_addr()?
            .as_socket()
            .ok_or_else(|| io::Error::other("a bound socket has no internet address"))?;
        Ok(Self { socket, address })
    }

    /// The address, with the port that was taken.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets connections in.
    ///
    /// # Errors
    /// Those of `listen`: another socket listens there already.
    pub fn listen(self) -> io::Result<TcpListener> {
        self.socket.listen(BACKLOG)?;
        Ok(self.socket.into())
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn a_reserved_port_refuses_until_it_listens_and_nobody_else_gets_it() {
        let reserved = Reservation::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = reserved.address();
        assert_eq!(TcpStream::connect(address).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        let listener = reserved.listen().unwrap();
        TcpStream::connect(address).unwrap();
        assert_eq!(Reservation::bind(address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        assert_eq!(Reservation::bind(address).unwrap().address(), address);
    }
}
