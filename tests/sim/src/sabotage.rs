//! Mistakes of a runtime, made on purpose: the oracle must see them.

/// What is done wrong. Mistakes inside the machines themselves are put in by patches instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Sabotage {
    /// Appends are reported as durable before they are.
    AckBeforeFsync,
    /// Epoch files are reported as durable before they are.
    EpochBeforeFsync,
}
