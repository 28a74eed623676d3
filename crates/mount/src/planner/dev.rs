//! The minimal `/dev`.

use std::ffi::OsStr;
use std::path::Path;

use sandboxlib_config::Access;

use super::Planner;
use super::make::New;
use super::tree::{NodeId, What};
use crate::{Attributes, BindSource, Node, PlanError, PlanStep};

/// Room for names and mount points, and none to speak of for data: nothing but set-up writes to
/// it.
const SIZE: u64 = 1 << 20;

const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

const LINKS: [(&str, &str); 4] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

impl Planner<'_> {
    /// Puts the minimal `/dev` on the directory `at`. What it is made of are no mounts of the
    /// caller's, so a later mount may cover it.
    pub(super) fn dev(&mut self, at: NodeId) -> Result<(), PlanError> {
        self.private_dir(at, Some(SIZE), 0o755);
        for name in DEVICES {
            let device = self.make(at, OsStr::new(name), New::File)?;
            self.script.push(PlanStep::Bind {
                from: BindSource::Host(Path::new("/dev").join(name)),
                to: self.tree.path(device).clone(),
                node: Node::File,
                attributes: Attributes {
                    access: Access::ReadWrite,
                    devices: true,
                },
            });
        }
        for (name, to) in LINKS {
            self.make(at, OsStr::new(name), New::Link(to.into()))?;
        }
        let pts = self.make(at, OsStr::new("pts"), New::PARENT)?;
        self.script.push(PlanStep::Devpts {
            to: self.tree.path(pts).clone(),
        });
        self.tree.replace(pts, What::Devpts);
        self.tree.add(pts, OsStr::new("ptmx"), What::File)?;
        self.make(at, OsStr::new("ptmx"), New::Link("pts/ptmx".into()))?;
        let shm = self.make(at, OsStr::new("shm"), New::PARENT)?;
        self.private_dir(shm, None, 0o1777);
        self.unsealed.push(at);
        Ok(())
    }

    fn private_dir(&mut self, at: NodeId, size: Option<u64>, mode: u32) {
        self.script.push(PlanStep::Tmpfs {
            to: self.tree.path(at).clone(),
            size,
            mode,
        });
        self.tree.replace(at, What::PrivateDir { covers: None });
    }

    /// Seals now what a mount on `at` is about to put out of reach: later, its path would name
    /// something else.
    pub(super) fn seal_within(&mut self, at: NodeId) {
        let covered = self.tree.path(at).clone();
        let (now, later) = std::mem::take(&mut self.unsealed)
            .into_iter()
            .partition(|node| self.tree.path(*node).starts_with(&covered));
        self.unsealed = later;
        let now: Vec<NodeId> = now;
        for node in now {
            self.script.push(PlanStep::Seal {
                at: self.tree.path(node).clone(),
            });
        }
    }
}
