//! The monitoring port: one four-letter word per connection, answered as Apache ZooKeeper does.

mod words;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::net::{PortStats, Stranger};
use crate::status::Shared;

/// Longest wait for the other end to take the answer.
const WRITE_LIMIT: Duration = Duration::from_secs(5);

/// What connections to the port need.
#[derive(Clone)]
pub(crate) struct AdminPort {
    pub(crate) shared: Arc<Shared>,
    pub(crate) stats: Arc<PortStats>,
    /// Connections open now.
    pub(crate) open: Arc<AtomicUsize>,
}

impl AdminPort {
    /// Serves one connection. Its mark is held to the end: that bounds all connections of this port.
    pub(crate) async fn serve(self, mut stream: TcpStream, from: SocketAddr, _stranger: Stranger) {
        let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        if let Err(reason) = self.answer(&mut stream, open).await {
            self.stats.refuse(from, reason);
        }
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    async fn answer(&self, stream: &mut TcpStream, open: usize) -> Result<(), &'static str> {
        let mut word = [0; 4];
        timeout(self.shared.config.limits.identify_timeout, stream.read_exact(&mut word))
            .await
            .map_err(|_| "no four-letter word in time")?
            .map_err(|_| "no four-letter word")?;
        let answer = words::answer(&word, &self.shared, open).ok_or("not a four-letter word")?;
        let written = async {
            stream.write_all(answer.as_bytes()).await?;
            stream.shutdown().await?;
            // Closing with unread bytes would reset the connection and lose the answer.
            let mut rest = [0; 256];
            while stream.read(&mut rest).await? > 0 {}
            Ok::<_, std::io::Error>(())
        };
        // Whoever does not take the answer, or does not hang up, has itself to blame.
        drop(timeout(WRITE_LIMIT, written).await);
        Ok(())
    }
}
