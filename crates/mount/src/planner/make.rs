//! Making what is missing, by the rules of the directory in which it is missing.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use sandboxlib_config::SandboxPath;

use super::Planner;
use super::script::{LayerId, ShadowId};
use super::tree::{Hold, NodeId, What};
use crate::{EntryKind, Node, PlanError, PlanStep, ShadowEntry};

/// What is to be made.
#[derive(Debug, Clone)]
pub(super) enum New {
    Dir { mode: u32 },
    File,
    Link(OsString),
}

impl New {
    /// A directory that nobody asked for, on the way to something.
    pub(super) const PARENT: Self = Self::Dir { mode: 0o755 };

    /// Something to mount `node` on.
    pub(super) fn mount_point(node: Node) -> Self {
        match node {
            Node::Dir => Self::PARENT,
            Node::File => Self::File,
        }
    }

    fn step(self, at: SandboxPath, on_host: bool) -> PlanStep {
        match self {
            Self::Dir { mode } => PlanStep::MakeDir { at, mode, on_host },
            Self::File => PlanStep::MakeFile { at, on_host },
            Self::Link(to) => PlanStep::MakeSymlink { at, to, on_host },
        }
    }

    fn shadow_entry(self, path: PathBuf) -> ShadowEntry {
        match self {
            Self::Dir { mode } => ShadowEntry::Dir { path, mode },
            Self::File => ShadowEntry::File { path },
            Self::Link(to) => ShadowEntry::Link { path, to },
        }
    }

    /// How it looks in the tree, if directories of its place are like `dir`.
    fn what(&self, dir: What) -> What {
        match self {
            Self::Dir { .. } => dir,
            Self::File => What::File,
            Self::Link(to) => What::Link(to.clone()),
        }
    }

    fn entry_kind(&self) -> EntryKind {
        match self {
            Self::Dir { .. } => EntryKind::Dir,
            Self::File => EntryKind::File,
            Self::Link(to) => EntryKind::Symlink(to.clone()),
        }
    }
}

impl Planner<'_> {
    /// Makes `new` as the entry `name`, which is missing in the directory `parent`.
    pub(super) fn make(
        &mut self,
        parent: NodeId,
        name: &OsStr,
        new: New,
    ) -> Result<NodeId, PlanError> {
        match self.tree.what(parent).clone() {
            What::HostDir {
                path,
                hold: Hold::Writable,
            } => {
                let path = path.join(name);
                self.host.note_made(path.clone(), new.entry_kind());
                let dir = What::HostDir {
                    path,
                    hold: Hold::Writable,
                };
                self.make_by_step(parent, name, new, dir, true)
            }
            What::HostDir {
                path,
                hold: Hold::Overlay,
            } => {
                let dir = What::HostDir {
                    path: path.join(name),
                    hold: Hold::Overlay,
                };
                self.make_by_step(parent, name, new, dir, false)
            }
            What::PrivateDir { .. } => {
                let dir = What::PrivateDir { covers: None };
                self.make_by_step(parent, name, new, dir, false)
            }
            What::HostDir {
                path,
                hold: Hold::ReadOnly(layer),
            } => {
                let shadow = self.shadow(parent, path, layer)?;
                self.make_in_shadow(shadow, parent, name, new)
            }
            What::ShadowDir(shadow) => self.make_in_shadow(shadow, parent, name, new),
            What::ProcDir { .. } => Err(self.cannot_hold(parent, name, "proc")),
            What::Devpts => Err(self.cannot_hold(parent, name, "devpts")),
            What::Closed { kind, .. } => Err(self.cannot_hold(parent, name, kind)),
            What::File | What::Link(_) => Err(PlanError::NotADirectory {
                at: self.tree.path(parent).clone(),
                target: self.child_path(parent, name),
            }),
        }
    }

    fn make_by_step(
        &mut self,
        parent: NodeId,
        name: &OsStr,
        new: New,
        dir: What,
        on_host: bool,
    ) -> Result<NodeId, PlanError> {
        let id = self.tree.add(parent, name, new.what(dir))?;
        self.script
            .push(new.step(self.tree.path(id).clone(), on_host));
        Ok(id)
    }

    fn make_in_shadow(
        &mut self,
        shadow: ShadowId,
        parent: NodeId,
        name: &OsStr,
        new: New,
    ) -> Result<NodeId, PlanError> {
        let id = self
            .tree
            .add(parent, name, new.what(What::ShadowDir(shadow)))?;
        let relative = relative_to(self.tree.path(id), self.script.shadow_path(shadow));
        self.script
            .add_to_shadow(shadow, new.shadow_entry(relative));
        Ok(id)
    }

    /// Covers `dir`, which shows the host's `path` read-only, by a shadow that looks like it.
    fn shadow(
        &mut self,
        dir: NodeId,
        path: PathBuf,
        layer: LayerId,
    ) -> Result<ShadowId, PlanError> {
        let mode = self.host.dir_mode(&path)?;
        let mut entries = Vec::new();
        for (name, entry) in self.host.list(&path)? {
            let (entry, what) = match entry.kind {
                EntryKind::Dir => {
                    let path = path.join(&name);
                    let what = What::HostDir {
                        path,
                        hold: Hold::ReadOnly(layer),
                    };
                    (
                        ShadowEntry::Keep {
                            name: name.clone(),
                            node: Node::Dir,
                        },
                        what,
                    )
                }
                EntryKind::File => (
                    ShadowEntry::Keep {
                        name: name.clone(),
                        node: Node::File,
                    },
                    What::File,
                ),
                EntryKind::Symlink(to) => {
                    let path = PathBuf::from(&name);
                    (
                        ShadowEntry::Link {
                            path,
                            to: to.clone(),
                        },
                        What::Link(to),
                    )
                }
            };
            entries.push(entry);
            // What is known already may have been mounted upon since, or be a shadow itself.
            if self.tree.known_child(dir, &name).is_none() {
                self.tree.add(dir, &name, what)?;
            }
        }
        let at = self.tree.path(dir).clone();
        let shadow = self.script.add_shadow(layer, at, path, mode, entries);
        self.tree.set_what(dir, What::ShadowDir(shadow));
        Ok(shadow)
    }

    fn cannot_hold(&self, parent: NodeId, name: &OsStr, kind: &'static str) -> PlanError {
        self.unmountable(&self.child_path(parent, name), parent, kind)
    }

    fn child_path(&self, parent: NodeId, name: &OsStr) -> SandboxPath {
        let parent = self.tree.path(parent);
        // Only for messages: a name that is none is left out.
        parent.join(name).unwrap_or_else(|_| parent.clone())
    }
}

fn relative_to(path: &SandboxPath, base: &SandboxPath) -> PathBuf {
    // What is made in a shadow is below it by construction.
    path.as_path()
        .strip_prefix(base)
        .unwrap_or(path.relative())
        .to_owned()
}
