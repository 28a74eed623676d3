//! The root, and what of a read-only root may be written to.

use std::collections::BTreeSet;
use std::path::PathBuf;

use sandboxlib_config::{Access, Config, MountKind, Root, RootAccess, SandboxPath};

use super::Planner;
use super::hide::{Named, replacement};
use super::host::Host;
use super::resolve::{Last, Missing, Place};
use super::script::Script;
use super::tree::{Hold, Tree, What};
use crate::{EntryKind, FsView, PlanError, PlanStep};

/// The word for a writable path in messages.
pub(super) const WRITABLE: &str = "writable path";

/// The word for one that may be connected to.
pub(super) const SOCKET: &str = "socket";

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
        if config.overlay.is_some() && access == Access::ReadWrite {
            return Err(PlanError::OverlaidWritable);
        }
        let mut planner = Self::on_root(host, source.clone(), path.clone(), access);
        let named = named(config, writable);
        if planner.makes_root_writable(&named)? {
            if config.overlay.is_some() {
                return Err(PlanError::OverlaidWritable);
            }
            planner = Self::on_root(planner.host, source, path, Access::ReadWrite);
        } else {
            planner.lay_over(config, &path)?;
        }
        planner.arrange(config, &named)?;
        Ok(planner)
    }

    /// `path` is that of `source` without links.
    fn on_root(host: Host<'a>, source: PathBuf, path: PathBuf, access: Access) -> Self {
        let mut script = Script::default();
        script.push(PlanStep::Root { source, access });
        let hold = Hold::Writable;
        let what = What::HostDir {
            path: path.clone(),
            hold,
        };
        let mut planner = Self {
            host,
            tree: Tree::new(what),
            script,
            unsealed: Vec::new(),
            read_only: Vec::new(),
            satisfied: Vec::new(),
            hidden: Vec::new(),
            not_masked: Vec::new(),
            sockets: Vec::new(),
        };
        if access == Access::ReadOnly {
            let what = planner.read_only_tree(&SandboxPath::root(), path);
            planner.tree.set_what(Tree::ROOT, what);
        }
        planner
    }
}

impl Planner<'_> {
    /// Whether one of the writable paths is the root by another name.
    fn makes_root_writable(&mut self, named: &[Named]) -> Result<bool, PlanError> {
        for name in named.iter().filter(|name| name.kind == WRITABLE) {
            if let Place::Found(node) = self.walk(&name.path, Last::Follow, Missing::Stop)?
                && node == Tree::ROOT
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The paths that are to be had in spite of what is around them. What is hidden and what can be
/// read after all is said of the host's own root alone.
fn named(config: &Config, writable: Vec<SandboxPath>) -> Vec<Named> {
    let mut named = Vec::new();
    let mut known = BTreeSet::new();
    let mut add = |paths: Vec<SandboxPath>, access, kind| {
        for path in paths {
            // What is writable can be read too.
            if known.insert(path.clone()) {
                named.push(Named { path, access, kind });
            }
        }
    };
    add(writable, Access::ReadWrite, WRITABLE);
    if config.root == Root::Host {
        add(config.readable.clone(), Access::ReadOnly, "readable path");
        // Connecting takes the permission to write that the socket itself gives, and no writable
        // mount (unix(7)).
        // One that a mount shows comes with that.
        let mut sockets = config.sockets.clone();
        sockets.retain(|path| !matches!(replacement(config, path), Some(MountKind::Bind { .. })));
        add(sockets, Access::ReadOnly, SOCKET);
    }
    named
}
