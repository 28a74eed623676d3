//! A directory tree, worked on by descriptor. No path is ever given to the kernel that has more
//! than one component, and none is followed: symbolic links are read, and resolved here, inside
//! the tree, as chroot(2) would. So nothing outside is reached, whoever swaps what meanwhile.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{self as sys, AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::Limit;
use crate::error::Exceeded;

/// As many links as the kernel follows (path_resolution(7)).
const MOST_LINKS: u64 = 40;

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// A directory inside a tree: a descriptor, and its path without any link, from the root.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    fd: Arc<OwnedFd>,
    pub(crate) path: Vec<u8>,
}

impl Place {
    /// The path of a name in this directory.
    pub(crate) fn join(&self, name: &[u8]) -> Vec<u8> {
        join(&self.path, name)
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

pub(crate) fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    let mut joined = path.to_vec();
    if !joined.is_empty() {
        joined.push(b'/');
    }
    joined.extend_from_slice(name);
    joined
}

/// Why a path was not found.
#[derive(Debug)]
pub(crate) enum Lost {
    /// This component is not there.
    Missing,
    /// This component, as a path inside, is no directory.
    NotADirectory(Vec<u8>),
    /// Too many links, or too deep.
    Limit(Exceeded),
    /// The operating system said no.
    Io(io::Error),
}

impl From<Errno> for Lost {
    fn from(errno: Errno) -> Self {
        Self::Io(errno.into())
    }
}

/// A directory that is never left.
#[derive(Debug)]
pub(crate) struct Tree {
    root: Place,
    depth: u64,
    /// What was found last, by the path that was asked for. Entries of a directory follow each
    /// other.
    last: Option<(Vec<u8>, Place)>,
    /// The directories on the way to it, each in the one before, the first in the root. The next
    /// one is often near.
    way: Vec<Place>,
}

impl Tree {
    /// The tree at `path`, which is followed like any path of the caller.
    pub(crate) fn open(path: &Path, depth: u64) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = sys::open(path, flags, Mode::empty())?;
        Ok(Self::new(fd, depth))
    }

    pub(crate) fn new(fd: OwnedFd, depth: u64) -> Self {
        let root = Place {
            fd: Arc::new(fd),
            path: Vec::new(),
        };
        Self {
            root,
            depth,
            last: None,
            way: Vec::new(),
        }
    }

    pub(crate) fn root(&self) -> &Place {
        &self.root
    }

    /// The directory that `path` names, components separated by `/`. What is missing on the way
    /// is made if `make`. `..` in links goes up, at the root nowhere.
    pub(crate) fn directory(&mut self, path: &[u8], make: bool) -> Result<Place, Lost> {
        if let Some((asked, place)) = &self.last
            && asked == path
        {
            return Ok(place.clone());
        }
        let place = self.walk(path, make)?;
        self.last = Some((path.to_vec(), place.clone()));
        Ok(place)
    }

    /// As [`directory`](Self::directory), from the deepest directory on the last way that is on
    /// this one too. No link is on that way, so the names alone tell.
    fn walk(&mut self, path: &[u8], make: bool) -> Result<Place, Lost> {
        let mut stack = std::mem::take(&mut self.way);
        let names = components(path);
        let common = names.zip(&stack).take_while(|(name, place)| {
            let own = place.path.rsplit(|b| *b == b'/').next();
            own == Some(name)
        });
        let common = common.count();
        stack.truncate(common);
        let names = components(path).skip(common);
        let mut todo: VecDeque<Vec<u8>> = names.map(<[u8]>::to_vec).collect();
        let mut links = 0;
        while let Some(name) = todo.pop_front() {
            if name == b".." {
                stack.pop();
                continue;
            }
            let at = stack.last().unwrap_or(&self.root);
            match self.step(at, &name, make)? {
                Step::Into(place) => {
                    if stack.len() as u64 >= self.depth {
                        return Err(Lost::Limit(Exceeded {
                            limit: Limit::Depth,
                            allowed: self.depth,
                        }));
                    }
                    stack.push(place);
                }
                Step::Link(target) => {
                    links += 1;
                    if links > MOST_LINKS {
                        return Err(Lost::Limit(Exceeded {
                            limit: Limit::Links,
                            allowed: MOST_LINKS,
                        }));
                    }
                    if target.starts_with(b"/") {
                        stack.clear();
                    }
                    for component in components(&target).rev() {
                        todo.push_front(component.to_vec());
                    }
                }
            }
        }
        let place = stack.last().unwrap_or(&self.root).clone();
        self.way = stack;
        Ok(place)
    }

    fn step(&self, at: &Place, name: &[u8], make: bool) -> Result<Step, Lost> {
        let os = OsStr::from_bytes(name);
        match open_directory(at.fd(), os) {
            Ok(fd) => return Ok(Step::Into(at.below(name, fd))),
            Err(Errno::NOENT) if make => {
                match sys::mkdirat(at.fd(), os, Mode::RWXU) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(errno) => return Err(errno.into()),
                }
                let fd = open_directory(at.fd(), os)?;
                // Made with no permission for others, so that the umask does not count.
                sys::fchmod(&fd, Mode::from_raw_mode(0o755))?;
                return Ok(Step::Into(at.below(name, fd)));
            }
            Err(Errno::NOENT) => return Err(Lost::Missing),
            // A link: Linux says the first where a directory is asked for, and other systems
            // the others. The first means anything else that is no directory, too.
            Err(Errno::NOTDIR | Errno::LOOP | Errno::MLINK) => {}
            Err(errno) => return Err(errno.into()),
        }
        match sys::readlinkat(at.fd(), os, Vec::new()) {
            Ok(target) => Ok(Step::Link(target.into_bytes())),
            Err(Errno::INVAL) => Err(Lost::NotADirectory(at.join(name))),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Forgets what was found: to be called when something that might be on the way to it is
    /// taken away.
    pub(crate) fn forget(&mut self) {
        self.last = None;
        self.way.clear();
    }

    /// The file at `path`, links inside the tree followed, for reading. `None` if there is none;
    /// an error if it is no plain file.
    pub(crate) fn file(&mut self, path: &[u8]) -> Result<Option<File>, Lost> {
        let mut path = path.to_vec();
        for _ in 0..=MOST_LINKS {
            let (parent, name) = split(&path);
            let place = match self.directory(&parent, false) {
                Ok(place) => place,
                Err(Lost::Missing) => return Ok(None),
                Err(lost) => return Err(lost),
            };
            let os = OsStr::from_bytes(&name);
            match sys::readlinkat(place.fd(), os, Vec::new()) {
                Ok(target) => {
                    let target = target.into_bytes();
                    path = if target.starts_with(b"/") {
                        target
                    } else {
                        place.join(&target)
                    };
                    continue;
                }
                Err(Errno::INVAL) => {}
                Err(Errno::NOENT) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            }
            // Not blocking: a fifo has no writer.
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
            let fd = sys::openat(place.fd(), os, flags, Mode::empty())?;
            if !is(&sys::fstat(&fd)?, FileType::RegularFile) {
                return Err(Lost::Io(io::Error::other("it is no plain file")));
            }
            return Ok(Some(File::from(fd)));
        }
        Err(Lost::Limit(Exceeded {
            limit: Limit::Links,
            allowed: MOST_LINKS,
        }))
    }
}

enum Step {
    Into(Place),
    Link(Vec<u8>),
}

impl Place {
    pub(crate) fn below(&self, name: &[u8], fd: OwnedFd) -> Self {
        Self {
            fd: Arc::new(fd),
            path: self.join(name),
        }
    }

    /// The directory `name` in this one, which is no link.
    pub(crate) fn enter(&self, name: &[u8]) -> io::Result<Self> {
        let fd = open_directory(self.fd(), OsStr::from_bytes(name))?;
        Ok(self.below(name, fd))
    }

    /// The names in this directory, and whether each is a directory.
    pub(crate) fn list(&self) -> io::Result<Vec<(Vec<u8>, bool)>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(self.fd())? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let directory = match entry.file_type() {
                FileType::Directory => true,
                // Some file systems do not say.
                FileType::Unknown => {
                    let stat = sys::statat(self.fd(), name, AtFlags::SYMLINK_NOFOLLOW)?;
                    is(&stat, FileType::Directory)
                }
                _ => false,
            };
            names.push((name.to_bytes().to_vec(), directory));
        }
        Ok(names)
    }

    /// What is at `name`, not following it; `None` for nothing.
    pub(crate) fn kind(&self, name: &[u8]) -> io::Result<Option<FileType>> {
        match sys::statat(
            self.fd(),
            OsStr::from_bytes(name),
            AtFlags::SYMLINK_NOFOLLOW,
        ) {
            Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Removes `name` and everything below it, if it is there.
    pub(crate) fn remove(&self, name: &[u8]) -> io::Result<()> {
        let os = OsStr::from_bytes(name);
        match sys::unlinkat(self.fd(), os, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            // A directory: Linux says the first, POSIX the second.
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(errno) => return Err(errno.into()),
        }
        let fd = match open_directory(self.fd(), os) {
            Ok(fd) => fd,
            // A directory that its owner may not read is made readable first, by name, which
            // would follow a link. While a tree is unpacked there is no such directory; when it is
            // complete, it is removed in the cache alone, where nobody else can put a link.
            Err(Errno::ACCESS) => {
                sys::chmodat(self.fd(), os, Mode::RWXU, AtFlags::empty())?;
                open_directory(self.fd(), os)?
            }
            Err(errno) => return Err(errno.into()),
        };
        let place = self.below(name, fd);
        if sys::fstat(&*place.fd)?.st_mode & 0o700 != 0o700 {
            sys::fchmod(&*place.fd, Mode::RWXU)?;
        }
        place.empty()?;
        Ok(sys::unlinkat(self.fd(), os, AtFlags::REMOVEDIR)?)
    }

    /// Removes everything in this directory.
    pub(crate) fn empty(&self) -> io::Result<()> {
        for (name, _) in self.list()? {
            self.remove(&name)?;
        }
        Ok(())
    }
}

fn open_directory(at: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    sys::openat(at, name, DIRECTORY, Mode::empty())
}

fn is(stat: &sys::Stat, kind: FileType) -> bool {
    FileType::from_raw_mode(stat.st_mode) == kind
}

/// The components of a path, without those that say nothing.
pub(crate) fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|b| *b == b'/')
        .filter(|name| !name.is_empty() && *name != b".")
}

/// The directory and the name of a path.
pub(crate) fn split(path: &[u8]) -> (Vec<u8>, Vec<u8>) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(at) => (path[..at].to_vec(), path[at + 1..].to_vec()),
        None => (Vec::new(), path.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// The path that was found, or what kept it from being found.
    fn found(tree: &mut Tree, path: &str) -> String {
        let place = tree.directory(path.as_bytes(), false);
        place.map_or_else(
            |lost| format!("{lost:?}"),
            |place| String::from_utf8_lossy(&place.path).into_owned(),
        )
    }

    #[test]
    fn what_was_found_before_makes_no_difference() {
        let dir = tempfile::tempdir().unwrap();
        let here = dir.path();
        fs::create_dir_all(here.join("a/b/c/d")).unwrap();
        fs::create_dir_all(here.join("x/b")).unwrap();
        fs::write(here.join("a/file"), "").unwrap();
        for (name, target) in [
            ("l", "a/b"),
            ("a/up", "../../../x"),
            ("a/b/round", "../../x/b"),
            ("x/top", "/a"),
            ("loop", "loop"),
        ] {
            symlink(target, here.join(name)).unwrap();
        }
        let paths = "a a/b a/b/c a/b/c/d x x/b l l/c a/up a/up/b a/b/round x/top/b l/../x \
                     loop a/file a/none a//b/./c"
            .split_whitespace();
        let paths: Vec<&str> = paths.chain([""]).collect();
        let fresh = || Tree::open(here, 3).unwrap();
        assert_eq!(found(&mut fresh(), "l/c"), "a/b/c");
        assert_eq!(found(&mut fresh(), "a/up/b"), "x/b");
        assert!(found(&mut fresh(), "a/b/c/d").starts_with("Limit"));
        let mut used = fresh();
        for first in &paths {
            for second in &paths {
                for path in [first, second] {
                    let alone = found(&mut fresh(), path);
                    assert_eq!(found(&mut used, path), alone, "{first} {second}");
                }
            }
        }
    }

    #[test]
    fn what_is_forgotten_is_looked_for_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut tree = Tree::open(dir.path(), 10).unwrap();
        let above = tree.directory(b"a", true).unwrap();
        tree.directory(b"a/b/c", true).unwrap();
        above.remove(b"b").unwrap();
        tree.forget();
        assert_eq!(found(&mut tree, "a/b/c"), "Missing");
        tree.directory(b"a/b/d", true).unwrap();
        assert!(dir.path().join("a/b/d").is_dir());
    }
}
