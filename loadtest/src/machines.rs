//! Another machine, as near as one machine comes to it: a processor of its own, with whatever time others leave of it.

use std::path::PathBuf;
use std::process::Command;
use std::{env, io};

use rustix::thread::{CpuSet, gettid, sched_getaffinity, sched_setaffinity};

use crate::failure::Failure;

/// The last processor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Elsewhere {
    last: CpuSet,
    others: CpuSet,
    /// Whether all else may run there, too.
    is_shared: bool,
}

impl Elsewhere {
    /// At idle priority: what runs there takes no time from anything else, which goes first at once, wherever it runs. So it
    /// costs others what it makes them do, and what the kernel does for it, whose priority is not its own.
    ///
    /// Fails where there is one processor only: nothing would be left for others.
    pub(crate) fn shared() -> Result<Self, Failure> {
        let usable = sched_getaffinity(None).map_err(io::Error::from)?;
        if usable.count() < 2 {
            return Err(Failure::Before("two processors are needed, and there is one".into()));
        }
        let number = (0..CpuSet::MAX_CPU).rev().find(|cpu| usable.is_set(*cpu)).unwrap_or_default();
        let (mut last, mut others) = (CpuSet::new(), usable);
        last.set(number);
        others.unset(number);
        Ok(Self { last, others, is_shared: true })
    }

    /// Left alone by the calling thread, and by the processes and threads that it starts, until what is returned is dropped.
    pub(crate) fn alone() -> Result<(Self, Away), Failure> {
        let alone = Self { is_shared: false, ..Self::shared()? };
        let before = sched_getaffinity(None).map_err(io::Error::from)?;
        sched_setaffinity(None, &alone.others).map_err(io::Error::from)?;
        Ok((alone, Away { before, is_idle: false }))
    }

    /// Takes the calling thread there, which is also to drop what is returned, and the processes and threads that it starts.
    pub(crate) fn enter(&self) -> io::Result<Away> {
        let before = sched_getaffinity(None)?;
        let away = Away { before, is_idle: self.is_shared };
        if self.is_shared {
            set_policy("--idle")?;
        }
        sched_setaffinity(None, &self.last)?;
        Ok(away)
    }
}

/// While it lives, its thread is not where it was.
#[derive(Debug)]
pub(crate) struct Away {
    before: CpuSet,
    is_idle: bool,
}

impl Drop for Away {
    fn drop(&mut self) {
        // Both were allowed before; if they are no more, the thread stays where it is.
        let _ = sched_setaffinity(None, &self.before);
        if self.is_idle {
            let _ = set_policy("--other");
        }
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

    /// The calling thread's policy, as `chrt` names it.
    fn policy() -> String {
        let output =
            Command::new("chrt").args(["--pid", &gettid().as_raw_nonzero().to_string()]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().next().unwrap().rsplit(' ').next().unwrap().to_owned()
    }

    /// The affinity and policy of a thread that is started now.
    fn place() -> (CpuSet, String) {
        std::thread::spawn(|| (sched_getaffinity(None).unwrap(), policy())).join().unwrap()
    }

    #[test]
    fn a_thread_and_what_it_starts_are_elsewhere_until_it_is_back() {
        let Ok(shared) = Elsewhere::shared() else { return };
        let before = (sched_getaffinity(None).unwrap(), policy());
        let away = shared.enter().unwrap();
        let (affinity, idle) = place();
        assert!(affinity == shared.last && idle == "SCHED_IDLE", "{affinity:?} {idle}");
        drop(away);
        assert_eq!(place(), before);

        let (alone, left) = Elsewhere::alone().unwrap();
        assert_eq!(place(), (alone.others, before.1.clone()));
        let away = alone.enter().unwrap();
        assert_eq!(place(), (alone.last, before.1.clone()));
        drop(away);
        assert_eq!(place(), (alone.others, before.1.clone()));
        drop(left);
        assert_eq!(place(), before);
    }
}
