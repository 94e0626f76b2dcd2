//! `neighbours`: one tenant's writes beside another's storm of fine-grained locks.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::compare::launch::{Ensemble, Limits, Side, VOTERS};
use crate::env::{Env, reserve_descriptors};
use crate::failure::Failure;
use crate::machines::Elsewhere;
use crate::outcome::Latency;
use crate::report::rounds::{Figure, Note, Rounds, Row, Sum};
use crate::scenario::orders::{self, Orders, Taken};
use crate::scenario::requests::Load;
use crate::scenario::steady::{self, Steady};

const HELP: &str = "\
Starts three voters and two tenants' servers, first Apache's, then Palisade's with its limits on locks off, then with \
their defaults; all on this machine, with the same zoo.cfg. One tenant, discovery, writes at a fixed rate. The other, \
scheduling, locks orders by Curator's and kazoo's recipes, each with a parent of its own, and holds elections. Needs what \
`compare` needs.";

/// Measures what one tenant's storm of locks does to another tenant.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Neighbours {
    /// The palisade binary.
    #[arg(long, value_name = "FILE", default_value = "target/release/palisade")]
    palisade: PathBuf,
    /// Clients that lock orders.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    clients: u32,
    /// Locks a second that they want together.
    #[arg(long, value_name = "LOCKS", default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    locks: u32,
    /// Writes a second of the other tenant.
    #[arg(long, value_name = "OPS", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    writes: u32,
    /// Time for each measurement, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = crate::args::seconds)]
    duration: Duration,
    /// How often each is measured, alone and beside the storm in turn.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Keep scheduling's clients and its server on the last processor, where all else goes first, and all folders in memory:
    /// as near as one machine comes to several. The variable TMPDIR names another place for the folders.
    #[arg(long)]
    apart: bool,
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
    limits: Limits,
}

const VARIANTS: [Variant; 3] = [
    Variant { name: "Apache", side: Side::Apache, limits: Limits::Default },
    Variant { name: "Palisade, limits off", side: Side::Palisade, limits: Limits::Off },
    Variant { name: "Palisade", side: Side::Palisade, limits: Limits::Default },
];

/// One measurement.
#[derive(Debug)]
struct Round {
    alone: Measured,
    beside: Measured,
    taken: Taken,
    /// The path that `palisade top` names first.
    offender: Option<String>,
}

/// Discovery's writes.
#[derive(Debug)]
struct Measured {
    latency: Latency,
    /// Processor time of the leader, and of all voters, ms per second.
    leader: f64,
    voters: f64,
}

/// Starts everything, measures, and returns the table.
pub(crate) fn run(env: &Env, args: &Neighbours) -> Result<String, Failure> {
    Ensemble::check(&args.palisade)?;
    reserve_descriptors(u64::from(args.clients) * 3 + 500)?;
    let elsewhere = args.apart.then(Elsewhere::shared).transpose()?;
    let mut rows = Vec::new();
    for variant in VARIANTS.into_iter().filter(|variant| !args.without_apache || variant.side != Side::Apache)
    {
        let ensemble = Ensemble::tenants(env, variant.side, &args.palisade, variant.limits, elsewhere)
            .map_err(Failure::before)?;
        let rounds = (0..args.rounds)
            .map(|_| round(env, args, &ensemble, elsewhere))
            .collect::<Result<Vec<_>, _>>()?;
        rows.push(Row { name: variant.name, rounds });
    }
    args.json.as_ref().map(|file| REPORT.write_json(&rows, file)).transpose()?;
    Ok(REPORT.table(&rows))
}

fn round(
    env: &Env,
    args: &Neighbours,
    ensemble: &Ensemble,
    elsewhere: Option<Elsewhere>,
) -> Result<Round, Failure> {
    let leader = ensemble.leader()?;
    let mut discovery = ensemble.site_at(VOTERS, &(0..VOTERS).collect::<Vec<_>>());
    discovery.root = "/discovery".into();
    let mut scheduling = ensemble.site_at(VOTERS + 1, &[]);
    scheduling.root = "/scheduling".into();
    let steady = Steady {
        load: Load::Set,
        connections: 10,
        pipeline: 1000,
        rate: Some(args.writes),
        warmup: Duration::from_secs(1),
        duration: args.duration,
        size: 100,
        znodes: 100,
        children: 0,
    };
    let measure = || -> Result<Measured, Failure> {
        let before = discovery.servers.sample()?;
        let mut outcome = steady::run(env, &discovery, &steady)?;
        let used = discovery.servers.since(&before)?;
        let per_second = |cpu: Duration| cpu.as_secs_f64() * 1e3 / used.time.as_secs_f64();
        let latency = outcome.latencies.pop().map_or_else(Latency::new, |(_, latency)| latency);
        let leader = per_second(used.cpu.get(leader).copied().unwrap_or_default());
        Ok(Measured { latency, leader, voters: per_second(used.total()) })
    };
    let alone = measure()?;
    let orders = Orders { clients: args.clients as usize, rate: args.locks, leaders: 3 };
    let over = AtomicBool::new(false);
    scheduling.with_root(env, orders.clients + orders.leaders, || {
        thread::scope(|scope| {
            let storm = scope.spawn(|| {
                let _away = elsewhere.as_ref().map(Elsewhere::enter).transpose()?;
                orders::run(env, &scheduling, &orders, &|| over.load(Ordering::Relaxed))
            });
            // Until it has become what it will be: limits begin when fine-grained use is recognised.
            thread::sleep(args.duration.min(Duration::from_secs(3)));
            let beside = measure();
            let offender = offender(ensemble.admin(VOTERS + 1));
            over.store(true, Ordering::Relaxed);
            let taken = storm.join().map_err(|_| Failure::During("the storm's thread panicked".into()))??;
            Ok(Round { alone, beside: beside?, taken, offender })
        })
    })
}

/// The path whose locks are taken most often, as the gateway's `/top` tells it.
fn offender(admin: Option<u16>) -> Option<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, admin?)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.write_all(b"GET /top HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (_, locks) = answer.split_once("\"locks\"")?;
    let (_, name) = locks.split_once("\"name\"")?;
    name.split('"').nth(1).map(str::to_owned)
}

const REPORT: Rounds<Round> = Rounds { figures: &FIGURES, sums: &SUMS, notes: &NOTES };

const FIGURES: [Figure<Round>; 16] = [
    ("discovery's write p50, alone, ms", |round| round.alone.latency.quantile_ms(0.5)),
    ("discovery's write p50, beside, ms", |round| round.beside.latency.quantile_ms(0.5)),
    ("discovery's write p99, alone, ms", |round| round.alone.latency.quantile_ms(0.99)),
    ("discovery's write p99, beside, ms", |round| round.beside.latency.quantile_ms(0.99)),
    ("leader's cpu, alone, ms/s", |round| round.alone.leader),
    ("leader's cpu, beside, ms/s", |round| round.beside.leader),
    ("all voters' cpu, alone, ms/s", |round| round.alone.voters),
    ("all voters' cpu, beside, ms/s", |round| round.beside.voters),
    ("the storm's time, s", |round| round.taken.time.as_secs_f64()),
    ("orders locked, locks/s", |round| round.per_second(round.taken.orders)),
    ("refused, locks/s", |round| round.per_second(round.taken.refused)),
    ("waiting for an order's lock, p50, ms", |round| round.taken.wait.quantile_ms(0.5)),
    ("waiting for an order's lock, p99, ms", |round| round.taken.wait.quantile_ms(0.99)),
    ("elections, terms/s", |round| round.per_second(round.taken.terms)),
    ("longest time between two terms, ms", |round| round.taken.longest_wait.as_secs_f64() * 1e3),
    ("locks left behind", |round| round.taken.stranded as f64),
];

const SUMS: [Sum<Round>; 4] = [
    ("p99 of all rounds' writes, alone, ms", |rounds| p99(rounds, |round| &round.alone)),
    ("p99 of all rounds' writes, beside, ms", |rounds| p99(rounds, |round| &round.beside)),
    ("beside / alone, p50", |rounds| {
        let p50 = |part| quantile(rounds, part, 0.5);
        p50(|round| &round.beside) / p50(|round| &round.alone)
    }),
    ("beside / alone, p99", |rounds| p99(rounds, |round| &round.beside) / p99(rounds, |round| &round.alone)),
];

const NOTES: [Note<Round>; 1] = [("`palisade top` names first", |rounds| {
    let mut named: Vec<&str> = rounds.iter().map(|round| round.offender.as_deref().unwrap_or("–")).collect();
    named.dedup();
    named.join(", ")
})];

fn p99(rounds: &[Round], part: fn(&Round) -> &Measured) -> f64 {
    quantile(rounds, part, 0.99)
}

fn quantile(rounds: &[Round], part: fn(&Round) -> &Measured, quantile: f64) -> f64 {
    let mut all = Latency::new();
    rounds.iter().for_each(|round| all.merge(&part(round).latency));
    all.quantile_ms(quantile)
}

impl Round {
    fn per_second(&self, count: u64) -> f64 {
        count as f64 / self.taken.time.as_secs_f64()
    }
}
