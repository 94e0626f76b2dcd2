//! The command line.

use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

use crate::compare::Compare;

const DEFAULT_SIZE: u32 = 100;
const DEFAULT_ZNODES: u32 = 1000;
const DEFAULT_READS: u32 = 80;
const DEFAULT_ROOT: &str = "/palisade-loadtest";

const EXAMPLES: &str = "\
Examples:
  palisade-loadtest --target 127.0.0.1:2181 get
      reads as fast as 16 connections can, each with 16 requests under way
  palisade-loadtest --target 127.0.0.1:2181 set --connections 64 --rate 5000
      5000 writes a second whatever the server does; waiting counts as latency
  palisade-loadtest --target 127.0.0.1:2181 mixed --reads 90 --pid 4711 --json
      nine reads to one write; JSON; with the processor time of process 4711
  palisade-loadtest compare
      the same loads against Apache ZooKeeper and Palisade, which it starts itself

In a closed loop (the default) a connection sends its next request when an earlier one is answered; \
latency is measured from that send. With --rate the loop is open: requests are due at fixed times, \
and latency is measured from the time that a request was due, even if it had to wait for its turn. \
Use --rate to compare latencies.";

/// Puts load on any server that speaks ZooKeeper's client protocol, and measures it.
///
/// Sets up znodes under --root, warms up, measures, prints a table (or JSON) and removes the znodes.
#[derive(Clone, Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Args {
    /// Something else than putting load on a server that runs already.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// Present unless there is a command.
    #[command(flatten)]
    pub(crate) load: Option<Load>,
}

/// What is not a scenario.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the same loads against Apache ZooKeeper and Palisade in turn, and print both and their ratio.
    Compare(Compare),
}

/// One load on one server.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Load {
    /// What to send.
    #[arg(value_enum)]
    pub(crate) scenario: Scenario,
    /// Servers, comma-separated; connections are spread over them in turn.
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', default_value = "127.0.0.1:2181")]
    pub(crate) target: Vec<String>,
    /// Number of connections, each with a session of its own.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) connections: u32,
    /// Most unanswered requests of one connection.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) pipeline: u32,
    /// Operations per second of all connections together; without it, as many as the server takes.
    #[arg(long, value_name = "OPS", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) rate: Option<u32>,
    /// Time before measuring starts, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    pub(crate) warmup: Duration,
    /// Time that is measured, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub(crate) duration: Duration,
    /// Size of a znode's data, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_SIZE, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub(crate) size: u32,
    /// Number of znodes that are read and written.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_ZNODES, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) znodes: u32,
    /// Reads in a hundred operations of `mixed`.
    #[arg(long, value_name = "PERCENT", default_value_t = DEFAULT_READS, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(crate) reads: u32,
    /// Where to create the znodes; must not exist, its parent must.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_ROOT)]
    pub(crate) root: String,
    /// Processes whose processor time is counted, comma-separated; Linux only.
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    pub(crate) pid: Vec<u32>,
    /// Print JSON instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
}

impl Load {
    /// A closed loop without a target and without time, and with the defaults for the rest.
    pub(crate) fn closed(scenario: Scenario, connections: u32, pipeline: u32) -> Self {
        Self {
            scenario,
            target: Vec::new(),
            connections,
            pipeline,
            rate: None,
            warmup: Duration::ZERO,
            duration: Duration::ZERO,
            size: DEFAULT_SIZE,
            znodes: DEFAULT_ZNODES,
            reads: DEFAULT_READS,
            root: DEFAULT_ROOT.to_owned(),
            pid: Vec::new(),
            json: false,
        }
    }
}

/// What connections send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// Read data.
    Get,
    /// Replace data.
    Set,
    /// Both, in the proportion of --reads.
    Mixed,
    /// Create a znode, then delete it.
    CreateDelete,
}

impl Scenario {
    /// The name on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Set => "set",
            Self::Mixed => "mixed",
            Self::CreateDelete => "create-delete",
        }
    }
}

/// A command line's time.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    text.parse::<f64>()
        .ok()
        .filter(|s| (0.0..=86_400.0).contains(s))
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "must be a number of seconds from 0 to 86400".into())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
        let args = Args::try_parse_from(["x", "mixed", "--target", "a:1,b:2", "--warmup", "0.5"]).unwrap();
        let load = args.load.unwrap();
        assert_eq!(load.scenario, Scenario::Mixed);
        assert_eq!(load.target, ["a:1", "b:2"]);
        assert_eq!(load.warmup, Duration::from_millis(500));
        assert!(Args::try_parse_from(["x", "get", "--duration", "-1"]).is_err());
        assert!(Args::try_parse_from(["x", "get", "--duration", "NaN"]).is_err());
    }

    #[test]
    fn a_command_needs_no_scenario_and_takes_no_load() {
        let args = Args::try_parse_from(["x", "compare", "--rounds", "2"]).unwrap();
        assert!(args.load.is_none() && matches!(args.command, Some(Command::Compare(_))));
        assert!(Args::try_parse_from(["x", "compare", "get"]).is_err());
        assert!(Args::try_parse_from(["x", "--target", "a:1", "compare"]).is_err());
        assert!(Args::try_parse_from(["x"]).is_err());
        assert!(Args::try_parse_from(["x", "--target", "a:1"]).is_err());
    }

    #[test]
    fn defaults_are_the_command_lines() {
        let load = Args::try_parse_from(["x", "--target", "a:1", "get"]).unwrap().load.unwrap();
        let closed = Load::closed(Scenario::Get, load.connections, load.pipeline);
        assert_eq!((load.size, load.znodes, load.root), (closed.size, closed.znodes, closed.root));
    }
}
