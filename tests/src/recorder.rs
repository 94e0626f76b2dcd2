//! A steady stream of recorded writes and reads by kazoo, to be checked afterwards.

use std::path::PathBuf;
use std::process::ChildStdin;

use crate::folder::Folder;
use crate::linearize::history::History;
use crate::process::Process;
use crate::tools;
use crate::wait::wait_for;

/// The znode below which the recorder works.
pub const ROOT: &str = "/recorded";

/// A running recorder (`tests/clients/recorder.py`).
#[derive(Debug)]
pub struct Recorder {
    process: Process,
    input: ChildStdin,
    history: PathBuf,
    _folder: Folder,
}

impl Recorder {
    /// Starts recording against `hosts`.
    #[track_caller]
    pub fn start(hosts: &str) -> Self {
        let folder = Folder::new();
        let history = folder.path().join("history.jsonl");
        let script = tools::clients().join("recorder.py");
        let arguments = [script.as_os_str(), hosts.as_ref(), ROOT.as_ref(), history.as_os_str()];
        let mut process = Process::spawn("recorder", folder.path(), tools::python(), arguments);
        let input = process.stdin().expect("the standard input is taken once");
        process.wait_for_line("ready");
        Self { process, input, history, _folder: folder }
    }

    /// Waits until `count` more writes are acknowledged than are now.
    #[track_caller]
    pub fn wait_for_writes(&mut self, count: usize) {
        let wanted = History::read(&self.history).acknowledged() + count;
        wait_for(&format!("{count} more acknowledged writes"), || {
            assert!(self.process.is_running(), "the recorder ended");
            (History::read(&self.history).acknowledged() >= wanted).then_some(())
        });
    }

    /// Stops the stream, lets everything be read once more, and returns all that was recorded.
    #[track_caller]
    pub fn finish(self) -> History {
        let Self { mut process, input, history, _folder } = self;
        drop(input);
        assert!(process.wait().success(), "the recorder failed:\n{}", process.log());
        History::read(&history)
    }
}
