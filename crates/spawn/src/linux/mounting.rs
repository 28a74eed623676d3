//! Carries out the mount plan, in the child.
//!
//! Each tree is cloned detached, gets its attributes while nobody can see it, and is attached
//! last, so there is no moment at which something is visible with more access than planned. Where
//! only an attached mount can get attributes, it gets them in the scratch tmpfs, out of sight, and
//! is moved from there (see [`super::remount`]).

use core::cell::Cell;
use core::ffi::CStr;

use super::ops::{Action, Call, Entry, Failed, From, FsOption, Protection};
use super::overlay;
use super::raw::{AT_FDCWD, Errno, Fd};
use super::remount;
use super::sys::{self, EACCES, EEXIST, EINVAL, ENOENT, ENOTDIR, Held, Named, NewFs, Result};

pub(super) const RDONLY: u64 = libc::MOUNT_ATTR_RDONLY;
pub(super) const NOSUID: u64 = libc::MOUNT_ATTR_NOSUID;
pub(super) const NODEV: u64 = libc::MOUNT_ATTR_NODEV;
pub(super) const NOEXEC: u64 = libc::MOUNT_ATTR_NOEXEC;

const MASK_DIR: &CStr = c"mask-dir";
const MASK_FILE: &CStr = c"mask-file";

/// A socket that nobody listens on.
const DEAD_SOCKET: &CStr = c"dead-socket";

/// Where a tree is attached while it is remounted.
const STAGE_DIR: &CStr = c"stage-dir";
const STAGE_FILE: &CStr = c"stage-file";

/// What the child knows about the tree that it builds.
pub(super) struct Tree<'a> {
    /// The root directory on the host, before anything was done to it.
    source: Fd,
    /// The root of the new tree.
    root: Fd,
    /// A private tmpfs out of sight, from which masks, dead sockets and files with data are bound.
    scratch: Fd,
    /// The tmpfs of which others are directories.
    shared: Fd,
    /// Whether attributes are set by remounting.
    remounts: bool,
    /// The sources of binds, cloned and not yet attached.
    sources: &'a [Cell<Fd>],
}

impl<'a> Tree<'a> {
    pub(super) fn new(sources: &'a [Cell<Fd>]) -> Self {
        Self {
            source: -1,
            root: -1,
            scratch: -1,
            shared: -1,
            remounts: false,
            sources,
        }
    }

    /// Carries out `action` if it is one of mounting; `None` if it is not.
    pub(super) fn carry_out(&mut self, action: &Action) -> Option<Result<()>> {
        Some(match action {
            Action::CloneSource { source, slot } => self.clone_source(source, *slot),
            Action::Root {
                source,
                attributes,
                scratch,
                remounts,
            } => {
                self.remounts = *remounts;
                self.set_root(source, *attributes, *scratch)
            }
            Action::Bind {
                from,
                to,
                attributes,
            } => self.bind(from, to, *attributes),
            Action::FileSystem {
                kind,
                options,
                to,
                attributes,
            } => self.file_system(kind, options, to, *attributes),
            Action::SharedTmpfs { name, mode, to } => self.shared_tmpfs(name, *mode, to),
            Action::Shadow { at, mode, entries } => self.shadow(at, mode, entries),
            Action::Overlay { at, .. } => self.overlay(at, action),
            Action::File {
                to,
                name,
                data,
                mode,
            } => self.file(to, name, data, *mode),
            Action::Mask { to, directory } => self.mask(to, *directory),
            Action::CloseSocket { to } => self.close_socket(to),
            Action::MakeDir { parent, name, mode } => {
                self.make(parent, Call::MkDir, |dir| sys::mkdir(dir, name, *mode))
            }
            Action::MakeFile { parent, name } => self.make(parent, Call::MkNod, |dir| {
                sys::mknod(dir, name, libc::S_IFREG, 0o644)
            }),
            Action::MakeSymlink {
                parent,
                name,
                target,
            } => self.make(parent, Call::SymLink, |dir| sys::symlink(target, dir, name)),
            Action::Seal { at } => self.seal(at),
            Action::Protect { at, parts } => self.protect(at, parts),
            Action::Stand => self.stand(),
            Action::TryOverlay => overlay::try_out(),
            Action::PivotRoot => self.pivot_root(),
            Action::Chroot => self.chroot(),
            _ => return None,
        })
    }

    fn clone_source(&self, source: &CStr, slot: usize) -> Result<()> {
        let tree = sys::clone_tree(AT_FDCWD, source, true)?;
        if let Some(place) = self.sources.get(slot) {
            place.set(tree.leak());
        }
        Ok(())
    }

    /// The new tree is attached on top of the host's `/`, because that is the one mount point
    /// that always exists: no directory has to be made or chosen. Nothing sees it there, since
    /// looking `/` up does not cross onto what is mounted on it. The scratch tmpfs goes below it
    /// and vanishes with the host's tree.
    fn set_root(&mut self, source: &CStr, attributes: u64, scratch: bool) -> Result<()> {
        let host = sys::open(source, libc::O_PATH | libc::O_DIRECTORY).named(Call::Open)?;
        let tree = sys::clone_tree(host.fd(), c"", true)?;
        if scratch {
            let scratch = make_scratch(self.remounts)?;
            sys::attach_at(scratch.fd(), AT_FDCWD, c"/")?;
            self.scratch = scratch.leak();
        }
        self.set_attributes(tree.fd(), attributes)?;
        sys::attach_at(tree.fd(), AT_FDCWD, c"/")?;
        self.source = host.leak();
        self.root = tree.leak();
        Ok(())
    }

    fn stand(&mut self) -> Result<()> {
        let root = sys::open(c"/", libc::O_PATH | libc::O_DIRECTORY).named(Call::Open)?;
        self.root = root.leak();
        Ok(())
    }

    fn bind(&self, from: &From, to: &CStr, attributes: u64) -> Result<()> {
        let tree = match from {
            From::Held(slot) => Held::from(self.sources.get(*slot)),
            From::Root(path) => {
                let source = sys::open_beneath(self.source, path)?;
                sys::clone_tree(source.fd(), c"", true)?
            }
        };
        self.set_attributes(tree.fd(), attributes)?;
        self.attach(tree.fd(), to)
    }

    /// Sets attributes of the detached `tree` and all that is mounted in it, which is private from
    /// then on. Without mount_setattr(2) it is attached in the scratch tmpfs afterwards, private
    /// because what it was cloned from is.
    fn set_attributes(&self, tree: Fd, set: u64) -> Result<()> {
        if !self.remounts {
            return sys::set_attributes(tree, set, true);
        }
        let at = match sys::attach_at(tree, self.scratch, STAGE_DIR) {
            Ok(()) => STAGE_DIR,
            // Only a directory can be mounted on a directory.
            Err(Failed { errno: EINVAL, .. }) => {
                sys::attach_at(tree, self.scratch, STAGE_FILE)?;
                STAGE_FILE
            }
            Err(other) => return Err(other),
        };
        remount::tree(tree, at, set)
    }

    /// Makes the attached mount whose root `mount` is read-only, and nothing below it.
    fn make_read_only(&self, mount: Fd) -> Result<()> {
        if self.remounts {
            remount::one(mount, RDONLY)
        } else {
            sys::set_attributes(mount, RDONLY, false)
        }
    }

    fn attach(&self, tree: Fd, to: &CStr) -> Result<()> {
        let target = sys::open_beneath(self.root, to)?;
        sys::attach(tree, target.fd())
    }

    fn file_system(
        &self,
        kind: &CStr,
        options: &[FsOption],
        to: &CStr,
        attributes: u64,
    ) -> Result<()> {
        let fs = NewFs::open(kind)?;
        for FsOption { key, value } in options {
            fs.option(key, value)?;
        }
        let mount = fs.mount(attributes)?;
        self.attach(mount.fd(), to)
    }

    /// See [`super::shared`]. The first one lies on top of the file system of which all are
    /// directories: what is attached at one place twice is stacked.
    fn shared_tmpfs(&mut self, name: &CStr, mode: u32, to: &CStr) -> Result<()> {
        let target = sys::open_beneath(self.root, to)?;
        if self.shared < 0 {
            let fs = NewFs::open(c"tmpfs")?;
            fs.option(c"mode", c"0700")?;
            let mount = fs.mount(NOSUID | NODEV)?;
            sys::attach(mount.fd(), target.fd())?;
            self.shared = mount.leak();
        }
        sys::mkdir(self.shared, name, mode).named(Call::MkDir)?;
        // A clone has the attributes of what it is cloned from.
        let tree = sys::clone_tree(self.shared, name, false)?;
        sys::attach(tree.fd(), target.fd())
    }

    /// See [`sandboxlib_mount::PlanStep::Shadow`]. The covered directory stays reachable by its
    /// descriptor, from which the entries are bound in; they are read-only as it is.
    fn shadow(&mut self, at: &CStr, mode: &CStr, entries: &[Entry]) -> Result<()> {
        let covered = sys::open_beneath(self.root, at)?;
        let fs = NewFs::open(c"tmpfs")?;
        fs.option(c"mode", mode)?;
        let shadow = fs.mount(NOSUID | NODEV)?;
        if let Some((uid, gid)) = sys::owner(covered.fd()) {
            sys::chown(shadow.fd(), uid, gid);
        }
        sys::attach(shadow.fd(), covered.fd())?;
        for entry in entries {
            make_entry(shadow.fd(), covered.fd(), entry)?;
        }
        self.make_read_only(shadow.fd())?;
        if at.to_bytes() == b"." {
            // A shadow of the root itself is the root from here on.
            self.root = shadow.leak();
        }
        Ok(())
    }

    /// See [`sandboxlib_mount::PlanStep::Overlay`].
    fn overlay(&mut self, at: &CStr, action: &Action) -> Result<()> {
        let target = sys::open_beneath(self.root, at)?;
        let covered = sys::clone_tree(target.fd(), c"", true)?;
        let Some(overlay) = overlay::mount(self.scratch, &covered, self.sources, action)? else {
            return Ok(());
        };
        sys::attach(overlay.fd(), target.fd())?;
        if at.to_bytes() == b"." {
            // What lies on the root itself is the root from here on.
            self.root = overlay.leak();
        }
        Ok(())
    }

    /// The file keeps its name: nothing can be mounted on one that has none any more, as a later
    /// mount that covers this one would be.
    fn file(&self, to: &CStr, name: &CStr, data: &[u8], mode: u32) -> Result<()> {
        let file = sys::create(self.scratch, name, mode).named(Call::Open)?;
        sys::write(file.fd(), data).named(Call::Write)?;
        drop(file);
        self.cover(name, to)
    }

    fn mask(&self, to: &CStr, directory: bool) -> Result<()> {
        self.cover(if directory { MASK_DIR } else { MASK_FILE }, to)
    }

    /// Binds `name` of the scratch tmpfs, read-only, over `to`.
    fn cover(&self, name: &CStr, to: &CStr) -> Result<()> {
        let tree = self.covering(name)?;
        self.attach(tree.fd(), to)
    }

    fn covering(&self, name: &CStr) -> Result<Held> {
        let tree = sys::clone_tree(self.scratch, name, false)?;
        self.set_attributes(tree.fd(), RDONLY | NOSUID | NODEV)?;
        Ok(tree)
    }

    /// Sockets come and go as their programs do, and a run must not depend on that: where there is
    /// none any more, there is nothing to close.
    fn close_socket(&self, to: &CStr) -> Result<()> {
        let target = match sys::open_beneath(self.root, to) {
            Ok(target) => target,
            // EACCES: it is out of reach for this child, and so for the command, which is no
            // more privileged.
            Err(Failed {
                errno: ENOENT | ENOTDIR | EACCES,
                ..
            }) => return Ok(()),
            Err(other) => return Err(other),
        };
        if !sys::is_socket(target.fd()) {
            return Ok(());
        }
        let tree = self.covering(DEAD_SOCKET)?;
        match sys::attach(tree.fd(), target.fd()) {
            // Removed since it was opened.
            Err(Failed { errno: ENOENT, .. }) => Ok(()),
            done => done,
        }
    }

    /// Makes something in the directory `parent`. Another sandbox may have made the same mount
    /// point a moment ago; whether it is the right thing shows when it is mounted on.
    fn make(
        &self,
        parent: &CStr,
        call: Call,
        make: impl FnOnce(Fd) -> core::result::Result<(), Errno>,
    ) -> Result<()> {
        let dir = sys::open_beneath(self.root, parent)?;
        match make(dir.fd()) {
            Ok(()) | Err(EEXIST) => Ok(()),
            Err(errno) => Err(Failed { call, errno }),
        }
    }

    fn seal(&self, at: &CStr) -> Result<()> {
        let mount = sys::open_beneath(self.root, at)?;
        self.make_read_only(mount.fd())
    }

    /// Which of the parts there are depends on how the kernel was configured; their names are names
    /// in the procfs itself, where nothing is a link. What masks them is /dev/null: a device on a
    /// mount that knows no devices answers EACCES to everybody.
    fn protect(&self, at: &CStr, parts: &[(&CStr, Protection)]) -> Result<()> {
        const ATTRIBUTES: u64 = RDONLY | NOSUID | NODEV | NOEXEC;
        let procfs = sys::open_beneath(self.root, at)?;
        // One mask is cloned from the other, with its attributes. One for which there is nothing
        // to be masked waits for the next part: to close what has never been attached takes the
        // kernel longer than all of the rest.
        let mut mask: Option<Held> = None;
        let mut used = true;
        for (name, how) in parts {
            if *how == Protection::ReadOnly {
                match sys::clone_tree(procfs.fd(), name, false) {
                    Ok(tree) => {
                        self.set_attributes(tree.fd(), ATTRIBUTES)?;
                        sys::attach_at(tree.fd(), procfs.fd(), name)?;
                    }
                    Err(Failed { errno: ENOENT, .. }) => {}
                    Err(other) => return Err(other),
                }
                continue;
            }
            let next = match mask.take() {
                Some(spare) if !used => spare,
                Some(other) => sys::clone_tree(other.fd(), c"", false)?,
                None => {
                    let first = sys::clone_tree(AT_FDCWD, c"/dev/null", true)?;
                    self.set_attributes(first.fd(), ATTRIBUTES)?;
                    first
                }
            };
            used = match sys::attach_at(next.fd(), procfs.fd(), name) {
                Ok(()) => true,
                Err(Failed { errno: ENOENT, .. }) => false,
                Err(other) => return Err(other),
            };
            mask = Some(next);
        }
        Ok(())
    }

    fn pivot_root(&self) -> Result<()> {
        sys::fchdir(self.root).named(Call::ChDir)?;
        sys::pivot_here().named(Call::PivotRoot)?;
        // The old root now lies on top of the new one, and on it what was attached there before
        // the new one: the scratch tmpfs, and each root that a shadow has covered. They are
        // detached one by one, the topmost first, until there is nothing between: were one left,
        // `/..` would lead to it.
        let root = sys::mount_id(self.root, c"").named(Call::StatX)?;
        while sys::mount_id(AT_FDCWD, c"..").named(Call::StatX)? != root {
            sys::detach_here().named(Call::Unmount)?;
        }
        sys::chdir(c"/").named(Call::ChDir)
    }

    fn chroot(&self) -> Result<()> {
        sys::fchdir(self.root).named(Call::ChDir)?;
        sys::chroot(c".").named(Call::Chroot)?;
        sys::chdir(c"/").named(Call::ChDir)
    }
}

/// Mask files have no permissions and lie on a read-only mount, so that not even their owner can
/// give them any. A fifo rather than a plain file: opening it to truncate or create answers
/// EACCES too, where a file on a read-only mount would answer EROFS.
fn make_scratch(stage: bool) -> Result<Held> {
    let fs = NewFs::open(c"tmpfs")?;
    fs.option(c"mode", c"0700")?;
    let scratch = fs.mount(NOSUID | NODEV)?;
    sys::mkdir(scratch.fd(), MASK_DIR, 0).named(Call::MkDir)?;
    sys::mknod(scratch.fd(), MASK_FILE, libc::S_IFIFO, 0).named(Call::MkNod)?;
    // With permissions, so that everybody is answered ECONNREFUSED: nobody is there.
    sys::mknod(scratch.fd(), DEAD_SOCKET, libc::S_IFSOCK, 0o666).named(Call::MkNod)?;
    if stage {
        sys::mkdir(scratch.fd(), STAGE_DIR, 0o700).named(Call::MkDir)?;
        sys::mknod(scratch.fd(), STAGE_FILE, libc::S_IFREG, 0).named(Call::MkNod)?;
    }
    Ok(scratch)
}

fn make_entry(shadow: Fd, covered: Fd, entry: &Entry) -> Result<()> {
    match entry {
        Entry::Keep { name, directory } => keep(shadow, covered, name, *directory),
        Entry::Link { path, target } => sys::symlink(target, shadow, path).named(Call::SymLink),
        Entry::Dir { path, mode } => sys::mkdir(shadow, path, *mode).named(Call::MkDir),
        Entry::File { path } => sys::mknod(shadow, path, libc::S_IFREG, 0o644).named(Call::MkNod),
    }
}

fn keep(shadow: Fd, covered: Fd, name: &CStr, directory: bool) -> Result<()> {
    let tree = match sys::clone_tree(covered, name, false) {
        Ok(tree) => tree,
        // Removed since the plan was made: then it is not there any more.
        Err(Failed { errno: ENOENT, .. }) => return Ok(()),
        Err(other) => return Err(other),
    };
    if directory {
        sys::mkdir(shadow, name, 0o755).named(Call::MkDir)?;
    } else {
        sys::mknod(shadow, name, libc::S_IFREG, 0o644).named(Call::MkNod)?;
    }
    sys::attach_at(tree.fd(), shadow, name)
}
