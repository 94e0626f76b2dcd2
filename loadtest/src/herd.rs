//! `herd`: one tenant's reads and writes beside another's herd of watchers.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::compare::launch::{Ensemble, Limits, Side, VOTERS};
use crate::compare::measure::PACE;
use crate::env::{Env, reserve_descriptors};
use crate::failure::Failure;
use crate::machines::Elsewhere;
use crate::outcome::{Latency, Outcome};
use crate::report::rounds::{Figure, Rounds, Row, Sum};
use crate::scenario::fanout::{self, Fanout};
use crate::scenario::requests::Load;
use crate::scenario::steady::{self, Steady};

const HELP: &str = "\
Starts three voters and two tenants' servers, first Apache's, then Palisade's with notifications that are not paced, then \
with waves of 6,000 a second; all on this machine, with the same zoo.cfg. One tenant, discovery, writes and then reads at \
fixed rates, each alone and then while a znode of the other, scheduling, changes again and again: all its sessions watch \
it, and read it when they are told. Scheduling's server and sessions are on the last processor, all else on the others, and \
all folders are in memory: as near as one machine comes to several. The variable TMPDIR names another place for the \
folders. Needs what `compare` needs, and two processors.";

/// How long one look at whether the herd has begun may lie behind.
const LOOK: Duration = Duration::from_millis(10);

/// Measures what one tenant's herd of watchers does to another tenant.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct HerdArgs {
    /// The palisade binary.
    #[arg(long, value_name = "FILE", default_value = "target/release/palisade")]
    palisade: PathBuf,
    /// Sessions that watch.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    watchers: u32,
    /// Writes a second of the other tenant.
    #[arg(long, value_name = "OPS", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    writes: u32,
    /// Its reads a second.
    #[arg(long, value_name = "OPS", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    reads: u32,
    /// Time for each measurement, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = crate::args::seconds)]
    duration: Duration,
    /// How often each is measured, alone and beside the herd in turn.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Leave Apache out.
    #[arg(long)]
    without_apache: bool,
    /// Also write the results to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What is measured.
#[derive(Clone, Copy, Debug)]
struct Variant {
    name: &'static str,
    side: Side,
    paced: bool,
}

const VARIANTS: [Variant; 3] = [
    Variant { name: "Apache", side: Side::Apache, paced: false },
    Variant { name: "Palisade, at once", side: Side::Palisade, paced: false },
    Variant { name: "Palisade, in waves", side: Side::Palisade, paced: true },
];

/// One measurement.
#[derive(Debug)]
struct Round {
    alone: Measured,
    beside: Measured,
    herd: Outcome,
}

/// How long discovery's requests took.
#[derive(Debug)]
struct Measured {
    writes: Latency,
    reads: Latency,
}

/// Starts everything, measures, and returns the table.
pub(crate) fn run(env: &Env, args: &HerdArgs) -> Result<String, Failure> {
    Ensemble::check(&args.palisade)?;
    reserve_descriptors(u64::from(args.watchers) + 500)?;
    let (elsewhere, _left) = Elsewhere::alone()?;
    let mut rows = Vec::new();
    for Variant { name, side, paced } in VARIANTS {
        if args.without_apache && side == Side::Apache {
            continue;
        }
        let mut ensemble = Ensemble::tenants(env, side, &args.palisade, Limits::Default, Some(elsewhere))
            .map_err(Failure::before)?;
        if paced {
            ensemble.pace(env, VOTERS + 1, PACE)?;
        }
        let round = |_| round(env, args, &ensemble, &elsewhere);
        rows.push(Row { name, rounds: (0..args.rounds).map(round).collect::<Result<_, _>>()? });
    }
    args.json.as_ref().map(|file| REPORT.write_json(&rows, file)).transpose()?;
    Ok(REPORT.table(&rows))
}

fn round(env: &Env, args: &HerdArgs, ensemble: &Ensemble, elsewhere: &Elsewhere) -> Result<Round, Failure> {
    let mut discovery = ensemble.site_at(VOTERS, &[]);
    discovery.root = "/discovery".into();
    let mut scheduling = ensemble.site_at(VOTERS + 1, &[]);
    scheduling.root = "/scheduling".into();
    let latency = |load, rate| -> Result<Latency, Failure> {
        let steady = Steady {
            load,
            connections: 10,
            pipeline: 1000,
            rate: Some(rate),
            warmup: Duration::from_secs(1),
            duration: args.duration,
            size: 100,
            znodes: 100,
            children: 0,
        };
        let mut outcome = steady::run(env, &discovery, &steady)?;
        Ok(outcome.latencies.pop().map_or_else(Latency::new, |(_, latency)| latency))
    };
    let measure = || {
        Ok::<_, Failure>(Measured {
            writes: latency(Load::Set, args.writes)?,
            reads: latency(Load::Get, args.reads)?,
        })
    };
    let alone = measure()?;
    let watchers = args.watchers as usize;
    let fanout = Fanout { watchers, changes: 0, reread: true, persistent: false, size: 100 };
    let (begun, over) = (AtomicBool::new(false), AtomicBool::new(false));
    let goes_on = |_| {
        begun.store(true, Ordering::Relaxed);
        !over.load(Ordering::Relaxed)
    };
    thread::scope(|scope| {
        let herd = scope.spawn(|| {
            let _away = elsewhere.enter()?;
            fanout::run_while(env, &scheduling, &fanout, &goes_on)
        });
        while !begun.load(Ordering::Relaxed) && !herd.is_finished() {
            thread::sleep(LOOK);
        }
        let beside = measure();
        over.store(true, Ordering::Relaxed);
        let herd = herd.join().map_err(|_| Failure::During("the herd's thread panicked".into()))??;
        Ok(Round { alone, beside: beside?, herd })
    })
}

const REPORT: Rounds<Round> = Rounds { figures: &FIGURES, sums: &SUMS, notes: &[] };

const FIGURES: [Figure<Round>; 12] = [
    ("discovery's write p50, alone, ms", |round| round.alone.writes.quantile_ms(0.5)),
    ("discovery's write p50, beside, ms", |round| round.beside.writes.quantile_ms(0.5)),
    ("discovery's write p99, alone, ms", |round| round.alone.writes.quantile_ms(0.99)),
    ("discovery's write p99, beside, ms", |round| round.beside.writes.quantile_ms(0.99)),
    ("discovery's read p50, alone, ms", |round| round.alone.reads.quantile_ms(0.5)),
    ("discovery's read p50, beside, ms", |round| round.beside.reads.quantile_ms(0.5)),
    ("discovery's read p99, alone, ms", |round| round.alone.reads.quantile_ms(0.99)),
    ("discovery's read p99, beside, ms", |round| round.beside.reads.quantile_ms(0.99)),
    ("last of the herd told, ms", |round| metric(round, "last told")),
    ("last of the herd answered, ms", |round| metric(round, "last read")),
    ("most told in a second", |round| metric(round, "peak told")),
    ("most answered in a second", |round| metric(round, "peak read")),
];

const SUMS: [Sum<Round>; 2] = [
    ("writes, beside / alone, p99 of all rounds", |rounds| ratio(rounds, |measured| &measured.writes)),
    ("reads, beside / alone, p99 of all rounds", |rounds| ratio(rounds, |measured| &measured.reads)),
];

fn metric(round: &Round, name: &str) -> f64 {
    round.herd.get(name).unwrap_or(f64::NAN)
}

fn ratio(rounds: &[Round], part: fn(&Measured) -> &Latency) -> f64 {
    let p99 = |when: fn(&Round) -> &Measured| {
        let mut all = Latency::new();
        rounds.iter().for_each(|round| all.merge(part(when(round))));
        all.quantile_ms(0.99)
    };
    p99(|round| &round.beside) / p99(|round| &round.alone)
}
