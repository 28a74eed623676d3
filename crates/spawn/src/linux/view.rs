//! The host's files as the planner sees them: below the root and the sources of binds by
//! descriptor, so that whoever swaps a directory for a link while a plan is made cannot have it
//! look elsewhere.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2, readlinkat};
use nix::sys::stat::{FileStat, SFlag, fstatat};
use sandboxlib_config::{Config, MountKind, Root};
use sandboxlib_mount::{Entry, EntryKind, FsView, HostFs};

use super::sockets;

/// A view of this host for the planning of one configuration.
///
/// Inside the trees that the configuration shows, a path is looked up from the tree's own root
/// and no symbolic link is followed (openat2(2), `RESOLVE_BENEATH` and `RESOLVE_NO_SYMLINKS`):
/// the planner follows links itself, inside the sandbox, so one that is met here has been put
/// there a moment ago, and is an error.
#[derive(Debug)]
pub struct HostView {
    /// The roots of the trees, opened when something in them is first looked up.
    trees: RefCell<HashMap<PathBuf, Option<Rc<OwnedFd>>>>,
}

impl HostView {
    /// A view for planning `config`.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let root = match &config.root {
            Root::Dir(path) => path.clone(),
            _ => "/".into(),
        };
        let sources = config.mounts.iter().filter_map(|mount| match &mount.kind {
            MountKind::Bind { source, .. } => Some(source.clone()),
            _ => None,
        });
        let trees = sources.chain([root]).map(|path| (path, None)).collect();
        Self {
            trees: RefCell::new(trees),
        }
    }

    /// The root of the innermost tree that `path` is in, and the rest of the path; nothing if it
    /// is in none, or is a root itself.
    fn tree_of<'p>(&self, path: &'p Path) -> io::Result<Option<(Rc<OwnedFd>, &'p Path)>> {
        let mut trees = self.trees.borrow_mut();
        for ancestor in path.ancestors() {
            let Some(opened) = trees.get_mut(ancestor) else {
                continue;
            };
            let rest = path.strip_prefix(ancestor).unwrap_or(path);
            if rest.as_os_str().is_empty() {
                return Ok(None);
            }
            let fd = match opened {
                Some(fd) => fd.clone(),
                None => {
                    let flags = libc::O_PATH | libc::O_CLOEXEC;
                    let file = OpenOptions::new()
                        .read(true)
                        .custom_flags(flags)
                        .open(ancestor)?;
                    let fd = Rc::new(OwnedFd::from(file));
                    *opened = Some(fd.clone());
                    fd
                }
            };
            return Ok(Some((fd, rest)));
        }
        Ok(None)
    }
}

fn beneath(root: BorrowedFd<'_>, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
    let resolve = ResolveFlag::RESOLVE_BENEATH
        | ResolveFlag::RESOLVE_NO_SYMLINKS
        | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    openat2(
        root,
        path,
        OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            .resolve(resolve),
    )
}

/// What `name` in the directory `dir` is; what the descriptor itself refers to if it is empty.
fn describe(dir: BorrowedFd<'_>, name: &Path) -> nix::Result<Entry> {
    let flags = AtFlags::AT_SYMLINK_NOFOLLOW | AtFlags::AT_EMPTY_PATH;
    let stat: FileStat = fstatat(dir, name, flags)?;
    let kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
    Ok(if kind == SFlag::S_IFLNK {
        Entry {
            kind: EntryKind::Symlink(readlinkat(dir, name)?),
            mode: 0,
        }
    } else {
        let kind = if kind == SFlag::S_IFDIR {
            EntryKind::Dir
        } else {
            EntryKind::File
        };
        Entry {
            kind,
            mode: stat.st_mode & 0o7777,
        }
    })
}

fn none_if_missing<T>(result: nix::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

impl FsView for HostView {
    fn entry(&self, path: &Path) -> io::Result<Option<Entry>> {
        let Some((root, rest)) = self.tree_of(path)? else {
            return HostFs.entry(path);
        };
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW;
        let found =
            beneath(root.as_fd(), rest, flags).and_then(|fd| describe(fd.as_fd(), Path::new("")));
        none_if_missing(found)
    }

    fn entry_following(&self, path: &Path) -> io::Result<Option<Entry>> {
        // Asked of the root and the sources themselves, which mean what they mean to the caller.
        HostFs.entry_following(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<(OsString, Entry)>> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        let directory: OwnedFd = match self.tree_of(path)? {
            Some((root, rest)) => beneath(root.as_fd(), rest, flags)?,
            None => File::open(path)?.into(),
        };
        let mut dir = Dir::from_fd(directory)?;
        let mut names = Vec::new();
        for item in dir.iter() {
            let name = item?.file_name().to_owned();
            if !matches!(name.to_bytes(), b"." | b"..") {
                names.push(os_string(name));
            }
        }
        let mut found = Vec::with_capacity(names.len());
        for name in names {
            if let Some(entry) = none_if_missing(describe(dir.as_fd(), Path::new(&name)))? {
                found.push((name, entry));
            }
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
    }

    fn mounts(&self) -> io::Result<Vec<PathBuf>> {
        let text = std::fs::read("/proc/self/mountinfo")?;
        let mounts = super::diagnose::mountinfo(&text).into_iter();
        let path = |point: &[u8]| PathBuf::from(OsString::from_vec(point.to_vec()));
        Ok(mounts.map(|mount| path(&mount.point)).collect())
    }

    fn sockets(&self) -> io::Result<Vec<PathBuf>> {
        sockets::bound()
    }
}

fn os_string(name: std::ffi::CString) -> OsString {
    std::os::unix::ffi::OsStringExt::from_vec(name.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(root: &Path) -> HostView {
        HostView::new(&Config::new(Root::Dir(root.into())))
    }

    #[test]
    fn it_agrees_with_the_plain_view_where_nobody_interferes() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::write(root.join("a/file"), "x").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", root.join("a/link")).unwrap();
        std::os::unix::fs::symlink("nowhere", root.join("a/dangling")).unwrap();
        let view = view(&root);
        for path in [
            "",
            "a",
            "a/b",
            "a/file",
            "a/link",
            "a/dangling",
            "none",
            "a/file/below",
        ] {
            let path = root.join(path);
            assert_eq!(
                view.entry(&path).unwrap(),
                HostFs.entry(&path).unwrap(),
                "{path:?}"
            );
        }
        for path in ["", "a", "a/b"] {
            let path = root.join(path);
            assert_eq!(
                view.list(&path).unwrap(),
                HostFs.list(&path).unwrap(),
                "{path:?}"
            );
        }
        let outside = dir.path().join("elsewhere");
        assert_eq!(view.entry(&outside).unwrap(), None);
    }

    #[test]
    fn a_link_that_was_a_directory_leads_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
        std::fs::create_dir(&root).unwrap();
        std::fs::create_dir_all(outside.join("secret")).unwrap();
        std::os::unix::fs::symlink(&outside, root.join("swapped")).unwrap();
        let view = view(&root);
        assert!(view.entry(&root.join("swapped/secret")).is_err());
        assert!(view.list(&root.join("swapped")).is_err());
        // The plain view is led astray, or this test would prove nothing.
        assert!(HostFs.list(&root.join("swapped")).is_ok());
    }

    #[test]
    fn the_innermost_tree_counts() {
        let dir = tempfile::tempdir().unwrap();
        let (root, source) = (dir.path().join("root"), dir.path().join("root/source"));
        std::fs::create_dir_all(source.join("inside")).unwrap();
        let mut config = Config::new(Root::Dir(root.clone()));
        let target = sandboxlib_config::SandboxPath::new("/x").unwrap();
        config
            .mounts
            .push(sandboxlib_config::Mount::bind(&source, target));
        let view = HostView::new(&config);
        assert_eq!(
            view.entry(&source.join("inside")).unwrap().unwrap().kind,
            EntryKind::Dir
        );
        assert_eq!(view.entry(&source).unwrap().unwrap().kind, EntryKind::Dir);
    }
}
