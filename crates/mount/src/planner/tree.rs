//! The sandbox as it looks after the steps so far: a tree of names in which only what was asked
//! for has been looked up.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;

use sandboxlib_config::{PathError, SandboxPath};

use super::host::failed;
use super::script::{LayerId, ShadowId};
use crate::{Node, PlanError};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NodeId(usize);

/// What a path of the sandbox shows.
#[derive(Debug, Clone)]
pub(super) enum What {
    /// A directory of the host. What it holds is found out by looking.
    HostDir { path: PathBuf, hold: Hold },
    /// A directory of a shadow. The tree knows all that it holds.
    ShadowDir(ShadowId),
    /// A directory in memory that the sandbox may write to. The tree knows all that it holds.
    PrivateDir {
        /// The directory of the root that is hidden here, of which parts may be shown yet.
        covers: Option<PathBuf>,
    },
    /// A directory in the sandbox's own procfs. What it holds is guessed from `like`, its
    /// counterpart in the host's.
    ProcDir { like: PathBuf },
    /// Anything that is neither directory nor link.
    File,
    /// A symbolic link and what it says.
    Link(OsString),
    /// A devpts, with the one entry that is always there.
    Devpts,
    /// A mount of this kind into which no path leads.
    Closed { kind: &'static str, node: Node },
}

/// Whether things can be made in a directory of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    Writable,
    /// Yes, in a layer over it: the host's stays as it is.
    Overlay,
    /// No. What is missing is had by a shadow, which is made together with this layer.
    ReadOnly(LayerId),
}

impl What {
    /// What can be mounted here; `None` for a symbolic link.
    pub(super) fn node(&self) -> Option<Node> {
        match self {
            Self::HostDir { .. }
            | Self::ShadowDir(_)
            | Self::PrivateDir { .. }
            | Self::ProcDir { .. }
            | Self::Devpts => Some(Node::Dir),
            Self::File => Some(Node::File),
            Self::Link(_) => None,
            Self::Closed { node, .. } => Some(*node),
        }
    }
}

/// What the caller asked for at some node.
#[derive(Debug, Clone)]
pub(super) struct Configured {
    pub(super) kind: &'static str,
    /// As it was written, that is, before links were followed.
    pub(super) target: SandboxPath,
    /// Whether it is a mere directory, which a mount on it puts to use rather than hides.
    pub(super) is_place: bool,
}

#[derive(Debug)]
struct TreeNode {
    path: SandboxPath,
    parent: NodeId,
    children: BTreeMap<OsString, NodeId>,
    what: What,
    /// Whether something is mounted here, over what the directory above has under this name.
    is_mount_point: bool,
    configured: Option<Configured>,
    /// How many nodes are configured here and below: to know whether a mount hides one without
    /// searching for it.
    configured_within: usize,
}

#[derive(Debug)]
pub(super) struct Tree {
    nodes: Vec<TreeNode>,
}

impl Tree {
    pub(super) const ROOT: NodeId = NodeId(0);

    pub(super) fn new(root: What) -> Self {
        let mut tree = Self { nodes: Vec::new() };
        tree.push(SandboxPath::root(), Self::ROOT, root);
        tree
    }

    fn push(&mut self, path: SandboxPath, parent: NodeId, what: What) -> NodeId {
        let id = NodeId(self.nodes.len());
        self.nodes.push(TreeNode {
            path,
            parent,
            children: BTreeMap::new(),
            what,
            is_mount_point: false,
            configured: None,
            configured_within: 0,
        });
        id
    }

    /// Adds `name` to the directory `parent`, which does not have it yet.
    ///
    /// Names come from the host and from what symbolic links say, so one that is none is an
    /// error and not taken on trust.
    pub(super) fn add(
        &mut self,
        parent: NodeId,
        name: &OsStr,
        what: What,
    ) -> Result<NodeId, PlanError> {
        let path = self
            .path(parent)
            .join(name)
            .map_err(|e| bad_name(name, e))?;
        if path.file_name() != Some(name) {
            return Err(failed(name.as_ref(), io::ErrorKind::InvalidData.into()));
        }
        let id = self.push(path, parent, what);
        self.nodes[parent.0].children.insert(name.to_owned(), id);
        Ok(id)
    }

    pub(super) fn path(&self, id: NodeId) -> &SandboxPath {
        &self.nodes[id.0].path
    }

    pub(super) fn what(&self, id: NodeId) -> &What {
        &self.nodes[id.0].what
    }

    /// The directory above; the root's is the root, as for the kernel.
    pub(super) fn parent(&self, id: NodeId) -> NodeId {
        self.nodes[id.0].parent
    }

    /// The child of this name, if it has been looked up or made before.
    pub(super) fn known_child(&self, dir: NodeId, name: &OsStr) -> Option<NodeId> {
        self.nodes[dir.0].children.get(name).copied()
    }

    /// Says that `id` shows something else from now on, while what is below it stays.
    pub(super) fn set_what(&mut self, id: NodeId, what: What) {
        self.nodes[id.0].what = what;
    }

    /// Mounts something else in the place of `id` and everything below it.
    pub(super) fn replace(&mut self, id: NodeId, what: What) {
        let gone = self.nodes[id.0].configured_within;
        self.count_up_from(id, |n| n - gone);
        let node = &mut self.nodes[id.0];
        node.children.clear();
        node.configured = None;
        node.what = what;
        node.is_mount_point = true;
    }

    /// Whether something has been mounted on `id`.
    pub(super) fn is_mount_point(&self, id: NodeId) -> bool {
        self.nodes[id.0].is_mount_point
    }

    /// Notes that the caller asked for what is at `id`. What was asked for first stays.
    pub(super) fn configure(&mut self, id: NodeId, configured: Configured) {
        let node = &mut self.nodes[id.0];
        if node.configured.is_none() {
            node.configured = Some(configured);
            self.count_up_from(id, |n| n + 1);
        }
    }

    fn count_up_from(&mut self, mut id: NodeId, change: impl Fn(usize) -> usize) {
        loop {
            let node = &mut self.nodes[id.0];
            node.configured_within = change(node.configured_within);
            if id == Self::ROOT {
                return;
            }
            id = node.parent;
        }
    }

    /// Something that was configured at `id` or below it, and that a mount on `id` would hide.
    pub(super) fn hidden_by_mount_on(&self, mount_point: NodeId) -> Option<&Configured> {
        let mut id = mount_point;
        loop {
            let node = &self.nodes[id.0];
            if let Some(found) = &node.configured
                && !(found.is_place && id == mount_point)
            {
                return Some(found);
            }
            id = *node
                .children
                .values()
                .find(|c| self.nodes[c.0].configured_within > 0)?;
        }
    }
}

fn bad_name(name: &OsStr, error: PathError) -> PlanError {
    failed(
        name.as_ref(),
        io::Error::new(io::ErrorKind::InvalidData, error),
    )
}
