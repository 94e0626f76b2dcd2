//! `palisade gateway` reads its settings again upon SIGHUP and `POST /reload`, and keeps what it has if they are wrong.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

struct Gateway {
    process: Child,
    log: Lines<BufReader<ChildStderr>>,
}

impl Gateway {
    fn start(config: &Path) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_palisade"))
            .args(["gateway", "--config"])
            .arg(config)
            .env("PALISADE_LOG", "info")
            .env("NO_COLOR", "1")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(process.stderr.take().unwrap()).lines();
        Self { process, log }
    }

    /// The next line of the log with this text.
    fn line_with(&mut self, text: &str) -> String {
        self.log.by_ref().map(Result::unwrap).find(|line| line.contains(text)).expect("it ended")
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Fails if it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// `POST /reload`: the status, and what is told.
fn post(admin: &str, headers: &str) -> (String, String) {
    let mut stream = TcpStream::connect(admin).unwrap();
    write!(stream, "POST /reload HTTP/1.0\r\n{headers}Content-Length: 0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

#[test]
fn limits_are_read_again_and_mistakes_change_nothing() {
    let folder = TempDir::new().unwrap();
    let config = folder.path().join("gateway.toml");
    let data = folder.path().join("data");
    let write = |rest: &str| {
        let text = format!(
            "id = 101\n[tenant]\nname = \"t\"\n[client]\naddress = \"127.0.0.1:0\"\n\
             [core]\nvoters = [\"127.0.0.1:1\"]\n[storage]\ndata_dir = {data:?}\n\
             [admin]\naddress = \"127.0.0.1:0\"\n{rest}"
        );
        fs::write(&config, text).unwrap();
    };
    write("");
    let mut gateway = Gateway::start(&config);
    let started = gateway.line_with("started");
    let admin = started.split_once("admin=").and_then(|(_, rest)| rest.split_whitespace().next()).unwrap();

    write("[throttle.writes]\nmode = \"dleay\"\nsession = 9\nadress = 3\n");
    gateway.signal(Signal::HUP);
    gateway.line_with("stay as they are");
    let told = [gateway.line_with("[throttle.writes]"), gateway.line_with("[throttle.writes]")].concat();
    assert!(
        told.contains("one of \"off\", \"report\"") && told.contains("did you mean \"address\""),
        "{told}"
    );

    let (status, answer) = post(admin, "");
    assert!(status.contains(" 422 "), "{status}");
    for told in ["stay as they are", "one of \"off\", \"report\"", "did you mean \"address\""] {
        assert!(answer.contains(told), "{told}: {answer}");
    }
    gateway.line_with("POST /reload: the settings stay as they are");
    (0..2).for_each(|_| drop(gateway.line_with("[throttle.writes]")));

    write("[throttle.connections]\nmode = \"delay\"\nprefix = 3\n[throttle.writes]\nsession = 90000\n");
    gateway.signal(Signal::HUP);
    gateway.line_with("stay as they are");
    let told: Vec<String> = (0..2).map(|_| gateway.line_with("[throttle.")).collect();
    for mistake in
        ["prefix = 3: this is not counted by prefix", "session = 90000 is more than address = 50000"]
    {
        assert!(told.iter().any(|line| line.contains(mistake)), "{mistake}: {told:?}");
    }

    write("[throttle.writes]\nmode = \"delay\"\nsession = 9\n");
    gateway.signal(Signal::HUP);
    gateway.line_with("are taken over");
    write("[throttle.writes]\nmode = \"refuse\"\nsession = 9\n");
    let (status, answer) = post(admin, "");
    assert!(status.contains(" 200 ") && answer.contains("are taken over"), "{status}: {answer}");
    gateway.line_with("POST /reload: [throttle]");
    assert!(post(admin, "Origin: http://example.org\r\n").0.contains(" 403 "));
    gateway.signal(Signal::TERM);
    gateway.line_with("stopping");
    assert!(gateway.process.wait().unwrap().success());
}
