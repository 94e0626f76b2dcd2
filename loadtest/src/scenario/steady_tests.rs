//! What is reported of servers whose behaviour is known.

use super::*;
use crate::fake::{self, Behaviour};
use crate::scenario::floor;

fn steady(load: Load, rate: Option<u32>, duration: Duration) -> Steady {
    Steady {
        load,
        connections: 2,
        pipeline: 4,
        rate,
        warmup: Duration::ZERO,
        duration,
        size: 10,
        znodes: 3,
        children: 0,
    }
}

fn run(behaviour: Behaviour, steady: &Steady) -> Outcome {
    let (env, site) = fake::site(fake::start(behaviour));
    super::run(&env, &site, steady).unwrap()
}

fn latency(outcome: &Outcome) -> &Latency {
    &outcome.latencies[0].1
}

#[test]
fn a_known_delay_is_reported() {
    let delay = Duration::from_millis(50);
    for rate in [None, Some(100)] {
        let behaviour = Behaviour { delay, ..Behaviour::default() };
        let outcome = run(behaviour, &steady(Load::Get, rate, Duration::from_millis(600)));
        let latency = latency(&outcome);
        assert!(latency.count() >= 8, "{rate:?}: {}", latency.count());
        // Never less, and at least once not twice as long, however busy the machine is.
        let least = latency.quantile_ms(0.0);
        assert!((50.0..100.0).contains(&least), "{rate:?}: {least} ms");
        assert_eq!(outcome.get("unanswered"), Some(0.0));
    }
}

#[test]
fn an_open_loop_shows_the_omission_that_a_closed_one_hides() {
    let stall = Some((Duration::from_millis(200), Duration::from_millis(1200)));
    let behaviour = Behaviour { stall, ..Behaviour::default() };
    let duration = Duration::from_secs(2);
    let open = run(behaviour, &steady(Load::Get, Some(200), duration));
    let closed = run(behaviour, &steady(Load::Get, None, duration));
    // Half of what was due in these two seconds had to wait, half of that for more than half a second: but only the
    // eight requests that were under way could tell it in a closed loop.
    assert!(latency(&open).quantile_ms(0.7) > 300.0, "{:?}", latency(&open).quantile_ms(0.7));
    assert!(latency(&closed).quantile_ms(1.0) > 900.0);
    let hidden = latency(&closed).quantile_ms(0.7);
    assert!(hidden < 100.0, "{hidden} ms");
    // All that was due was sent, although late.
    assert_eq!(latency(&open).count(), 400);
}

#[test]
fn what_is_never_answered_counts_with_its_age() {
    let steady = Steady { pipeline: 1, ..steady(Load::Get, Some(100), Duration::from_millis(500)) };
    let (_, site) = fake::site(([127, 0, 0, 1], 1).into());
    let plan = plan(&site, &steady);
    let mut run = Run::new(&plan, &steady);
    let (start, end) = (run.schedule.start, run.schedule.end);
    // Each connection has one request under way and may not send more.
    for (id, lane) in run.lanes.iter_mut().enumerate() {
        let due = start + Duration::from_millis(10) * id as u32;
        lane.waiting.push_back(Pending { xid: 1, due, is_delete: false });
        lane.sent = 1;
    }
    run.give_up(end + Duration::from_secs(1));
    assert_eq!(run.unanswered, 50);
    let [least, most] = [0.0, 1.0].map(|quantile| run.latency.quantile_ms(quantile));
    assert!((1009.0..1012.0).contains(&least) && (1499.0..1502.0).contains(&most), "{least} {most}");
}

#[test]
fn a_pair_of_create_and_delete_is_one_operation() {
    let outcome = run(Behaviour::default(), &steady(Load::Ephemeral, Some(50), Duration::from_millis(400)));
    assert_eq!((latency(&outcome).count(), outcome.failed()), (20, 0));
}

#[test]
fn an_open_loop_sends_what_is_due_and_no_more() {
    let outcome = run(Behaviour::default(), &steady(Load::Set, Some(100), Duration::from_millis(500)));
    assert_eq!(latency(&outcome).count(), 50);
}

#[test]
fn the_echo_server_stands_in_for_reads_only() {
    let second = Duration::from_secs(1);
    assert_eq!(floor::answer_len(&steady(Load::Get, None, second)), Some(16 + 4 + 10 + 68));
    let children = Steady { children: 2, ..steady(Load::Children, None, second) };
    assert_eq!(floor::answer_len(&children), Some(16 + 4 + 2 * (4 + 7) + 68));
    let (env, site) = fake::site(([127, 0, 0, 1], 1).into());
    let failure = floor::run_both(&env, &site, &steady(Load::Mixed(50), None, second)).unwrap_err();
    assert_eq!(failure.exit_code(), 2);
}

#[test]
fn what_cannot_work_is_said_before_the_load_in_one_line() {
    let second = Duration::from_secs(1);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let full = fake::start(Behaviour { connections: Some(2), ..Behaviour::default() });
    for (address, expected) in [(nobody, "cannot be reached"), (full, "maxClientCnxns")] {
        let (env, site) = fake::site(address);
        let failure = super::run(&env, &site, &steady(Load::Get, None, second)).unwrap_err();
        let text = failure.to_string();
        assert_eq!(failure.exit_code(), 2, "{text}");
        assert!(
            text.contains(expected) && text.contains(&address.to_string()) && !text.contains('\n'),
            "{text}"
        );
    }
}
