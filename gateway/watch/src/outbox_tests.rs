use palisade_wire::Zxid;
use palisade_wire::reply::EventType;

use super::*;
use crate::herd::{Added, Hearers, Herds};
use crate::kinds::Slot;

const NOW: Duration = Duration::from_secs(9);
const SLOW: u8 = 99;

fn event(zxid: i64, kind: EventType, path: &str) -> Arc<Event> {
    Event::new(Zxid(zxid), kind, path)
}

fn changed(zxid: i64, path: &str) -> Arc<Event> {
    event(zxid, EventType::NodeDataChanged, path)
}

fn bytes(outbox: &Outbox<u8>) -> Vec<u8> {
    let mut slices = [IoSlice::new(&[]); 16];
    let count = outbox.unsent_slices(&mut slices);
    slices[..count].iter().flat_map(|slice| slice.to_vec()).collect()
}

fn joined(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

fn reply(outbox: &mut Outbox<u8>, text: &[u8]) {
    outbox.reply(|b| b.extend_from_slice(text));
}

fn outbox(limit: usize) -> Outbox<u8> {
    Outbox::new(Arc::new(Budget::new(limit, usize::MAX)), SLOW)
}

#[test]
fn frames_leave_in_order_whatever_the_socket_takes() {
    let (a, b) = (changed(1, "/a"), changed(2, "/b"));
    let expected = joined(&[b"one", a.frame(), b"twothree", b"shared", b"four", b.frame()]);
    for step in 1..=expected.len() {
        let mut outbox = outbox(1 << 10);
        reply(&mut outbox, b"one");
        outbox.push_event(&a);
        outbox.append(&mut BytesMut::from("two"));
        reply(&mut outbox, b"three");
        outbox.append_shared(Bytes::from_static(b"shared"));
        reply(&mut outbox, b"four");
        outbox.push_event(&b);
        let mut got = Vec::new();
        while outbox.unsent() > 0 {
            let next = bytes(&outbox);
            assert_eq!(next.len(), outbox.unsent());
            let n = step.min(next.len());
            got.extend_from_slice(&next[..n]);
            outbox.sent(n);
        }
        assert_eq!(got, expected, "{step}");
        assert_eq!((outbox.events, outbox.budget.used()), (0, 0));
    }
}

#[test]
fn what_is_held_leaves_before_any_other_frame() {
    let (a, b) = (changed(1, "/a"), changed(2, "/b"));
    let held = || {
        let mut outbox = outbox(1 << 10);
        assert_eq!(outbox.hold_event((1, Arc::clone(&a)), NOW), Holding::First);
        assert_eq!(outbox.hold_event((2, Arc::clone(&b)), 2 * NOW), Holding::More);
        assert_eq!(outbox.unsent(), 0);
        outbox
    };
    let events = joined(&[a.frame(), b.frame()]);
    let mut outbox = held();
    reply(&mut outbox, b"r");
    assert_eq!(bytes(&outbox), joined(&[&events, b"r"]));
    assert_eq!(outbox.take_released(), Released { events: 2, shared: 0, since: NOW, early: true });
    assert_eq!(outbox.take_released(), Released::default());
    let mut outbox = held();
    outbox.append(&mut BytesMut::from("r"));
    assert_eq!(bytes(&outbox), joined(&[&events, b"r"]));
    let mut outbox = held();
    let c = changed(3, "/c");
    outbox.push_event(&c);
    assert_eq!(bytes(&outbox), joined(&[&events, c.frame()]));
    let mut outbox = held();
    outbox.end(End::AfterFlush(1));
    assert_eq!(bytes(&outbox), events);
    let mut outbox = held();
    assert!(outbox.release() && !outbox.release());
    assert_eq!(bytes(&outbox), events);
    assert!(!outbox.take_released().early);
}

#[test]
fn a_slow_reader_is_told_by_its_events_not_by_replies() {
    let a = changed(1, "/a");
    let mut outbox = outbox(2 * a.frame().len());
    reply(&mut outbox, &[0; 1000]);
    outbox.push_event(&a);
    outbox.hold_event((1, Arc::clone(&a)), NOW);
    assert_eq!(outbox.ending(), None);
    outbox.sent(1000 + a.frame().len());
    outbox.push_event(&a);
    assert_eq!((outbox.ending(), outbox.unsent()), (None, 2 * a.frame().len()));
    assert_eq!(outbox.hold_event((2, Arc::clone(&a)), NOW), Holding::Nothing);
    assert_eq!((outbox.ending(), outbox.unsent(), outbox.budget.used()), (Some(End::Now(SLOW)), 0, 0));
}

#[test]
fn after_an_end_now_nothing_leaves() {
    let a = changed(1, "/a");
    let mut outbox = outbox(1 << 10);
    outbox.push_event(&a);
    outbox.end(End::AfterFlush(1));
    outbox.end(End::AfterFlush(2));
    assert_eq!((outbox.ending(), outbox.unsent()), (Some(End::AfterFlush(1)), a.frame().len()));
    outbox.end(End::Now(3));
    outbox.end(End::Now(4));
    reply(&mut outbox, b"late");
    outbox.append(&mut BytesMut::from("later"));
    outbox.push_event(&a);
    outbox.hold_event((1, Arc::clone(&a)), NOW);
    assert!(!outbox.release());
    assert_eq!((outbox.ending(), outbox.unsent(), bytes(&outbox)), (Some(End::Now(3)), 0, vec![]));
    assert_eq!(outbox.budget.used(), 0);
}

#[test]
fn no_answer_follows_an_event_that_came_after_an_orderly_end() {
    let a = changed(1, "/a");
    let mut outbox = outbox(1 << 10);
    outbox.push_event(&a);
    outbox.end(End::AfterFlush(1));
    outbox.push_event(&changed(2, "/b"));
    let mut late = BytesMut::from("late");
    outbox.append(&mut late);
    outbox.append_shared(Bytes::from_static(b"later"));
    reply(&mut outbox, b"last");
    assert_eq!((bytes(&outbox), outbox.unsent(), late.len()), (a.frame().to_vec(), a.frame().len(), 0));
}

/// What an outbox that shares `changes` of "/a" since the first of them, and was told of "/b" in between, lets go.
fn shared(merge: bool) -> Vec<u8> {
    let mut herds = Herds::default();
    let changes =
        herds.share("/a", &Hearers { acl: None, version: 1, merge_above: merge.then_some(0) }, 1, true);
    let mut outbox = outbox(1 << 10);
    let slot = Slot::new(7).unwrap();
    assert_eq!(changes.add((1, changed(1, "/a")), [slot].into_iter()).others, [slot]);
    assert_eq!(outbox.hold_share(changes.join(slot), Some(NOW)), Holding::First);
    assert_eq!(outbox.hold_event((2, changed(2, "/b")), 2 * NOW), Holding::More);
    assert_eq!(changes.add_again((3, changed(3, "/a"))), Added { sharing: 1, others: vec![] });
    assert_eq!([outbox.let_go(), outbox.let_go()], [3 - usize::from(merge), 0]);
    outbox.release_due();
    assert!(!changes.is_shared_by(slot));
    let Released { events, shared, since, early } = outbox.take_released();
    assert_eq!((events, since, early), (shared + 1, NOW, false));
    assert_eq!(outbox.events, outbox.unsent());
    bytes(&outbox)
}

#[test]
fn shared_events_leave_in_order_with_the_others() {
    let (a1, b, a3) = (changed(1, "/a"), changed(2, "/b"), changed(3, "/a"));
    assert_eq!(shared(true), joined(&[b.frame(), a3.frame()]));
    assert_eq!(shared(false), joined(&[a1.frame(), b.frame(), a3.frame()]));
}

#[test]
fn whoever_does_not_read_shares_nothing() {
    let a = changed(1, "/a");
    let changes =
        Herds::default().share("/a", &Hearers { acl: None, version: 1, merge_above: None }, 1, true);
    let slot = Slot::new(7).unwrap();
    let mut outbox = outbox(2 * a.frame().len());
    changes.add((1, Arc::clone(&a)), [slot].into_iter());
    outbox.hold_share(changes.join(slot), None);
    outbox.release_due();
    assert_eq!(
        (outbox.unsent(), outbox.take_released().events),
        (a.frame().len(), 0),
        "it was not held back"
    );
    changes.add_again((2, Arc::clone(&a)));
    outbox.hold_share(changes.join(slot), None);
    changes.add_again((3, Arc::clone(&a)));
    reply(&mut outbox, b"not behind what is missing");
    assert_eq!((outbox.ending(), outbox.unsent(), outbox.budget.used()), (Some(End::Now(SLOW)), 0, 0));
    assert!(!changes.is_shared_by(slot));
    assert_eq!(outbox.hold_share(changes.join(slot), Some(NOW)), Holding::Nothing);
    assert!(!changes.is_shared_by(slot));
}
