use palisade_wire::reply::EventType;
use palisade_wire::{Id, Perms, Zxid};

use super::*;
use crate::pacer::Pacing;

const OPEN: Hearers<'_> = Hearers { acl: None, version: 1, merge_above: None };

fn slots(indices: &[usize]) -> Vec<Slot> {
    indices.iter().filter_map(|index| Slot::new(*index)).collect()
}

fn told(place: u64) -> Told {
    (place, Event::new(Zxid(place as i64), EventType::NodeDataChanged, "/a"))
}

fn taken(share: Share) -> Vec<u64> {
    let mut places = Vec::new();
    share.take(|(place, _)| places.push(*place));
    places
}

fn places(changes: &Changes) -> Vec<u64> {
    changes.state.lock().log.iter().map(|entry| entry.told.0).collect()
}

#[test]
fn everybody_gets_what_came_since_and_joins_again() {
    let changes = Herds::default().share("/a", &OPEN, 3, true);
    let all = slots(&[1, 2, 3]);
    assert_eq!(changes.add(told(1), all.iter().copied()), Added { sharing: 0, others: all.clone() });
    let mut shares: Vec<_> = all.iter().map(|slot| changes.join(*slot)).collect();
    assert_eq!(changes.add_again(told(2)), Added { sharing: 3, others: vec![] });
    assert_eq!(taken(shares.remove(0)), [1, 2]);
    assert_eq!(changes.add_again(told(3)), Added { sharing: 2, others: slots(&[1]) });
    shares.push(changes.join(all[0]));
    drop(shares.remove(0));
    let added = changes.add(told(4), all[1..].iter().copied());
    assert_eq!(added, Added { sharing: 2, others: slots(&[2]) }, "one of these hears no more");
    assert_eq!(shares.into_iter().map(taken).collect::<Vec<_>>(), [vec![1, 2, 3, 4], vec![3, 4]]);
}

#[test]
fn nothing_is_kept_that_nobody_waits_for() {
    let changes = Herds::default().share("/a", &OPEN, 2, true);
    let two = slots(&[1, 2]);
    changes.add(told(1), two.iter().copied());
    let mut shares: VecDeque<_> = two.iter().map(|slot| changes.join(*slot)).collect();
    for place in 2..1_000 {
        assert_eq!(taken(shares.pop_front().unwrap()).len(), if place == 2 { 1 } else { 2 });
        let next = changes.add_again(told(place)).others;
        shares.extend(next.into_iter().map(|slot| changes.join(slot)));
        assert!(places(&changes).len() <= 2, "{:?}", places(&changes));
    }
}

#[test]
fn merged_changes_are_one() {
    let changes = Herds::default().share("/a", &Hearers { merge_above: Some(1), ..OPEN }, 2, true);
    let two = slots(&[1, 2]);
    changes.add(told(1), two.iter().copied());
    let mut shares: Vec<_> = two.iter().map(|slot| changes.join(*slot)).collect();
    changes.add_again(told(2));
    assert_eq!(taken(shares.remove(0)), [2]);
    assert_eq!(changes.add_again(told(3)), Added { sharing: 1, others: slots(&[1]) });
    shares.push(changes.join(two[0]));
    assert_eq!(places(&changes), [3]);
    assert_eq!(shares.into_iter().map(taken).collect::<Vec<_>>(), [[3], [3]]);
}

#[test]
fn what_few_hear_is_not_merged() {
    let mut herds = Herds::default();
    let hearers = Hearers { merge_above: Some(5), ..OPEN };
    let few = herds.share("/a", &hearers, 5, true);
    let many = herds.share("/a", &hearers, 6, true);
    assert_eq!((few.merges(), many.merges()), (false, true));
    assert_eq!(herds.known("/a", &hearers).map(|(_, size)| size), Some(6));
    let held = Pacing { above: 5, merge: true, ..Pacing::default() };
    assert_eq!([held, Pacing { rate: 0, ..held }].map(|pacing| pacing.merge_above()), [Some(5), None]);
}

#[test]
fn a_herd_is_known_until_anything_about_it_changes() {
    let acl = [Acl { perms: Perms::READ, id: Id::new("digest", "me") }];
    let mut herds = Herds::default();
    let changes = herds.share("/a", &OPEN, 5, true);
    let known = |herds: &Herds, hearers: Hearers<'_>| herds.known("/a", &hearers).map(|(_, size)| size);
    assert_eq!(known(&herds, OPEN), Some(5));
    for other in [
        Hearers { version: 2, ..OPEN },
        Hearers { acl: Some(&acl), ..OPEN },
        Hearers { merge_above: Some(1), ..OPEN },
    ] {
        assert_eq!(known(&herds, other), None);
    }
    assert!(Arc::ptr_eq(&changes, &herds.share("/a", &Hearers { version: 2, ..OPEN }, 6, false)));
    assert_eq!(known(&herds, Hearers { version: 2, ..OPEN }), None, "others hear, too");
    let guarded = herds.share("/a", &Hearers { acl: Some(&acl), ..OPEN }, 5, true);
    assert!(!Arc::ptr_eq(&changes, &guarded));
    assert_eq!(known(&herds, OPEN), None);
    herds.forget("/a");
    assert!(!Arc::ptr_eq(&guarded, &herds.share("/a", &Hearers { acl: Some(&acl), ..OPEN }, 5, true)));
}

#[test]
fn not_every_path_is_remembered() {
    let mut herds = Herds::default();
    let path = |i: usize| format!("/{i}");
    for i in 0..2 * PATHS {
        herds.share(&path(i), &OPEN, 1, true);
        herds.forget("/5");
    }
    assert_eq!((herds.by_path.len(), herds.paths.len()), (PATHS, PATHS));
    assert!(herds.known(&path(PATHS - 1), &OPEN).is_none() && herds.known(&path(PATHS), &OPEN).is_some());
}

#[test]
fn of_large_herds_fewer_are_remembered() {
    const SIZE: usize = 10_000;
    let mut herds = Herds::default();
    let path = |i: usize| format!("/{i}");
    for i in 0..2 * WATCHERS / SIZE {
        herds.share(&path(i), &OPEN, 1, true);
        herds.share(&path(i), &OPEN, SIZE, true);
        herds.forget(&path(0));
    }
    assert_eq!((herds.by_path.len(), herds.watchers), (WATCHERS / SIZE, WATCHERS));
    herds.share("/more", &OPEN, 3 * WATCHERS, true);
    assert_eq!((herds.by_path.len(), herds.watchers), (1, 3 * WATCHERS));
    herds.forget("/more");
    assert_eq!((herds.paths.len(), herds.watchers), (0, 0));
}
