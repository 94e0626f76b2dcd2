//! A tenant that is confined to a sub-tree neither sees nor changes anything outside, whatever it tries.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fmt::Debug;

use palisade_tests::apache::ApacheServer;
use palisade_tests::conformance::SUPER_DIGEST;
use palisade_tests::folder::Folder;
use palisade_tests::palisade::{Core, Gateway, refusal};
use palisade_tests::ports::Ports;
use palisade_tests::raw::RawClient;
use palisade_tests::{four_letter, http, zoo_cfg};
use palisade_wire::connect::session_password;
use palisade_wire::multi::MultiHeader;
use palisade_wire::request::{Create, PathWatch, Request, SetWatches};
use palisade_wire::{Acl, ErrorCode, Id, OpCode, Perms, Reader, Stat, Zxid};

/// In all that Bob has and Ann does not name herself.
const SECRET: &str = "hidden";
/// What the ensemble's configuration begins with.
const VOTERS: &str = "server.1";

/// Two tenants and somebody who sees all, before one core.
struct Tenants {
    ann: Gateway,
    bob: Gateway,
    whole: Gateway,
    _core: Box<dyn Debug>,
}

impl Tenants {
    fn before_palisade() -> Self {
        let mut core = Core::start();
        let mut gateway = |id, name, root: &str| {
            core.gateway_with(id, name, &settings(name, root).each_ref().map(|(k, v)| (*k, &**v)))
        };
        let (ann, bob, whole) = (
            gateway(101, "ann", "/tenants/ann"),
            gateway(102, "bob", "/tenants/bob"),
            gateway(103, "whole", "/"),
        );
        Self { ann, bob, whole, _core: Box::new(core) }
    }

    fn before_apache() -> Self {
        let (folder, mut ports) = (Folder::new(), Ports::lease());
        let core = ApacheServer::start_quiet(
            &folder.subfolder("apache"),
            &mut ports,
            &[zoo_cfg::ENSEMBLE_OF_ONE],
            &[],
        );
        let members = [core.member().clone()];
        let mut gateway = |id, name, root: &str| {
            let settings = settings(name, root);
            Gateway::start_with(
                &folder.subfolder(name),
                id,
                &members,
                &mut ports,
                &settings.each_ref().map(|(k, v)| (*k, &**v)),
            )
        };
        let (ann, bob, whole) = (
            gateway(101, "ann", "/tenants/ann"),
            gateway(102, "bob", "/tenants/bob"),
            gateway(103, "whole", "/"),
        );
        Self { ann, bob, whole, _core: Box::new((core, folder, ports)) }
    }
}

fn settings(name: &str, root: &str) -> [(&'static str, String); 4] {
    [
        ("tenant.name", format!("\"{name}\"")),
        ("tenant.root", format!("\"{root}\"")),
        ("client.four_letter_words", "[\"*\"]".to_owned()),
        ("auth.super_digest", format!("\"{SUPER_DIGEST}\"")),
    ]
}

fn path_watch(path: &str) -> PathWatch<'_> {
    PathWatch { path: path.into(), watch: true }
}

fn create<'a>(path: &'a str, data: &'a str, acl: Vec<Acl>, flags: i32) -> Request<'a> {
    Request::Create(Create { path: path.into(), data: Some(data.as_bytes()), acl, flags, ttl_ms: None })
}

#[track_caller]
fn ok(client: &mut RawClient, op: OpCode, request: &Request<'_>) -> bytes::Bytes {
    let (error, body) = client.call(op, request).expect("an answer");
    assert_eq!(error, ErrorCode::OK, "{request:?}");
    body
}

/// Bob's clients, and what they have.
struct Bob {
    /// Owns an ephemeral znode, watches, and stays.
    client: RawClient,
    /// The core knows nothing of it.
    reader: RawClient,
}

impl Bob {
    fn settle(gateway: &Gateway) -> Self {
        let (mut client, mut reader) =
            (RawClient::connect(&gateway.address()), RawClient::connect(&gateway.address()));
        let his = vec![
            Acl { perms: Perms::ALL, id: Id::new("world", "anyone") },
            Acl { perms: Perms::READ, id: Id::new("digest", format!("{SECRET}:{SECRET}")) },
        ];
        for (path, flags) in [
            ("/known", 0),
            ("/known/hidden-child", 0),
            ("/hidden-ephemeral", 1),
            ("/container", 4),
            ("/zookeeper/quota/known", 0),
            ("/zookeeper/quota/known/zookeeper_limits", 0),
            ("/zookeeper/quota/known/zookeeper_stats", 0),
        ] {
            let op = if flags == 4 { OpCode::CreateContainer } else { OpCode::Create };
            ok(&mut client, op, &create(path, SECRET, his.clone(), flags));
        }
        ok(&mut client, OpCode::AddWatch, &Request::AddWatch { path: "/hidden-watched".into(), mode: 1 });
        ok(&mut reader, OpCode::GetData, &Request::GetData(path_watch("/known")));
        Self { client, reader }
    }

    /// What must not be told to others: names, data, sessions, addresses.
    fn secrets(&self) -> Vec<String> {
        let session = |client: &RawClient| format!("{:x}", client.session);
        vec![SECRET.to_owned(), session(&self.client), session(&self.reader), VOTERS.to_owned()]
    }

    /// Changes what an eavesdropper would hear of, without changing anything.
    fn stir(&mut self) {
        for path in ["/known", "/hidden-watched", "/tenants"] {
            self.client.call(OpCode::Create, &create(path, SECRET, Acl::open(), 0)).unwrap();
            ok(
                &mut self.client,
                OpCode::SetData,
                &Request::SetData { path: path.into(), data: Some(SECRET.as_bytes()), version: -1 },
            );
            ok(&mut self.client, OpCode::Create, &create(&format!("{path}/stirred"), SECRET, Acl::open(), 0));
            ok(
                &mut self.client,
                OpCode::Delete,
                &Request::Delete { path: format!("{path}/stirred").into(), version: -1 },
            );
        }
    }
}

/// Every znode that is none of Ann's, with its data, ACL and stat. The znodes that have her root or her quotas for a
/// child count, too.
fn outside(client: &mut RawClient) -> Vec<(String, bytes::Bytes, bytes::Bytes)> {
    ok(client, OpCode::Sync, &Request::Sync(Some("/".into())));
    let (mut found, mut open) = (Vec::new(), vec!["/".to_owned()]);
    while let Some(path) = open.pop() {
        let at = || PathWatch { path: path.clone().into(), watch: false };
        let data = ok(client, OpCode::GetData, &Request::GetData(at()));
        let acl = ok(client, OpCode::GetAcl, &Request::GetAcl(path.clone().into()));
        let children = ok(client, OpCode::GetChildren, &Request::GetChildren(at()));
        let names = Reader::new(&children).vec("children", |r| Ok(r.string("name")?.into_owned())).unwrap();
        for name in names {
            let child = format!("{}/{name}", path.trim_end_matches('/'));
            if child != "/tenants/ann" && child != "/zookeeper/quota/tenants/ann" {
                open.push(child);
            }
        }
        found.push((path, data, acl));
    }
    found.sort();
    found
}

/// By which somebody might hope to come to Bob's `known`, or to what is everybody's.
const ESCAPES: &[&str] = &[
    "/../bob/known",
    "/../../tenants/bob/known",
    "/./../bob/known",
    "/x/../../bob/known",
    "/tenants/bob/known",
    "//tenants/bob/known",
    "/%2e%2e/bob/known",
    "/..%2fbob/known",
    "/..\\bob\\known",
    "/\u{2024}\u{2024}/bob/known",
    "/\u{ff0e}\u{ff0e}/bob/known",
    "/..\u{0}/bob/known",
    "/\u{0}/../../tenants/bob/known",
    "/known\u{0}",
    "tenants/bob/known",
    "../bob/known",
    "bob/known",
    "known",
    "/known/",
    "/zookeeper/quota/../bob/known",
    "/zookeeper/quota/../../tenants/bob/known",
    "/zookeeper/quota/tenants/bob/known",
    "/zookeeper/quota//tenants/bob/known",
    "/zookeeper/quota/../tenants/bob/known",
    "/zookeeper/quotas/../quota/tenants/bob/known",
    "zookeeper/quota/tenants/bob/known",
    "/zookeeper/tenants/%2Ftenants%2Fbob",
    "/zookeeper/../zookeeper/tenants/%2Ftenants%2Fbob",
    "/zookeeper/palisade/status/../../../tenants/bob/known",
];

/// What every tree has.
const EVERYBODYS: &[&str] = &[
    "",
    "/",
    "/..",
    "//",
    "\u{0}",
    "/zookeeper",
    "/zookeeper/",
    "/zookeeper/config",
    "/zookeeper/config/",
    "/zookeeper/../config",
    "/zookeeper/quota",
    "/zookeeper/quota/",
    "/zookeeper/quota/..",
    "/zookeeper/quota/tenants",
    "/zookeeper/quota/tenants/bob",
    "/zookeeper/tenants",
    "/zookeeper/palisade",
    "/tenants",
    "/tenants/bob",
    "/tenants/ann",
];

/// Everything that can be asked of a path, what changes least first.
fn requests(path: &str) -> Vec<(OpCode, Request<'_>)> {
    let name = || path.into();
    let set = || Request::SetData { path: name(), data: Some(b"taken"), version: -1 };
    let delete = || Request::Delete { path: name(), version: -1 };
    let check = || Request::Check { path: name(), version: 0 };
    let any = |flags| create(path, "taken", Acl::open(), flags);
    let get = || Request::GetData(path_watch(path));
    let children = || Request::GetChildren(path_watch(path));
    let watches = || SetWatches {
        relative_zxid: Zxid::ZERO,
        data: vec![name()],
        exist: vec![name()],
        child: vec![name()],
        persistent: vec![name()],
        recursive: vec![name()],
    };
    let set_acl = Request::SetAcl {
        path: name(),
        acl: vec![Acl { perms: Perms::ALL, id: Id::new("world", "anyone") }],
        version: -1,
    };
    let multi = |op, request| (OpCode::Multi, Request::Multi(vec![(op, request)]));
    vec![
        (OpCode::GetData, get()),
        (OpCode::Exists, Request::Exists(path_watch(path))),
        (OpCode::GetChildren, children()),
        (OpCode::GetChildren2, Request::GetChildren2(path_watch(path))),
        (OpCode::GetAcl, Request::GetAcl(name())),
        (OpCode::GetAllChildrenNumber, Request::GetAllChildrenNumber(name())),
        (OpCode::GetEphemerals, Request::GetEphemerals(Some(name()))),
        (
            OpCode::MultiRead,
            Request::MultiRead(vec![(OpCode::GetData, get()), (OpCode::GetChildren, children())]),
        ),
        (OpCode::CheckWatches, Request::CheckWatches { path: name(), kind: 3 }),
        (OpCode::RemoveWatches, Request::RemoveWatches { path: Some(name()), kind: 3 }),
        (OpCode::AddWatch, Request::AddWatch { path: name(), mode: 0 }),
        (OpCode::AddWatch, Request::AddWatch { path: name(), mode: 1 }),
        (OpCode::SetWatches, Request::SetWatches(watches())),
        (OpCode::SetWatches2, Request::SetWatches(watches())),
        (OpCode::Sync, Request::Sync(Some(name()))),
        multi(OpCode::Check, check()),
        multi(OpCode::SetData, set()),
        // Fails as a whole, with an error for each part.
        (
            OpCode::Multi,
            Request::Multi(vec![
                (OpCode::Delete, delete()),
                (OpCode::Check, Request::Check { path: "/none".into(), version: 7 }),
            ]),
        ),
        multi(OpCode::Create, any(2)),
        multi(OpCode::Create2, any(1)),
        multi(OpCode::Delete, delete()),
        (OpCode::SetAcl, set_acl),
        (OpCode::SetData, set()),
        (OpCode::Create, any(0)),
        (OpCode::Create2, any(3)),
        (OpCode::CreateContainer, any(4)),
        (OpCode::Delete, delete()),
    ]
}

/// A body with this path as it is, UTF-8 or not, and what may stand behind it.
fn raw_path(path: &[u8]) -> Vec<u8> {
    [&(path.len() as i32).to_be_bytes()[..], path, &[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]].concat()
}

/// A multi whose only part has this type and body.
fn raw_multi(op: i32, part: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    MultiHeader { op, done: false, err: -1 }.encode(&mut body);
    body.extend_from_slice(part);
    MultiHeader::END.encode(&mut body);
    body
}

/// Requests that are none, or not for clients.
fn malformed() -> Vec<(i32, Vec<u8>)> {
    let mut all = Vec::new();
    let paths: [&[u8]; 5] = [
        b"/\xc0\xae\xc0\xae/bob/known",
        b"/\xff/../bob/known",
        b"/\xed\xa0\x80",
        b"/..",
        b"\xc0\xaf\xc0\xaf",
    ];
    for path in paths {
        let ops = [
            OpCode::GetData,
            OpCode::Exists,
            OpCode::GetChildren,
            OpCode::Delete,
            OpCode::AddWatch,
            OpCode::Sync,
        ];
        all.extend(ops.map(|op| (op.as_i32(), raw_path(path))));
        all.push((OpCode::Multi.as_i32(), raw_multi(OpCode::Delete.as_i32(), &raw_path(path))));
    }
    let bobs = raw_path(b"/tenants/bob/known");
    // A multi in a multi, sessions, reconfigurations, ACLs and deletions of containers in one, and types that are none.
    for op in [14, -10, -11, 16, 7, 9, 20, 100, 107, 0, 99, i32::MIN] {
        all.push((OpCode::Multi.as_i32(), raw_multi(op, &bobs)));
    }
    // What only servers may ask, of another's znode and of what may be his session.
    for op in [-10, -11, -1, 0, 10, 13, 20, 99, 108] {
        all.push((op, bobs.clone()));
    }
    for op in [OpCode::GetData, OpCode::Create, OpCode::Multi, OpCode::SetWatches, OpCode::Reconfig] {
        all.push((op.as_i32(), Vec::new()));
        all.push((op.as_i32(), i32::MAX.to_be_bytes().to_vec()));
        all.push((op.as_i32(), vec![0xff; 40]));
    }
    all
}

#[track_caller]
fn assert_discreet(what: &dyn Debug, told: &[u8], secrets: &[String]) {
    let text = String::from_utf8_lossy(told);
    let leaked = secrets.iter().find(|secret| text.contains(&***secret));
    assert_eq!(leaked, None, "{what:?}: {text:?}");
}

/// Sends everything, and looks for secrets in everything that comes.
fn attack(gateway: &Gateway, secrets: &[String]) -> RawClient {
    let mut ann = RawClient::connect(&gateway.address());
    for path in ESCAPES.iter().chain(EVERYBODYS) {
        for (op, request) in requests(path) {
            if ann.call(op, &request).is_none() {
                ann = RawClient::connect(&gateway.address());
            }
            let received: Vec<u8> = ann.received.drain(..).flatten().collect();
            assert_discreet(&(op, path), &received, secrets);
        }
    }
    for (op, body) in malformed() {
        if ann.call_raw(op, &body).is_none() {
            ann = RawClient::connect(&gateway.address());
        }
        let received: Vec<u8> = ann.received.drain(..).flatten().collect();
        assert_discreet(&(op, body), &received, secrets);
    }
    let reconfig =
        Request::Reconfig { joining: None, leaving: Some("1".into()), members: None, config_id: -1 };
    assert_eq!(ann.call(OpCode::Reconfig, &reconfig).unwrap().0, ErrorCode::RECONFIG_DISABLED);
    ok(&mut ann, OpCode::WhoAmI, &Request::WhoAmI);
    ann
}

/// Whether something is there must not show in how its absence is told.
fn assert_no_oracle(gateway: &Gateway) {
    let mut ann = RawClient::connect(&gateway.address());
    for path in ESCAPES {
        let absent = path.replace("known", "never").replace("%2Fbob", "%2Fnob");
        for ((op, of_his), (_, of_nothing)) in requests(path).iter().zip(requests(&absent)) {
            let is_lasting =
                matches!(op, OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::Multi);
            if is_lasting
                || matches!(op, OpCode::Delete | OpCode::SetData | OpCode::SetAcl) && path.contains('%')
            {
                continue;
            }
            let error = |answer: Option<(ErrorCode, bytes::Bytes)>| answer.map(|(error, _)| error);
            let told = error(ann.call(*op, of_his));
            assert_eq!(told, error(ann.call(*op, &of_nothing)), "{of_his:?}");
        }
    }
}

/// Nobody but Bob comes to his sessions, by his gateway or by Ann's.
fn assert_sessions_are_safe(tenants: &Tenants, bob: &mut Bob) {
    for (session, password) in [&bob.client, &bob.reader].map(|client| (client.session, client.password)) {
        let mut guess = password;
        guess[15] ^= 1;
        for password in [password, guess, session_password(session), [0; 16], [0xff; 16]] {
            let taken = RawClient::resume(&tenants.ann.address(), session, password);
            assert!(taken.is_none(), "{session:x} with {password:x?}");
        }
    }
    // His connections notice nothing.
    for client in [&mut bob.client, &mut bob.reader] {
        assert!(client.call(OpCode::GetData, &Request::GetData(path_watch("/known"))).is_some());
    }
}

/// Every word and every page, at the port for clients and at the one for monitoring.
fn assert_discreet_monitoring(gateway: &Gateway, secrets: &[String]) {
    let words = [
        "conf", "cons", "dirs", "dump", "envi", "gtmk", "hash", "isro", "mntr", "reqs", "ruok", "srvr",
        "stat", "wchc", "wchp", "wchs", "crst", "srst",
    ];
    let [client_port, admin_port] = gateway.ports();
    for port in [client_port, admin_port] {
        for word in words {
            let answer = four_letter::ask(port, word).unwrap();
            assert!(word == "reqs" || word == "hash" || !answer.is_empty(), "{word}");
            assert_discreet(&word, answer.as_bytes(), secrets);
        }
    }
    let index = http::get(admin_port, "/commands").unwrap().body;
    let pages = index.split('"').filter(|link| link.starts_with("/commands/")).map(str::to_owned);
    let pages: Vec<String> =
        pages.chain(["/metrics".to_owned(), "/top".to_owned(), "/readyz".to_owned()]).collect();
    assert!(pages.len() > 20, "{index}");
    for page in pages {
        assert_discreet(&page, http::get(admin_port, &page).unwrap().body.as_bytes(), secrets);
    }
}

/// What `mntr` counts that is a tenant's own.
const OWN_COUNTS: [&str; 5] = [
    "zk_znode_count",
    "zk_ephemerals_count",
    "zk_approximate_data_size",
    "zk_watch_count",
    "zk_global_sessions",
];

fn counts(gateway: &Gateway) -> Vec<String> {
    OWN_COUNTS.map(|name| four_letter::metric(gateway.ports()[0], name).unwrap()).into()
}

fn stat(client: &mut RawClient, path: &str) -> Option<Stat> {
    let (error, body) = client.call(OpCode::Exists, &Request::Exists(path_watch(path)))?;
    error.is_ok().then(|| Stat::decode(&mut Reader::new(&body)).unwrap())
}

fn nothing_outside_is_seen_or_changed(tenants: Tenants) {
    let mut all = RawClient::connect(&tenants.whole.address());
    let auth = Request::Auth { scheme: Some("digest".into()), auth: Some(b"super:admin") };
    ok(&mut all, OpCode::Auth, &auth);
    assert_eq!(counts(&tenants.ann)[..3], ["5", "0", "43"], "as in a fresh tree");
    let mut bob = Bob::settle(&tenants.bob);
    let own = stat(&mut bob.client, "/hidden-ephemeral").unwrap();
    assert_eq!(own.ephemeral_owner, bob.client.session);
    bob.stir();

    let mut ann = RawClient::connect(&tenants.ann.address());
    ok(&mut ann, OpCode::Sync, &Request::Sync(Some("/".into())));
    assert_eq!(counts(&tenants.ann)[..3], ["5", "0", "43"], "others' znodes are counted");
    let number = ok(&mut ann, OpCode::GetAllChildrenNumber, &Request::GetAllChildrenNumber("/".into()));
    assert_eq!(number[..], 3_i32.to_be_bytes(), "/zookeeper, its config and quota");

    let secrets = bob.secrets();
    let before = outside(&mut all);
    assert!(before.iter().any(|(path, ..)| path == "/tenants/bob/hidden-ephemeral"));
    assert!(before.iter().any(|(path, ..)| path == "/zookeeper/tenants/%2Ftenants%2Fbob"));
    assert_no_oracle(&tenants.ann);
    assert_sessions_are_safe(&tenants, &mut bob);
    let mut ann = attack(&tenants.ann, &secrets);
    assert_discreet_monitoring(&tenants.ann, &secrets);
    let after = outside(&mut all);
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before, after);
    }
    assert_eq!(before.len(), after.len());

    // What he does is no event of hers, whatever she asked to watch.
    for path in ESCAPES.iter().chain(EVERYBODYS) {
        ann.call(OpCode::AddWatch, &Request::AddWatch { path: (*path).into(), mode: 1 });
        ann.call(OpCode::Exists, &Request::Exists(path_watch(path)));
    }
    ok(&mut ann, OpCode::Sync, &Request::Sync(Some("/".into())));
    ann.events.clear();
    let watched = counts(&tenants.ann);
    bob.stir();
    ok(
        &mut all,
        OpCode::SetData,
        &Request::SetData { path: "/tenants".into(), data: Some(b"x"), version: -1 },
    );
    ok(&mut ann, OpCode::Sync, &Request::Sync(Some("/".into())));
    assert_eq!(ann.events, []);
    assert_eq!(counts(&tenants.ann)[..4], watched[..4]);
    assert_eq!(stat(&mut bob.client, "/hidden-ephemeral"), Some(own));
}

#[test]
fn a_hostile_tenant_is_alone_before_palisade() {
    nothing_outside_is_seen_or_changed(Tenants::before_palisade());
}

#[test]
fn a_hostile_tenant_is_alone_before_apache() {
    nothing_outside_is_seen_or_changed(Tenants::before_apache());
}

#[test]
fn a_root_is_one_tenants_only() {
    let mut core = Core::start();
    let as_ann = settings("ann", "/tenants/ann");
    let as_ann = as_ann.each_ref().map(|(key, value)| (*key, &**value));
    let ann = core.gateway_with(101, "ann-1", &as_ann);
    let client = RawClient::connect(&ann.address());
    let voters = core.members.iter().map(|voter| format!("\"127.0.0.1:{}\"", voter.quorum_port));
    let voters = voters.collect::<Vec<_>>().join(", ");
    for (id, tenant, root, said) in [
        (102, "eve", "/tenants/ann", "tenant.root: /tenants/ann is that of the tenant \"ann\""),
        (103, "mallory", "/tenants", "tenant.root: /tenants overlaps /tenants/ann"),
        (104, "trent", "/tenants/ann/zookeeper", "tenant.root: /tenants/ann/zookeeper overlaps /tenants/ann"),
    ] {
        let folder = core.folder.subfolder(tenant);
        let config = folder.join("gateway.toml");
        let text = format!(
            "id = {id}\ntenant.name = \"{tenant}\"\ntenant.root = \"{root}\"\nclient.address = \"127.0.0.1:0\"\n\
             core.voters = [{voters}]\nstorage.data_dir = \"{}\"\n",
            folder.join("data").display()
        );
        std::fs::write(&config, text).unwrap();
        let message = refusal(&folder, &["gateway", "--config", config.to_str().unwrap()]);
        assert!(message.contains(said), "{message}");
    }
    // Another gateway of the same tenant knows its sessions.
    let other = core.gateway_with(105, "ann-2", &as_ann);
    let moved =
        RawClient::resume(&other.address(), client.session, client.password).expect("the session moves");
    assert_eq!(moved.session, client.session);
}
