//! What the end-to-end tests share: processes, ports and folders that leave nothing behind, launchers for Palisade
//! and for Apache ZooKeeper, real clients, and a linearizability checker.
//!
//! The harness panics when something is not as it must be: its callers are tests. Tools that the tests need are
//! installed by `tests/setup`.

pub mod apache;
pub mod believers;
pub mod clients;
pub mod conformance;
pub mod ensemble;
pub mod faults;
pub mod folder;
pub mod four_letter;
pub mod herd;
pub mod hostile;
pub mod http;
pub mod linearize;
pub mod lock_history;
pub mod palisade;
pub mod ports;
pub mod process;
pub mod procfs;
pub mod proxy;
pub mod raw;
pub mod recorder;
pub mod rovers;
pub mod survivors;
pub mod target;
pub mod tools;
pub mod wait;
pub mod watchers;
pub mod zkcli;
pub mod zoo_cfg;
