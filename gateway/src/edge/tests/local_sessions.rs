use std::time::Duration;

use palisade_wire::connect::{ConnectRequest, ConnectResponse, session_password};
use palisade_wire::multi::create_op;
use palisade_wire::request::Request;
use palisade_wire::{ErrorCode, OpCode, Zxid};

use super::raw::*;
use super::*;
use crate::config::Owners;

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
    let mut session = session.again(bench.raw().await).await.unwrap();
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
    let mut session = session.again(bench.raw().await).await.unwrap();
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
    assert!(session.again(bench.raw().await).await.is_none());
}

#[tokio::test]
async fn readers_come_in_while_there_is_no_leader() {
    let bench = Bench::with(local()).await;
    bench.core.write(OpCode::Create, &create("/a", 0));
    bench.core.disconnect();
    let mut session = bench.session().await;
    session.ok(OpCode::GetData, &get_data("/a", true)).await;
    assert!(session.again(bench.raw().await).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn who_is_not_heard_loses_the_place_and_may_come_back() {
    let mut config = local();
    config.sessions.max_local = 1;
    let bench = Bench::with(config).await;
    bench.core.answer_all();
    let mut session = bench.session().await;
    assert!(session.is_closed().await);
    tokio::time::advance(Duration::from_secs(15)).await;
    let mut other = bench.session().await;
    assert!(session.again(bench.raw().await).await.is_none(), "there is no room");
    other.ok(OpCode::CloseSession, &Request::CloseSession).await;
    assert!(session.again(bench.raw().await).await.is_some());
}

#[tokio::test]
async fn a_closed_local_session_is_not_resumed() {
    let bench = Bench::with(local()).await;
    bench.core.answer_all();
    let mut session = bench.session().await;
    session.ok(OpCode::CloseSession, &Request::CloseSession).await;
    assert!(session.again(bench.raw().await).await.is_none());
}

/// Whoever makes a session global has it, and need not claim it before the next write.
#[tokio::test]
async fn a_session_that_becomes_global_and_is_closed_at_once_gets_its_answers() {
    let bench = Bench::with(local()).await;
    let mut session = bench.session().await;
    session.send(OpCode::Create, &create("/e", 1)).await;
    let close = session.send(OpCode::CloseSession, &Request::CloseSession).await;
    bench.core.arrived(3).await;
    for _ in 0..3 {
        bench.core.step().await;
    }
    assert_eq!(bench.core.waiting(), 0);
    assert_eq!(string(&session.reply().await.1), "/e");
    assert_eq!(session.reply().await.0.xid, close);
    assert!(session.is_closed().await);
}

/// Another gateway of the tenant, on the same core.
async fn neighbour(bench: &Bench) -> Bench {
    bench.beside(Config { id: 102, ..local() }).await
}

#[tokio::test]
async fn another_gateway_adopts_a_local_session() {
    let here = Bench::with(local()).await;
    let there = neighbour(&here).await;
    here.core.answer_all();
    there.core.answer_all();
    let session = here.session().await;
    let mut moved = session.again(there.raw().await).await.unwrap();
    moved.ok(OpCode::GetChildren, &get_children("/", false)).await;
    assert!(!here.core.knows(session.id), "nobody told the core");
    moved.ok(OpCode::Create, &create("/mine", 1)).await;
    assert!(here.core.knows(session.id));
    here.core.expire(session.id);
    assert!(moved.is_closed().await);
    for bench in [&here, &there] {
        assert!(session.again(bench.raw().await).await.is_none());
        assert!(moved.again(bench.raw().await).await.is_none());
    }
}

/// A client that is told nothing any more here must not take its session away from where it is.
#[tokio::test]
async fn what_another_gateway_made_global_is_let_go_here() {
    let here = Bench::with(local()).await;
    let there = neighbour(&here).await;
    here.core.answer_all();
    there.core.answer_all();
    let mut session = here.session().await;
    let mut moved = session.again(there.raw().await).await.unwrap();
    moved.ok(OpCode::Create, &create("/mine", 1)).await;
    assert!(session.is_closed().await);
    moved.ok(OpCode::Create, &create("/more", 1)).await;
}

/// The end of the session is on its way to this gateway when its client writes here.
#[tokio::test]
async fn an_adopted_session_that_has_ended_does_not_write() {
    let here = Bench::with(local()).await;
    let there = neighbour(&here).await;
    let session = here.session().await;
    let mut moved = session.again(there.raw().await).await.unwrap();
    moved.send(OpCode::Create, &create("/mine", 1)).await;
    there.core.arrived(1).await;
    assert_eq!(there.core.forwarded(), [0; 0], "a sync comes first");
    here.core.upgrade(session.id);
    here.core.expire(session.id);
    assert!(moved.is_closed().await);
    there.core.step().await;
    assert_eq!(there.core.forwarded(), [0; 0]);
    assert!(moved.again(there.raw().await).await.is_none());
}

/// After a gap nobody knows what became of a session that may have been elsewhere.
#[tokio::test]
async fn after_a_gap_only_those_stay_that_were_never_elsewhere() {
    let bench = Bench::with(local()).await;
    bench.core.answer_all();
    let mut born = bench.session().await;
    let away = bench.session().await;
    let mut returned = away.again(bench.raw().await).await.unwrap();
    bench.core.write(OpCode::Create, &create("/a", 0));
    bench.core.replace_by(|core| core.write(OpCode::Create, &create("/b", 0)));
    assert!(returned.is_closed().await);
    assert!(returned.again(bench.raw().await).await.is_none());
    born.ok(OpCode::Exists, &exists("/", false)).await;
    assert!(born.again(bench.raw().await).await.is_some());
}

#[tokio::test]
async fn what_a_client_may_not_claim_is_refused() {
    let bench = Bench::with(local()).await;
    bench.core.answer_all();
    let session = bench.session().await;
    let mut config = local();
    config.tenant.name = "another".to_owned();
    let stranger = bench.beside(config).await;
    stranger.core.answer_all();
    let never_issued = session.id + 1;
    let mut forged = session.password;
    forged[15] ^= 1;
    for (at, id, password) in [
        (&bench, session.id, &forged),
        (&bench, never_issued, &session.password),
        (&bench, never_issued, &session_password(never_issued)),
        (&stranger, session.id, &session.password),
    ] {
        let claim = ConnectRequest { session: id, password, ..new_session(10_000) };
        let (_, response) = at.raw().await.handshake(&claim).await.unwrap();
        assert_eq!(response, ConnectResponse::refused(Some(false)));
    }
    let future = Zxid(bench.core.zxid().0 + 1);
    let claim = ConnectRequest { last_zxid_seen: future, ..new_session(10_000) };
    assert_eq!(bench.raw().await.handshake(&claim).await, None);
    assert!(session.again(bench.raw().await).await.is_some());
}

#[tokio::test]
async fn global_readers_come_back_without_a_core_and_owners_if_they_may() {
    for (owners, owner_returns) in [(Owners::Disconnect, false), (Owners::Keep, true)] {
        let mut config = local();
        config.stale_reads.owners = owners;
        config.sessions.write_wait = Duration::from_millis(50);
        let bench = Bench::with(config).await;
        bench.core.answer_all();
        let (mut reader, mut owner) = (bench.session().await, bench.session().await);
        reader.ok(OpCode::Create, &create("/a", 0)).await;
        owner.ok(OpCode::Create, &create("/mine", 1)).await;
        bench.core.disconnect();
        let mut reader = reader.again(bench.raw().await).await.unwrap();
        reader.ok(OpCode::GetData, &get_data("/a", false)).await;
        assert_eq!(owner.again(bench.raw().await).await.is_some(), owner_returns);
        bench.core.forget(reader.id);
        bench.core.reconnect();
        assert!(reader.is_closed().await, "the core has the last word");
    }
}

#[tokio::test]
async fn nobody_new_comes_in_without_a_core_where_that_is_not_wanted() {
    let mut config = local();
    config.stale_reads.new_sessions = false;
    config.sessions.write_wait = Duration::from_millis(50);
    let bench = Bench::with(config).await;
    bench.core.write(OpCode::Create, &create("/a", 0));
    let session = bench.session().await;
    bench.core.disconnect();
    assert_eq!(bench.raw().await.handshake(&new_session(10_000)).await, None);
    assert!(session.again(bench.raw().await).await.is_some());
}

#[tokio::test]
async fn clients_that_ask_for_it_are_told_that_nothing_is_written_here() {
    let bench = Bench::with(local()).await;
    bench.core.answer_all();
    bench.core.write(OpCode::Create, &create("/a", 0));
    bench.core.disconnect();
    let request = ConnectRequest { read_only: Some(true), ..new_session(10_000) };
    let mut session = Session::with(bench.raw().await, &request).await;
    assert!(session.read_only);
    session.ok(OpCode::GetData, &get_data("/a", false)).await;
    assert_eq!(session.err(OpCode::Create, &create("/b", 0)).await, ErrorCode::NOT_READONLY);
    assert_eq!(session.err(OpCode::Sync, &Request::Sync(Some("/".into()))).await, ErrorCode::NOT_READONLY);
    bench.core.reconnect();
    assert!(session.is_closed().await);
    let mut session = session.again(bench.raw().await).await.unwrap();
    session.ok(OpCode::Create, &create("/b", 0)).await;
}
