//! Temporary folders.

use std::path::{Path, PathBuf};
use std::thread;

use tempfile::TempDir;

/// A temporary folder, removed when dropped; kept, and its path printed, when the test fails.
#[derive(Debug)]
pub struct Folder {
    dir: TempDir,
}

impl Folder {
    /// Creates an empty folder.
    pub fn new() -> Self {
        Self { dir: TempDir::with_prefix("palisade-test-").expect("cannot create a temporary folder") }
    }

    /// The folder's path.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Creates the folder `name` within, and returns its path.
    pub fn subfolder(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(&path).expect("cannot create a folder in a temporary folder");
        path
    }
}

impl Default for Folder {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if thread::panicking() {
            self.dir.disable_cleanup(true);
            eprintln!("kept for inspection: {}", self.dir.path().display());
        }
    }
}
