//! The `palisade` binary: parses arguments, reads settings, starts and stops the tiers. Nothing else.

mod cli;
mod dev;
mod failure;
mod logging;
mod serve;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::failure::Failure;

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
    let Command::CheckConfig(check) = cli.command else {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::runtime("cannot start threads", &error))?;
        return runtime.block_on(async {
            match cli.command {
                Command::Dev(args) => dev::run(args).await,
                Command::Core(args) => serve::core(args).await,
                Command::Gateway(args) => serve::gateway(args).await,
                Command::CheckConfig(_) => Ok(()),
            }
        });
    };
    serve::check_config(&check.file)
}
