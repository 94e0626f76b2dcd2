//! The end of a gateway that its clients hardly notice: they leave for the tenant's other gateways, one after the other.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tracing::info;

use super::Edge;
use super::client::Client;

/// How long a client with unanswered requests may stay behind the others.
const LAST_ANSWERS: Duration = Duration::from_millis(500);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// Accepts nobody any more, and closes the connections within `span`: first of those who only read, then of owners of
/// ephemerals. No session is closed.
pub(super) async fn drain(edge: &Edge, span: Duration) {
    edge.accepting.cancel();
    let (readers, owners) = leaving(edge);
    let (start, count) = (Instant::now(), readers.len() + owners.len());
    info!(readers = readers.len(), owners = owners.len(), ?span, "clients are asked to leave");
    let all = readers.into_iter().chain(owners);
    let mut busy = Vec::new();
    for (i, client) in (1_u32..).zip(all) {
        if client.waiting() == 0 {
            client.leave();
        } else {
            busy.push(client);
        }
        let share = f64::from(i) / count as f64;
        sleep_until(start + span.mul_f64(share)).await;
    }
    let last = Instant::now() + LAST_ANSWERS;
    for client in busy {
        while client.waiting() > 0 && Instant::now() < last {
            sleep_until(Instant::now() + LOOK).await;
        }
        client.leave();
    }
}

fn leaving(edge: &Edge) -> (Vec<Arc<Client>>, Vec<Arc<Client>>) {
    let clients = edge.hub.connections().all();
    let tree = edge.replica.read();
    clients.into_iter().partition(|client| tree.ephemerals(client.session()).next().is_none())
}
