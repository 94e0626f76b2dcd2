//! Modes that refuse nothing: what is beyond a limit is only told, or waits for its turn.

use palisade_tests::herd::Client;
use palisade_tests::wait::wait_for;
use palisade_wire::{ErrorCode, OpCode};

use super::{Bench, EPHEMERAL_SEQUENTIAL, TIMEOUT_MS, flood, flood_with, set};

const MODES: [&str; 2] = ["report", "delay"];
/// Long enough for all that is held back here.
const MAX_DELAY: (&str, &str) = ("throttle.max_delay", "\"20s\"");

pub(super) fn all(bench: &mut Bench) {
    for mode in MODES {
        rates(bench, mode);
        locks_for_a_moment(bench, mode);
        new_sessions(bench, mode);
    }
    what_is_only_told(bench);
}

impl Bench {
    /// Has this limit alone so low, and what is beyond treated so; the name of its counter.
    #[track_caller]
    fn treat(&mut self, limit: &str, mode: &str, most: &[(&str, &str)]) -> String {
        let mode = format!("\"{mode}\"");
        let most = most.iter().map(|(scope, most)| (format!("throttle.{limit}.{scope}"), *most));
        let settings: Vec<_> = most.chain([(format!("throttle.{limit}.mode"), &*mode)]).collect();
        let settings = settings.iter().map(|(key, value)| (&**key, *value)).chain([MAX_DELAY]);
        self.limit(&settings.collect::<Vec<_>>());
        format!("palisade_limit_{limit}")
    }

    /// Goes on with that until the limit is reached; nothing is refused.
    #[track_caller]
    fn reach(&mut self, counter: &str, mut ask: impl FnMut(usize)) {
        let [before, refused] = [counter, "palisade_throttle_refused"].map(|name| self.metric(name));
        let mut n = 0..;
        wait_for(counter, || {
            n.by_ref().take(10).for_each(&mut ask);
            (self.metric(counter) > before).then_some(())
        });
        assert_eq!(self.metric("palisade_throttle_refused"), refused);
        self.assert_unharmed();
    }
}

fn rates(bench: &mut Bench, mode: &str) {
    let lock = |_| (OpCode::Create, "/abuse/lock-".to_owned());
    for (limit, most) in [("writes", "40"), ("write_bytes", "\"20KiB\""), ("locks", "40"), ("in_flight", "5")]
    {
        let counter = bench.treat(limit, mode, &[("session", most)]);
        let before = bench.metric(&counter);
        let mut client = bench.client();
        let answers = match limit {
            "locks" => flood(&mut client, 100, 100, lock),
            "in_flight" => flood(&mut client, 400, 400, set),
            _ => flood_with(&mut client, 100, 100, &[7; 500], set),
        };
        assert_eq!(answers.keys().copied().collect::<Vec<_>>(), [ErrorCode::OK.0], "{limit} {mode}");
        assert!(bench.metric(&counter) > before, "{limit} is not reached with {mode}");
        bench.assert_unharmed();
    }
}

/// Locks of a few parents in turn, and locks with a parent each.
fn locks_for_a_moment(bench: &mut Bench, mode: &str) {
    for (limit, parents) in [("short_locks", 3), ("lock_parents", usize::MAX)] {
        let counter = bench.treat(limit, mode, &[("session", "5")]);
        let mut client = bench.client();
        let root = client.create(&format!("/abuse/{limit}-{mode}"), 0).unwrap();
        bench.reach(&counter, |n| {
            let parent = format!("{root}/{}", n % parents);
            if n < parents {
                client.create(&parent, 0).unwrap();
            }
            let lock = client.create(&format!("{parent}/lock-"), EPHEMERAL_SEQUENTIAL).unwrap();
            client.delete(&lock).unwrap();
        });
    }
}

fn new_sessions(bench: &mut Bench, mode: &str) {
    let counter = bench.treat("sessions", mode, &[("tenant", "3"), ("address", "3")]);
    let address = bench.gateway.address();
    bench.reach(&counter, |_| {
        let mut client = Client::connect(&address, TIMEOUT_MS).unwrap();
        client.owner("/abuse").unwrap();
    });
}

/// What is held, and not a rate.
fn what_is_only_told(bench: &mut Bench) {
    let address = bench.gateway.address();
    for (limit, scope) in
        [("watches", "session"), ("znodes", "tenant"), ("bytes", "tenant"), ("connections", "address")]
    {
        let counter = bench.treat(limit, "report", &[(scope, "1")]);
        let mut client = bench.client();
        bench.reach(&counter, |n| {
            if limit == "connections" {
                client = Client::connect(&address, TIMEOUT_MS).unwrap();
            }
            client.owner(&format!("/abuse/nothing-{n}")).unwrap();
            let path = client.create(&format!("/abuse/something-{n}"), 0).unwrap();
            client.delete(&path).unwrap();
        });
    }
}
