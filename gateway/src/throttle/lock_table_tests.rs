use super::*;

const AT_ONCE: Duration = Duration::from_millis(10);
const LONG: Duration = Duration::from_secs(6);

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn hold(table: &mut LockTable, parent: &str, lived: Duration, now: Instant) {
    table.let_in(parent, now);
    assert!(table.acquired(parent, now));
    table.released(parent, lived, now);
}

#[test]
fn many_short_holds_of_many_parents_are_fine_grained() {
    let (mut table, now) = (LockTable::default(), Instant::now());
    for n in 0..60 {
        let parent = format!("/orders/{n}");
        assert!(table.fine_grained_at(&parent, now).is_none() || n >= 50, "too early: {n}");
        hold(&mut table, &parent, AT_ONCE, now);
    }
    let after = |n| now + seconds(n);
    assert_eq!(table.fine_grained_at("/orders/60", after(1)), Some("/orders"));
    assert_eq!([1, 60].map(|n| table.fine_grained(after(n))), [1, 0]);
    for (path, at, why) in [
        ("/orders/1", 1, "known already"),
        ("/services/1", 1, "another path"),
        ("/orders/60", 60, "long ago"),
    ] {
        assert_eq!(table.fine_grained_at(path, after(at)), None, "{why}");
    }
    assert_eq!(table.parents_made_at("/orders/60", after(1)), Some("/orders"));
    table.made("/orders/60", after(1));
    assert_eq!(table.fine_grained_at("/orders/60", after(1)), None, "let in already");
}

#[test]
fn what_is_made_beside_a_few_locks_is_no_parent_for_more() {
    let (mut table, now) = (LockTable::default(), Instant::now());
    for n in 0..100 {
        hold(&mut table, &format!("/orders/{n}"), AT_ONCE, now);
    }
    let taken_for_parents = |table: &mut LockTable, names: std::ops::Range<u32>, now| {
        let made = names.map(|n| format!("/orders/{n}"));
        made.filter(|path| {
            let is_parent = table.parents_made_at(path, now).is_some();
            table.made(path, now);
            is_parent
        })
        .count()
    };
    assert_eq!(taken_for_parents(&mut table, 1_000..3_000, now), 50);
    assert_eq!(
        table.fine_grained_at("/orders/2999", now),
        Some("/orders"),
        "but a lock below it is one more"
    );
    for n in 1_000..1_040 {
        hold(&mut table, &format!("/orders/{n}"), AT_ONCE, now);
    }
    assert_eq!(taken_for_parents(&mut table, 3_000..4_000, now), 40, "as there were locks below so many");
}

#[test]
fn parents_that_differ_further_up_are_fine_grained_too() {
    type Layout = fn(usize) -> String;
    let layouts: [(&str, Layout); 4] = [
        ("/orders", |n| format!("/orders/{n}/leases")),
        ("/orders", |n| format!("/orders/c{}/{n}/lock", n % 500)),
        ("/locks", |n| format!("/locks/{:02x}/{:02x}/{n}", n % 251, n % 241)),
        ("/app/locks/orders", |n| format!("/app/locks/orders/{n}/locks")),
    ];
    for (expected, layout) in layouts {
        let (mut table, now) = (LockTable::default(), Instant::now());
        for n in 0..1_000 {
            hold(&mut table, &layout(n), AT_ONCE, now);
        }
        let new = layout(100_003);
        assert_eq!(table.fine_grained_at(&new, now), Some(expected), "{new}");
        let busiest = &table.busiest(1, now)[0];
        assert!(busiest.prefix == expected && busiest.fine_grained, "{busiest:?}");
        for innocent in ["/masters/a", "/app/masters/a", "/app/locks/masters", "/app/leader", "/leader"] {
            assert_eq!(table.short_at(innocent, now), None, "{new} makes {innocent} suspicious");
        }
    }
}

#[test]
fn short_holds_below_the_same_parents_are_told_from_elections_that_last() {
    let (mut table, now) = (LockTable::default(), Instant::now());
    for n in 0..60 {
        hold(&mut table, &format!("/rows/{}", n % 3), AT_ONCE, now);
        hold(&mut table, "/masters/a", LONG, now);
    }
    let short = ["/rows/1", "/rows/new", "/masters/a"].map(|parent| table.short_at(parent, now));
    assert_eq!(short, [Some("/rows"), Some("/rows"), None]);
    assert_eq!(table.fine_grained_at("/rows/new", now), None);
}

#[test]
fn a_lock_that_is_held_for_long_is_none_of_the_short_ones_beside_it() {
    let (mut table, now) = (LockTable::default(), Instant::now());
    for n in 0..60 {
        hold(&mut table, &format!("/locks/{n}"), AT_ONCE, now);
    }
    assert_eq!(table.short_at("/locks/leader", now), Some("/locks"));
    hold(&mut table, "/locks/leader", LONG, now);
    for _ in 0..TRUST {
        assert_eq!(table.short_at("/locks/leader", now), None, "some who gave up");
        hold(&mut table, "/locks/leader", AT_ONCE, now);
    }
    assert_eq!(table.short_at("/locks/leader", now), Some("/locks"));
}

#[test]
fn a_few_busy_locks_say_nothing_of_what_else_their_application_has() {
    let (mut table, now) = (LockTable::default(), Instant::now());
    for n in 0..500 {
        for parent in ["/app/locks/nightly", "/app/rw/table", "/app/leases/pool", "/app/election/leader"] {
            hold(&mut table, parent, AT_ONCE, now);
        }
        hold(&mut table, &format!("/app/jobs/job-{}", n % 10), AT_ONCE, now);
    }
    for innocent in ["/app/services/a", "/app/shards/7/election"] {
        assert_eq!(table.short_at(innocent, now), None, "{innocent}");
        assert_eq!(table.parents_made_at(innocent, now), None, "{innocent}");
    }
}

#[test]
fn members_that_stay_are_told_from_the_short_locks_around_them() {
    let (mut table, now) = (LockTable::default(), Instant::now());
    for n in 0..1_000 {
        hold(&mut table, &format!("/app/job-{}/lock", n % 100), AT_ONCE, now);
    }
    assert_eq!(table.short_at("/app/services/0", now), Some("/app"), "as nothing is known of them");
    let limited = (0..5_000).filter(|n| {
        let parent = format!("/app/services/{}", n % 200);
        let is_limited = table.short_at(&parent, now).or(table.fine_grained_at(&parent, now)).is_some();
        table.let_in(&parent, now);
        table.acquired(&parent, now);
        is_limited
    });
    assert!(limited.count() <= 20);
    for n in 0..60 {
        hold(&mut table, &format!("/app/services/{n}"), AT_ONCE, now + seconds(120));
    }
    assert_eq!(table.short_at("/app/services/0", now + seconds(120)), Some("/app/services"));
}

#[test]
fn refusals_are_told() {
    let (mut table, now) = (LockTable::default(), Instant::now());
    hold(&mut table, "/orders/1", AT_ONCE, now);
    (0..30).for_each(|_| table.refused("/orders/2", now));
    assert!(table.busiest(1, now)[0].refused_per_s > 0.5);
    let known = ["/orders/1", "/orders/1/lock-7", "/orders/2", "/orders"].map(|path| table.parent_of(path));
    assert_eq!(known, [Some("/orders/1"), Some("/orders/1"), None, None]);
}

#[test]
fn registrations_and_coarse_locks_are_not() {
    let (mut table, now) = (LockTable::default(), Instant::now());
    for n in 0..1_000 {
        hold(&mut table, &format!("/services/{n}"), LONG, now);
    }
    assert_eq!(
        (table.fine_grained_at("/services/new", now), table.short_at("/services/1", now)),
        (None, None)
    );
    for _ in 0..400 {
        hold(&mut table, "/leader", AT_ONCE, now);
    }
    assert_eq!(table.fine_grained_at("/other", now), None);
}

#[test]
fn queues_are_those_who_hold_and_wait() {
    let (mut table, now) = (LockTable::default(), Instant::now());
    assert!(!table.acquired("/members", now), "an ephemeral that nobody here asked for");
    for parent in ["/l/a", "/l/a", "/l/a", "/l/b", "/l/b"] {
        table.let_in(parent, now);
        table.acquired(parent, now);
    }
    table.let_in("/l/a", now);
    table.released("/l/b", LONG, now);
    assert_eq!(table.longest_queues(5), [("/l/a".to_owned(), 3)]);
    table.forget_queues();
    assert_eq!(table.longest_queues(5), []);
}

#[test]
fn the_busiest_come_first() {
    let (mut table, now) = (LockTable::default(), Instant::now());
    hold(&mut table, "/seldom/a", AT_ONCE, now);
    for n in 0..30 {
        hold(&mut table, &format!("/often/{}", n % 10), AT_ONCE, now);
    }
    let uses = table.busiest(10, now);
    assert_eq!(uses.iter().map(|u| u.prefix.as_str()).collect::<Vec<_>>(), ["/often", "/seldom"]);
    assert!(uses[0].acquired_per_s > 2.9 * uses[0].new_parents_per_s);
    assert_eq!(table.busiest(1, now).len(), 1);
}

#[test]
fn memory_is_bounded() {
    let (mut table, now) = (LockTable::default(), Instant::now());
    for n in 0..60_000 {
        hold(&mut table, &format!("/{}/{n}", n % 5_000), LONG, now);
    }
    assert_eq!((table.parents.len(), table.prefixes.len()), (50_000, 4_096));
    for n in 0..60 {
        hold(&mut table, &format!("/{}/{n}", "ö".repeat(100_000)), AT_ONCE, now);
    }
    let longest = table.parents.iter().map(|(path, _)| path.len()).max();
    assert_eq!(longest, Some(MAX_PATH - 1), "between two characters");
    assert!(table.longest_queues(1).is_empty());
}
