//! The servers and what differs between them.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use palisade_wire::OpCode;

use super::rules;
use super::run::{Told, run};
use super::shrink::shrink;
use super::step::{Call, Step};
use super::{Sessions, Version, View};

/// Runs of a sequence in search of a shorter one.
const ATTEMPTS: usize = 150;

/// What is compared with what.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// Of the reference.
    pub version: Version,
    /// Of the others.
    pub sessions: Sessions,
    /// Of the others.
    pub view: View,
}

impl Kind {
    /// Whether some servers answer this without asking the leader, and so use no zxid: the rules on malformed writes and
    /// on reconfigurations.
    pub(super) fn may_spare_its_zxid(self, call: &Call) -> bool {
        call.is_malformed_write() || self.view == View::Part && call.is(OpCode::Reconfig)
    }
}

/// A server of which nobody else makes use.
#[derive(Clone, Debug)]
pub struct Target {
    /// What differences call it.
    pub name: &'static str,
    /// `host:port` for clients.
    pub address: String,
    /// Whether what it has answered may not be counted for quotas yet. Then what it says when there are some is not
    /// compared.
    pub counts_late: bool,
}

/// The servers that are to tell the same.
#[derive(Debug)]
pub struct Targets {
    kind: Kind,
    reference: Target,
    others: Vec<Target>,
    /// Sequences run so far; each has a folder of its own.
    runs: AtomicU32,
}

/// What the servers told, as far as it is not the same.
#[derive(Debug)]
pub struct Difference {
    version: Version,
    steps: Vec<Step>,
    reference: (&'static str, Vec<Told>),
    /// Those only that differ.
    others: Vec<(&'static str, Vec<Told>)>,
}

impl Targets {
    /// `others` are to tell what `reference` does, an Apache server.
    pub const fn new(kind: Kind, reference: Target, others: Vec<Target>) -> Self {
        Self { kind, reference, others, runs: AtomicU32::new(0) }
    }

    /// What is compared.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Fails if the servers do not tell the same. What they are told is large, so only the first difference is shown.
    #[track_caller]
    pub fn assert_alike(&self, what: &str, steps: &[Step]) {
        if let Some(difference) = self.compare(steps) {
            let text = difference.to_string();
            let lines = text.lines().filter(|line| line.trim_start().starts_with(">>>"));
            lines.for_each(|line| println!("{}", line.chars().take(500).collect::<String>()));
            panic!("{what}: see the differences above");
        }
    }

    /// Runs a sequence against all servers.
    pub fn compare(&self, steps: &[Step]) -> Option<Difference> {
        let root = format!("/c{:07}", self.runs.fetch_add(1, Ordering::Relaxed));
        let run = |target: &Target| (target.name, run(target, self.kind, &root, steps));
        let (reference, others) = thread::scope(|scope| {
            let others: Vec<_> = self.others.iter().map(|target| scope.spawn(move || run(target))).collect();
            let join = |run: thread::ScopedJoinHandle<'_, _>| {
                run.join().expect("a run does not panic while its server accepts connections")
            };
            (run(&self.reference), others.into_iter().map(join).collect::<Vec<_>>())
        });
        let is_counted = steps.iter().any(Step::is_about_quotas);
        let others = self.others.iter().zip(others).filter(|(target, _)| !(is_counted && target.counts_late));
        let others = others.map(|(_, told)| told).collect();
        let mut difference =
            Difference { version: self.kind.version, steps: steps.to_vec(), reference, others };
        difference.forget_the_same();
        (!difference.others.is_empty()).then_some(difference)
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
                let (Step::Calls(_, calls) | Step::Close(_, calls)) = fewer[at].clone() else { continue };
                let with = |fewer: &[Step], calls: &[Call]| {
                    let mut steps = fewer.to_vec();
                    if let Step::Calls(_, all) | Step::Close(_, all) = &mut steps[at] {
                        *all = calls.to_vec();
                    }
                    steps
                };
                let calls = shrink(calls, ATTEMPTS, |calls| shows(&with(&fewer, calls)));
                fewer = with(&fewer, &calls);
            }
        }
        last
    }
}

impl Difference {
    fn forget_the_same(&mut self) {
        let Self { version, steps, reference: (_, reference), others } = self;
        others.retain(|(_, told)| {
            let mut each = 0..told.len().max(reference.len());
            each.any(|at| !agree(*version, step(steps, at), reference.get(at), told.get(at)))
        });
    }
}

/// The step to which the element of what was told belongs.
fn step(steps: &[Step], at: usize) -> Option<&Step> {
    steps.get(at.checked_sub(1)?)
}

fn agree(version: Version, step: Option<&Step>, reference: Option<&Told>, other: Option<&Told>) -> bool {
    let (Some(reference), Some(other)) = (reference, other) else { return reference == other };
    reference.len() == other.len()
        && reference.iter().zip(other).all(|(line, other)| rules::agree(version, step, line, other))
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (reference_name, reference) = &self.reference;
        let longest = self.others.iter().map(|(_, told)| told.len()).fold(reference.len(), usize::max);
        for at in 0..longest {
            let step = step(&self.steps, at);
            match step {
                Some(step) => writeln!(f, "{step:?}")?,
                None => writeln!(f, "(begin or end)")?,
            }
            let expected = reference.get(at);
            let differ = |told: &Vec<Told>| !agree(self.version, step, expected, told.get(at));
            let differing: Vec<_> = self.others.iter().filter(|(_, told)| differ(told)).collect();
            let mark = if differing.is_empty() { "   " } else { ">>>" };
            write_lines(f, mark, reference_name, expected)?;
            for (name, told) in differing {
                write_lines(f, mark, name, told.get(at))?;
            }
        }
        Ok(())
    }
}

fn write_lines(f: &mut fmt::Formatter<'_>, mark: &str, name: &str, told: Option<&Told>) -> fmt::Result {
    told.into_iter().flatten().try_for_each(|line| writeln!(f, "  {mark} {name:24} {line}"))
}
