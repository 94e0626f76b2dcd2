//! The `palisade` binary: parses arguments, reads settings, starts and stops the tiers. Nothing else.

mod cli;
mod descriptors;
mod dev;
mod failure;
mod logging;
mod serve;
mod top;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use tokio::runtime::Builder;

use crate::cli::{Cli, Command};
use crate::failure::Failure;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(help_or_mistake) => {
            let code = if help_or_mistake.use_stderr() { failure::USAGE } else { 0 };
            // There is nobody to tell that printing failed.
            let _ = help_or_mistake.print();
            return code.into();
        }
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Not eprintln: that would panic if stderr is closed.
            let _ = writeln!(std::io::stderr(), "palisade: {failure}");
            failure.code().into()
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    logging::start(cli.log.as_deref(), cli.command.default_log())?;
    descriptors::allow_all();
    match cli.command {
        Command::Dev(args) => block_on(Builder::new_multi_thread(), dev::run(args)),
        Command::Core(args) => palisade_server::alone::run(|foreground| serve::core(args, foreground))
            .map_err(|error| Failure::runtime("cannot start threads", &error))?,
        Command::Gateway(args) => block_on(Builder::new_multi_thread(), serve::gateway(args)),
        Command::CheckConfig(args) => serve::check_config(&args.file),
        Command::Top(args) => top::run(&args),
    }
}

fn block_on(mut runtime: Builder, main: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = runtime.enable_all().build();
    runtime.map_err(|error| Failure::runtime("cannot start threads", &error))?.block_on(main)
}
