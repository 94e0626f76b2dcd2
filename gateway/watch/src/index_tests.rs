use super::*;

fn slot(index: usize) -> Slot {
    Slot::new(index).unwrap()
}

fn fired(fire: impl FnOnce(&mut Vec<Fired>)) -> Vec<usize> {
    let mut fired = vec![Fired { slot: slot(99), one_shot: true }];
    fire(&mut fired);
    fired.into_iter().map(|fired| fired.slot.index()).collect()
}

#[test]
fn a_connections_watches_go_in_steps() {
    let mut index = WatchIndex::default();
    for i in 0..10 {
        (0..2).for_each(|who| index.add_persistent(slot(who), &format!("/{i}")));
    }
    let steps: Vec<_> = (0..4).map(|_| (index.remove_some(slot(0), 4), index.count_of(slot(0)))).collect();
    assert_eq!(steps, [(true, 12), (true, 4), (false, 0), (false, 0)]);
    assert_eq!(index.count_of(slot(1)), 20);
}

#[test]
fn connections_are_counted_together() {
    let (mut index, together) = (WatchIndex::default(), Arc::<AtomicUsize>::default());
    (0..2).for_each(|who| index.count_together(slot(who), Arc::clone(&together)));
    for who in 0..3 {
        index.add_persistent(slot(who), "/a");
        index.add_data(slot(who), "/b");
    }
    let counts = |index: &WatchIndex| [0, 1, 2].map(|who| index.count_of_all_with(slot(who)));
    assert_eq!(counts(&index), [6, 6, 3]);
    index.fire(EventType::NodeDataChanged, "/b", &mut Vec::new());
    assert_eq!(counts(&index), [4, 4, 2]);
    index.remove(slot(0), "/a", WatchKind::Data).unwrap_err();
    index.remove(slot(0), "/a", WatchKind::Any).unwrap();
    assert_eq!(counts(&index), [2, 2, 2]);
    index.remove_slot(slot(1));
    assert_eq!(
        (counts(&index), Arc::strong_count(&together)),
        ([0, 0, 2], 2),
        "who has ended is not counted"
    );
}

#[test]
fn one_shot_watches_fire_once() {
    let mut index = WatchIndex::default();
    index.add_data(slot(1), "/a");
    index.add_data(slot(1), "/a");
    index.add_data(slot(2), "/a");
    assert_eq!(fired(|f| index.fire(EventType::NodeDataChanged, "/b", f)), []);
    assert_eq!(fired(|f| index.fire(EventType::NodeDataChanged, "/a", f)), [1, 2]);
    assert_eq!(fired(|f| index.fire(EventType::NodeDataChanged, "/a", f)), []);
    assert_eq!(index.summary(), WatchSummary::default());
}

#[test]
fn deletion_reaches_both_tables_but_each_connection_once() {
    let mut index = WatchIndex::default();
    index.add_data(slot(1), "/a");
    index.add_child(slot(1), "/a");
    index.add_child(slot(2), "/a");
    assert_eq!(fired(|f| index.fire(EventType::NodeDeleted, "/a", f)), [1, 2]);
    assert_eq!(index.len(), 0);
}

#[test]
fn data_and_children_are_apart() {
    let mut index = WatchIndex::default();
    index.add_data(slot(1), "/a");
    index.add_child(slot(2), "/a");
    assert_eq!(fired(|f| index.fire(EventType::NodeChildrenChanged, "/a", f)), [2]);
    assert_eq!(fired(|f| index.fire(EventType::NodeDataChanged, "/a", f)), [1]);
}

#[test]
fn persistent_watches_stay_and_cover_one_path() {
    let mut index = WatchIndex::default();
    index.add_persistent(slot(1), "/a");
    for _ in 0..2 {
        assert_eq!(fired(|f| index.fire(EventType::NodeDataChanged, "/a", f)), [1]);
        assert_eq!(fired(|f| index.fire(EventType::NodeChildrenChanged, "/a", f)), [1]);
        assert_eq!(fired(|f| index.fire(EventType::NodeDeleted, "/a", f)), [1]);
        assert_eq!(fired(|f| index.fire(EventType::NodeDataChanged, "/a/b", f)), []);
    }
}

#[test]
fn recursive_watches_cover_descendants_without_their_lists() {
    let mut index = WatchIndex::default();
    index.add_recursive(slot(1), "/a");
    index.add_recursive(slot(2), "/");
    index.add_recursive(slot(1), "/");
    for path in ["/a", "/a/b", "/a/b/c"] {
        assert_eq!(fired(|f| index.fire(EventType::NodeDataChanged, path, f)), [1, 2], "{path}");
        assert_eq!(fired(|f| index.fire(EventType::NodeDeleted, path, f)), [1, 2], "{path}");
        assert_eq!(fired(|f| index.fire(EventType::NodeChildrenChanged, path, f)), [], "{path}");
    }
    assert_eq!(fired(|f| index.fire(EventType::NodeDataChanged, "/ab", f)), [1, 2]);
    index.remove(slot(1), "/", WatchKind::Recursive).unwrap();
    assert_eq!(fired(|f| index.fire(EventType::NodeDataChanged, "/ab", f)), [2]);
}

#[test]
fn several_modes_on_one_path_are_one_event() {
    let mut index = WatchIndex::default();
    index.add_data(slot(1), "/a");
    index.add_persistent(slot(1), "/a");
    index.add_recursive(slot(1), "/a");
    index.add_recursive(slot(1), "/");
    assert_eq!(fired(|f| index.fire(EventType::NodeDataChanged, "/a", f)), [1]);
    assert_eq!(index.check(slot(1), "/a", WatchKind::Data), Err(ErrorCode::NO_WATCHER));
    assert_eq!(index.check(slot(1), "/a", WatchKind::Persistent), Ok(()));
}

/// ZOOKEEPER-4471: a kind names its own mode only.
#[test]
fn removal_is_by_kind() {
    let none = Err(ErrorCode::NO_WATCHER);
    let mut index = WatchIndex::default();
    index.add_data(slot(1), "/a");
    index.add_child(slot(1), "/a");
    index.add_persistent(slot(1), "/a");
    index.add_recursive(slot(1), "/a");
    assert_eq!(index.remove(slot(2), "/a", WatchKind::Any), none);
    assert_eq!(index.remove(slot(1), "/b", WatchKind::Any), none);
    for kind in [WatchKind::Data, WatchKind::Children, WatchKind::Persistent, WatchKind::Recursive] {
        assert_eq!(index.check(slot(1), "/a", kind), Ok(()));
        assert_eq!(index.remove(slot(1), "/a", kind), Ok(()));
        assert_eq!(index.check(slot(1), "/a", kind), none);
        assert_eq!(index.remove(slot(1), "/a", kind), none);
    }
    assert_eq!(index.check(slot(1), "/a", WatchKind::Any), none);
    index.add_child(slot(1), "/a");
    assert_eq!(index.remove(slot(1), "/a", WatchKind::Any), Ok(()));
    assert_eq!(index.len(), 0);
}

#[test]
fn a_connection_that_ends_leaves_nothing() {
    let mut index = WatchIndex::default();
    for i in 0..100 {
        let path = format!("/a/{i}");
        index.add_data(slot(i % 3), &path);
        index.add_recursive(slot(1), &path);
        index.add_child(slot(1), &path);
    }
    index.remove_slot(slot(0));
    index.remove_slot(slot(1));
    assert_eq!(index.summary(), WatchSummary { connections: 1, paths: 33, watches: 33 });
    index.remove_slot(slot(2));
    index.remove_slot(slot(7));
    assert_eq!(index.len(), 0);
    index.add_data(slot(0), "/a/1");
    assert_eq!(fired(|f| index.fire(EventType::NodeDataChanged, "/a/1", f)), [0]);
}

#[test]
fn kinds_are_numbered_as_in_the_protocol() {
    let kinds =
        [WatchKind::Children, WatchKind::Data, WatchKind::Any, WatchKind::Persistent, WatchKind::Recursive];
    for (i, kind) in kinds.into_iter().enumerate() {
        assert_eq!(WatchKind::from_i32(i as i32 + 1), Ok(kind));
    }
    assert!(WatchKind::from_i32(0).is_err());
    assert!(WatchKind::from_i32(6).is_err());
}

#[test]
fn dumps_list_the_data_table() {
    let mut index = WatchIndex::default();
    index.add_data(slot(4), "/b");
    index.add_persistent(slot(3), "/b");
    index.add_child(slot(3), "/c");
    index.add_data(slot(4), "/d");
    let both = [("/b".to_owned(), vec![slot(3), slot(4)]), ("/d".to_owned(), vec![slot(4)])];
    assert_eq!(index.paths_from(0, 100), (both.to_vec(), None));
    let (first, next) = index.paths_from(0, 1);
    assert_eq!((&first[..], index.paths_from(next.unwrap(), 2)), (&both[..1], (both[1..].to_vec(), None)));
    assert_eq!(
        [0, 3, 4, 5].map(|from| index.watcher_from(from)),
        [Some(slot(3)), Some(slot(3)), Some(slot(4)), None]
    );
    assert_eq!(index.paths_of(slot(4), 0, 100), (vec!["/b".to_owned(), "/d".to_owned()], None));
    let (first, next) = index.paths_of(slot(4), 0, 1);
    assert_eq!(
        (first, index.paths_of(slot(4), next.unwrap(), 1)),
        (vec!["/b".to_owned()], (vec!["/d".to_owned()], None))
    );
    assert_eq!(index.paths_of(slot(3), 0, 100), (vec!["/b".to_owned()], None));
}

/// The index, as plainly as it can be written down.
#[derive(Default)]
struct Model {
    watches: std::collections::BTreeSet<(usize, String, &'static str)>,
}

impl Model {
    fn fire(&mut self, path: &str, tables: &[[&'static str; 3]]) -> Vec<usize> {
        let hit = |(_, watched, kind): &(usize, String, &'static str)| {
            let below =
                watched == "/" || path.strip_prefix(watched.as_str()).is_some_and(|r| r.starts_with('/'));
            let exact = watched == path && tables.iter().any(|kinds| kinds.contains(kind));
            exact || (below && *kind == "recursive" && tables.iter().any(|kinds| kinds.contains(kind)))
        };
        let mut slots: Vec<_> = self.watches.iter().filter(|w| hit(w)).map(|w| w.0).collect();
        slots.dedup();
        self.watches.retain(|w| !(hit(w) && w.1 == path && matches!(w.2, "data" | "child")));
        slots
    }
}

#[test]
fn it_agrees_with_a_plain_model() {
    const DATA: [&str; 3] = ["data", "persistent", "recursive"];
    const CHILD: [&str; 3] = ["child", "persistent", "persistent"];
    const PATHS: [&str; 6] = ["/", "/a", "/a/b", "/a/b/c", "/ab", "/d"];
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 33) as usize % below
    };
    let (mut index, mut model) = (WatchIndex::default(), Model::default());
    for step in 0..20_000 {
        let (who, path) = (random(20), PATHS[random(PATHS.len())]);
        let mut add = |kind| {
            model.watches.insert((who, path.to_owned(), kind));
        };
        match random(12) {
            0 | 1 => {
                add("data");
                index.add_data(slot(who), path);
            }
            2 | 3 => {
                add("child");
                index.add_child(slot(who), path);
            }
            4 => {
                add("persistent");
                index.add_persistent(slot(who), path);
            }
            5 => {
                add("recursive");
                index.add_recursive(slot(who), path);
            }
            6 => assert_eq!(
                fired(|f| index.fire(EventType::NodeDataChanged, path, f)),
                model.fire(path, &[DATA]),
                "{step}"
            ),
            7 => assert_eq!(
                fired(|f| index.fire(EventType::NodeChildrenChanged, path, f)),
                model.fire(path, &[CHILD]),
                "{step}"
            ),
            8 => assert_eq!(
                fired(|f| index.fire(EventType::NodeDeleted, path, f)),
                model.fire(path, &[DATA, CHILD]),
                "{step}"
            ),
            9 => {
                let kinds =
                    [WatchKind::Data, WatchKind::Children, WatchKind::Persistent, WatchKind::Recursive];
                let at = random(kinds.len());
                let name = ["data", "child", "persistent", "recursive"][at];
                let removed = model.watches.remove(&(who, path.to_owned(), name));
                assert_eq!(index.remove(slot(who), path, kinds[at]).is_ok(), removed, "{step}");
            }
            10 => {
                let had = model.watches.iter().any(|w| w.0 == who && w.1 == path);
                assert_eq!(index.check(slot(who), path, WatchKind::Any).is_ok(), had, "{step}");
            }
            _ => {
                model.watches.retain(|w| w.0 != who);
                index.remove_slot(slot(who));
            }
        }
    }
    (0..20).for_each(|who| index.remove_slot(slot(who)));
    assert_eq!(index.len(), 0);
}

#[test]
fn it_tells_whether_a_watch_was_used_up() {
    let mut index = WatchIndex::default();
    index.add_data(slot(1), "/a");
    index.add_recursive(slot(1), "/");
    index.add_persistent(slot(2), "/a");
    let mut fired = Vec::new();
    for one_shot in [true, false] {
        index.fire(EventType::NodeDataChanged, "/a", &mut fired);
        let expected = [Fired { slot: slot(1), one_shot }, Fired { slot: slot(2), one_shot: false }];
        assert_eq!(fired, expected);
    }
    assert!(index.hears_lastingly(slot(1), EventType::NodeDeleted, "/a/b"));
    assert!(!index.hears_lastingly(slot(1), EventType::NodeChildrenChanged, "/a"));
    assert!(index.hears_lastingly(slot(2), EventType::NodeChildrenChanged, "/a"));
    assert!(!index.hears_lastingly(slot(2), EventType::NodeDataChanged, "/a/b"));
}

#[test]
fn limits_are_told_apart() {
    use WatchKind::{Children, Data, Persistent, Recursive};
    let mut index = WatchIndex::default();
    let limits = WatchLimits { connection: 2, total: 3 };
    let room =
        |index: &WatchIndex, number, path, kind| index.has_room(slot(number), path, kind, &limits).err();
    assert_eq!(room(&index, 1, "/a", Persistent), None);
    index.add_persistent(slot(1), "/a");
    for kind in [Data, Children, Persistent, Recursive] {
        let (own, all) = (Some(TooMany::OfConnection), Some(TooMany::OfAll));
        let is_two = kind == Persistent;
        assert_eq!(room(&index, 1, "/b", kind), own);
        assert_eq!(room(&index, 2, "/b", kind), all.filter(|_| is_two));
        assert_eq!(room(&index, 1, "/a", kind), None, "it adds nothing");
    }
    index.add_data(slot(2), "/b");
    assert_eq!(room(&index, 2, "/b", Recursive), None);
    assert_eq!(room(&index, 2, "/b", Children), Some(TooMany::OfAll));
    // However few there may be now.
    assert_eq!(index.has_room(slot(2), "/b", Data, &WatchLimits { connection: 0, total: 0 }), Ok(()));
}

#[test]
fn what_is_covered_is_heard_lastingly_and_counts_as_nothing() {
    let mut index = WatchIndex::default();
    index.add_data(slot(1), "/a/b");
    for path in ["/a/b", "/a/c"] {
        index.cover(slot(1), path, true);
    }
    assert_eq!((index.len(), index.recursive_paths()), (1, vec!["/a".to_owned()]));
    let version = index.version();
    let mut told = Vec::new();
    for one_shot in [true, false] {
        index.fire(EventType::NodeDataChanged, "/a/b", &mut told);
        assert_eq!(told, [Fired { slot: slot(1), one_shot }]);
    }
    assert_eq!(fired(|f| index.fire(EventType::NodeChildrenChanged, "/a/c", f)), [1]);
    assert_eq!(fired(|f| index.fire(EventType::NodeCreated, "/b", f)), []);
    assert!(index.hears_lastingly(slot(1), EventType::NodeDeleted, "/a/c"));
    for kind in [WatchKind::Persistent, WatchKind::Any] {
        assert_eq!([index.check(slot(1), "/a/c", kind), index.remove(slot(1), "/a/c", kind)], [Ok(()); 2]);
    }
    assert_eq!(index.check(slot(1), "/a/c", WatchKind::Data), Err(ErrorCode::NO_WATCHER));
    assert_eq!(index.check(slot(1), "/b", WatchKind::Persistent), Err(ErrorCode::NO_WATCHER));
    index.remove_slot(slot(1));
    assert!(index.is_empty() && index.version() > version);
    assert_eq!(fired(|f| index.fire(EventType::NodeDataChanged, "/a/b", f)), []);
}

/// Paths that no znode can have are watched all the same, and fire nothing.
#[test]
fn odd_paths_are_kept_apart() {
    let mut index = WatchIndex::default();
    for path in ["", "/", "a", "//", "/a/", "/a//b"] {
        index.add_recursive(slot(1), path);
        assert_eq!(index.check(slot(1), path, WatchKind::Recursive), Ok(()));
    }
    assert_eq!(index.summary().paths, 6);
    assert_eq!(fired(|f| index.fire(EventType::NodeCreated, "/z", f)), [1]);
    assert_eq!(index.remove(slot(1), "/", WatchKind::Any), Ok(()));
    assert_eq!(fired(|f| index.fire(EventType::NodeCreated, "/z", f)), []);
    index.remove_slot(slot(1));
    assert!(index.is_empty());
}

#[test]
fn watched_paths_are_told_in_parts_with_their_watchers() {
    let mut index = WatchIndex::default();
    let slots: Vec<Slot> = (0..20).map(|n| Slot::new(n).unwrap()).collect();
    for (n, path) in ["/a", "/b", "/c"].into_iter().enumerate() {
        slots.iter().take(1 + 8 * n).for_each(|slot| index.add_data(*slot, path));
    }
    let (mut told, mut from) = (Vec::new(), Some(0));
    while let Some(start) = from {
        from = index.watched_from(start, 2, |path, count| told.push((path.to_owned(), count)));
    }
    told.sort_unstable();
    assert_eq!(told, [("/a".to_owned(), 1), ("/b".to_owned(), 9), ("/c".to_owned(), 17)]);
}
