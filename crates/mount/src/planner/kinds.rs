//! What each kind of mount comes to.

use std::ffi::OsString;
use std::path::Path;

use sandboxlib_config::{Access, Feature, FeatureSet, Mount, MountKind, SandboxPath};

use super::Planner;
use super::make::New;
use super::resolve::{Last, Missing, Place};
use super::tree::{Configured, Hold, NodeId, Tree, What};
use crate::{Attributes, BindSource, EntryKind, Node, PlanError, PlanStep};

impl Planner<'_> {
    pub(super) fn mount(&mut self, mount: &Mount, prefer: FeatureSet) -> Result<(), PlanError> {
        match &mount.kind {
            MountKind::Bind { source, access } => self.bind(mount, source, *access),
            MountKind::Tmpfs { size, mode } => {
                let (size, mode) = (*size, *mode);
                let at = self.mount_point(mount, Node::Dir)?;
                self.put(mount, at, What::PrivateDir { covers: None }, |to| {
                    PlanStep::Tmpfs { to, size, mode }
                });
                Ok(())
            }
            MountKind::Proc => {
                let at = self.mount_point(mount, Node::Dir)?;
                let what = What::ProcDir {
                    like: "/proc".into(),
                };
                self.put(mount, at, what, |to| PlanStep::Proc { to });
                Ok(())
            }
            MountKind::Dev => {
                let at = self.mount_point(mount, Node::Dir)?;
                self.dev(at)?;
                self.configure(mount, at);
                Ok(())
            }
            MountKind::File { data, mode } => {
                let (data, mode) = (data.clone(), *mode);
                let at = self.mount_point(mount, Node::File)?;
                let what = What::Closed {
                    kind: mount.kind.name(),
                    node: Node::File,
                };
                self.put(mount, at, what, |to| PlanStep::File { to, data, mode });
                Ok(())
            }
            MountKind::Symlink { to } => self.symlink(mount, to),
            MountKind::Dir { mode } => self.dir(mount, *mode),
            MountKind::Mask => self.mask(mount, prefer.contains(Feature::Mask)),
            other => Err(PlanError::Unknown { what: other.name() }),
        }
    }

    fn bind(&mut self, mount: &Mount, source: &Path, access: Access) -> Result<(), PlanError> {
        let Some(found) = self.host.entry_following(source)? else {
            let (path, target) = (source.to_owned(), mount.target.clone());
            return Err(PlanError::SourceMissing { path, target });
        };
        let node = match found.kind {
            EntryKind::Dir => Node::Dir,
            EntryKind::File | EntryKind::Symlink(_) => Node::File,
        };
        let at = self.mount_point(mount, node)?;
        self.script.push(PlanStep::Bind {
            from: BindSource::Host(source.to_owned()),
            to: self.tree.path(at).clone(),
            node,
            attributes: Attributes {
                access,
                devices: false,
            },
        });
        let what = match (node, access) {
            (Node::File, _) => What::File,
            (Node::Dir, Access::ReadWrite) => What::HostDir {
                path: self.host.real(source)?,
                hold: Hold::Writable,
            },
            (Node::Dir, Access::ReadOnly) => {
                let at = self.tree.path(at).clone();
                self.read_only_tree(&at, source.to_owned())
            }
        };
        self.tree.replace(at, what);
        self.configure(mount, at);
        Ok(())
    }

    fn symlink(&mut self, mount: &Mount, to: &OsString) -> Result<(), PlanError> {
        let link = match self.walk(&mount.target, Last::Keep, Missing::Make)? {
            Place::Absent { parent, name } => self.make(parent, &name, New::Link(to.clone()))?,
            Place::Found(node) => match self.tree.what(node) {
                What::Link(found) if found == to => {
                    self.satisfied.push(mount.target.clone());
                    node
                }
                _ => {
                    return Err(PlanError::Exists {
                        target: mount.target.clone(),
                    });
                }
            },
        };
        self.configure(mount, link);
        Ok(())
    }

    fn dir(&mut self, mount: &Mount, mode: u32) -> Result<(), PlanError> {
        let dir = match self.walk(&mount.target, Last::Follow, Missing::Make)? {
            Place::Absent { parent, name } => self.make(parent, &name, New::Dir { mode })?,
            Place::Found(node) => {
                self.check_node(mount, node, Node::Dir)?;
                self.satisfied.push(mount.target.clone());
                node
            }
        };
        self.configure(mount, dir);
        Ok(())
    }

    fn mask(&mut self, mount: &Mount, preferred: bool) -> Result<(), PlanError> {
        let mut place = self.walk(&mount.target, Last::Follow, Missing::Stop)?;
        if matches!(place, Place::Absent { .. }) && !self.only_on_host(&place) {
            place = self.walk(&mount.target, Last::Follow, Missing::Make)?;
        }
        if self.only_on_host(&place) {
            if !preferred {
                return Err(PlanError::MaskAbsent {
                    target: mount.target.clone(),
                });
            }
            self.not_masked.push(mount.target.clone());
            return Ok(());
        }
        let at = match place {
            Place::Found(node) => self.checked_cover(mount, node)?,
            Place::Absent { parent, name } => self.make(parent, &name, New::File)?,
        };
        let node = self.tree.what(at).node().unwrap_or(Node::File);
        let what = What::Closed {
            kind: mount.kind.name(),
            node,
        };
        self.put(mount, at, what, |to| PlanStep::Mask { to, node });
        Ok(())
    }

    /// Whether what is absent at `place` could be had only by making it on the host.
    fn only_on_host(&self, place: &Place) -> bool {
        match place {
            Place::Found(_) => false,
            Place::Absent { parent, .. } => {
                matches!(
                    self.tree.what(*parent),
                    What::HostDir {
                        hold: Hold::Writable,
                        ..
                    }
                )
            }
        }
    }

    /// The place to mount a `node` for `mount`, made if it is missing.
    fn mount_point(&mut self, mount: &Mount, node: Node) -> Result<NodeId, PlanError> {
        match self.walk(&mount.target, Last::Follow, Missing::Make)? {
            Place::Absent { parent, name } => self.make(parent, &name, New::mount_point(node)),
            Place::Found(found) => {
                let found = self.checked_cover(mount, found)?;
                self.check_node(mount, found, node)?;
                Ok(found)
            }
        }
    }

    /// Checks that `mount` may cover the existing `at`, and finishes what it will put out of
    /// reach.
    fn checked_cover(&mut self, mount: &Mount, at: NodeId) -> Result<NodeId, PlanError> {
        if at == Tree::ROOT {
            // It would hide everything, and what is made of it could not be reached.
            return Err(PlanError::Unmountable {
                target: mount.target.clone(),
                at: SandboxPath::root(),
                kind: "root",
            });
        }
        if let Some(hidden) = self.tree.hidden_by_mount_on(at) {
            if !mount.covers {
                return Err(PlanError::Hides {
                    later: mount.target.clone(),
                    later_kind: mount.kind.name(),
                    earlier: hidden.target.clone(),
                    earlier_kind: hidden.kind,
                });
            }
            self.seal_within(at);
        }
        Ok(at)
    }

    fn check_node(&self, mount: &Mount, at: NodeId, wanted: Node) -> Result<(), PlanError> {
        match self.tree.what(at).node() {
            Some(found) if found != wanted => Err(PlanError::Mismatch {
                kind: mount.kind.name(),
                target: mount.target.clone(),
                wanted: word(wanted),
                found: word(found),
            }),
            _ => Ok(()),
        }
    }

    /// Takes the step that puts `what` at `at` for `mount`.
    fn put(
        &mut self,
        mount: &Mount,
        at: NodeId,
        what: What,
        step: impl FnOnce(SandboxPath) -> PlanStep,
    ) {
        self.script.push(step(self.tree.path(at).clone()));
        self.tree.replace(at, what);
        self.configure(mount, at);
    }

    fn configure(&mut self, mount: &Mount, at: NodeId) {
        let configured = Configured {
            kind: mount.kind.name(),
            target: mount.target.clone(),
            is_place: matches!(mount.kind, MountKind::Dir { .. }),
        };
        self.tree.configure(at, configured);
    }
}

fn word(node: Node) -> &'static str {
    match node {
        Node::Dir => "directory",
        Node::File => "file",
    }
}
