//! `palisade dev` from the outside: it becomes ready, answers on every tenant's port, stops when told, and goes on
//! with its data.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

struct Dev {
    process: Child,
    /// What was printed up to the line that begins with `ready`.
    printed: Vec<String>,
}

impl Dev {
    fn start(data_dir: &Path) -> Self {
        let process = Command::new(env!("CARGO_BIN_EXE_palisade"))
            .args(["dev", "--client-port", "0", "--data-dir"])
            .arg(data_dir)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut dev = Self { process, printed: Vec::new() };
        for line in BufReader::new(dev.process.stdout.take().unwrap()).lines() {
            dev.printed.push(line.unwrap());
            if dev.printed.last().is_some_and(|line| line.starts_with("ready")) {
                return dev;
            }
        }
        panic!("it ended before it was ready: {:?}", dev.printed);
    }

    /// The first address in the row of `name`.
    fn address(&self, name: &str) -> String {
        let row = self.printed.iter().find(|line| line.starts_with(name)).unwrap();
        row.split_whitespace().find(|word| word.contains(':')).unwrap().to_owned()
    }

    fn stop(mut self) {
        kill_process(Pid::from_child(&self.process), Signal::TERM).unwrap();
        let status = self.process.wait().unwrap();
        assert!(status.success(), "{status}");
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // Fails if it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn four_letters(address: &str, word: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(word.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The value of one line of `srvr`.
fn srvr(address: &str, key: &str) -> String {
    let answer = four_letters(address, "srvr");
    let value = answer.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
    value.unwrap_or_else(|| panic!("no {key} in {answer}")).to_owned()
}

#[test]
fn it_serves_every_tenant_and_goes_on_with_its_data() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let mut epochs = Vec::new();
    for _ in 0..2 {
        let dev = Dev::start(&data);
        for tenant in ["discovery", "messaging", "scheduling"] {
            assert_eq!(four_letters(&dev.address(tenant), "ruok"), "imok");
            assert_eq!(srvr(&dev.address(tenant), "Mode"), "observer");
        }
        let zxid = srvr(&dev.address("discovery"), "Zxid");
        epochs.push(i64::from_str_radix(zxid.trim_start_matches("0x"), 16).unwrap() >> 32);
        dev.stop();
    }
    // The second run's first leader counts on from the epoch on disk.
    assert!(epochs[0] >= 1 && epochs[1] > epochs[0], "{epochs:?}");
}
