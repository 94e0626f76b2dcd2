//! The monitoring port, and what a voter tells there; `palisade_admin` lays it out.

mod facts;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use palisade_admin::port;
use tokio::net::TcpStream;

use crate::net::{PortStats, Stranger};
use crate::status::Shared;

/// What connections to the port need.
#[derive(Clone)]
pub(crate) struct AdminPort {
    pub(crate) shared: Arc<Shared>,
    pub(crate) stats: Arc<PortStats>,
}

/// Counts a connection until it is dropped, however that comes.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl AdminPort {
    /// Serves one connection. Its mark is held to the end: that bounds all connections of this port.
    pub(crate) async fn serve(self, stream: TcpStream, from: SocketAddr, _stranger: Stranger) {
        let _counted = Counted::new(&self.shared.admins);
        if let Err(reason) = port::serve(stream, self.shared.clone()).await {
            self.stats.refuse(from, reason);
        }
    }
}
