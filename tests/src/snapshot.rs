//! What lies in a directory, to be compared with what lies there later.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Names, kinds, modes, owners, sizes and times of everything in some directories. Symbolic links
/// are looked at, not followed, and other file systems not entered.
#[derive(Debug, PartialEq, Eq)]
pub struct Snapshot(BTreeMap<PathBuf, Entry>);

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    mode: u32,
    owner: (u32, u32),
    size: u64,
    modified: (i64, i64),
    link: Option<PathBuf>,
}

impl Snapshot {
    /// Of these directories and everything below them.
    #[must_use]
    pub fn of(dirs: &[&Path]) -> Self {
        let mut entries = BTreeMap::new();
        for dir in dirs {
            if let Ok(metadata) = fs::symlink_metadata(dir) {
                walk(dir, metadata.dev(), &mut entries);
            }
        }
        Self(entries)
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What differs, as lines.
    #[must_use]
    pub fn differences(&self, after: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        for (path, entry) in &self.0 {
            match after.0.get(path) {
                None => lines.push(format!("gone: {path:?}")),
                Some(now) if now != entry => lines.push(format!("{path:?}: {entry:?} -> {now:?}")),
                Some(_) => {}
            }
        }
        let new = after.0.keys().filter(|path| !self.0.contains_key(*path));
        lines.extend(new.map(|path| format!("new: {path:?}")));
        lines
    }
}

fn walk(path: &Path, device: u64, entries: &mut BTreeMap<PathBuf, Entry>) {
    // What vanishes or is closed to us while we look cannot be compared.
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return;
    };
    let entry = Entry {
        mode: metadata.mode(),
        owner: (metadata.uid(), metadata.gid()),
        size: metadata.size(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        link: fs::read_link(path).ok(),
    };
    entries.insert(path.to_owned(), entry);
    if metadata.is_dir() && metadata.dev() == device {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            walk(&entry.path(), device, entries);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn every_kind_of_change_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a/file");
        fs::create_dir(dir.path().join("a")).unwrap();
        fs::write(&file, "x").unwrap();
        let look = || Snapshot::of(&[dir.path()]);

        let before = look();
        assert_eq!(before.len(), 3);
        assert!(before.differences(&look()).is_empty());
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(before.differences(&look()).len(), 1, "mode");

        let before = look();
        let now = fs::metadata(&file).unwrap().modified().unwrap();
        let other = fs::File::options().append(true).open(&file).unwrap();
        other
            .set_modified(now - std::time::Duration::from_nanos(1))
            .unwrap();
        assert_eq!(before.differences(&look()).len(), 1, "time");

        let before = look();
        fs::write(dir.path().join("new"), "").unwrap();
        assert_eq!(
            before.differences(&look()).len(),
            2,
            "a new file, and the directory's time"
        );
        fs::remove_file(&file).unwrap();
        assert!(
            before
                .differences(&look())
                .iter()
                .any(|l| l.starts_with("gone: "))
        );
    }
}
