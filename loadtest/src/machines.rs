//! Another machine, as near as one machine comes to it: a processor of its own, with whatever time others leave of it.

use std::path::PathBuf;
use std::process::Command;
use std::{env, io};

use rustix::thread::{CpuSet, gettid, sched_getaffinity, sched_setaffinity};

use crate::failure::Failure;

/// The last processor, at idle priority: what runs there takes no time from anything else, which goes first at once,
/// wherever it runs. So it costs others only what it makes them do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Elsewhere(CpuSet);

impl Elsewhere {
    /// Fails where there is one processor only: nothing would be left for others.
    pub(crate) fn find() -> Result<Self, Failure> {
        let usable = sched_getaffinity(None).map_err(io::Error::from)?;
        if usable.count() < 2 {
            return Err(Failure::Before("two processors are needed, and there is one".into()));
        }
        let last = (0..CpuSet::MAX_CPU).rev().find(|cpu| usable.is_set(*cpu)).unwrap_or_default();
        let mut set = CpuSet::new();
        set.set(last);
        Ok(Self(set))
    }

    /// Takes the calling thread there, which is also to drop what is returned, and the processes and threads that it starts.
    pub(crate) fn enter(&self) -> io::Result<Away> {
        let before = sched_getaffinity(None)?;
        let away = Away { before };
        set_policy("--idle")?;
        sched_setaffinity(None, &self.0)?;
        Ok(away)
    }
}

/// While it lives, its thread is elsewhere.
#[derive(Debug)]
pub(crate) struct Away {
    before: CpuSet,
}

impl Drop for Away {
    fn drop(&mut self) {
        // Both were allowed before; if they are no more, the thread stays where it is.
        let _ = sched_setaffinity(None, &self.before);
        let _ = set_policy("--other");
    }
}

/// Sets the calling thread's scheduling policy: sched(7).
fn set_policy(policy: &str) -> io::Result<()> {
    let thread = gettid().as_raw_nonzero().to_string();
    let output = Command::new("chrt").args([policy, "--pid", "0", &thread]).output().map_err(|error| {
        io::Error::new(error.kind(), format!("cannot run chrt: {error}; install Debian's package util-linux"))
    })?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("chrt {policy}: {}", String::from_utf8_lossy(&output.stderr).trim())))
}

/// Where servers that stand for several machines have their folders: in memory, unless `TMPDIR` says otherwise. Machines do
/// not share a disk; in a shared file system, a server that waits for its processor can hold up what others flush.
pub(crate) fn folders() -> PathBuf {
    env::var_os("TMPDIR").map_or_else(|| PathBuf::from("/dev/shm"), PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The policy of the calling thread, as `chrt` names it.
    fn policy() -> String {
        let output =
            Command::new("chrt").args(["--pid", &gettid().as_raw_nonzero().to_string()]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().lines().next().unwrap().to_owned()
    }

    #[test]
    fn a_thread_and_what_it_starts_are_elsewhere_until_it_is_back() {
        let Ok(elsewhere) = Elsewhere::find() else { return };
        let (before, ordinary) = (sched_getaffinity(None).unwrap(), policy());
        let away = elsewhere.enter().unwrap();
        let (affinity, idle) =
            std::thread::spawn(|| (sched_getaffinity(None).unwrap(), policy())).join().unwrap();
        assert!(affinity == elsewhere.0 && idle.ends_with("SCHED_IDLE"), "{affinity:?} {idle}");
        drop(away);
        assert_eq!((sched_getaffinity(None).unwrap(), policy()), (before, ordinary));
    }
}
