//! The sandbox's view of the file system: mounts, pivot_root, chroot.

use std::borrow::Cow;
use std::path::Path;

use sandboxlib_config::{Access, SandboxPath};
use sandboxlib_mount::{BindSource, PlanStep};

use super::errno::{
    EACCES, EAGAIN, EBUSY, EDQUOT, EEXIST, EINVAL, EISDIR, ELOOP, ENODEV, ENOENT, ENOSPC, ENOTDIR,
    EPERM, EROFS, ESTALE, EXDEV,
};
use super::{Diagnosis, Hints, denied, denied_by_somebody, twice};
use crate::{CapSet, Knob};

/// Calls that make or fill files: for them ENOSPC is a matter of space, not of mounts.
const FILE_CALLS: &[&str] = &[
    "chmod",
    "creat",
    "fchmod",
    "ftruncate",
    "mkdir",
    "mkdirat",
    "mknod",
    "mknodat",
    "open",
    "openat",
    "pwrite",
    "sendfile",
    "symlink",
    "symlinkat",
    "write",
];

pub(super) fn plan_step(
    out: &mut Hints,
    plan: &PlanStep,
    detail: &'static str,
    errno: i32,
    d: &Diagnosis,
) {
    if mount_list(out, detail, errno) {
        return;
    }
    let path = path_of(plan, detail);
    match errno {
        ENOSPC | EDQUOT if FILE_CALLS.contains(&detail) => out.add(
            Knob::Path(path.to_owned()),
            "free space and inodes on the file system of this path, or raise the quota or size",
        ),
        ENOSPC => mount_max(out, d),
        // Every path of a plan was there, and free of links, when the plan was made.
        ELOOP | ENOENT | ENOTDIR | EISDIR | ESTALE | EXDEV | EEXIST => changed(out, path),
        // openat2 gives up when somebody renames directories on its way.
        EAGAIN if detail == "openat2" => changed(out, path),
        ENODEV => {
            if let Some(option) = file_system_option(plan) {
                out.add(
                    Knob::KernelConfig(option),
                    "use a kernel with this file system",
                );
            }
        }
        EROFS => out.add(
            Knob::Mount(Cow::Borrowed("ro")),
            format!(
                "make {path:?} before, or mount its file system writable: it is read-only on the host"
            ),
        ),
        EBUSY => out.add(
            Knob::Path(path.to_owned()),
            "somebody has a file open for writing through this mount, or works in it: try again \
             when nobody does",
        ),
        EPERM | EACCES => {
            refused_here(out, plan, detail, errno, d);
            if !FILE_CALLS.contains(&detail) {
                denied(out, detail, errno, d);
            }
            if errno == EACCES && made_on_host(plan) {
                out.add(
                    Knob::Path(path.to_owned()),
                    format!(
                        "make {path:?} before, or make the root read-only, then it is made inside \
                         alone: its directory on the host may not be written to"
                    ),
                );
            } else if errno == EACCES {
                unreachable(out, path);
            }
            denied_by_somebody(out);
        }
        _ => denied(out, detail, errno, d),
    }
}

/// The list of the process's own mounts is read where mount_setattr(2) is missing. Tells whether
/// it was that.
fn mount_list(out: &mut Hints, detail: &str, errno: i32) -> bool {
    let it_was = detail == "read /proc/self/mountinfo" && errno == ENOENT;
    if it_was {
        out.add(
            Knob::Mount(Cow::Borrowed("/proc")),
            "mount a procfs on the caller's /proc, or use Linux 5.12 or later: without \
             mount_setattr, mounts are found there",
        );
    }
    it_was
}

/// What the step itself has to do with EPERM and EACCES.
fn refused_here(out: &mut Hints, plan: &PlanStep, detail: &'static str, errno: i32, d: &Diagnosis) {
    match plan {
        PlanStep::Proc { .. } if errno == EPERM => {
            let own_pid_namespace = |out: &mut Hints| {
                out.add(
                    Knob::Request("pid namespace"),
                    "isolate the pid namespace as well, or bind the host's /proc: a procfs shows a \
                     pid namespace, and can be mounted only by who owns it",
                );
            };
            // The kernel asks who owns the pid namespace when the file system is made, and
            // whether the mount would reveal too much when it is mounted.
            if detail == "fsconfig" {
                own_pid_namespace(out);
                return;
            }
            let mounting = matches!(detail, "fsmount" | "move_mount" | "mount");
            if mounting && (d.proc_masked || d.proc_missing) {
                out.add(
                    Knob::Mount(Cow::Borrowed("/proc")),
                    if d.proc_missing {
                        "mount a procfs on the caller's /proc: inside a user namespace a new one \
                         may show no more than what is there already"
                    } else {
                        "uncover the caller's /proc (`docker run --security-opt \
                         systempaths=unconfined`), or bind it instead: inside a user namespace a \
                         new one may show no more than the one there, parts of which are covered"
                    },
                );
            } else if detail == "mount" && !d.filtered {
                own_pid_namespace(out);
            }
        }
        PlanStep::Bind { attributes, .. }
            if errno == EPERM && attributes.access == Access::ReadWrite && d.mounted_with("ro") =>
        {
            out.add(
                Knob::Mount(Cow::Borrowed("ro")),
                "bind it read-only: its file system is mounted read-only on the host, which a user \
                 namespace cannot change",
            );
        }
        _ => {}
    }
}

/// The path that a call of a step is about.
fn path_of<'a>(plan: &'a PlanStep, detail: &str) -> &'a Path {
    let (from, to) = match plan {
        PlanStep::Root { source, .. } => (None, source.as_path()),
        PlanStep::Bind {
            from: BindSource::Host(from),
            to,
            ..
        } => (Some(from.as_path()), to.as_path()),
        PlanStep::Bind {
            from: BindSource::Root(from),
            to,
            ..
        } => (Some(from.as_path()), to.as_path()),
        PlanStep::Overlay {
            keep: Some(dir), ..
        } => (None, dir.as_path()),
        PlanStep::Shadow { at, .. }
        | PlanStep::Overlay { at, keep: None, .. }
        | PlanStep::MakeDir { at, .. }
        | PlanStep::MakeFile { at, .. }
        | PlanStep::MakeSymlink { at, .. }
        | PlanStep::Seal { at } => (None, at.as_path()),
        PlanStep::Tmpfs { to, .. }
        | PlanStep::Proc { to }
        | PlanStep::Devpts { to }
        | PlanStep::File { to, .. }
        | PlanStep::Mask { to, .. }
        | PlanStep::CloseSocket { to } => (None, to.as_path()),
    };
    match from {
        Some(from) if matches!(detail, "open" | "open_tree") => from,
        _ => to,
    }
}

/// Whether the step makes something on the host.
fn made_on_host(plan: &PlanStep) -> bool {
    matches!(
        plan,
        PlanStep::MakeDir { on_host: true, .. }
            | PlanStep::MakeFile { on_host: true, .. }
            | PlanStep::MakeSymlink { on_host: true, .. }
    )
}

fn file_system_option(plan: &PlanStep) -> Option<&'static str> {
    match plan {
        PlanStep::Shadow { .. }
        | PlanStep::Tmpfs { .. }
        | PlanStep::File { .. }
        | PlanStep::Mask { .. }
        | PlanStep::CloseSocket { .. } => Some("CONFIG_TMPFS"),
        PlanStep::Overlay { .. } => Some("CONFIG_OVERLAY_FS"),
        PlanStep::Proc { .. } => Some("CONFIG_PROC_FS"),
        PlanStep::Devpts { .. } => Some("CONFIG_UNIX98_PTYS"),
        _ => None,
    }
}

fn mount_max(out: &mut Hints, d: &Diagnosis) {
    out.sysctl(
        d,
        "fs.mount-max",
        twice(d, "fs.mount-max"),
        "the mount namespace may hold no more mounts: raise the limit, or bind fewer and larger \
         directories",
    );
}

fn changed(out: &mut Hints, path: &Path) {
    out.add(
        Knob::Path(path.to_owned()),
        format!(
            "keep others from changing {path:?} meanwhile, and try again: it is not what it was when \
             the sandbox was planned"
        ),
    );
}

fn unreachable(out: &mut Hints, path: &Path) {
    out.add(
        Knob::Path(path.to_owned()),
        format!(
            "let the caller reach {path:?}: every directory on the way needs search permission for it"
        ),
    );
}

/// Calls on mounts that name no path of the plan.
pub(super) fn arrangement(out: &mut Hints, detail: &'static str, errno: i32, d: &Diagnosis) {
    if errno == ENOSPC {
        mount_max(out, d);
    }
    denied(out, detail, errno, d);
    if matches!(errno, EPERM | EACCES) {
        denied_by_somebody(out);
    }
}

pub(super) fn protect_proc(
    out: &mut Hints,
    at: &SandboxPath,
    detail: &'static str,
    errno: i32,
    d: &Diagnosis,
) {
    if mount_list(out, detail, errno) {
        return;
    }
    match errno {
        ENOENT | ENOTDIR | ELOOP | ESTALE => changed(out, at.as_path()),
        _ => arrangement(out, detail, errno, d),
    }
}

pub(super) fn pivot_root(out: &mut Hints, detail: &'static str, errno: i32, d: &Diagnosis) {
    match errno {
        EINVAL if d.initial_root => out.add(
            Knob::Mount(Cow::Borrowed("initramfs")),
            "the caller's root is the kernel's first file system, which cannot be exchanged: \
             switch_root to another one before",
        ),
        EINVAL if d.chrooted => out.add(
            Knob::Mount(Cow::Borrowed("chroot")),
            "the caller's root directory is no mount point: bind the directory onto itself before \
             entering it by chroot, or enter it by pivot_root",
        ),
        // In a chroot to a mount point nothing shows.
        EINVAL => out.add(
            Knob::Mount(Cow::Borrowed("root")),
            "the caller's root cannot be exchanged, as in a chroot or an initramfs: start it \
             outside of that",
        ),
        _ => arrangement(out, detail, errno, d),
    }
}

pub(super) fn chroot(
    out: &mut Hints,
    path: Option<&Path>,
    detail: &'static str,
    errno: i32,
    d: &Diagnosis,
) {
    if errno == EPERM && path.is_some() && !d.has(CapSet::SYS_CHROOT) {
        out.add(
            Knob::Capability("CAP_SYS_CHROOT"),
            "run it as root with CAP_SYS_CHROOT, or use a backend that needs no privilege",
        );
    }
    match (errno, path) {
        (ENOENT | ENOTDIR | ELOOP | ESTALE, Some(path)) => changed(out, path),
        (EACCES, Some(path)) => {
            denied(out, detail, errno, d);
            unreachable(out, path);
        }
        _ => arrangement(out, detail, errno, d),
    }
}
