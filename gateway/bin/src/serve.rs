//! One voter or one gateway as a process: settings, start, signals, stop.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use palisade_config::{Any, CoreOverrides, GatewayOverrides, Mistake};
use palisade_gateway::config::ConfigMistake;
use palisade_gateway::{Gateway, GatewayHandle, Listeners};
use palisade_server::alone::Foreground;
use palisade_server::{Ports, Voter};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

use crate::cli::{CoreArgs, GatewayArgs};
use crate::failure::Failure;

/// How long a clean stop may take before the process ends without it.
pub(crate) const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// SIGINT and SIGTERM, which ask to stop.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

fn take(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| Failure::runtime("cannot handle signals", &error))
}

impl Signals {
    /// Takes both over from their default, which is to kill.
    pub(crate) fn new() -> Result<Self, Failure> {
        Ok(Self { interrupt: take(SignalKind::interrupt())?, terminate: take(SignalKind::terminate())? })
    }

    /// Waits for one and returns its name. Cancel-safe.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

/// Waits for a clean stop, but not for ever, and not past a second signal.
pub(crate) async fn stop(
    signals: &mut Signals,
    patience: Duration,
    stopping: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    tokio::select! {
        stopped = stopping => stopped,
        name = signals.next() => Err(Failure::interrupted(format!("{name} again: stopped at once"))),
        () = tokio::time::sleep(patience) => {
            Err(Failure::interrupted(format!("not stopped within {patience:?}; ended all the same")))
        }
    }
}

/// Runs one voter until a signal, or until it fails.
pub(crate) async fn core(args: CoreArgs, foreground: Foreground) -> Result<(), Failure> {
    let overrides = CoreOverrides { data_dir: args.data_dir, admin_address: args.admin_address };
    let loaded = palisade_config::load_core(&args.config, &overrides)?;
    tell(&loaded.warnings);
    let name = format!("voter {}", loaded.config.sid);
    let mut signals = Signals::new()?;
    let mut voter = tokio::select! {
        started = Voter::start_alone(loaded.config, Ports::default(), foreground) => {
            started.map_err(|error| Failure::runtime(&name, &error))?
        }
        _ = signals.next() => return Ok(()),
    };
    let at = voter.addresses();
    info!(quorum = %at.quorum, election = %at.election, admin = at.admin.map(tracing::field::display), "{name} started");
    tokio::select! {
        ended = voter.wait() => return ended.map_err(|error| Failure::runtime(&name, &error)),
        signal = signals.next() => info!("{signal}: stopping"),
    }
    stop(&mut signals, STOP_TIMEOUT, async {
        voter.stop().await.map_err(|error| Failure::runtime(&name, &error))
    })
    .await
}

/// Runs one gateway until a signal, or until it fails.
pub(crate) async fn gateway(args: GatewayArgs) -> Result<(), Failure> {
    let overrides = GatewayOverrides {
        client_address: args.client_address,
        voters: args.voters,
        data_dir: args.data_dir,
        admin_address: args.admin_address,
    };
    let loaded = palisade_config::load_gateway(&args.config, &overrides)?;
    tell(&loaded.warnings);
    let name = format!("gateway {} of {}", loaded.config.id, loaded.config.tenant.name);
    let (mut signals, mut hangup) = (Signals::new()?, take(SignalKind::hangup())?);
    let patience = loaded.config.gateway.drain + STOP_TIMEOUT;
    let mut gateway = tokio::select! {
        started = Gateway::start(loaded.config, Listeners::default()) => {
            started.map_err(|error| Failure::runtime(&name, &error))?
        }
        _ = signals.next() => return Ok(()),
    };
    let (client, admin) = (gateway.client_address(), gateway.admin_address());
    info!(%client, admin = admin.map(tracing::field::display), "{name} started");
    let reloads = gateway.reloads();
    let signal = loop {
        tokio::select! {
            error = gateway.wait() => return Err(Failure::runtime(&name, &error)),
            _ = hangup.recv() => {
                // The log has told it.
                let _ = reload("SIGHUP", &gateway, &args.config, &overrides);
            }
            wish = reloads.next() => {
                wish.answer(reload("POST /reload", &gateway, &args.config, &overrides));
            }
            signal = signals.next() => {
                info!("{signal}: stopping");
                break signal;
            }
        }
    };
    stop(&mut signals, patience, async {
        if signal == "SIGTERM" {
            gateway.drain().await;
        }
        gateway.stop().await;
        Ok(())
    })
    .await
}

/// Reads the settings again, and takes over what may change. What is wrong with them is told, and changes nothing.
fn reload(
    by: &str,
    gateway: &GatewayHandle,
    config: &Path,
    overrides: &GatewayOverrides,
) -> Result<String, String> {
    let outcome = palisade_config::load_gateway(config, overrides).map_err(|mistakes| mistakes.to_string());
    let outcome = outcome.and_then(|loaded| {
        tell(&loaded.warnings);
        let list =
            |mistakes: Vec<ConfigMistake>| mistakes.iter().map(|m| format!("{m}\n")).collect::<String>();
        gateway.reload(&loaded.config).map_err(list)
    });
    match outcome {
        Ok(()) => {
            let told = "[throttle] and [notifications] are taken over; other sections need a restart";
            info!("{by}: {told}");
            Ok(told.to_owned())
        }
        Err(mistakes) => {
            let told = format!("the settings stay as they are:\n{}", mistakes.trim_end());
            error!("{by}: {told}");
            Err(told)
        }
    }
}

/// Reports what is wrong with a file.
pub(crate) fn check_config(path: &Path) -> Result<(), Failure> {
    let (what, warnings) = match palisade_config::load(path)? {
        Any::Core(loaded) => (format!("voter {}", loaded.config.sid), loaded.warnings),
        Any::Gateway(loaded) => {
            (format!("gateway {} of {}", loaded.config.id, loaded.config.tenant.name), loaded.warnings)
        }
    };
    for warning in warnings {
        println!("warning: {warning}");
    }
    println!("ok: {} configures {what}", path.display());
    Ok(())
}

fn tell(warnings: &[Mistake]) {
    for warning in warnings {
        warn!("{warning}");
    }
}
