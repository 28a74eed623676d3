//! The host's files, with what the plan itself makes among them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path, PathBuf};

use crate::{Entry, EntryKind, FsView, PlanError};

/// The kernel's own limit on following symbolic links (MAXSYMLINKS).
pub(super) const MAX_LINKS: usize = 40;

pub(super) struct Host<'a> {
    view: &'a dyn FsView,
    /// What steps of the plan make on the host. The same directory may be bound in twice, and
    /// what is made through one of the binds is there in the other.
    made: BTreeMap<PathBuf, EntryKind>,
    /// Paths that have been found to be no links.
    no_links: BTreeSet<PathBuf>,
}

impl<'a> Host<'a> {
    pub(super) fn new(view: &'a dyn FsView) -> Self {
        Self {
            view,
            made: BTreeMap::new(),
            no_links: BTreeSet::new(),
        }
    }

    pub(super) fn entry(&self, path: &Path) -> Result<Option<EntryKind>, PlanError> {
        let found = self.view.entry(path).map_err(|e| failed(path, e))?;
        Ok(found.map(|entry| entry.kind))
    }

    /// What is at `path` when the steps so far have been carried out.
    pub(super) fn entry_or_made(&self, path: &Path) -> Result<Option<EntryKind>, PlanError> {
        match self.made.get(path) {
            Some(kind) => Ok(Some(kind.clone())),
            None => self.entry(path),
        }
    }

    pub(super) fn entry_following(&self, path: &Path) -> Result<Option<Entry>, PlanError> {
        self.view.entry_following(path).map_err(|e| failed(path, e))
    }

    pub(super) fn list(&self, path: &Path) -> Result<Vec<(OsString, Entry)>, PlanError> {
        self.view.list(path).map_err(|e| failed(path, e))
    }

    /// Where something is mounted.
    pub(super) fn mounts(&self) -> Result<BTreeSet<PathBuf>, PlanError> {
        let found = self.view.mounts();
        let found = found.map_err(|source| PlanError::Mounts { source })?;
        Ok(found.into_iter().collect())
    }

    pub(super) fn sockets(&self) -> Result<Vec<PathBuf>, PlanError> {
        let found = self.view.sockets();
        found.map_err(|source| PlanError::Sockets { source })
    }

    /// The name under which the directory has what it gives for `name`, if it is another.
    pub(super) fn true_name(
        &self,
        dir: &Path,
        name: &OsStr,
    ) -> Result<Option<OsString>, PlanError> {
        let found = self.view.true_name(dir, name);
        found.map_err(|e| failed(&dir.join(name), e))
    }

    /// The permissions of a directory that was found before.
    pub(super) fn dir_mode(&self, path: &Path) -> Result<u32, PlanError> {
        match self.entry_following(path)? {
            Some(Entry {
                kind: EntryKind::Dir,
                mode,
            }) => Ok(mode),
            Some(_) => Err(failed(path, io::ErrorKind::NotADirectory.into())),
            None => Err(failed(path, io::ErrorKind::NotFound.into())),
        }
    }

    /// The path without symbolic links of a directory that was found before, so that what is
    /// made in it is known by one path only.
    pub(super) fn real(&mut self, path: &Path) -> Result<PathBuf, PlanError> {
        let mut real = PathBuf::from("/");
        let mut links = 0;
        let mut rest = Vec::from_iter(path.components().rev().map(to_owned));
        while let Some(name) = rest.pop() {
            if name == "." {
                continue;
            }
            if name == ".." {
                real.pop();
                continue;
            }
            real.push(&name);
            if name == "/" || self.no_links.contains(&real) {
                continue;
            }
            let Some(EntryKind::Symlink(to)) = self.entry(&real)? else {
                self.no_links.insert(real.clone());
                continue;
            };
            links += 1;
            if links > MAX_LINKS {
                return Err(failed(path, io::Error::other("too many symbolic links")));
            }
            real.pop();
            rest.extend(Path::new(&to).components().rev().map(to_owned));
        }
        Ok(real)
    }

    pub(super) fn note_made(&mut self, path: PathBuf, kind: EntryKind) {
        self.made.insert(path, kind);
    }
}

/// The text of a component; that of the root, pushed on a path, begins it anew.
fn to_owned(component: Component<'_>) -> OsString {
    component.as_os_str().to_owned()
}

pub(super) fn failed(path: &Path, source: io::Error) -> PlanError {
    PlanError::Io {
        path: path.to_owned(),
        source,
    }
}
