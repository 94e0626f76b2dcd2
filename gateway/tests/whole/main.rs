//! Gateways before a core of three voters, all in this process, seen by clients through the client ports.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod core_loss;
mod fairness;
mod limits;
mod support;
mod tenancy;
