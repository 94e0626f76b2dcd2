//! Tenants that see a sub-tree each, before one core: what they see is a tree of their own, and all that they can
//! reach.

use crate::support::{Client, Core, connected};
use bytes::Bytes;
use palisade_gateway::GatewayHandle;
use palisade_wire::multi::{MultiHeader, create_op};
use palisade_wire::request::{Create, PathWatch, Request, SetWatches};
use palisade_wire::{Acl, ErrorCode, OpCode, Reader, Stat, Zxid};
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

fn path_watch(path: &str) -> PathWatch<'_> {
    PathWatch { path: path.into(), watch: false }
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

/// Every znode that is none of Ann's, with its data and stat.
async fn outside(client: &mut Client) -> Vec<(String, Vec<u8>, Stat)> {
    client.sync("/").await.unwrap();
    let (mut found, mut open) = (Vec::new(), vec!["/".to_owned()]);
    while let Some(path) = open.pop() {
        let request = Request::GetData(path_watch(&path));
        let (error, body) = client.call(OpCode::GetData, &request).await.unwrap();
        assert_eq!(error, ErrorCode::OK, "{path}");
        let mut r = Reader::new(&body);
        let data = r.opt_buffer("data").unwrap().unwrap_or_default().to_vec();
        let stat = Stat::decode(&mut r).unwrap();
        for name in client.children(&path).await {
            let child = if path == "/" { format!("/{name}") } else { format!("{path}/{name}") };
            if child != "/tenants/ann" && child != "/zookeeper/quota/tenants/ann" {
                open.push(child);
            }
        }
        found.push((path, data, stat));
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

/// Paths by which somebody might hope to leave a sub-tree.
const ESCAPES: &[&str] = &[
    "/..",
    "/../bob",
    "/../bob/secret",
    "/../../tenants/bob/secret",
    "/./../bob/secret",
    "/tenants/bob/secret",
    "/tenants/bob",
    "//tenants/bob/secret",
    "/%2e%2e/bob/secret",
    "/\u{2024}\u{2024}/bob/secret",
    "/..\u{0}/bob/secret",
    "tenants/bob/secret",
    "../bob/secret",
    "bob/secret",
    "",
    "\u{0}",
    "/zookeeper/quota/../bob",
    "/zookeeper/quota/../../bob/secret",
    "/zookeeper/quota/tenants/bob",
    "/zookeeper/quota//tenants/bob",
    "zookeeper/quota/tenants/bob",
    "/zookeeper/config",
    "/zookeeper/config/",
    "/",
];

async fn attack(ann: &mut Client, path: &str) -> Vec<(&'static str, ErrorCode, Bytes)> {
    let mut answers = Vec::new();
    let path_ref = || path.into();
    let multi = |op, request| Request::Multi(vec![(op, request)]);
    let set = || Request::SetData { path: path_ref(), data: Some(b"taken"), version: -1 };
    let delete = || Request::Delete { path: path_ref(), version: -1 };
    let requests = [
        ("get", OpCode::GetData, Request::GetData(path_watch(path))),
        ("exists", OpCode::Exists, Request::Exists(path_watch(path))),
        ("children", OpCode::GetChildren2, Request::GetChildren2(path_watch(path))),
        ("acl", OpCode::GetAcl, Request::GetAcl(path_ref())),
        ("count", OpCode::GetAllChildrenNumber, Request::GetAllChildrenNumber(path_ref())),
        ("watch", OpCode::AddWatch, Request::AddWatch { path: path_ref(), mode: 1 }),
        ("multi set", OpCode::Multi, multi(OpCode::SetData, set())),
        ("multi delete", OpCode::Multi, multi(OpCode::Delete, delete())),
        ("multi create", OpCode::Multi, multi(OpCode::Create, create(path, SEQUENTIAL))),
        (
            "multi read",
            OpCode::MultiRead,
            Request::MultiRead(vec![(OpCode::GetData, Request::GetData(path_watch(path)))]),
        ),
        ("set acl", OpCode::SetAcl, Request::SetAcl { path: path_ref(), acl: Acl::open(), version: -1 }),
        ("set", OpCode::SetData, set()),
        ("create", OpCode::Create, create(path, 0)),
        ("create numbered", OpCode::Create2, create(path, SEQUENTIAL)),
        ("create container", OpCode::CreateContainer, create(path, 4)),
        ("delete", OpCode::Delete, delete()),
        ("sync", OpCode::Sync, Request::Sync(Some(path_ref()))),
        (
            "watches",
            OpCode::SetWatches2,
            Request::SetWatches(SetWatches {
                relative_zxid: Zxid::ZERO,
                data: vec![path_ref()],
                exist: vec![path_ref()],
                child: vec![path_ref()],
                persistent: vec![path_ref()],
                recursive: vec![path_ref()],
            }),
        ),
    ];
    for (what, op, request) in requests {
        let (error, body) = ann.call(op, &request).await.unwrap();
        answers.push((what, error, body));
    }
    answers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_client_sees_and_changes_nothing_outside() {
    const SECRET: &[u8] = b"bob's secret";
    let core = Core::start().await;
    let tenants = Tenants::start(&core).await;
    let mut bob = Client::connect(tenants.bob.client_address()).await;
    let mut all = Client::connect(tenants.whole.client_address()).await;
    for path in ["/secret", "/zookeeper/quota/secret"] {
        created(&mut bob, path, 0).await;
        bob.set(path, SECRET).await.unwrap();
    }
    let before = outside(&mut all).await;
    assert!(before.iter().any(|(path, ..)| path == "/tenants/bob/secret"));

    let mut ann = Client::connect(tenants.ann.client_address()).await;
    for path in ESCAPES {
        for (what, error, body) in attack(&mut ann, path).await {
            let has = |text: &[u8]| body.windows(text.len()).any(|w| w == text);
            let leaked = has(SECRET) || has(b"server.1") || (what == "children" && has(b"secret"));
            assert!(!leaked, "{what} {path:?}: {error:?}, {body:?}");
        }
    }
    let reconfig =
        Request::Reconfig { joining: None, leaving: Some("1".into()), members: None, config_id: -1 };
    let refused = ann.call(OpCode::Reconfig, &reconfig).await.unwrap();
    assert_eq!(refused.0, ErrorCode::RECONFIG_DISABLED);

    // What others do is no event of hers, whatever she asked to watch.
    ann.sync("/").await.unwrap();
    ann.events.clear();
    let after = outside(&mut all).await;
    bob.set("/secret", SECRET).await.unwrap();
    ann.sync("/").await.unwrap();
    assert_eq!(ann.events, [""; 0]);
    assert_eq!(before, after);
    tenants.stop().await;
}
