//! What the binary says, and with which code it exits, when it cannot or need not start anything.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

fn palisade(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_palisade"));
    for name in ["LOG", "DATA_DIR", "ADMIN_ADDRESS", "CLIENT_ADDRESS", "VOTERS"] {
        command.env_remove(format!("PALISADE_{name}"));
    }
    command.args(args).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/examples").join(name);
    path.to_str().unwrap().to_owned()
}

/// All files below a folder with their content.
fn content(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read(&path).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn help_and_version_go_to_stdout() {
    for args in [&["--help"][..], &["dev", "--help"], &["core", "--help"], &["gateway", "--help"]] {
        let output = palisade(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(stdout(&output).contains("Examples:"), "{args:?}");
    }
    let output = palisade(&["--version"]);
    assert_eq!(stdout(&output), format!("palisade {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_wrong_command_line_is_code_64() {
    for (args, word) in [
        (&[][..], "Usage:"),
        (&["serve"], "serve"),
        (&["core"], "--config"),
        (&["dev", "--client-port", "70000"], "70000"),
        (&["dev", "--log", "loud=very"], "--log (PALISADE_LOG) = loud=very"),
    ] {
        let output = palisade(args);
        assert_eq!(output.status.code(), Some(64), "{args:?}");
        assert!(stderr(&output).contains(word), "{args:?}: {}", stderr(&output));
        assert!(stdout(&output).is_empty(), "{args:?}");
    }
}

#[test]
fn a_wrong_configuration_is_code_64_and_changes_nothing() {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let data = folder.path().to_str().unwrap();
    let zoo = write("zoo.cfg", &format!("dataDir={data}\ntickTime=0\nserver.1=a:1:2\n"));
    let gateway = write("gateway.toml", &format!("id = 300\n[storage]\ndata_dir = \"{data}\"\n"));
    let before = content(folder.path());
    for (args, words) in [
        (&["core", "--config", &zoo][..], &["zoo.cfg:2: tickTime = 0", "myid", "initLimit", "syncLimit"][..]),
        (&["gateway", "--config", &gateway], &["gateway.toml:1: id = 300", "[tenant] name", "[core] voters"]),
        (&["check-config", &gateway], &["gateway.toml:1: id = 300"]),
        (&["gateway", "--config", &zoo], &["must end with .toml"]),
        (&["core", "--config", "/nonexistent/zoo.cfg"], &["/nonexistent/zoo.cfg", "No such file"]),
    ] {
        let output = palisade(args);
        assert_eq!(output.status.code(), Some(64), "{args:?}");
        for word in words {
            assert!(stderr(&output).contains(word), "{args:?} {word}: {}", stderr(&output));
        }
    }
    assert_eq!(content(folder.path()), before);
}

#[test]
fn a_good_configuration_is_said_to_be_good() {
    for (name, what) in [("gateway.toml", "gateway 101 of discovery"), ("voter.toml", "voter 1")] {
        let output = palisade(&["check-config", &example(name)]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(stdout(&output).starts_with("ok: ") && stdout(&output).contains(what), "{}", stdout(&output));
    }
}
