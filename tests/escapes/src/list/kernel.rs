//! The kernel's files, devices and wide doors.

use super::files::{IN_THE_ROOT, ROOT_ONLY};
use crate::technique::{Control, Technique, Witness};
use crate::witness;

/// What an ordinary user may is what counts: root inside has no capability for it.
const ORDINARY: Control = Control::Host(&[
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
]);

const FILE: Witness = Witness::Harm(witness::writes_kernel_file);

pub(super) const LIST: &[Technique] = &[
    Technique::new("core-pattern", "core_pattern, opened for writing", FILE)
        .control(IN_THE_ROOT)
        .user(Control::Not(ROOT_ONLY)),
    Technique::new(
        "modprobe",
        "the kernel's modprobe, opened for writing",
        FILE,
    )
    .control(IN_THE_ROOT)
    .user(Control::Not(ROOT_ONLY))
    .lacks("this kernel loads no modules"),
    Technique::new("sysrq-trigger", "sysrq-trigger, opened for writing", FILE)
        .control(IN_THE_ROOT)
        .user(Control::Not(ROOT_ONLY))
        .lacks("this kernel has no sysrq"),
    Technique::new("uevent-helper", "uevent_helper, opened for writing", FILE)
        .user(Control::Not(ROOT_ONLY))
        .lacks("this kernel has no uevent_helper"),
    Technique::new(
        "kernel-files",
        "kcore, kmsg, keys, timer_list and the like, opened for reading",
        Witness::Told,
    )
    .control(IN_THE_ROOT),
    Technique::new("kernel-log", "the kernel's log by syslog", Witness::Told)
        .root(ORDINARY)
        .lacks("the log is closed to ordinary users (kernel.dmesg_restrict)"),
    Technique::new(
        "dev-nodes",
        "every device in /dev that is not for everybody",
        Witness::Harm(witness::device),
    )
    .user(Control::Not(ROOT_ONLY))
    .lacks("this host has no such device"),
    Technique::new(
        "io-uring",
        "io_uring, around a filter of system calls",
        Witness::Process(witness::ring),
    )
    .root(ORDINARY)
    .lacks("io_uring is closed here (kernel.io_uring_disabled)"),
    Technique::new(
        "userfaultfd",
        "userfaultfd",
        Witness::Process(witness::userfaultfd),
    )
    .root(ORDINARY)
    .lacks("this kernel has no userfaultfd"),
    Technique::new("bpf", "a map by bpf", Witness::Process(witness::bpf_map))
        .root(ORDINARY)
        .lacks("bpf is closed to ordinary users (kernel.unprivileged_bpf_disabled)"),
    Technique::new(
        "perf-event",
        "a counter by perf_event_open",
        Witness::Process(witness::perf_event),
    )
    .root(ORDINARY)
    .lacks("counters are closed to ordinary users (kernel.perf_event_paranoid)"),
    Technique::new(
        "fanotify",
        "being told of every file of the file system",
        Witness::Process(witness::fanotify),
    )
    .user(Control::Not(ROOT_ONLY))
    .lacks("this kernel tells nobody of a whole file system"),
    Technique::new(
        "i386",
        "userfaultfd by its 32-bit number, around a filter of system calls",
        Witness::Process(witness::userfaultfd),
    )
    .root(ORDINARY)
    .lacks("this kernel has no 32-bit system calls"),
];
