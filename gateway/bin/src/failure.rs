//! What ends the process early: one message, one exit code.

use std::fmt;

use palisade_config::ConfigError;

/// Exit code for a wrong command line or configuration (`EX_USAGE` of sysexits).
pub(crate) const USAGE: u8 = 64;
/// Exit code for everything else.
const RUNTIME: u8 = 1;

/// The reason why the process ends.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// The command line or the configuration is wrong; nothing was started.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { code: USAGE, message: message.into() }
    }

    /// Something went wrong that is not the configuration's fault.
    pub(crate) fn runtime(what: impl fmt::Display, error: &dyn std::error::Error) -> Self {
        let mut message = format!("{what}: {error}");
        // Causes that the messages before do not tell already.
        let mut cause = error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !message.contains(&text) {
                message.push_str(": ");
                message.push_str(&text);
            }
            cause = error.source();
        }
        Self { code: RUNTIME, message }
    }

    /// A clean stop was not possible.
    pub(crate) const fn interrupted(message: String) -> Self {
        Self { code: RUNTIME, message }
    }

    /// The process's exit code.
    pub(crate) const fn code(&self) -> u8 {
        self.code
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::usage(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_once() {
        #[derive(Debug)]
        struct Outer(std::io::Error);
        impl fmt::Display for Outer {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("cannot open")
            }
        }
        impl std::error::Error for Outer {
            fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
                Some(&self.0)
            }
        }
        let failure = Failure::runtime("voter 1", &Outer(std::io::Error::other("disk on fire")));
        assert_eq!(failure.to_string(), "voter 1: cannot open: disk on fire");
        assert_eq!(failure.code(), 1);
        let failure =
            Failure::runtime("voter 1: disk on fire", &Outer(std::io::Error::other("disk on fire")));
        assert_eq!(failure.to_string(), "voter 1: disk on fire: cannot open");
    }
}
