//! Puts load on any server that speaks ZooKeeper's client protocol, and measures throughput, latency, and what the
//! server uses of processor, memory and network.

mod args;
mod compare;
mod env;
mod failure;
#[cfg(test)]
mod fake;
mod herd;
mod machines;
mod neighbours;
mod net;
mod outcome;
mod process;
mod report;
mod scenario;
mod site;
mod usage;

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ExitCode, Stdio};

use clap::Parser;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::args::{Command, CommandLine, Common, Killing, Scenario};
use crate::env::{Env, Interrupt, Progress};
use crate::failure::Failure;
use crate::outcome::Outcome;
use crate::scenario::outage::{Fault, Faults};
use crate::scenario::{fanout, floor, idle, lock, outage, slow, steady, storm, watches};
use crate::site::Site;

fn main() -> ExitCode {
    let command = CommandLine::parse().command;
    let outcome = Interrupt::listen().map_err(Failure::from).and_then(|interrupt| {
        let env = Env { interrupt, progress: Progress::new() };
        let outcome = text(&env, &command);
        env.progress.clear();
        outcome
    });
    match outcome {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("palisade-loadtest: {failure}");
            failure.exit_code().into()
        }
    }
}

/// Does what is asked for, and returns what to print.
fn text(env: &Env, command: &Command) -> Result<String, Failure> {
    let (scenario, common) = match command {
        Command::Compare(compare) => return compare::run(env, compare),
        Command::Neighbours(args) => return neighbours::run(env, args),
        Command::Herd(args) => return herd::run(env, args),
        Command::EchoServer { length } => return floor::serve(*length).map(|()| String::new()),
        command => command.scenario().ok_or_else(|| Failure::Before("no scenario is given".into()))?,
    };
    check_writable(common)?;
    let outcome = run(env, &common.site()?, &scenario)?;
    if let Some(file) = &common.json {
        write(file, &format!("{:#}\n", outcome.json()))?;
    }
    if let Some(file) = &common.html {
        write(file, &report::html::scenario(&outcome))?;
    }
    Ok(report::table::render(&outcome))
}

/// Runs one scenario.
fn run(env: &Env, site: &Site, scenario: &Scenario) -> Result<Outcome, Failure> {
    match scenario {
        Scenario::Steady(steady, false) => steady::run(env, site, steady),
        Scenario::Steady(steady, true) => floor::run_both(env, site, steady),
        Scenario::Idle(idle) => idle::run(env, site, idle),
        Scenario::Watches(watches) => watches::run(env, site, watches),
        Scenario::Fanout(fanout) => fanout::run(env, site, fanout),
        Scenario::Storm(storm) => storm::run(env, site, storm),
        Scenario::Lock(lock) => lock::run(env, site, lock),
        Scenario::Outage(outage, killing) => outage::run(env, site, outage, faults(killing)?),
        Scenario::Slow(slow) => slow::run(env, site, slow),
    }
}

/// What is done to servers that somebody else has started.
fn faults(killing: &Killing) -> Result<Faults<'_>, Failure> {
    let mut pids = Vec::new();
    for pid in &killing.pids {
        let known =
            i32::try_from(*pid).ok().and_then(Pid::from_raw).filter(|pid| test_kill_process(*pid).is_ok());
        pids.push(
            known.ok_or_else(|| Failure::Before(format!("--kill {pid}: no such process, or not yours")))?,
        );
    }
    let kill = move || {
        pids.iter()
            .try_for_each(|pid| kill_process(*pid, Signal::KILL))
            .map_err(|error| Failure::During(format!("killing the servers: {error}")))
    };
    let mut list = vec![Fault { at: killing.at, name: "killed", act: Box::new(kill) }];
    if let Some((command, at)) = &killing.restart {
        let restart = move || {
            let mut shell = std::process::Command::new("sh");
            shell.args(["-c", command]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            // What it starts is to go on when this program has ended.
            shell.process_group(0).spawn().map(|_| ()).map_err(Failure::from)
        };
        list.push(Fault { at: *at, name: "restarted", act: Box::new(restart) });
    }
    Ok(Faults { list, is_back: None })
}

/// A file that cannot be written is found before the run rather than after.
fn check_writable(common: &Common) -> Result<(), Failure> {
    common.json.iter().chain(&common.html).try_for_each(|file| {
        let opened = fs::File::options().create(true).append(true).open(file);
        opened.map(|_| ()).map_err(|error| Failure::Before(format!("{}: {error}", file.display())))
    })
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    fs::write(file, text).map_err(|error| Failure::During(format!("{}: {error}", file.display())))
}
