//! The two servers and what differs between them.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use super::rules;
use super::run::{Told, run};
use super::shrink::shrink;
use super::step::{Call, Step};

/// Runs of a sequence in search of a shorter one.
const ATTEMPTS: usize = 150;

/// Two servers of which nobody else makes use.
#[derive(Debug)]
pub struct Pair {
    apache: String,
    palisade: String,
    /// Sequences run so far; each has a folder of its own.
    runs: AtomicU32,
}

/// What two servers told differently.
#[derive(Debug)]
pub struct Difference {
    steps: Vec<Step>,
    apache: Vec<Told>,
    palisade: Vec<Told>,
}

impl Pair {
    /// Of servers at these addresses.
    pub const fn new(apache: String, palisade: String) -> Self {
        Self { apache, palisade, runs: AtomicU32::new(0) }
    }

    /// Runs a sequence against both servers.
    pub fn compare(&self, steps: &[Step]) -> Option<Difference> {
        let root = format!("/c{:07}", self.runs.fetch_add(1, Ordering::Relaxed));
        let (apache, palisade) = thread::scope(|scope| {
            let apache = scope.spawn(|| run(&self.apache, &root, steps));
            let palisade = run(&self.palisade, &root, steps);
            (apache.join().expect("a run does not panic while its server accepts connections"), palisade)
        });
        let difference = Difference { steps: steps.to_vec(), apache, palisade };
        difference.exists().then_some(difference)
    }

    /// The difference that the fewest steps of `steps` show; none if they show none when they are run again.
    pub fn shrink(&self, steps: &[Step]) -> Option<Difference> {
        let mut last = None;
        let mut shows = |steps: &[Step]| {
            let difference = self.compare(steps);
            let found = difference.is_some();
            last = difference.or(last.take());
            found
        };
        if shows(steps) {
            let mut fewer = shrink(steps.to_vec(), ATTEMPTS, &mut shows);
            for at in 0..fewer.len() {
                let Step::Calls(slot, calls) = fewer[at].clone() else { continue };
                let with = |calls: &[Call]| {
                    let mut steps = fewer.clone();
                    steps[at] = Step::Calls(slot, calls.to_vec());
                    steps
                };
                let calls = shrink(calls, ATTEMPTS, |calls| shows(&with(calls)));
                fewer = with(&calls);
            }
        }
        last
    }
}

impl Difference {
    fn exists(&self) -> bool {
        self.apache.len() != self.palisade.len()
            || (0..self.apache.len()).any(|at| !agree(self.step(at), &self.apache[at], &self.palisade[at]))
    }

    /// The step to which the element of what was told belongs.
    fn step(&self, at: usize) -> Option<&Step> {
        self.steps.get(at.checked_sub(1)?)
    }
}

fn agree(step: Option<&Step>, apache: &[String], palisade: &[String]) -> bool {
    apache.len() == palisade.len()
        && apache.iter().zip(palisade).all(|(apache, palisade)| rules::agree(step, apache, palisade))
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nothing = Told::new();
        for at in 0..self.apache.len().max(self.palisade.len()) {
            let apache = self.apache.get(at).unwrap_or(&nothing);
            let palisade = self.palisade.get(at).unwrap_or(&nothing);
            match self.step(at) {
                Some(step) => writeln!(f, "{step:?}")?,
                None => writeln!(f, "(begin or end)")?,
            }
            if agree(self.step(at), apache, palisade) {
                apache.iter().try_for_each(|line| writeln!(f, "      both     {line}"))?;
            } else {
                apache.iter().try_for_each(|line| writeln!(f, "  >>> Apache   {line}"))?;
                palisade.iter().try_for_each(|line| writeln!(f, "  >>> Palisade {line}"))?;
            }
        }
        Ok(())
    }
}
