//! Processors that stand for machines: what runs on one takes no processor time from what runs on another.

use std::path::PathBuf;
use std::{env, io};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::failure::Failure;

/// The processors that this process may use, in two parts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machines {
    /// All but the last.
    pub(crate) near: CpuSet,
    /// The last.
    pub(crate) far: CpuSet,
}

impl Machines {
    /// Fails where there is one processor only.
    pub(crate) fn split() -> Result<Self, Failure> {
        let mut near = sched_getaffinity(None).map_err(io::Error::from)?;
        let last = (0..CpuSet::MAX_CPU).rev().find(|cpu| near.is_set(*cpu)).unwrap_or_default();
        near.unset(last);
        if near.count() == 0 {
            return Err(Failure::Before("two processors are needed, and there is one".into()));
        }
        let mut far = CpuSet::new();
        far.set(last);
        Ok(Self { near, far })
    }
}

/// Where servers that stand for several machines have their folders: in memory, unless `TMPDIR` says otherwise. Machines do
/// not share a disk; in a shared file system, a server that waits for its processor can hold up what others flush.
pub(crate) fn folders() -> PathBuf {
    env::var_os("TMPDIR").map_or_else(|| PathBuf::from("/dev/shm"), PathBuf::from)
}

/// While it lives, its thread runs on some processors only, and so do the processes and threads that it starts.
#[derive(Debug)]
pub(crate) struct Pinned {
    before: CpuSet,
}

impl Pinned {
    /// Pins the calling thread, which is also to drop this.
    pub(crate) fn to(cpus: &CpuSet) -> io::Result<Self> {
        let before = sched_getaffinity(None)?;
        sched_setaffinity(None, cpus)?;
        Ok(Self { before })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // These were allowed before; if they are no more, the thread stays where it is.
        let _ = sched_setaffinity(None, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_and_what_it_starts_stay_where_they_are_pinned() {
        let Ok(Machines { near, far }) = Machines::split() else { return };
        assert!((0..CpuSet::MAX_CPU).all(|cpu| !(near.is_set(cpu) && far.is_set(cpu))));
        let before = sched_getaffinity(None).unwrap();
        let pinned = Pinned::to(&far).unwrap();
        let started = std::thread::spawn(|| sched_getaffinity(None).unwrap());
        assert_eq!(started.join().unwrap(), far);
        drop(pinned);
        assert_eq!(sched_getaffinity(None).unwrap(), before);
    }
}
