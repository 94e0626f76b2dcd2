//! Three voters in one process, seen through their ports.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod ensemble;
mod misuse;
mod support;
