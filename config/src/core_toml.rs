//! A voter's settings from TOML.

use std::net::SocketAddr;

use palisade_server::Config;

use crate::ensemble::{self, Line};
use crate::report::Report;
use crate::section::{Document, Section};

/// Reads `text`; what is wrong goes to `report`. `None` if it is not TOML at all.
pub(crate) fn read(text: &str, report: &Report) -> Option<Config> {
    let mut config = Config::new(0, ensemble::stand_in(), "");
    let document = Document::parse(text, report)?;
    let mut root = document.root();
    root.require("id", "give this voter's number in the member list, such as id = 1");
    root.integer("id", &mut config.sid);

    let mut section = root.section("ensemble");
    section.require("members", "list every voter, such as \"server.1=zk1:2888:3888\"");
    let line = |(text, origin): (&str, _)| {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        Line { key: key.trim().to_owned(), value: value.trim().to_owned(), origin }
    };
    let lines: Vec<Line> = section.strings("members").into_iter().map(line).collect();
    config.ensemble = ensemble::parse(&lines, report, "ensemble.members");
    section.finish();

    let mut section = root.section("bind");
    socket_address(&mut section, "quorum", &mut config.bind.quorum, report);
    socket_address(&mut section, "election", &mut config.bind.election, report);
    section.finish();

    let mut section = root.section("admin");
    socket_address(&mut section, "address", &mut config.bind.admin, report);
    section.finish();

    storage(root.section("storage"), &mut config);
    timing(root.section("timing"), &mut config);
    sessions(root.section("sessions"), &mut config);
    fairness(root.section("fairness"), &mut config);
    limits(root.section("limits"), &mut config);
    root.finish();
    Some(config)
}

/// The TOML field behind a field of [`Config`].
pub(crate) fn field_of(config_field: &str) -> &str {
    match config_field {
        "sid" => "id",
        "ensemble" => "ensemble.members",
        "bind.admin" => "admin.address",
        other => other,
    }
}

fn socket_address(
    section: &mut Section<'_>,
    key: &'static str,
    target: &mut Option<SocketAddr>,
    report: &Report,
) {
    let mut text = None;
    section.opt_string(key, &mut text);
    let Some(text) = text else { return };
    match text.parse() {
        Ok(address) => *target = Some(address),
        Err(_) => report.invalid(&section.field(key), || key.to_owned(), SOCKET_ADDRESS),
    }
}

/// What a listening address of a voter must be.
pub(crate) const SOCKET_ADDRESS: &str =
    "must be an IP address and a port to listen on, such as \"127.0.0.1:8181\" or \"[::]:8181\"";

fn storage(mut section: Section<'_>, config: &mut Config) {
    let storage = &mut config.storage;
    section.require("data_dir", "give the folder for snapshots and logs, such as \"/var/lib/palisade\"");
    section.path("data_dir", &mut storage.data_dir);
    section.opt_path("data_log_dir", &mut storage.data_log_dir);
    section.boolean("force_sync", &mut storage.force_sync);
    section.integer("snap_count", &mut storage.snap_count);
    section.size("snap_size_limit", &mut storage.snap_size_limit);
    section.size("log_preallocation", &mut storage.log_preallocation);
    section.integer("purge_retain", &mut storage.purge_retain);
    section.opt_duration("purge_interval", &mut storage.purge_interval);
    section.finish();
}

fn timing(mut section: Section<'_>, config: &mut Config) {
    let timing = &mut config.timing;
    section.duration("tick", &mut timing.tick);
    section.integer("init_limit", &mut timing.init_limit);
    section.integer("sync_limit", &mut timing.sync_limit);
    section.duration("connect_timeout", &mut timing.connect_timeout);
    section.finish();
}

fn sessions(mut section: Section<'_>, config: &mut Config) {
    let sessions = &mut config.sessions;
    section.opt_duration("min_timeout", &mut sessions.min_timeout);
    section.opt_duration("max_timeout", &mut sessions.max_timeout);
    section.duration("container_check_interval", &mut sessions.container_check_interval);
    section.integer("container_max_per_minute", &mut sessions.container_max_per_minute);
    section.boolean("extended_types", &mut sessions.extended_types);
    section.boolean("local", &mut sessions.local);
    section.finish();
}

fn fairness(mut section: Section<'_>, config: &mut Config) {
    let fairness = &mut config.fairness;
    section.integer("in_flight", &mut fairness.in_flight);
    section.size("in_flight_bytes", &mut fairness.in_flight_bytes);
    section.numbered("weights", "{ 101 = 4, 102 = 1 }", &mut fairness.weights);
    section.numbered("together_with", "{ 102 = 101 }", &mut fairness.together_with);
    section.finish();
}

fn limits(mut section: Section<'_>, config: &mut Config) {
    let limits = &mut config.limits;
    section.size("jute_max_buffer", &mut limits.jute_max_buffer);
    section.boolean("enforce_quota", &mut limits.enforce_quota);
    section.integer("commit_log_count", &mut limits.commit_log_count);
    section.size("commit_log_bytes", &mut limits.commit_log_bytes);
    section.size("learner_backlog_bytes", &mut limits.learner_backlog_bytes);
    section.integer("max_learners", &mut limits.max_learners);
    section.integer("max_unidentified", &mut limits.max_unidentified);
    section.duration("identify_timeout", &mut limits.identify_timeout);
    section.integer("max_admin_connections", &mut limits.max_admin_connections);
    section.finish();
}
