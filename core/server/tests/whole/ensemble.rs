//! What an ensemble does, seen by voters' neighbours and by an observer.

use crate::support::{Observer, Trio};
use palisade_wire::quorum::{PacketType, QuorumPacket, decode_revalidated, encode_revalidate};
use palisade_wire::request::{Create, Request};
use palisade_wire::txn::Txn;
use palisade_wire::{Acl, ErrorCode, OpCode, Zxid};

const SESSION: i64 = 0x0900_0000_0000_0001;
const EPHEMERAL: i32 = 1;

fn create(path: &str) -> Request<'static> {
    let (path, acl) = (path.to_owned().into(), Acl::open());
    Request::Create(Create { path, data: None, acl, flags: 0, ttl_ms: None })
}

fn plain(_: &mut palisade_server::Config) {}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ensemble_elects_serves_an_observer_and_answers_for_itself() {
    let mut trio = Trio::start(plain).await;
    let mut observer = trio.observer(9).await;
    observer.open_session(SESSION, 30_000).await;
    assert!(matches!(observer.create(SESSION, 1, "/a", 0).await, Txn::Create(c, false) if c.path == "/a"));
    assert_eq!(observer.create(SESSION, 2, "/a", 0).await, Txn::Error(ErrorCode::NODE_EXISTS));
    assert_eq!(observer.create(SESSION, 3, "/b/c", 0).await, Txn::Error(ErrorCode::NO_NODE));
    let last = observer.tree.last_zxid();
    for sid in 1..=3 {
        trio.shows(sid, "srvr", &format!("Zxid: {last}")).await;
        trio.shows(sid, "srvr", "Node count: 6").await;
        trio.shows(sid, "mntr", "zk_listener_up_election\t1").await;
    }
    let leader = trio.leader().await;
    trio.shows(leader, "mntr", "zk_synced_followers\t2").await;
    trio.shows(leader, "mntr", "zk_synced_observers\t1").await;
    trio.shows(leader, "mntr", "zk_listener_up_quorum\t1").await;
    assert_eq!(trio.ask(leader, "ruok").await, "imok");
    assert_eq!(trio.ask(leader, "isro").await, "rw");
    assert!(trio.ask(leader, "conf").await.contains(&format!("serverId={leader}\n")));
    assert_eq!(trio.ask(leader, "nope").await, "");
    trio.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_the_death_of_each_voter_and_of_all() {
    let mut trio = Trio::start(plain).await;
    let mut observer = trio.observer(9).await;
    let mut session = SESSION;
    observer.open_session(session, 30_000).await;
    observer.create(session, 1, "/n", 0).await;
    let mut made = Vec::new();
    for victims in [vec![1], vec![2], vec![3], vec![1, 2, 3]] {
        for n in 0..20 {
            let path = format!("/n/{}-{n}", made.len());
            assert!(matches!(
                observer.create(session, 100 + made.len() as i32, &path, 0).await,
                Txn::Create(..)
            ));
            made.push(path);
        }
        let victims =
            if victims.len() == 1 && made.len() == 20 { vec![trio.leader().await] } else { victims };
        for victim in &victims {
            trio.kill(*victim).await;
        }
        for victim in &victims {
            trio.restart(*victim).await;
        }
        observer = trio.observer(9).await;
        for path in &made {
            assert!(observer.tree.node(path).is_some(), "{path} is lost after {victims:?} died");
        }
        session += 1;
        observer.open_session(session, 30_000).await;
    }
    trio.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_go_on_without_one_voter_and_it_catches_up() {
    let mut trio = Trio::start(plain).await;
    let leader = trio.leader().await;
    let absent = (1..=3).find(|sid| *sid != leader).unwrap();
    trio.stop(absent).await;
    let mut observer = trio.observer(9).await;
    observer.open_session(SESSION, 30_000).await;
    for n in 0..1200 {
        observer.forward(SESSION, n, OpCode::Create, &create(&format!("/{n}"))).await;
    }
    observer.outcome(SESSION, 1199).await;
    // It missed more than the leader keeps in memory, and the tree changes while it is sent.
    trio.restart(absent).await;
    for n in 1200..12_000 {
        observer.forward(SESSION, n, OpCode::Create, &create(&format!("/{n}"))).await;
    }
    observer.outcome(SESSION, 11_999).await;
    trio.shows(leader, "mntr", "zk_snap_count\t1").await;
    trio.shows(absent, "srvr", &format!("Zxid: {}", observer.tree.last_zxid())).await;
    trio.shows(absent, "srvr", &format!("Node count: {}", observer.tree.node_count())).await;
    trio.shows(absent, "mntr", "zk_digest_mismatches_count\t0").await;
    trio.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tree_that_changes_while_it_is_sent_is_not_taken_for_a_diverged_one() {
    let mut trio = Trio::start(plain).await;
    let leader = trio.leader().await;
    let absent = (1..=3).find(|sid| *sid != leader).unwrap();
    trio.stop(absent).await;
    let mut observer = trio.observer(9).await;
    observer.open_session(SESSION, 60_000).await;
    let data = vec![7; 20_000];
    for n in 0..1200 {
        let (path, acl) = (format!("/{n}").into(), Acl::open());
        let create = Request::Create(Create { path, data: Some(&data), acl, flags: 0, ttl_ms: None });
        observer.forward(SESSION, n, OpCode::Create, &create).await;
    }
    observer.outcome(SESSION, 1199).await;
    trio.restart(absent).await;
    let mut cxid = 1200;
    while !trio.ask(leader, "mntr").await.contains("zk_synced_followers\t2") {
        for n in 0..1200 {
            let set = Request::SetData { path: format!("/{n}").into(), data: Some(b"x"), version: -1 };
            observer.forward(SESSION, cxid + n, OpCode::SetData, &set).await;
        }
        cxid += 1200;
        observer.outcome(SESSION, cxid - 1).await;
    }
    trio.shows(leader, "mntr", "zk_snap_count\t1").await;
    trio.shows(absent, "srvr", &format!("Zxid: {}", observer.tree.last_zxid())).await;
    trio.shows(absent, "mntr", "zk_digest_mismatches_count\t0").await;
    trio.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_expire_move_and_close_with_their_ephemerals() {
    let mut trio = Trio::start(plain).await;
    let mut first = trio.observer(9).await;
    let (kept, expiring) = (SESSION, SESSION + 1);
    first.open_session(kept, 60_000).await;
    first.open_session(expiring, 400).await;
    assert!(matches!(first.create(kept, 1, "/kept", EPHEMERAL).await, Txn::Create(_, true)));
    assert!(matches!(first.create(expiring, 1, "/gone", EPHEMERAL).await, Txn::Create(_, true)));
    while first.tree.node("/gone").is_some() {
        first.expect(PacketType::Inform).await;
    }
    let closed = first.informed.last().unwrap();
    assert_eq!((closed.header.session, closed.header.cxid), (expiring, 0));
    assert_eq!(closed.txn, Txn::CloseSession(Some(vec!["/gone".to_owned()])));

    let mut second = trio.observer(10).await;
    assert!(second.tree.node("/kept").is_some());
    for (session, known) in [(kept, true), (expiring, false), (77, false)] {
        let ask =
            QuorumPacket::new(PacketType::Revalidate, Zxid(-1), Some(encode_revalidate(session, 60_000)));
        second.send(ask).await;
        let answer = second.expect(PacketType::Revalidate).await;
        assert_eq!(decode_revalidated(answer.data()).unwrap(), (session, known));
    }
    assert_eq!(first.create(kept, 2, "/x", 0).await, Txn::Error(ErrorCode::SESSION_MOVED));
    assert!(matches!(second.create(kept, 3, "/x", 0).await, Txn::Create(..)));
    assert_eq!(first.create(expiring, 9, "/y", 0).await, Txn::Error(ErrorCode::SESSION_EXPIRED));
    second.forward(kept, 4, OpCode::CloseSession, &Request::CloseSession).await;
    assert_eq!(second.outcome(kept, 4).await.txn, Txn::CloseSession(Some(vec!["/kept".to_owned()])));
    trio.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn touched_sessions_live_on_and_syncs_are_answered_behind_writes() {
    let mut trio = Trio::start(plain).await;
    let mut observer = trio.observer(9).await;
    observer.open_session(SESSION, 500).await;
    assert!(matches!(observer.create(SESSION, 1, "/e", EPHEMERAL).await, Txn::Create(_, true)));
    // Pings come every half tick: far more time than the session's timeout passes.
    for _ in 0..20 {
        let ping = observer.expect(PacketType::Ping).await;
        observer.answer_ping(ping.zxid, &[(SESSION, 500)]).await;
    }
    observer.forward(SESSION, 2, OpCode::Create, &create("/before")).await;
    observer.forward(SESSION, 3, OpCode::Sync, &Request::Sync(Some("/".into()))).await;
    observer.expect(PacketType::Sync).await;
    assert!(observer.tree.node("/before").is_some());
    assert!(observer.tree.node("/e").is_some());
    trio.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_are_taken_under_load_and_old_files_purged() {
    let mut trio = Trio::start(|config| {
        config.storage.snap_count = 100;
        config.storage.purge_interval = Some(std::time::Duration::from_millis(200));
    })
    .await;
    let mut observer = trio.observer(9).await;
    observer.open_session(SESSION, 60_000).await;
    let files = |sid| {
        let folder = trio.config(sid).storage.data_dir.join("version-2");
        let names = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("snapshot.")).collect::<Vec<_>>()
    };
    let mut cxid = 0;
    while (1..=3).any(|sid| files(sid).contains(&"snapshot.0".to_owned())) {
        for _ in 0..100 {
            cxid += 1;
            let set = Request::SetData { path: "/zookeeper/quota".into(), data: None, version: -1 };
            observer.forward(SESSION, cxid, OpCode::SetData, &set).await;
        }
        observer.outcome(SESSION, cxid).await;
    }
    for sid in 1..=3 {
        assert!(files(sid).len() >= 3, "{:?}", files(sid));
        trio.shows(sid, "srvr", &format!("Zxid: {}", observer.tree.last_zxid())).await;
        trio.shows(sid, "mntr", "zk_digest_mismatches_count\t0").await;
    }
    for sid in 1..=3 {
        trio.kill(sid).await;
    }
    for sid in 1..=3 {
        trio.restart(sid).await;
    }
    let again = trio.observer(9).await;
    assert_eq!(again.tree.digest(), observer.tree.digest());
    trio.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minority_does_not_serve_and_says_so() {
    let mut trio = Trio::start(plain).await;
    trio.leader().await;
    trio.stop(1).await;
    trio.stop(2).await;
    trio.shows(3, "srvr", "This ZooKeeper instance is not currently serving requests").await;
    assert_eq!(trio.ask(3, "isro").await, "null");
    assert_eq!(trio.ask(3, "ruok").await, "imok");
    trio.restart(1).await;
    let mut observer = Observer::join(trio.addresses[&trio.leader().await].quorum, 9).await;
    observer.open_session(SESSION, 30_000).await;
    trio.stop_all().await;
}
