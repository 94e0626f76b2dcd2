use palisade_wire::Zxid;

use super::*;

const NOW: Duration = Duration::from_secs(9);

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
    Outbox::new(Arc::new(Budget::new(limit, usize::MAX)))
}

#[test]
fn frames_leave_in_order_whatever_the_socket_takes() {
    let (a, b) = (changed(1, "/a"), changed(2, "/b"));
    let expected = joined(&[b"one", a.frame(), b"twothree", b.frame()]);
    for step in 1..=expected.len() {
        let mut outbox = outbox(1 << 10);
        reply(&mut outbox, b"one");
        outbox.push_event(&a).unwrap();
        outbox.append(&mut BytesMut::from("two"));
        reply(&mut outbox, b"three");
        outbox.push_event(&b).unwrap();
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
        assert_eq!(outbox.hold_event(&a, false, NOW), Ok(Holding::First));
        assert_eq!(outbox.hold_event(&b, false, 2 * NOW), Ok(Holding::More));
        assert_eq!(outbox.unsent(), 0);
        outbox
    };
    let events = joined(&[a.frame(), b.frame()]);
    let mut outbox = held();
    reply(&mut outbox, b"r");
    assert_eq!(bytes(&outbox), joined(&[&events, b"r"]));
    assert_eq!(outbox.take_released(), Released { events: 2, since: NOW, early: true });
    assert_eq!(outbox.take_released(), Released::default());
    let mut outbox = held();
    outbox.append(&mut BytesMut::from("r"));
    assert_eq!(bytes(&outbox), joined(&[&events, b"r"]));
    let mut outbox = held();
    let c = changed(3, "/c");
    outbox.push_event(&c).unwrap();
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
    outbox.push_event(&a).unwrap();
    outbox.hold_event(&a, false, NOW).unwrap();
    assert_eq!(outbox.push_event(&a), Err(SlowReader));
    assert_eq!(outbox.hold_event(&a, false, NOW), Err(SlowReader));
    outbox.sent(outbox.unsent());
    assert_eq!(outbox.push_event(&a), Ok(()));
}

#[test]
fn after_an_end_now_nothing_leaves() {
    let a = changed(1, "/a");
    let mut outbox = outbox(1 << 10);
    outbox.push_event(&a).unwrap();
    outbox.end(End::AfterFlush(1));
    outbox.end(End::AfterFlush(2));
    assert_eq!((outbox.ending(), outbox.unsent()), (Some(End::AfterFlush(1)), a.frame().len()));
    outbox.end(End::Now(3));
    outbox.end(End::Now(4));
    reply(&mut outbox, b"late");
    outbox.append(&mut BytesMut::from("later"));
    outbox.push_event(&a).unwrap();
    outbox.hold_event(&a, false, NOW).unwrap();
    assert!(!outbox.release());
    assert_eq!((outbox.ending(), outbox.unsent(), bytes(&outbox)), (Some(End::Now(3)), 0, vec![]));
    assert_eq!(outbox.budget.used(), 0);
}

#[test]
fn only_changed_data_of_the_same_path_is_replaced() {
    let deleted = event(3, EventType::NodeDeleted, "/a");
    let mut outbox = outbox(1 << 10);
    let mut hold = |event: &Arc<Event>, replaceable| outbox.hold_event(event, replaceable, NOW).unwrap();
    assert_eq!(hold(&changed(1, "/a"), true), Holding::First);
    assert_eq!(hold(&changed(2, "/b"), true), Holding::More);
    assert_eq!(hold(&changed(3, "/a"), true), Holding::Merged);
    hold(&deleted, true);
    hold(&changed(4, "/a"), false);
    hold(&changed(5, "/a"), true);
    hold(&changed(6, "/b"), false);
    outbox.release();
    let kept =
        [changed(2, "/b"), changed(3, "/a"), deleted, changed(4, "/a"), changed(5, "/a"), changed(6, "/b")];
    let expected: Vec<_> = kept.iter().flat_map(|event| event.frame().to_vec()).collect();
    assert_eq!(bytes(&outbox), expected);
    assert_eq!((outbox.events, outbox.budget.used()), (expected.len(), expected.len()));
    let budget = Arc::clone(&outbox.budget);
    drop(outbox);
    assert_eq!(budget.used(), 0);
}
