//! `compare`: the same experiments on Apache ZooKeeper and Palisade, on this machine.

mod config;
mod experiment;
pub(crate) mod launch;
pub(crate) mod measure;
mod result;
mod scale;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::json;

use crate::compare::experiment::{Experiment, Method};
use crate::compare::launch::{Ensemble, Side};
use crate::compare::result::Measured;
use crate::compare::scale::{Profile, Scale};
use crate::env::{Env, reserve_descriptors};
use crate::failure::Failure;
use crate::outcome::Outcome;
use crate::report;
use crate::scenario::{floor, steady};

const HELP: &str = "\
Needs Debian's packages libzookeeper-java, libslf4j-java, default-jre-headless and util-linux. Each side is three \
voters, and one observer (Palisade: a gateway) to which the clients connect, all on this machine, with the same \
zoo.cfg: every write is flushed to disk. The load generator shares the machine with both. Steady loads are put on \
both sides in turn, round by round; for everything else a side is started anew, alone.";

/// Runs the same experiments on Apache ZooKeeper and Palisade, and shows both, their ratio, and what was aimed at.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Compare {
    /// The palisade binary.
    #[arg(long, value_name = "FILE", default_value = "target/release/palisade")]
    palisade: PathBuf,
    /// How large and how long everything is.
    #[arg(long, value_enum, default_value = "quick")]
    profile: Profile,
    /// The experiments to do, comma-separated: get, exists, children, get-1, set, set-1, ephemeral, idle, fan-out,
    /// fan-out-reread, fan-out-paced, storm, empty, watches, znodes, quorum, leader. Without it, all.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// How often each experiment is done on each side, instead of as often as the profile says.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// A folder for the results: compare.md, compare.json, compare.html, and each plot as an SVG file.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// Starts both sides, measures, stops them, and returns the table.
pub(crate) fn run(env: &Env, args: &Compare) -> Result<String, Failure> {
    let mut scale = args.profile.scale();
    if let Some(rounds) = args.rounds {
        (scale.rounds, scale.fresh_rounds) = (rounds as usize, rounds as usize);
    }
    let experiments = choose(&args.only)?;
    Ensemble::check(&args.palisade)?;
    // The servers inherit the limit, and need a descriptor for each connection too.
    reserve_descriptors(scale.most_connections() as u64 + 200)?;
    if let Some(folder) = &args.out {
        let failed = |error| Failure::Before(format!("{}: {error}", folder.display()));
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut all: Vec<Measured> = experiments.into_iter().map(Measured::new).collect();
    let lab = Lab { env, scale, palisade: &args.palisade, start: Instant::now() };
    lab.steady(&mut all)?;
    lab.fresh(&mut all)?;
    let mut text = result::markdown(&all);
    if args.profile == Profile::Smoke {
        text.insert_str(
            0,
            "Everything was done in a size that shows only that it works: these figures say nothing.\n\n",
        );
    }
    if let Some(folder) = &args.out {
        write(folder, args.profile, &all, &text)?;
    }
    let failures: Vec<String> = all.iter().flat_map(|measured| measured.failures.clone()).collect();
    if failures.is_empty() {
        return Ok(text);
    }
    print!("{text}");
    Err(Failure::During(failures.join("\npalisade-loadtest: ")))
}

/// The experiments of these names, in the table's order.
fn choose(names: &[String]) -> Result<Vec<Experiment>, Failure> {
    let mut all = experiment::all();
    if let Some(unknown) = names.iter().find(|name| !all.iter().any(|experiment| experiment.name == **name)) {
        let known: Vec<&str> = all.iter().map(|experiment| experiment.name).collect();
        return Err(Failure::Before(format!("--only {unknown}: must be one of {}", known.join(", "))));
    }
    all.retain(|experiment| names.is_empty() || names.iter().any(|name| name == experiment.name));
    Ok(all)
}

/// Who goes first changes with every round, so that a drift of the machine favours nobody.
const fn sides(round: usize) -> [Side; 2] {
    if round.is_multiple_of(2) { [Side::Apache, Side::Palisade] } else { [Side::Palisade, Side::Apache] }
}

/// Where experiments are done.
struct Lab<'a> {
    env: &'a Env,
    scale: Scale,
    palisade: &'a Path,
    start: Instant,
}

impl Lab<'_> {
    /// All steady loads: both sides run all the time, and are measured in turn.
    fn steady(&self, all: &mut [Measured]) -> Result<(), Failure> {
        if !all.iter().any(|measured| matches!(measured.experiment.method, Method::Steady { .. })) {
            return Ok(());
        }
        let start = |side| Ensemble::start(self.env, side, self.palisade).map_err(Failure::before);
        let ensembles = [start(Side::Apache)?, start(Side::Palisade)?];
        // In a round of its own before the first one Apache's code is compiled while it runs.
        for round in 0..=self.scale.rounds {
            for measured in all.iter_mut() {
                for side in sides(round).into_iter().filter(|side| round > 0 || *side == Side::Apache) {
                    let ensemble = &ensembles[usize::from(side == Side::Palisade)];
                    let Some(outcome) = self.steady_load(&measured.experiment, Some(ensemble)) else {
                        continue;
                    };
                    if round > 0 {
                        measured.add(side, outcome)?;
                    }
                }
                if round > 0
                    && let Some(outcome) = self.steady_load(&measured.experiment, None)
                {
                    measured.floor.push(outcome?);
                }
                if round > 0 && measured.is_steady() {
                    self.done(round, self.scale.rounds, measured);
                }
            }
        }
        Ok(())
    }

    /// One steady load on one side, or on the floor; nothing if the experiment is none.
    fn steady_load(
        &self,
        experiment: &Experiment,
        ensemble: Option<&Ensemble>,
    ) -> Option<Result<Outcome, Failure>> {
        let Method::Steady { load, connections, pipeline, all, floor } = experiment.method else {
            return None;
        };
        let steady = self.scale.steady(load, connections, pipeline);
        match ensemble {
            Some(ensemble) => {
                let site = if all { ensemble.all() } else { ensemble.front() };
                Some(steady::run(self.env, &site, &steady).and_then(without_errors))
            }
            None => floor.then(|| floor::run(self.env, &steady)),
        }
    }

    /// Everything else: one side at a time, started anew for each experiment.
    fn fresh(&self, all: &mut [Measured]) -> Result<(), Failure> {
        for round in 0..self.scale.fresh_rounds {
            for measured in all.iter_mut() {
                let Method::Fresh(measure) = measured.experiment.method else { continue };
                for side in sides(round) {
                    let outcome = Ensemble::start(self.env, side, self.palisade)
                        .and_then(|mut ensemble| measure(self.env, &self.scale, &mut ensemble));
                    measured.add(side, outcome)?;
                }
                self.done(round + 1, self.scale.fresh_rounds, measured);
            }
        }
        Ok(())
    }

    /// Says how far it is.
    fn done(&self, round: usize, rounds: usize, measured: &Measured) {
        let name = measured.experiment.name;
        let seconds = self.start.elapsed().as_secs();
        self.env.progress.line(&format!("{seconds:>4} s: {name}, round {round} of {rounds}"));
    }
}

/// Operations that failed make a run worthless.
fn without_errors(outcome: Outcome) -> Result<Outcome, Failure> {
    match outcome.failed() {
        0 => Ok(outcome),
        failed => Err(Failure::During(format!("{failed} operations of {} failed", outcome.scenario))),
    }
}

fn write(folder: &Path, profile: Profile, all: &[Measured], table: &str) -> Result<(), Failure> {
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).map_err(|error| Failure::During(format!("{}: {error}", path.display())))
    };
    let experiments: serde_json::Map<_, _> =
        all.iter().map(|measured| (measured.experiment.name.to_owned(), measured.json())).collect();
    let profile = format!("{profile:?}").to_lowercase();
    let json = json!({ "profile": profile, "experiments": experiments });
    file("compare.json", &format!("{json:#}\n"))?;
    file("compare.md", table)?;
    let mut sections = Vec::new();
    for measured in all {
        let plots = measured.plots();
        for (n, plot) in plots.iter().enumerate() {
            file(&format!("{}-{}.svg", measured.experiment.name, n + 1), &plot.svg())?;
        }
        sections.push((measured.experiment.title.to_owned(), plots));
    }
    file("compare.html", &report::html::comparison(&result::cells(all), &sections))
}
