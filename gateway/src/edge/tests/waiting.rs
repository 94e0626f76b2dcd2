//! Whom a limit holds back: when he is looked at again, and what becomes of the others.

use std::time::Duration;

use bytes::BytesMut;
use palisade_wire::reply::EventType::NodeDataChanged;
use palisade_wire::request::{Request, RequestHeader, xid};
use palisade_wire::{ErrorCode, OpCode, frame};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::super::driven;
use super::raw::*;
use super::*;
use crate::throttle::config::{Limit, Mode, Throttle};

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
