//! What this gateway can do for its clients: watched, told, and enforced.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use super::Edge;
use super::outbox::CloseReason;
use crate::exec::status::Mode;

/// The core proves the age of the replica twice a second: less than this says nothing.
const PROOFS: Duration = Duration::from_secs(2);
/// How often the age of the replica is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// Follows the mode until the edge stops.
pub(super) async fn follow(edge: Arc<Edge>) {
    let stop = edge.stop.clone();
    stop.run_until_cancelled(async {
        let mut link = edge.link.state();
        let mut connected_since = None;
        loop {
            let connected = link.borrow_and_update().is_connected();
            connected_since = connected.then(|| connected_since.unwrap_or_else(Instant::now));
            let mode = mode(&edge, connected_since);
            if mode != edge.status.mode() {
                change(&edge, mode);
            }
            edge.hub.metrics().palisade_mode.set(mode as u64);
            if mode == Mode::CutOff {
                // Again and again: somebody may just have come in.
                edge.hub.connections().close_all(CloseReason::TooOld);
            }
            if let Ok(changed) = timeout(LOOK, link.changed()).await {
                edge.hub.connections().wake_all();
                if changed.is_err() {
                    break;
                }
            }
        }
    })
    .await;
}

fn mode(edge: &Edge, connected_since: Option<Instant>) -> Mode {
    if !edge.is_serving() {
        return Mode::Starting;
    }
    let stale = &edge.config.stale_reads;
    let without = edge.config.sessions.write_wait.max(PROOFS);
    let limit = if stale.enabled { stale.max_age } else { Some(without) };
    // A leader that has just brought the replica up to date has proven as much.
    let synchronised = connected_since.map(|since| since.elapsed());
    let age = edge.status.age().into_iter().chain(synchronised).min();
    match (limit, age) {
        (Some(limit), Some(age)) if age > limit => Mode::CutOff,
        (Some(_), None) => Mode::CutOff,
        _ if connected_since.is_some() => Mode::ReadWrite,
        _ => Mode::Stale,
    }
}

fn change(edge: &Edge, mode: Mode) {
    // Reads wait meanwhile: nobody sees the new mode before its event.
    let batch = edge.replica.write();
    let zxid = batch.last_zxid();
    edge.status.set_mode(mode, zxid);
    edge.hub.fire_status(zxid);
    drop(batch);
    let age = edge.status.age().map(|age| format!("{age:.1?}"));
    let age = age.as_deref().unwrap_or("unknown");
    match mode {
        Mode::Starting | Mode::ReadWrite => info!(mode = mode.name(), %zxid, age, "the mode changed"),
        Mode::Stale | Mode::CutOff => warn!(mode = mode.name(), %zxid, age, "the mode changed"),
    }
}
