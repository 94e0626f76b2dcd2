//! What persistent watches are told after a reconnect.

use palisade_wire::reply::EventType::{self, NodeChildrenChanged, NodeCreated, NodeDataChanged, NodeDeleted};
use palisade_wire::request::{Request, SetWatches};
use palisade_wire::{Acl, ErrorCode, Id, OpCode, Perms, Zxid};

use super::raw::*;
use super::*;

const NOT_TOLD: Zxid = Zxid(-1);

fn watches<'a>(since: Zxid, persistent: &[&'a str], recursive: &[&'a str]) -> SetWatches<'a> {
    let paths = |list: &[&'a str]| list.iter().map(|path| (*path).into()).collect();
    SetWatches { persistent: paths(persistent), recursive: paths(recursive), ..set_watches(since) }
}

/// What the client is told before the answer, and the zxid of that.
async fn set_again(session: &mut Session, watches: SetWatches<'_>) -> (Vec<(Zxid, EventType, String)>, Zxid) {
    session.send(OpCode::SetWatches2, &Request::SetWatches(watches)).await;
    let mut events = Vec::new();
    loop {
        match session.message().await.expect("an answer") {
            Message::Event(zxid, kind, path) => events.push((zxid, kind, path)),
            Message::Reply(header, _) => {
                assert_eq!(header.err, ErrorCode::OK);
                return (events, header.zxid);
            }
        }
    }
}

fn told(events: &[(i64, EventType, &str)], since: Zxid) -> Vec<(Zxid, EventType, String)> {
    events.iter().map(|(after, kind, path)| (Zxid(since.0 + after), *kind, (*path).to_owned())).collect()
}

/// Changes /p, and below /r; /secret is not for everybody.
fn change(core: &Core) {
    let acl = vec![Acl { perms: Perms::ALL, id: Id::new("digest", "me:hash") }];
    core.write(OpCode::SetData, &set_data("/p", b"x"));
    core.write(OpCode::Create, &create("/p/child", 0));
    core.write(OpCode::Create, &create("/r/child", 0));
    core.write(OpCode::Create, &create_with("/r/secret", 0, acl));
    core.write(OpCode::Delete, &delete("/r/child"));
}

const CHANGES: [(i64, EventType, &str); 4] = [
    (1, NodeDataChanged, "/p"),
    (2, NodeChildrenChanged, "/p"),
    (3, NodeCreated, "/r/child"),
    (5, NodeDeleted, "/r/child"),
];

async fn bench_with(config: Config) -> Bench {
    let bench = Bench::with(config).await;
    bench.core.answer_all();
    for path in ["/p", "/r", "/other"] {
        bench.core.write(OpCode::Create, &create(path, 0));
    }
    bench
}

#[tokio::test]
async fn persistent_watches_are_told_what_they_missed_and_go_on() {
    let bench = bench_with(config()).await;
    let since = bench.core.zxid();
    change(&bench.core);
    let mut session = bench.session().await;
    let (events, zxid) = set_again(&mut session, watches(since, &["/p"], &["/r"])).await;
    assert_eq!((events, zxid), (told(&CHANGES, since), bench.core.zxid()));
    bench.core.write(OpCode::Create, &create("/r/later", 0));
    assert_eq!(session.event().await, (bench.core.zxid(), NodeCreated, "/r/later".to_owned()));
    // As of now there is nothing to tell.
    let since = bench.core.zxid();
    let mut session = session.again(bench.raw().await).await.expect("the session lives");
    let (events, _) = set_again(&mut session, watches(since, &["/p"], &["/r"])).await;
    assert_eq!(events, []);
}

/// The Java client splits a long list: what one part hears is not told again for another, and no zxid goes back.
#[tokio::test]
async fn several_requests_of_one_connection_tell_each_event_once() {
    let bench = bench_with(config()).await;
    let since = bench.core.zxid();
    change(&bench.core);
    let mut session = bench.session().await;
    let (events, _) = set_again(&mut session, watches(since, &[], &["/r"])).await;
    assert_eq!(events, told(&CHANGES[2..], since));
    let (events, _) = set_again(&mut session, watches(since, &["/p", "/r/child"], &[])).await;
    let expected = [(NOT_TOLD, NodeDataChanged, "/p"), (NOT_TOLD, NodeChildrenChanged, "/p")];
    assert_eq!(events, expected.map(|(zxid, kind, path)| (zxid, kind, path.to_owned())));
}

/// They are registered in steps, each of which is like a request of its own.
#[tokio::test]
async fn very_many_persistent_watches_are_all_set_again_and_told() {
    let bench = bench_with(config()).await;
    let since = bench.core.zxid();
    change(&bench.core);
    let mut session = bench.session().await;
    let others: Vec<String> = (0..12_000).map(|i| format!("/{i}")).collect();
    let mut many = watches(since, &["/r"], &["/none", "/other"]);
    many.persistent.extend(others.iter().map(|path| path.as_str().into()));
    many.persistent.push("/p".into());
    let (events, zxid) = set_again(&mut session, many).await;
    let first = [3, 4, 5].map(|after| (after, NodeChildrenChanged, "/r"));
    let then = [NodeDataChanged, NodeChildrenChanged].map(|kind| (NOT_TOLD, kind, "/p".to_owned()));
    assert_eq!(events, [told(&first, since), then.to_vec()].concat());
    assert_eq!(zxid, bench.core.zxid());
    for path in ["/p", "/r", "/other"] {
        bench.core.write(OpCode::SetData, &set_data(path, b"y"));
        assert_eq!(session.event().await, (bench.core.zxid(), NodeDataChanged, path.to_owned()));
    }
    let watches = bench.edge.edge.hub.watches();
    assert_eq!(watches.lock().len(), 2 * 12_002 + 2);
    drop(session);
    bench.disconnected().await;
    assert!(watches.lock().is_empty());
}

/// The reply to a part of the list must not make the client believe that it was told of the other parts.
#[tokio::test]
async fn the_answer_to_a_part_of_a_long_list_tells_no_zxid_that_hides_the_rest() {
    let bench = bench_with(config()).await;
    let since = bench.core.zxid();
    change(&bench.core);
    let mut session = bench.session().await;
    let long: Vec<String> = (0..3_000).map(|i| format!("/{i:050}")).collect();
    let mut part = watches(since, &[], &[]);
    part.exist = long.iter().map(|path| path.as_str().into()).collect();
    assert_eq!(set_again(&mut session, part).await, (vec![], since));
    assert_eq!(set_again(&mut session, watches(since, &[], &[])).await, (vec![], bench.core.zxid()));
}

#[tokio::test]
async fn another_gateway_of_the_tenant_remembers_the_same() {
    let bench = bench_with(config()).await;
    let since = bench.core.zxid();
    let mut other = Config { id: 102, ..config() };
    other.notifications.replay_bytes = 1 << 20;
    let other = Bench::with(other).await;
    other.core.answer_all();
    for path in ["/p", "/r", "/other"] {
        other.core.write(OpCode::Create, &create(path, 0));
    }
    other.core.join(&bench.core);
    change(&bench.core);
    let mut session = other.session().await;
    let (events, _) = set_again(&mut session, watches(since, &["/p"], &["/r"])).await;
    assert_eq!(events, told(&CHANGES, since));
}

/// What is not remembered shows in the znodes themselves, as for one-shot watches, but not below recursive watches.
#[tokio::test]
async fn what_is_forgotten_is_told_as_far_as_the_znode_shows_it() {
    let mut config = config();
    config.notifications.replay_bytes = 64 << 10;
    let bench = bench_with(config).await;
    let since = bench.core.zxid();
    change(&bench.core);
    for _ in 0..1_000 {
        bench.core.write(OpCode::SetData, &set_data("/other", b"x"));
    }
    let last = bench.core.zxid();
    bench.core.write(OpCode::Delete, &delete("/r/secret"));
    let mut session = bench.session().await;
    let missed = |watches| async {
        let metrics = bench.edge.edge.hub.metrics();
        let before = metrics.palisade_replays_incomplete.get();
        let mut session = bench.session().await;
        let (events, _) = set_again(&mut session, watches).await;
        (events, metrics.palisade_replays_incomplete.get() - before)
    };
    let expected = [
        (NOT_TOLD, NodeDataChanged, "/p"),
        (NOT_TOLD, NodeChildrenChanged, "/p"),
        (NOT_TOLD, NodeDeleted, "/gone"),
    ];
    let expected = expected.map(|(zxid, kind, path)| (zxid, kind, path.to_owned())).to_vec();
    assert_eq!(missed(watches(since, &["/p", "/gone"], &["/r"])).await, (expected, 1));
    assert_eq!(missed(watches(last, &["/p", "/gone"], &["/r"])).await, (vec![], 0));
    session.ok(OpCode::GetData, &get_data("/p", false)).await;
}

#[tokio::test]
async fn a_tenant_may_have_it_as_in_apaches_servers() {
    let mut config = config();
    config.notifications.replay = false;
    let bench = bench_with(config).await;
    let since = bench.core.zxid();
    change(&bench.core);
    let mut session = bench.session().await;
    let (events, _) = set_again(&mut session, watches(since, &["/p"], &["/r"])).await;
    assert_eq!(events, []);
    bench.edge.set_notifications(&crate::config::Notifications::default());
    let since = bench.core.zxid();
    bench.core.write(OpCode::SetData, &set_data("/p", b"y"));
    let mut session = session.again(bench.raw().await).await.expect("the session lives");
    let (events, _) = set_again(&mut session, watches(since, &["/p"], &["/r"])).await;
    assert_eq!(events, told(&[(1, NodeDataChanged, "/p")], since), "switched on while it runs");
}

/// What it cannot take at once would have it closed, and closed again.
#[tokio::test]
async fn no_client_is_told_more_at_once_than_it_may_leave_unread() {
    let mut config = config();
    config.limits.outbox_bytes = 4 << 10;
    let bench = bench_with(config).await;
    let since = bench.core.zxid();
    for _ in 0..100 {
        bench.core.write(OpCode::SetData, &set_data("/p", b"x"));
    }
    let last = bench.core.zxid().0;
    let mut session = bench.session().await;
    let (events, _) = set_again(&mut session, watches(since, &["/p"], &[])).await;
    let newest: Vec<_> = events.iter().filter(|event| event.0 != NOT_TOLD).map(|event| event.0.0).collect();
    assert!((10..100).contains(&newest.len()), "{newest:?}");
    assert!(newest.iter().rev().zip((0..=last).rev()).all(|(told, expected)| *told == expected));
    assert_eq!(events.len(), newest.len() + 1, "and of the others the znode tells");
}
