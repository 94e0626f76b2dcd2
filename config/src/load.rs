//! Files and overrides in, checked settings out.

use std::fs;
use std::path::{Path, PathBuf};

use crate::mistake::{ConfigError, Loaded, Origin};
use crate::report::{Place, Report};
use crate::{core_toml, gateway_toml, section, zoo_cfg};

/// What the command line or the environment says in place of a voter's file.
#[derive(Clone, Debug, Default)]
pub struct CoreOverrides {
    /// `--data-dir`, `PALISADE_DATA_DIR`.
    pub data_dir: Option<PathBuf>,
    /// `--admin-address`, `PALISADE_ADMIN_ADDRESS`.
    pub admin_address: Option<String>,
}

/// What the command line or the environment says in place of a gateway's file.
#[derive(Clone, Debug, Default)]
pub struct GatewayOverrides {
    /// `--client-address`, `PALISADE_CLIENT_ADDRESS`.
    pub client_address: Option<String>,
    /// `--voters`, `PALISADE_VOTERS`.
    pub voters: Option<Vec<String>>,
    /// `--data-dir`, `PALISADE_DATA_DIR`.
    pub data_dir: Option<PathBuf>,
    /// `--admin-address`, `PALISADE_ADMIN_ADDRESS`.
    pub admin_address: Option<String>,
}

const DATA_DIR: &str = "--data-dir (PALISADE_DATA_DIR)";
const ADMIN_ADDRESS: &str = "--admin-address (PALISADE_ADMIN_ADDRESS)";
const CLIENT_ADDRESS: &str = "--client-address (PALISADE_CLIENT_ADDRESS)";
const VOTERS: &str = "--voters (PALISADE_VOTERS)";

/// Settings of either tier.
#[derive(Clone, Debug)]
pub enum Any {
    /// A voter's.
    Core(Box<Loaded<palisade_server::Config>>),
    /// A gateway's.
    Gateway(Box<Loaded<palisade_gateway::Config>>),
}

/// Reads a file of either tier: one that is not TOML, or that has a section `[ensemble]`, is a voter's.
///
/// # Errors
/// The file cannot be read, or has mistakes.
pub fn load(path: &Path) -> Result<Any, ConfigError> {
    let bytes = read(path)?;
    let names_members =
        String::from_utf8_lossy(&bytes).lines().any(|line| line.trim_start().starts_with("[ensemble]"));
    if is_toml(path) && !names_members {
        gateway(path, &bytes, &GatewayOverrides::default()).map(|loaded| Any::Gateway(Box::new(loaded)))
    } else {
        core(path, &bytes, &CoreOverrides::default()).map(|loaded| Any::Core(Box::new(loaded)))
    }
}

/// Reads a voter's file.
///
/// # Errors
/// The file cannot be read, or it or an override has mistakes.
pub fn load_core(
    path: &Path,
    overrides: &CoreOverrides,
) -> Result<Loaded<palisade_server::Config>, ConfigError> {
    core(path, &read(path)?, overrides)
}

/// Reads a gateway's file.
///
/// # Errors
/// The file cannot be read, or it or an override has mistakes.
pub fn load_gateway(
    path: &Path,
    overrides: &GatewayOverrides,
) -> Result<Loaded<palisade_gateway::Config>, ConfigError> {
    gateway(path, &read(path)?, overrides)
}

fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    fs::read(path).map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })
}

fn is_toml(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml"))
}

fn text<'a>(bytes: &'a [u8], report: &Report) -> Option<&'a str> {
    let text = str::from_utf8(bytes);
    if let Err(error) = &text {
        let line = bytes.iter().take(error.valid_up_to()).filter(|b| **b == b'\n').count() + 1;
        let place = Place { origin: report.origin(Some(line)), key: "TOML".into(), given: None };
        report.mistake(place, "is not UTF-8");
    }
    text.ok()
}

fn core(
    path: &Path,
    bytes: &[u8],
    overrides: &CoreOverrides,
) -> Result<Loaded<palisade_server::Config>, ConfigError> {
    let report = Report::new(path);
    let toml = is_toml(path);
    let field_of = |field: &'static str| if toml { core_toml::field_of(field) } else { field };
    if let Some(data_dir) = &overrides.data_dir {
        place(&report, field_of("storage.data_dir"), DATA_DIR, data_dir.display().to_string());
    }
    if let Some(address) = &overrides.admin_address {
        place(&report, field_of("bind.admin"), ADMIN_ADDRESS, address.clone());
    }
    let config = if toml {
        text(bytes, &report).and_then(|text| core_toml::read(text, &report))
    } else {
        zoo_cfg::read(bytes, overrides.data_dir.as_deref(), &report)
    };
    let Some(mut config) = config else { return report.finish(None) };
    if let Some(data_dir) = &overrides.data_dir {
        config.storage.data_dir.clone_from(data_dir);
    }
    if let Some(address) = &overrides.admin_address {
        match address.parse() {
            Ok(address) => config.bind.admin = Some(address),
            Err(_) => report.invalid(field_of("bind.admin"), String::new, core_toml::SOCKET_ADDRESS),
        }
    }
    for mistake in config.validate().err().into_iter().flatten() {
        let field = field_of(mistake.key);
        // Whether this voter is a member cannot be said of a list that could not be read.
        if mistake.key == "sid" && report.has_failed(field_of("ensemble")) {
            continue;
        }
        let key = || if toml { section::key_of(field) } else { zoo_cfg::key_of(field) };
        report.invalid(field, key, mistake.message);
    }
    report.finish(Some(config))
}

fn gateway(
    path: &Path,
    bytes: &[u8],
    overrides: &GatewayOverrides,
) -> Result<Loaded<palisade_gateway::Config>, ConfigError> {
    let report = Report::new(path);
    if !is_toml(path) {
        let name = Place { origin: report.origin(None), key: "file name".into(), given: None };
        report.mistake(name, "must end with .toml: only voters read Apache's zoo.cfg");
        return report.finish(None);
    }
    let given = [
        ("client.address", CLIENT_ADDRESS, overrides.client_address.clone()),
        ("core.voters", VOTERS, overrides.voters.as_ref().map(|voters| voters.join(","))),
        ("storage.data_dir", DATA_DIR, overrides.data_dir.as_ref().map(|dir| dir.display().to_string())),
        ("admin.address", ADMIN_ADDRESS, overrides.admin_address.clone()),
    ];
    for (field, flag, value) in given {
        if let Some(value) = value {
            place(&report, field, flag, value);
        }
    }
    let config = text(bytes, &report).and_then(|text| gateway_toml::read(text, &report));
    let Some(mut config) = config else { return report.finish(None) };
    if let Some(address) = &overrides.client_address {
        config.client.address.clone_from(address);
    }
    if let Some(voters) = &overrides.voters {
        config.core.voters.clone_from(voters);
    }
    if let Some(data_dir) = &overrides.data_dir {
        config.storage.data_dir.clone_from(data_dir);
    }
    if overrides.admin_address.is_some() {
        config.admin.address.clone_from(&overrides.admin_address);
    }
    for mistake in config.validate() {
        report.invalid(mistake.key, || section::key_of(mistake.key), mistake.message);
    }
    report.finish(Some(config))
}

fn place(report: &Report, field: &str, flag: &'static str, given: String) {
    let key = section::key_of(core_toml::field_of(field));
    report.place(field, Place { origin: Origin::Flag(flag), key, given: Some(given) });
}
