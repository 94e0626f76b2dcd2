//! The search for a linear order of one register's operations (after Wing and Gong, with Lowe's memory of failures).

use std::collections::{HashMap, HashSet};
use std::fmt;

/// One operation on a register. Times are of one monotonic clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// When the client asked.
    pub begin: u64,
    /// When the client was answered; [`NEVER`] for a write of unknown outcome.
    pub end: u64,
    /// What was asked and answered.
    pub action: Action,
}

/// The end of an operation that was not answered.
pub const NEVER: u64 = u64::MAX;

/// What was asked, and what was answered if anything was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// An acknowledged write that made `version`; with a version `expected` if it was a compare-and-set.
    Wrote {
        /// The version that the answer told.
        version: i32,
        /// The version that was demanded.
        expected: Option<i32>,
        /// The data written.
        value: String,
    },
    /// A write whose outcome is unknown.
    MayHaveWritten {
        /// The version that was demanded.
        expected: Option<i32>,
        /// The data written.
        value: String,
    },
    /// A compare-and-set that was refused because the version was another.
    Refused {
        /// The version that was demanded.
        expected: i32,
    },
    /// A read and its answer.
    Read {
        /// The version seen.
        version: i32,
        /// The data seen.
        value: String,
    },
}

/// A register's state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    /// The number of writes so far.
    pub version: i32,
    /// The data.
    pub value: String,
}

/// Why a history is wrong: no order explains what follows the longest explained part.
#[derive(Debug)]
pub struct Violation {
    /// How many answered operations the best attempt explained.
    pub explained: usize,
    /// The state that it had reached.
    pub state: State,
    /// The operations of which one would have had to be next.
    pub stuck: Vec<Operation>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "after {} operations, with {:?}, none of these can be next:",
            self.explained, self.state
        )?;
        self.stuck.iter().try_for_each(|operation| writeln!(f, "  {operation:?}"))
    }
}

/// Checks that the operations of one register, new at the start, are linearizable. No two writes may have the same
/// value.
///
/// # Errors
/// A [`Violation`] when they are not.
pub fn check(mut operations: Vec<Operation>) -> Result<(), Violation> {
    operations.sort_by_key(|operation| operation.begin);
    let search = Search::new(&operations);
    let mut best = Violation { explained: 0, state: State::default(), stuck: Vec::new() };
    let mut seen = HashSet::new();
    let mut open = vec![Order::new(operations.len())];
    while let Some(mut order) = open.pop() {
        search.place_silent(&mut order);
        if order.answered == search.answered {
            return Ok(());
        }
        if !seen.insert((order.placed.clone(), order.state.clone())) {
            continue;
        }
        let candidates = search.candidates(&order);
        open.extend(search.writes(&candidates, &order.state).map(|index| search.with_write(&order, index)));
        if best.explained <= order.answered {
            let stuck = candidates.iter().map(|index| operations[*index].clone()).collect();
            best = Violation { explained: order.answered, state: order.state, stuck };
        }
    }
    Err(best)
}

/// What does not change during a search.
struct Search<'a> {
    /// In the order of their begins.
    operations: &'a [Operation],
    /// The number of operations that were answered.
    answered: usize,
    /// Indices of the writes of unknown outcome.
    unknown: Vec<usize>,
    /// The value of every version that any answer tells: each version is made only once, so no other write can make it.
    told: HashMap<i32, &'a str>,
    told_values: HashSet<&'a str>,
}

/// The beginning of an order: which operations are in it, and the state that they make.
#[derive(Clone)]
struct Order {
    /// A set of indices, as bits.
    placed: Vec<u64>,
    /// The number of answered operations among them.
    answered: usize,
    /// All operations before this index are placed or of unknown outcome.
    first: usize,
    state: State,
}

impl<'a> Search<'a> {
    fn new(operations: &'a [Operation]) -> Self {
        let unknown: Vec<usize> =
            (0..operations.len()).filter(|index| operations[*index].end == NEVER).collect();
        let told: HashMap<i32, &str> =
            operations.iter().filter_map(|operation| operation.action.told()).collect();
        let told_values = told.values().copied().collect();
        Self { operations, answered: operations.len() - unknown.len(), unknown, told, told_values }
    }

    /// Places all that changes nothing and can be next: doing so at once never forecloses an order.
    fn place_silent(&self, order: &mut Order) {
        loop {
            let mut candidates = self.candidates(order);
            candidates.retain(|index| self.operations[*index].action.is_seen_in(&order.state));
            if candidates.is_empty() {
                return;
            }
            for index in candidates {
                order.place(index, self.operations);
            }
        }
    }

    /// The operations that real time allows to be next: none that is not placed yet ended before they began.
    fn candidates(&self, order: &Order) -> Vec<usize> {
        let mut earliest_end = NEVER;
        let mut answered = Vec::new();
        for (index, operation) in self.operations.iter().enumerate().skip(order.first) {
            if operation.begin > earliest_end {
                break;
            }
            if operation.end != NEVER && !order.contains(index) {
                earliest_end = earliest_end.min(operation.end);
                answered.push(index);
            }
        }
        let open =
            |index: &&usize| !order.contains(**index) && self.operations[**index].begin <= earliest_end;
        self.unknown.iter().filter(open).copied().chain(answered.iter().filter(open).copied()).collect()
    }

    /// The candidates that write and can do so in `state`.
    ///
    /// Of the unknown writes that nobody saw, one stands for all: whichever fills a gap between seen versions, the
    /// others remain for later gaps. A compare-and-set goes first, as it fits no other gap.
    fn writes(&self, candidates: &[usize], state: &State) -> impl Iterator<Item = usize> {
        let (mut seen, mut unseen) = (Vec::new(), None);
        for index in candidates {
            let action = &self.operations[*index].action;
            let Some(next) = action.applied_to(state) else { continue };
            match (self.told.get(&next.version), self.told_values.contains(next.value.as_str())) {
                (Some(told), _) if *told == next.value => seen.push(*index),
                (None, false) if unseen.is_none() || action.expected().is_some() => unseen = Some(*index),
                _ => {}
            }
        }
        seen.into_iter().chain(unseen)
    }

    fn with_write(&self, order: &Order, index: usize) -> Order {
        let mut next = order.clone();
        next.place(index, self.operations);
        next.state =
            self.operations[index].action.applied_to(&order.state).expect("only possible writes are tried");
        next
    }
}

impl Order {
    fn new(operations: usize) -> Self {
        Self { placed: vec![0; operations.div_ceil(64)], answered: 0, first: 0, state: State::default() }
    }

    fn contains(&self, index: usize) -> bool {
        self.placed[index / 64] & (1 << (index % 64)) != 0
    }

    fn place(&mut self, index: usize, operations: &[Operation]) {
        self.placed[index / 64] |= 1 << (index % 64);
        self.answered += usize::from(operations[index].end != NEVER);
        while self.first < operations.len()
            && (self.contains(self.first) || operations[self.first].end == NEVER)
        {
            self.first += 1;
        }
    }
}

impl Action {
    /// Whether this changes nothing and its answer is right in `state`.
    fn is_seen_in(&self, state: &State) -> bool {
        match self {
            Self::Read { version, value } => *version == state.version && *value == state.value,
            Self::Refused { expected } => *expected != state.version,
            Self::Wrote { .. } | Self::MayHaveWritten { .. } => false,
        }
    }

    fn expected(&self) -> Option<i32> {
        match self {
            Self::Wrote { expected, .. } | Self::MayHaveWritten { expected, .. } => *expected,
            Self::Refused { .. } | Self::Read { .. } => None,
        }
    }

    /// The version and value that the answer tells about.
    fn told(&self) -> Option<(i32, &str)> {
        match self {
            Self::Wrote { version, value, .. } | Self::Read { version, value } => Some((*version, value)),
            Self::MayHaveWritten { .. } | Self::Refused { .. } => None,
        }
    }

    /// The state after this write, if it can happen in `state`.
    fn applied_to(&self, state: &State) -> Option<State> {
        let version = state.version + 1;
        let (value, agrees) = match self {
            Self::Wrote { version: told, value, .. } => (value, *told == version),
            Self::MayHaveWritten { value, .. } => (value, true),
            Self::Refused { .. } | Self::Read { .. } => return None,
        };
        let allowed = self.expected().is_none_or(|expected| expected == state.version);
        (agrees && allowed).then(|| State { version, value: value.clone() })
    }
}

#[cfg(test)]
#[path = "register_tests.rs"]
mod tests;
