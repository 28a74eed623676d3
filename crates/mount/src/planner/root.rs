//! The root, and what of a read-only root may be written to.

use std::path::PathBuf;

use sandboxlib_config::{Access, Config, Root, RootAccess, SandboxPath};

use super::Planner;
use super::host::Host;
use super::resolve::{Last, Missing, Place};
use super::script::Script;
use super::tree::{Configured, Hold, NodeId, Tree, What};
use crate::{Attributes, BindSource, EntryKind, FsView, Node, PlanError, PlanStep};

impl<'a> Planner<'a> {
    pub(super) fn with_root(config: &Config, view: &'a dyn FsView) -> Result<Self, PlanError> {
        let mut host = Host::new(view);
        let source = match &config.root {
            Root::Dir(path) => path.clone(),
            Root::Host => PathBuf::from("/"),
            _ => return Err(PlanError::Unknown { what: "root" }),
        };
        match host.entry_following(&source)?.map(|entry| entry.kind) {
            Some(EntryKind::Dir) => {}
            Some(_) => return Err(PlanError::RootNotADirectory { path: source }),
            None => return Err(PlanError::RootMissing { path: source }),
        }
        let (access, writable) = match config.effective_root_access() {
            RootAccess::ReadWrite => (Access::ReadWrite, Vec::new()),
            RootAccess::ReadOnly => (Access::ReadOnly, Vec::new()),
            RootAccess::ReadOnlyExcept(writable) => (Access::ReadOnly, writable),
            _ => {
                return Err(PlanError::Unknown {
                    what: "root access",
                });
            }
        };
        let path = host.real(&source)?;
        let mut planner = Self::on_root(host, source.clone(), path.clone(), access);
        let resolved = planner.resolve_writable(&writable)?;
        if resolved.iter().any(SandboxPath::is_root) {
            planner = Self::on_root(planner.host, source, path, Access::ReadWrite);
        } else {
            planner.make_writable(&resolved)?;
        }
        for (path, resolved) in writable.into_iter().zip(&resolved) {
            let node = planner.existing(resolved, &path)?;
            planner.tree.configure(
                node,
                Configured {
                    kind: "writable path",
                    target: path,
                    is_place: false,
                },
            );
        }
        Ok(planner)
    }

    /// `path` is that of `source` without links.
    fn on_root(host: Host<'a>, source: PathBuf, path: PathBuf, access: Access) -> Self {
        let mut script = Script::default();
        script.push(PlanStep::Root { source, access });
        let hold = match access {
            Access::ReadWrite => Hold::Writable,
            Access::ReadOnly => Hold::ReadOnly(script.begin_layer()),
        };
        Self {
            host,
            tree: Tree::new(What::HostDir { path, hold }),
            script,
            unsealed: Vec::new(),
            satisfied: Vec::new(),
            not_masked: Vec::new(),
        }
    }
}

impl Planner<'_> {
    fn resolve_writable(&mut self, paths: &[SandboxPath]) -> Result<Vec<SandboxPath>, PlanError> {
        let mut resolved = Vec::with_capacity(paths.len());
        for path in paths {
            let node = self.existing(path, path)?;
            resolved.push(self.tree.path(node).clone());
        }
        Ok(resolved)
    }

    /// The node of `path`, which stands for `configured`.
    fn existing(
        &mut self,
        path: &SandboxPath,
        configured: &SandboxPath,
    ) -> Result<NodeId, PlanError> {
        match self.walk(path, Last::Follow, Missing::Stop)? {
            Place::Found(node) => Ok(node),
            Place::Absent { .. } => Err(PlanError::WritableMissing {
                path: configured.clone(),
            }),
        }
    }

    /// Binds each of `paths` over itself, writable.
    fn make_writable(&mut self, paths: &[SandboxPath]) -> Result<(), PlanError> {
        for path in outermost(paths) {
            let node = self.existing(path, path)?;
            let (kind, what) = match self.tree.what(node) {
                What::HostDir { path, .. } => (
                    Node::Dir,
                    What::HostDir {
                        path: path.clone(),
                        hold: Hold::Writable,
                    },
                ),
                _ => (Node::File, What::File),
            };
            self.script.push(PlanStep::Bind {
                from: BindSource::Root(path.clone()),
                to: path.clone(),
                node: kind,
                attributes: Attributes {
                    access: Access::ReadWrite,
                    devices: false,
                },
            });
            self.tree.replace(node, what);
        }
        Ok(())
    }
}

/// The paths that are not equal to or below another one, sorted.
fn outermost(paths: &[SandboxPath]) -> Vec<&SandboxPath> {
    let mut sorted: Vec<_> = paths.iter().collect();
    sorted.sort();
    // Sorted by components, all that is below a path follows it directly.
    sorted.dedup_by(|later, kept| later.starts_with(kept));
    sorted
}
