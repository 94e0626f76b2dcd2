//! A voter's settings from Apache's `zoo.cfg` and `myid` (`QuorumPeerConfig`), with Apache's defaults.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use palisade_server::Config;
use palisade_zab::Ensemble;

use crate::ensemble::{self, Line};
use crate::mistake::Origin;
use crate::report::{Place, Report};
use crate::zoo_file::ZooFile;

/// Keys of the file and the fields of [`Config`] that they set.
const FIELDS: &[(&str, &str)] = &[
    ("dataDir", "storage.data_dir"),
    ("dataLogDir", "storage.data_log_dir"),
    ("forceSync", "storage.force_sync"),
    ("snapCount", "storage.snap_count"),
    ("snapSizeLimitInKb", "storage.snap_size_limit"),
    ("preAllocSize", "storage.log_preallocation"),
    ("autopurge.snapRetainCount", "storage.purge_retain"),
    ("autopurge.purgeInterval", "storage.purge_interval"),
    ("tickTime", "timing.tick"),
    ("initLimit", "timing.init_limit"),
    ("syncLimit", "timing.sync_limit"),
    ("cnxTimeout", "timing.connect_timeout"),
    ("minSessionTimeout", "sessions.min_timeout"),
    ("maxSessionTimeout", "sessions.max_timeout"),
    ("znode.container.checkIntervalMs", "sessions.container_check_interval"),
    ("znode.container.maxPerMinute", "sessions.container_max_per_minute"),
    ("extendedTypesEnabled", "sessions.extended_types"),
    ("localSessionsEnabled", "sessions.local"),
    ("enforceQuota", "limits.enforce_quota"),
    ("commitLogCount", "limits.commit_log_count"),
    ("quorumListenOnAllIPs", "bind.quorum"),
    ("myid", "sid"),
    ("server.N", "ensemble"),
];

/// Snapshots that purging keeps at least, whatever the file says (`PurgeTxnLog`).
const MIN_RETAIN: usize = 3;

/// The field of [`Config`] that `key` sets.
pub(crate) fn field_of(key: &str) -> &str {
    FIELDS.iter().find(|(known, _)| *known == key).map_or(key, |(_, field)| field)
}

/// How the operator knows `field`.
pub(crate) fn key_of(field: &str) -> String {
    FIELDS.iter().find(|(_, known)| *known == field).map_or(field, |(key, _)| key).to_owned()
}

/// Reads the file's bytes, `myid`, and the dynamic file if there is one. `data_dir` replaces the file's. `None` if
/// it is not in Java's properties syntax.
pub(crate) fn read(bytes: &[u8], data_dir: Option<&Path>, report: &Report) -> Option<Config> {
    let mut config = Config::new(0, ensemble::stand_in(), "");
    let mut file = ZooFile::parse(bytes, report)?;
    storage(&mut file, &mut config);
    if let Some(data_dir) = data_dir {
        config.storage.data_dir = data_dir.to_owned();
    } else if config.storage.data_dir.as_os_str().is_empty() {
        file.missing("dataDir", "give the folder that holds myid, snapshots and logs");
    }
    timing(&mut file, &mut config);
    sessions(&mut file, &mut config);
    config.ensemble = members(&mut file);
    my_id(&mut config, report);
    if file.flag("quorumListenOnAllIPs") == Some(true) {
        listen_on_all(&mut config);
    }
    file.finish();
    Some(config)
}

fn storage(file: &mut ZooFile<'_>, config: &mut Config) {
    let storage = &mut config.storage;
    if let Some(path) = file.text("dataDir") {
        storage.data_dir = PathBuf::from(path);
    }
    storage.data_log_dir = file.text("dataLogDir").map(PathBuf::from);
    storage.force_sync = file.text("forceSync").is_none_or(|text| text != "no");
    if let Some(count) = file.number::<u32>("snapCount", "") {
        storage.snap_count = file.at_least("snapCount", count, 2);
    }
    match file.number::<i64>("snapSizeLimitInKb", "KiB") {
        Some(kib) if kib <= 0 => storage.snap_size_limit = u64::MAX,
        Some(kib) => storage.snap_size_limit = kib.unsigned_abs().saturating_mul(1024),
        None => {}
    }
    if let Some(kib) = file.number::<u64>("preAllocSize", "KiB") {
        storage.log_preallocation = kib.saturating_mul(1024);
    }
    if let Some(count) = file.number::<usize>("autopurge.snapRetainCount", "") {
        storage.purge_retain = file.at_least("autopurge.snapRetainCount", count, MIN_RETAIN);
    }
    storage.purge_interval = file.purge_interval();
    config.limits.enforce_quota = file.flag("enforceQuota") == Some(true);
    if let Some(count) = file.number::<usize>("commitLogCount", "") {
        config.limits.commit_log_count = file.at_least("commitLogCount", count, 500);
    }
}

fn timing(file: &mut ZooFile<'_>, config: &mut Config) {
    let timing = &mut config.timing;
    if let Some(tick) = file.millis("tickTime") {
        timing.tick = tick;
    }
    for (key, limit) in [("initLimit", &mut timing.init_limit), ("syncLimit", &mut timing.sync_limit)] {
        match file.number(key, "") {
            Some(ticks) => *limit = ticks,
            None if file.has(key) => {}
            None => file.missing(key, "Apache has no default for it; give a number of ticks"),
        }
    }
    if let Some(timeout) = file.millis("cnxTimeout") {
        timing.connect_timeout = timeout;
    }
}

fn sessions(file: &mut ZooFile<'_>, config: &mut Config) {
    let sessions = &mut config.sessions;
    sessions.min_timeout = file.session_timeout("minSessionTimeout");
    sessions.max_timeout = file.session_timeout("maxSessionTimeout");
    if let Some(interval) = file.millis("znode.container.checkIntervalMs") {
        sessions.container_check_interval = interval;
    }
    if let Some(count) = file.number("znode.container.maxPerMinute", "") {
        sessions.container_max_per_minute = count;
    }
    if let Some(enabled) = file.flag("extendedTypesEnabled") {
        sessions.extended_types = enabled;
    }
    sessions.local = file.flag("localSessionsEnabled") == Some(true);
}

/// The member list: of this file, or of the dynamic one that it names.
fn members(file: &mut ZooFile<'_>) -> Ensemble {
    let mut lines = file.member_lines();
    if let Some(path) = file.text("dynamicConfigFile") {
        for line in lines.drain(..) {
            file.report().mistake(line.place(), format!("must stand in the dynamicConfigFile, {path}"));
        }
        lines = dynamic_lines(Path::new(&path), file);
    }
    if lines.is_empty() && !file.has("dynamicConfigFile") {
        file.missing("server.N", "give one server.N=host:quorumPort:electionPort line per voter");
    }
    ensemble::parse(&lines, file.report(), "ensemble")
}

fn dynamic_lines(path: &Path, file: &ZooFile<'_>) -> Vec<Line> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            file.reject("dynamicConfigFile", format!("cannot be read: {error}"));
            return Vec::new();
        }
    };
    let Some(dynamic) = ZooFile::parse_other(&bytes, path, file.report()) else { return Vec::new() };
    let mut lines = dynamic.member_lines();
    dynamic.finish_members();
    // The version is the end of the file's name (`zoo.cfg.dynamic.100000000`).
    let version = path.extension().and_then(|e| e.to_str()).filter(|e| u64::from_str_radix(e, 16).is_ok());
    if let Some(version) = version {
        let origin = Origin::File { path: path.to_owned(), line: None };
        lines.push(Line { key: "version".into(), value: version.into(), origin });
    }
    lines
}

/// Reads `myid` from the data folder: a decimal number on the first line.
fn my_id(config: &mut Config, report: &Report) {
    if config.storage.data_dir.as_os_str().is_empty() {
        return;
    }
    let path = config.storage.data_dir.join("myid");
    let mut place =
        Place { origin: Origin::File { path: path.clone(), line: None }, key: "myid".into(), given: None };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => {
            let problem = format!("cannot be read ({error}); write this server's N of server.N into it");
            return report.mistake_in("sid", place, problem);
        }
    };
    let first = text.lines().next().unwrap_or_default();
    place.origin = Origin::File { path, line: Some(1) };
    place.given = Some(first.to_owned());
    match first.parse() {
        Ok(id) => {
            config.sid = id;
            report.place("sid", place);
        }
        Err(_) => report.mistake_in("sid", place, "must be a whole number, alone on the first line"),
    }
}

/// `quorumListenOnAllIPs`: the ports of this server's own line, on every local address.
fn listen_on_all(config: &mut Config) {
    if let Some(own) = config.ensemble.member(config.sid) {
        config.bind.quorum = Some(SocketAddr::from((Ipv4Addr::UNSPECIFIED, own.quorum_port)));
        config.bind.election = Some(SocketAddr::from((Ipv4Addr::UNSPECIFIED, own.election_port)));
    }
}
