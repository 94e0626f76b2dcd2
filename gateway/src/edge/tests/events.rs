use std::time::Duration;

use palisade_watch::Pacing;
use palisade_wire::reply::EventType::{NodeChildrenChanged, NodeCreated, NodeDataChanged, NodeDeleted};
use palisade_wire::request::{Request, SetWatches, xid};
use palisade_wire::{Acl, ErrorCode, Id, OpCode, Perms, Zxid};

use super::raw::*;
use super::*;
use crate::config::Notifications;

fn event(kind: palisade_wire::reply::EventType, path: &str, zxid: Zxid) -> Message {
    Message::Event(zxid, kind, path.to_owned())
}

#[tokio::test]
async fn an_event_comes_before_the_answer_of_its_own_write() {
    let bench = Bench::start().await;
    let mut session = bench.session().await;
    session.ok(OpCode::Create, &create("/a", 0)).await;
    session.ok(OpCode::GetData, &get_data("/a", true)).await;
    session.ok(OpCode::GetChildren, &get_children("/", true)).await;
    session.send(OpCode::SetData, &set_data("/a", b"x")).await;
    session.send(OpCode::Delete, &delete("/a")).await;
    let changed = session.event().await;
    assert_eq!(changed, (bench.core.zxid().max(changed.0).min(changed.0), NodeDataChanged, "/a".to_owned()));
    let (header, _) = session.reply().await;
    assert_eq!(header.zxid, changed.0);
    let (zxid, kind, path) = session.event().await;
    assert_eq!((kind, &*path), (NodeChildrenChanged, "/"));
    assert_eq!(session.reply().await.0.zxid, zxid);
}

#[tokio::test]
async fn an_event_comes_before_a_read_that_shows_the_change() {
    let bench = Bench::start().await;
    let mut session = bench.session().await;
    session.ok(OpCode::Create, &create("/a", 0)).await;
    for i in 0..200_u32 {
        session.ok(OpCode::GetData, &get_data("/a", true)).await;
        let new = i.to_be_bytes();
        let core = Arc::clone(&bench.core);
        let writer = tokio::task::spawn_blocking(move || core.write(OpCode::SetData, &set_data("/a", &new)));
        // Reads until one shows the change: the event must have been there before.
        let mut seen = false;
        loop {
            session.send(OpCode::GetData, &get_data("/a", false)).await;
            let body = loop {
                match session.message().await.unwrap() {
                    Message::Event(..) => seen = true,
                    Message::Reply(_, body) => break body,
                }
            };
            if data(&body) == new {
                break;
            }
        }
        assert!(seen, "round {i}");
        writer.await.unwrap();
    }
}

#[tokio::test]
async fn every_kind_of_watch_hears_of_its_changes() {
    let bench = Bench::start().await;
    let mut session = bench.session().await;
    assert_eq!(session.err(OpCode::Exists, &exists("/a", true)).await, ErrorCode::NO_NODE);
    bench.core.write(OpCode::Create, &create("/a", 0));
    assert_eq!(session.message().await, Some(event(NodeCreated, "/a", bench.core.zxid())));
    session.ok(OpCode::GetChildren, &get_children("/a", true)).await;
    bench.core.write(OpCode::Create, &create("/a/b", 0));
    assert_eq!(session.message().await, Some(event(NodeChildrenChanged, "/a", bench.core.zxid())));
    session.ok(OpCode::Exists, &exists("/a/b", true)).await;
    session.ok(OpCode::GetChildren, &get_children("/a/b", true)).await;
    session.ok(OpCode::GetChildren, &get_children("/a", true)).await;
    bench.core.write(OpCode::Delete, &delete("/a/b"));
    assert_eq!(session.message().await, Some(event(NodeDeleted, "/a/b", bench.core.zxid())));
    assert_eq!(session.message().await, Some(event(NodeChildrenChanged, "/a", bench.core.zxid())));
    bench.core.write(OpCode::SetData, &set_data("/a", b"x"));
    session.ok(OpCode::GetData, &get_data("/a", false)).await;
}

#[tokio::test]
async fn persistent_watches_stay_until_they_are_removed() {
    let bench = Bench::start().await;
    let mut session = bench.session().await;
    let body = session.ok(OpCode::AddWatch, &Request::AddWatch { path: "/a".into(), mode: 1 }).await;
    assert_eq!(body[..], [0; 4]);
    bench.core.write(OpCode::Create, &create("/a", 0));
    bench.core.write(OpCode::Create, &create("/a/b", 0));
    bench.core.write(OpCode::SetData, &set_data("/a/b", b"x"));
    let mut events = Vec::new();
    for _ in 0..3 {
        let (_, kind, path) = session.event().await;
        events.push((kind, path));
    }
    let expected = [(NodeCreated, "/a"), (NodeCreated, "/a/b"), (NodeDataChanged, "/a/b")];
    assert_eq!(events, expected.map(|(kind, path)| (kind, path.to_owned())));
    session.ok(OpCode::CheckWatches, &Request::CheckWatches { path: "/a".into(), kind: 5 }).await;
    session.ok(OpCode::RemoveWatches, &Request::RemoveWatches { path: Some("/a".into()), kind: 3 }).await;
    let again = Request::RemoveWatches { path: Some("/a".into()), kind: 3 };
    assert_eq!(session.err(OpCode::RemoveWatches, &again).await, ErrorCode::NO_WATCHER);
    bench.core.write(OpCode::Delete, &delete("/a/b"));
    session.ok(OpCode::Exists, &exists("/a", false)).await;
    let bad = Request::AddWatch { path: "/a".into(), mode: 2 };
    assert_eq!(session.err(OpCode::AddWatch, &bad).await, ErrorCode::MARSHALLING_ERROR);
}

/// CVE-2024-23944: the watch is used up all the same.
#[tokio::test]
async fn events_are_for_those_who_may_read() {
    let bench = Bench::start().await;
    let mut session = bench.session().await;
    assert_eq!(session.err(OpCode::Exists, &exists("/secret", true)).await, ErrorCode::NO_NODE);
    let acl = vec![Acl { perms: Perms::ALL, id: Id::new("digest", "me:hash") }];
    bench.core.write(OpCode::Create, &create_with("/secret", 0, acl));
    bench
        .core
        .write(OpCode::SetAcl, &Request::SetAcl { path: "/secret".into(), acl: Acl::open(), version: -1 });
    bench.core.write(OpCode::SetData, &set_data("/secret", b"x"));
    session.ok(OpCode::Exists, &exists("/secret", true)).await;
    bench.core.write(OpCode::SetData, &set_data("/secret", b"y"));
    assert_eq!(session.event().await.1, NodeDataChanged);
}

#[tokio::test]
async fn watches_set_again_catch_up_before_the_answer() {
    let bench = Bench::start().await;
    for path in ["/same", "/changed", "/gone", "/parent"] {
        bench.core.write(OpCode::Create, &create(path, 0));
    }
    let since = bench.core.zxid();
    bench.core.write(OpCode::SetData, &set_data("/changed", b"x"));
    bench.core.write(OpCode::Delete, &delete("/gone"));
    bench.core.write(OpCode::Create, &create("/parent/child", 0));
    bench.core.write(OpCode::Create, &create("/appeared", 0));
    let mut session = bench.session().await;
    let paths = |list: &[&'static str]| list.iter().map(|p| (*p).into()).collect::<Vec<_>>();
    let watches = SetWatches {
        data: paths(&["/same", "/changed", "/gone"]),
        exist: paths(&["/missing", "/appeared"]),
        child: paths(&["/same", "/parent", "/gone"]),
        persistent: paths(&["/persistent"]),
        ..set_watches(since)
    };
    session.send_as(-8, OpCode::SetWatches2.as_i32(), &Request::SetWatches(watches)).await;
    let mut events = Vec::new();
    let (header, body) = loop {
        match session.message().await.unwrap() {
            Message::Event(zxid, kind, path) => events.push((zxid.0, kind, path)),
            Message::Reply(header, body) => break (header, body),
        }
    };
    assert_eq!((header.xid, header.err, body.len()), (-8, ErrorCode::OK, 0));
    let expected = [
        (NodeDataChanged, "/changed"),
        (NodeDeleted, "/gone"),
        (NodeCreated, "/appeared"),
        (NodeChildrenChanged, "/parent"),
        (NodeDeleted, "/gone"),
    ];
    assert_eq!(events, expected.map(|(kind, path)| (-1, kind, path.to_owned())));
    bench.core.write(OpCode::SetData, &set_data("/same", b"x"));
    bench.core.write(OpCode::Create, &create("/missing", 0));
    bench.core.write(OpCode::Create, &create("/persistent", 0));
    for (kind, path) in [(NodeDataChanged, "/same"), (NodeCreated, "/missing"), (NodeCreated, "/persistent")]
    {
        let (_, got_kind, got_path) = session.event().await;
        assert_eq!((got_kind, &*got_path), (kind, path));
    }
}

#[tokio::test]
async fn watches_end_with_their_connection() {
    let bench = Bench::start().await;
    let mut session = bench.session().await;
    session.ok(OpCode::Create, &create("/a", 0)).await;
    session.ok(OpCode::GetData, &get_data("/a", true)).await;
    let mut session = Session::resume(bench.raw().await, session.id).await.unwrap();
    bench.core.write(OpCode::SetData, &set_data("/a", b"x"));
    session.ok(OpCode::GetData, &get_data("/a", false)).await;
}

#[tokio::test]
async fn the_end_of_a_session_fires_for_its_ephemerals() {
    let bench = Bench::start().await;
    let (mut owner, mut watcher) = (bench.session().await, bench.session().await);
    owner.ok(OpCode::Create, &create("/e", 1)).await;
    watcher.ok(OpCode::Exists, &exists("/e", true)).await;
    bench.core.expire(owner.id);
    assert_eq!(watcher.message().await, Some(event(NodeDeleted, "/e", bench.core.zxid())));
    assert!(owner.is_closed().await);
}

#[tokio::test]
async fn a_new_tree_fires_what_was_missed() {
    let bench = Bench::start().await;
    let mut session = bench.session().await;
    session.ok(OpCode::Create, &create("/a", 0)).await;
    session.ok(OpCode::Create, &create("/b", 0)).await;
    session.ok(OpCode::GetData, &get_data("/a", true)).await;
    session.ok(OpCode::GetData, &get_data("/b", true)).await;
    session.ok(OpCode::GetChildren, &get_children("/", true)).await;
    bench.core.replace_by(|core| {
        core.write(OpCode::SetData, &set_data("/a", b"x"));
        core.write(OpCode::Create, &create("/c", 0));
    });
    let zxid = bench.core.zxid();
    assert_eq!(session.event().await, (zxid, NodeDataChanged, "/a".to_owned()));
    assert_eq!(session.event().await, (zxid, NodeChildrenChanged, "/".to_owned()));
    session.ok(OpCode::GetData, &get_data("/b", false)).await;
}

#[tokio::test]
async fn lasting_watches_hear_what_a_whole_tree_brings_and_stay() {
    let bench = Bench::start().await;
    let mut session = bench.session().await;
    for path in ["/p", "/p/old", "/p/same", "/r", "/r/old", "/r/old/leaf"] {
        bench.core.write(OpCode::Create, &create(path, 0));
    }
    for (path, mode) in [("/p", 0), ("/r", 1)] {
        session.ok(OpCode::AddWatch, &Request::AddWatch { path: path.into(), mode }).await;
    }
    session.ok(OpCode::GetData, &get_data("/r/old", true)).await;
    for round in ["1", "2"] {
        let new = format!("/r/new-{round}");
        bench.core.replace_by(|core| {
            core.write(OpCode::SetData, &set_data("/p", round.as_bytes()));
            core.write(OpCode::Create, &create(&format!("/p/{round}"), 0));
            core.write(OpCode::SetData, &set_data("/r", round.as_bytes()));
            core.write(OpCode::Create, &create(&new, 0));
            core.write(OpCode::Create, &create(&format!("{new}/leaf"), 0));
        });
        let zxid = bench.core.zxid();
        let created = [new.clone(), format!("{new}/leaf")].map(|path| (zxid, NodeCreated, path));
        let changed = [(NodeDataChanged, "/p"), (NodeDataChanged, "/r"), (NodeChildrenChanged, "/p")];
        let changed = changed.map(|(kind, path)| (zxid, kind, path.to_owned()));
        for expected in created.into_iter().chain(changed) {
            assert_eq!(session.event().await, expected);
        }
    }
    bench.core.replace_by(|core| {
        core.write(OpCode::Delete, &delete("/r/old/leaf"));
        core.write(OpCode::Delete, &delete("/r/old"));
        core.write(OpCode::Create, &create("/r/old", 0));
    });
    for (kind, path) in [(NodeDeleted, "/r/old/leaf"), (NodeDeleted, "/r/old"), (NodeCreated, "/r/old")] {
        assert_eq!(session.event().await, (bench.core.zxid(), kind, path.to_owned()));
    }
    session.ok(OpCode::GetData, &get_data("/p", false)).await;
}

/// G3, G4 and G5 under load: for each session values and zxids never go back, an event comes before what it tells
/// of, and no watch is lost, or its session would wait for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_load_nothing_goes_back_and_no_watch_is_lost() {
    const LAST: u32 = 3_000;
    let bench = Bench::start().await;
    let mut sessions = Vec::new();
    for _ in 0..8 {
        sessions.push(bench.session().await);
    }
    bench.core.write(OpCode::Create, &create("/n", 0));
    bench.core.write(OpCode::SetData, &set_data("/n", &0_u32.to_be_bytes()));
    let readers = sessions.into_iter().map(|mut session| {
        tokio::spawn(async move {
            let (mut value, mut zxid, mut events) = (0, Zxid::ZERO, 0);
            while value < LAST {
                let (header, body) = session.call(OpCode::GetData, &get_data("/n", true)).await;
                let now = u32::from_be_bytes(data(&body).try_into().unwrap());
                assert!(now >= value && header.zxid >= zxid, "{now} after {value}");
                (value, zxid) = (now, header.zxid);
                if value < LAST {
                    let (fired, kind, _) = session.event().await;
                    assert!(kind == NodeDataChanged && fired > zxid, "{fired} after {zxid}");
                    zxid = fired;
                    events += 1;
                }
            }
            events
        })
    });
    let readers: Vec<_> = readers.collect();
    let core = Arc::clone(&bench.core);
    let writer = tokio::task::spawn_blocking(move || {
        for value in 1..=LAST {
            core.write(OpCode::SetData, &set_data("/n", &value.to_be_bytes()));
            std::thread::yield_now();
        }
    });
    for reader in readers {
        assert!(reader.await.unwrap() > 0);
    }
    writer.await.unwrap();
}

/// Holds the events of every change, for longer than any test waits.
async fn paced() -> Bench {
    let mut config = config();
    config.notifications.pacing =
        Pacing { above: 0, rate: 1, window: Duration::from_secs(2), ..Pacing::default() };
    config.sessions.max_timeout = Duration::from_secs(3_600);
    let bench = Bench::with(config).await;
    bench.core.answer_all();
    bench
}

/// G5: no frame overtakes a held event, whatever it is.
#[tokio::test]
async fn held_events_leave_before_any_frame() {
    let bench = paced().await;
    let mut session = Session::new(bench.raw().await, 3_600_000).await;
    for path in ["/a", "/b"] {
        session.ok(OpCode::Create, &create(path, 0)).await;
    }
    let frames: [(i32, OpCode, Request<'_>); 4] = [
        (xid::PING, OpCode::Ping, Request::Ping),
        (1_001, OpCode::GetData, get_data("/b", false)),
        (1_002, OpCode::SetData, set_data("/b", b"x")),
        (1_003, OpCode::Delete, delete("/none")),
    ];
    for (xid, op, request) in frames {
        session.ok(OpCode::GetData, &get_data("/a", true)).await;
        bench.core.write(OpCode::SetData, &set_data("/a", b"x"));
        let zxid = bench.core.zxid();
        session.send_as(xid, op.as_i32(), &request).await;
        assert_eq!(session.message().await, Some(event(NodeDataChanged, "/a", zxid)), "{op:?}");
        let (header, _) = session.reply().await;
        assert!(header.xid == xid && header.zxid >= zxid, "{op:?}");
    }
    let metrics = bench.edge.edge.hub.metrics();
    assert_eq!((metrics.palisade_events_held.get(), metrics.palisade_events_released.get()), (4, 4));
}

#[tokio::test]
async fn a_wave_reaches_everybody_and_an_unpaced_change_as_well() {
    let bench = paced().await;
    for rate in [100_000, 0] {
        let pacing = Pacing { above: 0, rate, ..Pacing::default() };
        bench.edge.set_notifications(&Notifications { pacing, ..Notifications::default() });
        let mut sessions = Vec::new();
        for _ in 0..100 {
            let mut session = bench.session().await;
            session.ok(OpCode::GetChildren, &get_children("/", true)).await;
            sessions.push(session);
        }
        bench.core.write(OpCode::Create, &create(&format!("/n{rate}"), 0));
        for mut session in sessions {
            assert_eq!(session.message().await, Some(event(NodeChildrenChanged, "/", bench.core.zxid())));
        }
    }
}
