//! How many connections, sessions and requests there may be.

use palisade_wire::request::{Request, SetWatches, xid};
use palisade_wire::{ErrorCode, OpCode};
use tokio::io::AsyncWriteExt;

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
