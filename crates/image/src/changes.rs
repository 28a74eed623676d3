//! What a command changed of a root that had a layer of overlayfs over it, and how that is put
//! onto a directory.
//!
//! A layer is a directory with what is new (kernel documentation, Documentation/filesystems/
//! overlayfs.rst). What is gone is a character device 0/0 in its place, and a directory that hides
//! the one below it has an attribute. Where the layer was written by whoever had no privilege, the
//! attribute is in the user's name space.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{
    self as sys, AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid,
};
use rustix::io::Errno;
use xattr::FileExt as _;

use crate::error::{EntryProblem, Error};
use crate::tarball;
use crate::tree::{Place, Tree, components};

/// Marks what overlayfs notes for itself.
const OWN_ATTRIBUTES: &[u8] = b"user.overlay.";
const OPAQUE: &str = "user.overlay.opaque";

/// Something that is otherwise than it was.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// Where, without a leading slash; empty for the root itself.
    pub path: PathBuf,
    /// How.
    pub kind: ChangeKind,
}

/// How something is otherwise than it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChangeKind {
    /// It was not there.
    Added,
    /// Its content, kind, permissions, owner or time is another.
    Modified,
    /// It is not there any more, nor is what was in it, which is not listed.
    Deleted,
}

impl ChangeKind {
    /// The word for it: `added`, `modified` or `deleted`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Modified => "modified",
            Self::Deleted => "deleted",
        }
    }
}

/// A layer of overlayfs that was written by a sandbox.
#[derive(Debug)]
pub struct Changes {
    layer: Tree,
    list: Vec<Change>,
}

impl Changes {
    /// Looks through `layer`, the directory that took the changes, over the directory `base`.
    /// Nothing may be mounted on it any more.
    ///
    /// `made` are the paths at which something was made to mount on: where there is nothing in
    /// them, they are no change, and are removed from the layer.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Entry`].
    pub fn of(
        layer: impl AsRef<Path>,
        base: impl AsRef<Path>,
        made: impl IntoIterator<Item = PathBuf>,
    ) -> Result<Self, Error> {
        let (layer, base) = (open(layer.as_ref())?, open(base.as_ref())?);
        let made = made.into_iter();
        let mut looking = Looking {
            made: made.map(|path| relative(&path)).collect(),
            list: Vec::new(),
        };
        let mut restore = Restore::default();
        let top = (layer.root().clone(), Some(base.root().clone()));
        looking.directory(&top.0, top.1.as_ref(), &mut restore)?;
        looking.list.sort();
        Ok(Self {
            layer,
            list: looking.list,
        })
    }

    /// The changes, sorted by their paths.
    #[must_use]
    pub fn list(&self) -> &[Change] {
        &self.list
    }

    /// Puts the changes onto `target`, a directory like the one that they were made over.
    /// Symbolic links in it are replaced, and never followed. Each file, and each directory that
    /// is new or takes the place of another, appears whole under its name, by being renamed; all
    /// changes together do not. Where a directory takes the place of something, or something that
    /// of a directory, nothing is there for a moment. If this fails or is interrupted, it can be
    /// done again.
    ///
    /// Hard links become files of their own. Fifos, sockets and devices are left out. Nothing is
    /// synced.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Entry`].
    pub fn apply(&self, target: impl AsRef<Path>) -> Result<(), Error> {
        let target = open(target.as_ref())?;
        let mut restore = Restore::default();
        merge(self.layer.root(), target.root(), &mut restore)
    }
}

fn open(path: &Path) -> Result<Tree, Error> {
    Tree::open(path, u64::MAX).map_err(|e| Error::io("open", path, e))
}

fn relative(path: &Path) -> Vec<u8> {
    let names: Vec<&[u8]> = components(path.as_os_str().as_bytes()).collect();
    names.join(&b'/')
}

fn failed<'a>(path: &'a [u8], step: &'static str) -> impl Fn(Errno) -> Error + use<'a> {
    move |errno| failure(path, step, errno.into())
}

fn failure(path: &[u8], step: &'static str, source: io::Error) -> Error {
    Error::Entry {
        entry: tarball::path(path),
        problem: EntryProblem::Io { step, source },
    }
}

/// The directories of the layer that were made readable, to be as they were again.
#[derive(Default)]
struct Restore(Vec<(Place, Mode)>);

impl Drop for Restore {
    fn drop(&mut self) {
        while let Some((place, mode)) = self.0.pop() {
            // Whoever could change it can change it back.
            let _ = sys::fchmod(place.fd(), mode);
        }
    }
}

fn stat(place: &Place, name: &[u8]) -> Result<Option<Stat>, Error> {
    match sys::statat(
        place.fd(),
        OsStr::from_bytes(name),
        AtFlags::SYMLINK_NOFOLLOW,
    ) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(failed(&place.join(name), "look at")(errno)),
    }
}

fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

fn mode(stat: &Stat) -> Mode {
    Mode::from_raw_mode(stat.st_mode & 0o7777)
}

fn is_whiteout(stat: &Stat) -> bool {
    kind(stat) == FileType::CharacterDevice && stat.st_rdev == 0
}

fn is_directory(stat: Option<&Stat>) -> bool {
    stat.is_some_and(|stat| kind(stat) == FileType::Directory)
}

/// A directory of the layer. A command may leave one that its owner cannot look into.
fn enter(place: &Place, name: &[u8], stat: &Stat, restore: &mut Restore) -> Result<Place, Error> {
    let path = place.join(name);
    let closed = stat.st_mode & 0o500 != 0o500;
    if closed {
        let os = OsStr::from_bytes(name);
        let open = mode(stat) | Mode::RUSR | Mode::XUSR;
        // It is a directory, and nobody but the caller is in the layer any more.
        sys::chmodat(place.fd(), os, open, AtFlags::empty()).map_err(failed(&path, "open"))?;
    }
    let below = place.enter(name).map_err(|e| failure(&path, "open", e))?;
    if closed {
        restore.0.push((below.clone(), mode(stat)));
    }
    Ok(below)
}

/// The content of a file of the layer.
fn read(place: &Place, name: &[u8], stat: &Stat) -> Result<File, Error> {
    let path = place.join(name);
    let os = OsStr::from_bytes(name);
    let closed = stat.st_mode & 0o400 == 0;
    if closed {
        let open = mode(stat) | Mode::RUSR;
        sys::chmodat(place.fd(), os, open, AtFlags::empty()).map_err(failed(&path, "open"))?;
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = sys::openat(place.fd(), os, flags, Mode::empty()).map_err(failed(&path, "open"))?;
    if closed {
        let _ = sys::fchmod(&file, mode(stat));
    }
    Ok(File::from(file))
}

fn is_opaque(place: &Place) -> Result<bool, Error> {
    let fd = place.fd().try_clone_to_owned();
    let value = fd.and_then(|fd| File::from(fd).get_xattr(OPAQUE));
    match value {
        Ok(value) => Ok(value.as_deref() == Some(b"y")),
        Err(error) if error.raw_os_error() == Some(Errno::NOTSUP.raw_os_error()) => Ok(false),
        Err(error) => Err(failure(&place.path, "read the attributes of", error)),
    }
}

fn names(place: &Place) -> Result<Vec<Vec<u8>>, Error> {
    let list = place.list().map_err(|e| failure(&place.path, "list", e))?;
    let mut names: Vec<Vec<u8>> = list.into_iter().map(|(name, _)| name).collect();
    names.sort();
    Ok(names)
}

fn below(place: Option<&Place>, name: &[u8]) -> Result<Option<Stat>, Error> {
    place.map_or(Ok(None), |place| stat(place, name))
}

struct Looking {
    made: BTreeSet<Vec<u8>>,
    list: Vec<Change>,
}

impl Looking {
    fn note(&mut self, path: &[u8], kind: ChangeKind) {
        let path = tarball::path(path);
        self.list.push(Change { path, kind });
    }

    /// What is in `layer`, over `base`, or over nothing.
    fn directory(
        &mut self,
        layer: &Place,
        base: Option<&Place>,
        restore: &mut Restore,
    ) -> Result<(), Error> {
        let there = names(layer)?;
        if let Some(base) = base
            && is_opaque(layer)?
        {
            for name in names(base)? {
                if there.binary_search(&name).is_err() {
                    self.note(&base.join(&name), ChangeKind::Deleted);
                }
            }
        }
        for name in there {
            let path = layer.join(&name);
            // What is removed meanwhile is not there.
            let Some(new) = stat(layer, &name)? else {
                continue;
            };
            let old = below(base, &name)?;
            if is_whiteout(&new) {
                if old.is_some() {
                    self.note(&path, ChangeKind::Deleted);
                }
                continue;
            }
            let seen = self.list.len();
            if kind(&new) == FileType::Directory {
                let inside = enter(layer, &name, &new, restore)?;
                let under = match (base, is_directory(old.as_ref())) {
                    (Some(base), true) => {
                        Some(base.enter(&name).map_err(|e| failure(&path, "open", e))?)
                    }
                    _ => None,
                };
                self.directory(&inside, under.as_ref(), restore)?;
            }
            let empty = self.list.len() == seen;
            match old {
                None if empty && self.made.contains(&path) && is_empty(&new) => {
                    let _ = layer.remove(&name);
                }
                None => self.note(&path, ChangeKind::Added),
                Some(old) if differs((layer, &new), (base, &old), &name)? => {
                    self.note(&path, ChangeKind::Modified);
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}

/// Whether there is nothing in it, if it is a file. A directory was looked into before.
fn is_empty(stat: &Stat) -> bool {
    match kind(stat) {
        FileType::RegularFile => stat.st_size == 0,
        other => other == FileType::Directory,
    }
}

fn differs(
    (layer, new): (&Place, &Stat),
    (base, old): (Option<&Place>, &Stat),
    name: &[u8],
) -> Result<bool, Error> {
    let about = |stat: &Stat| (stat.st_mode, stat.st_uid, stat.st_gid);
    if about(new) != about(old) {
        return Ok(true);
    }
    let time = |stat: &Stat| (stat.st_mtime, stat.st_mtime_nsec);
    match kind(new) {
        // The time of a directory follows from what is in it.
        FileType::Directory => Ok(false),
        FileType::RegularFile if new.st_size != old.st_size || time(new) != time(old) => Ok(true),
        FileType::RegularFile => {
            let Some(base) = base else { return Ok(true) };
            let os = OsStr::from_bytes(name);
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
            match sys::openat(base.fd(), os, flags, Mode::empty()) {
                Ok(old) => {
                    let same = same(read(layer, name, new)?, File::from(old));
                    same.map(|same| !same)
                        .map_err(|e| failure(&layer.join(name), "read", e))
                }
                // What cannot be compared was copied for a reason.
                Err(_) => Ok(true),
            }
        }
        FileType::Symlink => {
            let os = OsStr::from_bytes(name);
            let said = |place: &Place| {
                sys::readlinkat(place.fd(), os, Vec::new())
                    .map_err(failed(&layer.join(name), "read"))
            };
            Ok(base.map(said).transpose()? != Some(said(layer)?))
        }
        _ => Ok(time(new) != time(old)),
    }
}

fn same(mut a: File, mut b: File) -> io::Result<bool> {
    let (mut left, mut right) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let n = a.read(&mut left)?;
        if n == 0 {
            return Ok(b.read(&mut right[..1])? == 0);
        }
        let Some(right) = right.get_mut(..n) else {
            return Ok(false);
        };
        match b.read_exact(right) {
            Ok(()) if left.get(..n) == Some(&*right) => {}
            Ok(()) => return Ok(false),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(e) => return Err(e),
        }
    }
}

/// Where something is made before it gets its name. Nothing that a command makes begins so by
/// accident, and what an interrupted attempt left is replaced.
const TEMPORARY: &[u8] = b".sandboxlib-apply";
/// Where what is replaced waits for its removal.
const ASIDE: &[u8] = b".sandboxlib-apply-old";

/// Puts what is in the directory `layer` onto the directory `target`, which stays.
fn merge(layer: &Place, target: &Place, restore: &mut Restore) -> Result<(), Error> {
    for left in [TEMPORARY, ASIDE] {
        target
            .remove(left)
            .map_err(|e| failure(&target.path, "tidy up", e))?;
    }
    for name in names(layer)? {
        let path = layer.join(&name);
        let Some(new) = stat(layer, &name)? else {
            continue;
        };
        let old = stat(target, &name)?;
        if is_whiteout(&new) {
            if old.is_some() {
                take_away(target, &name)?;
            }
            continue;
        }
        if kind(&new) == FileType::Directory {
            let inside = enter(layer, &name, &new, restore)?;
            if is_directory(old.as_ref()) && !is_opaque(&inside)? {
                let below = enter(target, &name, old.as_ref().unwrap_or(&new), restore)?;
                merge(&inside, &below, restore)?;
                if let Some(old) = old
                    && differs((layer, &new), (Some(target), &old), &name)?
                {
                    // What is restored later would undo it.
                    let own = below.fd().as_raw_fd();
                    restore.0.retain(|(place, _)| place.fd().as_raw_fd() != own);
                    dress(&below, &new).map_err(failed(&path, "change"))?;
                }
                continue;
            }
            sys::mkdirat(target.fd(), OsStr::from_bytes(TEMPORARY), Mode::RWXU)
                .map_err(failed(&path, "make"))?;
            let fresh = target.enter(TEMPORARY);
            let fresh = fresh.map_err(|e| failure(&path, "make", e))?;
            merge(&inside, &fresh, restore)?;
            dress(&fresh, &new).map_err(failed(&path, "change"))?;
        } else if let Some(old) = &old
            && !differs((layer, &new), (Some(target), old), &name)?
        {
            continue;
        } else if !copy(layer, &name, &new, target)? {
            continue;
        }
        put_in_place(target, &name, old.as_ref())?;
    }
    Ok(())
}

/// Gives what was made its name. A file or link takes the place of another at once; where a
/// directory is involved, nothing is there for a moment.
fn put_in_place(target: &Place, name: &[u8], old: Option<&Stat>) -> Result<(), Error> {
    let path = target.join(name);
    let (from, to) = (OsStr::from_bytes(TEMPORARY), OsStr::from_bytes(name));
    let rename = || sys::renameat(target.fd(), from, target.fd(), to);
    match (old, rename()) {
        (_, Ok(())) => return Ok(()),
        // A directory and something else, or a directory that is not empty.
        (Some(_), Err(Errno::NOTDIR | Errno::ISDIR | Errno::NOTEMPTY | Errno::EXIST)) => {}
        (_, Err(errno)) => return Err(failed(&path, "name")(errno)),
    }
    let aside = OsStr::from_bytes(ASIDE);
    let clear = || {
        target
            .remove(ASIDE)
            .map_err(|e| failure(&path, "replace", e))
    };
    clear()?;
    sys::renameat(target.fd(), to, target.fd(), aside).map_err(failed(&path, "replace"))?;
    rename().map_err(failed(&path, "name"))?;
    clear()
}

/// Removes `name` and everything in it, which is gone at once.
fn take_away(target: &Place, name: &[u8]) -> Result<(), Error> {
    let path = target.join(name);
    let (from, to) = (OsStr::from_bytes(name), OsStr::from_bytes(TEMPORARY));
    sys::renameat(target.fd(), from, target.fd(), to).map_err(failed(&path, "remove"))?;
    target
        .remove(TEMPORARY)
        .map_err(|e| failure(&path, "remove", e))
}

/// Copies what is no directory to the temporary name; `false` for what is left out.
fn copy(layer: &Place, name: &[u8], new: &Stat, target: &Place) -> Result<bool, Error> {
    let path = layer.join(name);
    let (os, temporary) = (OsStr::from_bytes(name), OsStr::from_bytes(TEMPORARY));
    match kind(new) {
        FileType::RegularFile => {
            let mut source = read(layer, name, new)?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let made = sys::openat(target.fd(), temporary, flags, Mode::RUSR | Mode::WUSR);
            let mut made = File::from(made.map_err(failed(&path, "make"))?);
            io::copy(&mut source, &mut made).map_err(|e| failure(&path, "copy", e))?;
            attributes(&source, &made).map_err(|e| failure(&path, "copy the attributes of", e))?;
            own(&made, new).map_err(failed(&path, "change"))?;
            sys::fchmod(&made, mode(new)).map_err(failed(&path, "change"))?;
            sys::futimens(&made, &times(new)).map_err(failed(&path, "change"))?;
        }
        FileType::Symlink => {
            let said =
                sys::readlinkat(layer.fd(), os, Vec::new()).map_err(failed(&path, "read"))?;
            sys::symlinkat(&said, target.fd(), temporary).map_err(failed(&path, "make"))?;
            let (uid, gid) = (Uid::from_raw(new.st_uid), Gid::from_raw(new.st_gid));
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            unless_forbidden(sys::chownat(
                target.fd(),
                temporary,
                Some(uid),
                Some(gid),
                flags,
            ))
            .map_err(failed(&path, "change"))?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn times(stat: &Stat) -> Timestamps {
    let time = Timespec {
        tv_sec: stat.st_mtime,
        tv_nsec: nanoseconds(stat.st_mtime_nsec),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

/// Systems have a type each for the same number.
fn nanoseconds<N: TryInto<i64>>(number: N) -> i64 {
    number.try_into().unwrap_or(0)
}

/// Whoever is not root owns what it makes, and cannot give it away.
fn own(file: impl std::os::fd::AsFd, stat: &Stat) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    unless_forbidden(sys::fchown(file, Some(uid), Some(gid)))
}

fn unless_forbidden(done: Result<(), Errno>) -> Result<(), Errno> {
    match done {
        Err(Errno::PERM) if !rustix::process::geteuid().is_root() => Ok(()),
        done => done,
    }
}

fn dress(directory: &Place, like: &Stat) -> Result<(), Errno> {
    own(directory.fd(), like)?;
    sys::fchmod(directory.fd(), mode(like))?;
    sys::futimens(directory.fd(), &times(like))
}

/// Copies the user's attributes, but for what overlayfs notes in them.
fn attributes(from: &File, to: &File) -> io::Result<()> {
    let listed = match from.list_xattr() {
        Ok(listed) => listed,
        Err(error) if error.raw_os_error() == Some(Errno::NOTSUP.raw_os_error()) => return Ok(()),
        Err(error) => return Err(error),
    };
    for name in listed {
        let bytes = name.as_bytes();
        if bytes.starts_with(b"user.")
            && !bytes.starts_with(OWN_ATTRIBUTES)
            && let Some(value) = from.get_xattr(&name)?
        {
            to.set_xattr(&name, &value)?;
        }
    }
    Ok(())
}
