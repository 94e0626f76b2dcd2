use super::*;

fn wrote(begin: u64, end: u64, version: i32, value: &str) -> Operation {
    Operation { begin, end, action: Action::Wrote { version, expected: None, value: value.into() } }
}

fn swapped(begin: u64, end: u64, version: i32, value: &str) -> Operation {
    Operation {
        begin,
        end,
        action: Action::Wrote { version, expected: Some(version - 1), value: value.into() },
    }
}

fn unknown(begin: u64, value: &str) -> Operation {
    Operation { begin, end: NEVER, action: Action::MayHaveWritten { expected: None, value: value.into() } }
}

fn unknown_swap(begin: u64, expected: i32, value: &str) -> Operation {
    Operation {
        begin,
        end: NEVER,
        action: Action::MayHaveWritten { expected: Some(expected), value: value.into() },
    }
}

fn refused(begin: u64, end: u64, expected: i32) -> Operation {
    Operation { begin, end, action: Action::Refused { expected } }
}

fn read(begin: u64, end: u64, version: i32, value: &str) -> Operation {
    Operation { begin, end, action: Action::Read { version, value: value.into() } }
}

#[track_caller]
fn good(operations: Vec<Operation>) {
    if let Err(violation) = check(operations) {
        panic!("{violation}");
    }
}

#[track_caller]
fn bad(operations: Vec<Operation>) -> Violation {
    check(operations).expect_err("this history is wrong")
}

#[test]
fn nothing_and_one_after_the_other() {
    good(vec![]);
    good(vec![
        wrote(0, 1, 1, "a"),
        read(2, 3, 1, "a"),
        swapped(4, 5, 2, "b"),
        refused(6, 7, 1),
        read(8, 9, 2, "b"),
    ]);
}

#[test]
fn concurrent_operations_in_either_order() {
    good(vec![wrote(0, 10, 2, "a"), wrote(1, 9, 1, "b"), read(11, 12, 2, "a")]);
    good(vec![wrote(0, 10, 1, "a"), read(1, 2, 0, ""), read(3, 4, 1, "a")]);
}

#[test]
fn a_lost_write() {
    let violation = bad(vec![wrote(0, 1, 1, "a"), read(2, 3, 0, "")]);
    assert_eq!((violation.explained, violation.state.version), (1, 1));
    assert_eq!(violation.stuck, [read(2, 3, 0, "")]);
    bad(vec![wrote(0, 1, 1, "a"), wrote(2, 3, 1, "b")]);
    bad(vec![wrote(0, 1, 1, "a"), wrote(2, 3, 1, "b"), read(4, 5, 1, "b")]);
}

#[test]
fn a_stale_read() {
    bad(vec![wrote(0, 1, 1, "a"), wrote(2, 3, 2, "b"), read(4, 5, 1, "a")]);
    bad(vec![wrote(0, 10, 1, "a"), read(1, 2, 1, "a"), read(3, 4, 0, "")]);
}

#[test]
fn versions_that_skip_or_repeat() {
    bad(vec![wrote(0, 1, 2, "a")]);
    bad(vec![wrote(0, 9, 1, "a"), wrote(0, 9, 1, "b")]);
    bad(vec![read(0, 1, 1, "from nowhere")]);
}

#[test]
fn refusals_must_be_true() {
    good(vec![wrote(0, 5, 1, "a"), refused(1, 2, 0)]);
    good(vec![wrote(0, 5, 1, "a"), refused(1, 2, 1)]);
    bad(vec![wrote(0, 1, 1, "a"), refused(2, 3, 1)]);
}

#[test]
fn an_unknown_write_happens_late_or_never() {
    good(vec![unknown(0, "u"), read(1, 2, 0, ""), read(3, 4, 0, "")]);
    good(vec![unknown(0, "u"), read(1, 2, 0, ""), read(90, 91, 1, "u")]);
    good(vec![unknown(0, "u"), wrote(1, 2, 2, "a")]);
    good(vec![unknown(0, "u"), unknown(0, "v"), unknown(0, "w"), wrote(1, 2, 3, "a"), read(3, 4, 3, "a")]);
}

#[test]
fn an_unknown_write_happens_once_and_not_before_it_began() {
    bad(vec![unknown(0, "u"), read(1, 2, 1, "u"), wrote(3, 4, 2, "a"), read(5, 6, 3, "u")]);
    bad(vec![read(0, 1, 1, "u"), unknown(2, "u")]);
    bad(vec![unknown(0, "u"), wrote(1, 2, 3, "a")]);
    bad(vec![wrote(0, 1, 1, "a"), unknown_swap(2, 0, "u"), read(3, 4, 2, "u")]);
    good(vec![wrote(0, 1, 1, "a"), unknown_swap(2, 1, "u"), read(3, 4, 2, "u")]);
}

#[test]
fn the_choice_of_an_unknown_write_is_taken_back() {
    // Either unknown write explains version 1, but only `v` leaves `u` for version 3.
    good(vec![unknown(0, "u"), unknown(0, "v"), wrote(1, 2, 2, "a"), read(3, 4, 2, "a"), read(5, 6, 3, "u")]);
    good(vec![unknown(0, "u"), unknown(0, "v"), wrote(1, 2, 2, "a"), read(3, 4, 2, "a"), read(5, 6, 3, "v")]);
}

/// A small generator of numbers, so that every run tries the same histories.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// What clients of a real register would have recorded: each operation happens at one moment between its ends, and some
/// answers are lost.
fn true_history(numbers: &mut Numbers, length: u64) -> Vec<Operation> {
    let mut state = State::default();
    let mut operations = Vec::new();
    for number in 0..length {
        let moment = 10 * number + 1000;
        let (begin, end) = (moment - numbers.below(60), moment + numbers.below(60));
        let (version, value) = (state.version + 1, format!("v{number}"));
        let expected = (numbers.below(2) == 0).then_some(state.version);
        let lost = numbers.below(10) == 0;
        let action = match numbers.below(4) {
            0 => Action::Read { version: state.version, value: state.value.clone() },
            1 => Action::Refused { expected: version + 3 },
            _ if lost => Action::MayHaveWritten { expected, value: value.clone() },
            _ => Action::Wrote { version, expected, value: value.clone() },
        };
        let happens = !lost || numbers.below(2) == 0;
        if happens && matches!(action, Action::Wrote { .. } | Action::MayHaveWritten { .. }) {
            state = State { version, value };
        }
        let end = if matches!(action, Action::MayHaveWritten { .. }) { NEVER } else { end };
        operations.push(Operation { begin, end, action });
    }
    operations
}

#[test]
fn true_histories_are_good() {
    let mut numbers = Numbers(1);
    for length in [1, 10, 100, 5000] {
        for _ in 0..20 {
            good(true_history(&mut numbers, length));
        }
    }
}

#[test]
fn one_wrong_answer_is_found_in_a_long_history() {
    let mut numbers = Numbers(2);
    for _ in 0..50 {
        let mut operations = true_history(&mut numbers, 500);
        let reads: Vec<usize> =
            (300..500).filter(|index| matches!(operations[*index].action, Action::Read { .. })).collect();
        let stale = reads[reads.len() / 2];
        operations[stale].action = Action::Read { version: 0, value: String::new() };
        bad(operations);
    }
}

/// Tries every order of every subset that leaves out only writes of unknown outcome.
fn brute_force(operations: &[Operation], state: &State) -> bool {
    if operations.iter().all(|operation| operation.end == NEVER) {
        return true;
    }
    let earliest_end = operations.iter().map(|operation| operation.end).min().unwrap();
    (0..operations.len()).filter(|index| operations[*index].begin <= earliest_end).any(|index| {
        let action = &operations[index].action;
        let next = if action.is_seen_in(state) { Some(state.clone()) } else { action.applied_to(state) };
        let rest = [&operations[..index], &operations[index + 1..]].concat();
        next.is_some_and(|next| brute_force(&rest, &next))
    })
}

#[test]
fn agrees_with_trying_everything() {
    let mut numbers = Numbers(3);
    let (mut goods, mut bads) = (0, 0);
    for _ in 0..3000 {
        let mut operations = true_history(&mut numbers, 6);
        let (one, other) = (numbers.below(6) as usize, numbers.below(6) as usize);
        (operations[one].begin, operations[one].end) =
            (operations[other].begin, operations[one].end.max(operations[other].begin));
        let silent = matches!(operations[one].action, Action::Read { .. } | Action::Refused { .. });
        if silent && operations[other].end != NEVER {
            operations[other].action = operations[one].action.clone();
        }
        operations.retain(|operation| {
            matches!(operation.action, Action::MayHaveWritten { .. }) == (operation.end == NEVER)
        });
        let expected = brute_force(&operations, &State::default());
        assert_eq!(check(operations.clone()).is_ok(), expected, "{operations:#?}");
        *(if expected { &mut goods } else { &mut bads }) += 1;
    }
    assert!(goods > 200 && bads > 200, "both kinds must be tried: {goods} good, {bads} bad");
}
