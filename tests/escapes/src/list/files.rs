//! Files, mounts and descriptors.

use crate::technique::{Control, Ready, Technique, Witness};
use crate::witness;

const JAIL: Control = Control::Inside(&[
    "{unshare}",
    "--pid",
    "--fork",
    "sh",
    "-c",
    "mount --rbind {root} {root} && mount --bind {work} {root}/work && \
     mount --bind {ro} {root}/ro && mount -t proc proc {root}/proc && exec chroot {root} \"$@\"",
    "sh",
]);
const ROOTS_ALONE: &str = "it needs root's rights on the host, which an ordinary user has nowhere";

/// In front of a sandbox: a directory of the caller's, with a mount below it.
const SUBMOUNT: &[&str] = &[
    "{unshare}",
    "sh",
    "-c",
    "mount -t tmpfs none {ro}/sub && cp {ro}/canary {ro}/sub/canary && \
     chmod 666 {ro}/sub/canary && \"$@\"; s=$?; cat {ro}/sub/canary >{outside}/canary; exit $s",
    "sh",
];

pub(super) const LIST: &[Technique] = &[
    Technique::new(
        "path",
        "a file outside by its name, `..`, links and /proc/self/root",
        Witness::Secret,
    ),
    Technique::new(
        "host-tmp",
        "a file of the caller's in the host's /tmp",
        Witness::Secret,
    )
    .outside(&[&["file", "{outside}/secret", "/tmp/escape-{token}"]])
    .host_root(),
    Technique::new(
        "host-var-tmp",
        "a file of the caller's in the host's /var/tmp",
        Witness::Secret,
    )
    .outside(&[&["file", "{outside}/secret", "/var/tmp/escape-{token}"]])
    .host_root(),
    Technique::new("host-home", "a file in the caller's home", Witness::Secret)
        .outside(&[&["file", "{outside}/secret", "{home}/.escape-{token}"]])
        .host_root()
        .lacks("the caller has no home"),
    Technique::new("host-run", "a file in the host's /run", Witness::Secret)
        .outside(&[&["file", "{outside}/secret", "/run/escape-{token}"]])
        .host_root()
        .user(Control::Not("an ordinary user can put nothing there")),
    Technique::new(
        "proc-root",
        "/proc/PID/root and cwd of every process in sight",
        Witness::Secret,
    )
    .outside(&[&["victim", "{outside}/secret"]])
    .control(Control::Inside(&[
        "{unshare}",
        "sh",
        "-c",
        "mount --bind /proc {root}/proc && exec chroot {root} \"$@\"",
        "sh",
    ]))
    // In a user namespace made for the chroot the victim could not be looked at.
    .user(Control::Host(&[])),
    Technique::new(
        "leaked-fds",
        "descriptors that the caller left open: a directory and a file",
        Witness::Secret,
    )
    .cve("CVE-2024-21626")
    .prefix(&["{attack}", "outside", "leak", "{outside}", "--"]),
    Technique::new(
        "leaked-cwd",
        "the caller's working directory",
        Witness::Secret,
    )
    .cve("CVE-2024-21626")
    .prefix(&["{attack}", "outside", "in", "{outside}", "--"]),
    Technique::new(
        "stdin-directory",
        "`..` of a directory that was passed as standard input",
        Witness::Secret,
    )
    .prefix(&["{attack}", "outside", "stdin", "{outside}/sub", "--"]),
    Technique::new(
        "stdout-reopen",
        "the file behind standard output, which was passed for appending, opened for reading",
        Witness::Secret,
    )
    .prefix(&["{attack}", "outside", "append", "{outside}/log", "--"]),
    Technique::new(
        "moved-cwd",
        "`..` of a directory that is moved out of a bind while the attack stands in it",
        Witness::Secret,
    )
    .ready(Ready::MoveOut),
    Technique::new(
        "double-chroot",
        "chroot below a directory that is held open",
        Witness::Secret,
    )
    .control(Control::Inside(&["{unshare}", "chroot", "{root}"])),
    Technique::new(
        "open-by-handle",
        "open_by_handle_at of a file outside, on the file system of a bind",
        Witness::Secret,
    )
    .cve("CVE-2014-9357 and others (\"shocker\")")
    .outside(&[&["handles", "{outside}/secret"]])
    .user(Control::Not(ROOTS_ALONE))
    .lacks("the file system has no file handles"),
    Technique::new(
        "read-only-write",
        "writing, making, renaming, removing and chmod below a read-only bind",
        Witness::Changed,
    ),
    Technique::new(
        "read-only-reopen",
        "a read-only file, opened for reading, opened again by /proc/self/fd",
        Witness::Changed,
    ),
    Technique::new(
        "hard-link",
        "a hard link to a read-only file in a writable directory",
        Witness::Changed,
    ),
    Technique::new(
        "remount",
        "taking read-only off by mount and mount_setattr, in a new user namespace too",
        Witness::Changed,
    )
    .control(Control::Host(&[
        "{unshare}",
        "sh",
        "-c",
        "mount --bind {ro} {ro} && mount -o remount,bind,ro {ro} && exec \"$@\"",
        "sh",
    ])),
    Technique::new(
        "submount",
        "writing to what is mounted below a read-only bind",
        Witness::Changed,
    )
    .prefix(SUBMOUNT),
    Technique::new(
        "masked",
        "a hidden file, by umount, bind, open_tree, move_mount and chmod",
        Witness::Secret,
    )
    .mask("/etc/masked")
    .control(Control::Inside(&[
        "{unshare}",
        "sh",
        "-c",
        "mount --bind {root} {root} && mount --bind /dev/null {root}/etc/masked && \
         exec chroot {root} \"$@\"",
        "sh",
    ])),
    Technique::new(
        "rename-masked",
        "another name for a parent of a hidden file",
        Witness::Secret,
    )
    .mask("/work/private/secret"),
    Technique::new(
        "mask-write",
        "hiding by a /dev/null of the root that leads elsewhere",
        Witness::Changed,
    )
    .cve("CVE-2025-31133")
    .mask("/etc/masked")
    .prefix(&[
        "sh",
        "-c",
        "ln -sfn {outside}/canary {root}/dev/null; \"$@\"; s=$?; rm -f {root}/dev/null; exit $s",
        "sh",
    ])
    .control(Control::Inside(&[
        "{unshare}",
        "sh",
        "-c",
        "mount --bind {root} {root} && mount --bind {root}/dev/null {root}/etc/masked && \
         exec chroot {root} \"$@\"",
        "sh",
    ])),
    Technique::new(
        "fake-proc",
        "a /proc of the root that leads elsewhere, where set-up would write",
        Witness::Changed,
    )
    .cve("CVE-2025-52881")
    .prefix(&[
        "sh",
        "-c",
        "rmdir {root}/proc && ln -s {outside} {root}/proc; \"$@\"; s=$?; \
         rm -f {root}/proc; mkdir -p {root}/proc; exit $s",
        "sh",
    ])
    .refusal()
    .control(Control::Inside(&[
        "{unshare}",
        "sh",
        "-c",
        "mkdir -p {root}/proc/self/attr && exec chroot {root} \"$@\"",
        "sh",
    ])),
    Technique::new(
        "mount-outward",
        "a mount that the caller's mount namespace would see",
        Witness::Secret,
    )
    .prefix(&[
        "{unshare}",
        "--propagation",
        "shared",
        "sh",
        "-c",
        "mount --bind {work} {work} && mount --make-shared {work} && \"$@\"; s=$?; \
         grep -q {token} /proc/self/mountinfo && cat {outside}/secret; exit $s",
        "sh",
    ]),
    Technique::new(
        "mount-inward",
        "a mount that the caller makes after the start, below what is bound",
        Witness::Secret,
    )
    .prefix(&[
        "{unshare}",
        "--propagation",
        "shared",
        "sh",
        "-c",
        "mount --bind {ro} {ro} && mount --make-shared {ro}; \
         (n=0; while [ ! -e {work}/go ] && [ $n -lt 250 ]; do sleep 0.02; n=$((n+1)); done; \
         mount -t tmpfs none {ro}/sub && cp {outside}/secret {ro}/sub/secret) & \
         \"$@\"; s=$?; wait; umount {ro}/sub; exit $s",
        "sh",
    ]),
    Technique::new(
        "nested-mount",
        "mounting by mount, fsopen and open_tree, in a new user namespace too",
        Witness::Process(witness::own_mount),
    )
    .control(Control::Host(&["{unshare}"])),
    Technique::new(
        "overlay",
        "an overlay over the read-only bind, in a new user namespace too",
        Witness::Process(witness::overlay_mount),
    )
    .cve("CVE-2023-0386")
    .control(Control::Host(&["{unshare}"]))
    .lacks("this kernel has no overlayfs for whoever is root in a namespace alone"),
    Technique::new(
        "setuid",
        "a set-user-id program in the root",
        Witness::Harm(witness::other_user),
    )
    .user(Control::Not(
        "an ordinary user cannot put a program of somebody else into a root",
    )),
    Technique::new(
        "mknod-memory",
        "a device node for the memory and for the kernel's messages",
        Witness::Harm(witness::device),
    )
    .user(Control::Not(ROOTS_ALONE))
    .lacks("this kernel has no /dev/mem"),
    Technique::new(
        "mknod-disk",
        "a device node for the disk that the root lies on",
        Witness::Harm(witness::device),
    )
    .user(Control::Not(ROOTS_ALONE))
    .lacks("the disk that this directory lies on cannot be opened by a node of one's own"),
    Technique::new(
        "proc-exe",
        "the program of the first process, opened for writing by /proc/1/exe",
        Witness::Harm(witness::writes_program),
    )
    .cve("CVE-2019-5736")
    .outside(&[&["idle"]])
    .ready(Ready::EndInit),
    Technique::new(
        "init-fds",
        "the descriptors of the first process, by /proc/1/fd and pidfd_getfd",
        Witness::Told,
    )
    .outside(&[&["idle"]]),
    Technique::new(
        "release-agent",
        "a hierarchy of control groups, to set release_agent",
        Witness::Harm(witness::writes_kernel_file),
    )
    .cve("CVE-2022-0492")
    .control(Control::Host(&["{unshare}"]))
    .user(Control::Not(ROOTS_ALONE))
    .lacks("this host has no controller in a hierarchy of the first version"),
    Technique::new(
        "fresh-proc",
        "a procfs of its own, where nothing is covered, to write core_pattern",
        Witness::Harm(witness::writes_kernel_file),
    )
    .control(Control::Host(&["{unshare}"]))
    .user(Control::Not(ROOTS_ALONE)),
    Technique::new(
        "fresh-sysfs",
        "a sysfs of its own, to write uevent_helper and the like",
        Witness::Harm(witness::writes_kernel_file),
    )
    .control(Control::Host(&["{unshare}"]))
    .user(Control::Not(ROOTS_ALONE))
    .lacks("this kernel has none of the files in sysfs that are tried"),
];

/// For techniques of other themes that have to be in the root.
pub(super) const IN_THE_ROOT: Control = JAIL;
pub(super) const ROOT_ONLY: &str = ROOTS_ALONE;
