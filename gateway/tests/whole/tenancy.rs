//! Tenants that see a sub-tree each, before one core: what they see is a tree of their own.

use crate::support::{Client, Core, connected};
use palisade_gateway::GatewayHandle;
use palisade_wire::multi::{MultiHeader, create_op};
use palisade_wire::request::{Create, Request, SetWatches};
use palisade_wire::{Acl, ErrorCode, OpCode, Reader, Zxid};
use tempfile::TempDir;

const EPHEMERAL: i32 = 1;
const SEQUENTIAL: i32 = 2;

/// Two tenants, and a gateway that sees all.
struct Tenants {
    _folders: [TempDir; 3],
    /// For `/tenants/ann`.
    ann: GatewayHandle,
    /// For `/tenants/bob`.
    bob: GatewayHandle,
    whole: GatewayHandle,
}

impl Tenants {
    async fn start(core: &Core) -> Self {
        let folders = [TempDir::new().unwrap(), TempDir::new().unwrap(), TempDir::new().unwrap()];
        let ann = core.tenant(101, folders[0].path(), "/tenants/ann").await;
        let bob = core.tenant(102, folders[1].path(), "/tenants/bob").await;
        let whole = core.gateway(103, folders[2].path()).await;
        for gateway in [&ann, &bob, &whole] {
            connected(gateway).await;
        }
        Self { _folders: folders, ann, bob, whole }
    }

    async fn stop(self) {
        let Self { ann, bob, whole, .. } = self;
        for gateway in [ann, bob, whole] {
            gateway.stop().await;
        }
    }
}

fn create(path: &str, flags: i32) -> Request<'_> {
    Request::Create(Create { path: path.into(), data: Some(b"x"), acl: Acl::open(), flags, ttl_ms: None })
}

async fn sorted_children(client: &mut Client, path: &str) -> Vec<String> {
    let mut names = client.children(path).await;
    names.sort();
    names
}

async fn created(client: &mut Client, path: &str, flags: i32) -> String {
    let (error, body) = client.call(OpCode::Create, &create(path, flags)).await.unwrap();
    assert_eq!(error, ErrorCode::OK, "create {path}");
    Reader::new(&body).string("path").unwrap().into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_has_a_tree_of_its_own() {
    let core = Core::start().await;
    let tenants = Tenants::start(&core).await;
    let mut ann = Client::connect(tenants.ann.client_address()).await;
    let mut bob = Client::connect(tenants.bob.client_address()).await;
    let mut all = Client::connect(tenants.whole.client_address()).await;

    assert_eq!(ann.children("/").await, ["zookeeper"], "as in a fresh tree");
    assert_eq!(sorted_children(&mut ann, "/zookeeper").await, ["config", "quota"]);
    assert_eq!(ann.get("/zookeeper/config", false).await.unwrap(), b"", "no word about the voters");
    assert_eq!(ann.set("/zookeeper/config", b"mine").await.unwrap(), ErrorCode::NO_AUTH);

    assert_eq!(created(&mut ann, "/app", 0).await, "/app");
    assert_eq!(created(&mut ann, "/app/n-", SEQUENTIAL).await, "/app/n-0000000000");
    assert_eq!(created(&mut ann, "/", SEQUENTIAL).await, "/0000000002");
    assert_eq!(created(&mut ann, "/mine", EPHEMERAL).await, "/mine");
    assert_eq!(sorted_children(&mut ann, "/").await, ["0000000002", "app", "mine", "zookeeper"]);
    all.sync("/").await.unwrap();
    assert_eq!(sorted_children(&mut all, "/tenants/ann").await, ["0000000002", "app", "mine", "zookeeper"]);
    bob.sync("/").await.unwrap();
    assert_eq!(bob.children("/").await, ["zookeeper"], "another tenant's tree is another tree");

    let (_, body) = ann.call(OpCode::GetEphemerals, &Request::GetEphemerals(None)).await.unwrap();
    let paths = Reader::new(&body).vec("ephemerals", |r| Ok(r.string("path")?.into_owned())).unwrap();
    assert_eq!(paths, ["/mine"]);

    let multi = Request::Multi(vec![
        create_op("/m", b"", 0),
        create_op("/m/n-", b"", SEQUENTIAL),
        (OpCode::Delete, Request::Delete { path: "/m/n-0000000000".into(), version: -1 }),
    ]);
    let (error, body) = ann.call(OpCode::Multi, &multi).await.unwrap();
    assert_eq!(error, ErrorCode::OK);
    let mut r = Reader::new(&body);
    for expected in ["/m", "/m/n-0000000000"] {
        assert_eq!(MultiHeader::decode(&mut r).unwrap().op, OpCode::Create.as_i32());
        assert_eq!(r.string("path").unwrap(), expected);
    }
    assert_eq!(MultiHeader::decode(&mut r).unwrap().op, OpCode::Delete.as_i32());
    assert_eq!(MultiHeader::decode(&mut r).unwrap(), MultiHeader::END);
    tenants.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_name_what_the_client_watches_and_nothing_else_fires() {
    let core = Core::start().await;
    let tenants = Tenants::start(&core).await;
    let mut ann = Client::connect(tenants.ann.client_address()).await;
    let mut bob = Client::connect(tenants.bob.client_address()).await;
    let mut all = Client::connect(tenants.whole.client_address()).await;

    // The same path in each tree, and a recursive watch over all that a tenant can see.
    for (client, path) in [(&mut ann, "/"), (&mut bob, "/"), (&mut all, "/tenants/ann")] {
        let watch = Request::AddWatch { path: path.into(), mode: 1 };
        assert_eq!(client.call(OpCode::AddWatch, &watch).await.unwrap().0, ErrorCode::OK);
    }
    ann.create("/x", 0).await.unwrap();
    ann.set("/x", b"1").await.unwrap();
    assert_eq!(ann.event().await, "NodeCreated /x");
    assert_eq!(ann.event().await, "NodeDataChanged /x");
    assert_eq!(all.event().await, "NodeCreated /tenants/ann/x");
    assert_eq!(all.event().await, "NodeDataChanged /tenants/ann/x");
    // A change from outside reaches the inside under the inside's name.
    all.set("/tenants/ann/x", b"2").await.unwrap();
    assert_eq!(ann.event().await, "NodeDataChanged /x");
    bob.sync("/").await.unwrap();
    assert_eq!(bob.events, [""; 0]);

    // Registering again tells what was missed, of one's own tree only.
    let again = SetWatches {
        relative_zxid: Zxid::ZERO,
        data: vec!["/x".into(), "/tenants/ann/x".into()],
        ..SetWatches::default()
    };
    let mut late = Client::connect(tenants.ann.client_address()).await;
    late.sync("/").await.unwrap();
    let answer = late.call(OpCode::SetWatches, &Request::SetWatches(again)).await.unwrap();
    assert_eq!(answer.0, ErrorCode::OK);
    assert_eq!(late.events, ["NodeDataChanged /x", "NodeDeleted /tenants/ann/x"]);
    tenants.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quotas_are_counted_by_the_core_and_seen_by_their_tenant() {
    let core = Core::start().await;
    let tenants = Tenants::start(&core).await;
    let mut ann = Client::connect(tenants.ann.client_address()).await;
    let mut bob = Client::connect(tenants.bob.client_address()).await;
    for path in ["/app", "/zookeeper/quota/app"] {
        created(&mut ann, path, 0).await;
    }
    for (name, data) in [("limits", "count=9,bytes=-1"), ("stats", "count=0,bytes=0")] {
        let path = format!("/zookeeper/quota/app/zookeeper_{name}");
        created(&mut ann, &path, 0).await;
        assert_eq!(ann.set(&path, data.as_bytes()).await.unwrap(), ErrorCode::OK);
    }
    created(&mut ann, "/app/one", 0).await;
    let stats = ann.get("/zookeeper/quota/app/zookeeper_stats", false).await.unwrap();
    let stats = String::from_utf8(stats).unwrap();
    assert!(stats.contains("count=") && !stats.contains("count=0,"), "nobody counts: {stats}");
    assert_eq!(ann.children("/zookeeper/quota").await, ["app"]);
    bob.sync("/").await.unwrap();
    assert_eq!(bob.children("/zookeeper/quota").await, [""; 0]);
    tenants.stop().await;
}
