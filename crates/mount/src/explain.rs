//! A plan as text. Paths are printed escaped, so that none can pass for another line.

use std::fmt;

use sandboxlib_config::Access;

use crate::{Attributes, BindSource, MountPlan, Node, PlanStep, ShadowEntry};

impl fmt::Display for MountPlan {
    /// One line for each step, and for what was asked for and led to none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            writeln!(f, "{step}")?;
        }
        for path in &self.satisfied {
            writeln!(f, "in place already: {path:?}")?;
        }
        for path in &self.not_masked {
            writeln!(f, "not masked, because it does not exist: {path:?}")?;
        }
        Ok(())
    }
}

impl fmt::Display for PlanStep {
    /// One line, without its end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root { source, access } => write!(f, "root {source:?} {}", word(*access)),
            Self::Shadow { at, mode, entries } => {
                write!(f, "shadow {at:?} mode {mode:04o}")?;
                write_entries(f, entries)
            }
            Self::Overlay { at, keep, size } => {
                write!(f, "overlay on {at:?}, changes")?;
                match (keep, size) {
                    (Some(dir), _) => write!(f, " in {dir:?}"),
                    (None, Some(bytes)) => write!(f, " in memory, size {bytes}"),
                    (None, None) => f.write_str(" in memory"),
                }
            }
            Self::Bind {
                from,
                to,
                node,
                attributes: Attributes { access, devices },
            } => {
                let devices = if *devices { " with devices" } else { "" };
                let (node, access) = (noun(*node), word(*access));
                write!(f, "bind {node} {from} on {to:?} {access}{devices}")
            }
            Self::Tmpfs { to, size, mode } => {
                write!(f, "tmpfs on {to:?} mode {mode:04o}")?;
                match size {
                    Some(bytes) => write!(f, " size {bytes}"),
                    None => Ok(()),
                }
            }
            Self::Proc { to } => write!(f, "proc on {to:?}"),
            Self::Devpts { to } => write!(f, "devpts on {to:?}"),
            Self::File { to, data, mode } => {
                write!(f, "file of {} bytes on {to:?} mode {mode:04o}", data.len())
            }
            Self::Mask { to, node } => write!(f, "mask {} {to:?}", noun(*node)),
            Self::CloseSocket { to } => write!(f, "close socket {to:?}"),
            Self::MakeDir { at, mode, on_host } => {
                write!(f, "make dir {at:?} mode {mode:04o}{}", place(*on_host))
            }
            Self::MakeFile { at, on_host } => write!(f, "make file {at:?}{}", place(*on_host)),
            Self::MakeSymlink { at, to, on_host } => {
                write!(f, "make symlink {at:?} -> {to:?}{}", place(*on_host))
            }
            Self::Seal { at } => write!(f, "seal {at:?}"),
        }
    }
}

impl fmt::Display for BindSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(path) => write!(f, "{path:?}"),
            Self::Root(path) => write!(f, "{path:?} of the root"),
        }
    }
}

/// A covered directory may hold thousands of entries, so those that only stay are counted.
fn write_entries(f: &mut fmt::Formatter<'_>, entries: &[ShadowEntry]) -> fmt::Result {
    let kept = entries
        .iter()
        .filter(|e| matches!(e, ShadowEntry::Keep { .. }))
        .count();
    write!(f, ", {kept} kept")?;
    for entry in entries {
        match entry {
            ShadowEntry::Keep { .. } => {}
            ShadowEntry::Link { path, to } => write!(f, ", symlink {path:?} -> {to:?}")?,
            ShadowEntry::Dir { path, mode } => write!(f, ", dir {path:?} mode {mode:04o}")?,
            ShadowEntry::File { path } => write!(f, ", file {path:?}")?,
        }
    }
    Ok(())
}

fn word(access: Access) -> &'static str {
    match access {
        Access::ReadOnly => "read-only",
        Access::ReadWrite => "read-write",
    }
}

fn noun(node: Node) -> &'static str {
    match node {
        Node::Dir => "dir",
        Node::File => "file",
    }
}

fn place(on_host: bool) -> &'static str {
    if on_host { " on the host" } else { "" }
}
