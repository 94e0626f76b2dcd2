//! Puts load on any server that speaks ZooKeeper's client protocol, and measures throughput, latency, and what the
//! server uses of processor, memory and network.

mod args;
mod compare;
mod env;
mod failure;
mod net;
mod outcome;
mod report;
mod scenario;
mod site;
mod usage;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use crate::args::{Command, CommandLine, Common, Scenario};
use crate::env::{Env, Interrupt, Progress};
use crate::failure::Failure;
use crate::outcome::Outcome;
use crate::scenario::{fanout, idle, steady, storm, watches};
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
    if let Command::Compare(compare) = command {
        return compare::run(env, compare);
    }
    let (scenario, common) =
        command.scenario().ok_or_else(|| Failure::Before("no scenario is given".into()))?;
    check_writable(common)?;
    let outcome = run(env, &common.site()?, &scenario)?;
    if let Some(file) = &common.json {
        write(file, &format!("{:#}\n", outcome.json()))?;
    }
    Ok(report::table::render(&outcome))
}

/// Runs one scenario.
fn run(env: &Env, site: &Site, scenario: &Scenario) -> Result<Outcome, Failure> {
    match scenario {
        Scenario::Steady(steady) => steady::run(env, site, steady),
        Scenario::Idle(idle) => idle::run(env, site, idle),
        Scenario::Watches(watches) => watches::run(env, site, watches),
        Scenario::Fanout(fanout) => fanout::run(env, site, fanout),
        Scenario::Storm(storm) => storm::run(env, site, storm),
    }
}

/// A file that cannot be written is found before the run rather than after.
fn check_writable(common: &Common) -> Result<(), Failure> {
    common.json.iter().try_for_each(|file| {
        let opened = fs::File::options().create(true).append(true).open(file);
        opened.map(|_| ()).map_err(|error| Failure::Before(format!("{}: {error}", file.display())))
    })
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    fs::write(file, text).map_err(|error| Failure::During(format!("{}: {error}", file.display())))
}
