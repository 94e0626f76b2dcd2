//! Processor time and memory of other processes, from Linux's `/proc`.

use std::fs;
use std::io;
use std::time::Duration;

/// Length of a clock tick in `/proc/<pid>/stat`: `USER_HZ` is 100 on x86-64 and AArch64.
const TICK: Duration = Duration::from_millis(10);

/// User and system time that the processes have used together.
pub(crate) fn total(pids: &[u32]) -> io::Result<Duration> {
    pids.iter().map(|pid| one(*pid)).sum()
}

fn one(pid: u32) -> io::Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path)
        .map_err(|e| io::Error::new(e.kind(), format!("processor time of process {pid}: {path}: {e}")))?;
    parse(&stat)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("{path} has an unknown form")))
}

/// Resident memory of the processes together; pages that they share count for each.
pub(crate) fn resident_bytes(pids: &[u32]) -> io::Result<u64> {
    let resident = |pid: &u32| {
        let path = format!("/proc/{pid}/status");
        let status = fs::read_to_string(&path)
            .map_err(|e| io::Error::new(e.kind(), format!("memory of process {pid}: {path}: {e}")))?;
        parse_resident(&status).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{path} has no line of resident memory"))
        })
    };
    pids.iter().map(resident).sum()
}

fn parse_resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kib.checked_mul(1024)
}

/// Fields 14 and 15. The name in field 2 may hold blanks and parentheses, so counting starts after its last one.
fn parse(stat: &str) -> Option<Duration> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some(TICK * user.checked_add(system)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_are_added() {
        let stat = "77 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 120 34 0 0 20 0 9 0 1 2 3";
        assert_eq!(parse(stat), Some(Duration::from_millis(1540)));
        assert_eq!(parse("77 (a"), None);
        assert_eq!(parse("77 (a) S 1"), None);
    }

    #[test]
    fn resident_memory_is_in_kib() {
        assert_eq!(parse_resident("Name:\tx\nVmRSS:\t    1620 kB\nThreads:\t1\n"), Some(1_658_880));
        assert_eq!(parse_resident("Name:\tx\n"), None);
        assert!(resident_bytes(&[std::process::id()]).unwrap() > 0);
    }

    #[test]
    fn a_process_that_does_not_exist_is_named() {
        assert!(total(&[u32::MAX]).unwrap_err().to_string().contains("4294967295"));
    }
}
