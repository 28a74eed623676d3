//! What of a host's own root is hidden, and what of it is shown after all or may be changed.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use sandboxlib_config::{
    Access, Config, HiddenBy, HiddenPlace, Ids, Isolation, MountKind, Network, Root, SandboxPath,
};

use super::Planner;
use super::make::New;
use super::resolve::{Last, Missing, Place};
use super::root::SOCKET;
use super::tree::{Configured, Hold, NodeId, What};
use crate::{Attributes, BindSource, EntryKind, Node, PlanError, PlanStep};

/// What is shown although it is in a hidden place, because programs do not work without it.
const KEPT: &[(&str, KeptFor)] = &[
    // With systemd-resolved and others, a link into /run.
    ("/etc/resolv.conf", KeptFor::SharedNetwork),
    // Where NixOS has its programs: a link into the store.
    ("/run/current-system", KeptFor::Everybody),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeptFor {
    Everybody,
    SharedNetwork,
}

/// A path that the caller names, to be had in spite of what is around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    /// As it was written.
    pub(super) path: SandboxPath,
    pub(super) access: Access,
    /// The word for messages.
    pub(super) kind: &'static str,
}

/// What is done at one place of the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Deed {
    /// A socket is shown if it is hidden, and otherwise is what its directory is.
    Uncover,
    /// What was named is shown.
    Show {
        writable: bool,
    },
    Hide {
        mode: u32,
        sealed: bool,
    },
    Proc,
}

impl Planner<'_> {
    /// Hides what `config` wants hidden, and shows and makes writable what it names.
    ///
    /// The deeds are done from the root downwards, so that whatever is done about a directory
    /// comes before what is done inside it: a writable /var does not bring back the /var/tmp that
    /// is hidden in it, and what is shown inside that comes last.
    pub(super) fn arrange(&mut self, config: &Config, named: &[Named]) -> Result<(), PlanError> {
        let mut deeds = Vec::new();
        for Named { path, access, kind } in named {
            let deed = match access {
                _ if *kind == SOCKET => Deed::Uncover,
                Access::ReadWrite => Deed::Show { writable: true },
                Access::ReadOnly => Deed::Show { writable: false },
            };
            match self.existing(path)? {
                Some(node) => deeds.push((self.tree.path(node).clone(), deed)),
                None => return Err(missing(named, path)),
            }
        }
        for place in hidden(config) {
            if let Some(deed) = self.hiding(config, &place)? {
                // Named exactly, it is shown.
                if !deeds.iter().any(|(at, _)| *at == deed.0) {
                    deeds.push(deed);
                }
            }
        }
        deeds.sort();
        // By two names it may be both read and written to: then the latter counts.
        deeds.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            if same {
                kept.1 = kept.1.max(later.1);
            }
            same
        });
        for (at, deed) in &deeds {
            match deed {
                Deed::Uncover => self.uncover(at)?,
                Deed::Show { writable } => self.show(at, *writable)?,
                Deed::Hide { mode, sealed } => self.hide(at, *mode, *sealed)?,
                Deed::Proc => self.own_proc(at)?,
            }
        }
        for (path, whom) in KEPT {
            let wanted = *whom == KeptFor::Everybody || config.network == Network::Shared;
            if wanted && !self.hidden.is_empty() {
                self.keep(Path::new(path))?;
            }
        }
        for name in named {
            self.configure_named(name)?;
        }
        Ok(())
    }

    /// The node of a path that is shown by the bare root.
    fn existing(&mut self, path: &SandboxPath) -> Result<Option<NodeId>, PlanError> {
        match self.walk(path, Last::Follow, Missing::Stop)? {
            Place::Found(node) => Ok(Some(node)),
            Place::Absent { .. } => Ok(None),
        }
    }

    /// What has to be done to hide `place`, if there is anything.
    fn hiding(
        &mut self,
        config: &Config,
        place: &HiddenPlace,
    ) -> Result<Option<(SandboxPath, Deed)>, PlanError> {
        let replaced = replacement(config, &place.path);
        if replaced.is_some_and(|kind| !matches!(kind, MountKind::Tmpfs { .. })) {
            return Ok(None);
        }
        let node = match self.existing(&place.path) {
            Ok(Some(node)) => node,
            Ok(None) => return Ok(None),
            // What a path leads to that ends nowhere or in a file is not there inside either.
            Err(PlanError::TooManyLinks { .. } | PlanError::NotADirectory { .. }) => {
                return Ok(None);
            }
            // A directory that is closed to the caller is so to a command with the same ids.
            Err(PlanError::Io { source, .. })
                if source.kind() == std::io::ErrorKind::PermissionDenied
                    && config.ids == Ids::Caller =>
            {
                return Ok(None);
            }
            Err(other) => return Err(other),
        };
        // By a link it may be the root itself, without which there is nothing.
        if self.tree.what(node).node() != Some(Node::Dir) || self.tree.path(node).is_root() {
            return Ok(None);
        }
        let at = self.tree.path(node).clone();
        if replaced.is_some() {
            self.hidden.push(at);
            return Ok(None);
        }
        Ok(match place.by {
            HiddenBy::Empty { mode } => {
                let sealed = false;
                Some((at, Deed::Hide { mode, sealed }))
            }
            HiddenBy::Nothing { mode } => Some((at, Deed::Hide { mode, sealed: true })),
            HiddenBy::Proc if config.namespaces.pid == Isolation::Isolated => {
                Some((at, Deed::Proc))
            }
            HiddenBy::Proc => None,
            _ => return Err(PlanError::Unknown { what: "hiding" }),
        })
    }

    fn hide(&mut self, at: &SandboxPath, mode: u32, sealed: bool) -> Result<(), PlanError> {
        match self.walk(at, Last::Follow, Missing::Reveal)? {
            Place::Absent { .. } => Ok(()),
            Place::Found(node) => {
                // In another hidden place it is an empty directory already.
                if !matches!(self.tree.what(node), What::PrivateDir { .. }) {
                    self.script.push(PlanStep::Tmpfs {
                        to: at.clone(),
                        size: None,
                        mode,
                    });
                    let covers = Some(at.as_path().to_owned());
                    self.tree.replace(node, What::PrivateDir { covers });
                    self.hidden.push(at.clone());
                    if sealed {
                        self.unsealed.push(node);
                    }
                }
                Ok(())
            }
        }
    }

    fn own_proc(&mut self, at: &SandboxPath) -> Result<(), PlanError> {
        if let Place::Found(node) = self.walk(at, Last::Follow, Missing::Stop)? {
            self.script.push(PlanStep::Proc { to: at.clone() });
            let like = PathBuf::from("/proc");
            self.tree.replace(node, What::ProcDir { like });
        }
        Ok(())
    }

    /// Has what the root holds at `at` seen there, with at least this access; or, where it is
    /// only to be read, with no more.
    fn show(&mut self, at: &SandboxPath, writable: bool) -> Result<(), PlanError> {
        let Place::Found(node) = self.walk(at, Last::Follow, Missing::Reveal)? else {
            return Ok(());
        };
        let kind = self.tree.what(node).node().unwrap_or(Node::File);
        // A file is what its directory is.
        let holder = match kind {
            Node::Dir => node,
            Node::File => self.tree.parent(node),
        };
        let shown = match self.tree.what(holder) {
            What::HostDir { hold, .. } => (*hold == Hold::Writable) == writable,
            What::ShadowDir(_) => !writable,
            What::PrivateDir { covers: Some(_) } | What::ProcDir { .. } => false,
            _ => true,
        };
        if shown {
            return Ok(());
        }
        self.script.push(PlanStep::Bind {
            from: BindSource::Root(at.clone()),
            to: at.clone(),
            node: kind,
            attributes: Attributes {
                access: if writable {
                    Access::ReadWrite
                } else {
                    Access::ReadOnly
                },
                devices: false,
            },
        });
        let what = match (kind, self.tree.what(node).clone()) {
            (
                Node::Dir,
                What::HostDir { path, .. }
                | What::PrivateDir { covers: Some(path) }
                | What::ProcDir { like: path },
            ) if writable => What::HostDir {
                path,
                hold: Hold::Writable,
            },
            (
                Node::Dir,
                What::HostDir { path, .. }
                | What::PrivateDir { covers: Some(path) }
                | What::ProcDir { like: path },
            ) => self.read_only_tree(at, path),
            _ => What::File,
        };
        self.tree.replace(node, what);
        Ok(())
    }

    /// Shows `path` if it leads to something in a hidden place, and the links on the way to it.
    fn keep(&mut self, path: &Path) -> Result<(), PlanError> {
        let (Some(_), Ok(path)) = (self.host.entry_following(path)?, SandboxPath::new(path)) else {
            return Ok(());
        };
        match self.uncover(&path) {
            // Then it leads nowhere inside, as it would have done without anything hidden.
            Err(PlanError::Unmountable { .. }) => Ok(()),
            done => done,
        }
    }

    /// Shows what is at `path` if it is hidden.
    fn uncover(&mut self, path: &SandboxPath) -> Result<(), PlanError> {
        if let Place::Found(node) = self.walk(path, Last::Follow, Missing::Reveal)?
            && self.is_veiled(node)
        {
            let at = self.tree.path(node).clone();
            self.show(&at, false)?;
        }
        Ok(())
    }

    /// Whether `node` stands for something that is hidden.
    fn is_veiled(&self, node: NodeId) -> bool {
        let is_private = |node| matches!(self.tree.what(node), What::PrivateDir { .. });
        is_private(node) || is_private(self.tree.parent(node))
    }

    /// Remembers what was asked for, and makes the links by which it was named.
    fn configure_named(&mut self, named: &Named) -> Result<(), PlanError> {
        if let Place::Found(node) = self.walk(&named.path, Last::Follow, Missing::Reveal)? {
            self.tree.configure(
                node,
                Configured {
                    kind: named.kind,
                    target: named.path.clone(),
                    is_place: false,
                },
            );
        }
        Ok(())
    }

    /// Makes in the private directory `dir`, which covers the host's `covered`, what that has
    /// under `name`: a link as it is, a directory or a file as an empty one.
    pub(super) fn reveal(
        &mut self,
        dir: NodeId,
        covered: &Path,
        name: &OsStr,
    ) -> Result<Option<NodeId>, PlanError> {
        let path = covered.join(name);
        let new = match self.host.entry(&path)? {
            None => return Ok(None),
            Some(EntryKind::Dir) => New::PARENT,
            Some(EntryKind::File) => New::File,
            Some(EntryKind::Symlink(to)) => New::Link(to),
        };
        let is_dir = matches!(new, New::Dir { .. });
        let node = self.make(dir, name, new)?;
        if is_dir {
            let covers = Some(path);
            self.tree.set_what(node, What::PrivateDir { covers });
        }
        Ok(Some(node))
    }
}

/// The places that `config` wants hidden.
fn hidden(config: &Config) -> Vec<HiddenPlace> {
    match (&config.root, &config.hidden) {
        (Root::Host, Some(places)) => places.clone(),
        (Root::Host, None) => HiddenPlace::usual::<&Path>([], true),
        _ => Vec::new(),
    }
}

/// The mount that takes the place of `path`, so that nothing has to be hidden there. What it shows
/// was asked for.
pub(super) fn replacement<'a>(config: &'a Config, path: &SandboxPath) -> Option<&'a MountKind> {
    let mounts = config.mounts.iter().filter(|mount| {
        let covers = !matches!(
            mount.kind,
            MountKind::Dir { .. } | MountKind::Symlink { .. }
        );
        covers && path.starts_with(&mount.target)
    });
    mounts.map(|mount| &mount.kind).next_back()
}

fn missing(named: &[Named], path: &SandboxPath) -> PlanError {
    let path = path.clone();
    match named.iter().find(|name| name.path == path) {
        Some(Named { kind, .. }) if *kind != super::root::WRITABLE => {
            PlanError::ReadableMissing { kind, path }
        }
        _ => PlanError::WritableMissing { path },
    }
}
