//! Sockets below what is read-only, which a read-only mount leaves open to connect(2).
//!
//! Those that are there while planning are covered, whatever else the kernel can do: a second
//! wall, such as Landlock, is not known here and is not counted on.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use sandboxlib_config::{Config, SandboxPath};

use super::Planner;
use super::resolve::{Last, Missing, Place};
use super::root::SOCKET;
use super::tree::{Hold, NodeId, What};
use crate::{PlanError, PlanStep};

/// A read-only tree of the host that has been mounted.
#[derive(Debug)]
pub(super) struct ReadOnlyTree {
    pub(super) at: SandboxPath,
    /// Its root on the host.
    pub(super) source: PathBuf,
}

impl Planner<'_> {
    /// What a read-only tree that the last step has mounted on `at` shows.
    pub(super) fn read_only_tree(&mut self, at: &SandboxPath, source: PathBuf) -> What {
        self.read_only.push(ReadOnlyTree {
            at: at.clone(),
            source: source.clone(),
        });
        What::HostDir {
            path: source,
            hold: Hold::ReadOnly(self.script.begin_layer()),
        }
    }

    /// Finds the sockets, and directories of sockets, that may be connected to. All mounts are in
    /// place by now, so they can be in any of them.
    pub(super) fn allow_sockets(&mut self, config: &Config) -> Result<(), PlanError> {
        for path in &config.sockets {
            let Place::Found(node) = self.walk(path, Last::Follow, Missing::Stop)? else {
                let path = path.clone();
                return Err(PlanError::ReadableMissing { kind: SOCKET, path });
            };
            let at = self.tree.path(node);
            if !self.sockets.contains(at) {
                self.sockets.push(at.clone());
            }
        }
        Ok(())
    }

    /// Covers the sockets of the host that would be seen below something read-only, unless they
    /// were asked for.
    pub(super) fn close_sockets(&mut self) -> Result<(), PlanError> {
        let trees = std::mem::take(&mut self.read_only);
        if trees.is_empty() || self.sockets.iter().any(SandboxPath::is_root) {
            return Ok(());
        }
        let sockets = self.host.sockets()?;
        if sockets.is_empty() {
            return Ok(());
        }
        let mut closed = BTreeSet::new();
        for ReadOnlyTree { at, source } in trees {
            let source = self.host.real(&source)?;
            for socket in &sockets {
                let path = socket.strip_prefix(&source).ok();
                let path = path.and_then(|rest| at.join(rest).ok());
                closed.extend(path.and_then(|path| self.shown_read_only(&path, socket)));
            }
        }
        for to in closed {
            if !self.sockets.iter().any(|open| to.starts_with(open)) {
                self.script.push(PlanStep::CloseSocket { to });
            }
        }
        Ok(())
    }

    /// `path`, if the host's `socket` is seen there, and cannot be removed there.
    fn shown_read_only(&mut self, path: &SandboxPath, socket: &Path) -> Option<SandboxPath> {
        // What cannot be looked at is out of the command's reach too.
        let Ok(Place::Found(node)) = self.walk(path, Last::Keep, Missing::Stop) else {
            return None;
        };
        // A socket that was mounted by its own name is meant to be used.
        if !matches!(self.tree.what(node), What::File) || self.tree.is_mount_point(node) {
            return None;
        }
        let dir = self.read_only_dir(self.tree.parent(node))?.to_owned();
        let at = self.tree.path(node);
        let same = at.file_name() == socket.file_name()
            && self.host.real(&dir).ok().as_deref() == socket.parent();
        same.then(|| at.clone())
    }

    /// The directory of the host that `dir` shows read-only.
    fn read_only_dir(&self, dir: NodeId) -> Option<&Path> {
        match self.tree.what(dir) {
            What::HostDir {
                path,
                hold: Hold::ReadOnly(_),
            } => Some(path),
            // Below it there are directories that the host lacks.
            What::ShadowDir(shadow) if self.script.shadow_path(*shadow) == self.tree.path(dir) => {
                Some(self.script.shadow_like(*shadow))
            }
            _ => None,
        }
    }
}
