//! How many watches there may be, and what becomes of more that are set again.

use palisade_wire::reply::EventType::{NodeChildrenChanged, NodeCreated, NodeDataChanged, NodeDeleted};
use palisade_wire::request::{Request, SetWatches};
use palisade_wire::{ErrorCode, OpCode, Zxid};

use super::raw::*;
use super::*;
use crate::throttle::config::{Limit, Mode};

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
