//! A root, put together of layers that were unpacked each by itself.
//!
//! A layer that is unpacked by itself can be kept and shared. It is joined to the root by hard
//! links, which cost no space and little time; so nobody may write to either afterwards.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{self as sys, AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use crate::Limit;
use crate::error::{EntryProblem, Error};
use crate::record::Record;
use crate::tarball;
use crate::tree::{Lost, Place, Tree, components, join, split};
use crate::unpack::{UnpackOptions, finish};

/// A root to which layers are added, from the lowest.
pub(crate) struct Assembly<'o> {
    tree: Tree,
    record: Record,
    options: &'o UnpackOptions,
}

fn problem(path: &[u8], problem: EntryProblem) -> Error {
    Error::Entry {
        entry: tarball::path(path),
        problem,
    }
}

fn failed(path: &[u8], step: &'static str, error: impl Into<io::Error>) -> Error {
    let source = error.into();
    problem(path, EntryProblem::Io { step, source })
}

fn lost(path: &[u8], lost: Lost) -> Error {
    match lost {
        Lost::Missing => failed(path, "find", Errno::NOENT),
        Lost::NotADirectory(way) => problem(path, EntryProblem::NotADirectory(tarball::path(&way))),
        Lost::Limit(exceeded) => Error::Limit {
            limit: exceeded.limit,
            allowed: exceeded.allowed,
            entry: Some(tarball::path(path)),
        },
        Lost::Io(error) => failed(path, "find", error),
    }
}

impl<'o> Assembly<'o> {
    pub(crate) fn new(tree: Tree, options: &'o UnpackOptions) -> Self {
        Self {
            tree,
            record: Record::default(),
            options,
        }
    }

    /// What was added so far.
    pub(crate) fn record(&self) -> &Record {
        &self.record
    }

    /// Adds a layer: takes away what it takes away, then puts what it has.
    pub(crate) fn add(&mut self, layer: &Tree, record: &Record) -> Result<(), Error> {
        for path in &record.opaque {
            let Some(place) = self.find(path)? else {
                continue;
            };
            place.empty().map_err(|e| failed(path, "empty", e))?;
            let below = place.path.clone();
            // The directory itself stays.
            let meta = self.record.directories.remove(&below);
            let owner = self.record.owners.remove(&below);
            self.record.forget(&below);
            self.record
                .directories
                .extend(meta.map(|meta| (below.clone(), meta)));
            self.record.owners.extend(owner.map(|owner| (below, owner)));
            self.tree.forget();
        }
        for path in &record.whiteouts {
            let (parent, name) = split(path);
            if let Some(place) = self.find(&parent)? {
                self.clear(&place, &name)?;
            }
        }
        self.record.entries += record.entries;
        self.record.bytes += record.bytes;
        self.record.names += record.names;
        self.record.layers += record.layers;
        self.record.left_out.extend(record.left_out.iter().cloned());
        let root = self.tree.root().clone();
        if let Some(meta) = record.directories.get(&b""[..]) {
            self.record.owner(b"", meta.uid, meta.gid);
            self.record.directories.insert(Vec::new(), meta.clone());
        }
        self.merge(layer.root(), &root, record)?;
        for (path, target) in &record.links {
            self.late_link(path, target)?;
        }
        Ok(())
    }

    /// Gives the directories what they are to have.
    pub(crate) fn finish(mut self) -> Result<Record, Error> {
        finish(&mut self.tree, &mut self.record, self.options)?;
        Ok(self.record)
    }

    /// Moves everything to another directory of the same file system, and finishes it there.
    pub(crate) fn finish_in(mut self, target: Tree) -> Result<Record, Error> {
        let (from, to) = (self.tree.root(), target.root());
        for (name, _) in from.list().map_err(|e| failed(b"", "list", e))? {
            let os = OsStr::from_bytes(&name);
            sys::renameat(from.fd(), os, to.fd(), os).map_err(|e| failed(&name, "move", e))?;
        }
        self.tree = target;
        self.finish()
    }

    fn find(&mut self, path: &[u8]) -> Result<Option<Place>, Error> {
        match self.tree.directory(path, false) {
            Ok(place) => Ok(Some(place)),
            // What is not there cannot be taken away.
            Err(Lost::Missing | Lost::NotADirectory(_)) => Ok(None),
            Err(error) => Err(lost(path, error)),
        }
    }

    fn clear(&mut self, place: &Place, name: &[u8]) -> Result<(), Error> {
        let path = place.join(name);
        place
            .remove(name)
            .map_err(|e| failed(&path, "replace", e))?;
        self.record.forget(&path);
        self.tree.forget();
        Ok(())
    }

    /// Puts what is in `from`, a directory of the layer, into `to`, one of the root. It is as
    /// deep as the limits allow.
    fn merge(&mut self, from: &Place, to: &Place, record: &Record) -> Result<(), Error> {
        let depth = self.options.limits.depth;
        if components(&to.path).count() as u64 > depth {
            return Err(Error::Limit {
                limit: Limit::Depth,
                allowed: depth,
                entry: Some(tarball::path(&to.path)),
            });
        }
        let names = from.list().map_err(|e| failed(&from.path, "list", e))?;
        for (name, directory) in names {
            let source = from.join(&name);
            let at = to.join(&name);
            if !directory {
                self.link(from, &name, to, &name)?;
                let (uid, gid) = record.owners.get(&source).copied().unwrap_or((0, 0));
                self.record.owner(&at, uid, gid);
                continue;
            }
            let below = from.enter(&name).map_err(|e| failed(&source, "open", e))?;
            let target = match record.directories.get(&source) {
                Some(meta) => {
                    self.directory(to, &name)?;
                    self.record.owner(&at, meta.uid, meta.gid);
                    self.record.directories.insert(at.clone(), meta.clone());
                    to.enter(&name).map_err(|e| failed(&at, "open", e))?
                }
                // It has no entry: it is a way to something below, and in the root the way may
                // lead through a link.
                None => self
                    .tree
                    .directory(&at, true)
                    .map_err(|error| lost(&at, error))?,
            };
            self.merge(&below, &target, record)?;
        }
        Ok(())
    }

    fn directory(&mut self, place: &Place, name: &[u8]) -> Result<(), Error> {
        let path = place.join(name);
        let make = || sys::mkdirat(place.fd(), OsStr::from_bytes(name), Mode::RWXU);
        match make() {
            Err(Errno::EXIST) => {
                let kind = place.kind(name).map_err(|e| failed(&path, "look at", e))?;
                if kind == Some(FileType::Directory) {
                    return Ok(());
                }
                self.clear(place, name)?;
                make()
            }
            made => made,
        }
        .map_err(|e| failed(&path, "make", e))
    }

    /// Puts one thing that is no directory into the root.
    fn link(&mut self, from: &Place, old: &[u8], to: &Place, new: &[u8]) -> Result<(), Error> {
        let (old, path) = (OsStr::from_bytes(old), to.join(new));
        let name = OsStr::from_bytes(new);
        let link = || sys::linkat(from.fd(), old, to.fd(), name, AtFlags::empty());
        let done = match link() {
            Err(Errno::EXIST) => {
                self.clear(to, new)?;
                link()
            }
            other => other,
        };
        match done {
            Ok(()) => Ok(()),
            // EMLINK: as many links as the file system can count. EXDEV: the root is on another
            // one. EPERM: one that has none, or fs.protected_hardlinks.
            Err(Errno::MLINK | Errno::XDEV | Errno::PERM | Errno::NOTSUP) => {
                let keep = self.options.ownership.is_kept();
                copy(from, old, to, name, keep).map_err(|e| failed(&path, "copy", e))
            }
            Err(errno) => Err(failed(&path, "link", errno)),
        }
    }

    /// A hard link of a layer to what a layer below has.
    fn late_link(&mut self, path: &[u8], target: &[u8]) -> Result<(), Error> {
        let missing = || problem(path, EntryProblem::LinkMissing(tarball::path(target)));
        let (parent, old) = split(target);
        let from = self.find(&parent)?.ok_or_else(missing)?;
        match from.kind(&old).map_err(|e| failed(path, "look at", e))? {
            None => return Err(missing()),
            Some(FileType::Directory) => {
                let target = tarball::path(target);
                return Err(problem(path, EntryProblem::LinkToDirectory(target)));
            }
            Some(_) => {}
        }
        let (parent, new) = split(path);
        let to = self
            .tree
            .directory(&parent, true)
            .map_err(|error| lost(path, error))?;
        let (source, at) = (from.join(&old), to.join(&new));
        if source == at {
            return Ok(());
        }
        self.link(&from, &old, &to, &new)?;
        let owner = self.record.owners.get(&source).copied();
        let (uid, gid) = owner.unwrap_or((0, 0));
        self.record.owner(&join(&to.path, &new), uid, gid);
        Ok(())
    }
}

/// Copies a tree into an empty directory: what cached roots have, which is directories, files and
/// symbolic links.
pub(crate) fn copy_tree(from: &Path, to: &Path, keep_owner: bool) -> Result<(), Error> {
    let open = |path: &Path| Tree::open(path, u64::MAX).map_err(|e| Error::io("open", path, e));
    let (from, to) = (open(from)?, open(to)?);
    copy_directory(from.root(), to.root(), keep_owner)
}

fn copy_directory(from: &Place, to: &Place, keep_owner: bool) -> Result<(), Error> {
    for (name, directory) in from.list().map_err(|e| failed(&from.path, "list", e))? {
        let (path, os) = (from.join(&name), OsStr::from_bytes(&name));
        if directory {
            sys::mkdirat(to.fd(), os, Mode::RWXU).map_err(|e| failed(&path, "make", e))?;
            let below = from.enter(&name).map_err(|e| failed(&path, "open", e))?;
            let made = to.enter(&name).map_err(|e| failed(&path, "open", e))?;
            copy_directory(&below, &made, keep_owner)?;
        } else {
            copy(from, os, to, os, keep_owner).map_err(|e| failed(&path, "copy", e))?;
        }
    }
    let stat = sys::fstat(from.fd()).map_err(|e| failed(&from.path, "look at", e))?;
    if keep_owner {
        let ids = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        sys::fchown(to.fd(), Some(ids.0), Some(ids.1))
            .map_err(|e| failed(&from.path, "change", e))?;
    }
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    sys::fchmod(to.fd(), mode).map_err(|e| failed(&from.path, "change", e))
}

/// Copies a file or a symbolic link, with its owner where the image's owners are kept, its mode
/// and its time.
fn copy(from: &Place, old: &OsStr, to: &Place, new: &OsStr, keep_owner: bool) -> io::Result<()> {
    let stat = sys::statat(from.fd(), old, AtFlags::SYMLINK_NOFOLLOW)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => {
            let target = sys::readlinkat(from.fd(), old, Vec::new())?;
            sys::symlinkat(&target, to.fd(), new)?;
            if keep_owner {
                let ids = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
                let flags = AtFlags::SYMLINK_NOFOLLOW;
                sys::chownat(to.fd(), new, Some(ids.0), Some(ids.1), flags)?;
            }
            Ok(())
        }
        FileType::RegularFile => {
            let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let source = sys::openat(from.fd(), old, flags | OFlags::RDONLY, Mode::empty())?;
            let create = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
            let mode = Mode::RUSR | Mode::WUSR;
            let target = sys::openat(to.fd(), new, flags | create, mode)?;
            let (mut source, mut target) = (File::from(source), File::from(target));
            // By copy_file_range(2), which shares blocks where the file system can.
            io::copy(&mut source, &mut target)?;
            let metadata = source.metadata()?;
            if keep_owner {
                let ids = (metadata.uid(), metadata.gid());
                let ids = (Uid::from_raw(ids.0), Gid::from_raw(ids.1));
                sys::fchown(&target, Some(ids.0), Some(ids.1))?;
            }
            target.set_permissions(metadata.permissions())?;
            let time = Timespec {
                tv_sec: metadata.mtime(),
                tv_nsec: metadata.mtime_nsec(),
            };
            let times = Timestamps {
                last_access: time,
                last_modification: time,
            };
            Ok(sys::futimens(&target, &times)?)
        }
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}
