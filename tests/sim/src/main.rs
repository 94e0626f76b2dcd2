//! Runs seeds of the simulator and prints how to replay those that fail.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use palisade_sim::{Report, Sabotage, run};

/// Runs whole simulated ensembles, one per seed, and checks their histories.
#[derive(Debug, Parser)]
struct Args {
    /// First seed.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How many seeds.
    #[arg(long, default_value_t = 1)]
    count: u64,
    /// Print every step.
    #[arg(long)]
    trace: bool,
    /// Break something on purpose; then a violation is success, and none is failure.
    #[arg(long)]
    sabotage: Option<Sabotage>,
    /// How many failures are enough.
    #[arg(long, default_value_t = 5)]
    failures: usize,
    /// How many seeds to run at a time.
    #[arg(long, default_value_t = 2)]
    threads: u64,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let started = Instant::now();
    let runs: Vec<(Report, Vec<(u64, String)>)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..args.threads)
            .map(|worker| {
                let args = &args;
                scope.spawn(move || {
                    let seeds = (args.seed..args.seed + args.count).skip(worker as usize);
                    let (mut sum, mut failures) = (Report::default(), Vec::new());
                    for seed in seeds.step_by(args.threads as usize) {
                        match run(seed, args.sabotage, args.trace) {
                            Ok(report) => sum += report,
                            Err(what) => failures.push((seed, what)),
                        }
                        if failures.len() >= args.failures {
                            break;
                        }
                    }
                    (sum, failures)
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap_or_default()).collect()
    });
    let mut sum = Report::default();
    let mut failures = Vec::new();
    for (report, failed) in runs {
        sum += report;
        failures.extend(failed);
    }
    for (seed, what) in &failures {
        println!("seed {seed}: {what}");
        println!("  replay: cargo run --release -p palisade-sim -- --seed {seed} --trace");
    }
    println!(
        "{} seeds from {} in {:.1?}: {} failed",
        args.count,
        args.seed,
        started.elapsed(),
        failures.len()
    );
    println!(
        "{} transactions; writes through gateways: {} answered, {} sent again, {} with an unknown outcome",
        sum.committed, sum.answered, sum.again, sum.lost
    );
    if failures.is_empty() == args.sabotage.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
