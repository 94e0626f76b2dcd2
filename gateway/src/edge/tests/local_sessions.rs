use palisade_wire::multi::create_op;
use palisade_wire::request::Request;
use palisade_wire::{ErrorCode, OpCode};

use super::raw::*;
use super::*;

fn local() -> Config {
    let mut config = config();
    config.sessions.local = true;
    config
}

#[tokio::test]
async fn the_core_hears_of_no_session_that_only_reads() {
    let bench = Bench::with(local()).await;
    let mut session = bench.session().await;
    assert_eq!(session.id as u64 >> 56, 101);
    session.ok(OpCode::Exists, &exists("/", true)).await;
    session.send_as(-2, 11, &Request::Ping).await;
    session.reply().await;
    let mut session = Session::resume(bench.raw().await, session.id).await.unwrap();
    session.ok(OpCode::GetChildren, &get_children("/", true)).await;
    let xid = session.send(OpCode::CloseSession, &Request::CloseSession).await;
    let (header, _) = session.reply().await;
    assert_eq!((header.xid, header.err), (xid, ErrorCode::OK));
    assert!(session.is_closed().await);
    assert_eq!((bench.core.waiting(), bench.core.touched()), (0, vec![]));
}

#[tokio::test]
async fn the_first_write_makes_the_session_global() {
    let bench = Bench::with(local()).await;
    bench.core.answer_all();
    let mut session = bench.session().await;
    session.ok(OpCode::Sync, &Request::Sync(Some("/".into()))).await;
    assert!(!bench.core.knows(session.id));
    session.send(OpCode::Create, &create("/p", 0)).await;
    session.send(OpCode::Create, &create("/p/e", 1)).await;
    session.send(OpCode::Create, &create("/p/f", 3)).await;
    assert_eq!(string(&session.reply().await.1), "/p");
    assert_eq!(string(&session.reply().await.1), "/p/e");
    assert_eq!(string(&session.reply().await.1), "/p/f0000000001");
    assert!(bench.core.knows(session.id));
    bench.core.touched();
    session.ok(OpCode::Exists, &exists("/p/e", false)).await;
    assert_eq!(bench.core.touched(), [(session.id, 10_000)]);
    let mut session = Session::resume(bench.raw().await, session.id).await.unwrap();
    session.ok(OpCode::CloseSession, &Request::CloseSession).await;
    assert!(!bench.core.knows(session.id));
}

#[tokio::test]
async fn a_multi_is_a_write() {
    let bench = Bench::with(local()).await;
    bench.core.answer_all();
    let mut session = bench.session().await;
    let multi = Request::Multi(vec![create_op("/a", b"", 0), create_op("/e", b"", 1)]);
    session.ok(OpCode::Multi, &multi).await;
    session.ok(OpCode::Exists, &exists("/e", false)).await;
    assert!(bench.core.knows(session.id));
    bench.core.expire(session.id);
    assert!(session.is_closed().await);
    assert!(Session::resume(bench.raw().await, session.id).await.is_none());
}

#[tokio::test]
async fn readers_come_in_while_there_is_no_leader() {
    let bench = Bench::with(local()).await;
    bench.core.write(OpCode::Create, &create("/a", 0));
    bench.core.disconnect();
    let mut session = bench.session().await;
    session.ok(OpCode::GetData, &get_data("/a", true)).await;
    assert!(Session::resume(bench.raw().await, session.id).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn local_sessions_expire_here() {
    let bench = Bench::with(local()).await;
    bench.core.answer_all();
    let mut session = bench.session().await;
    assert!(session.is_closed().await);
    tokio::time::advance(std::time::Duration::from_secs(15)).await;
    assert!(Session::resume(bench.raw().await, session.id).await.is_none());
}

#[tokio::test]
async fn a_closed_local_session_is_not_resumed() {
    let bench = Bench::with(local()).await;
    bench.core.answer_all();
    let mut session = bench.session().await;
    session.ok(OpCode::CloseSession, &Request::CloseSession).await;
    assert!(Session::resume(bench.raw().await, session.id).await.is_none());
}

/// The core may be asked about the session after it was told to end it.
#[tokio::test]
async fn a_session_that_became_global_and_is_closed_at_once_gets_its_answers() {
    let bench = Bench::with(local()).await;
    let mut session = bench.session().await;
    session.send(OpCode::Create, &create("/e", 1)).await;
    let close = session.send(OpCode::CloseSession, &Request::CloseSession).await;
    bench.core.arrived(3).await;
    bench.core.step().await;
    bench.core.arrived(3).await;
    for _ in 0..3 {
        bench.core.step().await;
    }
    assert_eq!(string(&session.reply().await.1), "/e");
    assert_eq!(session.reply().await.0.xid, close);
    assert!(session.is_closed().await);
}
