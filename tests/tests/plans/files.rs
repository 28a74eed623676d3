//! What lies in a directory of the host, to the byte.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Everything about one file that a sandbox could change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) identity: (u64, u64),
    pub(crate) modified: (i64, i64),
    /// Of a file its content, of a link what it says.
    pub(crate) content: Vec<u8>,
}

impl Facts {
    pub(crate) fn is_dir(&self) -> bool {
        self.mode & 0o170_000 == 0o040_000
    }
}

/// Of `dir` and everything below it; no link is followed.
pub(crate) fn listing(dir: &Path) -> BTreeMap<PathBuf, Facts> {
    let mut found = BTreeMap::new();
    let mut rest = vec![dir.to_owned()];
    while let Some(path) = rest.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let content = if meta.is_file() {
            fs::read(&path).unwrap()
        } else if meta.is_symlink() {
            let text = fs::read_link(&path).unwrap();
            text.as_os_str().as_bytes().to_vec()
        } else {
            Vec::new()
        };
        if meta.is_dir() {
            rest.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        }
        let facts = Facts {
            mode: meta.mode(),
            owner: (meta.uid(), meta.gid()),
            identity: (meta.dev(), meta.ino()),
            modified: (meta.mtime(), meta.mtime_nsec()),
            content,
        };
        found.insert(path, facts);
    }
    found
}
