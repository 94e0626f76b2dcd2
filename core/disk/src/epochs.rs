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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Files, Scratch};

    fn read(accepted: Option<&str>, current: Option<&str>, last: Zxid) -> Result<Epochs> {
        let mut files = Files::new();
        for (name, content) in [(ACCEPTED, accepted), (CURRENT, current)] {
            files.extend(content.map(|content| (name.to_owned(), content.into())));
        }
        Scratch::with(&files).open().epochs().read(last)
    }

    #[test]
    fn written_as_apache_does() {
        let scratch = Scratch::new();
        let epochs = scratch.open().epochs();
        epochs.write_accepted(12).unwrap();
        epochs.write_current(11).unwrap();
        let expected = Files::from([(ACCEPTED.to_owned(), b"12".into()), (CURRENT.to_owned(), b"11".into())]);
        assert_eq!(scratch.files(), expected);
        assert_eq!(epochs.read(Zxid::new(11, 4)).unwrap(), Epochs { accepted: 12, current: 11 });
    }

    #[test]
    fn a_crash_while_writing_leaves_the_old_or_the_new() {
        for written in 0..=3 {
            let files = Files::from([
                (ACCEPTED.to_owned(), b"99".into()),
                (format!("{ACCEPTED}.tmp"), b"100"[..written].to_vec()),
                (CURRENT.to_owned(), b"98".into()),
            ]);
            let scratch = Scratch::with(&files);
            let epochs = scratch.open().epochs();
            assert_eq!(epochs.read(Zxid::ZERO).unwrap(), Epochs { accepted: 99, current: 98 });
            epochs.write_accepted(100).unwrap();
            assert_eq!(epochs.read(Zxid::ZERO).unwrap().accepted, 100);
        }
    }

    #[test]
    fn missing_files_are_explained_by_the_log_where_that_is_safe() {
        let at = |epoch| Zxid::new(epoch, 1);
        let ok = |accepted, current| Some(Epochs { accepted, current });
        // A standalone server, or one that never was in an ensemble.
        assert_eq!(read(None, None, at(3)).ok(), ok(3, 3));
        // The first epoch was accepted, and then came the crash.
        assert_eq!(read(Some("1"), None, Zxid::ZERO).ok(), ok(1, 0));
        // Transactions of the new epoch were durable before the epoch itself.
        assert_eq!(read(Some("5"), Some("4"), at(5)).ok(), ok(5, 5));
        assert_eq!(read(Some("6"), Some("4"), at(5)).ok(), ok(6, 5));
        for (accepted, current, last) in
            [(None, Some("4"), at(4)), (Some("3"), Some("4"), at(3)), (Some("4"), Some("4"), at(5))]
        {
            let result = read(accepted, current, last);
            assert!(matches!(result, Err(DiskError::Epochs { .. })), "{result:?}");
        }
    }

    #[test]
    fn only_the_first_line_counts_and_must_be_a_number() {
        for text in ["7", "7\n", "7\r\n", "7\nrest"] {
            assert_eq!(read(Some(text), Some("0"), Zxid::ZERO).unwrap().accepted, 7, "{text:?}");
        }
        for text in ["", " 7", "7 ", "-7", "+7", "x", "99999999999", "\n7"] {
            let result = read(Some(text), Some("0"), Zxid::ZERO);
            assert!(matches!(result, Err(DiskError::Corrupt { .. })), "{text:?}: {result:?}");
        }
    }
}
