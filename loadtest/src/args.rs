//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, value_parser};

use crate::compare::Compare;
use crate::failure::Failure;
use crate::herd::HerdArgs;
use crate::neighbours::Neighbours;
use crate::scenario::fanout::Fanout;
use crate::scenario::floor;
use crate::scenario::idle::Idle;
use crate::scenario::lock::Lock;
use crate::scenario::outage::Outage;
use crate::scenario::requests::Load;
use crate::scenario::slow::Slow;
use crate::scenario::steady::Steady;
use crate::scenario::storm::Storm;
use crate::scenario::watches::Watches;
use crate::site::{self, Site};
use crate::usage::Servers;

const EXAMPLES: &str = "\
Examples:
  palisade-loadtest get --target 127.0.0.1:2181
      reads as fast as 16 connections can, each with 16 requests under way
  palisade-loadtest set --connections 64 --rate 5000 --pipeline 1000
      5000 writes a second whatever the server does; waiting counts as latency
  palisade-loadtest mixed --reads 90 --pid 4711 --json result.json
      nine reads to one write; JSON; with the processor time of process 4711
  palisade-loadtest fan-out --watchers 10000 --pid 4711
      one change that 10,000 sessions watch
  palisade-loadtest compare
      the same loads against Apache ZooKeeper and Palisade, which it starts itself

In a closed loop (the default) a connection sends its next request when an earlier one is answered; \
latency is measured from that send. With --rate the loop is open: requests are due at fixed times, \
and latency is measured from the time that a request was due, even if it had to wait for its turn. \
Use --rate to compare latencies.

Exit codes: 0 measured, 1 broken off, 2 not begun because something is wrong with the request or the server.";

/// Puts load on any server that speaks ZooKeeper's client protocol, and measures it.
///
/// Sets up znodes under --root, runs a scenario, prints a table and removes the znodes.
#[derive(Clone, Debug, Parser)]
#[command(name = "palisade-loadtest", version, after_help = EXAMPLES)]
pub(crate) struct CommandLine {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Read data.
    Get(Requests),
    /// Read Stats.
    Exists(Requests),
    /// List children.
    Children {
        #[command(flatten)]
        requests: Requests,
        /// Children of each znode.
        #[arg(long, value_name = "N", default_value_t = 10, value_parser = value_parser!(u32).range(0..=10_000))]
        children: u32,
    },
    /// Replace data.
    Set(Requests),
    /// Read and replace data, in a proportion.
    Mixed {
        #[command(flatten)]
        requests: Requests,
        /// Reads in a hundred operations.
        #[arg(long, value_name = "PERCENT", default_value_t = 80, value_parser = value_parser!(u32).range(0..=100))]
        reads: u32,
    },
    /// Create persistent znodes.
    Create(Requests),
    /// Create ephemeral, sequential znodes and delete each; a pair is one operation.
    Ephemeral(Requests),
    /// Hold sessions that do nothing.
    Idle {
        #[command(flatten)]
        common: Common,
        /// Number of sessions.
        #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = connections())]
        sessions: u32,
        /// Sessions that are opened at once.
        #[arg(long, value_name = "N", default_value_t = 200, value_parser = connections())]
        at_once: u32,
        /// Time that is measured, in seconds.
        #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
        duration: Duration,
    },
    /// Register very many watches, of which few fire.
    Watches {
        #[command(flatten)]
        common: Common,
        /// Number of sessions.
        #[arg(long, value_name = "N", default_value_t = 200, value_parser = connections())]
        sessions: u32,
        /// Watches of each session.
        #[arg(long, value_name = "N", default_value_t = 5000, value_parser = value_parser!(u32).range(1..=1_000_000))]
        watches: u32,
        /// Each session watches paths of its own, instead of all the same ones.
        #[arg(long)]
        distinct: bool,
    },
    /// Change one znode that many sessions watch.
    FanOut {
        #[command(flatten)]
        common: Common,
        /// Number of watching sessions.
        #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = connections())]
        watchers: u32,
        /// How often the znode is changed.
        #[arg(long, value_name = "N", default_value_t = 5, value_parser = value_parser!(u32).range(1..=10_000))]
        changes: u32,
        /// Each watcher reads the znode when it is told.
        #[arg(long)]
        reread: bool,
        /// Use persistent watches, which Apache knows from 3.6 on.
        #[arg(long)]
        persistent: bool,
        /// Size of the znode, in bytes.
        #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = value_parser!(u32).range(0..=1_000_000))]
        size: u32,
    },
    /// Cut all sessions off at once, and let them come back at once.
    Storm {
        #[command(flatten)]
        common: Common,
        /// Number of sessions.
        #[arg(long, value_name = "N", default_value_t = 5000, value_parser = connections())]
        sessions: u32,
        /// Sessions that dial at once; without it, all.
        #[arg(long, value_name = "N", value_parser = connections())]
        at_once: Option<u32>,
        /// Watches that each session sets again.
        #[arg(long, value_name = "N", default_value_t = 0, value_parser = value_parser!(u32).range(0..=10_000))]
        watches: u32,
        /// How many storms.
        #[arg(long, value_name = "N", default_value_t = 3, value_parser = value_parser!(u32).range(1..=1000))]
        rounds: u32,
        /// How long all sessions together may take to come back, in seconds.
        #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
        limit: Duration,
    },
    /// Take and release locks by ZooKeeper's recipe.
    Lock {
        #[command(flatten)]
        common: Common,
        /// Number of clients, each with a session of its own.
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = connections())]
        clients: u32,
        /// Number of locks that they share.
        #[arg(long, value_name = "N", default_value_t = 10, value_parser = connections())]
        locks: u32,
        /// Time that is measured, in seconds.
        #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
        duration: Duration,
    },
    /// Read and write while servers are killed and started again.
    Outage {
        #[command(flatten)]
        common: Common,
        /// Connections that read.
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = connections())]
        readers: u32,
        /// Reads per second of all of them.
        #[arg(long, value_name = "OPS", default_value_t = 2000, value_parser = connections())]
        read_rate: u32,
        /// Connections that write.
        #[arg(long, value_name = "N", default_value_t = 10, value_parser = connections())]
        writers: u32,
        /// Writes per second of all of them.
        #[arg(long, value_name = "OPS", default_value_t = 200, value_parser = connections())]
        write_rate: u32,
        /// How long the load is on, in seconds.
        #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
        duration: Duration,
        /// Processes that are killed (SIGKILL), comma-separated: the leader, or a majority of the voters.
        #[arg(long, value_name = "PID", value_delimiter = ',', required = true)]
        kill: Vec<u32>,
        /// When they are killed, in seconds from the beginning.
        #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
        at: Duration,
        /// A shell command that starts them again.
        #[arg(long, value_name = "COMMAND")]
        restart: Option<String>,
        /// When it is run, in seconds from the beginning.
        #[arg(long, value_name = "SECONDS", default_value = "15", value_parser = seconds, requires = "restart")]
        restart_at: Duration,
    },
    /// Read beside sessions that ask for much and never read it.
    SlowReaders {
        #[command(flatten)]
        common: Common,
        /// Sessions that ask and never read.
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = connections())]
        slow: u32,
        /// Bytes of the znode that they ask for.
        #[arg(long, value_name = "BYTES", default_value_t = 100_000, value_parser = value_parser!(u32).range(0..=1_000_000))]
        slow_size: u32,
        /// Ordinary connections.
        #[arg(long, value_name = "N", default_value_t = 16, value_parser = connections())]
        connections: u32,
        /// Time that is measured, once without the slow sessions and once beside them, in seconds.
        #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
        duration: Duration,
    },
    /// Answer every frame with one of a fixed size (for --floor).
    #[command(name = floor::COMMAND, hide = true)]
    EchoServer {
        /// Bytes of an answer.
        length: usize,
    },
    /// Run the same loads against Apache ZooKeeper and Palisade in turn, and print both and their ratio.
    Compare(Compare),
    /// Measure what one tenant's storm of fine-grained locks does to another, on Apache ZooKeeper and on Palisade.
    Neighbours(Neighbours),
    /// Measure what one tenant's herd of watchers does to another tenant, on Apache ZooKeeper and on Palisade.
    Herd(HerdArgs),
}

/// Where to run, and where the results go.
#[derive(Args, Clone, Debug)]
pub(crate) struct Common {
    /// Servers, comma-separated; connections are spread over them in turn.
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', default_value = "127.0.0.1:2181")]
    target: Vec<String>,
    /// Where to create the znodes; must not exist, its parent must.
    #[arg(long, value_name = "PATH", default_value = "/palisade-loadtest")]
    root: String,
    /// Session timeout that is asked for, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    session_timeout: Duration,
    /// Processes on this machine whose processor time and memory are measured, comma-separated.
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    pid: Vec<u32>,
    /// Addresses that those processes dial at the next tier, such as the voters' quorum ports, comma-separated: the
    /// bytes on these connections are counted.
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', requires = "pid")]
    upstream: Vec<String>,
    /// Also write the results to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Also write the results to this file, as HTML with plots; it opens without a network.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

impl Common {
    /// Where to run.
    pub(crate) fn site(&self) -> Result<Site, Failure> {
        if !self.root.starts_with('/') || self.root.len() < 2 || self.root.ends_with('/') {
            return Err(Failure::Before(format!("--root {}: must be a path below /", self.root)));
        }
        if self.session_timeout < Duration::from_millis(100) {
            return Err(Failure::Before("--session-timeout: must be 0.1 s or more".into()));
        }
        Ok(Site {
            targets: site::resolve(&self.target)?,
            root: self.root.clone(),
            session_timeout: self.session_timeout,
            servers: Servers { pids: self.pid.clone(), upstream: site::resolve(&self.upstream)? },
        })
    }
}

/// A steady load.
#[derive(Args, Clone, Debug)]
pub(crate) struct Requests {
    #[command(flatten)]
    common: Common,
    /// Number of connections, each with a session of its own.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = connections())]
    connections: u32,
    /// Most unanswered operations of one connection.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = connections())]
    pipeline: u32,
    /// Operations per second of all connections together; without it, as many as the server takes.
    #[arg(long, value_name = "OPS", value_parser = value_parser!(u32).range(1..=10_000_000))]
    rate: Option<u32>,
    /// Time before measuring starts, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    warmup: Duration,
    /// Time that is measured, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    duration: Duration,
    /// Size of a znode's data, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = value_parser!(u32).range(0..=1_000_000))]
    size: u32,
    /// Number of znodes that are read and written.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = value_parser!(u32).range(1..=1_000_000))]
    znodes: u32,
    /// Also put the load on a server that only echoes, and show how much of the processor time it takes.
    #[arg(long)]
    floor: bool,
}

impl Requests {
    fn steady(&self, load: Load, children: u32) -> Steady {
        Steady {
            load,
            connections: self.connections as usize,
            pipeline: self.pipeline as usize,
            rate: self.rate,
            warmup: self.warmup,
            duration: self.duration,
            size: self.size as usize,
            znodes: self.znodes as usize,
            children: children as usize,
        }
    }
}

/// A scenario with all that it needs.
#[derive(Clone, Debug)]
pub(crate) enum Scenario {
    /// The same requests over and over; whether on a server that only echoes too.
    Steady(Steady, bool),
    /// Sessions that do nothing.
    Idle(Idle),
    /// Watches that never fire.
    Watches(Watches),
    /// One change, many watchers.
    Fanout(Fanout),
    /// Sessions that come back.
    Storm(Storm),
    /// Clients that share locks.
    Lock(Lock),
    /// Servers that are killed.
    Outage(Outage, Killing),
    /// Clients that do not read.
    Slow(Slow),
}

/// What is done to the servers in an outage.
#[derive(Clone, Debug)]
pub(crate) struct Killing {
    /// Which processes are killed.
    pub(crate) pids: Vec<u32>,
    /// When.
    pub(crate) at: Duration,
    /// What starts them again, and when.
    pub(crate) restart: Option<(String, Duration)>,
}

impl Command {
    /// The scenario and where to run it; none if it is not one scenario.
    pub(crate) fn scenario(&self) -> Option<(Scenario, &Common)> {
        let steady = |requests: &Requests, load, children| {
            Scenario::Steady(requests.steady(load, children), requests.floor)
        };
        Some(match self {
            Self::Get(requests) => (steady(requests, Load::Get, 0), &requests.common),
            Self::Exists(requests) => (steady(requests, Load::Exists, 0), &requests.common),
            Self::Children { requests, children } => {
                (steady(requests, Load::Children, *children), &requests.common)
            }
            Self::Set(requests) => (steady(requests, Load::Set, 0), &requests.common),
            Self::Mixed { requests, reads } => (steady(requests, Load::Mixed(*reads), 0), &requests.common),
            Self::Create(requests) => (steady(requests, Load::Create, 0), &requests.common),
            Self::Ephemeral(requests) => (steady(requests, Load::Ephemeral, 0), &requests.common),
            Self::Idle { common, sessions, at_once, duration } => {
                let (sessions, at_once) = (*sessions as usize, *at_once as usize);
                (Scenario::Idle(Idle { sessions, at_once, duration: *duration }), common)
            }
            Self::Watches { common, sessions, watches, distinct } => {
                let (sessions, each) = (*sessions as usize, *watches as usize);
                (Scenario::Watches(Watches { sessions, each, distinct: *distinct }), common)
            }
            Self::FanOut { common, watchers, changes, reread, persistent, size } => {
                let fanout = Fanout {
                    watchers: *watchers as usize,
                    changes: *changes as usize,
                    reread: *reread,
                    persistent: *persistent,
                    size: *size as usize,
                };
                (Scenario::Fanout(fanout), common)
            }
            Self::Storm { common, sessions, at_once, watches, rounds, limit } => {
                let storm = Storm {
                    sessions: *sessions as usize,
                    at_once: at_once.unwrap_or(*sessions) as usize,
                    watches: *watches as usize,
                    rounds: *rounds as usize,
                    limit: *limit,
                };
                (Scenario::Storm(storm), common)
            }
            Self::Lock { common, clients, locks, duration } => {
                let (clients, locks) = (*clients as usize, *locks as usize);
                (Scenario::Lock(Lock { clients, locks, duration: *duration }), common)
            }
            Self::Outage { common, readers, read_rate, writers, write_rate, duration, .. } => {
                let outage = Outage {
                    readers: *readers as usize,
                    read_rate: *read_rate,
                    writers: *writers as usize,
                    write_rate: *write_rate,
                    duration: *duration,
                };
                (Scenario::Outage(outage, self.killing()?), common)
            }
            Self::SlowReaders { common, slow, slow_size, connections, duration } => {
                let (slow, slow_size) = (*slow as usize, *slow_size as usize);
                let steady = Slow::readers(*connections as usize, *duration);
                (Scenario::Slow(Slow { slow, slow_size, steady }), common)
            }
            Self::EchoServer { .. } | Self::Compare(_) | Self::Neighbours(_) | Self::Herd(_) => {
                return None;
            }
        })
    }
}

impl Command {
    fn killing(&self) -> Option<Killing> {
        let Self::Outage { kill, at, restart, restart_at, .. } = self else { return None };
        let restart = restart.clone().map(|command| (command, *restart_at));
        Some(Killing { pids: kill.clone(), at: *at, restart })
    }
}

fn connections() -> clap::builder::RangedI64ValueParser<u32> {
    value_parser!(u32).range(1..=100_000)
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

    fn parse(line: &str) -> Result<CommandLine, clap::Error> {
        CommandLine::try_parse_from(["x"].into_iter().chain(line.split_whitespace()))
    }

    fn site(line: &str) -> Result<Site, Failure> {
        let command = parse(line).unwrap().command;
        let (_, common) = command.scenario().unwrap();
        common.site()
    }

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
        let command = parse("mixed --target 127.0.0.1:1,127.0.0.1:2 --warmup 0.5 --reads 7").unwrap().command;
        let (scenario, common) = command.scenario().unwrap();
        let Scenario::Steady(steady, false) = scenario else { panic!("{scenario:?}") };
        assert_eq!((steady.load, steady.warmup), (Load::Mixed(7), Duration::from_millis(500)));
        assert_eq!(common.site().unwrap().targets.len(), 2);
        for wrong in ["", "get --duration -1", "get --duration NaN", "get --reads 5", "get --upstream a:1"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_said_in_one_line() {
        let cases = [
            ("get --root /", "--root"),
            ("get --root x/y", "--root"),
            ("get --root /x/", "--root"),
            ("get --session-timeout 0", "--session-timeout"),
            ("get --target localhost", "localhost"),
        ];
        for (line, named) in cases {
            let failure = site(line).unwrap_err();
            let text = failure.to_string();
            assert_eq!(failure.exit_code(), 2);
            assert!(text.contains(named) && !text.contains('\n'), "{line}: {text}");
        }
    }
}
