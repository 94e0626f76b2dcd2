//! The commands of Apache's AdminServer, as JSON (Apache `server.admin.Commands`): the same names, fields and types.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use palisade_wire::SessionId;

use crate::json::{Batches, Document, Json, Part, Pieces};
use crate::metric::mntr::{self, Number};
use crate::source::{Configuration, Connection, GlobalSessions, Observer, Quorum, Sessions, Source, Voter};
use crate::system::{self, VERSION};
use crate::words::{NOT_SERVING, TRACE_MASK};

/// Names, the primary one first.
const COMMANDS: [&[&str]; 26] = [
    &["configuration", "conf", "config"],
    &["connection_stat_reset", "crst"],
    &["connections", "cons"],
    &["dirs"],
    &["dump"],
    &["environment", "env", "envi"],
    &["get_trace_mask", "gtmk"],
    &["hash"],
    &["initial_configuration", "icfg"],
    &["is_read_only", "isro"],
    &["last_snapshot", "lsnp"],
    &["leader", "lead"],
    &["monitor", "mntr"],
    &["observer_connection_stat_reset", "orst"],
    &["observers", "obsr"],
    &["ruok"],
    &["server_stats", "srvr"],
    &["set_trace_mask", "stmk"],
    &["stat_reset", "srst"],
    &["stats", "stat"],
    &["system_properties", "sysp"],
    &["voting_view"],
    &["watch_summary", "wchs"],
    &["watches", "wchc"],
    &["watches_by_path", "wchp"],
    &["zabstate"],
];

/// Those that answer before there is anything to serve.
const NEED_NO_SERVER: [&str; 6] =
    ["environment", "get_trace_mask", "set_trace_mask", "monitor", "system_properties", "zabstate"];

/// Links to all commands, as HTML.
pub(crate) fn links() -> String {
    let names = COMMANDS.iter().map(|names| names[0]);
    names.map(|name| format!("<a href=\"/commands/{name}\">{name}</a>\n<br/>\n")).collect()
}

/// Runs a command by any of its names.
pub(crate) fn run<S: Source + ?Sized>(
    name: &str,
    arguments: &HashMap<String, String>,
    source: &Arc<S>,
) -> Pieces {
    let Some(primary) = COMMANDS.iter().find(|names| names.contains(&name)).map(|names| names[0]) else {
        return failed(name, &format!("Unknown command: {name}"));
    };
    if !NEED_NO_SERVER.contains(&primary) && !source.is_serving() {
        return failed(name, NOT_SERVING);
    }
    let payload = payload(primary, arguments, source);
    match payload {
        Ok(document) => document.with("command", primary).with("error", Json::Null).pieces(),
        Err(message) => Document::default().with("error", message).with("command", primary).pieces(),
    }
}

fn failed(name: &str, error: &str) -> Pieces {
    Document::default().with("command", name).with("error", error).pieces()
}

fn payload<S: Source + ?Sized>(
    command: &str,
    arguments: &HashMap<String, String>,
    source: &Arc<S>,
) -> Result<Document, String> {
    let document = Document::default();
    Ok(match command {
        "connection_stat_reset" => {
            source.reset_connections();
            document
        }
        "stat_reset" => {
            source.reset_statistics();
            document
        }
        "configuration" => document.with_all(configuration(&source.configuration())),
        "connections" => connections(source, document, full),
        "dirs" => {
            let Configuration { data_dir, log_dir, .. } = source.configuration();
            document
                .with("datadir_size", system::folder_size(&data_dir))
                .with("logdir_size", system::folder_size(&log_dir))
        }
        "dump" => dump(source, document),
        "environment" => document.with_all(environment()),
        // There are no system properties without a Java machine: what describes the process takes their place.
        "system_properties" => document.with_all(environment()),
        // None are kept here.
        "hash" => document.with("digests", Json::List(Vec::new())),
        "get_trace_mask" => document.with("tracemask", TRACE_MASK.load(Ordering::Relaxed)),
        "set_trace_mask" => document.with("tracemask", set_trace_mask(arguments)?),
        // Apache tells it only where the members may change at run time.
        "initial_configuration" => document.with("initial_configuration", Json::Null),
        "is_read_only" => document.with("read_only", source.status().read_only),
        "last_snapshot" => {
            let last = source.last_snapshot();
            document.with("zxid", format!("{:x}", last.zxid.0)).with("timestamp", last.timestamp_s)
        }
        "leader" => leader(&source.quorum(), document),
        "monitor" => monitor(&**source, document),
        "observers" => {
            let quorum = source.quorum();
            observers(quorum.synced_observers, &quorum.observers, document)
        }
        "server_stats" => server_stats(&**source, document),
        "stats" => connections(source, server_stats(&**source, document), brief),
        "voting_view" => document.with("current_config", voting_view(source.quorum().voters)),
        "watch_summary" => {
            let watches = source.watch_summary();
            document
                .with("num_connections", watches.connections)
                .with("num_paths", watches.paths)
                .with("num_total_watches", watches.watches)
        }
        "watches" => {
            let by_session = joined(Arc::clone(source).watches_by_session());
            document.with_part("session_id_to_watched_paths", Part::Object(by_session))
        }
        "watches_by_path" => {
            let by_path = Arc::clone(source).watches_by_path().map(|batch| {
                let ids = |sessions: Vec<SessionId>| Json::list(sessions.into_iter().map(Json::Int));
                batch.into_iter().map(|(path, sessions)| (path, ids(sessions))).collect()
            });
            document.with_part("path_to_session_ids", Part::Object(Box::new(by_path)))
        }
        "zabstate" => zab_state(&source.quorum(), document),
        // `ruok` and `observer_connection_stat_reset` say nothing.
        _ => document,
    })
}

fn set_trace_mask(arguments: &HashMap<String, String>) -> Result<i64, String> {
    const REQUIRES: &str = "setTraceMask requires long traceMask argument";
    let text = arguments.get("traceMask").ok_or_else(|| REQUIRES.to_owned())?;
    let mask = text.parse().map_err(|_| format!("{REQUIRES}, got {text}"))?;
    TRACE_MASK.store(mask, Ordering::Relaxed);
    Ok(mask)
}

fn configuration(configuration: &Configuration) -> Json {
    Json::object([
        ("client_port", configuration.client_port.into()),
        ("data_dir", configuration.data_dir.display().to_string().into()),
        ("data_log_dir", configuration.log_dir.display().to_string().into()),
        ("tick_time", configuration.tick_ms.into()),
        ("max_client_cnxns", configuration.max_client_connections.into()),
        ("min_session_timeout", configuration.min_session_timeout_ms.into()),
        ("max_session_timeout", configuration.max_session_timeout_ms.into()),
        ("server_id", Json::Int(configuration.server_id)),
        ("client_port_listen_backlog", Json::Int(-1)),
    ])
}

fn environment() -> Json {
    Json::object(system::environment().into_iter().map(|(key, value)| (key, value.into())))
}

fn connections<S: Source + ?Sized>(
    source: &Arc<S>,
    document: Document,
    one: fn(&Connection) -> Json,
) -> Document {
    let batches = Arc::clone(source).connections(None);
    let batches = batches.map(move |batch| batch.iter().map(one).collect());
    document
        .with_part("connections", Part::List(Box::new(batches)))
        .with("secure_connections", Json::List(Vec::new()))
}

fn brief(connection: &Connection) -> Json {
    Json::object([
        ("remote_socket_address", Json::from(connection.peer.to_string())),
        ("interest_ops", Json::Int(connection.interest.into())),
        ("outstanding_requests", connection.queued.into()),
        ("packets_received", connection.received.into()),
        ("packets_sent", connection.sent.into()),
    ])
}

fn full(connection: &Connection) -> Json {
    let (min, mean, max) = connection.latency;
    let mut json = brief(connection);
    let Json::Object(fields) = &mut json else { return json };
    let more = [
        ("session_id", Json::Int(connection.session)),
        ("last_operation", connection.last_op.into()),
        ("established", connection.established_ms.into()),
        ("session_timeout", connection.timeout_ms.into()),
        ("last_cxid", connection.last_cxid.into()),
        ("last_zxid", connection.last_zxid.0.into()),
        ("last_response_time", connection.last_response_ms.into()),
        ("last_latency", connection.last_latency_ms.into()),
        ("min_latency", min.into()),
        ("avg_latency", mean.into()),
        ("max_latency", max.into()),
    ];
    fields.extend(more.map(|(key, value)| (key.to_owned(), value)));
    json
}

fn dump<S: Source + ?Sized>(source: &Arc<S>, document: Document) -> Document {
    let Sessions { local, global } = Arc::clone(source).sessions();
    let global = match global {
        GlobalSessions::Expiring(sets) => sets,
        // Only a leader knows when sessions expire.
        GlobalSessions::Known(..) => Vec::new(),
    };
    let sets = local
        .into_iter()
        .flatten()
        .chain(global)
        .map(|(expiry, sessions)| (expiry.to_string(), Json::list(sessions.into_iter().map(Json::Int))));
    document
        .with("expiry_time_to_session_ids", Json::Object(sets.collect()))
        .with_part("session_id_to_ephemeral_paths", Part::Object(joined(Arc::clone(source).ephemerals())))
}

/// A key must not come twice: batches that go on with the session of the one before are joined to it.
fn joined(batches: Batches<(SessionId, Vec<String>)>) -> Batches<(String, Json)> {
    let field = |(session, paths): (SessionId, Vec<String>)| {
        (session.to_string(), Json::list(paths.into_iter().map(Json::Text)))
    };
    let mut open: Option<(SessionId, Vec<String>)> = None;
    let mut batches = batches.map(Some).chain(std::iter::once(None));
    Box::new(std::iter::from_fn(move || {
        let batch = batches.next()?;
        let last = batch.is_none();
        let mut complete = Vec::new();
        for (session, paths) in batch.into_iter().flatten() {
            match &mut open {
                Some((same, known)) if *same == session => known.extend(paths),
                _ => complete.extend(open.replace((session, paths)).map(field)),
            }
        }
        if last {
            complete.extend(open.take().map(field));
        }
        Some(complete)
    }))
}

fn server_stats<S: Source + ?Sized>(source: &S, document: Document) -> Document {
    let status = source.status();
    let Configuration { data_dir, log_dir, .. } = source.configuration();
    let (min, mean, max) = status.latency;
    // Sizes of replies are not kept.
    let sizes = |[last, min, max]: [i64; 3]| {
        Json::object([
            ("last_buffer_size", Json::Int(last)),
            ("min_buffer_size", Json::Int(min)),
            ("max_buffer_size", Json::Int(max)),
        ])
    };
    let stats = Json::object([
        ("packets_sent", Json::from(status.sent)),
        ("packets_received", status.received.into()),
        ("fsync_threshold_exceed_count", Json::Int(0)),
        ("client_response_stats", sizes([-1; 3])),
        ("provider_null", false.into()),
        ("server_state", status.mode.into()),
        ("outstanding_requests", status.outstanding.into()),
        ("min_latency", min.into()),
        ("avg_latency", mntr::rounded(mean).into()),
        ("max_latency", max.into()),
        ("data_dir_size", system::folder_size(&data_dir).into()),
        ("log_dir_size", system::folder_size(&log_dir).into()),
        ("last_processed_zxid", status.zxid.0.into()),
        ("num_alive_client_connections", status.connections.into()),
        ("uptime", status.uptime_ms.into()),
        ("auth_failed_count", Json::Int(0)),
        ("non_mtlsremote_conn_count", Json::Int(0)),
        ("non_mtlslocal_conn_count", Json::Int(0)),
    ]);
    let document = document
        .with("version", VERSION)
        .with("read_only", status.read_only)
        .with("server_stats", stats)
        .with("client_response", sizes([-1; 3]));
    let document = match status.proposal_sizes {
        Some(proposals) => document.with("proposal_stats", sizes(proposals)),
        None => document,
    };
    document.with("node_count", status.nodes)
}

fn monitor<S: Source + ?Sized>(source: &S, document: Document) -> Document {
    let document = document.with("version", VERSION);
    if !source.is_serving() {
        return document;
    }
    mntr::numbers(&mntr::in_order(source.samples())).into_iter().fold(document, |document, (key, number)| {
        document.with(
            &key,
            match number {
                Number::Whole(value) => Json::Int(value),
                Number::Fraction(value) => Json::Float(mntr::rounded(value)),
                Number::Text(text) => Json::Text(text),
            },
        )
    })
}

fn observers(count: usize, observers: &[Observer], document: Document) -> Document {
    let one = |observer: &Observer| {
        Json::object([
            ("remote_socket_address", Json::from(format!("/{}", observer.address))),
            ("sid", Json::Int(observer.sid)),
            ("established", observer.established_ms.into()),
        ])
    };
    document.with("synced_observers", count).with("observers", Json::list(observers.iter().map(one)))
}

fn leader(quorum: &Quorum, document: Document) -> Document {
    let document = document.with("is_leader", quorum.is_leader);
    match &quorum.leader {
        Some((sid, host)) => document.with("leader_id", *sid).with("leader_ip", host.as_str()),
        None => document,
    }
}

fn voting_view(voters: Vec<Voter>) -> Json {
    Json::object(voters.into_iter().map(|voter| {
        let view = Json::object([
            ("server_addresses", Json::list([Json::Text(voter.quorum_address)])),
            ("election_addresses", Json::list([Json::Text(voter.election_address)])),
            ("client_address", Json::from("")),
            ("learner_type", Json::from("participant")),
        ]);
        (voter.sid.to_string(), view)
    }))
}

fn zab_state(quorum: &Quorum, document: Document) -> Document {
    let client = quorum.client_address.map(|address| address.to_string()).unwrap_or_default();
    document
        .with("myid", quorum.sid)
        .with("is_leader", quorum.is_leader)
        .with("quorum_address", addresses(quorum.quorum_address))
        .with("election_address", addresses(quorum.election_address))
        .with("client_address", client)
        .with("voting", quorum.voting)
        .with("last_zxid", quorum.last_zxid.to_string())
        .with("zab_epoch", quorum.last_zxid.epoch())
        .with("zab_counter", quorum.last_zxid.counter())
        .with("zabstate", quorum.phase)
}

/// As a Java object with all its getters looks (Apache `MultipleAddresses`).
fn addresses(address: Option<SocketAddr>) -> Json {
    let one = address.map(|address| address.to_string());
    let list = || Json::list(one.clone().map(Json::Text));
    let text = || Json::Text(one.clone().unwrap_or_default());
    Json::object([
        ("empty", Json::from(address.is_none())),
        ("all_addresses", list()),
        ("all_reachable_addresses", list()),
        ("one", text()),
        ("reachable_address", text()),
        ("wildcard_addresses", Json::list(address.map(|at| format!("0.0.0.0:{}", at.port()).into()))),
        ("all_ports", Json::list(address.map(|at| at.port().into()))),
        ("all_host_strings", Json::list(address.map(|at| at.ip().to_string().into()))),
        ("all_reachable_addresses_or_all", list()),
        ("reachable_or_one", text()),
    ])
}
