//! Logs go to stderr, so that stdout holds only what was asked for.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::failure::Failure;

/// Starts logging with the directives that the operator gave, else with `default`.
pub(crate) fn start(given: Option<&str>, default: &str) -> Result<(), Failure> {
    let directives = given.unwrap_or(default);
    let filter = EnvFilter::try_new(directives).map_err(|error| {
        Failure::usage(format!(
            "--log (PALISADE_LOG) = {directives}: {error}; give error, warn, info, debug or trace, or a list such \
             as info,palisade_zab=debug"
        ))
    })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    Ok(())
}
