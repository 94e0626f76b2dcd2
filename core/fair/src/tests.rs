use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Serves `n` items; how many of each flow.
fn serve(fair: &mut Fair<u8, u32>, n: usize) -> BTreeMap<u8, usize> {
    let mut served = BTreeMap::new();
    for _ in 0..n {
        let Some((flow, _)) = fair.pop() else { break };
        *served.entry(flow).or_default() += 1;
    }
    served
}

fn fill(fair: &mut Fair<u8, u32>, flow: u8, weight: u32, cost: u64, n: u32) {
    for item in 0..n {
        fair.push(flow, weight, cost, item);
    }
}

#[test]
fn alike_flows_take_turns() {
    let mut fair = Fair::default();
    fill(&mut fair, 1, 1, 100, 1_000);
    fill(&mut fair, 2, 1, 100, 3);
    let order: Vec<_> = std::iter::from_fn(|| fair.pop().map(|(flow, _)| flow)).take(7).collect();
    assert_eq!(order, [1, 2, 1, 2, 1, 2, 1]);
}

#[test]
fn a_newcomer_does_not_wait_for_what_was_there_before() {
    let mut fair = Fair::default();
    fill(&mut fair, 1, 1, 100, 10_000);
    serve(&mut fair, 5_000);
    fair.push(2, 1, 100, 7);
    let at = (0..).find(|_| fair.pop() == Some((2, 7)));
    assert!(at <= Some(1), "{at:?}");
}

#[test]
fn a_flow_that_is_never_empty_for_long_gets_no_more_than_its_share() {
    let mut fair = Fair::default();
    fill(&mut fair, 1, 1, 100, 100);
    let mut served = [0, 0];
    fair.push(2, 1, 100, 0);
    while served[0] < 50 {
        let (flow, _) = fair.pop().unwrap();
        served[usize::from(flow) - 1] += 1;
        if flow == 2 {
            fair.push(2, 1, 100, 0);
        }
    }
    assert!((49..=51).contains(&served[1]), "{served:?}");
}

#[test]
fn shares_are_as_weights_and_costs_are() {
    let mut fair = Fair::default();
    fill(&mut fair, 1, 3, 100, 1_000);
    fill(&mut fair, 2, 1, 100, 1_000);
    fill(&mut fair, 3, 1, 1_000, 1_000);
    let served = serve(&mut fair, 410);
    for (flow, expected) in [(1, 300), (2, 100), (3, 10)] {
        assert!(served[&flow].abs_diff(expected) <= 3, "{served:?}");
    }
}

#[test]
fn a_flow_may_go_on_for_a_while_but_not_at_the_others_cost() {
    let mut fair = Fair::with_bursts(400);
    (1..=3).for_each(|flow| fill(&mut fair, flow, 1, 100, 1_000));
    let mut order: Vec<u8> = Vec::new();
    for served in 0..600 {
        if served == 300 {
            fair.push(9, 1, 100, 7);
        }
        order.extend(fair.pop().map(|(flow, _)| flow));
    }
    let turns = order.chunk_by(|a, b| a == b).map(<[u8]>::len);
    assert!(turns.clone().count() < 200 && turns.max() <= Some(12), "{order:?}");
    let newcomer = order.iter().position(|flow| *flow == 9).unwrap();
    assert!(newcomer < 300 + 12, "{newcomer}");
    for flow in 1..=3 {
        assert!(order.iter().filter(|f| **f == flow).count().abs_diff(200) <= 8, "{order:?}");
    }
}

#[test]
fn flows_without_work_are_forgotten() {
    let mut fair = Fair::default();
    fair.push(0, 1, 100, 0);
    fill(&mut fair, 0, 1, 1, 300);
    for flow in 1..=200 {
        fair.push(flow, 1, 1, 0);
    }
    serve(&mut fair, 300);
    assert!(fair.flows.len() <= 2, "{}", fair.flows.len());
    serve(&mut fair, 1_000);
    assert_eq!((fair.flows.len(), fair.len(), fair.cost(), fair.now), (0, 0, 0, 0));
    assert!(fair.spare.len() <= SPARE);
}

#[derive(Clone, Debug)]
enum Step {
    Push { flow: u8, weight: u32, cost: u64 },
    Pop,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let push = (0..5_u8, 1..=4_u32, 1..1_000_u64);
    let step = prop_oneof![
        push.prop_map(|(flow, weight, cost)| Step::Push { flow, weight, cost }),
        Just(Step::Pop),
    ];
    proptest::collection::vec(step, 0..400)
}

proptest! {
    /// Nothing is lost, invented or overtaken by what is of its own flow, and the sums are right.
    #[test]
    fn every_flow_keeps_its_order(steps in steps(), burst in 0..2_000_u64) {
        let mut fair = Fair::with_bursts(burst);
        let mut model: BTreeMap<u8, VecDeque<(usize, u64)>> = BTreeMap::new();
        for (at, step) in steps.into_iter().enumerate() {
            match step {
                Step::Push { flow, weight, cost } => {
                    fair.push(flow, weight, cost, at);
                    model.entry(flow).or_default().push_back((at, cost));
                }
                Step::Pop => {
                    let popped = fair.pop();
                    let expected = popped.and_then(|(flow, _)| model.get_mut(&flow)?.pop_front());
                    prop_assert_eq!(popped.map(|(_, item)| item), expected.map(|(item, _)| item));
                    prop_assert!(popped.is_some() || model.values().all(VecDeque::is_empty));
                }
            }
            let waits = |items: &VecDeque<(usize, u64)>| Waiting {
                items: items.len(),
                cost: items.iter().map(|(_, cost)| cost).sum(),
            };
            for (flow, items) in &model {
                prop_assert_eq!(fair.waiting_of(*flow), waits(items));
            }
            prop_assert_eq!(fair.len(), model.values().map(VecDeque::len).sum::<usize>());
            prop_assert_eq!(fair.cost(), model.values().map(|items| waits(items).cost).sum::<u64>());
        }
    }
}
