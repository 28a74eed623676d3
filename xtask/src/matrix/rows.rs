//! The rows of the matrix, as plain data: where, as whom, under which restriction, and what each
//! backend is expected to do there.

use crate::environments::{COVERED_PROC, FILTERED, NESTED, NO_USER_NAMESPACES, NOTHING_IN_THE_WAY};

/// The backends, in the order of [`Row::expect`].
pub(super) const BACKENDS: [&str; 4] = ["userns", "chroot", "bubblewrap", "linux-user-chroot"];

/// One row.
#[derive(Debug)]
pub(super) struct Row {
    /// Its name on the command line.
    pub(super) name: &'static str,
    /// What is particular there, for people.
    pub(super) what: &'static str,
    pub(super) place: Place,
    pub(super) who: Who,
    /// A shell script that makes what root alone can make, and starts `$AS $ROW`: the environment,
    /// as the one it is for.
    pub(super) prepare: &'static str,
    /// A shell script that makes the rest, and starts `$RUN`.
    pub(super) environment: &'static str,
    /// For each of [`BACKENDS`].
    pub(super) expect: [Expect; 4],
    /// What may hold the limits of all processes together; nothing where no command can be run by
    /// a backend of ours, or none for long enough.
    pub(super) limits: Means,
}

/// Names, as reports have them, of which one holds all of them.
type Means = &'static [&'static str];

const GROUPS: Means = &["cgroup-v2"];
const LOOKING: Means = &["accounting"];
/// Of a machine of which it is not known whether there are groups, and for whom.
const ANY: Means = &["cgroup-v2", "cgroup-v1", "accounting"];
/// Nothing can be run, or nothing with a process id namespace and /proc.
const NOT_LOOKED_AT: Means = &[];

impl Row {
    /// Whether root has to make it.
    pub(super) fn needs_root(&self) -> bool {
        self.who == Who::Root || self.prepare != PLAIN
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// This machine.
    Host,
    /// A virtual machine with the kernel of this version, see [`KERNELS`].
    Kernel(&'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    Root,
    /// Any ordinary user.
    User,
    /// An ordinary user to whom the host grants subordinate ids (subuid(5)).
    Ranged,
}

/// What a backend is to do.
#[derive(Debug, Clone, Copy)]
pub(super) enum Expect {
    /// It enforces everything but some features, for a reason in which these words are. These
    /// cases of the suite it does not pass, by its nature: [`NATURE`] says why.
    Works {
        lacks: Lacks,
        deviates: &'static [&'static str],
    },
    /// Nothing runs, for a reason in which these words are.
    Unusable(&'static str),
}

type Lacks = &'static [(&'static str, &'static [&'static str])];

/// A kernel from Debian, and where it is from.
#[derive(Debug)]
pub(super) struct Kernel {
    pub(super) version: &'static str,
    pub(super) suite: &'static str,
    /// How the name of the package begins; it ends in `-cloud-amd64`. The newest is taken.
    pub(super) package: &'static str,
}

/// Among them the oldest that is supported, what Debian 12 has, and the newest that there is.
pub(super) const KERNELS: &[Kernel] = &[
    Kernel {
        version: "5.10",
        suite: "bullseye",
        package: "linux-image-5.10.",
    },
    Kernel {
        version: "6.1",
        suite: "bookworm",
        package: "linux-image-6.1.",
    },
    Kernel {
        version: "6.12",
        suite: "bookworm-security",
        package: "linux-image-6.12.",
    },
    Kernel {
        version: "7.2",
        suite: "trixie-backports",
        package: "linux-binary-7.2.",
    },
];

/// Nothing that root has to make.
const PLAIN: &str = "exec $AS $ROW";

const NO_SUBORDINATE_IDS: &str = "exec unshare -m sh -c 'mount --bind /dev/null /etc/subuid && \
                                  mount --bind /dev/null /etc/subgid && exec $AS $ROW'";

const READ_ONLY_ROOT: &str = "exec unshare -m sh -c 'mount -o remount,bind,ro / && \
                              mount -t tmpfs -o mode=1777 none /tmp && exec $AS $ROW'";

/// By the sysctl of Debian's kernels, on a machine that is ours alone.
const NO_UNPRIVILEGED_CLONE: &str = "echo 0 >/proc/sys/kernel/unprivileged_userns_clone && \
                                     $AS $ROW; echo 1 >/proc/sys/kernel/unprivileged_userns_clone";

/// As systemd does it for the session of a user (cgroups(7), delegation).
const DELEGATED: &str = "g=/sys/fs/cgroup/delegated && mkdir $g && \
                         echo '+memory +pids' >${g%/*}/cgroup.subtree_control && \
                         echo '+memory +pids' >$g/cgroup.subtree_control && mkdir $g/here && \
                         chown 1000:1000 $g/cgroup.procs $g/cgroup.subtree_control $g/here \
                         $g/here/cgroup.procs && chown 1000:1000 $g && \
                         echo $$ >$g/here/cgroup.procs && export MATRIX_CGROUP=$g && \
                         exec $AS $ROW";

const NO_CHROOT: &str = "exec setpriv --bounding-set=-sys_chroot --inh-caps=-sys_chroot $RUN";

/// Cases that a backend does not pass anywhere, and why that is so and stays so.
pub(super) const NATURE: &[(&str, &str, &str)] = &[
    (
        "bubblewrap",
        "the_environment_is_what_was_set",
        "bwrap adds PWD",
    ),
    (
        "bubblewrap",
        "devices_are_those_promised",
        "bwrap adds a link /dev/core",
    ),
    (
        "bubblewrap",
        "the_command_gains_nothing",
        "for root the capability bounding set stays; with no_new_privs nothing is had from it",
    ),
    (
        "bubblewrap",
        "what_is_in_a_tmpfs_is_memory",
        "bwrap mounts it, and what is in it is not looked at; each is bounded by the limit",
    ),
    (
        "linux-user-chroot",
        "the_size_of_files_is_limited",
        "the program exits 1 where a signal ended the command",
    ),
    (
        "linux-user-chroot",
        "no_descriptor_is_open_but_those_passed",
        "the program closes those that are passed by name too",
    ),
    (
        "linux-user-chroot",
        "the_end_is_told",
        "the program exits 1 where a signal ended the command",
    ),
    (
        "linux-user-chroot",
        "a_signal_reaches_the_command",
        "the program exits 1 where a signal ended the command",
    ),
    (
        "linux-user-chroot",
        "a_tmpfs_holds_what_it_may",
        "a directory stands in for a tmpfs, and cannot be limited: refused when it is prepared",
    ),
    (
        "linux-user-chroot",
        "a_file_from_data",
        "a missing mount point in a writable root is refused when it is prepared",
    ),
    (
        "linux-user-chroot",
        "links_and_directories",
        "a missing mount point in a writable root is refused when it is prepared",
    ),
    (
        "linux-user-chroot",
        "ipc_is_its_own",
        "ipc and uts are had together or not at all: refused when it is prepared",
    ),
    (
        "linux-user-chroot",
        "a_host_name_of_its_own",
        "the program cannot set one: refused when it is prepared",
    ),
];

/// What a backend never enforces, in the order of [`BACKENDS`].
pub(super) const NEVER: [&[&str]; 4] = [&[], BEYOND_CHROOT, &["time", "overlay"], BEYOND_CLASSIC.1];

const ALL: Expect = Expect::Works {
    lacks: &[],
    deviates: &[],
};

const NO_RANGE: Expect = Expect::Works {
    lacks: &[(
        "grants the caller no subordinate user ids",
        &["subordinate"],
    )],
    deviates: &[],
};

const CHANGES_ROOT: &str = "chroot(2) changes the root directory and nothing else";
const BEYOND_CHROOT: &[&str] = &[
    "read-only",
    "network",
    "ipc",
    "uts",
    "cgroup",
    "time",
    "user",
    "subordinate",
];
const CHROOT: Expect = Expect::Works {
    lacks: &[(CHANGES_ROOT, BEYOND_CHROOT)],
    deviates: &[],
};
const NOT_ROOT: Expect = Expect::Unusable("chroot(2) needs root");

const NO_CLOCKS: (&str, &[&str]) = ("bwrap has no option for a time namespace", &["time"]);
const NO_OVERLAYS: (&str, &[&str]) = ("the bubblewrap backend has no overlays", &["overlay"]);
const SINGLE_ID: (&str, &[&str]) = ("bwrap maps a single id", &["subordinate"]);
const BWRAP_ROOT: Expect = Expect::Works {
    lacks: &[NO_CLOCKS, NO_OVERLAYS],
    deviates: &[
        "the_environment_is_what_was_set",
        "the_command_gains_nothing",
        "devices_are_those_promised",
        "what_is_in_a_tmpfs_is_memory",
    ],
};
const BWRAP: Expect = Expect::Works {
    lacks: &[NO_CLOCKS, NO_OVERLAYS, SINGLE_ID],
    deviates: &[
        "the_environment_is_what_was_set",
        "devices_are_those_promised",
        "what_is_in_a_tmpfs_is_memory",
    ],
};

const BEYOND_CLASSIC: (&str, &[&str]) = (
    "linux-user-chroot has no option for it",
    &[
        "mask",
        "cgroup",
        "time",
        "user",
        "ids",
        "subordinate",
        "seccomp",
        "nested",
        "cpu-time",
        "memory",
        "processes",
        "overlay",
    ],
);
const CLASSIC: Expect = Expect::Works {
    lacks: &[BEYOND_CLASSIC],
    deviates: &[
        "no_descriptor_is_open_but_those_passed",
        "the_end_is_told",
        "a_signal_reaches_the_command",
        "a_tmpfs_holds_what_it_may",
        "a_file_from_data",
        "links_and_directories",
        "ipc_is_its_own",
        "a_host_name_of_its_own",
        "the_size_of_files_is_limited",
    ],
};

const ROOT: [Expect; 4] = [ALL, CHROOT, BWRAP_ROOT, CLASSIC];
const USER: [Expect; 4] = [ALL, NOT_ROOT, BWRAP, CLASSIC];

/// Before Linux 6.6.
const NO_LAYERS_IN_MEMORY: (&str, &[&str]) = ("keeps no attributes in memory", &["overlay"]);
/// Before Linux 5.11.
const NO_LAYERS: (&str, &[&str]) = ("mounts no overlay without privilege", &["overlay"]);

const fn lacking(lacks: Lacks) -> Expect {
    Expect::Works {
        lacks,
        deviates: &[],
    }
}

const ROOT_6_1: [Expect; 4] = [
    lacking(&[NO_LAYERS_IN_MEMORY]),
    lacking(&[(CHANGES_ROOT, BEYOND_CHROOT), NO_LAYERS_IN_MEMORY]),
    BWRAP_ROOT,
    CLASSIC,
];
const USER_6_1: [Expect; 4] = [lacking(&[NO_LAYERS_IN_MEMORY]), NOT_ROOT, BWRAP, CLASSIC];
const ROOT_5_10: [Expect; 4] = [
    lacking(&[NO_LAYERS]),
    lacking(&[(CHANGES_ROOT, BEYOND_CHROOT), NO_LAYERS]),
    BWRAP_ROOT,
    CLASSIC,
];
const USER_5_10: [Expect; 4] = [lacking(&[NO_LAYERS]), NOT_ROOT, BWRAP, CLASSIC];

/// The machines have no modules, and Debian's overlayfs is one.
const NO_OVERLAYFS: (&str, &[&str]) = ("No such device", &["overlay"]);
const ROOT_IN_MACHINE: [Expect; 4] = [
    lacking(&[NO_OVERLAYFS]),
    lacking(&[(CHANGES_ROOT, BEYOND_CHROOT), NO_OVERLAYFS]),
    BWRAP_ROOT,
    CLASSIC,
];
const USER_IN_MACHINE: [Expect; 4] = [lacking(&[NO_OVERLAYFS]), NOT_ROOT, BWRAP, CLASSIC];

const SWITCHED_OFF: Expect = Expect::Unusable("user.max_user_namespaces is 0");
const FILTER: Expect = Expect::Unusable("runs under a system call filter");
const COVERED: &str = "uncover the caller's /proc";
const ONE_ID: &str = "a user namespace that has no";
const NO_SETFCAP: &str = "root without CAP_SETFCAP cannot map itself";
const CLONE_IS_0: Expect = Expect::Unusable("kernel.unprivileged_userns_clone is 0");

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "root",
        what: "root",
        place: Place::Host,
        who: Who::Root,
        prepare: PLAIN,
        environment: NOTHING_IN_THE_WAY,
        expect: ROOT,
        limits: ANY,
    },
    Row {
        name: "user",
        what: "ordinary user",
        place: Place::Host,
        who: Who::User,
        prepare: NO_SUBORDINATE_IDS,
        environment: NOTHING_IN_THE_WAY,
        expect: [NO_RANGE, NOT_ROOT, BWRAP, CLASSIC],
        limits: ANY,
    },
    Row {
        name: "user-subordinate",
        what: "ordinary user with subordinate ids",
        place: Place::Host,
        who: Who::Ranged,
        prepare: PLAIN,
        environment: NOTHING_IN_THE_WAY,
        expect: USER,
        limits: ANY,
    },
    Row {
        name: "no-user-namespaces",
        what: "no user namespaces (user.max_user_namespaces=0)",
        place: Place::Host,
        who: Who::User,
        prepare: PLAIN,
        environment: NO_USER_NAMESPACES,
        expect: [SWITCHED_OFF, NOT_ROOT, SWITCHED_OFF, SWITCHED_OFF],
        limits: NOT_LOOKED_AT,
    },
    Row {
        name: "filter",
        what: "a container engine's system call filter",
        place: Place::Host,
        who: Who::User,
        prepare: PLAIN,
        environment: FILTERED,
        expect: [
            FILTER,
            NOT_ROOT,
            Expect::Unusable("bwrap: No permissions to create new namespace"),
            FILTER,
        ],
        limits: NOT_LOOKED_AT,
    },
    Row {
        name: "filter-root",
        what: "a container engine's system call filter",
        place: Place::Host,
        who: Who::Root,
        prepare: PLAIN,
        environment: FILTERED,
        expect: [
            FILTER,
            // What takes a mount namespace goes as well.
            Expect::Works {
                lacks: &[
                    (CHANGES_ROOT, BEYOND_CHROOT),
                    (
                        "runs under a system call filter",
                        &[
                            "bind",
                            "tmpfs",
                            "dev",
                            "file",
                            "entries",
                            "mask",
                            "pid",
                            "host-secrets",
                            "overlay",
                        ],
                    ),
                ],
                // What the engine's filter closes cannot be shown to be open but for ours.
                deviates: &["less_will_do", "no_further_user_namespaces"],
            },
            Expect::Unusable("bwrap: Creating new namespace failed: Operation not permitted"),
            FILTER,
        ],
        limits: NOT_LOOKED_AT,
    },
    Row {
        name: "covered-proc",
        what: "a /proc of which parts are covered, as root of a user namespace",
        place: Place::Host,
        who: Who::User,
        prepare: PLAIN,
        environment: COVERED_PROC,
        expect: [
            Expect::Works {
                lacks: &[(COVERED, &["proc"]), (ONE_ID, &["subordinate"])],
                deviates: &["ids_as_asked_for"],
            },
            Expect::Works {
                lacks: &[(CHANGES_ROOT, BEYOND_CHROOT)],
                deviates: &["ids_as_asked_for"],
            },
            // bwrap as root makes no user namespace, and the one that it is in may have its /proc.
            Expect::Works {
                lacks: &[NO_CLOCKS, NO_OVERLAYS, (ONE_ID, &["subordinate"])],
                deviates: &[
                    "the_environment_is_what_was_set",
                    "the_command_gains_nothing",
                    "devices_are_those_promised",
                    "a_user_namespace_of_its_own",
                    "ids_as_asked_for",
                    "what_is_in_a_tmpfs_is_memory",
                ],
            },
            Expect::Works {
                lacks: &[BEYOND_CLASSIC],
                deviates: &[
                    "no_descriptor_is_open_but_those_passed",
                    "the_end_is_told",
                    "a_signal_reaches_the_command",
                    "a_tmpfs_holds_what_it_may",
                    "proc_is_that_of_the_sandbox",
                    "proc_is_no_lever",
                    "a_file_from_data",
                    "links_and_directories",
                    "ipc_is_its_own",
                    "a_host_name_of_its_own",
                    "the_size_of_files_is_limited",
                ],
            },
        ],
        limits: NOT_LOOKED_AT,
    },
    Row {
        name: "nested",
        what: "in a sandbox of run-sandbox",
        place: Place::Host,
        who: Who::Ranged,
        prepare: PLAIN,
        environment: NESTED,
        // newuidmap is set-user-id, and a sandbox runs with no_new_privs.
        expect: [
            Expect::Works {
                lacks: &[("no_new_privs", &["subordinate"])],
                deviates: &[],
            },
            NOT_ROOT,
            BWRAP,
            CLASSIC,
        ],
        limits: ANY,
    },
    Row {
        name: "nested-root",
        what: "in a sandbox of run-sandbox, which leaves root some capabilities alone",
        place: Place::Host,
        who: Who::Root,
        prepare: PLAIN,
        environment: NESTED,
        expect: [
            Expect::Unusable(NO_SETFCAP),
            NOT_ROOT,
            Expect::Unusable("bwrap: setting up uid map: Operation not permitted"),
            Expect::Unusable(NO_SETFCAP),
        ],
        limits: NOT_LOOKED_AT,
    },
    Row {
        name: "read-only-root",
        what: "the host's root is read-only",
        place: Place::Host,
        who: Who::Ranged,
        prepare: READ_ONLY_ROOT,
        environment: NOTHING_IN_THE_WAY,
        expect: USER,
        limits: ANY,
    },
    Row {
        name: "read-only-root-root",
        what: "the host's root is read-only",
        place: Place::Host,
        who: Who::Root,
        prepare: READ_ONLY_ROOT,
        environment: NOTHING_IN_THE_WAY,
        expect: ROOT,
        limits: ANY,
    },
    Row {
        name: "no-chroot",
        what: "root without CAP_SYS_CHROOT",
        place: Place::Host,
        who: Who::Root,
        prepare: PLAIN,
        environment: NO_CHROOT,
        expect: [ALL, NOT_ROOT, BWRAP_ROOT, CLASSIC],
        limits: ANY,
    },
    Row {
        name: "5.10-root",
        what: "root",
        place: Place::Kernel("5.10"),
        who: Who::Root,
        prepare: PLAIN,
        environment: NOTHING_IN_THE_WAY,
        expect: ROOT_5_10,
        limits: GROUPS,
    },
    Row {
        name: "5.10-user",
        what: "ordinary user with subordinate ids",
        place: Place::Kernel("5.10"),
        who: Who::Ranged,
        prepare: PLAIN,
        environment: NOTHING_IN_THE_WAY,
        expect: USER_5_10,
        limits: LOOKING,
    },
    Row {
        name: "6.1-root",
        what: "root",
        place: Place::Kernel("6.1"),
        who: Who::Root,
        prepare: PLAIN,
        environment: NOTHING_IN_THE_WAY,
        expect: ROOT_6_1,
        limits: GROUPS,
    },
    Row {
        name: "6.1-user",
        what: "ordinary user with subordinate ids",
        place: Place::Kernel("6.1"),
        who: Who::Ranged,
        prepare: PLAIN,
        environment: NOTHING_IN_THE_WAY,
        expect: USER_6_1,
        limits: LOOKING,
    },
    Row {
        name: "6.1-no-unprivileged-clone",
        what: "kernel.unprivileged_userns_clone=0",
        place: Place::Kernel("6.1"),
        who: Who::User,
        prepare: NO_UNPRIVILEGED_CLONE,
        environment: NOTHING_IN_THE_WAY,
        expect: [CLONE_IS_0, NOT_ROOT, CLONE_IS_0, CLONE_IS_0],
        limits: NOT_LOOKED_AT,
    },
    Row {
        name: "6.12-root",
        what: "root",
        place: Place::Kernel("6.12"),
        who: Who::Root,
        prepare: PLAIN,
        environment: NOTHING_IN_THE_WAY,
        expect: ROOT_IN_MACHINE,
        limits: GROUPS,
    },
    Row {
        name: "6.12-user",
        what: "ordinary user with subordinate ids",
        place: Place::Kernel("6.12"),
        who: Who::Ranged,
        prepare: PLAIN,
        environment: NOTHING_IN_THE_WAY,
        expect: USER_IN_MACHINE,
        limits: LOOKING,
    },
    Row {
        name: "6.12-delegated",
        what: "ordinary user to whom a control group is delegated",
        place: Place::Kernel("6.12"),
        who: Who::Ranged,
        prepare: DELEGATED,
        environment: NOTHING_IN_THE_WAY,
        expect: USER_IN_MACHINE,
        limits: GROUPS,
    },
    Row {
        name: "7.2-root",
        what: "root",
        place: Place::Kernel("7.2"),
        who: Who::Root,
        prepare: PLAIN,
        environment: NOTHING_IN_THE_WAY,
        expect: ROOT_IN_MACHINE,
        limits: GROUPS,
    },
    Row {
        name: "7.2-user",
        what: "ordinary user with subordinate ids",
        place: Place::Kernel("7.2"),
        who: Who::Ranged,
        prepare: PLAIN,
        environment: NOTHING_IN_THE_WAY,
        expect: USER_IN_MACHINE,
        limits: LOOKING,
    },
    Row {
        name: "7.2-delegated",
        what: "ordinary user to whom a control group is delegated",
        place: Place::Kernel("7.2"),
        who: Who::Ranged,
        prepare: DELEGATED,
        environment: NOTHING_IN_THE_WAY,
        expect: USER_IN_MACHINE,
        limits: GROUPS,
    },
];
