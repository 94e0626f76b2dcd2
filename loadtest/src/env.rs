//! What every run needs of its surroundings: an end by signal, and a place to show how far it is.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::failure::Failure;

/// Descriptors that are needed besides those of the connections.
const OTHER_DESCRIPTORS: u64 = 64;

/// Set by Ctrl-C and SIGTERM; a second one ends the process at once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Takes over both signals.
    pub(crate) fn listen() -> io::Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal only sets the flag, which arms the exit for the next one.
            signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&flag))?;
            signal_hook::flag::register(signal, Arc::clone(&flag))?;
        }
        Ok(Self(flag))
    }

    /// Fails once a signal has come.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if self.0.load(Ordering::Relaxed) { Err(Failure::Interrupted) } else { Ok(()) }
    }
}

/// The surroundings of a run.
#[derive(Clone, Debug)]
pub(crate) struct Env {
    /// Whether to end early.
    pub(crate) interrupt: Interrupt,
    /// How far the run is.
    pub(crate) progress: Progress,
}

/// A bar on standard error, if that is a terminal.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar.
    pub(crate) fn new() -> Self {
        let bar = ProgressBar::new(0);
        let style = ProgressStyle::with_template("{msg:40!} {wide_bar} {percent:>3}% {elapsed}")
            .expect("the template is a constant that is well formed");
        bar.set_style(style);
        Self { bar }
    }

    /// Something new begins, of `total` steps.
    pub(crate) fn phase(&self, what: &str, total: u64) {
        self.bar.reset();
        self.bar.set_length(total);
        self.bar.set_message(what.to_owned());
    }

    /// A phase that lasts for `time` begins; [`Progress::elapsed`] moves the bar.
    pub(crate) fn phase_of(&self, what: &str, time: Duration) {
        self.phase(what, time.as_millis() as u64);
    }

    /// So many steps are done.
    pub(crate) fn at(&self, done: u64) {
        self.bar.set_position(done);
    }

    /// So much time has passed.
    pub(crate) fn elapsed(&self, time: Duration) {
        self.at(time.as_millis() as u64);
    }

    /// A line above the bar; on standard error even if that is no terminal.
    pub(crate) fn line(&self, text: &str) {
        self.bar.suspend(|| eprintln!("{text}"));
    }

    /// Takes the bar away.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

/// Makes sure that `connections` can be open at once, raising the soft limit where the hard one allows it.
pub(crate) fn reserve_descriptors(connections: u64) -> Result<(), Failure> {
    let needed = connections + OTHER_DESCRIPTORS;
    let limit = getrlimit(Resource::Nofile);
    let covers = |limit: Option<u64>| limit.is_none_or(|limit| limit >= needed);
    if covers(limit.current) {
        return Ok(());
    }
    let raised = Rlimit { current: Some(needed), maximum: limit.maximum };
    if covers(limit.maximum) && setrlimit(Resource::Nofile, raised).is_ok() {
        return Ok(());
    }
    let hard = limit.maximum.unwrap_or(u64::MAX);
    Err(Failure::Before(format!(
        "{connections} connections need {needed} file descriptors, and this process may have {hard}; raise the \
         limit with `ulimit -n`"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_descriptors_are_said_with_what_to_do() {
        reserve_descriptors(10).unwrap();
        let failure = reserve_descriptors(1 << 50).unwrap_err();
        assert_eq!(failure.exit_code(), 2);
        let text = failure.to_string();
        assert!(text.contains("ulimit -n") && !text.contains('\n'), "{text}");
    }

    #[test]
    fn an_interrupt_ends_a_run() {
        let interrupt = Interrupt::default();
        interrupt.check().unwrap();
        interrupt.0.store(true, Ordering::Relaxed);
        assert!(matches!(interrupt.check(), Err(Failure::Interrupted)));
    }
}
