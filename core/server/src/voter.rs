//! Starting and stopping a voter.

use std::net::SocketAddr;

use crate::config::Config;
use crate::reservation::Reservation;
use crate::validate::Mistake;

/// Ports taken before the start, so that nobody can take them in between. `None`: the voter binds it itself.
#[derive(Debug, Default)]
pub struct Ports {
    /// Quorum port.
    pub quorum: Option<Reservation>,
    /// Election port.
    pub election: Option<Reservation>,
    /// Monitoring port; opened even if the configuration names none.
    pub admin: Option<Reservation>,
}

/// Where a running voter can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Learners dial it; open only while this voter leads.
    pub quorum: SocketAddr,
    /// Voters dial it.
    pub election: SocketAddr,
    /// Four-letter words.
    pub admin: Option<SocketAddr>,
}

/// Why a voter did not start. No file was changed unless the message says so.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The settings are wrong.
    #[error("invalid configuration: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Config(Vec<Mistake>),
}

/// Why a running voter stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    /// A task ended that must not.
    #[error("internal error: {0}")]
    Internal(String),
}

/// A voter that is not running.
#[derive(Debug)]
pub enum Voter {}

impl Voter {
    /// Starts one on the current tokio runtime: reads its files, takes its ports, and joins the ensemble in
    /// the background.
    ///
    /// # Errors
    /// Wrong settings, unusable files or ports.
    pub async fn start(config: Config, ports: Ports) -> Result<VoterHandle, StartError> {
        config.validate().map_err(StartError::Config)?;
        let _ = ports;
        todo!()
    }
}

/// A running voter. Dropping it stops the voter without waiting for the end.
#[derive(Debug)]
pub struct VoterHandle {
    addresses: Addresses,
}

impl VoterHandle {
    /// Where it can be reached.
    pub const fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Completes once the voter has stopped, by [`VoterHandle::stop`] or by itself.
    ///
    /// # Errors
    /// The reason, if it stopped by itself.
    pub async fn wait(&mut self) -> Result<(), Fatal> {
        todo!()
    }

    /// Stops it: what was queued for the disk is written, then all tasks and threads end.
    ///
    /// # Errors
    /// The reason, if it had stopped by itself or the last writes failed.
    pub async fn stop(self) -> Result<(), Fatal> {
        todo!()
    }
}
