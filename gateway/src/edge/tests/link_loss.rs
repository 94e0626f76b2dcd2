use std::time::Duration;

use palisade_wire::request::Request;
use palisade_wire::{ErrorCode, OpCode};
use tokio::time::timeout;

use super::raw::*;
use super::*;

#[tokio::test]
async fn reads_go_on_without_a_leader() {
    let bench = Bench::start().await;
    let mut session = bench.session().await;
    session.ok(OpCode::Create, &create("/a", 0)).await;
    bench.core.disconnect();
    session.ok(OpCode::GetData, &get_data("/a", true)).await;
    session.ok(OpCode::GetChildren, &get_children("/", false)).await;
}

#[tokio::test]
async fn a_write_in_flight_survives_an_election() {
    let bench = Bench::with(config()).await;
    let mut session = bench.session_by_hand().await;
    session.send(OpCode::Create, &create("/a", 0)).await;
    bench.core.arrived(1).await;
    bench.core.disconnect();
    bench.core.reconnect();
    bench.core.step().await;
    assert_eq!(session.reply().await.0.err, ErrorCode::OK);
}

#[tokio::test]
async fn a_write_whose_outcome_is_unknown_ends_the_connection() {
    let bench = Bench::with(config()).await;
    let mut session = bench.session_by_hand().await;
    session.send(OpCode::Create, &create("/a", 0)).await;
    bench.core.arrived(1).await;
    bench.core.disconnect();
    bench.core.lose();
    assert!(session.is_closed().await);
}

#[tokio::test]
async fn a_write_whose_client_has_gone_is_not_sent_again() {
    let bench = Bench::with(config()).await;
    let mut session = bench.session_by_hand().await;
    session.send(OpCode::Create, &create("/a", 0)).await;
    bench.core.arrived(1).await;
    bench.core.disconnect();
    drop(session);
    bench.disconnected().await;
    bench.core.reconnect();
    assert_eq!(bench.core.waiting(), 0);
}

/// The next leader may be there before the connection has taken in that its write is lost.
#[tokio::test]
async fn what_stands_behind_a_lost_write_is_never_sent() {
    let mut config = config();
    config.limits.in_flight = 2;
    let bench = Bench::with(config).await;
    let mut session = bench.session_by_hand().await;
    for path in ["/a", "/b", "/c"] {
        session.send(OpCode::Create, &create(path, 0)).await;
    }
    bench.core.arrived(2).await;
    session.send_as(-2, 11, &Request::Ping).await;
    assert_eq!(session.reply().await.0.xid, -2);
    bench.core.disconnect();
    bench.core.lose();
    bench.core.reconnect();
    assert!(session.is_closed().await);
    assert!(bench.core.forwarded().is_empty());
}

#[tokio::test]
async fn writes_wait_for_a_leader_and_tell_it_first_whose_session_it_is() {
    let bench = Bench::with(config()).await;
    let mut session = bench.session_by_hand().await;
    bench.core.disconnect();
    session.send(OpCode::Create, &create("/a", 0)).await;
    session.send(OpCode::Exists, &exists("/a", false)).await;
    session.send_as(-2, 11, &Request::Ping).await;
    assert_eq!(session.reply().await.0.xid, -2);
    bench.core.reconnect();
    // Whose session it is, and what the session did elsewhere.
    bench.core.arrived(2).await;
    assert!(bench.core.forwarded().is_empty());
    for _ in 0..3 {
        bench.core.step().await;
    }
    assert_eq!(session.reply().await.0.err, ErrorCode::OK);
    assert_eq!(session.reply().await.0.err, ErrorCode::OK);
}

/// A client that moved, and whose old connection nobody has ended.
#[tokio::test]
async fn a_half_dead_connection_does_not_take_its_session_back() {
    let bench = Bench::with(config()).await;
    let mut session = bench.session_by_hand().await;
    bench.core.disconnect();
    session.send_as(-2, 11, &Request::Ping).await;
    assert_eq!(session.reply().await.0.xid, -2);
    bench.core.reconnect();
    let mut other = bench.session_by_hand().await;
    assert_eq!(bench.core.waiting(), 0, "who was not heard is not spoken for");
    // It is not dead after all.
    session.send_as(-2, 11, &Request::Ping).await;
    bench.core.arrived(1).await;
    bench.core.step().await;
    other.send(OpCode::Create, &create("/a", 0)).await;
    bench.core.arrived(1).await;
    assert_eq!(bench.core.forwarded().len(), 1);
}

/// What a client sent before it moved may arrive at any time, and is no proof that it is still there.
#[tokio::test]
async fn no_write_is_sent_behind_what_its_session_wrote_elsewhere() {
    for before_the_leader in [true, false] {
        for arrives_late in [true, false] {
            let bench = Bench::with(config()).await;
            let mut session = bench.session_by_hand().await;
            bench.core.write(OpCode::Create, &create("/a", 0));
            bench.core.disconnect();
            let (old, new) = (set_data("/a", b"old"), set_data("/a", b"new"));
            if !arrives_late {
                session.send(OpCode::SetData, &old).await;
                session.send_as(-2, 11, &Request::Ping).await;
                assert_eq!(session.reply().await.0.xid, -2);
            }
            if before_the_leader {
                bench.core.write_elsewhere(session.id, OpCode::SetData, &new);
            }
            bench.core.reconnect();
            if arrives_late {
                session.send(OpCode::SetData, &old).await;
            }
            if !before_the_leader {
                bench.core.arrived(1).await;
                bench.core.step().await;
                bench.core.arrived(1).await;
                bench.core.write_elsewhere(session.id, OpCode::SetData, &new);
                bench.core.step().await;
            }
            assert!(session.is_closed().await);
            assert!(bench.core.forwarded().is_empty());
        }
    }
}

/// What a client left on its way when it moved comes before what it does at its new place.
#[tokio::test]
async fn what_a_session_wrote_elsewhere_before_it_came_does_not_part_it_from_its_client() {
    let bench = Bench::with(config()).await;
    let session = bench.session_by_hand().await;
    let raw = bench.raw().await;
    let (again, ()) = tokio::join!(session.again(raw), async {
        bench.core.arrived(1).await;
        bench.core.write_elsewhere(session.id, OpCode::Create, &create("/a", 0));
        bench.core.step().await;
    });
    let mut again = again.unwrap();
    bench.core.disconnect();
    bench.core.reconnect();
    bench.core.answer_all();
    again.ok(OpCode::SetData, &set_data("/a", b"new")).await;
}

/// A tree does not tell which session wrote what is in it.
#[tokio::test]
async fn after_a_gap_a_session_that_may_have_written_elsewhere_reads_on_and_writes_over_a_new_connection() {
    let bench = Bench::start().await;
    let mut session = bench.session().await;
    session.ok(OpCode::Create, &create("/a", 0)).await;
    bench.core.disconnect();
    bench.core.replace_by(|core| core.write(OpCode::Create, &create("/b", 0)));
    bench.core.reconnect();
    session.ok(OpCode::GetData, &get_data("/b", false)).await;
    session.send(OpCode::SetData, &set_data("/a", b"old")).await;
    assert!(session.is_closed().await);
    let mut session = session.again(bench.raw().await).await.unwrap();
    session.ok(OpCode::SetData, &set_data("/a", b"new")).await;
}

/// kazoo counts from one again with each connection.
#[tokio::test]
async fn writes_of_two_connections_are_told_apart_though_their_xids_are_alike() {
    let bench = Bench::with(config()).await;
    let mut session = bench.session_by_hand().await;
    session.send(OpCode::Create, &create("/a", 0)).await;
    bench.core.arrived(1).await;
    let raw = bench.raw().await;
    let (again, ()) = tokio::join!(session.again(raw), async {
        bench.core.arrived(2).await;
        bench.core.step().await;
        bench.core.step().await;
    });
    let mut again = again.unwrap();
    again.send(OpCode::Create, &create("/b", 0)).await;
    bench.core.arrived(1).await;
    session.send(OpCode::Create, &create("/c", 0)).await;
    let cxids = bench.core.cxids();
    assert!(cxids.iter().all(|cxid| !(1..=3).contains(cxid)), "{cxids:?}");
    bench.core.step().await;
    assert_eq!(string(&again.reply().await.1), "/b");
}

#[tokio::test]
async fn a_sync_without_effect_is_asked_again() {
    let bench = Bench::with(config()).await;
    let mut session = bench.session_by_hand().await;
    session.send(OpCode::Sync, &Request::Sync(Some("/".into()))).await;
    bench.core.arrived(1).await;
    bench.core.disconnect();
    bench.core.reconnect();
    bench.core.arrived(1).await;
    bench.core.step().await;
    assert_eq!(string(&session.reply().await.1), "/");
}

#[tokio::test(start_paused = true)]
async fn without_a_leader_writes_and_syncs_fail_in_time_and_reads_go_on() {
    let bench = Bench::start().await;
    let mut session = bench.session().await;
    bench.core.disconnect();
    session.send(OpCode::Create, &create("/a", 0)).await;
    session.send(OpCode::Exists, &exists("/a", false)).await;
    session.send(OpCode::Sync, &Request::Sync(Some("/".into()))).await;
    assert_eq!(session.reply().await.0.err, ErrorCode::CONNECTION_LOSS);
    assert_eq!(session.reply().await.0.err, ErrorCode::NO_NODE);
    assert_eq!(session.reply().await.0.err, ErrorCode::CONNECTION_LOSS);
    session.ok(OpCode::GetData, &get_data("/", true)).await;
    // What has failed stays without effect.
    bench.core.reconnect();
    session.ok(OpCode::Create, &create("/b", 0)).await;
    assert_eq!(session.err(OpCode::Exists, &exists("/a", false)).await, ErrorCode::NO_NODE);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_a_silent_leader_has_fails_in_time() {
    let bench = Bench::with(config()).await;
    let mut session = bench.session_by_hand().await;
    session.send(OpCode::Create, &create("/a", 0)).await;
    bench.core.arrived(1).await;
    assert_eq!(session.reply().await.0.err, ErrorCode::CONNECTION_LOSS);
    session.ok(OpCode::GetData, &get_data("/", true)).await;
}

#[tokio::test(start_paused = true)]
async fn a_new_session_does_not_wait_for_ever() {
    let bench = Bench::start().await;
    bench.core.disconnect();
    assert_eq!(bench.raw().await.handshake(&new_session(10_000)).await, None);
}

#[tokio::test]
async fn a_session_that_the_new_leader_does_not_know_is_ended() {
    let bench = Bench::with(config()).await;
    let mut session = bench.session_by_hand().await;
    bench.core.disconnect();
    bench.core.forget(session.id);
    bench.core.reconnect();
    session.send_as(-2, 11, &Request::Ping).await;
    assert_eq!(session.reply().await.0.xid, -2);
    bench.core.step().await;
    assert!(session.is_closed().await);
}

#[tokio::test]
async fn a_history_that_goes_back_ends_all_connections() {
    let bench = Bench::start().await;
    let mut session = bench.session().await;
    session.ok(OpCode::Create, &create("/a", 0)).await;
    bench.core.lose_history();
    assert!(session.is_closed().await);
}

/// Others may get the lock of an owner whom the core does not hear of.
#[tokio::test]
async fn an_owner_of_ephemerals_is_let_go_while_the_core_is_silent_and_a_reader_goes_on() {
    for broken in [true, false] {
        let mut config = config();
        config.sessions.min_timeout = Duration::from_millis(600);
        let bench = Bench::with(config).await;
        bench.core.answer_all();
        let mut owner = Session::new(bench.raw().await, 0).await;
        let mut reader = Session::new(bench.raw().await, 0).await;
        owner.ok(OpCode::Create, &create("/mine", 1)).await;
        bench.core.speak();
        if broken {
            bench.core.disconnect();
        }
        let let_go = async {
            loop {
                owner.send_as(-2, 11, &Request::Ping).await;
                if owner.message().await.is_none() {
                    return;
                }
                reader.send_as(-2, 11, &Request::Ping).await;
                assert_eq!(reader.reply().await.0.xid, -2);
            }
        };
        timeout(Duration::from_secs(20), let_go).await.expect("the owner is let go");
        reader.ok(OpCode::Exists, &exists("/mine", false)).await;
    }
}

/// Bytes come from the core, but nothing says that it heard of the owner.
#[tokio::test]
async fn an_owner_is_told_nothing_while_the_core_may_not_have_heard_of_it_and_everything_then() {
    let mut config = config();
    config.sessions.min_timeout = Duration::from_secs(6);
    let bench = Bench::with(config).await;
    let owner = Session::new(bench.raw().await, 0);
    let (mut owner, ()) = tokio::join!(owner, bench.core.step());
    owner.send(OpCode::Create, &create("/mine", 1)).await;
    bench.core.step().await;
    assert_eq!(owner.reply().await.0.err, ErrorCode::OK);
    let held = async {
        loop {
            bench.core.speak();
            owner.send_as(-2, 11, &Request::Ping).await;
            if timeout(Duration::from_millis(500), owner.message()).await.is_err() {
                return;
            }
        }
    };
    timeout(Duration::from_secs(20), held).await.expect("the owner is not answered any more");
    bench.core.hear();
    assert_eq!(owner.reply().await.0.xid, -2);
}
