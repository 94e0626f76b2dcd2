//! What waits to be proposed: learners take turns by weight, each in its own order.
//!
//! Few transactions are under way at a time, so that little stands before the next one; what comes beyond waits here, and
//! a gateway whose clients ask for much delays its own requests, not another's. What the leader does of its own accord,
//! which is to end sessions and to reap, gets every second turn while there is any: overload must not keep locks held
//! by those who are gone.

use std::collections::{BTreeMap, VecDeque};

use palisade_fair::Fair;
use palisade_wire::Sid;

use super::leading::Work;

/// What every request costs besides its bytes: the same whatever its size.
const BASE_COST: u64 = 1_024;
/// The weight of a learner for which none is configured.
pub(crate) const DEFAULT_WEIGHT: u32 = 1;

/// What of the leader each learner gets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shares {
    /// Learners that are not here have [`DEFAULT_WEIGHT`].
    pub(crate) weights: BTreeMap<Sid, u32>,
    /// Learners that take turns as if they were another one.
    pub(crate) together_with: BTreeMap<Sid, Sid>,
}

/// See the module.
pub(super) struct Intake {
    requests: Fair<Sid, Work>,
    own: VecDeque<Work>,
    /// Whether the last turn was not the leader's own.
    owes_own: bool,
    shares: Shares,
    /// Bytes of requests that hold no admission.
    unadmitted: usize,
}

impl Intake {
    /// Empty.
    pub(super) fn new(shares: Shares) -> Self {
        Self { requests: Fair::default(), own: VecDeque::new(), owes_own: true, shares, unadmitted: 0 }
    }

    /// Adds a request of this learner.
    pub(super) fn push(&mut self, learner: Sid, work: Work) {
        let learner = self.shares.together_with.get(&learner).copied().unwrap_or(learner);
        let weight = self.shares.weights.get(&learner).copied().unwrap_or(DEFAULT_WEIGHT);
        self.unadmitted += work.unadmitted();
        self.requests.push(learner, weight, BASE_COST + work.bytes() as u64, work);
    }

    /// Adds what the leader does of its own accord.
    pub(super) fn push_own(&mut self, work: impl IntoIterator<Item = Work>) {
        self.own.extend(work);
    }

    /// What is to be done next.
    pub(super) fn pop(&mut self) -> Option<Work> {
        let own_turn = self.owes_own || self.requests.is_empty();
        if own_turn && let Some(work) = self.own.pop_front() {
            self.owes_own = false;
            return Some(work);
        }
        let (_, work) = self.requests.pop()?;
        self.owes_own = true;
        self.unadmitted -= work.unadmitted();
        Some(work)
    }

    /// How much waits.
    pub(super) fn len(&self) -> usize {
        self.requests.len() + self.own.len()
    }

    /// Bytes of requests that do not hold back the links on which they came.
    pub(super) const fn unadmitted(&self) -> usize {
        self.unadmitted
    }
}

#[cfg(test)]
mod tests {
    use palisade_store::PrepareRequest;
    use palisade_wire::OpCode;
    use palisade_zab::LinkId;

    use super::*;

    fn request(cxid: i32) -> Work {
        let request = PrepareRequest {
            session: 1,
            cxid,
            op: OpCode::SetData.as_i32(),
            body: vec![0; 100].into(),
            auth: None,
        };
        Work::Request { link: LinkId(1), request, admission: None }
    }

    fn cxid(work: &Work) -> i32 {
        match work {
            Work::Request { request, .. } => request.cxid,
            _ => -1,
        }
    }

    fn intake(weights: &[(Sid, u32)]) -> Intake {
        Intake::new(Shares { weights: weights.iter().copied().collect(), ..Shares::default() })
    }

    #[test]
    fn a_tenant_with_two_gateways_gets_one_share() {
        let shares = Shares { weights: [(101, 3)].into(), together_with: [(102, 101)].into() };
        let mut intake = Intake::new(shares);
        for n in 0..1_000 {
            (101..=103).for_each(|sid| intake.push(sid as Sid, request(sid * 1_000_000 + n)));
        }
        let served: Vec<_> = (0..400).map(|_| cxid(&intake.pop().unwrap()) / 1_000_000).collect();
        let of = |sid| served.iter().filter(|cxid| **cxid == sid).count();
        assert!(of(103).abs_diff(100) <= 2 && of(101).abs_diff(150) <= 2 && of(102).abs_diff(150) <= 2);
    }

    #[test]
    fn a_gateway_is_served_though_another_asks_for_everything() {
        let mut intake = intake(&[]);
        (0..10_000).for_each(|cxid| intake.push(101, request(cxid)));
        for cxid in 0..10_000 {
            if cxid % 2_500 == 0 {
                intake.push(102, request(-7));
                assert!([intake.pop(), intake.pop()].iter().flatten().any(|w| self::cxid(w) == -7));
            }
            intake.pop().unwrap();
            if intake.len() == 0 {
                return;
            }
        }
    }

    #[test]
    fn each_learner_keeps_its_order_and_gets_its_weight() {
        let mut intake = intake(&[(101, 4)]);
        (0..1_000).for_each(|cxid| intake.push(101, request(cxid)));
        (0..1_000).for_each(|cxid| intake.push(102, request(1_000_000 + cxid)));
        let served: Vec<_> = (0..500).map(|_| cxid(&intake.pop().unwrap())).collect();
        let (others, heavy): (Vec<_>, Vec<_>) = served.into_iter().partition(|cxid| *cxid >= 1_000_000);
        assert!(heavy.len().abs_diff(400) <= 2, "{}", heavy.len());
        assert!(heavy.is_sorted() && others.is_sorted());
    }

    #[test]
    fn sessions_end_under_overload_and_requests_go_on_while_very_many_end() {
        let mut intake = intake(&[]);
        (0..100).for_each(|cxid| intake.push(101, request(cxid)));
        intake.push_own((0..50).map(Work::Expire));
        let served: Vec<_> = (0..20).map(|_| cxid(&intake.pop().unwrap())).collect();
        assert_eq!(served.iter().filter(|cxid| **cxid == -1).count(), 10, "{served:?}");
        while intake.pop().is_some() {}
        assert_eq!((intake.len(), intake.unadmitted()), (0, 0));
    }
}
