//! What clients make the gateway hold, each of them and all together.

use std::time::Duration;

use palisade_wire::request::{PathWatch, Request, SetWatches, xid};
use palisade_wire::{OpCode, Zxid};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;

use super::raw::*;
use super::*;
use crate::throttle::config::{Limit, Throttle};

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
