use super::config::Limit;
use super::*;

const MINUTE: Duration = Duration::from_secs(60);

fn nothing() -> Limit {
    Limit { mode: Mode::Off, tenant: 0, address: 0, session: 0, prefix: 0 }
}

/// No limit but those that the test sets.
fn unlimited() -> config::Throttle {
    let off = nothing();
    let (writes, write_bytes, locks, lock_parents) = (off, off, off, off);
    config::Throttle {
        refusal: Refusal::Throttled,
        max_delay: MINUTE,
        writes,
        write_bytes,
        locks,
        lock_parents,
    }
}

fn throttle(config: config::Throttle) -> Arc<Throttle> {
    Throttle::new(config, Arc::default())
}

fn address(last: u8) -> IpAddr {
    [10, 0, 0, last].into()
}

fn write() -> Work {
    Work::Write { parent: "/app".into() }
}

fn check(gate: &mut Gate, work: &Work) -> Verdict {
    gate.check(work, 100, &mut Progress::default(), MINUTE)
}

fn passed(gate: &mut Gate, work: &Work, times: usize) -> usize {
    (0..times).filter(|_| check(gate, work) == Verdict::Pass).count()
}

#[test]
fn a_session_that_exceeds_its_limit_leaves_the_tenants_to_others() {
    let limit = Limit { mode: Mode::Refuse, tenant: 100, session: 5, ..nothing() };
    let limits = throttle(config::Throttle { writes: limit, ..unlimited() });
    let (mut greedy, mut modest) = (limits.gate(address(1)), limits.gate(address(1)));
    assert_eq!(passed(&mut greedy, &write(), 1_000), 5);
    assert_eq!(check(&mut greedy, &write()), Verdict::Refuse(Refusal::Throttled));
    assert_eq!(passed(&mut modest, &write(), 5), 5);
    assert_eq!(limits.metrics.palisade_throttle_refused.get(), 996);
    assert_eq!(limits.bites.lock().len(), 1);
}

#[test]
fn connections_of_an_address_share_its_limit() {
    let limit = Limit { mode: Mode::Refuse, address: 5, ..nothing() };
    let limits = throttle(config::Throttle { writes: limit, ..unlimited() });
    let mut two = [limits.gate(address(1)), limits.gate(address(1))];
    assert_eq!(two.iter_mut().map(|gate| passed(gate, &write(), 10)).sum::<usize>(), 5);
    assert_eq!(passed(&mut limits.gate(address(2)), &write(), 10), 5);
}

#[test]
fn what_only_reports_lets_pass() {
    let limit = Limit { mode: Mode::Report, tenant: 1, ..nothing() };
    let limits = throttle(config::Throttle { writes: limit, ..unlimited() });
    assert_eq!(passed(&mut limits.gate(address(1)), &write(), 10), 10);
    assert_eq!(limits.metrics.palisade_throttle_reported.get(), 9);
}

#[test]
fn a_delayed_request_waits_and_is_refused_when_its_session_cannot_wait_any_longer() {
    let limit = Limit { mode: Mode::Delay, session: 1, ..nothing() };
    let limits = throttle(config::Throttle { writes: limit, ..unlimited() });
    let mut gate = limits.gate(address(1));
    assert_eq!(check(&mut gate, &write()), Verdict::Pass);
    let mut progress = Progress::default();
    assert!(matches!(gate.check(&write(), 1, &mut progress, MINUTE), Verdict::Wait(_)));
    assert!(matches!(gate.check(&write(), 1, &mut progress, MINUTE), Verdict::Wait(_)));
    assert_eq!(limits.metrics.palisade_throttle_delayed.get(), 1, "one request, however often it is brought");
    let verdict = gate.check(&write(), 1, &mut progress, Duration::ZERO);
    assert_eq!(verdict, Verdict::Refuse(Refusal::Throttled));
}

#[test]
fn what_was_taken_is_not_taken_again_while_another_limit_makes_wait() {
    let limit = Limit { mode: Mode::Delay, tenant: 1, session: 3, ..nothing() };
    let limits = throttle(config::Throttle { writes: limit, ..unlimited() });
    let mut gate = limits.gate(address(1));
    assert_eq!(check(&mut gate, &write()), Verdict::Pass);
    let mut progress = Progress::default();
    for _ in 0..10 {
        gate.check(&write(), 1, &mut progress, MINUTE);
    }
    // One token of the session is left: the tenant's limit, not the session's, stops it.
    let mut other = Progress::default();
    gate.check(&write(), 1, &mut other, MINUTE);
    assert_eq!(other.stage % SCOPES, Scope::Tenant as u8);
}

#[test]
fn bytes_are_counted() {
    let limit = Limit { mode: Mode::Refuse, tenant: 1_000, ..nothing() };
    let limits = throttle(config::Throttle { write_bytes: limit, ..unlimited() });
    assert_eq!(passed(&mut limits.gate(address(1)), &write(), 100), 10);
}

#[test]
fn only_new_parents_of_fine_grained_locks_are_limited_as_such() {
    let limit = Limit { mode: Mode::Refuse, tenant: 10, ..nothing() };
    let limits = throttle(config::Throttle { lock_parents: limit, ..unlimited() });
    let mut gate = limits.gate(address(1));
    let lock = |parent: String| Work::Lock { parent: parent.into() };
    let mut held = 0;
    for n in 0..1_000 {
        if check(&mut gate, &lock(format!("/orders/{n}"))) == Verdict::Pass {
            held += 1;
            assert_eq!(
                check(&mut gate, &Work::Release { parent: format!("/orders/{n}").into() }),
                Verdict::Pass
            );
        }
    }
    assert!((60..80).contains(&held), "50 to tell them by, and 10 of the limit's: {held}");
    for work in [lock("/orders/1".into()), lock("/leader".into()), lock("/services/7".into()), write()] {
        assert_eq!(passed(&mut gate, &work, 100), 100, "{work:?}");
    }
    let busiest = limits.busiest_locks(1);
    assert!(busiest[0].prefix == "/orders" && busiest[0].fine_grained, "{busiest:?}");
}

#[test]
fn what_lets_go_is_never_limited() {
    let none = Limit { mode: Mode::Refuse, tenant: 1, address: 1, session: 1, prefix: 1 };
    let all = config::Throttle { writes: none, write_bytes: none, locks: none, ..unlimited() };
    let limits = throttle(all);
    let mut gate = limits.gate(address(1));
    for work in [Work::Free, Work::Release { parent: "/a".into() }] {
        assert_eq!(passed(&mut gate, &work, 100), 100);
    }
}

#[test]
fn new_limits_hold_from_the_next_request_on() {
    let refuse = |session| Limit { mode: Mode::Refuse, session, ..nothing() };
    let limits = throttle(config::Throttle { writes: refuse(5), ..unlimited() });
    let mut gate = limits.gate(address(1));
    assert_eq!(passed(&mut gate, &write(), 10), 5);
    limits.set(config::Throttle { writes: refuse(20), ..unlimited() });
    assert_eq!(passed(&mut gate, &write(), 100), 20);
    limits.set(unlimited());
    assert_eq!(passed(&mut gate, &write(), 100), 100);
}

#[test]
fn addresses_without_connections_are_forgotten() {
    let limits = throttle(unlimited());
    for n in 0..10_000_u32 {
        limits.gate(IpAddr::from(n.to_be_bytes()));
    }
    assert!(limits.rates.read().addresses.lock().len() < 100);
}
