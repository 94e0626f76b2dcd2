//! The command line.

use std::time::Duration;

use clap::{Parser, ValueEnum};

const EXAMPLES: &str = "\
Examples:
  palisade-loadtest --target 127.0.0.1:2181 get
      reads as fast as 16 connections can, each with 16 requests under way
  palisade-loadtest --target 127.0.0.1:2181 set --connections 64 --rate 5000
      5000 writes a second whatever the server does; waiting counts as latency
  palisade-loadtest --target 127.0.0.1:2181 mixed --reads 90 --pid 4711 --json
      nine reads to one write; JSON; with the processor time of process 4711

In a closed loop (the default) a connection sends its next request when an earlier one is answered; \
latency is measured from that send. With --rate the loop is open: requests are due at fixed times, \
and latency is measured from the time that a request was due, even if it had to wait for its turn. \
Use --rate to compare latencies.";

/// Puts load on any server that speaks ZooKeeper's client protocol, and measures it.
///
/// Sets up znodes under --root, warms up, measures, prints a table (or JSON) and removes the znodes.
#[derive(Clone, Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
pub(crate) struct Args {
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
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub(crate) size: u32,
    /// Number of znodes that are read and written.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) znodes: u32,
    /// Reads in a hundred operations of `mixed`.
    #[arg(long, value_name = "PERCENT", default_value_t = 80, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(crate) reads: u32,
    /// Where to create the znodes; must not exist, its parent must.
    #[arg(long, value_name = "PATH", default_value = "/palisade-loadtest")]
    pub(crate) root: String,
    /// Processes whose processor time is counted, comma-separated; Linux only.
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    pub(crate) pid: Vec<u32>,
    /// Print JSON instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
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

fn seconds(text: &str) -> Result<Duration, String> {
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
        assert_eq!(args.scenario, Scenario::Mixed);
        assert_eq!(args.target, ["a:1", "b:2"]);
        assert_eq!(args.warmup, Duration::from_millis(500));
        assert!(Args::try_parse_from(["x", "get", "--duration", "-1"]).is_err());
        assert!(Args::try_parse_from(["x", "get", "--duration", "NaN"]).is_err());
    }
}
