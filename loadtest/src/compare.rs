//! `compare`: the same loads against Apache ZooKeeper and Palisade, in turn, on this machine.

mod config;
mod launch;
mod process;
mod table;

use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::args::{Load, Scenario, seconds};
use crate::compare::launch::Ensemble;
use crate::compare::table::{Pair, Sample};
use crate::{Failure, cpu};

/// What is run: name in the table, scenario, connections, requests under way on each.
const LOADS: [(&str, Scenario, u32, u32); 5] = [
    ("get, 50 x 16", Scenario::Get, 50, 16),
    ("get, 50 x 1", Scenario::Get, 50, 1),
    ("set, 50 x 16", Scenario::Set, 50, 16),
    ("set, 1 x 1", Scenario::Set, 1, 1),
    ("create and delete, 50 x 4", Scenario::CreateDelete, 50, 4),
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

/// Starts both sides, measures, stops them, and returns the table. Ctrl-C and SIGTERM stop them too.
pub(crate) async fn run(args: &Compare) -> Result<String, Failure> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    // Whichever branch wins, the other's servers are dropped, hence killed, before this returns.
    tokio::select! {
        table = measure_all(args) => table,
        _ = interrupt.recv() => Err("interrupted; all servers are stopped".into()),
        _ = terminate.recv() => Err("terminated; all servers are stopped".into()),
    }
}

async fn measure_all(args: &Compare) -> Result<String, Failure> {
    if args.seconds.is_zero() {
        return Err("--seconds must be more than 0".into());
    }
    let mut palisade = Ensemble::palisade(&args.palisade)?;
    let mut apache = Ensemble::apache()?;
    apache.wait_until_serving().await?;
    palisade.wait_until_serving().await?;
    if !args.warmup.is_zero() {
        for (_, scenario, connections, pipeline) in LOADS {
            let mut load = Load::closed(scenario, connections, pipeline);
            load.duration = args.warmup;
            measure(&apache, load.clone()).await?;
            measure(&palisade, load).await?;
        }
    }
    let mut results: Vec<(&str, Vec<Pair>)> = LOADS.iter().map(|load| (load.0, Vec::new())).collect();
    for round in 0..args.rounds {
        for ((name, scenario, connections, pipeline), (_, pairs)) in LOADS.into_iter().zip(&mut results) {
            let mut load = Load::closed(scenario, connections, pipeline);
            (load.warmup, load.duration) = (args.warmup, args.seconds);
            // Who goes first changes with every round, so that a drift of the machine favours nobody.
            let pair = if round.is_multiple_of(2) {
                let apache = measure(&apache, load.clone()).await?;
                Pair { apache, palisade: measure(&palisade, load).await? }
            } else {
                let palisade = measure(&palisade, load.clone()).await?;
                Pair { apache: measure(&apache, load).await?, palisade }
            };
            eprintln!(
                "round {} of {}: {name}: Apache {:.0} op/s, Palisade {:.0} op/s",
                round + 1,
                args.rounds,
                pair.apache.throughput,
                pair.palisade.throughput
            );
            pairs.push(pair);
        }
    }
    Ok(table::render(&results))
}

/// One load on one side. Operations that failed make the run worthless, so they end it.
async fn measure(ensemble: &Ensemble, mut load: Load) -> Result<Sample, Failure> {
    load.target = vec![ensemble.address()];
    load.pid = ensemble.pids();
    let report = crate::run(&load).await.map_err(|error| format!("{}: {error}", ensemble.name()))?;
    if report.errors() > 0 || report.measured.completed == 0 {
        return Err(format!(
            "{}: {} of {} operations of {} failed; nothing to compare",
            ensemble.name(),
            report.errors(),
            report.measured.completed,
            load.scenario.name()
        )
        .into());
    }
    let quantile_ms = |q| report.measured.latency.value_at_quantile(q) as f64 / 1000.0;
    Ok(Sample {
        throughput: report.throughput(),
        p50_ms: quantile_ms(0.5),
        p99_ms: quantile_ms(0.99),
        cpu_us: report.cpu_us_per_op().ok_or("the servers' processor time was not measured")?,
        rss_mib: cpu::resident_bytes(&load.pid)? as f64 / f64::from(1 << 20),
    })
}
