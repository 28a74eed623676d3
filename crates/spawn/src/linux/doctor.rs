//! Trying each mechanism of Linux apart.
//!
//! Nothing of the host changes: children are born into namespaces of their own, carry out a step
//! or two there, and end; system calls are made with arguments that cannot succeed; files are
//! read. What a mechanism needs to be tried is tried before it, and where that fails the
//! mechanism is not blamed.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sandboxlib_config::{Access, SandboxPath};
use sandboxlib_core::doctor::{Check, Verdict, explain_overlay, told};
use sandboxlib_core::{
    CapSet, ChildScript, FailedStep, Failure, Hint, HostFacts, IdMapper, IdRange, Knob, MapWriter,
    NamespaceSet, SpawnError, Step,
};
use sandboxlib_mount::PlanStep;

use super::Script;
use super::diagnose::{diagnose, mountinfo};
use super::facts::{find_program, whole};
use super::ops::{Action, Op};
use super::raw::{self, Errno};
use super::sys::{self, Asked};
use super::{init, landlock};
use crate::rehearsal::{errno, verdict};

/// The programs that isolate in their own way, of which some backend may make use.
const HELPERS: &[(&str, &str)] = &[("bwrap", "bubblewrap")];

/// Tries each mechanism apart. `facts` should have the subordinate ids in them.
#[must_use]
pub fn doctor(facts: &HostFacts) -> Vec<Check> {
    let mut doctor = Doctor {
        facts,
        user: false,
        checks: Vec::new(),
    };
    doctor.identity();
    doctor.mounts();
    doctor.namespaces();
    doctor.programs();
    doctor.filters();
    let mut checks = doctor.checks;
    checks.push(cgroups());
    checks.extend(HELPERS.iter().map(|(name, package)| helper(name, package)));
    checks
}

struct Doctor<'a> {
    facts: &'a HostFacts,
    /// Whether the children of the further checks live in a user namespace.
    user: bool,
    checks: Vec<Check>,
}

fn none() -> NamespaceSet {
    NamespaceSet::default()
}

fn user() -> NamespaceSet {
    NamespaceSet {
        user: true,
        ..none()
    }
}

fn mounts() -> NamespaceSet {
    NamespaceSet {
        mount: true,
        ..none()
    }
}

/// The host's root, read-only, as the new root.
fn host_root() -> Step {
    Step::Mount(PlanStep::Root {
        source: "/".into(),
        access: Access::ReadOnly,
    })
}

impl Doctor<'_> {
    fn add(&mut self, name: &'static str, needed: bool, (verdict, detail): (Verdict, String)) {
        let check = Check::new(name, verdict, detail).needed(needed);
        self.checks.push(check);
    }

    fn works(&self, name: &str) -> bool {
        self.checks
            .iter()
            .any(|check| check.name == name && check.verdict.works())
    }

    /// Whether the caller can have the other namespaces without a user namespace.
    fn privileged(&self) -> bool {
        self.facts.capabilities.contains(CapSet::SYS_ADMIN)
    }

    fn carry_out(&self, steps: Vec<Step>) -> (Verdict, String) {
        verdict(self.facts, rehearse(steps))
    }

    /// The caller's own ids, mapped to themselves.
    fn own_ids(&self) -> Step {
        let own = |id| {
            vec![IdRange {
                inside: id,
                outside: id,
                count: 1,
            }]
        };
        Step::IdMap {
            uids: own(self.facts.uid),
            gids: own(self.facts.gid),
            writer: match self.facts.id_mapper() {
                IdMapper::Any => MapWriter::Parent,
                IdMapper::OwnIdOnly => MapWriter::Child,
            },
        }
    }

    fn identity(&mut self) {
        let needed = !self.privileged();
        let tried = self.carry_out(vec![Step::Namespaces(user())]);
        self.add("user-namespace", needed, tried);
        let tried = if self.works("user-namespace") {
            self.carry_out(vec![Step::Namespaces(user()), self.own_ids()])
        } else {
            not_tried("user-namespace")
        };
        self.add("id-map", needed, tried);
        self.user = self.works("id-map");
        let tried = self.subordinate();
        self.add("subordinate-ids", false, tried);
    }

    /// newuidmap and newgidmap with the first id that the host grants.
    fn subordinate(&self) -> (Verdict, String) {
        if self.facts.id_mapper() == IdMapper::Any {
            let detail = "the caller may map every id that it has".to_owned();
            return (Verdict::Works, detail);
        }
        if let Some(reason) = self.facts.subordinate_reason() {
            return (Verdict::from(&reason), String::new());
        }
        let Some(found) = &self.facts.subordinate else {
            return (Verdict::Unknown, "they were not looked for".to_owned());
        };
        let (Some(newuidmap), Some(newgidmap)) = (&found.newuidmap, &found.newgidmap) else {
            return (Verdict::Unknown, String::new());
        };
        let map = |own, granted: &[(u32, u32)]| {
            let range = |inside, outside| IdRange {
                inside,
                outside,
                count: 1,
            };
            let granted = granted.first().map(|(first, _)| range(1, *first));
            [range(0, own)].into_iter().chain(granted).collect()
        };
        if !self.works("user-namespace") {
            return not_tried("user-namespace");
        }
        let steps = vec![
            Step::Namespaces(user()),
            Step::IdMap {
                uids: map(self.facts.uid, &found.uids),
                gids: map(self.facts.gid, &found.gids),
                writer: MapWriter::Helpers {
                    newuidmap: newuidmap.clone(),
                    newgidmap: newgidmap.clone(),
                },
            },
        ];
        let (verdict, detail) = self.carry_out(steps);
        if !verdict.works() {
            return (verdict, detail);
        }
        let count: u64 = found.uids.iter().map(|(_, count)| u64::from(*count)).sum();
        (verdict, format!("{count} user ids, by {newuidmap:?}"))
    }

    /// The beginning of a script whose child is born into `set`; `None` where the caller can have
    /// no namespaces at all.
    fn born_into(&self, set: NamespaceSet) -> Option<Vec<Step>> {
        if self.user {
            let set = NamespaceSet { user: true, ..set };
            Some(vec![Step::Namespaces(set), self.own_ids()])
        } else if self.privileged() {
            Some(vec![Step::Namespaces(set)])
        } else {
            None
        }
    }

    /// Tries `steps` in namespaces, if the checks named in `after` went well.
    fn within(
        &mut self,
        name: &'static str,
        needed: bool,
        after: &[&'static str],
        set: NamespaceSet,
        steps: impl IntoIterator<Item = Step>,
    ) {
        let missing = after.iter().find(|name| !self.works(name));
        let tried = match (self.born_into(set), missing) {
            (None, _) => not_tried("id-map"),
            (_, Some(missing)) => not_tried(missing),
            (Some(mut script), None) => {
                script.extend(steps);
                self.carry_out(script)
            }
        };
        self.add(name, needed, tried);
    }

    fn mounts(&mut self) {
        self.mount_api();
        self.within(
            "mount-namespace",
            true,
            &[],
            mounts(),
            [Step::PrivateMounts],
        );
        let own_root = || [Step::PrivateMounts, host_root()];
        let bind = &["mount-namespace"];
        self.within("bind-mount", true, bind, mounts(), own_root());
        // Mounted on the root itself, for which there is always a place.
        let at = SandboxPath::root;
        let on_root = |step| own_root().into_iter().chain([step]);
        let tmpfs = PlanStep::Tmpfs {
            to: at(),
            size: None,
            mode: 0o755,
        };
        let after = &["bind-mount"];
        let tmpfs = on_root(Step::Mount(tmpfs));
        self.within("tmpfs", true, after, mounts(), tmpfs);
        let devpts = on_root(Step::Mount(PlanStep::Devpts { to: at() }));
        self.within("devpts", true, after, mounts(), devpts);
        self.within(
            "pivot-root",
            true,
            after,
            mounts(),
            on_root(Step::PivotRoot),
        );
        let pid = NamespaceSet {
            pid: true,
            ..none()
        };
        self.within("pid-namespace", true, &[], pid, []);
        let both = NamespaceSet {
            pid: true,
            ..mounts()
        };
        let procfs = on_root(Step::Mount(PlanStep::Proc { to: at() }));
        let after = &["bind-mount", "pid-namespace"];
        self.within("procfs", true, after, both, procfs);
        let tried = self.overlay();
        self.add("overlayfs", false, tried);
    }

    /// The calls by which mounts are made, newer than Linux itself.
    fn mount_api(&mut self) {
        const CALLS: [(&str, Asked); 6] = [
            ("open_tree", Asked::OpenTree),
            ("move_mount", Asked::MoveMount),
            ("fsopen", Asked::FsOpen),
            ("fsconfig", Asked::FsConfig),
            ("fsmount", Asked::FsMount),
            ("openat2", Asked::OpenAt2),
        ];
        let missing = CALLS.iter().find(|(_, asked)| !sys::has(*asked));
        let tried = match missing {
            None => {
                let names: Vec<&str> = CALLS.iter().map(|(name, _)| *name).collect();
                let attributes = if sys::has(Asked::MountSetAttr) {
                    "mount_setattr"
                } else {
                    "no mount_setattr: mounts are remounted one by one instead"
                };
                (
                    Verdict::Works,
                    format!("{}, {attributes}", names.join(", ")),
                )
            }
            Some((name, _)) => {
                let step = FailedStep::Script {
                    index: 0,
                    step: Box::new(host_root()),
                    detail: name,
                };
                let error = std::io::Error::from_raw_os_error(libc::ENOSYS);
                verdict(self.facts, Err(SpawnError::new(step, error)))
            }
        };
        self.add("mount-api", true, tried);
    }

    fn overlay(&self) -> (Verdict, String) {
        if !self.works("tmpfs") {
            return not_tried("tmpfs");
        }
        let Some(mut steps) = self.born_into(mounts()) else {
            return not_tried("id-map");
        };
        steps.push(Step::PrivateMounts);
        let last = u32::try_from(steps.len() - 1).unwrap_or(0);
        let last = Op {
            step: last,
            action: Action::TryOverlay,
        };
        let done = Script::and_then(&ChildScript { steps }, last).and_then(|s| s.rehearse());
        let Err(error) = done else {
            return (Verdict::Works, String::new());
        };
        let call = match &error.step {
            FailedStep::Script { detail, .. } => detail,
            _ => return verdict(self.facts, Err(error)),
        };
        let said = told(&error.step, &error.source);
        let said = said.rsplit(": ").next().unwrap_or(&said);
        let said = format!("cannot mount overlayfs ({call}): {said}");
        let failure = Failure {
            step: &error.step,
            errno: errno(&error),
        };
        let found = diagnose(self.facts.clone(), &error.step);
        let hints = explain_overlay(failure, &found);
        let errno = error.source.raw_os_error();
        (Verdict::fails(errno, said.clone(), hints), said)
    }

    fn namespaces(&mut self) {
        let net = NamespaceSet {
            net: true,
            ..none()
        };
        self.within("network-namespace", true, &[], net, []);
        let after = &["network-namespace"];
        self.within("loopback", true, after, net, [Step::Loopback]);
        let ipc = NamespaceSet {
            ipc: true,
            ..none()
        };
        self.within("ipc-namespace", true, &[], ipc, []);
        let uts = NamespaceSet {
            uts: true,
            ..none()
        };
        let name = Step::Hostname("doctor".into());
        self.within("uts-namespace", true, &[], uts, [name]);
        let cgroup = NamespaceSet {
            cgroup: true,
            ..none()
        };
        self.within("cgroup-namespace", true, &[], cgroup, []);
        self.within("time-namespace", false, &[], none(), [Step::TimeNamespace]);
    }

    fn programs(&mut self) {
        let tried = self.carry_out(vec![Step::ChrootTo("/".into())]);
        self.add("chroot", false, tried);
        let instead = init::program().is_ok();
        let tried = match init::in_memory() {
            Ok(_) => (Verdict::Works, String::new()),
            Err(source) => {
                let step = FailedStep::Resources("an executable file in memory");
                let (verdict, said) = verdict(self.facts, Err(SpawnError::new(step, source)));
                let instead = if instead {
                    "; a file without a name does instead"
                } else {
                    "; and no directory for a file without a name"
                };
                (verdict, said + instead)
            }
        };
        self.add("executable-memfd", !instead, tried);
    }

    fn filters(&mut self) {
        let landlock = match landlock::abi() {
            Ok(abi) => (Verdict::Works, format!("ABI {abi}")),
            Err(errno) => self.landlock_missing(errno),
        };
        self.add("landlock", false, landlock);
        let seccomp = match filter_action(SECCOMP_RET_ERRNO) {
            Ok(()) if filter_action(SECCOMP_RET_USER_NOTIF).is_ok() => {
                (Verdict::Works, "with user notification".to_owned())
            }
            Ok(()) => (Verdict::Works, "without user notification".to_owned()),
            Err(errno) => {
                let knob = Knob::KernelConfig("CONFIG_SECCOMP_FILTER");
                let hint = Hint::new(knob, "use a kernel with system call filters");
                (Verdict::fails(Some(errno), "", vec![hint]), String::new())
            }
        };
        self.add("seccomp-filter", false, seccomp);
    }

    fn landlock_missing(&self, errno: Errno) -> (Verdict, String) {
        const FIRST: sandboxlib_core::KernelVersion = sandboxlib_core::KernelVersion(5, 13);
        let found = self.facts.kernel;
        let hint = match errno {
            // Built in, and left out of the list of security modules.
            libc::EOPNOTSUPP => Hint::new(
                Knob::Lsm("the kernel's list of security modules (lsm=)"),
                "boot the kernel with landlock in that list (`lsm=landlock,...`)",
            ),
            libc::ENOSYS if found.is_some_and(|found| found < FIRST) => Hint::new(
                Knob::Kernel {
                    found,
                    wanted: FIRST,
                },
                format!("use Linux {FIRST} or later, which is the first with Landlock"),
            ),
            libc::ENOSYS => Hint::new(
                Knob::KernelConfig("CONFIG_SECURITY_LANDLOCK"),
                "use a kernel with Landlock",
            ),
            _ => Hint::new(
                Knob::Seccomp,
                "use a system call filter that allows landlock_create_ruleset",
            ),
        };
        (Verdict::fails(Some(errno), "", vec![hint]), String::new())
    }
}

fn rehearse(steps: Vec<Step>) -> Result<(), SpawnError> {
    Script::new(&ChildScript { steps })?.rehearse()
}

fn not_tried(missing: &str) -> (Verdict, String) {
    (Verdict::Unknown, format!("not tried, it needs {missing}"))
}

const SECCOMP_RET_ERRNO: u32 = libc::SECCOMP_RET_ERRNO;
const SECCOMP_RET_USER_NOTIF: u32 = libc::SECCOMP_RET_USER_NOTIF;

/// Whether filters can answer with this action (seccomp(2), `SECCOMP_GET_ACTION_AVAIL`).
pub(super) fn filter_action(action: u32) -> Result<(), Errno> {
    const GET_ACTION_AVAIL: usize = 2;
    let number = usize::try_from(libc::SYS_seccomp).unwrap_or(usize::MAX);
    let args = [GET_ACTION_AVAIL, 0, &raw const action as usize, 0, 0, 0];
    // SAFETY: the pointer is to a live number of 32 bits, which the kernel reads.
    unsafe { raw::call(number, args) }.map(drop)
}

/// The version of the control groups, and whether the caller may divide its own.
fn cgroups() -> Check {
    const NAME: &str = "cgroup-delegation";
    let mounts = whole("/proc/self/mountinfo").unwrap_or_default();
    let mounts = mountinfo(&mounts);
    let old = mounts.iter().any(|m| m.kind == b"cgroup");
    let unified = mounts.iter().find(|m| m.kind == b"cgroup2");
    let Some(unified) = unified else {
        let (verdict, detail) = match old {
            true => (
                no_unified("only control groups of version 1 are mounted"),
                "version 1",
            ),
            false => (no_unified("no control groups are mounted"), ""),
        };
        return Check::new(NAME, verdict, detail);
    };
    let version = if old {
        "versions 1 and 2 side by side"
    } else {
        "version 2"
    };
    let own = whole("/proc/self/cgroup")
        .as_deref()
        .and_then(own_cgroup)
        .map(|path| Path::new(std::ffi::OsStr::from_bytes(&unified.point)).join(path));
    let Some(own) = own.filter(|own| own.is_dir()) else {
        let detail = format!("{version}; the caller's own is not to be seen here");
        return Check::new(NAME, Verdict::Unknown, detail);
    };
    let controllers = whole(own.join("cgroup.controllers")).unwrap_or_default();
    let controllers = String::from_utf8_lossy(controllers.trim_ascii()).into_owned();
    let detail = format!(
        "{version}; controllers: {}",
        if controllers.is_empty() {
            "none"
        } else {
            &controllers
        }
    );
    let has = |name| controllers.split(' ').any(|word| word == name);
    let verdict = match writable(&own) {
        Err(errno) => {
            let hint = Hint::new(
                Knob::Path(own.clone()),
                "start it in a control group that belongs to the caller (`systemd-run --user \
                 --scope -p Delegate=yes COMMAND`)",
            );
            Verdict::Fails {
                errno: Some(errno),
                cause: format!("the caller may not divide its own control group {own:?}"),
                hints: vec![hint],
            }
        }
        Ok(()) if has("memory") && has("pids") => Verdict::Works,
        Ok(()) if old => {
            no_unified("the controllers memory and pids belong to version 1, or to nobody")
        }
        Ok(()) => Verdict::Fails {
            errno: None,
            cause: "the controllers memory and pids are not passed on to the caller's control \
                    group"
                .to_owned(),
            hints: vec![Hint::new(
                Knob::Path(own.join("cgroup.controllers")),
                "have them passed on from above (`systemctl edit user@.service`: \
                 Delegate=memory pids)",
            )],
        },
    };
    Check::new(NAME, verdict, detail)
}

fn no_unified(cause: &str) -> Verdict {
    Verdict::Fails {
        errno: None,
        cause: cause.to_owned(),
        hints: vec![Hint::new(
            Knob::Mount("cgroup2".into()),
            "boot with cgroup2 alone (systemd.unified_cgroup_hierarchy=1), where limits of memory \
             and processes are wanted",
        )],
    }
}

/// The caller's control group of version 2, relative to the top (cgroups(7)).
fn own_cgroup(text: &[u8]) -> Option<PathBuf> {
    text.split(|b| *b == b'\n').find_map(|line| {
        let path = line.strip_prefix(b"0::/")?;
        // A group outside of the cgroup namespace begins with "..".
        (!path.starts_with(b"..")).then(|| Path::new(std::ffi::OsStr::from_bytes(path)).into())
    })
}

/// Whether groups can be made in `dir` and processes moved there.
fn writable(dir: &Path) -> Result<(), Errno> {
    for path in [dir.to_owned(), dir.join("cgroup.procs")] {
        let Ok(path) = CString::new(path.as_os_str().as_bytes()) else {
            return Err(libc::EINVAL);
        };
        let (mode, flags) = (libc::W_OK, libc::AT_EACCESS);
        // SAFETY: the path is NUL-terminated and live for the call, the rest are numbers.
        if unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), mode, flags) } != 0 {
            let error = std::io::Error::last_os_error();
            return Err(error.raw_os_error().unwrap_or(0));
        }
    }
    Ok(())
}

/// A program that isolates, and what it says about itself.
fn helper(name: &'static str, package: &'static str) -> Check {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let Some(program) = find_program(name, &path) else {
        let knob = Knob::Program {
            name: name.into(),
            package: Some(package),
        };
        let advice = format!("install {name}, if a backend that uses it is wanted");
        let verdict = Verdict::fails(None, "", vec![Hint::new(knob, advice)]);
        return Check::new(name, verdict, "");
    };
    let said = Command::new(&program)
        .arg("--version")
        .stdin(Stdio::null())
        .output();
    match said {
        Ok(output) if output.status.success() => {
            let said = String::from_utf8_lossy(&output.stdout);
            let version = said.lines().next().unwrap_or_default().trim();
            Check::new(name, Verdict::Works, format!("{version}, {program:?}"))
        }
        Ok(output) => {
            let detail = format!("{program:?} --version: {}", output.status);
            Check::new(name, Verdict::Unknown, detail)
        }
        Err(source) => {
            let step = FailedStep::Helper(program);
            let facts = HostFacts::linux(0, 0);
            let (verdict, detail) = verdict(&facts, Err(SpawnError::new(step, source)));
            Check::new(name, verdict, detail)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> HostFacts {
        let mut config = sandboxlib_config::Config::new(sandboxlib_config::Root::Host);
        config.ids = sandboxlib_config::Ids::SUBORDINATE;
        super::super::facts(&config)
    }

    #[test]
    fn nothing_is_left_and_it_takes_no_time() {
        let facts = facts();
        let before = whole("/proc/self/mountinfo");
        let began = std::time::Instant::now();
        let checks = doctor(&facts);
        let took = began.elapsed();
        assert_eq!(whole("/proc/self/mountinfo"), before);
        // Debug build and a busy machine included; the doctor as a whole stays below a second.
        assert!(took.as_millis() < 3000, "{took:?}");
        let mut names: Vec<&str> = checks.iter().map(|c| c.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count, "{names:?}");
        for check in &checks {
            if let Verdict::Fails { cause, .. } = &check.verdict {
                assert!(!cause.is_empty(), "{check:?}");
            }
        }
    }

    #[test]
    fn the_own_control_group() {
        for (text, expected) in [
            (&b"1:cpu:/x\n0::/user.slice/a\n"[..], Some("user.slice/a")),
            (b"0::/\n", Some("")),
            (b"0::/../outside\n", None),
            (b"1:name=systemd:/\n", None),
            (b"", None),
        ] {
            assert_eq!(own_cgroup(text), expected.map(PathBuf::from));
        }
    }
}
