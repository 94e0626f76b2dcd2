//! File operations that name the path when they fail.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::error::{Context, Result};

/// Makes the names in `dir` durable: files created, renamed or deleted in it.
pub(crate) fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|d| d.sync_all()).context("sync the directory", dir)
}

/// Makes a file's content durable, whoever wrote it.
pub(crate) fn sync_file(path: &Path) -> Result<()> {
    File::open(path).and_then(|f| f.sync_all()).context("sync", path)
}

/// Deletes a file, durably. A file that is already gone is fine.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        other => other.context("delete", path),
    }?;
    sync_dir(parent(path))
}

/// Replaces a file's whole content so that after any crash it holds either the old or the new.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<()> {
    let tmp = tmp_name(path);
    let mut file = File::create(&tmp).context("create", &tmp)?;
    file.write_all(content).context("write", &tmp)?;
    file.sync_all().context("sync", &tmp)?;
    rename(&tmp, path)
}

/// Renames within one directory, durably.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).context("rename", from)?;
    sync_dir(parent(to))
}

/// Creates a directory and those above it, durably.
pub(crate) fn create_dirs(dir: &Path) -> Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let above = parent(dir);
    create_dirs(above)?;
    match fs::create_dir(dir) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
        other => other.context("create the directory", dir),
    }?;
    sync_dir(above)
}

/// A file's content, `None` if there is no such file.
pub(crate) fn read_if_exists(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).context("read", path),
    }
}

/// `path` with `.tmp` appended: the name of a file that is not finished.
pub(crate) fn tmp_name(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".tmp");
    name.into()
}

/// The directory of a file; the current one for a bare name.
pub(crate) fn parent(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
