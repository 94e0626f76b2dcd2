//! What the tests of this crate share.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use palisade_store::{DataTree, SnapshotCursor};
use palisade_wire::txn::{CreateTxn, Txn, TxnHeader, TxnRecord};
use palisade_wire::{Acl, ErrorCode, Zxid};
use tempfile::TempDir;

use crate::{DataDir, LogOptions, LogTail, RestoreOptions, Restored, SnapshotFile, TxnLog};

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

/// A transaction that changes the tree, different for each zxid.
pub(crate) fn change(zxid: Zxid) -> Bytes {
    let counter = zxid.counter();
    let parent_cversion = (1000 * zxid.epoch() + counter) as i32;
    let path = format!("/n{}-{counter}", zxid.epoch());
    let data = Some(Bytes::from(path.clone()));
    let txn = match counter % 3 {
        0 => Txn::SetData { path: format!("/n{}-{}", zxid.epoch(), counter - 1), data, version: 1 },
        _ => Txn::Create(CreateTxn { path, data, acl: Acl::open(), parent_cversion }, false),
    };
    record(zxid, txn)
}

/// Applies an encoded transaction.
pub(crate) fn apply(tree: &mut DataTree, payload: &Bytes) {
    let record = TxnRecord::decode(payload).unwrap();
    tree.apply(&record.header, &record.txn, &mut |_| ());
}

/// Writes the tree's whole stream.
pub(crate) fn write_tree(file: &mut SnapshotFile, tree: &DataTree) {
    let mut cursor = SnapshotCursor::new(tree);
    let mut chunk = BytesMut::new();
    while !cursor.write_chunk(tree, &mut chunk, 100) {
        file.write(&chunk.split()).unwrap();
    }
    file.write(&chunk).unwrap();
}

/// Writes a snapshot of the tree as it stands.
pub(crate) fn snapshot(dir: &DataDir, tree: &DataTree) {
    let mut file = dir.snapshots().create(tree.last_zxid()).unwrap();
    write_tree(&mut file, tree);
    file.finish(None).unwrap();
}

/// Writes the snapshot of `from` while the logged transactions up to `to` are applied.
pub(crate) fn snapshot_between(dir: &DataDir, from: Zxid, to: Zxid) {
    let mut tree = DataTree::new();
    let mut cursor = None;
    for record in crate::LogReader::new(dir, Zxid::ZERO, OPTIONS.max_record).unwrap() {
        let record = record.unwrap();
        if record.zxid > from && cursor.is_none() {
            cursor = Some(SnapshotCursor::new(&tree));
        }
        if record.zxid <= to {
            apply(&mut tree, &record.payload);
        }
    }
    let mut cursor = cursor.unwrap();
    assert_eq!(cursor.zxid(), from);
    let mut file = dir.snapshots().create(from).unwrap();
    let mut chunk = BytesMut::new();
    while !cursor.write_chunk(&tree, &mut chunk, 100) {}
    file.write(&chunk).unwrap();
    file.finish(Some(crate::SnapshotDigest { zxid: to, digest: tree.digest() })).unwrap();
}

/// Short for [`Zxid::new`].
pub(crate) const fn z(epoch: u32, counter: u32) -> Zxid {
    Zxid::new(epoch, counter)
}

/// Small limits.
pub(crate) fn options() -> RestoreOptions {
    RestoreOptions { max_record: 4096, ..RestoreOptions::default() }
}

/// Restores with small limits.
pub(crate) fn restore(dir: &DataDir) -> crate::Result<Restored> {
    dir.restore(&options())
}

/// Restores these files and sees that nothing was modified.
pub(crate) fn restore_files(files: &Files) -> crate::Result<Restored> {
    let scratch = Scratch::with(files);
    let result = restore(&scratch.open());
    assert_eq!(&scratch.files(), files, "restoring modified a file");
    result
}

/// The tree's digest after each transaction.
pub(crate) type States = BTreeMap<Zxid, u64>;

/// Fills a directory: snapshots after the transactions in `snapshots`, a new log file with each of them.
pub(crate) fn fill(dir: &DataDir, zxids: impl IntoIterator<Item = Zxid>, snapshots: &[Zxid]) -> States {
    let mut tree = restore(dir).unwrap().tree;
    let mut log = open_log(dir, tree.last_zxid());
    let mut states = States::from([(tree.last_zxid(), tree.digest())]);
    for zxid in zxids {
        log.append(zxid, &change(zxid)).unwrap();
        apply(&mut tree, &change(zxid));
        states.insert(zxid, tree.digest());
        if snapshots.contains(&zxid) {
            log.roll().unwrap();
            snapshot(dir, &tree);
        }
    }
    log.sync().unwrap();
    states
}

/// Sees that the tree is the one that there was after its last transaction.
pub(crate) fn assert_is_a_state(restored: &Restored, states: &States) {
    assert_eq!(states.get(&restored.last_zxid), Some(&restored.tree.recompute_digest()), "{restored:?}");
    assert_eq!(restored.tree.last_zxid(), restored.last_zxid);
}
