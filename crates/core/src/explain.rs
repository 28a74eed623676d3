use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::{CapSet, FailedStep, Hint, HostFacts, KernelVersion, Knob, Step};

mod birth;
mod errno;
mod exec;
mod mounts;
mod reasons;
#[cfg(test)]
mod tests;

use errno::{EACCES, EINVAL, EMFILE, ENAMETOOLONG, ENFILE, ENOMEM, ENOSYS, EPERM};

/// A failed step and the errno that it failed with.
#[derive(Debug, Clone, Copy)]
pub struct Failure<'a> {
    /// The step.
    pub step: &'a FailedStep,
    /// The errno, with Linux's numbers.
    pub errno: i32,
}

/// What is looked at after a failure, to find its cause.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[allow(
    clippy::struct_excessive_bools,
    reason = "findings that are independent of one another"
)]
pub struct Diagnosis {
    /// The facts known before; the id maps may have been read only now.
    pub facts: HostFacts,
    /// The values found of the settings in [`SYSCTLS`]; one that does not exist is absent.
    pub sysctls: BTreeMap<String, String>,
    /// Whether the caller runs under a system call filter (`Seccomp: 2` in proc(5) status).
    pub filtered: bool,
    /// Whether the caller can gain no privilege by executing a program (`NoNewPrivs: 1` in
    /// proc(5) status), so that newuidmap cannot do its work.
    pub no_new_privs: bool,
    /// Whether parts of the caller's /proc are covered by other mounts, or all of it is
    /// read-only, as container engines do.
    pub proc_masked: bool,
    /// Whether the caller has no /proc at all.
    pub proc_missing: bool,
    /// Whether the caller's root directory is no mount point: it lives in a chroot.
    pub chrooted: bool,
    /// Whether the caller's root directory is the kernel's first one, as in an initramfs.
    pub initial_root: bool,
    /// The caller's label of a security module (/proc/self/attr/current), such as
    /// `docker-default (enforce)`.
    pub label: Option<String>,
    /// The kinds of namespaces, named as in /proc/self/ns, that the kernel does not have.
    pub missing_namespaces: Vec<&'static str>,
    /// The mount options, as in mountinfo, of the file system that the failed step was about.
    pub mount_options: Option<String>,
    /// The program of newuidmap and newgidmap that has neither the set-user-id bit nor file
    /// capabilities.
    pub powerless_helper: Option<PathBuf>,
    /// The processor, named as qemu names it, for which the command was built, if that is known
    /// and not this machine's.
    pub foreign: Option<&'static str>,
}

/// The settings that a [`Diagnosis`] holds.
pub const SYSCTLS: &[&str] = &[
    "user.max_user_namespaces",
    "user.max_mnt_namespaces",
    "user.max_pid_namespaces",
    "user.max_net_namespaces",
    "user.max_ipc_namespaces",
    "user.max_uts_namespaces",
    "user.max_cgroup_namespaces",
    "user.max_time_namespaces",
    "kernel.unprivileged_userns_clone",
    "kernel.apparmor_restrict_unprivileged_userns",
    "fs.mount-max",
    "fs.file-max",
    "vm.memfd_noexec",
];

impl Diagnosis {
    /// A diagnosis that knows no more than `facts`.
    #[must_use]
    pub fn new(facts: HostFacts) -> Self {
        Self {
            facts,
            sysctls: BTreeMap::new(),
            filtered: false,
            no_new_privs: false,
            proc_masked: false,
            proc_missing: false,
            chrooted: false,
            initial_root: false,
            label: None,
            missing_namespaces: Vec::new(),
            mount_options: None,
            powerless_helper: None,
            foreign: None,
        }
    }

    /// The value found of a setting: by the diagnosis, or else before.
    fn setting(&self, name: &str) -> Option<Cow<'_, str>> {
        if let Some(value) = self.sysctls.get(name) {
            return Some(Cow::Borrowed(value.trim()));
        }
        let switch = |on: bool| Cow::Borrowed(if on { "1" } else { "0" });
        match name {
            "user.max_user_namespaces" => self
                .facts
                .max_user_namespaces
                .map(|n| Cow::Owned(n.to_string())),
            "kernel.unprivileged_userns_clone" => self.facts.unprivileged_userns_clone.map(switch),
            "kernel.apparmor_restrict_unprivileged_userns" => {
                self.facts.apparmor_restricts_userns.map(switch)
            }
            _ => None,
        }
    }

    /// Whether a setting was found and is a number that `test` accepts.
    fn setting_is(&self, name: &str, test: impl Fn(u64) -> bool) -> bool {
        self.setting(name)
            .and_then(|value| value.parse().ok())
            .is_some_and(test)
    }

    fn has(&self, capability: CapSet) -> bool {
        self.facts.capabilities.contains(capability)
    }

    fn mounted_with(&self, option: &str) -> bool {
        self.mount_options
            .as_deref()
            .is_some_and(|o| o.split(',').any(|word| word == option))
    }

    /// The security module that confines the caller, judged by the form of the label: AppArmor
    /// writes `profile (mode)`, SELinux `user:role:type:level`.
    fn confined_by(&self) -> Option<&'static str> {
        let label = self.label.as_deref()?.trim();
        if label.ends_with("(enforce)") {
            Some("AppArmor")
        } else if label.split(':').count() >= 3 && !label.contains(":unconfined_t") {
            Some("SELinux")
        } else {
            None
        }
    }
}

/// Hints in the making: each knob is named once, where it came up first.
#[derive(Default)]
struct Hints(Vec<Hint>);

impl Hints {
    fn add(&mut self, knob: Knob, advice: impl Into<Cow<'static, str>>) {
        if !self.0.iter().any(|hint| hint.knob == knob) {
            self.0.push(Hint::new(knob, advice));
        }
    }

    fn sysctl(
        &mut self,
        d: &Diagnosis,
        name: impl Into<Cow<'static, str>>,
        wanted: impl Into<Cow<'static, str>>,
        advice: impl Into<Cow<'static, str>>,
    ) {
        let name = name.into();
        let found = d
            .setting(&name)
            .map_or_else(|| "unknown".to_owned(), Cow::into_owned);
        self.add(
            Knob::Sysctl {
                name,
                found,
                wanted: wanted.into(),
            },
            advice,
        );
    }
}

/// What may have caused a failure, and what to do, the likeliest first. Pure: it keys on the
/// step, since the same errno means different things in different places.
#[must_use]
pub fn explain(failure: Failure<'_>, diagnosis: &Diagnosis) -> Vec<Hint> {
    let Failure { step, errno } = failure;
    let d = diagnosis;
    let mut out = Hints::default();
    match step {
        // The text of the error says what could not be passed on, and that is all there is.
        FailedStep::Lower { .. } => {}
        FailedStep::FirstProcess => out.add(
            Knob::Request("as_pid_1"),
            "leave process 1 to the init program of the sandbox",
        ),
        // The one call in it that a kernel can be too old for.
        FailedStep::Streams if errno == ENOSYS => no_such_call(&mut out, "close_range", d),
        FailedStep::Streams => {}
        FailedStep::Resources(_) | FailedStep::Init => exec::own_program(&mut out, errno, d),
        FailedStep::Clone(set) => birth::clone(&mut out, *set, errno, d),
        FailedStep::Script { step, detail, .. } => script(&mut out, step, detail, errno, d),
        FailedStep::WorkingDirectory(path) => exec::working_directory(&mut out, path, errno),
        FailedStep::Exec { program, problem } => {
            exec::command(&mut out, program, problem, errno, d);
        }
        FailedStep::Helper(path) => exec::helper(&mut out, path, errno, d),
        // It has told why itself.
        FailedStep::HelperSetup(_) => {}
        FailedStep::Died | FailedStep::Session => exec::died(&mut out, d),
    }
    everywhere(&mut out, errno, d);
    out.0
}

fn script(out: &mut Hints, step: &Step, detail: &'static str, errno: i32, d: &Diagnosis) {
    match step {
        Step::Namespaces(set) => birth::clone(out, *set, errno, d),
        Step::IdMap { uids, gids, writer } => birth::id_map(out, uids, gids, writer, errno, d),
        Step::LimitNamespaces => birth::limit_namespaces(out, errno, d),
        Step::TimeNamespace => birth::time_namespace(out, errno, d),
        Step::PrivateMounts => mounts::arrangement(out, detail, errno, d),
        Step::Mount(plan) => mounts::plan_step(out, plan, detail, errno, d),
        Step::ProtectProc(at) | Step::MaskKeys(at) => {
            mounts::protect_proc(out, at, detail, errno, d)
        }
        Step::PivotRoot => mounts::pivot_root(out, detail, errno, d),
        Step::Chroot => mounts::chroot(out, None, detail, errno, d),
        Step::ChrootTo(path) => mounts::chroot(out, Some(path), detail, errno, d),
        Step::Hostname(_) if matches!(errno, EINVAL | ENAMETOOLONG) => {
            out.add(
                Knob::Request("hostname"),
                "choose a host name of at most 64 bytes",
            );
        }
        Step::Loopback | Step::Hostname(_) => denied(out, detail, errno, d),
        Step::ClearGroups => birth::ids(out, CapSet::SETGID, "CAP_SETGID", errno, d),
        Step::Ids { .. } => birth::ids(out, CapSet::SETUID, "CAP_SETUID", errno, d),
        Step::Capabilities(_) => {
            const SETPCAP: CapSet = CapSet::from_bits(1 << 8);
            if errno == EPERM && !d.has(SETPCAP) {
                out.add(
                    Knob::Capability("CAP_SETPCAP"),
                    "run it with CAP_SETPCAP, which giving up capabilities for good needs",
                );
            }
        }
        Step::SyscallFilter(_) => exec::filter(out, errno, d),
        Step::TreeLimits(_) => out.add(
            Knob::Request("cgroup"),
            "have the limits held without control groups (`cgroup` none), or name one that may be \
             written to",
        ),
        Step::ProcessLimits(_)
        | Step::Session
        | Step::Keyring
        | Step::NoNewPrivs
        | Step::Landlock(_) => {}
    }
}

/// What means the same wherever it happens.
fn everywhere(out: &mut Hints, errno: i32, d: &Diagnosis) {
    match errno {
        EMFILE => out.add(
            Knob::Limit("RLIMIT_NOFILE"),
            "the caller has as many files open as it may: close some or raise the limit \
             (`ulimit -n`)",
        ),
        ENFILE => {
            let more = twice(d, "fs.file-max");
            out.sysctl(
                d,
                "fs.file-max",
                more,
                "the whole system has as many files open as it may: raise the limit",
            );
        }
        ENOMEM => out.add(
            Knob::Limit("memory"),
            "the kernel had no memory for it: free some, or raise the limit of the caller's \
             control group",
        ),
        _ => {}
    }
}

fn twice(d: &Diagnosis, name: &str) -> Cow<'static, str> {
    let found: Option<u64> = d.setting(name).and_then(|value| value.parse().ok());
    found.map_or(Cow::Borrowed("more"), |n| {
        Cow::Owned(n.saturating_mul(2).to_string())
    })
}

/// The kernel in which a system call first was.
fn first_kernel(call: &str) -> Option<KernelVersion> {
    Some(match call {
        "memfd_create" => KernelVersion(3, 17),
        "execveat" => KernelVersion(3, 19),
        "statx" => KernelVersion(4, 11),
        "open_tree" | "move_mount" | "fsopen" | "fsconfig" | "fsmount" | "fspick" => {
            KernelVersion(5, 2)
        }
        "clone3" | "pidfd_open" => KernelVersion(5, 3),
        "openat2" | "pidfd_getfd" => KernelVersion(5, 6),
        "faccessat2" => KernelVersion(5, 8),
        "close_range" => KernelVersion(5, 9),
        "mount_setattr" => KernelVersion(5, 12),
        _ => return None,
    })
}

/// ENOSYS: the kernel is older than the call, or a filter makes it look so.
fn no_such_call(out: &mut Hints, call: &'static str, d: &Diagnosis) {
    let first = first_kernel(call);
    let found = d.facts.kernel;
    let too_old = matches!((found, first), (Some(found), Some(first)) if found < first);
    if d.filtered && !too_old {
        seccomp(out, call);
    }
    match first {
        // Where the version is known and new enough, it is not the kernel that lacks the call.
        Some(wanted) if too_old || found.is_none() => out.add(
            Knob::Kernel { found, wanted },
            format!("use Linux {wanted} or later, which is the first with {call}"),
        ),
        _ => {}
    }
}

fn seccomp(out: &mut Hints, call: &str) {
    let call = if call.is_empty() {
        "what the sandbox needs"
    } else {
        call
    };
    out.add(
        Knob::Seccomp,
        format!(
            "the caller runs under a system call filter, such as a container engine's: use one \
             that allows {call} (`docker run --security-opt seccomp=...`, a systemd unit's \
             SystemCallFilter= and RestrictNamespaces=)"
        ),
    );
}

/// Ubuntu's restriction: the namespace is made, and then its owner has no capability in it.
fn apparmor_restriction(out: &mut Hints, d: &Diagnosis) {
    if d.has(CapSet::SYS_ADMIN) || !d.setting_is(APPARMOR_SWITCH, |n| n != 0) {
        return;
    }
    let found = d.setting(APPARMOR_SWITCH).unwrap_or_default();
    for hint in apparmor_cures(&found) {
        out.add(hint.knob, hint.advice);
    }
}

const APPARMOR_SWITCH: &str = "kernel.apparmor_restrict_unprivileged_userns";

/// What helps against that restriction, whose setting is `found`.
fn apparmor_cures(found: &str) -> [Hint; 2] {
    let switch = Knob::Sysctl {
        name: APPARMOR_SWITCH.into(),
        found: found.to_owned(),
        wanted: "0".into(),
    };
    [
        Hint::new(
            Knob::Lsm("AppArmor"),
            "give the calling program an AppArmor profile that contains `userns,` (a file in \
             /etc/apparmor.d), since this system keeps user namespaces from programs without one",
        ),
        Hint::new(switch, "or lift the restriction for every program"),
    ]
}

fn confinement(out: &mut Hints, d: &Diagnosis) {
    let label = d.label.as_deref().map(str::trim).unwrap_or_default();
    if let Some(module) = d.confined_by() {
        out.add(
            Knob::Lsm(module),
            format!("the caller is confined as {label:?}: run it unconfined, or allow this there"),
        );
    }
}

/// EPERM, EACCES and ENOSYS where nothing of the step itself says why: who else may say no, each
/// only if it was found to be there.
fn denied(out: &mut Hints, call: &'static str, errno: i32, d: &Diagnosis) {
    match errno {
        // Filters answer EPERM.
        EPERM => {
            if d.filtered {
                seccomp(out, call);
            }
            apparmor_restriction(out, d);
            confinement(out, d);
        }
        // Security modules answer EACCES, and a filter hardly ever does.
        EACCES => {
            apparmor_restriction(out, d);
            confinement(out, d);
            if d.filtered {
                seccomp(out, call);
            }
        }
        ENOSYS => no_such_call(out, call, d),
        _ => {}
    }
}

/// When every known cause has been looked for and was not there.
fn denied_by_somebody(out: &mut Hints) {
    if out.0.is_empty() {
        out.add(
            Knob::Lsm("a security module"),
            "nothing that is known to refuse this was found: look for a denial in the kernel's \
             log (`journalctl -k`, `dmesg`)",
        );
    }
}
