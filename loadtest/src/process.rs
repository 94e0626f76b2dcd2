//! Server processes that never outlive this one.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// How much of the end of a server's output is kept, for the error message should it die.
const TAIL: usize = 2048;

/// A child process. Killed and reaped when dropped, and killed by the kernel should this process die first.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    tail: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Process {
    /// Starts `program`. Must be called by the main thread, as the kernel's kill follows the thread that spawns.
    pub(crate) fn spawn<A: AsRef<OsStr>>(
        name: String,
        program: &OsStr,
        arguments: impl IntoIterator<Item = A>,
    ) -> io::Result<Self> {
        let (mut output, writer) = io::pipe()?;
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer)
            // A group of its own: Ctrl-C is for this process, which then stops the servers.
            .process_group(0)
            .spawn()
            .map_err(|error| {
                let advice = "install Debian's package util-linux";
                io::Error::new(error.kind(), format!("{name}: cannot run setpriv: {error}; {advice}"))
            })?;
        let tail = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&tail);
        let reader = thread::spawn(move || {
            let mut buffer = [0; TAIL];
            while let Ok(count @ 1..) = output.read(&mut buffer) {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend_from_slice(&buffer[..count]);
                let surplus = kept.len().saturating_sub(TAIL);
                kept.drain(..surplus);
            }
        });
        Ok(Self { name, child, tail, reader: Some(reader) })
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Fails, with the last of its output, if the process has ended.
    pub(crate) fn check_running(&mut self) -> Result<(), String> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => {
                self.stop();
                Err(format!("{} ended with {status}; its last output:\n{}", self.name, self.output()))
            }
            Err(error) => Err(format!("{}: {error}", self.name)),
        }
    }

    /// The last of the output.
    pub(crate) fn output(&self) -> String {
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&tail).into_owned()
    }

    fn stop(&mut self) {
        // Both fail only when the process is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            // The pipe ended with the process; a panic of the reader would only cost the tail.
            let _ = reader.join();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_ended_is_reported_with_the_end_of_its_output() {
        let script = "head -c 100000 /dev/zero; echo why it failed >&2; exit 3";
        let mut process = Process::spawn("server".into(), "sh".as_ref(), ["-c", script]).unwrap();
        let error = loop {
            if let Err(error) = process.check_running() {
                break error;
            }
            thread::yield_now();
        };
        assert!(error.contains("exit status: 3") && error.ends_with("why it failed\n"), "{error}");
        assert_eq!(process.output().len(), TAIL);
    }

    #[test]
    fn a_dropped_process_is_gone() {
        let process = Process::spawn("server".into(), "sleep".as_ref(), ["600"]).unwrap();
        let entry = format!("/proc/{}", process.pid());
        assert!(std::path::Path::new(&entry).exists());
        drop(process);
        assert!(!std::path::Path::new(&entry).exists());
    }
}
