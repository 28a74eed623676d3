use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

/// What the planner asks about the host's files.
///
/// Every path is absolute and none is followed if its last component is a symbolic link. An
/// implementation answers for one moment; the plan that comes of it is checked again when it is
/// carried out.
pub trait FsView {
    /// What is at `path`; `None` if nothing is.
    ///
    /// # Errors
    /// What the operating system says, `NotFound` and `NotADirectory` excepted, which are
    /// `None`.
    fn entry(&self, path: &Path) -> io::Result<Option<Entry>>;

    /// What is at `path`, symbolic links followed to the end.
    ///
    /// # Errors
    /// As for [`entry`](Self::entry).
    fn entry_following(&self, path: &Path) -> io::Result<Option<Entry>>;

    /// The names in the directory `path`, in a stable order, with what each is.
    ///
    /// # Errors
    /// What the operating system says.
    fn list(&self, path: &Path) -> io::Result<Vec<(OsString, Entry)>>;

    /// How the directory `dir` spells what it gives for `name`, if otherwise: some file systems
    /// take names for the same that differ in the case of letters or in their Unicode form.
    /// `None` if the name is spelled so, or nothing is there. A view of a system whose names are
    /// bytes need not implement it.
    ///
    /// # Errors
    /// What the operating system says, or that the spelling cannot be told.
    fn true_name(&self, dir: &Path, name: &OsStr) -> io::Result<Option<OsString>> {
        let _ = (dir, name);
        Ok(None)
    }

    /// Where something is mounted on this host, without symbolic links. It is asked for only where
    /// an overlay is wanted, which cannot show what is mounted below it. A view that gives none
    /// has the overlay cover the whole root.
    ///
    /// # Errors
    /// What the operating system says.
    fn mounts(&self) -> io::Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }

    /// The unix sockets that somebody on this host has bound to a path and that are there, without
    /// symbolic links in their paths. They are asked for only where something is read-only, because
    /// that alone does not keep a command from connecting to them. A view that gives none leaves
    /// them open.
    ///
    /// # Errors
    /// What the operating system says.
    fn sockets(&self) -> io::Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }
}

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Of which kind it is.
    pub kind: EntryKind,
    /// Its permissions; 0 for those of a symbolic link.
    pub mode: u32,
}

/// The kinds of things that a path can name, as far as mounting makes a difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Dir,
    /// A symbolic link and what it says.
    Symlink(OsString),
    /// Anything else.
    File,
}

/// The files of this host.
#[derive(Debug, Clone, Copy, Default)]
pub struct HostFs;

fn none_if_missing<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(e) => Err(e),
    }
}

impl HostFs {
    fn describe(path: &Path, meta: &std::fs::Metadata) -> io::Result<Entry> {
        let kind = if meta.is_dir() {
            EntryKind::Dir
        } else if meta.is_symlink() {
            EntryKind::Symlink(std::fs::read_link(path)?.into_os_string())
        } else {
            EntryKind::File
        };
        let mode = if meta.is_symlink() {
            0
        } else {
            Self::mode(meta)
        };
        Ok(Entry { kind, mode })
    }

    fn mode(meta: &std::fs::Metadata) -> u32 {
        use std::os::unix::fs::PermissionsExt as _;
        meta.permissions().mode() & 0o7777
    }
}

impl FsView for HostFs {
    fn entry(&self, path: &Path) -> io::Result<Option<Entry>> {
        match none_if_missing(std::fs::symlink_metadata(path))? {
            // The link may be gone by the time it is read: that is nothing there.
            Some(meta) => none_if_missing(Self::describe(path, &meta)),
            None => Ok(None),
        }
    }

    fn entry_following(&self, path: &Path) -> io::Result<Option<Entry>> {
        match none_if_missing(std::fs::metadata(path))? {
            Some(meta) => none_if_missing(Self::describe(path, &meta)),
            None => Ok(None),
        }
    }

    fn list(&self, path: &Path) -> io::Result<Vec<(OsString, Entry)>> {
        let mut found = Vec::new();
        for item in std::fs::read_dir(path)? {
            let name = item?.file_name();
            if let Some(entry) = self.entry(&path.join(&name))? {
                found.push((name, entry));
            }
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
    }
}

/// A tree of files in memory, for tests and for planning against a host that is not this one.
#[derive(Debug, Clone, Default)]
pub struct MemoryFs {
    entries: BTreeMap<PathBuf, Entry>,
    ignores_case: bool,
    sockets: Vec<PathBuf>,
    mounts: Vec<PathBuf>,
}

impl MemoryFs {
    /// A tree with nothing but `/`.
    #[must_use]
    pub fn new() -> Self {
        let mut fs = Self::default();
        fs.entries.insert(
            "/".into(),
            Entry {
                kind: EntryKind::Dir,
                mode: 0o755,
            },
        );
        fs
    }

    /// Adds a directory, and those above it that are missing.
    #[must_use]
    pub fn dir(mut self, path: impl AsRef<Path>) -> Self {
        self.parents(path.as_ref());
        self.entries.insert(
            path.as_ref().into(),
            Entry {
                kind: EntryKind::Dir,
                mode: 0o755,
            },
        );
        self
    }

    /// Adds a file, and the directories above it that are missing.
    #[must_use]
    pub fn file(mut self, path: impl AsRef<Path>) -> Self {
        self.parents(path.as_ref());
        self.entries.insert(
            path.as_ref().into(),
            Entry {
                kind: EntryKind::File,
                mode: 0o644,
            },
        );
        self
    }

    /// Adds a unix socket that is bound, by a path without symbolic links, and the directories
    /// above it that are missing.
    #[must_use]
    pub fn socket(mut self, path: impl AsRef<Path>) -> Self {
        self.sockets.push(path.as_ref().into());
        self.file(path)
    }

    /// Adds a directory on which something is mounted, by a path without symbolic links.
    #[must_use]
    pub fn mount(mut self, path: impl AsRef<Path>) -> Self {
        self.mounts.push(path.as_ref().into());
        self.dir(path)
    }

    /// Adds a symbolic link that says `to`, and the directories above it that are missing.
    #[must_use]
    pub fn symlink(mut self, path: impl AsRef<Path>, to: impl AsRef<OsStr>) -> Self {
        self.parents(path.as_ref());
        let kind = EntryKind::Symlink(to.as_ref().into());
        self.entries
            .insert(path.as_ref().into(), Entry { kind, mode: 0 });
        self
    }

    /// Takes names for the same that differ in the case of letters alone, as most volumes of a Mac
    /// do.
    #[must_use]
    pub fn ignoring_case(mut self) -> Self {
        self.ignores_case = true;
        self
    }

    /// The path of the entry `name` of the directory `dir`, as it was added.
    fn find(&self, dir: &Path, name: &OsStr) -> Option<PathBuf> {
        let plain = dir.join(name);
        if !self.ignores_case || self.entries.contains_key(&plain) {
            return Some(plain);
        }
        let folded = |name: &OsStr| name.to_string_lossy().to_lowercase();
        self.entries
            .keys()
            .filter(|path| path.parent() == Some(dir))
            .find(|path| path.file_name().map(folded) == Some(folded(name)))
            .cloned()
    }

    fn parents(&mut self, path: &Path) {
        for parent in path.ancestors().skip(1) {
            self.entries.entry(parent.into()).or_insert(Entry {
                kind: EntryKind::Dir,
                mode: 0o755,
            });
        }
    }

    /// The path with every symbolic link followed, `None` if it leads nowhere or round in
    /// circles. `follow_last` says whether the last component is followed too.
    fn resolve(&self, path: &Path, follow_last: bool) -> Option<PathBuf> {
        let mut rest: Vec<OsString> = Vec::new();
        let push = |rest: &mut Vec<OsString>, text: &Path| {
            for c in text.components().rev() {
                match c {
                    std::path::Component::Normal(n) => rest.push(n.into()),
                    std::path::Component::ParentDir => rest.push("..".into()),
                    _ => {}
                }
            }
        };
        push(&mut rest, path);
        let mut at = PathBuf::from("/");
        let mut links = 0;
        while let Some(name) = rest.pop() {
            if name == ".." {
                at.pop();
                continue;
            }
            let next = self.find(&at, &name)?;
            match &self.entries.get(&next)?.kind {
                EntryKind::Symlink(to) if follow_last || !rest.is_empty() => {
                    links += 1;
                    if links > 40 {
                        return None;
                    }
                    if Path::new(to).is_absolute() {
                        at = PathBuf::from("/");
                    }
                    push(&mut rest, Path::new(to));
                }
                EntryKind::File if !rest.is_empty() => return None,
                _ => at = next,
            }
        }
        Some(at)
    }
}

impl FsView for MemoryFs {
    fn entry(&self, path: &Path) -> io::Result<Option<Entry>> {
        Ok(self
            .resolve(path, false)
            .and_then(|p| self.entries.get(&p))
            .cloned())
    }

    fn entry_following(&self, path: &Path) -> io::Result<Option<Entry>> {
        Ok(self
            .resolve(path, true)
            .and_then(|p| self.entries.get(&p))
            .cloned())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<(OsString, Entry)>> {
        let Some(dir) = self.resolve(path, true) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        Ok(self
            .entries
            .range(dir.clone()..)
            .take_while(|(p, _)| p.starts_with(&dir))
            .filter(|(p, _)| p.parent() == Some(&dir))
            .filter_map(|(p, e)| Some((p.file_name()?.to_owned(), e.clone())))
            .collect())
    }

    fn mounts(&self) -> io::Result<Vec<PathBuf>> {
        Ok(self.mounts.clone())
    }

    fn sockets(&self) -> io::Result<Vec<PathBuf>> {
        Ok(self.sockets.clone())
    }

    fn true_name(&self, dir: &Path, name: &OsStr) -> io::Result<Option<OsString>> {
        let found = self
            .resolve(dir, true)
            .and_then(|dir| self.find(&dir, name))
            .filter(|path| self.entries.contains_key(path))
            .and_then(|path| path.file_name().map(OsStr::to_owned));
        Ok(found.filter(|found| found != name))
    }
}
