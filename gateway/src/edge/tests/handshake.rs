use palisade_wire::connect::{ConnectRequest, ConnectResponse, session_password};
use palisade_wire::{OpCode, Zxid};

use super::raw::*;
use super::*;

/// 37 bytes to those who send the readOnly byte, 36 to those who do not: C clients read a fixed size.
#[tokio::test]
async fn old_and_new_clients_get_what_they_can_read() {
    let bench = Bench::start().await;
    for (read_only, len) in [(None, 36), (Some(false), 37), (Some(true), 37)] {
        let request = ConnectRequest { read_only, ..new_session(10_000) };
        let (frame, response) = bench.raw().await.handshake(&request).await.unwrap();
        assert_eq!(frame.len(), len);
        assert_eq!((response.protocol_version, response.timeout_ms), (0, 10_000));
        assert_eq!(response.session as u64 >> 56, 101);
        assert_eq!(response.password, session_password(response.session));
        assert_eq!(response.read_only, read_only.map(|_| false));
    }
}

#[tokio::test]
async fn timeouts_are_negotiated() {
    let bench = Bench::start().await;
    for (asked, got) in [(-1, 4_000), (5_000, 5_000), (i32::MAX, 40_000)] {
        let (_, response) = bench.raw().await.handshake(&new_session(asked)).await.unwrap();
        assert_eq!(response.timeout_ms, got);
    }
}

#[tokio::test]
async fn odd_passwords_do_for_new_sessions() {
    let bench = Bench::start().await;
    for password in [&[][..], &[7; 16], &[1; 100]] {
        let request = ConnectRequest { password, ..new_session(10_000) };
        assert!(bench.raw().await.handshake(&request).await.is_some());
    }
}

#[tokio::test]
async fn a_session_moves_to_a_new_connection_and_closes_the_old() {
    let bench = Bench::start().await;
    let mut old = bench.session().await;
    let mut new = Session::resume(bench.raw().await, old.id).await.unwrap();
    assert!(old.is_closed().await);
    new.ok(OpCode::Exists, &exists("/", false)).await;
}

#[tokio::test]
async fn the_wrong_password_and_unknown_sessions_are_answered_with_zeros() {
    let bench = Bench::start().await;
    let mut live = bench.session().await;
    let wrong = ConnectRequest { session: live.id, password: &[9; 16], ..new_session(10_000) };
    let unknown = 0x6500_0000_0000_0001;
    let password = session_password(unknown);
    let unknown = ConnectRequest { session: unknown, password: &password, ..new_session(10_000) };
    for request in [wrong, unknown] {
        let mut raw = bench.raw().await;
        let (_, response) = raw.handshake(&request).await.unwrap();
        assert_eq!(response, ConnectResponse::refused(Some(false)));
        assert_eq!(raw.frame().await, None);
    }
    // As in Apache, whoever names a session closes its connection here; the session itself is unharmed.
    assert!(live.is_closed().await);
    assert!(Session::resume(bench.raw().await, live.id).await.is_some());
}

#[tokio::test]
async fn an_expired_session_is_refused_and_its_connection_closed() {
    let bench = Bench::start().await;
    let mut session = bench.session().await;
    bench.core.expire(session.id);
    assert!(session.is_closed().await);
    assert!(Session::resume(bench.raw().await, session.id).await.is_none());
}

#[tokio::test]
async fn a_client_that_is_ahead_waits_for_the_replica() {
    let bench = Bench::start().await;
    let ahead = Zxid(bench.core.zxid().max(Zxid::new(1, 0)).0 + 1);
    let request = ConnectRequest { last_zxid_seen: ahead, ..new_session(10_000) };
    let mut raw = bench.raw().await;
    let (opened, ()) = tokio::join!(raw.handshake(&request), async {
        tokio::task::yield_now().await;
        bench.core.write(OpCode::Create, &create("/a", 0));
    });
    assert!(opened.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stays_ahead_is_sent_away() {
    let bench = Bench::start().await;
    let request = ConnectRequest { last_zxid_seen: Zxid::new(9, 1), ..new_session(10_000) };
    assert_eq!(bench.raw().await.handshake(&request).await, None);
}

#[tokio::test]
async fn garbage_ends_the_connection() {
    let bench = Bench::start().await;
    let length_of_garbage = [&1_000_i32.to_be_bytes()[..], &[0x7f; 1_000]].concat();
    let short = [&4_i32.to_be_bytes()[..], &[0; 4]].concat();
    for garbage in [&[0xff; 4][..], b"GET / HTTP/1.1\r\n\r\n", &length_of_garbage, &short] {
        let mut raw = bench.raw().await;
        raw.send(garbage).await;
        assert_eq!(raw.rest().await, b"");
    }
    bench.session().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_is_sent_away() {
    let bench = Bench::start().await;
    for said in [&b""[..], &[0, 0], &[0, 0, 0, 45, 0]] {
        let mut raw = bench.raw().await;
        raw.send(said).await;
        assert_eq!(raw.rest().await, b"");
    }
}

#[tokio::test]
async fn requests_behind_the_connect_request_are_answered() {
    let bench = Bench::start().await;
    let mut raw = bench.raw().await;
    let mut out = bytes::BytesMut::new();
    palisade_wire::frame::write(&mut out, |b| new_session(10_000).encode(b));
    palisade_wire::frame::write(&mut out, |b| {
        palisade_wire::request::RequestHeader { xid: -2, op: 11 }.encode(b);
    });
    raw.send(&out).await;
    assert_eq!(raw.frame().await.unwrap().len(), 37);
    assert_eq!(raw.frame().await.unwrap()[..4], (-2_i32).to_be_bytes());
}
