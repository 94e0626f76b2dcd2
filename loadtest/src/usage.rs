//! What servers use: processor time, memory, and bytes on the connections between tiers.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_getcpuclockid};
use nix::unistd::Pid;

use crate::failure::Failure;

/// The processes whose use is measured, and the addresses that they talk to the next tier at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Servers {
    /// Processes on this machine.
    pub(crate) pids: Vec<u32>,
    /// The next tier, as the processes dial it.
    pub(crate) upstream: Vec<SocketAddr>,
}

/// What was used up to some moment.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    at: Instant,
    /// Of each process.
    cpu: Vec<Duration>,
    own: Duration,
    upstream: u64,
}

/// What was used between two moments.
#[derive(Clone, Debug)]
pub(crate) struct Used {
    /// The time between them.
    pub(crate) time: Duration,
    /// Processor time of each process.
    pub(crate) cpu: Vec<Duration>,
    /// Processor time of this process.
    pub(crate) own: Duration,
    /// Bytes to and from the next tier.
    pub(crate) upstream: u64,
}

impl Used {
    /// Processor time of all the processes.
    pub(crate) fn total(&self) -> Duration {
        self.cpu.iter().sum()
    }
}

impl Servers {
    /// Fails unless everything that is asked for can be measured.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        self.sample().and_then(|_| self.rss()).map(|_| ()).map_err(Failure::before)
    }

    /// What has been used up to now.
    pub(crate) fn sample(&self) -> Result<Sample, Failure> {
        let upstream = if self.upstream.is_empty() { 0 } else { self.upstream_bytes()? };
        let cpu = self.pids.iter().map(|pid| processor_time(*pid)).collect::<Result<_, _>>()?;
        Ok(Sample { at: Instant::now(), cpu, own: own_time(), upstream })
    }

    /// What has been used since.
    pub(crate) fn since(&self, before: &Sample) -> Result<Used, Failure> {
        let now = self.sample()?;
        Ok(Used {
            time: now.at - before.at,
            cpu: now.cpu.iter().zip(&before.cpu).map(|(now, before)| now.saturating_sub(*before)).collect(),
            own: now.own.saturating_sub(before.own),
            upstream: now.upstream.saturating_sub(before.upstream),
        })
    }

    /// Resident memory of each process, in bytes.
    pub(crate) fn rss(&self) -> Result<Vec<u64>, Failure> {
        self.pids.iter().map(|pid| resident(*pid)).collect()
    }

    /// Bytes that the processes have exchanged with the next tier on the connections that stand, counted by the
    /// operating system (`tcpi_bytes_sent` and `tcpi_bytes_received`), which iproute2's `ss` shows.
    fn upstream_bytes(&self) -> Result<u64, Failure> {
        let mut filter = vec!["(".to_owned()];
        for (n, address) in self.upstream.iter().enumerate() {
            if n > 0 {
                filter.push("or".into());
            }
            filter.extend(["dst".into(), address.to_string()]);
        }
        filter.push(")".into());
        let output = Command::new("ss").args(["-tinpHO"]).args(&filter).stdin(Stdio::null()).output();
        match output {
            Ok(output) if output.status.success() => {
                Ok(bytes_of(&String::from_utf8_lossy(&output.stdout), &self.pids))
            }
            Ok(output) => {
                let error = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
                Err(Failure::During(format!("ss: {error}")))
            }
            Err(error) => Err(Failure::During(format!("ss: {error}; install Debian's package iproute2"))),
        }
    }
}

/// The bytes of all connections in `ss`'s output, one per line, that belong to one of the processes.
fn bytes_of(output: &str, pids: &[u32]) -> u64 {
    let belongs = |line: &str| pids.iter().any(|pid| line.contains(&format!("pid={pid},")));
    let count = |line: &str| -> u64 {
        let fields = line.split_ascii_whitespace();
        let counted = fields.filter_map(|field| {
            field.strip_prefix("bytes_sent:").or_else(|| field.strip_prefix("bytes_received:"))
        });
        counted.filter_map(|number| number.parse::<u64>().ok()).sum()
    };
    output.lines().filter(|line| belongs(line)).map(count).sum()
}

/// User and system time of a process, those of its threads that have ended included.
fn processor_time(pid: u32) -> Result<Duration, Failure> {
    let clock = i32::try_from(pid)
        .ok()
        // Zero and less would mean this process.
        .filter(|pid| *pid > 0)
        .ok_or(nix::errno::Errno::ESRCH)
        .and_then(|pid| clock_getcpuclockid(Pid::from_raw(pid)))
        .and_then(ClockId::now);
    match clock {
        Ok(time) => Ok(time.into()),
        Err(error) => Err(Failure::During(format!("processor time of process {pid}: {}", error.desc()))),
    }
}

/// Processor time of this process.
pub(crate) fn own_time() -> Duration {
    ClockId::CLOCK_PROCESS_CPUTIME_ID.now().map_or(Duration::ZERO, Duration::from)
}

/// Resident memory, by the page tables: the counters in `status` lag behind by some pages for each thread.
fn resident(pid: u32) -> Result<u64, Failure> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let read = fs::read_to_string(&path).and_then(|text| {
        parse_resident(&text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no line `Rss:`"))
    });
    read.map_err(|error| Failure::During(format!("memory of process {pid}: {path}: {error}")))
}

fn parse_resident(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn resident_memory_is_in_kib() {
        assert_eq!(parse_resident("5-7 ---p [rollup]\nRss:     1620 kB\nPss: 1 kB\n"), Some(1_658_880));
        assert_eq!(parse_resident("Pss: 1 kB\n"), None);
    }

    #[test]
    fn what_this_process_uses_is_seen() {
        let servers = Servers { pids: vec![std::process::id()], upstream: Vec::new() };
        servers.check().unwrap();
        let before = servers.sample().unwrap();
        let mut used = servers.since(&before).unwrap();
        while used.total() < Duration::from_millis(20) {
            used = servers.since(&before).unwrap();
        }
        // The same clock, read a moment later.
        assert!(used.own * 2 > used.total() && used.own < used.total() * 2, "{used:?}");
        let full = vec![1_u8; 32 << 20];
        let rss = servers.rss().unwrap()[0];
        assert!(rss > full.len() as u64, "{rss}");
    }

    #[test]
    fn a_process_that_does_not_exist_is_named_before_the_run() {
        for pid in [u32::MAX, 0, 0x3fff_fff0] {
            let failure = Servers { pids: vec![pid], upstream: Vec::new() }.check().unwrap_err();
            assert_eq!(failure.exit_code(), 2);
            assert!(failure.to_string().contains(&pid.to_string()), "{failure}");
        }
    }

    #[test]
    fn bytes_to_the_next_tier_are_counted_both_ways() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut near = TcpStream::connect(address).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        let servers = Servers { pids: vec![std::process::id()], upstream: vec![address] };
        let before = servers.sample().unwrap();
        near.write_all(&[1; 1000]).unwrap();
        far.read_exact(&mut [0; 1000]).unwrap();
        far.write_all(&[1; 70_000]).unwrap();
        near.read_exact(&mut [0; 70_000]).unwrap();
        assert_eq!(servers.since(&before).unwrap().upstream, 71_000);
    }

    #[test]
    fn only_the_processes_own_connections_count() {
        let output = "ESTAB 0 0 a b users:((\"x\",pid=12,fd=3)) cubic bytes_sent:5 bytes_acked:5 bytes_received:7 x\n\
                      ESTAB 0 0 a b users:((\"x\",pid=123,fd=3)) cubic bytes_sent:1000\n";
        assert_eq!(bytes_of(output, &[12]), 12);
        assert_eq!(bytes_of(output, &[12, 123]), 1012);
        assert_eq!(bytes_of(output, &[1]), 0);
    }
}
