//! Layers over the root that take what the command changes (overlayfs).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use sandboxlib_config::{Access, Config, Overlay, SandboxPath};

use super::Planner;
use super::resolve::{Last, Missing, Place};
use super::tree::{Hold, NodeId, Tree, What};
use crate::{Attributes, BindSource, EntryKind, Node, PlanError, PlanStep};

impl Planner<'_> {
    /// Lays layers over the root, which is read-only, and whose path without links is `path`.
    ///
    /// A layer shows one file system alone, and the kernel lays none over a directory in which
    /// others are mounted that must not be looked under. So where something is mounted somewhere
    /// below, each directory beside the way to it gets a layer of its own; what is mounted, and
    /// the directories on the way, are as they would be without.
    pub(super) fn lay_over(&mut self, config: &Config, path: &Path) -> Result<(), PlanError> {
        let keep = match &config.overlay {
            None => return Ok(()),
            Some(Overlay::Discard) => None,
            Some(Overlay::Keep(dir)) => match self.host.entry_following(dir)?.map(|e| e.kind) {
                Some(EntryKind::Dir) => Some(dir.clone()),
                _ => return Err(PlanError::OverlayDir { path: dir.clone() }),
            },
            Some(_) => return Err(PlanError::Unknown { what: "overlay" }),
        };
        let mounts = self.host.mounts()?;
        let mounts = mounts.into_iter().filter(|mount| mount != path);
        self.lay_over_dir(Tree::ROOT, path, &mounts.collect(), keep.as_ref())
    }

    fn lay_over_dir(
        &mut self,
        dir: NodeId,
        path: &Path,
        mounts: &BTreeSet<PathBuf>,
        keep: Option<&PathBuf>,
    ) -> Result<(), PlanError> {
        if mounts.contains(path) {
            return Ok(());
        }
        // In this order what is below a directory follows it.
        let mut after = mounts.range(path.to_owned()..);
        if !after.next().is_some_and(|mount| mount.starts_with(path)) {
            let at = self.tree.path(dir).clone();
            let keep = keep.cloned();
            let size = None;
            self.script.push(PlanStep::Overlay { at, keep, size });
            let hold = Hold::Overlay;
            let path = path.to_owned();
            self.tree.set_what(dir, What::HostDir { path, hold });
            return Ok(());
        }
        let entries = match self.host.list(path) {
            Ok(entries) => entries,
            // Nobody can change what is in a directory that nobody can look into.
            Err(PlanError::Io { source, .. })
                if source.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                return Ok(());
            }
            Err(other) => return Err(other),
        };
        for (name, entry) in entries {
            if entry.kind != EntryKind::Dir {
                continue;
            }
            if let Some(child) = self.child(dir, &name)? {
                self.lay_over_dir(child, &path.join(&name), mounts, keep)?;
            }
        }
        Ok(())
    }

    /// Shows the sockets that `config` names by themselves where a layer is over them: through a
    /// layer nobody is found who listens.
    pub(super) fn lift_sockets(&mut self, config: &Config) -> Result<(), PlanError> {
        if config.overlay.is_none() {
            return Ok(());
        }
        for path in &config.sockets {
            let Place::Found(node) = self.walk(path, Last::Follow, Missing::Stop)? else {
                continue;
            };
            let kind = self.tree.what(node).node().unwrap_or(Node::File);
            let holder = match kind {
                Node::Dir => node,
                Node::File => self.tree.parent(node),
            };
            let What::HostDir {
                path,
                hold: Hold::Overlay,
            } = self.tree.what(holder).clone()
            else {
                continue;
            };
            let at: SandboxPath = self.tree.path(node).clone();
            self.script.push(PlanStep::Bind {
                from: BindSource::Root(at.clone()),
                to: at.clone(),
                node: kind,
                attributes: Attributes {
                    access: Access::ReadOnly,
                    devices: false,
                },
            });
            let what = match kind {
                Node::Dir => self.read_only_tree(&at, path),
                Node::File => What::File,
            };
            self.tree.replace(node, what);
        }
        Ok(())
    }
}
