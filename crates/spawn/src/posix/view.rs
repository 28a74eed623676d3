use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use sandboxlib_config::Config;
use sandboxlib_mount::{Entry, FsView, HostFs};

/// A view of this host for the planning of one configuration. Nothing can be mounted here, so
/// plain paths do.
#[derive(Debug)]
pub struct HostView(HostFs);

impl HostView {
    /// A view for planning `config`.
    #[must_use]
    pub fn new(_: &Config) -> Self {
        Self(HostFs)
    }
}

impl FsView for HostView {
    fn entry(&self, path: &Path) -> io::Result<Option<Entry>> {
        self.0.entry(path)
    }

    fn entry_following(&self, path: &Path) -> io::Result<Option<Entry>> {
        self.0.entry_following(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<(OsString, Entry)>> {
        self.0.list(path)
    }

    /// By reading the directory, because what tells the spelling of one path differs from system
    /// to system. A directory that may not be read is an error: a rule about a name that is
    /// spelled otherwise would hold for nothing.
    fn true_name(&self, dir: &Path, name: &OsStr) -> io::Result<Option<OsString>> {
        let asked = match fs::symlink_metadata(dir.join(name)) {
            Ok(meta) => meta,
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(None);
            }
            Err(e) => return Err(e),
        };
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            let listed = entry?.file_name();
            if listed == name {
                return Ok(None);
            }
            names.push(listed);
        }
        // The number in a directory entry is not that of what is mounted there, so each is asked.
        names.retain(|listed| {
            fs::symlink_metadata(dir.join(listed)).is_ok_and(|meta| same(&meta, &asked))
        });
        one_of(names, name).map(Some)
    }
}

fn same(a: &Metadata, b: &Metadata) -> bool {
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

/// Of the names that lead to the same file, the one that stands for `name`.
fn one_of(names: Vec<OsString>, name: &OsStr) -> io::Result<OsString> {
    let folded = |name: &OsStr| name.to_string_lossy().to_lowercase();
    let alone = names.len() == 1;
    // Of several hard links in one directory, the one that differs in the case of letters alone.
    let mut fitting = names
        .into_iter()
        .filter(|listed| alone || folded(listed) == folded(name));
    match (fitting.next(), fitting.next()) {
        (Some(listed), None) => Ok(listed),
        _ => Err(io::Error::other(
            "its directory does not tell how the name is spelled",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> HostView {
        HostView(HostFs)
    }

    #[test]
    fn names_that_are_spelled_right_or_lead_nowhere_have_no_other() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("Secret"), "").unwrap();
        fs::hard_link(dir.path().join("Secret"), dir.path().join("Second")).unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("link")).unwrap();
        for name in ["Secret", "Second", "link", "absent"] {
            let found = view().true_name(dir.path(), name.as_ref()).unwrap();
            assert_eq!(found, None, "{name}");
        }
        let inside_a_file = view().true_name(&dir.path().join("Secret"), "x".as_ref());
        assert_eq!(inside_a_file.unwrap(), None);
    }

    #[test]
    fn another_spelling_is_the_name_of_the_same_file() {
        let names = |list: &[&str]| list.iter().map(OsString::from).collect::<Vec<_>>();
        let pick = |list: &[&str], name: &str| one_of(names(list), name.as_ref());
        assert_eq!(pick(&["Secret"], "sECRET").unwrap(), "Secret");
        // Composed and decomposed.
        assert_eq!(pick(&["caf\u{e9}"], "cafe\u{301}").unwrap(), "caf\u{e9}");
        assert_eq!(pick(&["Second", "Secret"], "secret").unwrap(), "Secret");
        assert!(pick(&["One", "Two"], "three").is_err());
        assert!(pick(&[], "gone").is_err());
    }
}
