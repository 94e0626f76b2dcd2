use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use palisade_wire::Sid;

use crate::epochs::EpochFiles;
use crate::error::{Context, DiskError, Result};
use crate::snapshot::Snapshots;
use crate::{fs, names};

/// Apache's name for the directory that holds everything but `myid`.
const VERSION_2: &str = "version-2";

/// An open data directory: laid out as Apache ZooKeeper's, and locked against other processes until the last
/// clone of it, and of what was opened through it, is dropped.
#[derive(Clone, Debug)]
pub struct DataDir {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    snapshots: PathBuf,
    logs: PathBuf,
    /// Held open for their advisory locks.
    _locks: Vec<File>,
}

impl DataDir {
    /// Opens the directories `dataDir` and `dataLogDir` (often the same one), creating what is missing.
    ///
    /// With an `id`, `myid` must hold it; it is written where neither it nor any data is there yet. Without
    /// one (a gateway), there must be no `myid`: the directory would be a voter's.
    ///
    /// # Errors
    ///
    /// [`DiskError::InUse`], [`DiskError::Misplaced`], [`DiskError::NoLogDir`], [`DiskError::MyId`], [`DiskError::Io`].
    pub fn open(snap_dir: &Path, log_dir: &Path, id: Option<Sid>) -> Result<Self> {
        let snapshots = snap_dir.join(VERSION_2);
        let logs = log_dir.join(VERSION_2);
        // Before anything is made: a mistaken start leaves a foreign directory as it was.
        let my_id = snap_dir.join("myid");
        let claimed = check_my_id(&my_id, id)?;
        fs::create_dirs(&snapshots)?;
        if !logs.is_dir() && !names::list(&snapshots, names::SNAPSHOT)?.is_empty() {
            return Err(DiskError::NoLogDir { path: logs });
        }
        fs::create_dirs(&logs)?;
        let snapshots = snapshots.canonicalize().context("resolve", &snapshots)?;
        let logs = logs.canonicalize().context("resolve", &logs)?;
        let mut locks = vec![lock(&snapshots)?];
        if snapshots != logs {
            locks.push(lock(&logs)?);
            refuse_misplaced(&snapshots, names::LOG)?;
            refuse_misplaced(&logs, names::SNAPSHOT)?;
        }
        if let (false, Some(id)) = (claimed, id) {
            let is_empty =
                names::list(&snapshots, names::SNAPSHOT)?.is_empty() && names::logs(&logs)?.is_empty();
            claim(&my_id, id, is_empty)?;
        }
        Ok(Self { inner: Arc::new(Inner { snapshots, logs, _locks: locks }) })
    }

    /// Where snapshots and epoch files are: `<dataDir>/version-2`.
    pub fn snapshot_path(&self) -> &Path {
        &self.inner.snapshots
    }

    /// Where transaction logs are: `<dataLogDir>/version-2`.
    pub fn log_path(&self) -> &Path {
        &self.inner.logs
    }

    /// Its snapshots.
    pub fn snapshots(&self) -> Snapshots {
        Snapshots::new(self.clone())
    }

    /// The content of a small file that the owner keeps beside the snapshots, `None` if there is none of this name.
    ///
    /// # Errors
    ///
    /// [`DiskError::Io`].
    pub fn read_note(&self, name: &str) -> Result<Option<Vec<u8>>> {
        fs::read_if_exists(&self.inner.snapshots.join(name))
    }

    /// Replaces such a file: after any crash it holds either the old or the new content.
    ///
    /// # Errors
    ///
    /// [`DiskError::Io`].
    pub fn write_note(&self, name: &str, content: &[u8]) -> Result<()> {
        fs::replace(&self.inner.snapshots.join(name), content)
    }

    /// Its epoch files.
    pub fn epochs(&self) -> EpochFiles {
        EpochFiles::new(self.clone())
    }
}

/// Locks the directory itself: no file appears that Apache would not know.
fn lock(dir: &Path) -> Result<File> {
    let handle = File::open(dir).context("open", dir)?;
    match handle.try_lock() {
        Ok(()) => Ok(handle),
        Err(TryLockError::WouldBlock) => Err(DiskError::InUse { path: dir.to_owned() }),
        Err(TryLockError::Error(e)) => Err(e).context("lock", dir),
    }
}

fn refuse_misplaced(dir: &Path, prefix: &str) -> Result<()> {
    match names::list(dir, prefix)?.into_iter().next() {
        None => Ok(()),
        Some(file) => Err(DiskError::Misplaced { path: file.path }),
    }
}

/// The id in `<dir>/myid`, `None` if there is no such file.
///
/// # Errors
///
/// [`DiskError::MyId`] if its first line is not a number, [`DiskError::Io`].
pub fn read_my_id(dir: &Path) -> Result<Option<Sid>> {
    let path = dir.join("myid");
    let Some(content) = fs::read_if_exists(&path)? else { return Ok(None) };
    let line = String::from_utf8_lossy(&content).lines().next().unwrap_or_default().to_owned();
    line.parse().map(Some).map_err(|_| {
        DiskError::my_id(
            &path,
            format!("its first line, {line:?}, is not the number of a server; correct it"),
        )
    })
}

/// Whether `path` says that the directory is this server's; false if it says nothing.
fn check_my_id(path: &Path, id: Option<Sid>) -> Result<bool> {
    match (read_my_id(fs::parent(path))?, id) {
        (None, _) => Ok(false),
        (Some(found), Some(id)) if found == id => Ok(true),
        (Some(found), Some(id)) => Err(DiskError::other_server(path, found, id)),
        (Some(found), None) => Err(DiskError::my_id(
            path,
            format!("this directory belongs to server {found}; a gateway needs a directory of its own"),
        )),
    }
}

/// Makes an empty directory this server's.
fn claim(path: &Path, id: Sid, is_empty: bool) -> Result<()> {
    if is_empty {
        return fs::replace(path, format!("{id}\n").as_bytes());
    }
    Err(DiskError::my_id(
        path,
        format!("it is missing, but there is data; if the data is that of server {id}, write {id} into it"),
    ))
}

#[cfg(test)]
mod tests {
    use std::fs::{create_dir, create_dir_all, read_to_string, write};

    use super::*;

    #[test]
    fn a_directory_has_one_user_at_a_time() {
        let root = tempfile::tempdir().unwrap();
        let logs = root.path().join("logs");
        let open = || DataDir::open(root.path(), &logs, None);
        let first = open().unwrap();
        let snapshots = first.snapshots();
        assert!(matches!(open(), Err(DiskError::InUse { .. })));
        // Half of it is as bad.
        let other = root.path().join("other");
        assert!(matches!(DataDir::open(&other, &logs, None), Err(DiskError::InUse { .. })));
        drop(first);
        assert!(matches!(open(), Err(DiskError::InUse { .. })));
        drop(snapshots);
        open().unwrap();
        let names = std::fs::read_dir(root.path().join(VERSION_2)).unwrap().count();
        assert_eq!(names, 0, "the lock must not be a file");
    }

    #[test]
    fn swapped_directories_are_noticed() {
        let root = tempfile::tempdir().unwrap();
        let (snapshots, logs) = (root.path().join("snap"), root.path().join("log"));
        drop(DataDir::open(&snapshots, &logs, None).unwrap());
        write(snapshots.join("version-2/snapshot.0"), "").unwrap();
        write(logs.join("version-2/log.1"), "").unwrap();
        drop(DataDir::open(&snapshots, &logs, None).unwrap());
        assert!(matches!(DataDir::open(&logs, &snapshots, None), Err(DiskError::Misplaced { .. })));
        DataDir::open(&snapshots, &snapshots, None).unwrap();
    }

    #[test]
    fn a_log_disk_that_is_not_mounted_is_noticed() {
        let root = tempfile::tempdir().unwrap();
        create_dir(root.path().join(VERSION_2)).unwrap();
        write(root.path().join("version-2/snapshot.10"), "").unwrap();
        let logs = root.path().join("mount");
        assert!(matches!(DataDir::open(root.path(), &logs, None), Err(DiskError::NoLogDir { .. })));
        assert!(!logs.exists());
        create_dir_all(logs.join(VERSION_2)).unwrap();
        DataDir::open(root.path(), &logs, None).unwrap();
    }

    #[test]
    fn my_id_guards_against_the_wrong_directory() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path();
        let open = |id| DataDir::open(dir, dir, id).map(drop);
        let refused = |id| matches!(open(id), Err(DiskError::MyId { .. }));
        open(Some(3)).unwrap();
        assert_eq!(read_to_string(dir.join("myid")).unwrap(), "3\n");
        assert_eq!(read_my_id(dir).unwrap(), Some(3));
        open(Some(3)).unwrap();
        assert!(refused(Some(4)));
        assert!(refused(None), "a gateway on a voter's directory");
        for text in ["", " 3", "three"] {
            write(dir.join("myid"), text).unwrap();
            assert!(refused(Some(3)), "{text:?}");
        }
        std::fs::remove_file(dir.join("myid")).unwrap();
        open(None).unwrap();
        write(dir.join("version-2/snapshot.0"), "").unwrap();
        assert!(refused(Some(3)), "whose data is it?");
    }

    #[test]
    fn a_mistaken_start_leaves_a_foreign_directory_as_it_was() {
        let root = tempfile::tempdir().unwrap();
        write(root.path().join("myid"), "3\n").unwrap();
        DataDir::open(root.path(), root.path(), Some(4)).unwrap_err();
        let names: Vec<_> = std::fs::read_dir(root.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["myid"]);
    }
}
