//! The birth of the child: its namespaces, its id maps, its ids.

use std::borrow::Cow;

use super::errno::{EACCES, EAGAIN, EINVAL, ENOENT, ENOSPC, ENOSYS, EPERM, EROFS, EUSERS};
use super::{
    Diagnosis, Hints, apparmor_restriction, confinement, denied, denied_by_somebody, no_such_call,
    reasons, seccomp,
};
use crate::{CapSet, IdMapper, IdRange, KernelVersion, Knob, MapWriter, NamespaceSet};

pub(super) fn clone(out: &mut Hints, set: NamespaceSet, errno: i32, d: &Diagnosis) {
    match errno {
        // ENOSPC since Linux 4.9; before, EUSERS for user namespaces nested too deep.
        ENOSPC | EUSERS => limits(out, set, d),
        EINVAL => missing_kinds(out, set, d),
        EPERM | EACCES if set.user => no_user_namespace(out, errno, d),
        EPERM | EACCES if set != NamespaceSet::default() => {
            needs_admin(out, d);
            denied(out, "clone", errno, d);
            denied_by_somebody(out);
        }
        // Engines answer ENOSYS to clone3 to make libc fall back to clone, whose flags a filter
        // can see.
        ENOSYS => no_such_call(out, "clone3", d),
        EAGAIN => too_many_processes(out),
        _ => {}
    }
}

pub(super) fn too_many_processes(out: &mut Hints) {
    out.add(
        Knob::Limit("RLIMIT_NPROC"),
        "the caller's user may have no more processes: end some or raise the limit (`ulimit -u`)",
    );
    out.add(
        Knob::Limit("pids.max"),
        "or the control group of the caller may have no more: raise its pids.max (TasksMax= in a \
         systemd unit)",
    );
}

fn limits(out: &mut Hints, set: NamespaceSet, d: &Diagnosis) {
    const UNLIMITED: u64 = 0x7fff_ffff;
    let setting = |kind: &str| format!("user.max_{kind}_namespaces");
    for kind in set
        .names()
        .filter(|kind| d.setting_is(&setting(kind), |n| n == 0))
    {
        let advice = format!("allow {kind} namespaces, which are switched off here");
        out.sysctl(d, setting(kind), enough(), advice);
    }
    if !out.0.is_empty() {
        return;
    }
    // None is 0, so one is used up: here or, unseen, in a user namespace around the caller's.
    let nested = |out: &mut Hints| {
        if set.user || set.pid {
            out.add(
                Knob::Request("nesting"),
                "user and pid namespaces nest 32 levels deep at most: do not start sandboxes \
                 inside one another so deep",
            );
        }
    };
    let in_a_namespace = !reasons::is_whole(&d.facts.uid_map);
    if in_a_namespace {
        nested(out);
    }
    let least = set
        .names()
        .filter_map(|kind| {
            let value: u64 = d.setting(&setting(kind))?.parse().ok()?;
            Some((value, kind))
        })
        // What a new user namespace begins with is no limit: then it is one around it.
        .filter(|(value, _)| *value < UNLIMITED)
        .min_by_key(|(value, _)| *value);
    if let Some((value, kind)) = least {
        out.sysctl(
            d,
            setting(kind),
            value.saturating_mul(2).to_string(),
            "a limit of namespaces per user is used up, here or in a user namespace around this \
             one: end some sandboxes or raise the user.max_*_namespaces that is too low",
        );
    }
    nested(out);
}

/// A value that lets a few builds run side by side, and is what small machines have by default.
fn enough() -> Cow<'static, str> {
    Cow::Borrowed("15000")
}

fn missing_kinds(out: &mut Hints, set: NamespaceSet, d: &Diagnosis) {
    let option = |kind: &str| match kind {
        "user" => Some("CONFIG_USER_NS"),
        "pid" => Some("CONFIG_PID_NS"),
        "ipc" => Some("CONFIG_IPC_NS"),
        "uts" => Some("CONFIG_UTS_NS"),
        "net" => Some("CONFIG_NET_NS"),
        "cgroup" => Some("CONFIG_CGROUPS"),
        _ => None,
    };
    for kind in set
        .names()
        .filter(|kind| d.missing_namespaces.contains(kind))
    {
        if let Some(option) = option(kind) {
            out.add(
                Knob::KernelConfig(option),
                format!("use a kernel with {kind} namespaces, or share them: this one has none"),
            );
        }
    }
    if out.0.is_empty() && set.user && d.proc_missing {
        out.add(
            Knob::KernelConfig("CONFIG_USER_NS"),
            "use a kernel with user namespaces, if this one has none (it cannot be told without \
             /proc)",
        );
    }
}

/// Without a user namespace every other one takes privilege.
fn needs_admin(out: &mut Hints, d: &Diagnosis) {
    if !d.has(CapSet::SYS_ADMIN) {
        out.add(
            Knob::Capability("CAP_SYS_ADMIN"),
            "run it as root with CAP_SYS_ADMIN, or let the sandbox have a user namespace",
        );
    }
}

fn no_user_namespace(out: &mut Hints, errno: i32, d: &Diagnosis) {
    const SWITCH: &str = "kernel.unprivileged_userns_clone";
    // The switch spares those who are privileged in the first user namespace.
    let privileged = d.has(CapSet::SYS_ADMIN) && reasons::is_whole(&d.facts.uid_map);
    if errno == EPERM {
        if !privileged && d.setting_is(SWITCH, |n| n == 0) {
            out.sysctl(d, SWITCH, "1", "let ordinary users make user namespaces");
        }
        if d.chrooted {
            out.add(
                Knob::Mount(Cow::Borrowed("chroot")),
                "the caller is in a chroot, where no user namespace can be made: start it outside, \
                 or enter the root by pivot_root",
            );
        }
        let mapped = |map: &[IdRange], id| reasons::covers(map, id, 1);
        if !mapped(&d.facts.uid_map, d.facts.uid) || !mapped(&d.facts.gid_map, d.facts.gid) {
            out.add(
                Knob::Request("ids of the caller"),
                "the caller's own ids are not mapped in the user namespace that it lives in: start \
                 it as a user that is",
            );
        }
    }
    denied(out, "clone", errno, d);
    denied_by_somebody(out);
}

pub(super) fn id_map(
    out: &mut Hints,
    uids: &[IdRange],
    gids: &[IdRange],
    writer: &MapWriter,
    errno: i32,
    d: &Diagnosis,
) {
    let helpers = matches!(writer, MapWriter::Helpers { .. });
    match errno {
        EPERM | EACCES => {}
        EINVAL if !helpers => {
            out.add(
                Knob::Request("ids"),
                "ask for id ranges that do not overlap, 340 at most",
            );
            return;
        }
        ENOENT if d.proc_missing => return no_proc(out),
        EROFS => {
            out.add(
                Knob::Mount(Cow::Borrowed("/proc")),
                "mount the caller's /proc writable: id maps are written there",
            );
            return;
        }
        ENOSYS => return no_such_call(out, "", d),
        // What newuidmap finds wrong has no errno.
        _ if helpers => {}
        _ => return,
    }
    if let MapWriter::Helpers { newuidmap, .. } = writer {
        powerless_helpers(out, newuidmap, d);
        if let Some(reason) = d.facts.subordinate_reason() {
            for hint in reason.hints {
                out.add(hint.knob, hint.advice);
            }
        }
        return apparmor_restriction(out, d);
    }
    let fits = |ranges: &[IdRange], map: &[IdRange]| {
        ranges
            .iter()
            .all(|r| reasons::covers(map, r.outside, r.count))
    };
    if !fits(uids, &d.facts.uid_map) || !fits(gids, &d.facts.gid_map) {
        out.add(
            Knob::Request("ids"),
            "ask for ids that exist in the user namespace that the caller lives in",
        );
    }
    // The root of the namespace around may be mapped only by who could give files capabilities
    // in its name (since Linux 5.12).
    const SETFCAP: CapSet = CapSet::from_bits(1 << 31);
    let asks = d
        .facts
        .kernel
        .is_none_or(|found| found >= KernelVersion(5, 12));
    if asks && uids.iter().any(|r| r.outside == 0) && !d.has(SETFCAP) {
        out.add(
            Knob::Capability("CAP_SETFCAP"),
            "run it with CAP_SETFCAP, without which root's id cannot be mapped, or as another user",
        );
    }
    if *writer == MapWriter::Parent && d.facts.id_mapper() == IdMapper::OwnIdOnly {
        for (capability, name) in [
            (CapSet::SETUID, "CAP_SETUID"),
            (CapSet::SETGID, "CAP_SETGID"),
        ] {
            if !d.has(capability) {
                out.add(
                    Knob::Capability(name),
                    format!("run it with {name}, or ask for the caller's own ids alone"),
                );
            }
        }
    }
    // Clone succeeds under Ubuntu's restriction, and it is here that it shows. No filter sees
    // what is written to a file.
    apparmor_restriction(out, d);
    confinement(out, d);
    denied_by_somebody(out);
}

fn no_proc(out: &mut Hints) {
    out.add(
        Knob::Mount(Cow::Borrowed("/proc")),
        "mount a procfs on the caller's /proc, which it does not have",
    );
}

/// Why newuidmap has no power although it is there.
fn powerless_helpers(out: &mut Hints, newuidmap: &std::path::Path, d: &Diagnosis) {
    if let Some(helper) = &d.powerless_helper {
        out.add(
            Knob::Path(helper.clone()),
            format!(
                "make {helper:?} set-user-id root (`chmod u+s`), or install the package uidmap anew"
            ),
        );
    }
    if d.no_new_privs {
        out.add(
            Knob::Request("no_new_privs"),
            "the caller runs with no_new_privs, so newuidmap gains no privilege: start it without \
             (NoNewPrivileges= in a systemd unit, allowPrivilegeEscalation in a pod)",
        );
    }
    if d.mounted_with("nosuid") {
        out.add(
            Knob::Mount(Cow::Borrowed("nosuid")),
            format!(
                "mount the file system that {newuidmap:?} is on with suid: it is mounted nosuid, so the \
                 program gains no privilege"
            ),
        );
    }
}

/// Writing the limit of the sandbox's own user namespace.
pub(super) fn limit_namespaces(out: &mut Hints, errno: i32, d: &Diagnosis) {
    let hidden = d.proc_missing || d.proc_masked;
    if hidden || matches!(errno, ENOENT | EACCES | EROFS) {
        out.add(
            Knob::Mount(Cow::Borrowed("/proc")),
            "let the caller have a /proc that can be written to, or use a system call filter that \
             closes the same",
        );
    }
    out.add(
        Knob::Request("nested"),
        "allow further user namespaces inside, or say that less will do",
    );
}

pub(super) fn time_namespace(out: &mut Hints, errno: i32, d: &Diagnosis) {
    const LIMIT: &str = "user.max_time_namespaces";
    const FIRST: KernelVersion = KernelVersion(5, 6);
    match errno {
        ENOSPC if d.setting_is(LIMIT, |n| n == 0) => {
            out.sysctl(
                d,
                LIMIT,
                enough(),
                "allow time namespaces, which are switched off here",
            );
        }
        ENOSPC => {
            out.sysctl(
                d,
                LIMIT,
                super::twice(d, LIMIT),
                "the limit of time namespaces is used up",
            );
        }
        EINVAL if d.facts.kernel.is_some_and(|found| found >= FIRST) => out.add(
            Knob::KernelConfig("CONFIG_TIME_NS"),
            "use a kernel with time namespaces, or share them",
        ),
        EINVAL => out.add(
            Knob::Kernel {
                found: d.facts.kernel,
                wanted: FIRST,
            },
            "use a kernel with time namespaces, or share them",
        ),
        _ => denied(out, "unshare", errno, d),
    }
}

/// Steps that change ids.
pub(super) fn ids(out: &mut Hints, needed: CapSet, name: &'static str, errno: i32, d: &Diagnosis) {
    match errno {
        EPERM => {
            if !d.has(needed) {
                out.add(
                    Knob::Capability(name),
                    format!("run it with {name}, which this needs"),
                );
            }
            if d.filtered {
                seccomp(out, "");
            }
        }
        EINVAL => out.add(
            Knob::Request("ids"),
            "ask for ids that are mapped in the sandbox's user namespace",
        ),
        EAGAIN => too_many_processes(out),
        _ => {}
    }
}
