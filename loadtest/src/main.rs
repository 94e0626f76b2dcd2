//! Puts load on any server that speaks ZooKeeper's client protocol, and measures throughput, latency and the
//! server's processor time.

mod args;
mod client;
mod compare;
mod cpu;
mod report;
mod scenario;
mod worker;

use std::borrow::Cow;
use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use palisade_wire::request::Request;
use palisade_wire::{ErrorCode, OpCode};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::args::{Args, Command, Load};
use crate::client::{Client, ClientError};
use crate::report::Report;
use crate::scenario::{Plan, Requests};
use crate::worker::{Measured, Pace, Schedule};

/// Unanswered requests while znodes are created and deleted.
const SETUP_WINDOW: usize = 256;
/// Attempts to reach the server again for cleaning up, and the pause between them.
const RECONNECTS: usize = 20;
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);

/// What ends a run: many things do, and nobody tells them apart.
type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    match text(&Args::parse()).await {
        Ok(text) => print!("{text}"),
        Err(error) => {
            eprintln!("palisade-loadtest: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Does what is asked for, and returns what to print.
async fn text(args: &Args) -> Result<String, Failure> {
    match (&args.command, &args.load) {
        (Some(Command::Compare(compare)), _) => compare::run(compare).await,
        (None, Some(load)) => {
            let report = run(load).await?;
            Ok(if load.json { format!("{:#}\n", report.json()) } else { report.table() })
        }
        (None, None) => Err("no scenario is given; see --help".into()),
    }
}

async fn run(args: &Load) -> Result<Report<'_>, Failure> {
    let plan = Arc::new(Plan {
        scenario: args.scenario,
        reads: args.reads,
        root: args.root.clone(),
        znodes: (0..args.znodes).map(|n| format!("{}/{n}", args.root)).collect(),
        data: vec![b'x'; args.size as usize],
    });
    let first = args.target.first().ok_or("no target is given")?;
    // A process that does not exist is found now rather than in the middle.
    cpu::total(&args.pid)?;
    set_up(Client::connect(first).await?, &plan).await?;
    // Whatever happens, the znodes go again; but the first error is the one to report.
    let outcome = measure(args, &plan).await;
    let cleaned = match reconnect(first).await {
        Ok(client) => clean_up(client, &plan).await,
        Err(error) => Err(error),
    };
    let (measured, cpu) = outcome?;
    cleaned?;
    Ok(Report { args, measured, cpu })
}

/// Connects once the server has noticed that earlier connections are gone: it may have been full.
async fn reconnect(target: &str) -> Result<Client, ClientError> {
    for _ in 0..RECONNECTS {
        if let Ok(client) = Client::connect(target).await {
            return Ok(client);
        }
        sleep(RECONNECT_PAUSE).await;
    }
    Client::connect(target).await
}

async fn set_up(mut client: Client, plan: &Plan) -> Result<(), ClientError> {
    let created = client.call(OpCode::Create, &Plan::create(&plan.root, &[])).await?;
    if !created.is_ok() {
        return Err(client.setup_error(format!("create {}", plan.root), created));
    }
    let create =
        |client: &mut Client, path: &str| client.push(OpCode::Create, &Plan::create(path, &plan.data));
    each(&mut client, &plan.znodes, create).await?;
    client.close().await
}

async fn clean_up(mut client: Client, plan: &Plan) -> Result<(), ClientError> {
    let delete = |client: &mut Client, path: &str| {
        client.push(OpCode::Delete, &Request::Delete { path: Cow::Borrowed(path), version: -1 })
    };
    each(&mut client, &plan.znodes, delete).await?;
    each(&mut client, std::slice::from_ref(&plan.root), delete).await?;
    client.close().await
}

/// Sends one request per path, a window at a time; the first refusal ends it.
async fn each(
    client: &mut Client,
    paths: &[String],
    push: impl Fn(&mut Client, &str) -> i32,
) -> Result<(), ClientError> {
    for window in paths.chunks(SETUP_WINDOW) {
        let xids: Vec<i32> = window.iter().map(|path| push(client, path)).collect();
        client.flush().await?;
        let mut refused = None;
        for (xid, path) in xids.into_iter().zip(window) {
            let header = loop {
                match client.next_reply()? {
                    Some(header) => break header,
                    None => client.fill().await?,
                }
            };
            client.check_order(xid, header.xid)?;
            if !header.err.is_ok() && header.err != ErrorCode::NO_NODE {
                refused.get_or_insert((path, header.err));
            }
        }
        if let Some((path, error)) = refused {
            return Err(client.setup_error(format!("prepare {path}"), error));
        }
    }
    Ok(())
}

async fn measure(args: &Load, plan: &Arc<Plan>) -> Result<(Measured, Option<Duration>), Failure> {
    let mut clients = Vec::with_capacity(args.connections as usize);
    for target in args.target.iter().cycle().take(args.connections as usize) {
        clients.push(Client::connect(target).await?);
    }
    let start = Instant::now();
    let measure = start + args.warmup;
    let schedule = Schedule { start, measure, end: measure + args.duration };
    let apart = args.rate.map(|rate| Duration::from_secs_f64(f64::from(args.connections) / f64::from(rate)));
    let mut workers = JoinSet::new();
    for (n, client) in clients.into_iter().enumerate() {
        let open = apart.map(|apart| (apart.mul_f64(n as f64 / f64::from(args.connections)), apart));
        let pace = Pace { pipeline: args.pipeline as usize, open };
        workers.spawn(worker::run(client, Requests::new(plan.clone(), n), pace, schedule));
    }
    let pids = args.pid.clone();
    let cpu = tokio::spawn(async move {
        sleep_until(schedule.measure).await;
        let before = cpu::total(&pids)?;
        sleep_until(schedule.end).await;
        Ok::<_, std::io::Error>(cpu::total(&pids)?.saturating_sub(before))
    });
    let mut total = Measured::new();
    while let Some(done) = workers.join_next().await {
        // The first error ends the run: dropping the set stops the others.
        total.merge(&done??);
    }
    let cpu = cpu.await??;
    Ok((total, (!args.pid.is_empty()).then_some(cpu)))
}
