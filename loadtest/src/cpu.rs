//! Processor time of other processes, from Linux's `/proc`.

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
    fn a_process_that_does_not_exist_is_named() {
        assert!(total(&[u32::MAX]).unwrap_err().to_string().contains("4294967295"));
    }
}
