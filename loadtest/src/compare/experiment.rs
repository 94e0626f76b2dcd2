//! What is measured on both sides, and what is aimed at.

use crate::compare::launch::Ensemble;
use crate::compare::measure;
use crate::compare::scale::Scale;
use crate::env::Env;
use crate::failure::Failure;
use crate::outcome::Outcome;
use crate::scenario::requests::Load;
use crate::scenario::steady::Steady;

/// What a figure of Palisade's is divided by before it is compared with the bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    /// Apache's.
    Apache,
    /// The echo server's.
    Floor,
    /// Nothing.
    Itself,
}

/// What is aimed at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Target {
    /// The figure.
    pub(super) metric: &'static str,
    /// What it is divided by.
    pub(super) of: Of,
    /// Whether the bound is the least that will do; otherwise it is the most.
    pub(super) at_least: bool,
    /// The bound.
    pub(super) bound: f64,
    /// The same for people.
    pub(super) text: &'static str,
}

/// How an experiment is done.
#[derive(Clone, Debug)]
pub(super) enum Method {
    /// A steady load, on servers that keep running; whether the processor time of all servers counts or only that of
    /// the one for the clients, and whether there is a floor.
    Steady { load: Load, connections: usize, pipeline: usize, all: bool, floor: bool },
    /// On servers that have just been started.
    Fresh(fn(&Env, &Scale, &mut Ensemble) -> Result<Outcome, Failure>),
}

/// One experiment.
#[derive(Clone, Debug)]
pub(super) struct Experiment {
    /// Its name on the command line.
    pub(super) name: &'static str,
    /// Its name in the table.
    pub(super) title: &'static str,
    /// How it is done.
    pub(super) method: Method,
    /// The figures that are shown.
    pub(super) shown: &'static [&'static str],
    /// What is aimed at.
    pub(super) targets: Vec<Target>,
}

impl Scale {
    /// The steady load of this scale.
    pub(super) fn steady(&self, load: Load, connections: usize, pipeline: usize) -> Steady {
        Steady {
            load,
            connections,
            pipeline,
            rate: None,
            warmup: self.warmup,
            duration: self.seconds,
            size: 100,
            // Eleven znodes each for a list of ten.
            znodes: if load == Load::Children { 100 } else { 1000 },
            children: 10,
        }
    }
}

const STEADY: &[&str] = &["throughput", "p50", "p99", "server cpu"];

const fn most(metric: &'static str, of: Of, bound: f64, text: &'static str) -> Target {
    Target { metric, of, at_least: false, bound, text }
}

const fn least(metric: &'static str, of: Of, bound: f64, text: &'static str) -> Target {
    Target { metric, of, at_least: true, bound, text }
}

/// All experiments, in the order in which they are shown.
pub(super) fn all() -> Vec<Experiment> {
    let mut all = steady();
    all.extend(many_sessions());
    all.extend(memory());
    all.extend(faults());
    all
}

fn steady() -> Vec<Experiment> {
    let read = |name, title, load| Experiment {
        name,
        title,
        method: Method::Steady { load, connections: 50, pipeline: 16, all: false, floor: true },
        shown: STEADY,
        targets: vec![
            least("throughput", Of::Apache, 4.0, "≥ 4"),
            most("server cpu", Of::Apache, 1.0 / 6.0, "≤ 1/6"),
            most("server cpu", Of::Floor, 2.0, "≤ 2 × floor"),
        ],
    };
    let write = |name, title, load, connections, pipeline, targets| Experiment {
        name,
        title,
        method: Method::Steady { load, connections, pipeline, all: true, floor: false },
        shown: STEADY,
        targets,
    };
    vec![
        read("get", "get 100 B, 50 × 16", Load::Get),
        read("exists", "exists, 50 × 16", Load::Exists),
        read("children", "10 children, 50 × 16", Load::Children),
        Experiment {
            name: "get-1",
            title: "get 100 B, 50 × 1",
            method: Method::Steady { load: Load::Get, connections: 50, pipeline: 1, all: false, floor: true },
            shown: STEADY,
            targets: vec![
                most("server cpu", Of::Apache, 0.5, "≤ 1/2"),
                most("server cpu", Of::Floor, 1.3, "≤ 1.3 × floor"),
            ],
        },
        write(
            "set",
            "set 100 B, 50 × 16",
            Load::Set,
            50,
            16,
            vec![
                least("throughput", Of::Apache, 3.0, "≥ 3"),
                most("p99", Of::Apache, 1.0 / 3.0, "≤ 1/3"),
                most("server cpu", Of::Apache, 0.2, "≤ 1/5"),
            ],
        ),
        write(
            "set-1",
            "set 100 B, 1 × 1",
            Load::Set,
            1,
            1,
            vec![
                most("p50", Of::Apache, 2.0 / 3.0, "≤ 2/3"),
                most("server cpu", Of::Apache, 1.0 / 3.0, "≤ 1/3"),
            ],
        ),
        write(
            "ephemeral",
            "ephemeral sequential create + delete, 50 × 4",
            Load::Ephemeral,
            50,
            4,
            vec![most("server cpu", Of::Apache, 0.2, "≤ 1/5")],
        ),
    ]
}

fn many_sessions() -> Vec<Experiment> {
    vec![
        Experiment {
            name: "idle",
            title: "10,000 idle sessions",
            method: Method::Fresh(measure::idle),
            shown: &[
                "rss",
                "server cpu",
                "to the leader, beyond an idle gateway's",
                "leader's cpu, beyond an idle gateway's",
            ],
            targets: vec![
                most("rss", Of::Itself, 2048.0, "≤ 2 KiB"),
                most("server cpu", Of::Apache, 0.25, "≤ 1/4"),
                most("to the leader, beyond an idle gateway's", Of::Itself, 100.0, "≤ 100 B/s"),
                most("leader's cpu, beyond an idle gateway's", Of::Itself, 1.0, "≤ 1 ms/s"),
            ],
        },
        Experiment {
            name: "fan-out",
            title: "10,000 watchers, one change",
            method: Method::Fresh(measure::fanout),
            shown: &["last told", "server cpu"],
            targets: vec![
                most("last told", Of::Apache, 0.2, "≤ 1/5"),
                most("server cpu", Of::Apache, 0.2, "≤ 1/5"),
            ],
        },
        Experiment {
            name: "fan-out-reread",
            title: "the same, and each reads",
            method: Method::Fresh(measure::fanout_reread),
            shown: &["last read", "server cpu"],
            targets: Vec::new(),
        },
        Experiment {
            name: "fan-out-paced",
            title: "the same, at 6,000 a second",
            method: Method::Fresh(measure::fanout_paced),
            shown: &["peak told", "peak read"],
            targets: ["peak told", "peak read"]
                .into_iter()
                .flat_map(|metric| {
                    let pace = f64::from(measure::PACE);
                    [
                        most(metric, Of::Itself, pace * 1.1, "≤ 6,600"),
                        least(metric, Of::Itself, pace * 0.9, "≥ 5,400"),
                    ]
                })
                .collect(),
        },
        Experiment {
            name: "storm",
            title: "5,000 sessions reconnect at once",
            method: Method::Fresh(measure::storm),
            shown: &["last back", "never back", "expired", "server cpu"],
            targets: vec![
                most("last back", Of::Itself, 1000.0, "≤ 1 s"),
                most("never back", Of::Itself, 0.0, "none"),
                most("expired", Of::Itself, 0.0, "none"),
            ],
        },
    ]
}

fn memory() -> Vec<Experiment> {
    vec![
        Experiment {
            name: "empty",
            title: "empty voters",
            method: Method::Fresh(measure::empty),
            shown: &["largest voter"],
            targets: vec![most("largest voter", Of::Itself, 20.0, "≤ 20 MB")],
        },
        Experiment {
            name: "watches",
            title: "1 M exist watches, 200 sessions × 5,000 paths",
            method: Method::Fresh(measure::watches),
            shown: &["rss"],
            targets: vec![most("rss", Of::Itself, 24.0, "≤ 24 B")],
        },
        Experiment {
            name: "znodes",
            title: "200,000 znodes of 100 B",
            method: Method::Fresh(measure::znodes),
            shown: &["rss", "rss of a voter", "restart, server for clients", "restart, all four"],
            targets: vec![
                most("rss", Of::Itself, 300.0, "≤ 300 B"),
                most("rss of a voter", Of::Itself, 300.0, "≤ 300 B"),
                most("restart, server for clients", Of::Apache, 0.2, "≤ 1/5"),
                most("restart, all four", Of::Apache, 0.2, "≤ 1/5"),
            ],
        },
    ]
}

fn faults() -> Vec<Experiment> {
    let resumed = "writes resumed after the servers were back";
    vec![
        Experiment {
            name: "quorum",
            title: "2 of 3 voters killed for 15 s",
            method: Method::Fresh(measure::quorum),
            shown: &["reads that succeeded", "writes resumed after the servers were back"],
            targets: vec![
                least("reads that succeeded", Of::Itself, 100.0, "100 %"),
                most(resumed, Of::Itself, 1000.0, "≤ 1 s"),
            ],
        },
        Experiment {
            name: "leader",
            title: "leader killed",
            method: Method::Fresh(measure::leader),
            shown: &["writes out", "disconnects", "reads that succeeded"],
            targets: vec![
                most("writes out", Of::Itself, 250.0, "≤ 250 ms"),
                most("disconnects", Of::Itself, 0.0, "none"),
            ],
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_and_targets_are_shown() {
        let all = all();
        let mut names: Vec<&str> = all.iter().map(|experiment| experiment.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all.len());
        for experiment in &all {
            for target in &experiment.targets {
                assert!(experiment.shown.contains(&target.metric), "{}: {target:?}", experiment.name);
            }
        }
    }
}
