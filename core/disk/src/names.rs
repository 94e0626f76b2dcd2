//! `log.<zxid>` and `snapshot.<zxid>[.gz|.snappy]`: lower-case hex without leading zeros (Apache `Util`).

use std::fs;
use std::path::{Path, PathBuf};

use palisade_wire::Zxid;

use crate::error::{Context, Result};

/// Prefix of transaction logs.
pub(crate) const LOG: &str = "log";
/// Prefix of snapshots.
pub(crate) const SNAPSHOT: &str = "snapshot";
/// Ending of files that were not finished.
const TMP: &str = "tmp";

/// A log or snapshot file, and the zxid in its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) zxid: Zxid,
    pub(crate) path: PathBuf,
    /// What follows the zxid: `gz`, `snappy`, `tmp` …
    pub(crate) extension: Option<String>,
}

impl Named {
    /// Whether the file was never finished.
    pub(crate) fn is_tmp(&self) -> bool {
        self.extension.as_deref().is_some_and(|e| e == TMP || e.ends_with(".tmp"))
    }
}

/// The name for a zxid.
pub(crate) fn name(prefix: &str, zxid: Zxid) -> String {
    format!("{prefix}.{:x}", zxid.0)
}

fn parse(path: PathBuf, prefix: &str) -> Option<Named> {
    let name = path.file_name()?.to_str()?;
    let mut parts = name.splitn(3, '.');
    if parts.next() != Some(prefix) {
        return None;
    }
    let zxid = Zxid(i64::from_str_radix(parts.next()?, 16).ok()?);
    let extension = parts.next().map(str::to_owned);
    Some(Named { zxid, path, extension })
}

/// All files of that prefix with a zxid in their name, ascending.
pub(crate) fn list(dir: &Path, prefix: &str) -> Result<Vec<Named>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).context("list", dir)? {
        let path = entry.context("list", dir)?.path();
        found.extend(parse(path, prefix));
    }
    found.sort_by(|a, b| (a.zxid, &a.path).cmp(&(b.zxid, &b.path)));
    Ok(found)
}

/// Transaction logs, ascending. Names with further parts are somebody's copies and left alone.
pub(crate) fn logs(dir: &Path) -> Result<Vec<Named>> {
    let mut logs = list(dir, LOG)?;
    logs.retain(|log| log.extension.is_none());
    Ok(logs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zxid(name: &str, prefix: &str) -> Option<(i64, Option<String>)> {
        parse(PathBuf::from("/d").join(name), prefix).map(|n| (n.zxid.0, n.extension))
    }

    #[test]
    fn names_are_those_of_apache() {
        assert_eq!(name(LOG, Zxid::new(1, 10)), "log.10000000a");
        assert_eq!(zxid("log.10000000a", LOG), Some((0x1_0000_000a, None)));
        assert_eq!(zxid("snapshot.0", SNAPSHOT), Some((0, None)));
        assert_eq!(zxid("snapshot.10.gz", SNAPSHOT), Some((0x10, Some("gz".into()))));
        for other in ["log.", "log", "logs.1", "log.x", "snapshot.1", "log.10000000000000000"] {
            assert_eq!(zxid(other, LOG), None, "{other}");
        }
    }
}
