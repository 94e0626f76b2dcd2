use std::time::Duration;

use bytes::BytesMut;
use palisade_wire::reply::EventType::{NodeChildrenChanged, NodeCreated, NodeDataChanged, NodeDeleted};
use palisade_wire::request::{PathWatch, Request, RequestHeader, SetWatches, xid};
use palisade_wire::{ErrorCode, OpCode, Zxid, frame};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::super::driven;
use super::raw::*;
use super::*;
use crate::throttle::config::{Limit, Mode, Refusal, Throttle};

#[tokio::test]
async fn connections_are_limited_by_address() {
    let mut config = config();
    config.throttle.connections.address = 2;
    let bench = Bench::with(config).await;
    bench.core.answer_all();
    let first = bench.session().await;
    let _second = bench.session().await;
    let mut third = bench.raw().await;
    assert_eq!(third.frame().await, None);
    drop(first);
    loop {
        let mut raw = bench.raw().await;
        // The place is free as soon as the first connection's task has ended.
        if raw.stream.write_all(b"srvr").await.is_ok() && !raw.rest().await.is_empty() {
            break;
        }
    }
}

#[tokio::test]
async fn fewer_connections_are_let_in_after_a_reload_and_nobody_is_put_out() {
    let bench = Bench::start().await;
    let (mut first, mut second) = (bench.session().await, bench.session().await);
    let connections = Limit { mode: Mode::Refuse, address: 2, ..Limit::NONE };
    bench.edge.set_throttle(Throttle { connections, ..Throttle::default() });
    assert_eq!(bench.raw().await.frame().await, None);
    bench.edge.set_throttle(Throttle {
        connections: Limit { address: 1, mode: Mode::Report, ..connections },
        ..Throttle::default()
    });
    let mut third = bench.session().await;
    for session in [&mut first, &mut second, &mut third] {
        session.ok(OpCode::Exists, &exists("/", false)).await;
    }
}

#[tokio::test]
async fn new_sessions_are_refused_beyond_their_rate_and_old_ones_come_back() {
    let mut config = config();
    config.throttle.sessions = Limit { mode: Mode::Refuse, tenant: 1, ..Limit::NONE };
    let bench = Bench::with(config).await;
    bench.core.answer_all();
    let first = bench.session().await;
    while bench.raw().await.handshake(&new_session(10_000)).await.is_some() {}
    assert!(first.again(bench.raw().await).await.is_some());
}

/// Every limit of what is held is reached, and refuses.
#[tokio::test]
async fn what_lets_go_or_keeps_alive_is_never_refused() {
    let mut config = config();
    let full = Limit { mode: Mode::Refuse, tenant: 1, ..Limit::NONE };
    config.throttle = Throttle {
        znodes: full,
        bytes: full,
        watches: full,
        locks: full,
        refusal: Refusal::ConnectionLoss,
        ..Throttle::default()
    };
    let bench = Bench::with(config).await;
    bench.core.answer_all();
    bench.core.write(OpCode::Create, &create("/a", 0));
    let mut session = bench.session().await;
    let refused = ErrorCode::CONNECTION_LOSS;
    assert_eq!(session.err(OpCode::Create, &create("/b", 0)).await, refused);
    assert_eq!(session.err(OpCode::SetData, &set_data("/a", b"more")).await, refused);
    let again = ["/c", "/d", "/e"].map(Into::into).to_vec();
    let again = SetWatches { exist: again, ..set_watches(bench.core.zxid()) };
    session.ok(OpCode::SetWatches, &Request::SetWatches(again)).await;
    assert_eq!(session.err(OpCode::Exists, &exists("/", true)).await, refused);
    session.ok(OpCode::Exists, &exists("/", false)).await;
    session.ok(OpCode::Sync, &Request::Sync(Some("/".into()))).await;
    session.send_as(xid::PING, OpCode::Ping.as_i32(), &Request::Ping).await;
    assert_eq!(session.reply().await.0.xid, xid::PING);
    session.ok(OpCode::Delete, &Request::Delete { path: "/a".into(), version: -1 }).await;
    session.ok(OpCode::CloseSession, &Request::CloseSession).await;
    assert!(session.is_closed().await);
}

#[tokio::test]
async fn a_tenant_may_have_refused_requests_close_the_connection() {
    let mut config = config();
    config.throttle.refusal = Refusal::Close;
    config.throttle.znodes = Limit { mode: Mode::Refuse, tenant: 1, ..Limit::NONE };
    config.throttle.watches = config.throttle.znodes;
    let bench = Bench::with(config).await;
    bench.core.answer_all();
    let mut writer = bench.session().await;
    writer.send(OpCode::Create, &create("/b", 0)).await;
    assert!(writer.is_closed().await);
    let mut watcher = bench.session().await;
    watcher.ok(OpCode::Exists, &exists("/", true)).await;
    watcher.ok(OpCode::Exists, &exists("/", true)).await;
    watcher.send(OpCode::Exists, &exists("/a", true)).await;
    assert!(watcher.is_closed().await);
}

#[tokio::test]
async fn connections_are_limited_altogether() {
    let mut config = config();
    config.limits.max_connections = 1;
    let bench = Bench::with(config).await;
    bench.core.answer_all();
    let _first = bench.session().await;
    assert_eq!(bench.raw().await.frame().await, None);
}

#[tokio::test]
async fn frames_beyond_the_limit_end_the_connection() {
    let mut config = config();
    config.limits.max_frame = 2_048;
    config.limits.max_set_watches = 4_096;
    let bench = Bench::with(config).await;
    bench.core.answer_all();
    let mut session = bench.session().await;
    session.ok(OpCode::Create, &create("/a", 0)).await;
    let fits = vec![0; 2_048 - 8 - 4 - 2 - 4 - 4];
    session.ok(OpCode::SetData, &set_data("/a", &fits)).await;
    let header = |len: i32, op: OpCode| [len, 1, op.as_i32()].map(i32::to_be_bytes).concat();
    session.raw.send(&header(2_049, OpCode::SetData)).await;
    assert!(session.is_closed().await);
    for op in [OpCode::SetWatches, OpCode::SetWatches2] {
        let mut session = bench.session().await;
        session.raw.send(&header(4_097, op)).await;
        assert!(session.is_closed().await);
    }
}

/// C clients register all their watches in one request.
#[tokio::test]
async fn watches_are_registered_again_beyond_the_limit_of_other_requests() {
    let bench = Bench::start().await;
    let mut session = bench.session().await;
    let paths: Vec<String> =
        (0..30_000).map(|i| format!("/a/rather/long/path/of/a/watch/number/{i:05}")).collect();
    let exist = paths.iter().map(|path| path.as_str().into()).collect();
    let watches = SetWatches { exist, ..set_watches(Zxid::ZERO) };
    session.ok(OpCode::SetWatches, &Request::SetWatches(watches)).await;
    let check = Request::CheckWatches { path: paths[29_999].as_str().into(), kind: 2 };
    session.ok(OpCode::CheckWatches, &check).await;
}

#[tokio::test]
async fn large_requests_take_turns_and_none_of_them_waits_for_one_that_never_ends() {
    let mut config = config();
    config.limits.total_inbox_bytes = 1 << 20;
    config.limits.max_set_watches = 900 << 10;
    config.sessions.min_timeout = Duration::from_millis(500);
    let bench = Bench::with(config).await;
    bench.core.answer_all();
    let mut slow = Session::new(bench.raw().await, 500).await;
    let header = [900 << 10, xid::SET_WATCHES, OpCode::SetWatches.as_i32()];
    slow.raw.send(&header.map(i32::to_be_bytes).concat()).await;
    slow.raw.send(&[b'x'; 8 << 10]).await;
    let rooms = &bench.edge.edge.rooms;
    while rooms.are_free() {
        tokio::task::yield_now().await;
    }
    let mut many = JoinSet::new();
    for _ in 0..10 {
        let mut session = Session::new(bench.raw().await, 40_000).await;
        many.spawn(async move {
            session.ok(OpCode::Exists, &exists("/", false)).await;
            let paths: Vec<_> = (0..6_000).map(|i| format!("/{i:06}{}", "x".repeat(100)).into()).collect();
            let request = Request::SetWatches(SetWatches { exist: paths, ..set_watches(Zxid::ZERO) });
            session.ok(OpCode::SetWatches, &request).await;
        });
    }
    // It never rests for as long as its session's timeout.
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    while slow.raw.stream.write_all(b"x").await.is_ok() {
        ticks.tick().await;
    }
    many.join_all().await;
    while !rooms.are_free() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_list_of_watches_that_comes_slowly_keeps_nobody_from_writing() {
    let mut config = config();
    config.limits.total_inbox_bytes = 1 << 20;
    let bench = Bench::with(config).await;
    bench.core.answer_all();
    let mut slow = Session::new(bench.raw().await, 40_000).await;
    let header = [30 << 20, xid::SET_WATCHES, OpCode::SetWatches.as_i32()];
    slow.raw.send(&header.map(i32::to_be_bytes).concat()).await;
    while bench.edge.edge.rooms.are_free() {
        tokio::task::yield_now().await;
    }
    let mut writer = bench.session().await;
    writer.ok(OpCode::Create, &create("/a", 0)).await;
    writer.ok(OpCode::SetData, &set_data("/a", &[7; 400_000])).await;
}

#[tokio::test]
async fn large_requests_and_replies_pass() {
    let bench = Bench::start().await;
    let mut session = bench.session().await;
    session.ok(OpCode::Create, &create("/a", 0)).await;
    let large = vec![7; 1_000_000];
    session.ok(OpCode::SetData, &set_data("/a", &large)).await;
    for _ in 0..8 {
        session.send(OpCode::GetData, &get_data("/a", false)).await;
    }
    for _ in 0..8 {
        assert_eq!(data(&session.reply().await.1), large);
    }
}

/// The client reads nothing; the events of others must not pile up for ever, nor stop anybody.
#[tokio::test]
async fn a_reader_that_is_too_slow_for_its_events_is_closed() {
    let mut config = config();
    config.limits.outbox_bytes = 64 << 10;
    let bench = Bench::with(config).await;
    bench.core.answer_all();
    let (mut slow, mut other) = (bench.session().await, bench.session().await);
    let path = format!("/{}", "x".repeat(10_000));
    let watch = Request::AddWatch { path: path.as_str().into(), mode: 0 };
    other.ok(OpCode::Create, &create(&path, 0)).await;
    slow.ok(OpCode::AddWatch, &watch).await;
    let mut quick = bench.session().await;
    quick.ok(OpCode::AddWatch, &watch).await;
    let core = Arc::clone(&bench.core);
    for _ in 0..4_000 {
        core.write(OpCode::SetData, &set_data(&path, b""));
        assert_eq!(quick.event().await.0, core.zxid(), "the slow one holds nobody up");
    }
    other.ok(OpCode::Exists, &exists("/", false)).await;
    let mut events = 0;
    while slow.message().await.is_some() {
        events += 1;
    }
    assert!(events < 4_000, "{events}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_silent_for_its_timeout_is_closed() {
    let bench = Bench::start().await;
    let mut session = bench.session().await;
    assert!(session.is_closed().await);
}

#[tokio::test]
async fn requests_beyond_the_pipeline_wait_in_the_socket() {
    let mut config = config();
    config.limits.pipelined_requests = 3;
    let bench = Bench::with(config).await;
    let mut session = bench.session_by_hand().await;
    for i in 0..10 {
        session.send(OpCode::Create, &create(&format!("/{i}"), 0)).await;
    }
    bench.core.arrived(3).await;
    for xid in 1..=10 {
        assert!(bench.core.waiting() <= 3);
        bench.core.step().await;
        let (header, _) = session.reply().await;
        assert_eq!((header.xid, header.err), (xid, ErrorCode::OK));
    }
}

#[tokio::test]
async fn watches_beyond_the_limit_are_refused() {
    let mut config = config();
    config.limits.watches = 2;
    let bench = Bench::with(config).await;
    bench.core.answer_all();
    let mut session = bench.session().await;
    for path in ["/a", "/b"] {
        assert_eq!(session.err(OpCode::Exists, &exists(path, true)).await, ErrorCode::NO_NODE);
    }
    assert_eq!(session.err(OpCode::GetChildren, &get_children("/", true)).await, ErrorCode::BAD_ARGUMENTS);
    session.ok(OpCode::GetChildren, &get_children("/", false)).await;
    bench.core.write(OpCode::Create, &create("/a", 0));
    assert_eq!(session.event().await.2, "/a");
    let persistent = Request::AddWatch { path: "/".into(), mode: 0 };
    assert_eq!(session.err(OpCode::AddWatch, &persistent).await, ErrorCode::BAD_ARGUMENTS, "it is two");
    assert_eq!(bench.edge.edge.hub.metrics().palisade_watches_refused.get(), 2);
    session.ok(OpCode::GetChildren, &get_children("/", true)).await;
}

/// Of either limit.
#[tokio::test]
async fn whoever_has_a_watch_may_set_it_again_at_the_limit() {
    let mut few = config();
    few.limits.watches = 5;
    let mut throttled = config();
    throttled.throttle.watches = Limit { mode: Mode::Refuse, session: 5, ..Limit::NONE };
    for (config, refused) in [(few, ErrorCode::BAD_ARGUMENTS), (throttled, ErrorCode::OPERATION_TIMEOUT)] {
        let bench = Bench::with(config).await;
        bench.core.answer_all();
        let mut session = bench.session().await;
        let add = |path: &'static str, mode| Request::AddWatch { path: path.into(), mode };
        for _ in 0..3 {
            session.ok(OpCode::GetData, &get_data("/", true)).await;
            session.ok(OpCode::Exists, &exists("/", true)).await;
            session.ok(OpCode::GetChildren, &get_children("/", true)).await;
            session.ok(OpCode::AddWatch, &add("/p", 0)).await;
            session.ok(OpCode::AddWatch, &add("/r", 1)).await;
            // What the client has on this path counts for them, too.
            session.ok(OpCode::AddWatch, &add("/p", 1)).await;
            let watches = bench.edge.edge.hub.watches().lock().len();
            assert_eq!(watches, 5);
        }
        assert_eq!(session.err(OpCode::GetChildren, &get_children("/r", true)).await, refused);
        assert_eq!(session.err(OpCode::AddWatch, &add("/", 0)).await, ErrorCode::OK, "both are there");
        for request in [get_data("/a", true), exists("/a", true)] {
            assert_eq!(session.err(OpCode::Exists, &request).await, refused);
        }
        for mode in [0, 1] {
            assert_eq!(session.err(OpCode::AddWatch, &add("/a", mode)).await, refused);
        }
        // So is what is set again with all others.
        let again = SetWatches {
            data: vec!["/".into()],
            child: vec!["/".into()],
            persistent: vec!["/p".into()],
            recursive: vec!["/r".into()],
            ..set_watches(bench.core.zxid())
        };
        session.ok(OpCode::SetWatches2, &Request::SetWatches(again)).await;
        let metrics = bench.edge.edge.hub.metrics();
        assert_eq!(metrics.palisade_watches_covered.get(), 0);
        bench.core.write(OpCode::Create, &create("/r", 0));
        assert_eq!(session.event().await.2, "/r", "none of them fired");
    }
}

/// Its client would neither look at an error nor ask again.
#[tokio::test]
async fn persistent_watches_beyond_the_limit_that_are_set_again_miss_nothing() {
    let mut config = config();
    config.limits.watches = 3;
    let bench = Bench::with(config).await;
    bench.core.answer_all();
    for path in ["/a", "/a/b", "/d"] {
        bench.core.write(OpCode::Create, &create(path, 0));
    }
    let mut session = bench.session().await;
    let paths = |paths: &[&'static str]| paths.iter().map(|path| (*path).into()).collect::<Vec<_>>();
    let (persistent, recursive) = (paths(&["/d", "/a/b"]), paths(&["/a/c", "/a/e"]));
    let again = SetWatches { persistent, recursive, ..set_watches(bench.core.zxid()) };
    session.ok(OpCode::SetWatches2, &Request::SetWatches(again)).await;
    let metrics = bench.edge.edge.hub.metrics();
    assert_eq!((metrics.palisade_watches_covered.get(), metrics.palisade_watches_refused.get()), (2, 0));
    assert_eq!(session.err(OpCode::Exists, &exists("/", true)).await, ErrorCode::BAD_ARGUMENTS);
    for (path, told) in [
        ("/d/x", vec![(NodeChildrenChanged, "/d")]),
        ("/x", vec![]),
        ("/a/b/x", vec![(NodeCreated, "/a/b/x"), (NodeChildrenChanged, "/a/b")]),
        ("/a/c", vec![(NodeCreated, "/a/c")]),
        ("/a/e", vec![(NodeCreated, "/a/e")]),
        ("/a/e/x", vec![(NodeCreated, "/a/e/x")]),
    ] {
        bench.core.write(OpCode::Create, &create(path, 0));
        for (kind, path) in told {
            let (_, heard, at) = session.event().await;
            assert_eq!((heard, &*at), (kind, path));
        }
    }
    bench.core.write(OpCode::SetData, &set_data("/d", b"x"));
    assert_eq!(session.event().await.1, NodeDataChanged);
}

/// The client learns of it when it asks again: errors of the request itself are ignored.
#[tokio::test]
async fn watches_beyond_the_limit_fire_when_they_are_set_again() {
    let mut config = config();
    config.limits.watches = 3;
    let bench = Bench::with(config).await;
    bench.core.answer_all();
    let mut session = bench.session().await;
    let since = bench.core.zxid();
    let paths = |paths: &[&'static str]| paths.iter().map(|path| (*path).into()).collect::<Vec<_>>();
    let again = SetWatches {
        data: paths(&["/gone", "/"]),
        exist: paths(&["/a", "/b"]),
        child: paths(&["/"]),
        persistent: paths(&["/p"]),
        ..set_watches(since)
    };
    session.send(OpCode::SetWatches2, &Request::SetWatches(again)).await;
    for (kind, path) in
        [(NodeDeleted, "/gone"), (NodeDeleted, "/a"), (NodeDeleted, "/b"), (NodeChildrenChanged, "/")]
    {
        assert_eq!(session.event().await, (Zxid(-1), kind, path.to_owned()));
    }
    assert_eq!(session.reply().await.0.err, ErrorCode::OK);
    assert_eq!(bench.edge.edge.hub.metrics().palisade_watches_refused.get(), 3);
    assert_eq!(session.err(OpCode::Exists, &exists("/b", true)).await, ErrorCode::BAD_ARGUMENTS);
    assert_eq!(session.err(OpCode::Exists, &exists("/b", false)).await, ErrorCode::NO_NODE);
    bench.core.write(OpCode::Create, &create("/p", 0));
    assert_eq!(session.event().await.2, "/p");
    bench.core.write(OpCode::SetData, &set_data("/", b"x"));
    assert_eq!(session.event().await.1, NodeDataChanged);
}

#[tokio::test]
async fn all_connections_together_have_a_limit_of_watches() {
    let mut config = config();
    config.limits.total_watches = 2;
    let bench = Bench::with(config).await;
    bench.core.answer_all();
    let (mut one, mut other) = (bench.session().await, bench.session().await);
    one.ok(OpCode::Exists, &exists("/", true)).await;
    other.ok(OpCode::Exists, &exists("/", true)).await;
    assert_eq!(other.err(OpCode::Exists, &exists("/a", true)).await, ErrorCode::BAD_ARGUMENTS);
    drop(one);
    while bench.edge.edge.hub.watches().lock().len() > 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(other.err(OpCode::Exists, &exists("/a", true)).await, ErrorCode::NO_NODE);
}

/// More than are set again in one step.
#[tokio::test]
async fn very_many_watches_are_set_again() {
    let bench = Bench::start().await;
    let mut session = bench.session().await;
    let exist: Vec<_> = (0..5_000).map(|i| format!("/n{i:04}").into()).collect();
    bench.core.write(OpCode::Create, &create("/n4321", 0));
    let again = SetWatches { exist, ..set_watches(bench.core.zxid()) };
    session.send(OpCode::SetWatches, &Request::SetWatches(again)).await;
    assert_eq!(session.event().await.2, "/n4321");
    assert_eq!(session.reply().await.0.err, ErrorCode::OK);
    assert_eq!(bench.edge.edge.hub.watches().lock().len(), 4_999);
    bench.core.write(OpCode::Create, &create("/n0007", 0));
    assert_eq!(session.event().await.2, "/n0007");
}

/// One thread serves all clients, and one of them registers so many watches that it takes a while.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn nobody_waits_for_very_many_watches_that_are_set_again() {
    const COUNT: usize = 200_000;
    let bench = Bench::start().await;
    let (mut session, mut other) = (bench.session().await, bench.session().await);
    let exist = (0..COUNT).map(|i| format!("/watched/{i:06}").into()).collect();
    let watches = SetWatches { exist, ..set_watches(bench.core.zxid()) };
    session.send(OpCode::SetWatches2, &Request::SetWatches(watches)).await;
    let mut answered_meanwhile = false;
    loop {
        other.ok(OpCode::Exists, &exists("/", false)).await;
        match bench.edge.edge.hub.watches().lock().len() {
            COUNT => break,
            some => answered_meanwhile |= some > 0,
        }
    }
    assert!(answered_meanwhile);
    assert_eq!(session.reply().await.0.err, ErrorCode::OK);
}

/// Short paths take many times their bytes once they are decoded; they are counted before.
#[tokio::test]
async fn more_watches_than_there_may_be_are_refused_unseen_and_the_session_lives() {
    let mut config = config();
    config.limits.watches = 1_000;
    let bench = Bench::with(config).await;
    bench.core.answer_all();
    let mut session = bench.session().await;
    let watches = SetWatches { exist: vec!["/".into(); 2_000_000], ..set_watches(bench.core.zxid()) };
    session.send(OpCode::SetWatches, &Request::SetWatches(watches)).await;
    assert!(session.is_closed().await);
    let mut session = session.again(bench.raw().await).await.expect("the session lives");
    let watches = SetWatches { exist: vec!["/a".into(); 1_000], ..set_watches(bench.core.zxid()) };
    session.ok(OpCode::SetWatches, &Request::SetWatches(watches)).await;
    assert_eq!(bench.edge.edge.hub.watches().lock().len(), 1);
}

/// Those whom a limit holds back cost nothing meanwhile, and go on when it is lifted.
#[tokio::test]
async fn who_is_held_back_rests_until_it_is_his_turn_or_the_limits_change() {
    const SESSIONS: usize = 40;
    let mut config = config();
    config.sessions.write_wait = Duration::from_secs(60);
    config.throttle.max_delay = Duration::from_secs(60);
    config.throttle.writes = Limit { mode: Mode::Delay, tenant: 1, ..Limit::NONE };
    let bench = Bench::with(config).await;
    bench.core.answer_all();
    let mut sessions = Vec::new();
    for at in 0..SESSIONS {
        let mut session = Session::new(bench.raw().await, 40_000).await;
        session.send(OpCode::Create, &create(&format!("/{at}"), 0)).await;
        sessions.push(session);
    }
    let delayed = &bench.edge.edge.hub.metrics().palisade_throttle_delayed;
    while delayed.get() < SESSIONS as u64 / 2 {
        tokio::task::yield_now().await;
    }
    // The last of them would wait for a third of its session's timeout.
    bench.edge.set_throttle(Throttle { writes: Limit::NONE, ..Throttle::default() });
    let all = async {
        for session in &mut sessions {
            assert_eq!(session.reply().await.0.err, ErrorCode::OK);
        }
    };
    tokio::time::timeout(Duration::from_secs(8), all).await.expect("all are let go at once");
}

/// Clients each of which has asked for a new znode.
fn writers(gateway: &driven::Gateway, count: usize) -> Vec<driven::Visit> {
    let writer = |at| {
        let mut visit = gateway.visit().unwrap();
        let mut bytes = BytesMut::new();
        frame::write(&mut bytes, |b| new_session(40_000).encode(b));
        frame::write(&mut bytes, |b| {
            RequestHeader { xid: 1, op: OpCode::Create.as_i32() }.encode(b);
            create(&format!("/{at}"), 0).encode(b);
        });
        visit.receive(&bytes);
        assert_eq!(visit.run(), None);
        visit
    };
    (0..count).map(writer).collect()
}

#[tokio::test]
async fn who_is_held_back_is_not_looked_at_before_his_turn() {
    let mut config = config();
    config.sessions.local = true;
    config.throttle.writes = Limit { mode: Mode::Delay, tenant: 1, ..Limit::NONE };
    config.throttle.sessions = Limit::NONE;
    let mut gateway = driven::Gateway::new(config, 1, driven::Restored::default());
    gateway.serves(1);
    let visits = writers(&gateway, 20);
    let rests = visits.last().and_then(driven::Visit::next_timeout).unwrap() - Instant::now();
    assert!(rests > Duration::from_secs(1), "{rests:?}");
}

/// What is read behind a write that is refused waits for nothing else.
#[tokio::test]
async fn what_stands_behind_a_refused_write_is_answered_at_once() {
    let mut config = config();
    config.throttle.znodes = Limit { mode: Mode::Refuse, tenant: 1, ..Limit::NONE };
    let bench = Bench::with(config).await;
    bench.core.answer_all();
    let mut session = bench.session().await;
    let mut bytes = BytesMut::new();
    let requests = [
        (OpCode::Create, create("/b", 0)),
        (OpCode::Exists, exists("/", false)),
        (OpCode::Create, create("/c", 0)),
        (OpCode::Create, create("/d", 0)),
        (OpCode::Exists, exists("/", false)),
    ];
    for (xid, (op, request)) in (1..).zip(&requests) {
        frame::write(&mut bytes, |b| {
            RequestHeader { xid, op: op.as_i32() }.encode(b);
            request.encode(b);
        });
    }
    session.raw.send(&bytes).await;
    for (xid, (op, _)) in (1..).zip(&requests) {
        let refused = *op == OpCode::Create;
        let reply = session.reply().await.0;
        let expected = if refused { ErrorCode::OPERATION_TIMEOUT } else { ErrorCode::OK };
        assert_eq!((reply.xid, reply.err), (xid, expected));
    }
}

/// As many writes wait for the core as may; those who find no room are told when there is some.
#[tokio::test]
async fn who_finds_no_room_towards_the_core_is_not_looked_at_before_his_turn() {
    let mut config = config();
    config.sessions.local = true;
    config.limits.in_flight = 4;
    config.throttle.sessions = Limit::NONE;
    let mut gateway = driven::Gateway::new(config, 1, driven::Restored::default());
    gateway.serves(1);
    let visits = writers(&gateway, 20);
    for visit in &visits {
        let rests = visit.next_timeout().unwrap() - Instant::now();
        assert!(rests > Duration::from_secs(1), "{rests:?}");
    }
    assert_eq!(gateway.packets().unwrap().len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everybody_who_finds_no_room_towards_the_core_is_told_when_there_is_some() {
    const WRITES: usize = 50;
    for (in_flight, window) in [(1, 1), (4, 100), (40, 3)] {
        let mut config = config();
        (config.limits.in_flight, config.limits.window) = (in_flight, window);
        config.throttle = Throttle { sessions: Limit::NONE, ..Throttle::default() };
        let bench = Bench::with(config).await;
        bench.core.answer_all();
        bench.core.write(OpCode::Create, &create("/a", 0));
        let mut writers = JoinSet::new();
        for _ in 0..40 {
            let mut session = Session::new(bench.raw().await, 40_000).await;
            writers.spawn(async move {
                for _ in 0..WRITES {
                    session.send(OpCode::SetData, &set_data("/a", &[7; 10_000])).await;
                }
                for _ in 0..WRITES {
                    assert_eq!(session.reply().await.0.err, ErrorCode::OK);
                }
            });
        }
        writers.join_all().await;
    }
}

/// One address cannot keep out the others by having very many wait.
#[tokio::test]
async fn those_who_wait_for_a_place_leave_room_to_others() {
    let mut config = config();
    config.limits.max_connections = 20;
    config.throttle.connections = Limit { mode: Mode::Delay, address: 1, ..Limit::NONE };
    config.throttle.max_delay = Duration::from_secs(60);
    let bench = Bench::with(config).await;
    bench.core.answer_all();
    let _first = bench.session().await;
    let mut others = Vec::new();
    for _ in 0..30 {
        others.push(TcpStream::connect(bench.edge.client_address()).await);
    }
    // Nine wait, and nine may come.
    while bench.edge.edge.hub.metrics().connection_rejected.get() < 21 {
        tokio::task::yield_now().await;
    }
}

/// What is held, and not a rate: a place is waited for, and given up after a while.
#[tokio::test]
async fn who_has_to_wait_for_room_gets_it_when_others_let_go() {
    let one = Limit { mode: Mode::Delay, tenant: 1, ..Limit::NONE };
    let mut config = config();
    config.sessions.write_wait = Duration::from_secs(60);
    config.throttle = Throttle { max_delay: Duration::from_secs(60), watches: one, ..Throttle::default() };
    let bench = Bench::with(config).await;
    bench.core.answer_all();
    bench.core.write(OpCode::Create, &create("/a", 0));
    let delayed = || bench.edge.edge.hub.metrics().palisade_throttle_delayed.get();
    let held_up = async |count: u64| {
        while delayed() < count {
            tokio::task::yield_now().await;
        }
    };

    // Watches: what stands behind one that waits keeps its place, and pings are answered.
    let mut owner = Session::new(bench.raw().await, 40_000).await;
    let mut waits = Session::new(bench.raw().await, 40_000).await;
    owner.ok(OpCode::Exists, &exists("/a", true)).await;
    let first = waits.send(OpCode::GetData, &get_data("/a", true)).await;
    held_up(1).await;
    let second = waits.send(OpCode::SetData, &set_data("/a", b"mine")).await;
    let third = waits.send(OpCode::GetData, &get_data("/a", false)).await;
    waits.send_as(xid::PING, OpCode::Ping.as_i32(), &Request::Ping).await;
    assert_eq!(waits.reply().await.0.xid, xid::PING);
    bench.core.write(OpCode::SetData, &set_data("/a", b"theirs"));
    let (header, body) = waits.reply().await;
    assert_eq!((header.xid, data(&body)), (first, b"theirs".to_vec()));
    assert_eq!(waits.event().await.1, NodeDataChanged);
    assert_eq!(waits.reply().await.0.xid, second);
    let (header, body) = waits.reply().await;
    assert_eq!((header.xid, data(&body)), (third, b"mine".to_vec()));

    // Znodes.
    let throttle = Throttle { max_delay: Duration::from_secs(60), ..Throttle::default() };
    let znodes = bench.edge.edge.hub.root().usage(&bench.edge.edge.replica.read()).znodes as u64;
    let znodes = Limit { tenant: znodes, ..one };
    bench.edge.set_throttle(Throttle { znodes, ..throttle.clone() });
    waits.send(OpCode::Create, &create("/b", 0)).await;
    held_up(2).await;
    bench.core.write(OpCode::Delete, &delete("/a"));
    assert_eq!(waits.reply().await.0.err, ErrorCode::OK);

    // Connections.
    let connections = Limit { tenant: 2, ..one };
    bench.edge.set_throttle(Throttle { connections, ..throttle.clone() });
    let (mut third, wanted) = (bench.raw().await, new_session(10_000));
    let coming = third.handshake(&wanted);
    let leaving = async {
        held_up(3).await;
        drop(owner);
    };
    assert!(tokio::join!(coming, leaving).0.is_some());
    bench.edge.set_throttle(Throttle { connections, max_delay: Duration::from_millis(50), ..throttle });
    assert_eq!(bench.raw().await.frame().await, None);
}

/// Everybody asks for very much and reads nothing. Whoever asks for little is served.
#[tokio::test]
async fn unread_answers_of_all_clients_are_bounded_together() {
    let mut config = config();
    config.limits.total_pending_bytes = 1 << 20;
    config.throttle = Throttle { sessions: Limit::NONE, ..Throttle::default() };
    let bench = Bench::with(config).await;
    bench.core.answer_all();
    bench.core.write(OpCode::Create, &create("/a", 0));
    let mut modest = bench.session().await;
    for i in 0..1_500 {
        bench.core.write(OpCode::Create, &create(&format!("/a/{i:0200}"), 0));
    }
    let mut greedy = Vec::new();
    for _ in 0..12 {
        let mut session = bench.session().await;
        for _ in 0..120 {
            let request = Request::GetChildren(PathWatch { path: "/a".into(), watch: false });
            session.send(OpCode::GetChildren, &request).await;
        }
        greedy.push(session);
    }
    let Edge { hub, .. } = &*bench.edge.edge;
    let closed = async {
        while hub.metrics().palisade_connections_closed.get() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), closed).await.expect("it is too much");
    modest.ok(OpCode::Exists, &exists("/", false)).await;
    drop(greedy);
    modest.ok(OpCode::Exists, &exists("/", false)).await;
    while hub.pending().used() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn who_does_not_read_what_happened_to_his_watches_is_closed() {
    let mut config = config();
    config.limits.total_pending_bytes = 1 << 20;
    let bench = Bench::with(config).await;
    bench.core.answer_all();
    let mut session = bench.session().await;
    // None of them exists.
    let data = (0..600_000).map(|i| format!("/{i:06}").into()).collect();
    let request = Request::SetWatches(SetWatches { data, ..set_watches(Zxid::ZERO) });
    session.send(OpCode::SetWatches, &request).await;
    bench.disconnected().await;
    let Edge { hub, .. } = &*bench.edge.edge;
    assert_eq!((hub.metrics().palisade_connections_closed.get(), hub.pending().used()), (1, 0));
}
