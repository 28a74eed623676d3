use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;
use sandboxlib_config::{Access, SandboxPath};
use sandboxlib_mount::{Attributes, BindSource, Node, PlanStep};

mod known_before;

use super::errno::*;
use super::*;
use crate::{ExecProblem, IdRange, MapWriter, NamespaceSet, Os, Reason, Subordinate};

/// A knob in one line.
fn word(knob: &Knob) -> String {
    match knob {
        Knob::Sysctl {
            name,
            found,
            wanted,
        } => format!("{name} {found}->{wanted}"),
        Knob::Capability(name) => (*name).to_owned(),
        Knob::Program { name, package } => format!("{name} ({})", package.unwrap_or("-")),
        Knob::File { path, line } => format!("{path}: {line}"),
        Knob::KernelConfig(name) => (*name).to_owned(),
        Knob::Kernel { wanted, .. } => format!("linux {wanted}"),
        Knob::Os => "os".to_owned(),
        Knob::Lsm(name) => (*name).to_owned(),
        Knob::Seccomp => "seccomp".to_owned(),
        Knob::Mount(what) => format!("mount {what}"),
        Knob::Limit(name) => (*name).to_owned(),
        Knob::Path(path) => format!("path {}", path.display()),
        Knob::Request(what) => format!("request {what}"),
    }
}

fn words(hints: &[Hint]) -> Vec<String> {
    hints.iter().map(|hint| word(&hint.knob)).collect()
}

fn filter() -> Step {
    let seccomp = sandboxlib_config::Seccomp::Build;
    Step::SyscallFilter(crate::SyscallFilter {
        seccomp,
        allow_nested: false,
    })
}

fn path(s: &str) -> SandboxPath {
    SandboxPath::new(s).unwrap()
}

fn user() -> Diagnosis {
    Diagnosis::new(HostFacts::linux(1000, 1000))
}

fn root() -> Diagnosis {
    Diagnosis::new(HostFacts::linux(0, 0))
}

impl Diagnosis {
    fn but(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn sysctl(self, name: &str, value: &str) -> Self {
        assert!(SYSCTLS.contains(&name), "{name}");
        self.but(|d| {
            d.sysctls.insert(name.to_owned(), value.to_owned());
        })
    }

    fn filtered(self) -> Self {
        self.but(|d| d.filtered = true)
    }

    fn kernel(self, major: u32, minor: u32) -> Self {
        self.but(|d| d.facts.kernel = Some(KernelVersion(major, minor)))
    }

    fn mounted(self, options: &str) -> Self {
        self.but(|d| d.mount_options = Some(options.to_owned()))
    }

    fn label(self, label: &str) -> Self {
        self.but(|d| d.label = Some(label.to_owned()))
    }
}

fn all() -> NamespaceSet {
    NamespaceSet {
        user: true,
        ..privileged()
    }
}

fn privileged() -> NamespaceSet {
    NamespaceSet {
        user: false,
        mount: true,
        pid: true,
        ipc: true,
        uts: true,
        net: true,
        cgroup: true,
    }
}

fn clone() -> FailedStep {
    FailedStep::Clone(all())
}

fn at(step: Step, detail: &'static str) -> FailedStep {
    FailedStep::Script {
        index: 1,
        step: Box::new(step),
        detail,
    }
}

fn one(inside: u32, outside: u32) -> Vec<IdRange> {
    vec![IdRange {
        inside,
        outside,
        count: 1,
    }]
}

fn id_map(writer: MapWriter) -> FailedStep {
    at(
        Step::IdMap {
            uids: one(0, 1000),
            gids: one(0, 1000),
            writer,
        },
        "write",
    )
}

fn helpers() -> MapWriter {
    MapWriter::Helpers {
        newuidmap: "/usr/bin/newuidmap".into(),
        newgidmap: "/usr/bin/newgidmap".into(),
    }
}

fn proc(detail: &'static str) -> FailedStep {
    at(Step::Mount(PlanStep::Proc { to: path("/proc") }), detail)
}

fn bind(detail: &'static str) -> FailedStep {
    at(
        Step::Mount(PlanStep::Bind {
            from: BindSource::Host("/src".into()),
            to: path("/build"),
            node: Node::Dir,
            attributes: Attributes {
                access: Access::ReadWrite,
                devices: false,
            },
        }),
        detail,
    )
}

fn make_dir(detail: &'static str) -> FailedStep {
    at(
        Step::Mount(PlanStep::MakeDir {
            at: path("/build/x"),
            mode: 0o755,
            on_host: true,
        }),
        detail,
    )
}

fn exec(problem: ExecProblem) -> FailedStep {
    FailedStep::Exec {
        program: "/bin/tool".into(),
        problem,
    }
}

const AA: &str = "kernel.apparmor_restrict_unprivileged_userns";
const AA_OFF: &str = "kernel.apparmor_restrict_unprivileged_userns 1->0";

#[test]
fn each_cause_has_its_knobs() {
    let not_whole = |d: &mut Diagnosis| {
        d.facts.uid_map = one(0, 1000);
        d.facts.gid_map = one(0, 1000);
        d.facts.uid = 0;
        d.facts.gid = 0;
    };
    #[rustfmt::skip]
    let table: Vec<(&str, FailedStep, i32, Diagnosis, &[&str])> = vec![
        // user namespaces switched off
        ("limit 0", clone(), ENOSPC, user().sysctl("user.max_user_namespaces", "0\n"),
            &["user.max_user_namespaces 0->15000"]),
        ("limit 0, known before", clone(), ENOSPC, user().but(|d| d.facts.max_user_namespaces = Some(0)),
            &["user.max_user_namespaces 0->15000"]),
        ("limit 0 as root too", clone(), ENOSPC, root().sysctl("user.max_user_namespaces", "0"),
            &["user.max_user_namespaces 0->15000"]),
        ("other limits 0", clone(), ENOSPC,
            user().sysctl("user.max_net_namespaces", "0").sysctl("user.max_mnt_namespaces", "0")
                .sysctl("user.max_time_namespaces", "0").sysctl("user.max_user_namespaces", "99"),
            &["user.max_mnt_namespaces 0->15000", "user.max_net_namespaces 0->15000"]),
        ("only what was asked for", FailedStep::Clone(NamespaceSet { net: true, ..Default::default() }), ENOSPC,
            root().sysctl("user.max_net_namespaces", "0").sysctl("user.max_mnt_namespaces", "0"),
            &["user.max_net_namespaces 0->15000"]),
        ("debian's switch", clone(), EPERM, user().sysctl("kernel.unprivileged_userns_clone", "0"),
            &["kernel.unprivileged_userns_clone 0->1"]),
        ("debian's switch spares root", clone(), EPERM,
            root().sysctl("kernel.unprivileged_userns_clone", "0").filtered(), &["seccomp"]),
        ("debian's switch does not spare root of a namespace", clone(), EPERM,
            root().sysctl("kernel.unprivileged_userns_clone", "0")
                .but(|d| { d.facts.uid_map = one(0, 5); d.facts.gid_map = one(0, 5); }),
            &["kernel.unprivileged_userns_clone 0->1"]),
        ("no CONFIG_USER_NS", clone(), EINVAL, user().but(|d| d.missing_namespaces = vec!["user"]),
            &["CONFIG_USER_NS"]),
        ("no CONFIG_*_NS that was not asked for", FailedStep::Clone(NamespaceSet { mount: true, ..Default::default() }),
            EINVAL, user().but(|d| d.missing_namespaces = vec!["user"]), &[]),
        ("no other kinds", clone(), EINVAL, user().but(|d| d.missing_namespaces = vec!["cgroup", "ipc", "time"]),
            &["CONFIG_IPC_NS", "CONFIG_CGROUPS"]),
        ("cannot be told", clone(), EINVAL, user().but(|d| d.proc_missing = true), &["CONFIG_USER_NS"]),
        ("nested too deep", clone(), ENOSPC, user().but(not_whole).sysctl("user.max_user_namespaces", "2147483647"),
            &["request nesting"]),
        ("nested, and a limit", clone(), ENOSPC, user().but(not_whole).sysctl("user.max_user_namespaces", "1"),
            &["request nesting", "user.max_user_namespaces 1->2"]),
        ("nested too deep, old kernel", clone(), EUSERS, user().but(not_whole), &["request nesting"]),
        ("limit used up", clone(), ENOSPC,
            user().sysctl("user.max_user_namespaces", "100").sysctl("user.max_net_namespaces", "7"),
            &["user.max_net_namespaces 7->14", "request nesting"]),
        ("in a chroot", clone(), EPERM, user().but(|d| d.chrooted = true), &["mount chroot"]),
        ("ids not mapped", clone(), EPERM, user().but(|d| d.facts.uid_map = one(0, 0)),
            &["request ids of the caller"]),
        ("nothing found", clone(), EPERM, user(), &["a security module"]),
        // a container engine's filter
        ("filter", clone(), EPERM, user().filtered(), &["seccomp"]),
        ("filter answers ENOSYS", clone(), ENOSYS, user().filtered().kernel(6, 1), &["seccomp"]),
        ("filter on mounts", bind("open_tree"), EPERM, user().filtered(), &["seccomp"]),
        ("filter on mounts, ENOSYS", bind("mount_setattr"), ENOSYS, user().filtered().kernel(6, 1), &["seccomp"]),
        ("filter, version unknown", bind("open_tree"), ENOSYS, user().filtered(), &["seccomp", "linux 5.2"]),
        ("filter on pivot_root", at(Step::PivotRoot, "pivot_root"), EPERM, user().filtered(), &["seccomp"]),
        ("filter on hostname", at(Step::Hostname("a".into()), "sethostname"), EPERM, user().filtered(), &["seccomp"]),
        ("docker's profile", bind("mount"), EACCES, root().label("docker-default (enforce)\n"),
            &["AppArmor", "path /build"]),
        ("complain mode refuses nothing", at(Step::PrivateMounts, "mount"), EACCES, root().label("x (complain)"),
            &["a security module"]),
        ("SELinux", clone(), EACCES, user().label("system_u:system_r:container_t:s0:c1,c2"), &["SELinux"]),
        ("SELinux unconfined", clone(), EACCES, user().label("unconfined_u:unconfined_r:unconfined_t:s0"),
            &["a security module"]),
        // Ubuntu
        ("ubuntu: the map", id_map(MapWriter::Child), EPERM, user().sysctl(AA, "1"),
            &["AppArmor", AA_OFF]),
        ("ubuntu: the map, EACCES", id_map(MapWriter::Child), EACCES, user().sysctl(AA, "1"),
            &["AppArmor", AA_OFF]),
        ("ubuntu: mounts", at(Step::PrivateMounts, "mount"), EACCES, user().sysctl(AA, "1"),
            &["AppArmor", AA_OFF]),
        ("ubuntu: clone", clone(), EACCES, user().sysctl(AA, "1"), &["AppArmor", AA_OFF]),
        ("ubuntu off", id_map(MapWriter::Child), EPERM, user().sysctl(AA, "0"), &["a security module"]),
        ("ubuntu spares root", clone(), EPERM, root().sysctl(AA, "1").filtered(), &["seccomp"]),
        ("no filter sees a map being written", id_map(MapWriter::Child), EPERM, user().sysctl(AA, "1").filtered(),
            &["AppArmor", AA_OFF]),
        // capabilities
        ("no CAP_SYS_ADMIN", FailedStep::Clone(privileged()), EPERM, user(), &["CAP_SYS_ADMIN"]),
        ("no CAP_SYS_ADMIN in a container", FailedStep::Clone(privileged()), EPERM,
            root().filtered().but(|d| d.facts.capabilities = CapSet::FILES), &["CAP_SYS_ADMIN", "seccomp"]),
        ("all capabilities, and a filter", FailedStep::Clone(privileged()), EPERM, root().filtered(), &["seccomp"]),
        ("no CAP_SYS_CHROOT", at(Step::ChrootTo("/srv/x".into()), "chroot"), EPERM, user(), &["CAP_SYS_CHROOT"]),
        ("no CAP_SETPCAP", at(Step::Capabilities(CapSet::EMPTY), "prctl"), EPERM, user(), &["CAP_SETPCAP"]),
        ("no CAP_SETUID", at(Step::Ids { uid: 5, gid: 5 }, "setresuid"), EPERM, user(), &["CAP_SETUID"]),
        ("no CAP_SETGID", at(Step::ClearGroups, "setgroups"), EPERM, user(), &["CAP_SETGID"]),
        ("ids not there", at(Step::Ids { uid: 5, gid: 5 }, "setresuid"), EINVAL, root(), &["request ids"]),
        // id maps
        ("ids that the caller lacks", id_map(MapWriter::Child), EPERM, user().but(|d| d.facts.gid_map = one(0, 7)),
            &["request ids"]),
        ("ranges overlap", id_map(MapWriter::Parent), EINVAL, root(), &["request ids"]),
        ("root without CAP_SETFCAP",
            at(Step::IdMap { uids: one(0, 0), gids: one(0, 0), writer: MapWriter::Child }, "write"), EPERM,
            root().but(|d| d.facts.capabilities = CapSet::SYS_ADMIN), &["CAP_SETFCAP"]),
        ("the same, before the kernel asked",
            at(Step::IdMap { uids: one(0, 0), gids: one(0, 0), writer: MapWriter::Child }, "write"), EPERM,
            root().kernel(5, 10).but(|d| d.facts.capabilities = CapSet::SYS_ADMIN), &["a security module"]),
        ("parent without CAP_SETUID", id_map(MapWriter::Parent), EPERM,
            root().but(|d| d.facts.capabilities = CapSet::SETGID), &["CAP_SETUID"]),
        ("no /proc", id_map(MapWriter::Child), ENOENT, user().but(|d| d.proc_missing = true), &["mount /proc"]),
        ("/proc read-only", id_map(MapWriter::Child), EROFS, user(), &["mount /proc"]),
        ("newuidmap without power", id_map(helpers()), EPERM,
            user().but(|d| d.powerless_helper = Some("/usr/bin/newuidmap".into())), &["path /usr/bin/newuidmap"]),
        ("newuidmap on nosuid", id_map(helpers()), EPERM, user().mounted("ro,nosuid,nodev"), &["mount nosuid"]),
        ("newuidmap with no_new_privs", id_map(helpers()), EPERM, user().but(|d| d.no_new_privs = true),
            &["request no_new_privs"]),
        ("newuidmap without a range", id_map(helpers()), EPERM,
            user().but(|d| d.facts.subordinate = Some(Subordinate {
                newuidmap: Some("/a".into()), newgidmap: Some("/b".into()), gids: vec![(1, 1)], ..Default::default() })),
            &["/etc/subuid: 1000:100000:65536"]),
        // /proc
        ("mount too revealing", proc("fsmount"), EPERM, user().but(|d| d.proc_masked = true), &["mount /proc"]),
        ("mount too revealing, in an engine", proc("mount"), EPERM, user().filtered().but(|d| d.proc_masked = true),
            &["mount /proc", "seccomp"]),
        ("no procfs to be seen", proc("fsmount"), EPERM, user().but(|d| d.proc_missing = true), &["mount /proc"]),
        ("pid namespace shared", proc("fsconfig"), EPERM, user(), &["request pid namespace"]),
        ("pid namespace shared, or masked", proc("fsconfig"), EPERM, user().but(|d| d.proc_masked = true),
            &["request pid namespace"]),
        ("pid namespace shared, by mount(2)", proc("mount"), EPERM, user(), &["request pid namespace"]),
        ("fsopen is no matter of masks", proc("fsopen"), EPERM, user().filtered().but(|d| d.proc_masked = true),
            &["seccomp"]),
        ("no procfs in the kernel", proc("fsopen"), ENODEV, user(), &["CONFIG_PROC_FS"]),
        // the kernel's age
        ("open_tree", bind("open_tree"), ENOSYS, user().kernel(4, 19), &["linux 5.2"]),
        ("move_mount", bind("move_mount"), ENOSYS, user(), &["linux 5.2"]),
        ("fsmount", proc("fsmount"), ENOSYS, user().kernel(5, 1), &["linux 5.2"]),
        ("clone3", clone(), ENOSYS, user().kernel(4, 19), &["linux 5.3"]),
        ("openat2", bind("openat2"), ENOSYS, user().kernel(5, 5), &["linux 5.6"]),
        ("mount_setattr", bind("mount_setattr"), ENOSYS, user().kernel(5, 10), &["linux 5.12"]),
        ("too old for any filter to matter", bind("mount_setattr"), ENOSYS, user().kernel(5, 10).filtered(),
            &["linux 5.12"]),
        ("new enough, no filter", bind("mount_setattr"), ENOSYS, user().kernel(6, 1), &[]),
        ("close_range", FailedStep::Streams, ENOSYS, user().kernel(5, 4), &["linux 5.9"]),
        ("close_range, filtered", FailedStep::Streams, ENOSYS, user().kernel(6, 1).filtered(), &["seccomp"]),
        ("no list of mounts", bind("read /proc/self/mountinfo"), ENOENT, user().kernel(5, 10), &["mount /proc"]),
        ("no list of mounts for procfs", at(Step::ProtectProc(path("/proc")), "read /proc/self/mountinfo"), ENOENT,
            user().kernel(5, 10), &["mount /proc"]),
        ("time, old", at(Step::TimeNamespace, "unshare"), EINVAL, user().kernel(5, 4), &["linux 5.6"]),
        ("time, not built", at(Step::TimeNamespace, "unshare"), EINVAL, user().kernel(6, 1), &["CONFIG_TIME_NS"]),
        ("time, off", at(Step::TimeNamespace, "unshare"), ENOSPC, user().sysctl("user.max_time_namespaces", "0"),
            &["user.max_time_namespaces 0->15000"]),
        ("no limit to be had", at(Step::LimitNamespaces, "open"), EROFS, user(), &["mount /proc", "request nested"]),
        ("no /proc at all", at(Step::LimitNamespaces, "open"), ENOENT, user().but(|d| d.proc_missing = true),
            &["mount /proc", "request nested"]),
        ("no filters in the kernel", at(filter(), "seccomp"), EINVAL, user(), &["CONFIG_SECCOMP_FILTER"]),
        ("no filters in a filter", at(filter(), "seccomp"), EPERM, user().filtered(), &["seccomp"]),
        // mounts
        ("too many mounts", bind("move_mount"), ENOSPC, user().sysctl("fs.mount-max", "100000"),
            &["fs.mount-max 100000->200000"]),
        ("too many mounts, limit unknown", proc("move_mount"), ENOSPC, user(), &["fs.mount-max unknown->more"]),
        ("disk full", make_dir("mkdirat"), ENOSPC, user().sysctl("fs.mount-max", "100000"), &["path /build/x"]),
        ("quota", make_dir("mkdirat"), EDQUOT, user(), &["path /build/x"]),
        ("the source is gone", bind("open_tree"), ENOENT, user(), &["path /src"]),
        ("the target became a link", bind("openat2"), ELOOP, user(), &["path /build"]),
        ("the target became a file", bind("move_mount"), ENOTDIR, user(), &["path /build"]),
        ("renamed under our hands", bind("openat2"), EAGAIN, user(), &["path /build"]),
        ("the target went stale", bind("openat2"), ESTALE, user(), &["path /build"]),
        ("somebody was quicker", make_dir("mkdirat"), EEXIST, user(), &["path /build/x"]),
        ("the disk is read-only", make_dir("mkdirat"), EROFS, user(), &["mount ro"]),
        ("no permission", make_dir("mkdirat"), EACCES, user().filtered(), &["path /build/x"]),
        ("a writer", bind("mount_setattr"), EBUSY, user(), &["path /build"]),
        ("read-only outside", bind("mount_setattr"), EPERM, user().mounted("ro,relatime"), &["mount ro"]),
        ("remount, ro is a word", bind("mount_setattr"), EPERM, user().mounted("rw,errors=ro"), &["a security module"]),
        ("ProtectProc, gone", at(Step::ProtectProc(path("/proc")), "openat2"), ENOENT, user(), &["path /proc"]),
        ("the caller is in a chroot", at(Step::PivotRoot, "pivot_root"), EINVAL, root().but(|d| d.chrooted = true),
            &["mount chroot"]),
        ("initramfs", at(Step::PivotRoot, "pivot_root"), EINVAL, root().but(|d| d.initial_root = true),
            &["mount initramfs"]),
        ("one of them", at(Step::PivotRoot, "pivot_root"), EINVAL, root(), &["mount root"]),
        ("the root is gone", at(Step::ChrootTo("/srv/x".into()), "chroot"), ENOENT, root(), &["path /srv/x"]),
        // resources
        ("too many processes", clone(), EAGAIN, user(), &["RLIMIT_NPROC", "pids.max"]),
        ("no memory", clone(), ENOMEM, user(), &["memory"]),
        ("too many files", FailedStep::Resources("a pipe"), EMFILE, user(), &["RLIMIT_NOFILE"]),
        ("too many files in a step", bind("open_tree"), EMFILE, user(), &["RLIMIT_NOFILE"]),
        ("too many files on the system", FailedStep::Streams, ENFILE, user().sysctl("fs.file-max", "8"),
            &["fs.file-max 8->16"]),
        ("no programs in memory", FailedStep::Init, EACCES, user().sysctl("vm.memfd_noexec", "2"),
            &["vm.memfd_noexec 2->0"]),
        ("killed", FailedStep::Died, 0, user(), &["memory"]),
        ("killed by a filter", FailedStep::Died, 0, user().filtered(), &["seccomp", "memory"]),
        ("name too long", at(Step::Hostname(OsString::from("x".repeat(65))), "sethostname"), EINVAL, user(),
            &["request hostname"]),
        // the working directory
        ("cwd missing", FailedStep::WorkingDirectory(path("/build")), ENOENT, user(), &["path /build"]),
        ("cwd not to be entered", FailedStep::WorkingDirectory(path("/root")), EACCES, user(), &["path /root"]),
        // the command
        ("not found", exec(ExecProblem::NotFound), ENOENT, user(), &["/bin/tool (-)"]),
        ("interpreter", exec(ExecProblem::InterpreterMissing("/usr/bin/perl".into())), ENOENT, user(),
            &["/usr/bin/perl (perl)"]),
        ("line ends", exec(ExecProblem::InterpreterMissing("/bin/sh\r".into())), ENOENT, user(), &["path /bin/sh\r"]),
        ("loader", exec(ExecProblem::LoaderMissing("/lib64/ld-linux-x86-64.so.2".into())), ENOENT, user(),
            &["/lib64/ld-linux-x86-64.so.2 (libc6)"]),
        ("loader, musl", exec(ExecProblem::LoaderMissing("/lib/ld-musl-x86_64.so.1".into())), ENOENT, user(),
            &["/lib/ld-musl-x86_64.so.1 (musl)"]),
        ("loader, nix", exec(ExecProblem::LoaderMissing("/nix/store/x/ld-linux-x86-64.so.2".into())), ENOENT, user(),
            &["/nix/store/x/ld-linux-x86-64.so.2 (libc6)"]),
        ("noexec", exec(ExecProblem::NotExecutable), EACCES, user().mounted("rw,nosuid,nodev,noexec,relatime"),
            &["mount noexec"]),
        ("noexec, other", exec(ExecProblem::Other), EACCES, user().mounted("noexec"), &["mount noexec"]),
        ("not executable", exec(ExecProblem::NotExecutable), EACCES, user().mounted("rw"), &["path /bin/tool"]),
        ("too long", exec(ExecProblem::TooLong), 7, user(), &["request arguments and environment"]),
        ("foreign", exec(ExecProblem::BadFormat), 8, user().but(|d| d.foreign = Some("aarch64")),
            &["qemu-aarch64 (qemu-user-static)"]),
        ("32 bits", exec(ExecProblem::BadFormat), 8, user().but(|d| d.foreign = Some("i386")),
            &["CONFIG_IA32_EMULATION", "qemu-i386 (qemu-user-static)"]),
        ("no format", exec(ExecProblem::BadFormat), 8, user(), &["path /bin/tool", "qemu-user (qemu-user-static)"]),
        ("busy", exec(ExecProblem::Other), ETXTBSY, user(), &["path /bin/tool"]),
        ("file capabilities", exec(ExecProblem::Other), EPERM, root(), &["file capabilities"]),
        // helpers
        ("helper missing", FailedStep::Helper("/usr/bin/linux-user-chroot".into()), ENOENT, user(),
            &["/usr/bin/linux-user-chroot (linux-user-chroot)"]),
        ("helper on nosuid", FailedStep::Helper("/x/h".into()), EPERM, user().mounted("nosuid"), &["mount nosuid"]),
        // nothing to say
        ("lower", FailedStep::Lower { what: "an argument".into() }, EINVAL, user(), &[]),
    ];
    for (name, step, errno, diagnosis, expected) in table {
        let hints = explain(Failure { step: &step, errno }, &diagnosis);
        assert_eq!(words(&hints), expected, "{name}");
        well_formed(&hints, name);
    }
}

fn well_formed(hints: &[Hint], case: &str) {
    for (i, hint) in hints.iter().enumerate() {
        let advice = &hint.advice;
        let first = advice.chars().next();
        assert!(
            first.is_some_and(|c| c.is_ascii_lowercase()),
            "{case}: {advice:?}"
        );
        assert!(
            !advice.ends_with('.') && advice.trim() == advice,
            "{case}: {advice:?}"
        );
        assert!(!advice.contains("  "), "{case}: {advice:?}");
        assert!(
            !hints[..i].iter().any(|h| h.knob == hint.knob),
            "{case}: twice {hint:?}"
        );
    }
}

#[test]
fn maps_cover_what_is_in_them() {
    let map = |ranges: &[(u32, u32)]| -> Vec<IdRange> {
        let range = |&(inside, count)| IdRange {
            inside,
            outside: 5,
            count,
        };
        ranges.iter().map(range).collect()
    };
    #[rustfmt::skip]
    let table = [
        (map(&[(0, u32::MAX)]), 0, u32::MAX, true),
        (map(&[(0, u32::MAX)]), u32::MAX, 1, false),
        (map(&[]), 0, 1, false),
        (map(&[]), 0, 0, true),
        (map(&[(10, 5), (0, 10)]), 0, 15, true),
        (map(&[(10, 5), (0, 9)]), 0, 15, false),
        (map(&[(10, 0)]), 10, 1, false),
        (map(&[(u32::MAX, u32::MAX)]), u32::MAX, u32::MAX, true),
    ];
    for (map, first, count, expected) in table {
        assert_eq!(
            reasons::covers(&map, first, count),
            expected,
            "{map:?} {first} {count}"
        );
    }
}

fn any_plan_step() -> impl Strategy<Value = PlanStep> {
    let p = || path("/a/b");
    prop::sample::select(vec![
        PlanStep::Root {
            source: "/r".into(),
            access: Access::ReadOnly,
        },
        PlanStep::Shadow {
            at: p(),
            mode: 0o755,
            entries: Vec::new(),
        },
        PlanStep::Bind {
            from: BindSource::Host("/h".into()),
            to: p(),
            node: Node::Dir,
            attributes: Attributes {
                access: Access::ReadWrite,
                devices: true,
            },
        },
        PlanStep::Bind {
            from: BindSource::Root(p()),
            to: p(),
            node: Node::File,
            attributes: Attributes {
                access: Access::ReadOnly,
                devices: false,
            },
        },
        PlanStep::Tmpfs {
            to: p(),
            size: None,
            mode: 0o1777,
        },
        PlanStep::Proc { to: p() },
        PlanStep::Devpts { to: p() },
        PlanStep::File {
            to: p(),
            data: Arc::from(&b"x"[..]),
            mode: 0o644,
        },
        PlanStep::Mask {
            to: p(),
            node: Node::Dir,
        },
        PlanStep::CloseSocket { to: p() },
        PlanStep::MakeDir {
            at: p(),
            mode: 0o755,
            on_host: true,
        },
        PlanStep::MakeFile {
            at: p(),
            on_host: false,
        },
        PlanStep::MakeSymlink {
            at: p(),
            to: "t".into(),
            on_host: true,
        },
        PlanStep::Seal { at: p() },
    ])
}

fn any_set() -> impl Strategy<Value = NamespaceSet> {
    any::<[bool; 7]>().prop_map(|[user, mount, pid, ipc, uts, net, cgroup]| NamespaceSet {
        user,
        mount,
        pid,
        ipc,
        uts,
        net,
        cgroup,
    })
}

fn any_ranges() -> impl Strategy<Value = Vec<IdRange>> {
    let range = any::<(u32, u32, u32)>();
    prop::collection::vec(
        range.prop_map(|(inside, outside, count)| IdRange {
            inside,
            outside,
            count,
        }),
        0..4,
    )
}

fn any_step() -> impl Strategy<Value = Step> {
    let writer = prop::sample::select(vec![MapWriter::Child, MapWriter::Parent, helpers()]);
    prop_oneof![
        any_set().prop_map(Step::Namespaces),
        (any_ranges(), any_ranges(), writer).prop_map(|(uids, gids, writer)| Step::IdMap {
            uids,
            gids,
            writer
        }),
        any_plan_step().prop_map(Step::Mount),
        prop::sample::select(vec![
            Step::TimeNamespace,
            Step::PrivateMounts,
            Step::ProtectProc(path("/proc")),
            Step::PivotRoot,
            Step::Chroot,
            Step::ChrootTo("/srv/r".into()),
            Step::Loopback,
            Step::Hostname("h".into()),
            Step::Session,
            Step::ClearGroups,
            Step::Ids { uid: 1, gid: 2 },
            Step::Capabilities(CapSet::FILES),
            Step::NoNewPrivs,
        ]),
    ]
}

fn any_failed_step() -> impl Strategy<Value = FailedStep> {
    let detail = prop::sample::select(vec![
        "",
        "write",
        "mount",
        "open_tree",
        "move_mount",
        "mount_setattr",
        "openat2",
        "fsopen",
        "fsconfig",
        "fsmount",
        "mkdirat",
        "pivot_root",
        "chroot",
        "unheard_of",
    ]);
    let problem = prop::sample::select(vec![
        ExecProblem::NotFound,
        ExecProblem::NotExecutable,
        ExecProblem::InterpreterMissing(PathBuf::new()),
        ExecProblem::InterpreterMissing("/Bin/Sh".into()),
        ExecProblem::LoaderMissing("/".into()),
        ExecProblem::BadFormat,
        ExecProblem::TooLong,
        ExecProblem::Other,
    ]);
    let program = prop::sample::select(vec!["", "/", "/bin/x", "x", "MAKE", "\u{feff}"]);
    prop_oneof![
        any_set().prop_map(FailedStep::Clone),
        (any_step(), detail).prop_map(|(step, detail)| at(step, detail)),
        (program, problem).prop_map(|(p, problem)| FailedStep::Exec {
            program: p.into(),
            problem
        }),
        prop::sample::select(vec![
            FailedStep::Lower { what: "x".into() },
            FailedStep::Resources("a pipe"),
            FailedStep::Streams,
            FailedStep::WorkingDirectory(path("/w")),
            FailedStep::Init,
            FailedStep::Helper("/usr/bin/bwrap".into()),
            FailedStep::Died,
        ]),
    ]
}

fn any_diagnosis() -> impl Strategy<Value = Diagnosis> {
    let value = prop::sample::select(vec![
        "",
        "0",
        "1\n",
        "2",
        "-1",
        "18446744073709551615",
        "99999999999999999999",
        "x",
    ]);
    let sysctls = prop::collection::btree_map(
        prop::sample::select(SYSCTLS.to_vec()).prop_map(str::to_owned),
        value.prop_map(str::to_owned),
        0..SYSCTLS.len(),
    );
    let label = prop::sample::select(vec!["", "(enforce)", ":::", "unconfined\n", "a:b:c:d"]);
    let options = prop::sample::select(vec!["", ",", "noexec", "nosuid,ro", "rw"]);
    let facts = (any::<[u32; 2]>(), any::<u64>(), any_ranges(), any_ranges());
    let kernel = prop::option::of(any::<(u32, u32)>());
    (sysctls, any::<[bool; 8]>(), label, options, facts, kernel).prop_map(
        |(sysctls, b, label, options, ([uid, gid], caps, uid_map, gid_map), kernel)| {
            let mut facts = HostFacts::linux(uid, gid);
            facts.capabilities = CapSet::from_bits(caps);
            facts.kernel = kernel.map(|(a, b)| KernelVersion(a, b));
            facts.apparmor_restricts_userns = b[3].then_some(b[5]);
            facts.apparmor_unconfined = b[4].then_some(b[6]);
            if b[0] {
                facts.uid_map = uid_map;
                facts.gid_map = gid_map;
                facts.subordinate = Some(Subordinate::default());
            }
            let mut d = Diagnosis::new(facts);
            d.sysctls = sysctls;
            d.filtered = b[1];
            d.no_new_privs = b[2];
            d.proc_masked = b[3];
            d.proc_missing = b[4];
            d.chrooted = b[5];
            d.initial_root = b[6];
            d.label = b[7].then(|| label.to_owned());
            d.missing_namespaces = if b[2] {
                vec!["user", "pid", "odd"]
            } else {
                Vec::new()
            };
            d.mount_options = b[3].then(|| options.to_owned());
            d.powerless_helper = b[4].then(|| "/usr/bin/newgidmap".into());
            d.foreign = b[5].then_some("riscv64");
            d
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn any_failure_is_explained_in_form(
        step in any_failed_step(),
        errno in prop_oneof![-2..140i32, any::<i32>()],
        diagnosis in any_diagnosis(),
    ) {
        let hints = explain(Failure { step: &step, errno }, &diagnosis);
        well_formed(&hints, &format!("{step} {errno}"));
    }

    #[test]
    fn a_refusal_known_before_never_comes_for_nothing(d in any_diagnosis()) {
        for reason in [
            d.facts.user_namespace_reason(),
            d.facts.apparmor_reason(),
            d.facts.kernel_reason(),
            d.facts.privilege_reason(),
            d.facts.subordinate_reason(),
        ].into_iter().flatten() {
            prop_assert!(!reason.hints.is_empty());
            well_formed(&reason.hints, &reason.text);
        }
    }
}
