//! Child processes that never outlive the test and never fill the disk.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, PipeReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::ioctl_fionread;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::wait::{wait_at_most, wait_for};

/// What a process may write to its log; the rest is read and thrown away.
const LOG_LIMIT: usize = 20 << 20;

/// How long [`Process::wait`] waits at most.
const LIFETIME: Duration = Duration::from_secs(300);

/// A child process in a process group of its own, with its output in a log file. Killed when dropped, and by the
/// kernel should the test process die first (more exactly: the thread that spawned it).
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    output: Arc<Output>,
    pump: Option<JoinHandle<()>>,
}

impl Process {
    /// Starts `program`; standard output and error go to `folder/name.log`, appended to what is there.
    pub fn spawn<A: AsRef<OsStr>>(
        name: &str,
        folder: &Path,
        program: impl AsRef<OsStr>,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        let (reader, writer) = io::pipe().expect("cannot create a pipe");
        let errors = writer.try_clone().expect("cannot clone a pipe");
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program)
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(writer)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .expect("cannot start setpriv");
        let log = folder.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log).expect("cannot open a log file");
        let output = Arc::new(Output { reader, kept: Mutex::new(Kept { file, room: LOG_LIMIT }) });
        let pumped = Arc::clone(&output);
        let pump = thread::spawn(move || pumped.keep_all());
        Self { name: name.to_owned(), child, log, output, pump: Some(pump) }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The process's standard input; none the second time.
    pub fn stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// All that the process has written before the call, up to the log's limit.
    pub fn log(&self) -> String {
        self.output.keep_what_is_there().expect("cannot read the output of a child process");
        let bytes = fs::read(&self.log).expect("cannot read a log file");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.as_pid(), signal)
            .unwrap_or_else(|error| panic!("{}: {signal:?}: {error}", self.name));
    }

    /// kill -9, and waits until the process is gone.
    pub fn kill(&mut self) {
        // Fails only when the group is gone already.
        let _ = kill_process_group(self.as_pid(), Signal::KILL);
        self.child.wait().expect("cannot wait for a child process");
        if let Some(pump) = self.pump.take() {
            pump.join().expect("the log's reader does not panic");
        }
    }

    /// Whether the process is still there.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("cannot wait for a child process").is_none()
    }

    /// Waits until the process ends by itself; its log is complete then.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let what = format!("the end of {}", self.name);
        let status =
            wait_at_most(LIFETIME, || self.child.try_wait().expect("cannot wait for a child process"))
                .unwrap_or_else(|| panic!("{what}: not seen within {LIFETIME:?}"));
        self.kill();
        status
    }

    /// Waits until a line of the log begins with `text`.
    #[track_caller]
    pub fn wait_for_line(&mut self, text: &str) {
        let what = format!("a line '{text}' by {}", self.name);
        wait_for(&what, || {
            let running = self.is_running();
            let found = self.log().lines().any(|line| line.starts_with(text));
            assert!(found || running, "{} ended without a line '{text}'", self.name);
            found.then_some(())
        });
    }

    fn as_pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- the last lines of {} (process {}):", self.name, self.pid());
            for line in &lines[lines.len().saturating_sub(25)..] {
                eprintln!("{line}");
            }
        }
    }
}

/// What a process writes, on its way to the log.
#[derive(Debug)]
struct Output {
    reader: PipeReader,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    file: File,
    /// How many bytes may follow.
    room: usize,
}

impl Output {
    /// Copies all to the log, until the process and its children end.
    fn keep_all(&self) {
        loop {
            let mut ready = [PollFd::new(&self.reader, PollFlags::IN)];
            let more = poll(&mut ready, None).is_err() || ready[0].revents().contains(PollFlags::IN);
            if self.keep_what_is_there().is_err() || !more {
                return;
            }
        }
    }

    /// Copies what is in the pipe. Whoever reads the log calls this first, and so misses nothing.
    fn keep_what_is_there(&self) -> io::Result<()> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut buffer = [0; 16 << 10];
        while ioctl_fionread(&self.reader)? > 0 {
            let count = (&self.reader).read(&mut buffer)?;
            let wanted = count.min(kept.room);
            kept.room -= wanted;
            if kept.file.write_all(&buffer[..wanted]).is_err() {
                // A full disk: the process must still get rid of what it writes.
                kept.room = 0;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::folder::Folder;

    #[test]
    fn output_is_logged_up_to_the_limit() {
        let folder = Folder::new();
        let script = "echo out; echo err >&2; head -c 30000000 /dev/zero";
        let mut process = Process::spawn("noise", folder.path(), "sh", ["-c", script]);
        assert!(process.wait().success());
        let log = process.log();
        assert!(log.starts_with("out\nerr\n"));
        assert_eq!(log.len(), LOG_LIMIT);
    }

    #[test]
    fn the_log_has_all_that_was_written_before_it_is_read() {
        let folder = Folder::new();
        let script = "while read -r line; do echo \"$line\"; echo \"$line\" >> heard; done";
        let mut process = Process::spawn("echo", folder.path(), "sh", ["-c", script]);
        let mut stdin = process.stdin().expect("the first time");
        let heard = folder.path().join("heard");
        for line in 1..500 {
            writeln!(stdin, "line {line}").expect("the shell reads");
            while fs::read_to_string(&heard).unwrap_or_default().lines().count() < line {
                assert!(process.is_running());
            }
            assert_eq!(process.log().lines().count(), line);
        }
    }

    #[test]
    fn a_dropped_process_is_gone_with_its_children() {
        let folder = Folder::new();
        let started = Instant::now();
        let mut process =
            Process::spawn("sleeper", folder.path(), "sh", ["-c", "sleep 600 & echo ready; wait"]);
        process.wait_for_line("ready");
        drop(process);
        assert!(started.elapsed() < Duration::from_secs(300), "the pipe stayed open, so a child lives");
    }
}
