//! What the tests of this crate share.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use palisade_wire::txn::{Txn, TxnHeader, TxnRecord};
use palisade_wire::{ErrorCode, Zxid};
use tempfile::TempDir;

use crate::{DataDir, LogOptions, LogTail, TxnLog};

/// A file captured from a real server.
pub(crate) fn sample(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Small files, so that a test may damage them at every byte.
pub(crate) const OPTIONS: LogOptions = LogOptions { preallocate: 8192, max_record: 4096, force_sync: true };

/// A data directory that goes with the test.
pub(crate) struct Scratch {
    pub(crate) root: TempDir,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        Self { root: TempDir::new().unwrap() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.root.path().join("version-2")
    }

    pub(crate) fn open(&self) -> DataDir {
        DataDir::open(self.root.path(), self.root.path(), None).unwrap()
    }

    /// A directory with exactly these files in `version-2`.
    pub(crate) fn with(files: &Files) -> Self {
        let scratch = Self::new();
        std::fs::create_dir(scratch.path()).unwrap();
        for (name, content) in files {
            std::fs::write(scratch.path().join(name), content).unwrap();
        }
        scratch
    }

    /// All files in `version-2`.
    pub(crate) fn files(&self) -> Files {
        let entries = std::fs::read_dir(self.path()).unwrap();
        entries
            .map(|entry| {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                (name, std::fs::read(path).unwrap())
            })
            .collect()
    }
}

/// Files by name.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// An error transaction whose cxid tells its writer apart.
pub(crate) fn payload(zxid: Zxid) -> Bytes {
    record(zxid, Txn::Error(ErrorCode::NO_NODE))
}

/// A transaction of session 1.
pub(crate) fn record(zxid: Zxid, txn: Txn) -> Bytes {
    let header = TxnHeader { session: 1, cxid: 2, zxid, time: 3 };
    TxnRecord { header, txn, digest: None }.encode()
}

/// Opens the log without restoring.
pub(crate) fn open_log(dir: &DataDir, after: Zxid) -> TxnLog {
    let tail = read_all(dir, after).unwrap().1;
    dir.open_log(&tail, OPTIONS).unwrap()
}

/// All transactions after `after`.
pub(crate) fn read_all(dir: &DataDir, after: Zxid) -> crate::Result<(Vec<Zxid>, LogTail)> {
    let mut reader = crate::LogReader::new(dir, after, OPTIONS.max_record)?;
    let mut zxids = Vec::new();
    while let Some(record) = reader.next().transpose()? {
        zxids.push(record.zxid);
    }
    Ok((zxids, reader.into_tail()))
}
