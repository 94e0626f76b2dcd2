//! Where the programs are that the tests run.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

const JARS: &str = "/usr/share/java";

/// The repository's folder.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the repository")
}

/// The folder of the client programs.
pub fn clients() -> PathBuf {
    repository().join("tests/clients")
}

/// The Python interpreter that has kazoo.
pub fn python() -> PathBuf {
    installed(repository().join(".cache/venv/bin/python"))
}

/// A folder with the jars of another Apache ZooKeeper than Debian's, if the variable `APACHE_JARS` names one.
pub fn apache_jars() -> Option<PathBuf> {
    std::env::var_os("APACHE_JARS").map(PathBuf::from)
}

/// Arguments of `java` that run `class` of Apache ZooKeeper, with a small heap and a quick start.
pub fn java_arguments(class: &str, slf4j: &str) -> Vec<OsString> {
    let class_path = match apache_jars() {
        Some(jars) => format!("{}/*", jars.display()),
        None => class_path(&["zookeeper", slf4j]),
    };
    java_arguments_with(class, &class_path)
}

/// The same for any class on the class path.
pub fn java_arguments_with(class: &str, class_path: &str) -> Vec<OsString> {
    ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", class_path, class]
        .map(OsString::from)
        .to_vec()
}

/// The class path of Debian's jars with these names; each names what it needs itself.
pub fn class_path(jars: &[&str]) -> String {
    let path = |name: &&str| installed(Path::new(JARS).join(format!("{name}.jar"))).display().to_string();
    jars.iter().map(path).collect::<Vec<_>>().join(":")
}

/// The `palisade` binary: `PALISADE_BIN`, or the release build in cargo's target folder.
pub fn palisade() -> PathBuf {
    if let Some(path) = std::env::var_os("PALISADE_BIN") {
        return PathBuf::from(path);
    }
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), PathBuf::from);
    let binary = repository().join(target).join("release/palisade");
    assert!(binary.exists(), "{} is missing: run `cargo build --release -p palisade`", binary.display());
    binary
}

fn installed(path: PathBuf) -> PathBuf {
    assert!(path.exists(), "{} is missing: run tests/setup", path.display());
    path
}
