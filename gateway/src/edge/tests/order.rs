use palisade_wire::multi::create_op;
use palisade_wire::request::{Request, xid};
use palisade_wire::{ErrorCode, OpCode, Zxid};

use super::raw::*;
use super::*;

#[tokio::test]
async fn replies_come_in_the_order_of_requests() {
    let bench = Bench::with(config()).await;
    let mut session = bench.session_by_hand().await;
    let mut xids = Vec::new();
    xids.push(session.send(OpCode::Create, &create("/a", 0)).await);
    xids.push(session.send(OpCode::GetData, &get_data("/a", false)).await);
    xids.push(session.send(OpCode::Create, &create("/b", 0)).await);
    xids.push(session.send(OpCode::Exists, &exists("/b", false)).await);
    xids.push(session.send(OpCode::Exists, &exists("/c", false)).await);
    bench.core.step().await;
    bench.core.step().await;
    for (at, xid) in xids.into_iter().enumerate() {
        let (header, _) = session.reply().await;
        let err = if at == 4 { ErrorCode::NO_NODE } else { ErrorCode::OK };
        assert_eq!((header.xid, header.err), (xid, err));
    }
}

/// Otherwise the read could see the later write of its own session.
#[tokio::test]
async fn a_write_behind_a_waiting_read_is_held_back() {
    let bench = Bench::with(config()).await;
    let mut session = bench.session_by_hand().await;
    session.send(OpCode::Create, &create("/a", 0)).await;
    session.send(OpCode::GetData, &get_data("/a", false)).await;
    session.send(OpCode::SetData, &set_data("/a", b"later")).await;
    session.send_as(xid::PING, 11, &Request::Ping).await;
    assert_eq!(session.reply().await.0.xid, xid::PING);
    assert_eq!(bench.core.waiting(), 1);
    bench.core.step().await;
    session.reply().await;
    assert_eq!(data(&session.reply().await.1), b"data");
    bench.core.step().await;
    assert_eq!(session.reply().await.0.err, ErrorCode::OK);
}

#[tokio::test]
async fn writes_are_pipelined() {
    let bench = Bench::with(config()).await;
    let mut session = bench.session_by_hand().await;
    for i in 0..10 {
        session.send(OpCode::Create, &create(&format!("/{i}"), 0)).await;
    }
    bench.core.arrived(10).await;
    for xid in 1..=10 {
        bench.core.step().await;
        assert_eq!(session.reply().await.0.xid, xid);
    }
}

#[tokio::test]
async fn pings_pass_a_waiting_write_and_others_do_not_wait_for_it() {
    let bench = Bench::with(config()).await;
    let mut session = bench.session_by_hand().await;
    let mut other = bench.session_by_hand().await;
    session.send(OpCode::Create, &create("/a", 0)).await;
    bench.core.arrived(1).await;
    session.send_as(xid::PING, 11, &Request::Ping).await;
    let (header, body) = session.reply().await;
    assert_eq!((header.xid, header.err, body.len()), (xid::PING, ErrorCode::OK, 0));
    assert_eq!(other.err(OpCode::Exists, &exists("/a", false)).await, ErrorCode::NO_NODE);
    bench.core.step().await;
    assert_eq!(session.reply().await.0.xid, 1);
    other.ok(OpCode::Exists, &exists("/a", false)).await;
}

/// kazoo takes the next reply for that of its auth request.
#[tokio::test]
async fn auth_is_answered_in_its_turn_and_counts_from_its_receipt() {
    let bench = Bench::with(config()).await;
    let mut session = bench.session_by_hand().await;
    let mine =
        vec![palisade_wire::Acl { perms: palisade_wire::Perms::ALL, id: palisade_wire::Id::new("auth", "") }];
    session.send(OpCode::Create, &create("/a", 0)).await;
    session.send_as(xid::AUTH, 100, &auth("me:secret")).await;
    session.send(OpCode::Create, &create_with("/mine", 0, mine)).await;
    session.send(OpCode::GetData, &get_data("/mine", false)).await;
    bench.core.step().await;
    bench.core.step().await;
    assert_eq!(session.reply().await.0.xid, 1);
    let (header, _) = session.reply().await;
    assert_eq!((header.xid, header.zxid, header.err), (xid::AUTH, Zxid::ZERO, ErrorCode::OK));
    assert_eq!(session.reply().await.0.err, ErrorCode::OK);
    assert_eq!(session.reply().await.0.err, ErrorCode::OK);
    let mut stranger = bench.session_by_hand().await;
    assert_eq!(stranger.err(OpCode::GetData, &get_data("/mine", false)).await, ErrorCode::NO_AUTH);
}

#[tokio::test]
async fn failed_auth_is_told_and_ends_the_connection() {
    let bench = Bench::start().await;
    let mut session = bench.session().await;
    let sasl = Request::Auth { scheme: Some("sasl".into()), auth: Some(b"x") };
    session.send_as(5, 100, &sasl).await;
    let (header, _) = session.reply().await;
    assert_eq!((header.xid, header.zxid, header.err), (5, Zxid::ZERO, ErrorCode::AUTH_FAILED));
    assert!(session.is_closed().await);
}

#[tokio::test]
async fn sasl_has_no_token_to_give() {
    let bench = Bench::start().await;
    let mut session = bench.session().await;
    session.send(OpCode::Sasl, &Request::Sasl(Some(b"token"))).await;
    let (header, body) = session.reply().await;
    assert_eq!((header.zxid, header.err, &body[..]), (Zxid::ZERO, ErrorCode::OK, &[0xff; 4][..]));
    session.send(OpCode::Sasl, &Request::Sasl(None)).await;
    assert!(session.is_closed().await);
}

#[tokio::test]
async fn unknown_operations_are_refused_and_end_the_connection() {
    for op in [0, 13, 20, 99, -10] {
        let bench = Bench::start().await;
        let mut session = bench.session().await;
        session.ok(OpCode::Create, &create("/a", 0)).await;
        session.send_body(op, &[0; 40]).await;
        session.send(OpCode::Exists, &exists("/a", false)).await;
        let (header, _) = session.reply().await;
        assert_eq!((header.xid, header.zxid, header.err), (2, Zxid(-1), ErrorCode::UNIMPLEMENTED), "{op}");
        assert!(session.is_closed().await);
    }
}

#[tokio::test]
async fn malformed_requests_are_told_so_in_order() {
    let bench = Bench::with(config()).await;
    let mut session = bench.session_by_hand().await;
    session.send(OpCode::Create, &create("/a", 0)).await;
    session.send_body(OpCode::Delete.as_i32(), &[0, 0]).await;
    session.send_body(OpCode::GetData.as_i32(), &(-1_i32).to_be_bytes()).await;
    bench.core.step().await;
    let expected = [ErrorCode::OK, ErrorCode::MARSHALLING_ERROR, ErrorCode::MARSHALLING_ERROR];
    for err in expected {
        assert_eq!(session.reply().await.0.err, err);
    }
    assert_eq!(bench.core.waiting(), 0);
}

#[tokio::test]
async fn a_sync_waits_its_turn_and_echoes_its_path() {
    let bench = Bench::with(config()).await;
    let mut session = bench.session_by_hand().await;
    session.send(OpCode::Create, &create("/a", 0)).await;
    session.send(OpCode::Sync, &Request::Sync(Some("/x".into()))).await;
    session.send(OpCode::Exists, &exists("/a", false)).await;
    bench.core.step().await;
    bench.core.step().await;
    session.reply().await;
    let (header, body) = session.reply().await;
    assert_eq!((header.xid, header.zxid, string(&body)), (2, bench.core.zxid(), "/x".to_owned()));
    assert_eq!(session.reply().await.0.err, ErrorCode::OK);
}

/// A sync may be answered after a write that was sent behind it.
#[tokio::test]
async fn writes_behind_a_sync_wait_for_it() {
    let bench = Bench::with(config()).await;
    let mut session = bench.session_by_hand().await;
    session.send(OpCode::Sync, &Request::Sync(None)).await;
    session.send(OpCode::Create, &create("/a", 0)).await;
    session.send(OpCode::CloseSession, &Request::CloseSession).await;
    bench.core.arrived(1).await;
    assert_eq!(bench.core.waiting(), 1);
    bench.core.write(OpCode::Create, &create("/b", 0));
    bench.core.step().await;
    let (sync, _) = session.reply().await;
    assert_eq!((sync.xid, sync.zxid), (1, bench.core.zxid()));
    bench.core.step().await;
    let (write, _) = session.reply().await;
    assert_eq!((write.xid, write.zxid), (2, bench.core.zxid()));
    bench.core.step().await;
    assert_eq!(session.reply().await.0.xid, 3);
    assert!(session.is_closed().await);
}

#[tokio::test]
async fn closing_the_session_answers_once_and_ends_everything() {
    let bench = Bench::start().await;
    let mut session = bench.session().await;
    session.ok(OpCode::Create, &create("/e", 1)).await;
    let xid = session.send(OpCode::CloseSession, &Request::CloseSession).await;
    session.send(OpCode::Exists, &exists("/", false)).await;
    let (header, body) = session.reply().await;
    assert_eq!((header.xid, header.err, body.len()), (xid, ErrorCode::OK, 0));
    assert_eq!(header.zxid, bench.core.zxid());
    assert!(session.is_closed().await);
    let mut other = bench.session().await;
    assert_eq!(other.err(OpCode::Exists, &exists("/e", false)).await, ErrorCode::NO_NODE);
    assert!(Session::resume(bench.raw().await, session.id).await.is_none());
}

#[tokio::test]
async fn a_close_is_carried_out_although_the_client_hung_up() {
    let bench = Bench::with(config()).await;
    let mut session = bench.session_by_hand().await;
    session.send(OpCode::Create, &create("/e", 1)).await;
    session.send(OpCode::Exists, &exists("/e", false)).await;
    session.send(OpCode::CloseSession, &Request::CloseSession).await;
    bench.core.arrived(1).await;
    let id = session.id;
    drop(session);
    bench.core.step().await;
    bench.core.step().await;
    assert!(Session::resume(bench.raw().await, id).await.is_none() || bench.core.waiting() > 0);
}

#[tokio::test]
async fn a_moved_session_loses_the_connection_that_writes() {
    let bench = Bench::start().await;
    let mut session = bench.session().await;
    bench.core.move_away(session.id);
    session.ok(OpCode::Exists, &exists("/", false)).await;
    session.send(OpCode::Create, &create("/a", 0)).await;
    assert!(session.is_closed().await);
}

#[tokio::test]
async fn writes_of_an_old_connection_do_not_answer_the_new_one() {
    let bench = Bench::with(config()).await;
    let mut old = bench.session_by_hand().await;
    old.send(OpCode::Create, &create("/old", 0)).await;
    bench.core.arrived(1).await;
    let resumed = Session::resume(bench.raw().await, old.id);
    let (new, ()) = tokio::join!(resumed, async {
        bench.core.arrived(2).await;
        bench.core.step().await;
        bench.core.step().await;
    });
    let mut new = new.unwrap();
    new.send(OpCode::Create, &create("/new", 0)).await;
    bench.core.step().await;
    assert_eq!(string(&new.reply().await.1), "/new");
}

#[tokio::test]
async fn a_multi_is_answered_part_by_part() {
    let bench = Bench::start().await;
    let mut session = bench.session().await;
    let good = Request::Multi(vec![create_op("/a", b"", 0), create_op("/a/b", b"", 0)]);
    let (header, body) = session.call(OpCode::Multi, &good).await;
    assert_eq!(header.err, ErrorCode::OK);
    assert_eq!(body[..4], OpCode::Create.as_i32().to_be_bytes());
    let bad = Request::Multi(vec![create_op("/c", b"", 0), create_op("/a", b"", 0)]);
    let (header, body) = session.call(OpCode::Multi, &bad).await;
    assert_eq!(header.err, ErrorCode::OK);
    assert_eq!(body[..4], (-1_i32).to_be_bytes());
    assert_eq!(session.err(OpCode::Exists, &exists("/c", false)).await, ErrorCode::NO_NODE);
}

#[tokio::test]
async fn many_reads_in_one_packet_are_all_answered() {
    let bench = Bench::start().await;
    let mut session = bench.session().await;
    session.ok(OpCode::Create, &create("/a", 0)).await;
    let mut out = bytes::BytesMut::new();
    for xid in 100..1_100 {
        palisade_wire::frame::write(&mut out, |b| {
            palisade_wire::request::RequestHeader { xid, op: OpCode::GetData.as_i32() }.encode(b);
            get_data("/a", false).encode(b);
        });
    }
    session.raw.send(&out).await;
    for xid in 100..1_100 {
        let (header, body) = session.reply().await;
        assert_eq!((header.xid, data(&body)), (xid, b"data".to_vec()));
    }
}

#[tokio::test]
async fn a_session_that_is_heard_is_kept_alive() {
    let bench = Bench::start().await;
    let mut session = bench.session().await;
    bench.core.touched();
    session.send_as(xid::AUTH, 100, &auth("me:secret")).await;
    session.reply().await;
    assert_eq!(bench.core.touched(), []);
    session.send_as(xid::PING, 11, &Request::Ping).await;
    session.reply().await;
    assert_eq!(bench.core.touched(), [(session.id, 10_000)]);
}

/// The replies to the first of the reads exceed what may be unsent; nothing else wakes the connection.
#[tokio::test]
async fn large_reads_behind_a_write_are_all_answered() {
    let bench = Bench::with(config()).await;
    let mut session = bench.session_by_hand().await;
    bench.core.write(OpCode::Create, &create("/a", 0));
    let large = vec![7; 400_000];
    bench.core.write(OpCode::SetData, &set_data("/a", &large));
    session.send(OpCode::Create, &create("/b", 0)).await;
    for _ in 0..12 {
        session.send(OpCode::GetData, &get_data("/a", false)).await;
    }
    bench.core.arrived(1).await;
    session.send_as(xid::PING, 11, &Request::Ping).await;
    assert_eq!(session.reply().await.0.xid, xid::PING);
    bench.core.step().await;
    session.reply().await;
    for _ in 0..12 {
        assert_eq!(data(&session.reply().await.1), large);
    }
}
