//! What ends a run, and with which exit code.

use std::io;

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Found before the load began: something about the request or the target has to change.
    #[error("{0}")]
    Before(String),
    /// Something broke while the load was on.
    #[error("{0}")]
    During(String),
    /// Ctrl-C or SIGTERM.
    #[error("interrupted")]
    Interrupted,
}

impl Failure {
    /// The process's exit code.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Before(_) => 2,
            Self::During(_) => 1,
            Self::Interrupted => 130,
        }
    }

    /// The same failure, met before the load began.
    pub(crate) fn before(self) -> Self {
        match self {
            Self::During(text) => Self::Before(text),
            other => other,
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::During(error.to_string())
    }
}
