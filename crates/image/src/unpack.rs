//! One layer, from a tar archive into a directory.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{self as sys, AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use xattr::FileExt as _;

use crate::beside::{Pieces, beside};
use crate::compress::decompress;
use crate::digest::Algorithm;
use crate::error::{EntryProblem, Error};
use crate::owners::Ownership;
use crate::progress::Progress;
use crate::record::{DirMeta, Name, Record, Report};
use crate::tarball::{self, Entry, Kind, Segment, Source, Tar};
use crate::tree::{Lost, Place, Tree, components, join, split};
use crate::{Digest, Limit, Limits};

/// How to unpack.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnpackOptions {
    /// How much the image may ask for.
    pub limits: Limits,
    /// Who owns the files.
    pub ownership: Ownership,
    /// Whether set-user-id and set-group-id bits of files stay. They do nothing in a sandbox,
    /// whose commands cannot gain privileges, and are a way to become the owner for everybody who
    /// can reach the directory. Without this they are left out, and the report lists them.
    pub keep_set_id: bool,
    /// What is told how far it is.
    pub progress: Option<Progress>,
}

impl Default for UnpackOptions {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            ownership: Ownership::auto(),
            keep_set_id: false,
            progress: None,
        }
    }
}

/// How a layer is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Reading {
    /// The directory of the archive that is the root (`rootfs`); the archive's own without.
    pub(crate) root: Option<&'static str>,
    /// Whether names that begin with `.wh.` take something away from the layers below.
    pub(crate) whiteouts: bool,
}

/// Unpacks a tar archive, compressed or not, into an empty directory.
///
/// Nothing outside of `target` is touched, whatever the archive says: see the crate's
/// documentation for what becomes of which entry. If it fails, `target` holds what was unpacked
/// before, which is the caller's to remove.
///
/// # Errors
/// [`Error::Entry`] and [`Error::Limit`] name the entry. [`Error::NotEmpty`] if `target` has
/// something in it.
pub fn unpack(
    archive: impl Read,
    target: impl AsRef<Path>,
    options: &UnpackOptions,
) -> Result<Report, Error> {
    let mut tree = empty_tree(target.as_ref(), &options.limits)?;
    let used = Record::default();
    let mut record = unpack_layer(archive, &mut tree, Reading::default(), options, &used)?;
    finish(&mut tree, &mut record, options)?;
    Ok(record.report(&options.ownership))
}

/// The tree at `path`, made if it is not there; an error if it is not empty.
pub(crate) fn empty_tree(path: &Path, limits: &Limits) -> Result<Tree, Error> {
    match std::fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(Error::io("make", path, error));
        }
        _ => {}
    }
    let tree = Tree::open(path, limits.depth).map_err(|e| Error::io("open", path, e))?;
    let names = tree.root().list().map_err(|e| Error::io("list", path, e))?;
    if !names.is_empty() {
        let path = path.to_owned();
        return Err(Error::NotEmpty { path });
    }
    Ok(tree)
}

/// Unpacks one layer into a tree of its own. `used` says how much other layers have taken of the
/// limits. The metadata of directories is in the record, for [`finish`].
pub(crate) fn unpack_layer(
    archive: impl Read,
    tree: &mut Tree,
    reading: Reading,
    options: &UnpackOptions,
    used: &Record,
) -> Result<Record, Error> {
    Ok(unpack_rest(archive, None, tree, reading, options, used)?.0)
}

/// As [`unpack_layer`], with the digest of the archive, decompressed.
pub(crate) fn unpack_hashed(
    archive: impl Read,
    algorithm: Algorithm,
    tree: &mut Tree,
    reading: Reading,
    options: &UnpackOptions,
    used: &Record,
) -> Result<(Record, Digest), Error> {
    let (record, digest) = unpack_rest(archive, Some(algorithm), tree, reading, options, used)?;
    let digest = digest.ok_or_else(|| Error::missing("the digest of the archive"))?;
    Ok((record, digest))
}

fn unpack_rest(
    archive: impl Read,
    algorithm: Option<Algorithm>,
    tree: &mut Tree,
    reading: Reading,
    options: &UnpackOptions,
    used: &Record,
) -> Result<(Record, Option<Digest>), Error> {
    let limits = Limits {
        entries: options.limits.entries.saturating_sub(used.entries),
        names: options.limits.names.saturating_sub(used.names),
        ..options.limits.clone()
    };
    let budget = options.limits.bytes.saturating_sub(used.bytes);
    let (_, stream) =
        decompress(archive, &limits, budget).map_err(|error| Error::reading(None, error))?;
    let (record, digest) = beside(stream, algorithm, |pieces| {
        entries(pieces, &limits, tree, reading, options)
    })
    .map_err(|error| Error::io("start a thread to unpack", "the archive", error))?;
    let record = record.map_err(|error| match error {
        // What was reached is what the other layers have left of the limit.
        Error::Limit { limit, entry, .. } if limit == Limit::Bytes || limit == Limit::Names => {
            let allowed = match limit {
                Limit::Bytes => options.limits.bytes,
                _ => options.limits.names,
            };
            Error::Limit {
                limit,
                allowed,
                entry,
            }
        }
        other => other,
    })?;
    Ok((record, digest))
}

/// Unpacks the entries of an archive, and reads what follows it.
fn entries(
    archive: Pieces,
    limits: &Limits,
    tree: &mut Tree,
    reading: Reading,
    options: &UnpackOptions,
) -> Result<Record, Error> {
    let mut layer = Layer {
        tar: Tar::new(archive, limits),
        tree,
        reading,
        options,
        record: Record {
            layers: 1,
            ..Record::default()
        },
    };
    while let Some(entry) = layer.tar.next()? {
        layer.record.entries += 1;
        if layer.record.entries > limits.entries {
            return Err(layer.tar.limit(Limit::Entries, options.limits.entries));
        }
        layer.entry(entry)?;
    }
    let Layer {
        tar, mut record, ..
    } = layer;
    record.names = tar.names();
    let last = tar.current().map(Path::to_owned);
    // What follows the archive counts for its digest and its compression's checksum.
    let mut archive = tar.into_inner();
    io::copy(&mut archive, &mut io::sink())
        .map_err(|error| Error::reading(last.as_deref(), error))?;
    record.bytes = archive.position();
    Ok(record)
}

struct Layer<'a, 'l, R> {
    tar: Tar<'l, R>,
    tree: &'a mut Tree,
    reading: Reading,
    options: &'a UnpackOptions,
    record: Record,
}

impl<R: Source + BufRead> Layer<'_, '_, R> {
    fn problem(&self, problem: EntryProblem) -> Error {
        self.tar.problem(problem)
    }

    fn io(&self, step: &'static str, error: impl Into<io::Error>) -> Error {
        let source = error.into();
        self.problem(EntryProblem::Io { step, source })
    }

    fn entry(&mut self, entry: Entry) -> Result<(), Error> {
        let Some(path) = self.inside(&entry.name)? else {
            return self.beside(&entry);
        };
        self.check_length(&path)?;
        if path.is_empty() {
            return self.root(entry);
        }
        let (parent, name) = split(&path);
        if self.reading.whiteouts
            && let Some(hidden) = name.strip_prefix(b".wh.")
        {
            return self.whiteout(&parent, hidden);
        }
        if let Kind::Special(what) = entry.kind {
            // It takes the place of what was there, as it would if it were made.
            if let Some(place) = self.parent(&parent, false)? {
                self.clear(&place, &name)?;
            }
            self.record.leave_out(&path, what);
            return Ok(());
        }
        let Some(place) = self.parent(&parent, true)? else {
            return Err(self.io("make the directory of", Errno::NOENT));
        };
        let at = place.join(&name);
        match entry.kind {
            Kind::Directory => self.directory(&place, &name, at, &entry)?,
            Kind::File { size, ref segments } => {
                self.file(&place, &name, size, segments.as_deref(), &entry)?;
                self.record.owner(&at, entry.uid, entry.gid);
            }
            Kind::Symlink(ref target) => {
                self.symlink(&place, &name, target, &entry)?;
                self.record.owner(&at, entry.uid, entry.gid);
            }
            Kind::HardLink(ref target) => self.hard_link(&place, &name, at, target)?,
            Kind::Special(_) => {}
        }
        Ok(())
    }

    /// The path inside the root of a name in the archive; `None` if it is not in the root.
    fn inside(&self, name: &[u8]) -> Result<Option<Name>, Error> {
        if name.is_empty() {
            return Err(self.problem(EntryProblem::EmptyName));
        }
        if name.contains(&0) {
            return Err(self.problem(EntryProblem::Nul));
        }
        let mut parts: Vec<&[u8]> = components(name).collect();
        if parts.contains(&&b".."[..]) {
            return Err(self.problem(EntryProblem::ParentDir));
        }
        if let Some(root) = self.reading.root {
            if parts.first() != Some(&root.as_bytes()) {
                return Ok(None);
            }
            parts.remove(0);
        }
        Ok(Some(parts.join(&b'/')))
    }

    /// An entry of an App Container image that is not in its root.
    fn beside(&mut self, entry: &Entry) -> Result<(), Error> {
        let manifest = components(&entry.name).eq([&b"manifest"[..]]);
        let top = components(&entry.name).next().is_none();
        if !manifest && !top {
            self.record
                .leave_out(&entry.name, "not in the root of the image");
        }
        Ok(())
    }

    fn check_length(&self, path: &[u8]) -> Result<(), Error> {
        let limits = &self.options.limits;
        let fits = |n: usize, limit, allowed| {
            let fine = n as u64 <= allowed;
            fine.then_some(())
                .ok_or_else(|| self.tar.limit(limit, allowed))
        };
        fits(path.len(), Limit::Path, limits.path)?;
        fits(components(path).count(), Limit::Depth, limits.depth)?;
        let longest = components(path).map(<[u8]>::len).max();
        fits(longest.unwrap_or(0), Limit::Name, limits.name)
    }

    /// The entry of the root itself.
    fn root(&mut self, entry: Entry) -> Result<(), Error> {
        if entry.kind != Kind::Directory {
            return Err(self.problem(EntryProblem::ReplacesRoot));
        }
        self.note_directory(Vec::new(), &entry);
        Ok(())
    }

    fn whiteout(&mut self, parent: &[u8], hidden: &[u8]) -> Result<(), Error> {
        match hidden {
            b"" => return Err(self.problem(EntryProblem::EmptyWhiteout)),
            b"." | b".." => return Err(self.problem(EntryProblem::ParentDir)),
            b".wh..opq" => {
                self.record.opaque.insert(parent.to_vec());
            }
            _ if hidden.starts_with(b".wh.") => {
                let path = join(parent, &[b".wh.", hidden].concat());
                self.record.leave_out(&path, "metadata of aufs");
            }
            _ => {
                self.record.whiteouts.insert(join(parent, hidden));
            }
        }
        Ok(())
    }

    /// The directory for an entry; `None` if it is not there and not to be made.
    fn parent(&mut self, path: &[u8], make: bool) -> Result<Option<Place>, Error> {
        match self.tree.directory(path, make) {
            Ok(place) => Ok(Some(place)),
            Err(Lost::Missing) => Ok(None),
            Err(lost) => Err(self.lost(lost)),
        }
    }

    fn lost(&self, lost: Lost) -> Error {
        match lost {
            Lost::Missing => self.io("find the directory of", Errno::NOENT),
            Lost::NotADirectory(path) => {
                self.problem(EntryProblem::NotADirectory(tarball::path(&path)))
            }
            Lost::Limit(exceeded) => self.tar.limit(exceeded.limit, exceeded.allowed),
            Lost::Io(error) => self.io("find the directory of", error),
        }
    }

    /// Takes away what is at `name`, for something else.
    fn clear(&mut self, place: &Place, name: &[u8]) -> Result<(), Error> {
        place
            .remove(name)
            .map_err(|error| self.io("replace", error))?;
        self.record.forget(&place.join(name));
        self.tree.forget();
        Ok(())
    }

    /// Makes something that must not be there yet; if it is, it is replaced: a later entry of the
    /// same name counts.
    fn make<T>(
        &mut self,
        place: &Place,
        name: &[u8],
        step: &'static str,
        make: impl Fn(BorrowedFd<'_>, &OsStr) -> Result<T, Errno>,
    ) -> Result<T, Error> {
        let os = OsStr::from_bytes(name);
        // A hard link that waits for the layers below takes the name too.
        self.record.links.remove(&place.join(name));
        match make(place.fd(), os) {
            Err(Errno::EXIST) => {
                self.clear(place, name)?;
                make(place.fd(), os).map_err(|errno| self.io(step, errno))
            }
            other => other.map_err(|errno| self.io(step, errno)),
        }
    }

    fn directory(
        &mut self,
        place: &Place,
        name: &[u8],
        at: Name,
        entry: &Entry,
    ) -> Result<(), Error> {
        // Whatever the umask, this much is needed to fill it.
        let make = |fd: BorrowedFd<'_>, name: &OsStr| sys::mkdirat(fd, name, Mode::RWXU);
        match make(place.fd(), OsStr::from_bytes(name)) {
            // A directory that is there stays.
            Err(Errno::EXIST) => {
                let there = place.kind(name).map_err(|e| self.io("look at", e))?;
                if there != Some(FileType::Directory) {
                    self.make(place, name, "make", make)?;
                }
            }
            made => made.map_err(|errno| self.io("make", errno))?,
        }
        // A hard link that waits for the layers below takes the name too.
        self.record.links.remove(&at);
        self.note_directory(at, entry);
        Ok(())
    }

    fn note_directory(&mut self, at: Name, entry: &Entry) {
        self.record.owner(&at, entry.uid, entry.gid);
        let xattrs = self.harmless_xattrs(&at, &entry.xattrs);
        let meta = DirMeta {
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime,
            xattrs,
        };
        self.record.directories.insert(at, meta);
    }

    fn file(
        &mut self,
        place: &Place,
        name: &[u8],
        size: u64,
        segments: Option<&[Segment]>,
        entry: &Entry,
    ) -> Result<(), Error> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let fd = self.make(place, name, "make", |fd, name| {
            sys::openat(fd, name, flags | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR)
        })?;
        let mut file = File::from(fd);
        match segments {
            None => self.copy(&mut file, size)?,
            Some(segments) => {
                file.set_len(size).map_err(|e| self.io("write", e))?;
                for segment in segments {
                    file.seek(SeekFrom::Start(segment.offset))
                        .map_err(|e| self.io("write", e))?;
                    self.copy(&mut file, segment.length)?;
                }
            }
        }
        let at = place.join(name);
        let xattrs = self.harmless_xattrs(&at, &entry.xattrs);
        for (name, value) in xattrs {
            if let Err(error) = file.set_xattr(OsStr::from_bytes(&name), &value) {
                self.no_xattr(&at, &name, error)?;
            }
        }
        let mode = self.harmless_mode(&at, entry.mode);
        set_metadata(file.as_fd(), entry.owner(), mode, entry.mtime, self.options)
            .map_err(|(step, error)| self.io(step, error))
    }

    fn copy(&mut self, file: &mut File, length: u64) -> Result<(), Error> {
        let mut left = length;
        while left > 0 {
            let piece = self.tar.data()?;
            let most = usize::try_from(left).unwrap_or(usize::MAX);
            let piece = &piece[..most.min(piece.len())];
            if piece.is_empty() {
                return Err(self.io("read", io::ErrorKind::UnexpectedEof));
            }
            let n = piece.len();
            file.write_all(piece).map_err(|e| self.io("write", e))?;
            self.tar.take_data(n);
            left -= n as u64;
        }
        Ok(())
    }

    /// The mode without what would give a stranger the owner's rights.
    fn harmless_mode(&mut self, at: &[u8], mode: u32) -> u32 {
        if self.options.keep_set_id {
            return mode;
        }
        for (bit, what) in [
            (0o4000, "the set-user-id bit"),
            (0o2000, "the set-group-id bit"),
        ] {
            if mode & bit != 0 {
                self.record.leave_out(at, what);
            }
        }
        mode & !0o6000
    }

    /// The extended attributes that say something to users alone. Those that the kernel acts upon
    /// (capabilities of files, labels, what overlayfs takes for its own) are left out.
    fn harmless_xattrs(&mut self, at: &[u8], xattrs: &[(Name, Vec<u8>)]) -> Vec<(Name, Vec<u8>)> {
        let (kept, left) = xattrs.iter().cloned().partition::<Vec<_>, _>(|(name, _)| {
            name.starts_with(b"user.") && !name.starts_with(b"user.overlay.") && !name.contains(&0)
        });
        for (name, _) in left {
            self.record.leave_out(at, attribute(&name));
        }
        kept
    }

    /// An attribute that the file system does not take is left out.
    fn no_xattr(&mut self, at: &[u8], name: &[u8], error: io::Error) -> Result<(), Error> {
        if !is_refused(&error) {
            return Err(self.io("set an attribute of", error));
        }
        self.record.leave_out(at, attribute(name));
        Ok(())
    }

    fn symlink(
        &mut self,
        place: &Place,
        name: &[u8],
        target: &[u8],
        entry: &Entry,
    ) -> Result<(), Error> {
        if target.is_empty() {
            return Err(self.problem(EntryProblem::EmptyLink));
        }
        if target.contains(&0) {
            return Err(self.problem(EntryProblem::Nul));
        }
        if target.len() as u64 > self.options.limits.path {
            return Err(self.tar.limit(Limit::Path, self.options.limits.path));
        }
        let os = OsStr::from_bytes(name);
        self.make(place, name, "make", |fd, name| {
            sys::symlinkat(OsStr::from_bytes(target), fd, name)
        })?;
        if let Some((uid, gid)) = self.options.ownership.of(entry.uid, entry.gid) {
            sys::chownat(
                place.fd(),
                os,
                Some(Uid::from_raw(uid)),
                Some(Gid::from_raw(gid)),
                AtFlags::SYMLINK_NOFOLLOW,
            )
            .map_err(|e| self.io("change the owner of", e))?;
        }
        sys::utimensat(
            place.fd(),
            os,
            &times(entry.mtime),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .map_err(|e| self.io("set the time of", e))
    }

    fn hard_link(
        &mut self,
        place: &Place,
        name: &[u8],
        at: Name,
        target: &[u8],
    ) -> Result<(), Error> {
        let said = tarball::path(target);
        if target.is_empty() {
            return Err(self.problem(EntryProblem::EmptyLink));
        }
        let target = match self.inside(target) {
            Ok(Some(target)) if !target.is_empty() => target,
            Ok(Some(_)) => return Err(self.problem(EntryProblem::LinkToDirectory(said))),
            Ok(None)
            | Err(Error::Entry {
                problem: EntryProblem::ParentDir,
                ..
            }) => return Err(self.problem(EntryProblem::LinkOutside(said))),
            Err(error) => return Err(error),
        };
        let found = self.link_target(&target)?;
        let Some((from, from_name, kind)) = found else {
            if !self.reading.whiteouts {
                return Err(self.problem(EntryProblem::LinkMissing(said)));
            }
            // The layers below may have it.
            self.clear(place, name)?;
            self.record.links.insert(at, target);
            return Ok(());
        };
        if kind == FileType::Directory {
            return Err(self.problem(EntryProblem::LinkToDirectory(said)));
        }
        let from_path = from.join(&from_name);
        if from_path == at {
            // A link to itself changes nothing; making room for it would take it away.
            return Ok(());
        }
        if from_path.starts_with(&join(&at, b"")) {
            return Err(self.problem(EntryProblem::LinkReplacesTarget(said)));
        }
        self.make(place, name, "link", |fd, name| {
            let old = OsStr::from_bytes(&from_name);
            sys::linkat(from.fd(), old, fd, name, AtFlags::empty())
        })?;
        match self.record.owners.get(&from_path).copied() {
            Some((uid, gid)) => self.record.owner(&at, uid, gid),
            None => self.record.owner(&at, 0, 0),
        }
        Ok(())
    }

    /// What a hard link is to: it exists, and links are followed on the way but not at its end.
    fn link_target(&mut self, target: &[u8]) -> Result<Option<(Place, Name, FileType)>, Error> {
        let (parent, name) = split(target);
        let place = match self.tree.directory(&parent, false) {
            Ok(place) => place,
            Err(Lost::Missing) => return Ok(None),
            Err(lost) => return Err(self.lost(lost)),
        };
        let kind = place.kind(&name).map_err(|e| self.io("look at", e))?;
        Ok(kind.map(|kind| (place, name, kind)))
    }
}

impl Entry {
    fn owner(&self) -> (u32, u32) {
        (self.uid, self.gid)
    }
}

fn attribute(name: &[u8]) -> String {
    format!("the attribute {}", String::from_utf8_lossy(name))
}

/// Whether an attribute is one that this file system does not take.
fn is_refused(error: &io::Error) -> bool {
    // ERANGE and E2BIG: too long for any file system; ENOSPC: for this one (ext4 has one block
    // for all attributes of a file). EPERM: not for this kind of file.
    let refused = [
        Errno::NOTSUP,
        Errno::RANGE,
        Errno::TOOBIG,
        Errno::NOSPC,
        Errno::PERM,
    ];
    let number = error.raw_os_error();
    refused.iter().any(|e| number == Some(e.raw_os_error()))
}

fn times(seconds: i64) -> Timestamps {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: 0,
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

type Step = (&'static str, Errno);

fn set_metadata(
    fd: BorrowedFd<'_>,
    (uid, gid): (u32, u32),
    mode: u32,
    mtime: i64,
    options: &UnpackOptions,
) -> Result<(), Step> {
    let mut allowed = 0o7777;
    if let Some(given) = options.ownership.of(uid, gid) {
        let ids = (Uid::from_raw(given.0), Gid::from_raw(given.1));
        // Before the mode: it takes the set-id bits away.
        sys::fchown(fd, Some(ids.0), Some(ids.1))
            .map_err(|errno| ("change the owner of", errno))?;
        if given != (uid, gid) {
            // Nobody is to become root because another was not there.
            allowed = 0o1777;
        }
    }
    let bits = sys::RawMode::try_from(mode & allowed).unwrap_or(0);
    sys::fchmod(fd, Mode::from_raw_mode(bits)).map_err(|errno| ("set the mode of", errno))?;
    sys::futimens(fd, &times(mtime)).map_err(|errno| ("set the time of", errno))
}

/// Gives each directory what the image says, from the innermost outwards: one that cannot be
/// entered any more has been filled.
pub(crate) fn finish(
    tree: &mut Tree,
    record: &mut Record,
    options: &UnpackOptions,
) -> Result<(), Error> {
    let problem = |path: &[u8], step, source: io::Error| Error::Entry {
        entry: tarball::path(path),
        problem: EntryProblem::Io { step, source },
    };
    for (path, meta) in record.directories.iter().rev() {
        let place = match tree.directory(path, false) {
            Ok(place) => place,
            Err(Lost::Io(error)) => return Err(problem(path, "open", error)),
            // Taken away by an entry that came later, on another way.
            Err(_) => continue,
        };
        for (name, value) in &meta.xattrs {
            let fd = place.fd().try_clone_to_owned();
            let file = File::from(fd.map_err(|e| problem(path, "open", e))?);
            match file.set_xattr(OsStr::from_bytes(name), value) {
                Err(error) if is_refused(&error) => {
                    record.left_out.push((path.clone(), attribute(name)));
                }
                other => other.map_err(|e| problem(path, "set an attribute of", e))?,
            }
        }
        set_metadata(
            place.fd(),
            (meta.uid, meta.gid),
            meta.mode,
            meta.mtime,
            options,
        )
        .map_err(|(step, errno)| problem(path, step, errno.into()))?;
    }
    tree.forget();
    Ok(())
}

/// Removes a tree that was unpacked, whatever the modes in it.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let parent = if parent.as_os_str().is_empty() {
        PathBuf::from(".")
    } else {
        parent.to_owned()
    };
    let tree = Tree::open(&parent, u64::MAX)?;
    tree.root().remove(name.as_bytes())
}
