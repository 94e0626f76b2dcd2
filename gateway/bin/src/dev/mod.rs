//! `palisade dev`: three voters and three tenants' gateways in one process.

mod layout;
mod probe;
mod tier;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use palisade_gateway::{Gateway, Listeners};
use palisade_server::{Addresses, Voter};

use crate::cli::DevArgs;
use crate::failure::Failure;
use crate::serve::{self, Signals};

use layout::{Layout, TENANTS};
use tier::Tier;

/// How long the gateways may take to become ready. Generous: a large data folder is read first.
const READY_TIMEOUT: Duration = Duration::from_secs(120);

/// Runs everything until a signal, or until a part fails.
pub(crate) async fn run(args: DevArgs) -> Result<(), Failure> {
    let begin = Instant::now();
    let mut signals = Signals::new()?;
    let layout = Layout::prepare(args).await?;
    let folder = layout.folder();
    let mut voters = Tier::default();
    let mut gateways = Tier::default();
    let outcome = tokio::select! {
        outcome = serve(layout, &mut voters, &mut gateways, begin) => outcome,
        _ = signals.next() => Ok(()),
    };
    // Gateways first: their clients are told to go before the voters are.
    let stopped = serve::stop(&mut signals, serve::STOP_TIMEOUT, async {
        gateways.stop().await?;
        voters.stop().await
    })
    .await;
    // A temporary folder is removed only now that nobody writes to it.
    drop(folder);
    outcome.and(stopped)
}

async fn serve(
    layout: Layout,
    voters: &mut Tier,
    gateways: &mut Tier,
    begin: Instant,
) -> Result<(), Failure> {
    let (kept, data) = (layout.is_kept(), layout.data_dir().display().to_string());
    let mut table = vec![["", "clients", "quorum", "election", "admin"].map(str::to_owned)];
    for (config, ports) in layout.voters {
        let name = format!("voter {}", config.sid);
        let voter = Voter::start(config, ports).await.map_err(|error| Failure::runtime(&name, &error))?;
        table.push(voter_row(&name, voter.addresses()));
        voters.add_voter(name, voter);
    }
    let mut clients = Vec::with_capacity(TENANTS.len());
    let mut rows = Vec::with_capacity(TENANTS.len());
    for (config, client) in layout.gateways {
        let name = config.tenant.name.clone();
        let listeners = Listeners { client: Some(client), admin: None };
        let gateway =
            Gateway::start(config, listeners).await.map_err(|error| Failure::runtime(&name, &error))?;
        clients.push(gateway.client_address());
        rows.push(gateway_row(&name, gateway.client_address(), gateway.admin_address()));
        gateways.add_gateway(name, gateway);
    }
    table.splice(1..1, rows);
    tokio::select! {
        ready = all_ready(&clients) => ready?,
        failure = voters.failed() => return Err(failure),
        failure = gateways.failed() => return Err(failure),
    }
    print_table(&table);
    let fate = if kept { "kept" } else { "temporary: removed at the end; keep it with --data-dir" };
    println!("\ndata in {data} ({fate})");
    println!("ready after {:.1} s; stop with Ctrl-C", begin.elapsed().as_secs_f64());
    tokio::select! {
        failure = voters.failed() => Err(failure),
        failure = gateways.failed() => Err(failure),
    }
}

/// Waits until clients can write through every gateway.
async fn all_ready(clients: &[SocketAddr]) -> Result<(), Failure> {
    let probes = async {
        for address in clients {
            probe::until_writable(*address).await;
        }
    };
    tokio::time::timeout(READY_TIMEOUT, probes)
        .await
        .map_err(|error| Failure::runtime("the gateways cannot write; see the log (--log info)", &error))
}

fn voter_row(name: &str, at: Addresses) -> [String; 5] {
    let admin = at.admin.map(|a| a.to_string()).unwrap_or_default();
    [name.to_owned(), String::new(), at.quorum.to_string(), at.election.to_string(), admin]
}

fn gateway_row(name: &str, client: SocketAddr, admin: Option<SocketAddr>) -> [String; 5] {
    let admin = admin.map(|a| a.to_string()).unwrap_or_default();
    [name.to_owned(), client.to_string(), String::new(), String::new(), admin]
}

fn print_table(rows: &[[String; 5]]) {
    for row in rows {
        let line: String = row.iter().map(|cell| format!("{cell:<17}")).collect();
        println!("{}", line.trim_end());
    }
}
