//! Mistakes in settings, as they are shown to the operator.

use std::fmt;
use std::path::{Path, PathBuf};

/// Where a setting was given, or should have been.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In a file; the line counts from 1 and is unknown for what is missing.
    File {
        /// The file, as it was named by the operator.
        path: PathBuf,
        /// The line, if the setting stands on one.
        line: Option<usize>,
    },
    /// On the command line or in the environment; both names, as help prints them.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line: Some(line) } => write!(f, "{}:{line}", path.display()),
            Self::File { path, line: None } => write!(f, "{}", path.display()),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// One thing that is wrong with one setting, or worth knowing about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where it stands.
    pub origin: Origin,
    /// The key, with its section: `[client] address`.
    pub key: String,
    /// The value that was given, as text.
    pub given: Option<String>,
    /// What is wrong with it and what is allowed.
    pub problem: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.key)?;
        if let Some(given) = &self.given {
            write!(f, " = {given}")?;
        }
        write!(f, ": {}", self.problem)
    }
}

/// Why settings cannot be used. Nothing has been started or written by then.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {source}; check the path and its permissions", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// At least one setting is wrong.
    #[error("{}", list(path, mistakes))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Every mistake, in the order of the file where that is known. Never empty.
        mistakes: Vec<Mistake>,
    },
}

fn list(path: &Path, mistakes: &[Mistake]) -> String {
    let plural = if mistakes.len() == 1 { "mistake" } else { "mistakes" };
    let mut text = format!("{} {plural} in the configuration {}:", mistakes.len(), path.display());
    for mistake in mistakes {
        text.push_str("\n  ");
        text.push_str(&mistake.to_string());
    }
    text
}

/// Settings that can be used, and what the operator should know about them all the same.
#[derive(Clone, Debug)]
pub struct Loaded<T> {
    /// The settings.
    pub config: T,
    /// Keys that have no effect here, and values that had to be adjusted.
    pub warnings: Vec<Mistake>,
}
