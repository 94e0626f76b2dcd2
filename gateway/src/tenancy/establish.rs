//! The first start: makes the root, what stands in every tree from its birth, and the tenant's secret.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use palisade_store::DataTree;
use palisade_wire::quorum::ForwardedRequest;
use palisade_wire::request::{Create, Request};
use palisade_wire::{Acl, CreateMode, ErrorCode, Id, OpCode, Perms, SessionId};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::Root;
use super::root::is_below;
use crate::core_link::{Answer, CoreLink, Place, Requester, Ticket};
use crate::replica::Replica;

/// How long one write may take before all of it is tried again.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause between two attempts.
const PAUSE: Duration = Duration::from_millis(500);
/// Where the secrets of all tenants are. Only the core and gateways that see the whole tree know this path.
const SECRETS: &str = "/zookeeper/tenants";
/// Timeout of the session that makes the root, ms.
const SESSION_TIMEOUT_MS: i32 = 10_000;

/// Why the root is not there yet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Failed {
    #[error("the core cannot be asked now")]
    Unreachable,
    #[error("the core does not answer")]
    Silent,
    #[error("the core refused to create {path}: {code}", path = .0, code = .1)]
    Refused(&'static str, ErrorCode),
    #[error("there is no chance to be had from the system for a secret")]
    NoChance,
    #[error("the znode of its secret holds none; delete {0}")]
    NoSecret(String),
}

/// Why the root cannot be this tenant's. Tenants of one core must not see each other's znodes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RootCollision {
    /// It is another tenant's.
    #[error("{root} is that of the tenant {tenant:?}; if that is no more, delete {secret}")]
    Taken {
        /// This root.
        root: String,
        /// The other tenant.
        tenant: String,
        /// The znode in the core that says so.
        secret: String,
    },
    /// It is above or below another tenant's.
    #[error(
        "{root} overlaps {other}, the root of the tenant {tenant:?}; if that is no more, delete {secret}"
    )]
    Overlaps {
        /// This root.
        root: String,
        /// The other root.
        other: String,
        /// The other tenant.
        tenant: String,
        /// The znode in the core that says so.
        secret: String,
    },
}

/// Bytes of a secret; the tenant's name follows.
const SECRET_LEN: usize = 32;

/// Returns the tenant's secret once the replica holds the root and what belongs to it; makes what is missing in sessions
/// of its own, with ids that `issue` gives. `None` when the link has ended.
///
/// # Errors
/// The core says that another tenant has it.
pub(crate) async fn establish(
    (tenant, root): (&str, &Root),
    replica: &Replica,
    link: &CoreLink,
    issue: impl Fn() -> SessionId,
) -> Result<Option<Vec<u8>>, RootCollision> {
    let mut told = None;
    loop {
        let is_connected = link.state().borrow().is_connected();
        let standing = standing(tenant, root, &replica.read());
        if let Ok(Some(secret)) = standing {
            return Ok(Some(secret));
        }
        // A replica that was not brought up to date does not know who has which root.
        if !is_connected {
            if link.state().wait_for(|state| state.is_connected()).await.is_err() {
                return Ok(None);
            }
            continue;
        }
        standing?;
        match make(tenant, root, replica, link, issue()).await {
            Ok(()) => info!(root = root.path(), "the tenant's root is made"),
            Err(failed) => {
                if told.as_ref() != Some(&failed) {
                    warn!(root = root.path(), %failed, "the tenant has no root; clients wait for it");
                    told = Some(failed);
                }
                sleep(PAUSE).await;
            }
        }
    }
}

/// The secret, if all is there.
///
/// # Errors
/// The root is not to be had.
fn standing(tenant: &str, root: &Root, tree: &DataTree) -> Result<Option<Vec<u8>>, RootCollision> {
    let names = tree.node(SECRETS).into_iter().flat_map(|node| node.children());
    for name in names {
        let (secret, claimed) = (format!("{SECRETS}/{name}"), decoded(name));
        let data = tree.node(&secret).and_then(|node| node.data()).unwrap_or_default();
        let owner = String::from_utf8_lossy(data.get(SECRET_LEN..).unwrap_or_default());
        if claimed == root.path() && owner != tenant && data.len() >= SECRET_LEN {
            return Err(RootCollision::Taken { root: claimed, tenant: owner.into_owned(), secret });
        }
        if claimed != root.path() && overlap(&claimed, root.path()) {
            let (root, tenant) = (root.path().to_owned(), owner.into_owned());
            return Err(RootCollision::Overlaps { root, other: claimed, tenant, secret });
        }
    }
    let all = root.births().iter().all(|(path, _)| tree.node(path).is_some());
    Ok(known_secret(root, tree).filter(|_| all))
}

fn overlap(one: &str, other: &str) -> bool {
    is_below(one, other) || is_below(other, one)
}

fn known_secret(root: &Root, tree: &DataTree) -> Option<Vec<u8>> {
    Some(tree.node(&root.secret_path())?.data()?.get(..SECRET_LEN)?.to_vec())
}

/// The root whose secret has this name.
fn decoded(name: &str) -> String {
    name.replace("%2F", "/").replace("%25", "%")
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
        births.push((SECRETS.to_owned(), nobodys()));
        births.push((self.secret_path(), nobodys()));
        births
    }

    /// The core's path of the secret: where neither this tenant nor another can look, and in one level, so that no root
    /// can be below another's.
    fn secret_path(&self) -> String {
        format!("{SECRETS}/{}", self.path().replace('%', "%25").replace('/', "%2F"))
    }
}

/// For the gateways themselves: no password has this digest.
fn nobodys() -> Vec<Acl> {
    vec![Acl { perms: Perms::ALL, id: Id::new("digest", "palisade:nobody") }]
}

fn with_ancestors(path: &str, births: &mut Vec<(String, Vec<Acl>)>) {
    let ends = path.match_indices('/').map(|(at, _)| at).skip(1).chain([path.len()]);
    births.extend(ends.map(|end| (path[..end].to_owned(), Acl::open())));
}

async fn make(
    tenant: &str,
    root: &Root,
    replica: &Replica,
    link: &CoreLink,
    session: SessionId,
) -> Result<(), Failed> {
    let ask = |op, body| ask(link, session, op, body);
    expect("its session", ask(OpCode::CreateSession, Request::CreateSession(SESSION_TIMEOUT_MS)).await?)?;
    let mut secret = [0; SECRET_LEN];
    getrandom::fill(&mut secret).map_err(|_| Failed::NoChance)?;
    let secret = [&secret[..], tenant.as_bytes()].concat();
    for (path, acl) in root.births() {
        if replica.read().node(&path).is_some() {
            continue;
        }
        let flags = CreateMode::Persistent.flags();
        let data: &[u8] = if path == root.secret_path() { &secret } else { b"" };
        let create = Create { path: path.into(), data: Some(data), acl, flags, ttl_ms: None };
        match ask(OpCode::Create, Request::Create(create)).await? {
            // Another gateway of this tenant may be at it too.
            ErrorCode::NODE_EXISTS => {}
            code => expect("a part of it", code)?,
        }
    }
    ask(OpCode::CloseSession, Request::CloseSession).await?;
    known_secret(root, &replica.read()).map(|_| ()).ok_or_else(|| Failed::NoSecret(root.secret_path()))
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
    let gateway = Arc::from([Id::new("super", "")]);
    link.forward(request, gateway, ticket, &mut Place::default()).map_err(|_| Failed::Unreachable)?;
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
    use palisade_wire::Zxid;
    use palisade_wire::txn::{CreateTxn, Txn, TxnHeader};

    use super::*;

    fn born(tenant: &str, root: &str, tree: &mut DataTree) {
        let root = Root::new(root);
        for (path, acl) in root.births() {
            let data = if path == root.secret_path() {
                [&[7; SECRET_LEN][..], tenant.as_bytes()].concat()
            } else {
                vec![]
            };
            let header = TxnHeader { session: 7, cxid: 1, zxid: Zxid(tree.last_zxid().0 + 1), time: 5 };
            tree.apply(
                &header,
                &Txn::Create(CreateTxn { path, data: Some(data.into()), acl, parent_cversion: -1 }, false),
                &mut |_| {},
            );
        }
    }

    #[test]
    fn a_root_is_one_tenants_only() {
        let mut tree = DataTree::new();
        assert_eq!(standing("ann", &Root::new("/t/a"), &tree), Ok(None));
        born("ann", "/t/a", &mut tree);
        born("odd", "/100%/x%2Fy", &mut tree);
        for (tenant, root) in [("ann", "/t/a"), ("odd", "/100%/x%2Fy")] {
            assert_eq!(standing(tenant, &Root::new(root), &tree), Ok(Some(vec![7; SECRET_LEN])), "{root}");
        }
        assert_eq!(standing("bob", &Root::new("/t/ab"), &tree), Ok(None));
        let taken = standing("bob", &Root::new("/t/a"), &tree).unwrap_err().to_string();
        assert!(taken.contains("\"ann\"") && taken.contains("/zookeeper/tenants/%2Ft%2Fa"), "{taken}");
        for root in ["/t", "/t/a/b", "/t/a/zookeeper"] {
            let overlaps = standing("bob", &Root::new(root), &tree).unwrap_err().to_string();
            assert!(overlaps.starts_with(&format!("{root} overlaps /t/a,")), "{overlaps}");
        }
    }

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
                "/zookeeper/tenants",
                "/zookeeper/tenants/%2Ft%2Fa",
            ]
        );
    }
}
