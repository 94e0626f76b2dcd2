//! Starting and stopping a voter.

use std::net::SocketAddr;

use palisade_disk::DiskError;
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::alone::Foreground;
use crate::assemble::{Bound, Files, assemble};
use crate::config::Config;
use crate::disk::JobQueue;
use crate::driver::Fatal;
use crate::net::Reservation;
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

/// Why a voter did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The settings are wrong. Nothing was touched.
    #[error("invalid configuration: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Config(Vec<Mistake>),
    /// The name of an own address cannot be resolved. Nothing was touched.
    #[error("cannot open the {port} port: {reason}; correct the member list or set a bind address")]
    Resolve {
        /// Which port.
        port: &'static str,
        /// Why.
        reason: String,
    },
    /// A port cannot be taken. Nothing was touched.
    #[error("cannot open the {port} port on {address}: {source}")]
    Port {
        /// Which port.
        port: &'static str,
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The files cannot be used.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Files and settings contradict each other.
    #[error("cannot take part in the ensemble: {0}")]
    Ensemble(#[from] palisade_zab::ConfigError),
    /// The system refused a thread.
    #[error("cannot start the disk thread: {0}")]
    Thread(#[source] std::io::Error),
    /// A defect of this program.
    #[error("internal error: {0}")]
    Internal(String),
}

/// Starts voters.
#[derive(Debug)]
pub struct Voter(());

impl Voter {
    /// Starts a voter on the current tokio runtime: takes its ports, reads its files, and joins the ensemble in
    /// the background.
    ///
    /// # Errors
    /// Wrong settings, ports that are in use, files that are damaged or another server's.
    pub async fn start(config: Config, ports: Ports) -> Result<VoterHandle, StartError> {
        Self::start_with(config, ports, None).await
    }

    /// The same on the threads of a process that is this voter and nothing else.
    ///
    /// # Errors
    /// See [`Voter::start`].
    pub async fn start_alone(
        config: Config,
        ports: Ports,
        foreground: Foreground,
    ) -> Result<VoterHandle, StartError> {
        Self::start_with(config, ports, Some(foreground)).await
    }

    async fn start_with(
        config: Config,
        ports: Ports,
        foreground: Option<Foreground>,
    ) -> Result<VoterHandle, StartError> {
        config.validate().map_err(StartError::Config)?;
        let ports = Bound::take(&config, ports).await?;
        let addresses = ports.addresses();
        let reading = config.clone();
        let files = tokio::task::spawn_blocking(move || Files::open(&reading))
            .await
            .map_err(|error| StartError::Internal(error.to_string()))??;
        let (shutdown, tasks) = (CancellationToken::new(), TaskTracker::new());
        let assembled = assemble(config, ports, files, foreground, (&shutdown, &tasks));
        // What was started before the failure must not live on, and hold ports.
        let driver = assembled.inspect_err(|_| shutdown.cancel())?;
        let (end, jobs) = (shutdown.clone(), driver.jobs.clone());
        let driving = tokio::spawn(driver.run(end.clone()));
        let running = tokio::spawn(async move {
            let outcome = flatten(driving.await);
            if let Err(error) = &outcome {
                tracing::error!(%error, "this voter stops");
            }
            end.cancel();
            tasks.close();
            tasks.wait().await;
            outcome
        });
        Ok(VoterHandle { addresses, jobs, shutdown, running: Some(running) })
    }
}

/// A running voter. Dropping it stops the voter without waiting for the end.
#[derive(Debug)]
pub struct VoterHandle {
    addresses: Addresses,
    jobs: JobQueue,
    shutdown: CancellationToken,
    /// `None` once its outcome was told.
    running: Option<JoinHandle<Result<(), Fatal>>>,
}

impl VoterHandle {
    /// Where it can be reached.
    pub const fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Completes once the voter has stopped by itself. May be dropped before, and called again.
    ///
    /// # Errors
    /// The reason, told once.
    pub async fn wait(&mut self) -> Result<(), Fatal> {
        let Some(running) = &mut self.running else { return Ok(()) };
        let outcome = flatten(running.await);
        self.running = None;
        outcome
    }

    /// Stops it: what was queued for the disk is written, then all tasks and threads end.
    ///
    /// # Errors
    /// The reason, if it had stopped by itself and nobody was told, or the last writes failed.
    pub async fn stop(mut self) -> Result<(), Fatal> {
        self.shutdown.cancel();
        self.wait().await
    }

    /// Ends it as a crash of its process would: what is queued for the disk is forgotten. For tests.
    pub async fn kill(mut self) {
        self.jobs.abandon();
        self.shutdown.cancel();
        if let Err(error) = self.wait().await {
            tracing::debug!(%error, "killed");
        }
    }
}

impl Drop for VoterHandle {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn flatten(ended: Result<Result<(), Fatal>, JoinError>) -> Result<(), Fatal> {
    ended.unwrap_or_else(|error| Err(Fatal::Internal(error.to_string())))
}
