//! Path resolution inside the sandbox, as the kernel will do it there (path_resolution(7)).

use std::ffi::{OsStr, OsString};
use std::path::{Component, Path};

use sandboxlib_config::SandboxPath;

use super::Planner;
use super::host::MAX_LINKS;
use super::make::New;
use super::tree::{Hold, NodeId, Tree, What};
use crate::{EntryKind, PlanError};

/// Whether a symbolic link that is the last component is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Last {
    Follow,
    Keep,
}

/// What becomes of directories that are missing on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// The walk ends at the first one.
    Stop,
    /// They are made, by the rules of the place.
    Make,
    /// The walk ends at the first one; but where one is missing because it is hidden, it is made,
    /// empty, and so is what the path leads to.
    Reveal,
}

/// Where a path leads.
#[derive(Debug)]
pub(super) enum Place {
    Found(NodeId),
    /// To nothing of this name. Unless what is missing is made, the path may go on below it.
    Absent {
        parent: NodeId,
        name: OsString,
    },
}

impl Planner<'_> {
    /// Walks to `target` in the sandbox as it is after the steps so far.
    ///
    /// A symbolic link that leads to nothing leads to the place of what is missing.
    pub(super) fn walk(
        &mut self,
        target: &SandboxPath,
        last: Last,
        missing: Missing,
    ) -> Result<Place, PlanError> {
        let mut at = Tree::ROOT;
        let mut links = 0;
        // The names that are still to be walked, the next one at the end.
        let mut rest: Vec<OsString> = target.components().rev().map(OsStr::to_owned).collect();
        while let Some(name) = rest.pop() {
            if name == ".." {
                at = self.tree.parent(at);
                continue;
            }
            let mut next = self.child(at, &name)?;
            if next.is_none()
                && missing == Missing::Reveal
                && let What::PrivateDir { covers: Some(path) } = self.tree.what(at).clone()
            {
                next = self.reveal(at, &path, &name)?;
            }
            let Some(next) = next else {
                if rest.is_empty() || missing != Missing::Make {
                    return Ok(Place::Absent { parent: at, name });
                }
                at = self.make(at, &name, New::PARENT)?;
                continue;
            };
            match self.tree.what(next) {
                What::Link(_) if rest.is_empty() && last == Last::Keep => at = next,
                What::Link(to) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(PlanError::TooManyLinks {
                            target: target.clone(),
                        });
                    }
                    let to = to.clone();
                    self.check_link(next, &to, target)?;
                    if Path::new(&to).is_absolute() {
                        at = Tree::ROOT;
                    }
                    rest.extend(names_in_link(&to));
                }
                _ if rest.is_empty() => at = next,
                What::Closed { kind, .. } => {
                    let at = self.tree.path(next).clone();
                    return Err(PlanError::Unmountable {
                        target: target.clone(),
                        at,
                        kind,
                    });
                }
                What::File => return Err(self.not_a_directory(next, target)),
                What::HostDir { .. }
                | What::ShadowDir(_)
                | What::PrivateDir { .. }
                | What::ProcDir { .. }
                | What::Devpts => at = next,
            }
        }
        Ok(Place::Found(at))
    }

    /// The entry `name` of the directory `dir`, looked up if it is not known yet. However it is
    /// asked for, it is known by the name that the directory has.
    pub(super) fn child(&mut self, dir: NodeId, name: &OsStr) -> Result<Option<NodeId>, PlanError> {
        if let Some(known) = self.tree.known_child(dir, name) {
            return Ok(Some(known));
        }
        let true_name = self.true_name(dir, name)?;
        if let Some(name) = &true_name
            && let Some(known) = self.tree.known_child(dir, name)
        {
            return Ok(Some(known));
        }
        let name = true_name.as_deref().unwrap_or(name);
        let what = match self.tree.what(dir) {
            What::HostDir { path, hold } => {
                let path = path.join(name);
                let found = match hold {
                    Hold::Writable => self.host.entry_or_made(&path)?,
                    // What the plan makes on the host may come after the shadow of a read-only
                    // directory. Taken as missing, it is made in the shadow in any case.
                    // What it makes in a layer is known already.
                    Hold::ReadOnly(_) | Hold::Overlay => self.host.entry(&path)?,
                };
                found.map(|kind| match kind {
                    EntryKind::Dir => What::HostDir { path, hold: *hold },
                    EntryKind::File => What::File,
                    EntryKind::Symlink(to) => What::Link(to),
                })
            }
            What::ProcDir { like } => {
                let like = like.join(name);
                self.host.entry(&like)?.map(|kind| match kind {
                    EntryKind::Dir => What::ProcDir { like },
                    EntryKind::File => What::File,
                    EntryKind::Symlink(to) => What::Link(to),
                })
            }
            _ => None,
        };
        what.map(|what| self.tree.add(dir, name, what)).transpose()
    }

    /// The name under which the host has the entry `name` of `dir`, if it is another.
    fn true_name(&self, dir: NodeId, name: &OsStr) -> Result<Option<OsString>, PlanError> {
        match self.tree.what(dir) {
            What::HostDir { path, .. } => self.host.true_name(path, name),
            // What was made in it has the name that it was asked for by; the rest is the host's.
            What::ShadowDir(shadow) if self.script.shadow_path(*shadow) == self.tree.path(dir) => {
                self.host.true_name(self.script.shadow_like(*shadow), name)
            }
            _ => Ok(None),
        }
    }

    /// Refuses a link that cannot be followed while planning.
    fn check_link(&self, link: NodeId, to: &OsStr, target: &SandboxPath) -> Result<(), PlanError> {
        let dir = self.tree.parent(link);
        if self.in_proc(dir) {
            // Such as /proc/self: it leads somewhere else for everybody who asks.
            return Err(self.unmountable(target, dir, "proc"));
        }
        if to.is_empty() || to.as_encoded_bytes().contains(&0) {
            // No link that a system call has made says this.
            return Err(self.not_a_directory(link, target));
        }
        Ok(())
    }

    fn in_proc(&self, dir: NodeId) -> bool {
        matches!(self.tree.what(dir), What::ProcDir { .. })
    }

    fn not_a_directory(&self, at: NodeId, target: &SandboxPath) -> PlanError {
        PlanError::NotADirectory {
            at: self.tree.path(at).clone(),
            target: target.clone(),
        }
    }

    /// The error for something that was to be made in `dir`, which is in a mount that cannot
    /// hold it.
    pub(super) fn unmountable(
        &self,
        target: &SandboxPath,
        dir: NodeId,
        kind: &'static str,
    ) -> PlanError {
        let mut mount = dir;
        while self.in_proc(mount) && self.in_proc(self.tree.parent(mount)) {
            mount = self.tree.parent(mount);
        }
        let at = self.tree.path(mount).clone();
        PlanError::Unmountable {
            target: target.clone(),
            at,
            kind,
        }
    }
}

/// The names that a link's text is made of, the first one at the end.
fn names_in_link(to: &OsStr) -> impl Iterator<Item = OsString> {
    Path::new(to).components().rev().filter_map(|c| match c {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}
