//! Running parts that end together.

use palisade_gateway::GatewayHandle;
use palisade_server::VoterHandle;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;

/// All voters, or all gateways. Dropping it stops them without waiting.
#[derive(Debug, Default)]
pub(super) struct Tier {
    parts: JoinSet<Result<(), Failure>>,
    stop: CancellationToken,
}

impl Tier {
    /// Takes over a running voter.
    pub(super) fn add_voter(&mut self, name: String, mut voter: VoterHandle) {
        let stop = self.stop.clone();
        self.parts.spawn(async move {
            let ended = tokio::select! {
                ended = voter.wait() => ended,
                () = stop.cancelled() => voter.stop().await,
            };
            ended.map_err(|error| Failure::runtime(name, &error))
        });
    }

    /// Takes over a running gateway.
    pub(super) fn add_gateway(&mut self, name: String, mut gateway: GatewayHandle) {
        let stop = self.stop.clone();
        self.parts.spawn(async move {
            tokio::select! {
                error = gateway.wait() => return Err(Failure::runtime(name, &error)),
                () = stop.cancelled() => gateway.stop().await,
            }
            Ok(())
        });
    }

    /// Waits until a part ends by itself.
    pub(super) async fn failed(&mut self) -> Failure {
        match self.parts.join_next().await {
            Some(Ok(Err(failure))) => failure,
            Some(Err(panicked)) => Failure::runtime("a part of this process failed", &panicked),
            Some(Ok(Ok(()))) => Failure::interrupted("a part of this process ended by itself".into()),
            None => std::future::pending().await,
        }
    }

    /// Stops all parts and waits for them. The first failure is returned.
    pub(super) async fn stop(&mut self) -> Result<(), Failure> {
        self.stop.cancel();
        let mut outcome = Ok(());
        while let Some(ended) = self.parts.join_next().await {
            let ended = ended
                .unwrap_or_else(|panicked| Err(Failure::runtime("a part of this process failed", &panicked)));
            outcome = outcome.and(ended);
        }
        outcome
    }
}
