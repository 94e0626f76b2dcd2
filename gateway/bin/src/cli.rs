//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

const ABOUT: &str = "\
Palisade is a coordination service that speaks ZooKeeper's protocols, in two tiers:

  voters    a small group that agrees on every write (`palisade core`); no client connects to them
  gateways  one or more for each tenant; clients connect to these as to any ZooKeeper server
            (`palisade gateway`)

Any ZooKeeper client works unchanged: Java, Curator, kazoo, C, Go, Node.";

const EXAMPLES: &str = "\
Examples:
  palisade dev
      three voters and three gateways in this process; clients connect to 127.0.0.1:2181
  palisade core --config /etc/palisade/zoo.cfg
      one voter, with the configuration of an Apache ZooKeeper server
  palisade gateway --config /etc/palisade/discovery.toml
      the gateway of one tenant
  palisade top --admin 127.0.0.1:8281
      who asks that gateway for most
  palisade check-config /etc/palisade/discovery.toml
      all mistakes of a configuration, without starting anything

Exit codes: 0 stopped as asked, 1 failed, 64 wrong command line or configuration.";

/// A ZooKeeper-compatible coordination service in two tiers.
#[derive(Debug, Parser)]
#[command(name = "palisade", version, long_about = ABOUT, after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// What to log to stderr: error, warn, info, debug or trace, or directives such as info,palisade_zab=debug
    /// [default: info; warn for dev].
    #[arg(long, value_name = "LEVEL", env = "PALISADE_LOG", global = true)]
    pub(crate) log: Option<String>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run three voters and three tenants' gateways in this process, to try things out.
    Dev(DevArgs),
    /// Run one voter of the core.
    Core(CoreArgs),
    /// Run one gateway, which a tenant's clients connect to.
    Gateway(GatewayArgs),
    /// Report every mistake in a configuration file; start and change nothing.
    CheckConfig(CheckArgs),
    /// Show who asks a gateway for most: addresses, sessions, paths, watches, locks.
    Top(TopArgs),
}

impl Command {
    /// What is logged if the operator does not say.
    pub(crate) const fn default_log(&self) -> &'static str {
        match self {
            // Its voters start one after the other: that the first cannot reach the others yet is no news.
            Self::Dev(_) => "warn,palisade_server::election=error",
            Self::CheckConfig(_) | Self::Top(_) => "warn",
            Self::Core(_) | Self::Gateway(_) => "info",
        }
    }
}

const DEV_EXAMPLES: &str = "\
Tenants' ports: discovery on PORT, messaging on PORT+1, scheduling on PORT+2, all on 127.0.0.1. All \
other ports are free ones. When clients can write through every gateway, a line that begins with \
`ready` is printed. Ctrl-C stops everything.

Examples:
  palisade dev
  palisade dev --data-dir ./data
      keeps its data: started again on the same folder, it goes on
  zkCli.sh -server 127.0.0.1:2181
      Apache's shell, as a client of discovery";

/// Arguments of `palisade dev`.
#[derive(Debug, Args)]
#[command(after_help = DEV_EXAMPLES)]
pub(crate) struct DevArgs {
    /// Where to keep the data; without it, in a temporary folder that is removed at the end.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The first tenant's port; 0 takes free ports for all tenants.
    #[arg(long, value_name = "PORT", default_value_t = 2181, value_parser = clap::value_parser!(u16).range(0..=65533))]
    pub(crate) client_port: u16,
}

const CORE_EXAMPLES: &str = "\
A file whose name ends with .toml is TOML; any other is Apache's zoo.cfg, and the file myid in its \
dataDir holds the voter's number. config/examples in the source has commented files of both kinds.

Examples:
  palisade core --config zoo.cfg
  palisade core --config voter.toml --admin-address 127.0.0.1:8181 --log debug";

/// Arguments of `palisade core`.
#[derive(Debug, Args)]
#[command(after_help = CORE_EXAMPLES)]
pub(crate) struct CoreArgs {
    /// TOML (*.toml) or Apache's zoo.cfg (any other name).
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Where to keep snapshots and logs, in place of the file's setting.
    #[arg(long, value_name = "DIR", env = "PALISADE_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Where to answer monitoring (four-letter words, HTTP), in place of the file's setting.
    #[arg(long, value_name = "IP:PORT", env = "PALISADE_ADMIN_ADDRESS")]
    pub(crate) admin_address: Option<String>,
}

const GATEWAY_EXAMPLES: &str = "\
config/examples/gateway.toml in the source has every key with its meaning and default.

Examples:
  palisade gateway --config discovery.toml
  palisade gateway --config discovery.toml --voters zk1:2888,zk2:2888,zk3:2888";

/// Arguments of `palisade gateway`.
#[derive(Debug, Args)]
#[command(after_help = GATEWAY_EXAMPLES)]
pub(crate) struct GatewayArgs {
    /// The gateway's TOML file.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Where clients connect, in place of the file's setting.
    #[arg(long, value_name = "HOST:PORT", env = "PALISADE_CLIENT_ADDRESS")]
    pub(crate) client_address: Option<String>,
    /// The voters' quorum addresses, comma-separated, in place of the file's setting.
    #[arg(long, value_name = "HOST:PORT", env = "PALISADE_VOTERS", value_delimiter = ',')]
    pub(crate) voters: Option<Vec<String>>,
    /// Where to keep the replica, in place of the file's setting.
    #[arg(long, value_name = "DIR", env = "PALISADE_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Where to answer monitoring (four-letter words, HTTP), in place of the file's setting.
    #[arg(long, value_name = "HOST:PORT", env = "PALISADE_ADMIN_ADDRESS")]
    pub(crate) admin_address: Option<String>,
}

/// Arguments of `palisade top`.
#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// The gateway's admin port.
    #[arg(long, value_name = "HOST:PORT", env = "PALISADE_ADMIN_ADDRESS")]
    pub(crate) admin: String,
    /// Lines of each table.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) lines: u16,
    /// By what the heaviest are chosen.
    #[arg(long, value_name = "MEASURE", default_value = "ops", value_parser = ["ops", "bytes", "watches", "refusals"])]
    pub(crate) by: String,
    /// Seconds between two pictures.
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=3600))]
    pub(crate) interval: u16,
    /// Print one picture and end; so it does wherever the output is no terminal.
    #[arg(long)]
    pub(crate) once: bool,
}

/// Arguments of `palisade check-config`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// A voter's zoo.cfg or TOML file, or a gateway's TOML file.
    pub(crate) file: PathBuf,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
        let cli =
            Cli::try_parse_from(["palisade", "gateway", "--config", "f", "--voters", "a:1,b:2"]).unwrap();
        let Command::Gateway(args) = cli.command else { panic!("{cli:?}") };
        assert_eq!(args.voters.unwrap(), ["a:1", "b:2"]);
        for port in ["65534", "-1", "x"] {
            assert!(Cli::try_parse_from(["palisade", "dev", "--client-port", port]).is_err(), "{port}");
        }
        assert!(Cli::try_parse_from(["palisade", "core"]).is_err());
    }

    #[test]
    fn the_log_level_may_stand_anywhere() {
        for args in [["palisade", "--log", "debug", "dev"], ["palisade", "dev", "--log", "debug"]] {
            assert_eq!(Cli::try_parse_from(args).unwrap().log.as_deref(), Some("debug"));
        }
    }
}
