use palisade_store::Usage;
use palisade_wire::CreateMode;
use palisade_wire::multi::create_op;
use palisade_wire::request::Request;

use super::super::config::{self, Limit};
use super::super::limits::{Crowded, Place, Waiting, WatchCounts};
use super::*;

const MINUTE: Duration = Duration::from_secs(60);

const fn nothing() -> Limit {
    Limit::NONE
}

/// No limit but those that the test sets.
fn unlimited() -> config::Throttle {
    let off = Limit::NONE;
    config::Throttle {
        refusal: Refusal::Throttled,
        max_delay: MINUTE,
        writes: off,
        write_bytes: off,
        locks: off,
        short_locks: off,
        lock_parents: off,
        in_flight: off,
        sessions: off,
        connections: off,
        watches: off,
        znodes: off,
        bytes: off,
    }
}

fn throttle(config: config::Throttle) -> Arc<Throttle> {
    Throttle::new(config, Arc::default())
}

fn address(last: u8) -> IpAddr {
    [10, 0, 0, last].into()
}

fn enter(limits: &Throttle, last: u8) -> Result<Place, Crowded> {
    limits.enter(address(last), Waiting { since: &mut None, patience: MINUTE })
}

fn write() -> Work {
    Work::Create { path: "/app/x".into() }
}

fn check(gate: &mut Gate, work: &Work) -> Verdict {
    bring(gate, work, 0, &mut Progress::default(), MINUTE)
}

fn bring(
    gate: &mut Gate,
    work: &Work,
    in_flight: usize,
    progress: &mut Progress,
    patience: Duration,
) -> Verdict {
    gate.check(Brought { work, bytes: 100, in_flight, patience }, progress)
}

/// Takes a lock and gives it back at once, if it may.
fn held(limits: &Throttle, gate: &mut Gate, parent: &str) -> bool {
    let passes = check(gate, &Work::Lock { parent: parent.into() }) == Verdict::Pass;
    if passes {
        limits.acquired(parent, || true);
        limits.released(parent, Duration::from_millis(1), || true);
    }
    passes
}

fn passed(gate: &mut Gate, work: &Work, times: usize) -> usize {
    (0..times).filter(|_| check(gate, work) == Verdict::Pass).count()
}

#[test]
fn a_session_that_exceeds_its_limit_leaves_the_tenants_to_others() {
    let limit = Limit { mode: Mode::Refuse, tenant: 100, session: 2, ..nothing() };
    let limits = throttle(config::Throttle { writes: limit, ..unlimited() });
    let (mut greedy, mut modest) = (limits.gate(address(1), 7), limits.gate(address(1), 7));
    assert_eq!(passed(&mut greedy, &write(), 1_000), 2);
    assert_eq!(check(&mut greedy, &write()), Verdict::Refuse(Refusal::Throttled));
    assert_eq!(passed(&mut modest, &write(), 2), 2);
    assert_eq!(limits.metrics.palisade_throttle_refused.get(), 999);
    assert_eq!(limits.bites.lock().len(), 1);
}

#[test]
fn connections_of_an_address_share_its_limit() {
    let limit = Limit { mode: Mode::Refuse, address: 2, ..nothing() };
    let limits = throttle(config::Throttle { writes: limit, ..unlimited() });
    let mut two = [limits.gate(address(1), 7), limits.gate(address(1), 7)];
    assert_eq!(two.iter_mut().map(|gate| passed(gate, &write(), 10)).sum::<usize>(), 2);
    assert_eq!(passed(&mut limits.gate(address(2), 8), &write(), 10), 2);
}

#[test]
fn who_comes_back_at_once_finds_what_he_left_of_his_address() {
    let limit = Limit { mode: Mode::Refuse, address: 1, ..nothing() };
    let limits = throttle(config::Throttle { writes: limit, ..unlimited() });
    let in_turn = (0..10).map(|_| {
        limits.tidy();
        passed(&mut limits.gate(address(1), 7), &write(), 1)
    });
    assert!(in_turn.sum::<usize>() < 10, "one a second");
}

#[test]
fn what_only_reports_lets_pass() {
    let limit = Limit { mode: Mode::Report, tenant: 1, ..nothing() };
    let limits = throttle(config::Throttle { writes: limit, ..unlimited() });
    assert_eq!(passed(&mut limits.gate(address(1), 7), &write(), 10), 10);
    assert_eq!(limits.metrics.palisade_throttle_reported.get(), 9);
}

#[test]
fn a_delayed_request_waits_and_is_refused_when_its_session_cannot_wait_any_longer() {
    let limit = Limit { mode: Mode::Delay, session: 1, ..nothing() };
    let limits = throttle(config::Throttle { writes: limit, ..unlimited() });
    let mut gate = limits.gate(address(1), 7);
    assert_eq!(check(&mut gate, &write()), Verdict::Pass);
    let mut progress = Progress::default();
    assert!(matches!(bring(&mut gate, &write(), 0, &mut progress, MINUTE), Verdict::Wait(_)));
    assert!(matches!(bring(&mut gate, &write(), 0, &mut progress, MINUTE), Verdict::Wait(_)));
    assert_eq!(limits.metrics.palisade_throttle_delayed.get(), 1, "one request, however often it is brought");
    let verdict = bring(&mut gate, &write(), 0, &mut progress, Duration::ZERO);
    assert_eq!(verdict, Verdict::Refuse(Refusal::Throttled));
}

#[test]
fn what_was_taken_is_not_taken_again_while_another_limit_makes_wait() {
    let limit = Limit { mode: Mode::Delay, tenant: 1, session: 3, ..nothing() };
    let limits = throttle(config::Throttle { writes: limit, ..unlimited() });
    let mut gate = limits.gate(address(1), 7);
    assert_eq!(check(&mut gate, &write()), Verdict::Pass);
    let mut progress = Progress::default();
    for _ in 0..10 {
        bring(&mut gate, &write(), 0, &mut progress, MINUTE);
    }
    // One token of the session is left: the tenant's limit, not the session's, stops it.
    let mut other = Progress::default();
    bring(&mut gate, &write(), 0, &mut other, MINUTE);
    assert_eq!(limits.rates.read().stages[usize::from(other.stage)].scope, Scope::Tenant);
}

#[test]
fn bytes_are_counted() {
    let limit = Limit { mode: Mode::Refuse, tenant: 200, ..nothing() };
    let limits = throttle(config::Throttle { write_bytes: limit, ..unlimited() });
    assert_eq!(passed(&mut limits.gate(address(1), 7), &write(), 100), 2);
}

#[test]
fn only_new_parents_of_fine_grained_locks_are_limited_as_such() {
    let limit = Limit { mode: Mode::Refuse, tenant: 1, ..nothing() };
    let limits = throttle(config::Throttle { lock_parents: limit, ..unlimited() });
    let mut gate = limits.gate(address(1), 7);
    let lock = |parent: String| Work::Lock { parent: parent.into() };
    let taken = (0..100).filter(|n| held(&limits, &mut gate, &format!("/orders/{n}"))).count();
    assert!((51..80).contains(&taken), "50 to tell them by, and the limit's: {taken}");
    for work in [lock("/orders/1".into()), lock("/leader".into()), lock("/services/7".into()), write()] {
        assert_eq!(passed(&mut gate, &work, 100), 100, "{work:?}");
    }
    let same = config::Throttle { lock_parents: limit, ..unlimited() };
    limits.set(same.clone());
    assert!(!held(&limits, &mut gate, "/orders/more"), "what was used up of the same limits stays so");
    // Who makes the parent first meets the limit there, and not again with the lock.
    limits.set(unlimited());
    limits.set(same);
    let make = |gate: &mut Gate, path: &str| check(gate, &Work::Create { path: path.into() });
    assert_eq!(make(&mut gate, "/orders/next"), Verdict::Pass);
    assert!(matches!(make(&mut gate, "/orders/last"), Verdict::Refuse(_)));
    assert_eq!(passed(&mut gate, &lock("/orders/next".into()), 10), 10);
    let busiest = limits.busiest_locks(1);
    assert!(busiest[0].refused_per_s > 0.2, "{busiest:?}");
    assert!(busiest[0].prefix == "/orders" && busiest[0].fine_grained, "{busiest:?}");
}

#[test]
fn what_lets_go_is_never_limited() {
    let none = Limit { mode: Mode::Refuse, tenant: 1, address: 1, session: 1, prefix: 1 };
    let all = config::Throttle {
        writes: none,
        write_bytes: none,
        locks: none,
        short_locks: none,
        lock_parents: none,
        in_flight: none,
        znodes: none,
        bytes: none,
        ..unlimited()
    };
    let limits = throttle(all);
    limits.measured(Usage { znodes: 1_000, ephemerals: 0, bytes: 1_000 });
    let mut gate = limits.gate(address(1), 7);
    gate.occupy(1_000);
    assert!(matches!(check(&mut gate, &write()), Verdict::Refuse(_)));
    assert_eq!(passed(&mut gate, &Work::Free, 100), 100);
}

#[test]
fn unanswered_requests_are_counted_by_session_address_and_tenant() {
    let limit = |tenant, address, session| Limit { mode: Mode::Delay, tenant, address, session, prefix: 0 };
    // Of what is shared, as much as is left to others.
    for (limit, most) in [(limit(0, 0, 5), 5), (limit(0, 10, 0), 3), (limit(15, 0, 0), 4)] {
        let limits = throttle(config::Throttle { in_flight: limit, ..unlimited() });
        let seats = [1, 1, 2].map(|last| enter(&limits, last).unwrap());
        let [mut gate, mut neighbour, mut stranger] = [1, 1, 2].map(|last| limits.gate(address(last), 7));
        neighbour.occupy(4);
        stranger.occupy(3);
        let passes = |gate: &mut Gate, own| {
            bring(gate, &write(), own, &mut Progress::default(), MINUTE) == Verdict::Pass
        };
        let own = (0..).find(|own| !passes(&mut gate, *own)).unwrap();
        assert_eq!(own, most);
        gate.occupy(own);
        assert!(!passes(&mut gate, own));
        drop(neighbour);
        assert_eq!(passes(&mut gate, own), limit.session == 0);
        drop((gate, stranger, seats));
        assert_eq!(limits.presences.tenant.in_flight.load(Ordering::Relaxed), 0);
    }
}

#[test]
fn a_full_tenant_can_change_but_not_add() {
    let limit = |tenant| Limit { mode: Mode::Refuse, tenant, ..nothing() };
    let limits = throttle(config::Throttle { znodes: limit(100), bytes: limit(10_000), ..unlimited() });
    let mut gate = limits.gate(address(1), 7);
    let set = Work::Set { parent: "/app".into() };
    let lock = Work::Lock { parent: "/app".into() };
    let passes =
        |gate: &mut Gate| [write(), lock.clone(), set.clone()].map(|work| passed(gate, &work, 1) == 1);
    assert_eq!(passes(&mut gate), [true, true, true]);
    limits.measured(Usage { znodes: 99, ephemerals: 0, bytes: 9_999 });
    assert!(limits.is_nearly_full());
    assert_eq!(passes(&mut gate), [true, true, true]);
    limits.measured(Usage { znodes: 100, ephemerals: 0, bytes: 9_999 });
    assert_eq!(passes(&mut gate), [false, false, true]);
    limits.measured(Usage { znodes: 50, ephemerals: 0, bytes: 10_000 });
    assert_eq!(passes(&mut gate), [false, false, false]);
    assert_eq!(limits.metrics.palisade_limit_bytes.get(), 3);
}

#[test]
fn places_are_limited_by_address_and_altogether_and_given_back() {
    let limit = Limit { mode: Mode::Refuse, tenant: 3, address: 2, ..nothing() };
    let limits = throttle(config::Throttle { connections: limit, ..unlimited() });
    let mut places: Vec<_> = [1, 1, 2].map(|last| enter(&limits, last).unwrap()).into();
    assert!(enter(&limits, 1).is_err());
    assert!(enter(&limits, 3).is_err());
    limits.set(config::Throttle { connections: Limit { tenant: 4, ..limit }, ..unlimited() });
    assert!(enter(&limits, 1).is_err());
    places.push(enter(&limits, 3).unwrap());
    limits.set(config::Throttle { connections: Limit { mode: Mode::Report, ..limit }, ..unlimited() });
    places.extend((0..10).map(|_| enter(&limits, 1).unwrap()));
    assert_eq!(limits.metrics.palisade_throttle_refused.get(), 3);
    places.clear();
    assert_eq!(limits.presences.addresses(), 0);
}

#[test]
fn new_sessions_wait_pass_or_are_refused() {
    let with = |mode| {
        let sessions = Limit { mode, tenant: 100, address: 1, ..nothing() };
        throttle(config::Throttle { sessions, ..unlimited() })
    };
    let now = tokio::time::Instant::now();
    let begin = |limits: &Throttle| {
        let turn = limits.new_session(address(1), now, now + Duration::from_secs(2));
        turn.map(|turn| (turn - now).as_secs())
    };
    let delays = with(Mode::Delay);
    let turns: Vec<_> = (0..4).map(|_| begin(&delays)).collect();
    assert_eq!(turns, [Some(0), Some(1), Some(2), None]);
    let refuses = with(Mode::Refuse);
    let turns: Vec<_> = (0..4).map(|_| begin(&refuses)).collect();
    assert_eq!(turns, [Some(0), Some(0), None, None]);
    let reports = with(Mode::Report);
    assert!((0..100).all(|_| begin(&reports) == Some(0)));
    assert_eq!(reports.metrics.palisade_throttle_reported.get(), 98);
    // What was reported is no debt.
    let later = now + Duration::from_secs(2);
    assert_eq!(reports.new_session(address(1), later, later), Some(later));
    assert_eq!(reports.metrics.palisade_throttle_reported.get(), 98);
    (0..100).for_each(|_| _ = begin(&reports));
    let sessions = Limit { mode: Mode::Refuse, tenant: 100, address: 1, ..nothing() };
    reports.set(config::Throttle { sessions, ..unlimited() });
    assert_eq!(begin(&reports), Some(0), "new settings begin anew");
}

#[test]
fn watches_are_refused_with_the_tenants_answer() {
    let watches = Limit { mode: Mode::Refuse, tenant: 10, address: 7, session: 5, ..nothing() };
    let limits = throttle(config::Throttle { watches, ..unlimited() });
    let asking = Asking { address: address(1), session: 7, path: "/a" };
    for (own, of_address, all, refused) in
        [(4, 6, 9, false), (5, 6, 9, true), (0, 7, 9, true), (0, 0, 10, true)]
    {
        let expected = if refused { Verdict::Refuse(Refusal::Throttled) } else { Verdict::Pass };
        let waiting = Waiting { since: &mut None, patience: MINUTE };
        assert_eq!(limits.watch(WatchCounts { own, of_address, all }, asking, waiting), expected);
    }
}

#[test]
fn what_waits_for_room_looks_for_it_ever_more_seldom_and_is_told_of_once() {
    let connections = Limit { mode: Mode::Delay, address: 1, ..nothing() };
    let limits = throttle(config::Throttle { connections, ..unlimited() });
    let first = enter(&limits, 1).unwrap();
    let mut since = None;
    let mut comes = |ago: Duration, patience: Duration| {
        since = since.map(|since: Instant| since - ago);
        limits.enter(address(1), Waiting { since: &mut since, patience })
    };
    assert_eq!(comes(Duration::ZERO, MINUTE).unwrap_err(), Crowded(Some(LOOK)));
    let Crowded(Some(later)) = comes(Duration::from_secs(1), MINUTE).unwrap_err() else {
        panic!("a minute is not over")
    };
    assert_eq!(later, WAVE);
    let told = [&limits.metrics.palisade_throttle_delayed, &limits.metrics.palisade_limit_connections];
    assert_eq!(told.map(|counter| counter.get()), [1, 1]);
    assert_eq!(comes(Duration::ZERO, Duration::from_secs(1)).unwrap_err(), Crowded(None));
    assert_eq!(limits.metrics.palisade_throttle_refused.get(), 1);
    drop(first);
    comes(Duration::ZERO, MINUTE).unwrap();
}

fn multi_of_locks(paths: impl Iterator<Item = String>) -> Work {
    let paths: Vec<_> = paths.collect();
    let flags = CreateMode::EphemeralSequential.flags();
    Work::of(&Request::Multi(paths.iter().map(|path| create_op(path, b"", flags)).collect()))
}

/// Such as a client can put into one request.
#[test]
fn what_is_in_a_multi_counts() {
    let limits = [
        config::Throttle { writes: Limit { mode: Mode::Refuse, session: 100, ..nothing() }, ..unlimited() },
        config::Throttle { locks: Limit { mode: Mode::Refuse, address: 100, ..nothing() }, ..unlimited() },
        config::Throttle {
            short_locks: Limit { mode: Mode::Refuse, tenant: 100, ..nothing() },
            ..unlimited()
        },
        config::Throttle {
            lock_parents: Limit { mode: Mode::Refuse, prefix: 100, ..nothing() },
            ..unlimited()
        },
    ];
    for config in limits {
        let limits = throttle(unlimited());
        let mut gate = limits.gate(address(1), 7);
        for n in 0..60 {
            assert!(held(&limits, &mut gate, &format!("/orders/{n}")));
        }
        limits.set(config);
        let [multi, more] = [1_000..1_450, 2_000..2_010]
            .map(|orders| multi_of_locks(orders.map(|n| format!("/orders/{n}/l-"))));
        assert_eq!(
            check(&mut gate, &multi),
            Verdict::Pass,
            "what is more than a second's is let pass, and owed"
        );
        assert!(matches!(check(&mut gate, &more), Verdict::Refuse(_)));
        assert_eq!(passed(&mut gate, &Work::Free, 10), 10);
        assert_eq!(limits.busiest_locks(1).len(), 1);
    }
    let limits = throttle(config::Throttle {
        znodes: Limit { mode: Mode::Refuse, tenant: 100, ..nothing() },
        ..unlimited()
    });
    limits.measured(Usage { znodes: 50, ephemerals: 0, bytes: 0 });
    let mut gate = limits.gate(address(1), 7);
    for (n, fits) in [(50, true), (51, false)] {
        let multi = multi_of_locks((0..n).map(|_| "/a/l-".to_owned()));
        assert_eq!(check(&mut gate, &multi) == Verdict::Pass, fits, "{n}");
    }
}

#[test]
fn new_limits_hold_from_the_next_request_on() {
    let refuse = |session| Limit { mode: Mode::Refuse, session, ..nothing() };
    let limits = throttle(config::Throttle { writes: refuse(1), ..unlimited() });
    let mut gate = limits.gate(address(1), 7);
    assert_eq!(passed(&mut gate, &write(), 10), 1);
    limits.set(config::Throttle { writes: refuse(3), ..unlimited() });
    assert_eq!(passed(&mut gate, &write(), 100), 3);
    limits.set(unlimited());
    assert_eq!(passed(&mut gate, &write(), 100), 100);
}

#[test]
fn addresses_without_connections_are_forgotten() {
    let limits = throttle(unlimited());
    for n in 0..10_000_u32 {
        limits.gate(IpAddr::from(n.to_be_bytes()), 7);
    }
    let _stays = limits.gate(address(1), 7);
    (0..2).for_each(|_| limits.tidy());
    assert_eq!(limits.rates.read().addresses(), 1);
}

#[test]
fn locks_of_the_same_parents_are_limited_where_they_are_held_for_a_short_time() {
    let limit = Limit { mode: Mode::Refuse, tenant: 10, ..nothing() };
    let limits = throttle(config::Throttle { short_locks: limit, ..unlimited() });
    let mut gate = limits.gate(address(1), 7);
    let lock = |parent: String| Work::Lock { parent: parent.into() };
    let taken = (0..100).filter(|n| held(&limits, &mut gate, &format!("/rows/{}", n % 7))).count();
    assert!((60..100).contains(&taken), "50 to tell them by, and 10 of the limit's: {taken}");
    let counted = [&limits.metrics.palisade_lock_acquisitions, &limits.metrics.palisade_lock_short_holds];
    assert_eq!(counted.map(|counter| counter.get()), [taken as u64; 2]);
    for parent in ["/masters/a", "/services/7"] {
        assert_eq!(passed(&mut gate, &lock(parent.into()), 100), 100, "these are held");
    }
    assert_eq!(passed(&mut gate, &write(), 100), 100);
}

#[test]
fn those_who_wait_go_on_in_waves() {
    let limits = throttle(unlimited());
    let (gate, now) = (limits.gate(address(1), 7), Instant::now());
    let since = |at: Instant| at.duration_since(gate.rates.since).as_nanos();
    for wait in [Duration::ZERO, Duration::from_millis(1), WAVE, Duration::from_secs(7)] {
        let at = since(now + gate.until_wave(now, wait));
        assert_eq!(at % WAVE.as_nanos(), 0);
        assert!(at > since(now + wait) && at <= since(now + wait + WAVE));
    }
}
