use palisade_wire::reply::EventType::{NodeChildrenChanged, NodeCreated, NodeDataChanged, NodeDeleted};

use super::*;

fn change(zxid: i64, kind: EventType, path: &str) -> Change {
    Change::new(Zxid(zxid), kind, path)
}

fn history() -> Vec<Change> {
    vec![
        change(1, NodeCreated, "/a"),
        change(1, NodeChildrenChanged, "/"),
        change(2, NodeDataChanged, "/a"),
        change(3, NodeDataChanged, "/a"),
        change(4, NodeDeleted, "/a"),
        change(4, NodeChildrenChanged, "/"),
    ]
}

fn reply(zxid: i64) -> Seen {
    Seen::Reply(Zxid(zxid))
}

fn watching(watch: Watch, path: &str) -> Seen {
    Seen::Watching(watch, path.to_owned())
}

/// The history's change.
fn told(at: usize) -> Seen {
    Seen::Event(history()[at].clone())
}

fn checked(seen: &[Seen]) -> Result<(), Violation> {
    check(&history(), seen, false)
}

#[test]
fn what_is_promised_passes() {
    let data = [reply(1), watching(Watch::Data, "/a"), reply(1), told(2), reply(3), reply(4)];
    assert_eq!(checked(&data), Ok(()));
    let all = [reply(1), watching(Watch::Recursive, "/"), told(2), told(3), told(4), reply(4)];
    assert_eq!(checked(&all), Ok(()));
    let child =
        [reply(2), watching(Watch::Child, "/a"), watching(Watch::Child, "/"), told(4), told(5), reply(4)];
    assert_eq!(checked(&child), Ok(()));
}

#[test]
fn a_reply_that_overtakes_is_found() {
    let missed = history()[2].clone();
    let overtaken = Err(Violation::Overtaken { reply: Zxid(2), missed });
    assert_eq!(checked(&[reply(1), watching(Watch::Data, "/a"), reply(2), told(2)]), overtaken);
    let at_the_end = [reply(1), watching(Watch::Persistent, "/a"), told(2), reply(4)];
    assert!(matches!(checked(&at_the_end), Err(Violation::Overtaken { .. })));
}

#[test]
fn a_one_shot_watch_that_fires_twice_is_found() {
    let twice = [reply(1), watching(Watch::Data, "/a"), told(2), told(3)];
    assert_eq!(checked(&twice), Err(Violation::Unasked(history()[3].clone())));
    let invented = [reply(1), watching(Watch::Data, "/a"), Seen::Event(change(2, NodeDeleted, "/a"))];
    assert!(matches!(checked(&invented), Err(Violation::Unasked(_))));
    let again = [reply(1), watching(Watch::Persistent, "/a"), told(2), told(2)];
    assert!(matches!(checked(&again), Err(Violation::Unasked(_))));
}

#[test]
fn disorder_is_found() {
    let back = [reply(1), watching(Watch::Persistent, "/a"), watching(Watch::Child, "/"), told(5), told(2)];
    assert!(matches!(checked(&back), Err(Violation::OutOfOrder(_))));
    let skipped = [reply(1), watching(Watch::Persistent, "/a"), told(3)];
    let missed = history()[2].clone();
    assert_eq!(checked(&skipped), Err(Violation::Skipped { told: history()[3].clone(), missed }));
    assert_eq!(check(&history(), &skipped, true), Ok(()), "merged");
}

#[test]
fn what_came_and_went_while_away_is_not_told() {
    let mut seen = vec![watching(Watch::Exist, "/a"), Seen::Connected, reply(4), reply(4)];
    assert_eq!(checked(&seen), Ok(()));
    seen[2] = reply(3);
    assert!(matches!(checked(&seen), Err(Violation::Overtaken { .. })), "it was there");
    seen.remove(1);
    assert!(matches!(checked(&seen), Err(Violation::Overtaken { .. })), "it was not away");
}

#[test]
fn reconnecting_makes_up_for_what_was_missed() {
    let caught_up = Seen::Event(change(-1, NodeDeleted, "/a"));
    let one_shot = [reply(1), watching(Watch::Data, "/a"), Seen::Connected, caught_up.clone(), reply(4)];
    assert_eq!(checked(&one_shot), Ok(()));
    let lost = [reply(1), watching(Watch::Data, "/a"), Seen::Connected, reply(4)];
    assert!(matches!(checked(&lost), Err(Violation::Overtaken { .. })));
    let unasked = [reply(1), watching(Watch::Data, "/a"), caught_up];
    assert!(matches!(checked(&unasked), Err(Violation::Unasked(_))));
    let persistent = [
        reply(1),
        watching(Watch::Persistent, "/a"),
        told(2),
        Seen::Connected,
        told(2),
        told(3),
        told(4),
        reply(4),
    ];
    assert_eq!(checked(&persistent), Ok(()), "told again, as the server cannot know what arrived");
}

#[test]
fn changes_that_look_the_same_are_told_again_one_by_one() {
    let parent = || change(2, NodeChildrenChanged, "/");
    let history = [change(1, NodeChildrenChanged, "/"), parent(), parent()];
    let event = |change: Change| Seen::Event(change);
    let watching = || [reply(1), watching(Watch::Persistent, "/")];
    let again = [event(parent()), Seen::Connected, event(parent()), event(parent()), reply(2)];
    assert_eq!(check(&history, &[&watching()[..], &again].concat(), false), Ok(()));
    let lost = [event(parent()), reply(2)];
    let missed = Violation::Overtaken { reply: Zxid(2), missed: parent() };
    assert_eq!(check(&history, &[&watching()[..], &lost].concat(), false), Err(missed));
}

#[test]
fn the_event_of_a_tree_may_come_when_the_next_is_shown() {
    let summary = Seen::Event(change(3, NodeDataChanged, "/a"));
    let seen = [
        reply(1),
        watching(Watch::Data, "/a"),
        Seen::Replaced(Zxid(3)),
        Seen::Replaced(Zxid(4)),
        summary.clone(),
        reply(4),
    ];
    assert_eq!(checked(&seen), Ok(()));
    let unasked = [reply(1), Seen::Replaced(Zxid(3)), Seen::Replaced(Zxid(4)), summary];
    assert!(matches!(checked(&unasked), Err(Violation::Unasked(_))));
}
