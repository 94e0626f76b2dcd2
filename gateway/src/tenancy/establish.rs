//! The first start: makes the root, and what stands in every tree from its birth.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use palisade_store::DataTree;
use palisade_wire::quorum::ForwardedRequest;
use palisade_wire::request::{Create, Request};
use palisade_wire::{Acl, CreateMode, ErrorCode, Id, OpCode, SessionId};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::Root;
use crate::core_link::{Answer, CoreLink, Requester, Ticket};
use crate::replica::Replica;

/// How long one write may take before all of it is tried again.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause between two attempts.
const PAUSE: Duration = Duration::from_millis(500);
/// Timeout of the session that makes the root, ms.
const SESSION_TIMEOUT_MS: i32 = 10_000;

/// Why the root is not there yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Failed {
    #[error("the core cannot be asked now")]
    Unreachable,
    #[error("the core does not answer")]
    Silent,
    #[error("the core refused to create {path}: {code}", path = .0, code = .1)]
    Refused(&'static str, ErrorCode),
}

/// Returns once the replica holds the root and what belongs to it; makes what is missing in sessions of its own, with
/// ids that `issue` gives.
pub(crate) async fn establish(
    root: &Root,
    replica: &Replica,
    link: &CoreLink,
    issue: impl Fn() -> SessionId,
) {
    let mut told = None;
    while !is_established(root, &replica.read()) {
        let mut state = link.state();
        if state.wait_for(|state| state.is_connected()).await.is_err() {
            return;
        }
        match make(root, replica, link, issue()).await {
            Ok(()) => info!(root = root.path(), "the tenant's root is made"),
            Err(failed) => {
                if told.replace(failed) != Some(failed) {
                    warn!(root = root.path(), %failed, "the tenant's root is missing; clients wait for it");
                }
                sleep(PAUSE).await;
            }
        }
    }
}

fn is_established(root: &Root, tree: &DataTree) -> bool {
    root.births().iter().all(|(path, _)| tree.node(path).is_some())
}

impl Root {
    /// What must be there, parents first.
    pub(super) fn births(&self) -> Vec<(String, Vec<Acl>)> {
        let inside = |name: &str| format!("{}{name}", self.path());
        let mut births = Vec::new();
        with_ancestors(self.path(), &mut births);
        births.push((inside("/zookeeper"), Acl::open()));
        births.push((inside("/zookeeper/config"), Acl::read_only()));
        births.push((self.stand_in(), Acl::open()));
        with_ancestors(self.quota_path(), &mut births);
        births
    }
}

fn with_ancestors(path: &str, births: &mut Vec<(String, Vec<Acl>)>) {
    let ends = path.match_indices('/').map(|(at, _)| at).skip(1).chain([path.len()]);
    births.extend(ends.map(|end| (path[..end].to_owned(), Acl::open())));
}

async fn make(root: &Root, replica: &Replica, link: &CoreLink, session: SessionId) -> Result<(), Failed> {
    let ask = |op, body| ask(link, session, op, body);
    expect("its session", ask(OpCode::CreateSession, Request::CreateSession(SESSION_TIMEOUT_MS)).await?)?;
    for (path, acl) in root.births() {
        if replica.read().node(&path).is_some() {
            continue;
        }
        let flags = CreateMode::Persistent.flags();
        let create = Create { path: path.into(), data: Some(b""), acl, flags, ttl_ms: None };
        match ask(OpCode::Create, Request::Create(create)).await? {
            // Another gateway of this tenant may be at it too.
            ErrorCode::NODE_EXISTS => {}
            code => expect("a part of it", code)?,
        }
    }
    ask(OpCode::CloseSession, Request::CloseSession).await.map(|_| ())
}

fn expect(what: &'static str, code: ErrorCode) -> Result<(), Failed> {
    if code.is_ok() { Ok(()) } else { Err(Failed::Refused(what, code)) }
}

/// One write, in the name of the gateway.
async fn ask(
    link: &CoreLink,
    session: SessionId,
    op: OpCode,
    request: Request<'_>,
) -> Result<ErrorCode, Failed> {
    let mut body = BytesMut::new();
    request.encode(&mut body);
    let body: Bytes = body.freeze();
    let (answer, answered) = oneshot::channel();
    let ticket = Ticket::new(Arc::new(Asked(Mutex::new(Some(answer)))), 0);
    let request = ForwardedRequest { session, cxid: 0, op: op.as_i32(), body };
    link.forward(request, vec![Id::new("super", "")], ticket).map_err(|_| Failed::Unreachable)?;
    match timeout(PATIENCE, answered).await {
        Ok(Ok(Some(code))) => Ok(code),
        Ok(Ok(None) | Err(_)) | Err(_) => Err(Failed::Silent),
    }
}

/// Waits for one answer; `None` if nobody knows it.
struct Asked(Mutex<Option<oneshot::Sender<Option<ErrorCode>>>>);

impl Requester for Asked {
    fn answered(&self, _tag: u64, answer: Answer<'_>) {
        let code = match answer {
            Answer::Applied { outcome, .. } => Some(outcome.error),
            Answer::Synced { .. } | Answer::Revalidated { .. } | Answer::Lost => None,
        };
        if let Some(waiting) = self.0.lock().take() {
            waiting.send(code).ok();
        }
    }

    fn is_waiting(&self, _tag: u64) -> bool {
        self.0.lock().as_ref().is_some_and(|waiting| !waiting.is_closed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_come_first() {
        let births = Root::new("/t/a").births();
        let paths: Vec<_> = births.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "/t",
                "/t/a",
                "/t/a/zookeeper",
                "/t/a/zookeeper/config",
                "/t/a/zookeeper/quota",
                "/zookeeper",
                "/zookeeper/quota",
                "/zookeeper/quota/t",
                "/zookeeper/quota/t/a",
            ]
        );
    }
}
