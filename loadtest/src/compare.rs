//! `compare`: the same loads against Apache ZooKeeper and Palisade, in turn, on this machine.

mod config;
mod launch;

mod table;

use std::path::PathBuf;
use std::time::Duration;

use crate::args::seconds;
use crate::compare::launch::Ensemble;
use crate::compare::table::{Pair, Sample};
use crate::env::Env;
use crate::failure::Failure;
use crate::scenario::requests::Load;
use crate::scenario::steady::{self, Steady};

/// What is run: name in the table, scenario, connections, requests under way on each.
const LOADS: [(&str, Load, usize, usize); 5] = [
    ("get, 50 x 16", Load::Get, 50, 16),
    ("get, 50 x 1", Load::Get, 50, 1),
    ("set, 50 x 16", Load::Set, 50, 16),
    ("set, 1 x 1", Load::Set, 1, 1),
    ("ephemeral, 50 x 4", Load::Ephemeral, 50, 4),
];

const HELP: &str = "\
Needs Debian's packages libzookeeper-java, libslf4j-java, default-jre-headless and util-linux. Each side is three \
voters, and one observer (Palisade: a gateway) to which the clients connect, all on this machine, with the same \
zoo.cfg: every write is flushed to disk. The load generator shares the machine with both.";

/// Runs the same loads against Apache ZooKeeper and Palisade in turn, and prints both and their ratio.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Compare {
    /// The palisade binary.
    #[arg(long, value_name = "FILE", default_value = "target/release/palisade")]
    palisade: PathBuf,
    /// How often each load is measured on each side.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Time that is measured each time, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    seconds: Duration,
    /// Load before each measurement, and on each side before the first round, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    warmup: Duration,
}

/// Starts both sides, measures, stops them, and returns the table.
pub(crate) fn run(env: &Env, args: &Compare) -> Result<String, Failure> {
    if args.seconds.is_zero() {
        return Err(Failure::Before("--seconds must be more than 0".into()));
    }
    let mut palisade = Ensemble::palisade(&args.palisade).map_err(Failure::before)?;
    let mut apache = Ensemble::apache().map_err(Failure::before)?;
    apache.wait_until_serving(env).map_err(Failure::before)?;
    palisade.wait_until_serving(env).map_err(Failure::before)?;
    if !args.warmup.is_zero() {
        for (_, load, connections, pipeline) in LOADS {
            let steady = closed(load, connections, pipeline, Duration::ZERO, args.warmup);
            measure(env, &apache, &steady)?;
            measure(env, &palisade, &steady)?;
        }
    }
    let mut results: Vec<(&str, Vec<Pair>)> = LOADS.iter().map(|load| (load.0, Vec::new())).collect();
    for round in 0..args.rounds {
        for ((name, load, connections, pipeline), (_, pairs)) in LOADS.into_iter().zip(&mut results) {
            let steady = closed(load, connections, pipeline, args.warmup, args.seconds);
            // Who goes first changes with every round, so that a drift of the machine favours nobody.
            let pair = if round.is_multiple_of(2) {
                let apache = measure(env, &apache, &steady)?;
                Pair { apache, palisade: measure(env, &palisade, &steady)? }
            } else {
                let palisade = measure(env, &palisade, &steady)?;
                Pair { apache: measure(env, &apache, &steady)?, palisade }
            };
            env.progress.line(&format!(
                "round {} of {}: {name}: Apache {:.0} op/s, Palisade {:.0} op/s",
                round + 1,
                args.rounds,
                pair.apache.throughput,
                pair.palisade.throughput
            ));
            pairs.push(pair);
        }
    }
    Ok(table::render(&results))
}

fn closed(load: Load, connections: usize, pipeline: usize, warmup: Duration, duration: Duration) -> Steady {
    Steady {
        load,
        connections,
        pipeline,
        rate: None,
        warmup,
        duration,
        size: 100,
        znodes: 1000,
        children: 10,
    }
}

/// One load on one side. Operations that failed make the run worthless, so they end it.
fn measure(env: &Env, ensemble: &Ensemble, steady: &Steady) -> Result<Sample, Failure> {
    let site = ensemble.site();
    let outcome = steady::run(env, &site, steady)?;
    if outcome.failed() > 0 {
        return Err(Failure::During(format!(
            "{}: {} operations of {} failed; nothing to compare",
            ensemble.name(),
            outcome.failed(),
            outcome.scenario
        )));
    }
    let get = |name| outcome.get(name).unwrap_or(f64::NAN);
    Ok(Sample {
        throughput: get("throughput"),
        p50_ms: get("p50"),
        p99_ms: get("p99"),
        cpu_us: get("server cpu"),
        rss_mib: site.servers.rss()?.iter().sum::<u64>() as f64 / f64::from(1 << 20),
    })
}
