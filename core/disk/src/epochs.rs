use palisade_wire::Zxid;

use crate::dir::DataDir;
use crate::error::{DiskError, Result};
use crate::fs;

const ACCEPTED: &str = "acceptedEpoch";
const CURRENT: &str = "currentEpoch";

/// What a server has promised: both epochs of Zab.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epochs {
    /// The newest epoch whose leader was promised that older ones are no longer listened to.
    pub accepted: u32,
    /// The epoch whose leader last synchronised this server. Never above `accepted`.
    pub current: u32,
}

/// The files `acceptedEpoch` and `currentEpoch`: decimal text, replaced as a whole.
#[derive(Clone, Debug)]
pub struct EpochFiles {
    dir: DataDir,
}

impl EpochFiles {
    pub(crate) const fn new(dir: DataDir) -> Self {
        Self { dir }
    }

    /// Durably records the promise. It holds, after any crash, once this has returned.
    pub fn write_accepted(&self, epoch: u32) -> Result<()> {
        self.write(ACCEPTED, epoch)
    }

    /// Durably records that this server is in `epoch`.
    pub fn write_current(&self, epoch: u32) -> Result<()> {
        self.write(CURRENT, epoch)
    }

    fn write(&self, name: &str, epoch: u32) -> Result<()> {
        fs::replace(&self.dir.snapshot_path().join(name), epoch.to_string().as_bytes())
    }

    /// Reads both, given the last transaction in snapshot and log.
    ///
    /// A crash may come after the transactions of a new epoch are durable and before `currentEpoch` is
    /// (ZOOKEEPER-1653, ZOOKEEPER-2307): the epoch of those transactions is then the current one, provided that it
    /// was accepted. Directories of servers that never were in an ensemble have neither file.
    ///
    /// # Errors
    ///
    /// [`DiskError::Corrupt`] if a file is no number; [`DiskError::Epochs`] if they contradict each other or the log.
    pub fn read(&self, last_zxid: Zxid) -> Result<Epochs> {
        let seen = last_zxid.epoch();
        let (accepted, current) = match (self.read_one(ACCEPTED)?, self.read_one(CURRENT)?) {
            (None, None) => (seen, seen),
            (Some(accepted), current) => (accepted, current.unwrap_or(0)),
            (None, Some(current)) => {
                return Err(self.contradiction(format!(
                    "there is a {CURRENT} ({current}) but no {ACCEPTED}, so what was promised is unknown"
                )));
            }
        };
        if current > accepted {
            return Err(self.contradiction(format!("{CURRENT} {current} is above {ACCEPTED} {accepted}")));
        }
        if seen > accepted {
            return Err(self.contradiction(format!(
                "{ACCEPTED} is {accepted}, but there are transactions of epoch {seen} (up to {last_zxid})"
            )));
        }
        Ok(Epochs { accepted, current: current.max(seen) })
    }

    fn read_one(&self, name: &str) -> Result<Option<u32>> {
        let path = self.dir.snapshot_path().join(name);
        let Some(content) = fs::read_if_exists(&path)? else { return Ok(None) };
        let line = content.split(|b| *b == b'\n').next().unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        std::str::from_utf8(line)
            .ok()
            .filter(|text| text.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|text| text.parse().ok())
            .map(Some)
            .ok_or_else(|| {
                let found = String::from_utf8_lossy(line);
                DiskError::corrupt(&path, 0, format!("{found:?} is not an epoch"))
            })
    }

    fn contradiction(&self, what: String) -> DiskError {
        DiskError::Epochs { dir: self.dir.snapshot_path().to_owned(), what }
    }
}
