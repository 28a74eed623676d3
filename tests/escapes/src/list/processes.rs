//! Processes, and the terminal.

use super::files::ROOT_ONLY;
use crate::technique::{Control, Ready, Technique, Witness};
use crate::witness;

const VICTIM: &[&[&str]] = &[&["victim", "{outside}/secret", "{secret}"]];
const PTY: &[&str] = &[
    "{attack}",
    "outside",
    "pty",
    "{token}",
    "{outside}/secret",
    "--",
];
const NO_TIOCSTI: &str = "this kernel types nothing for others (dev.tty.legacy_tiocsti)";

pub(super) const LIST: &[Technique] = &[
    Technique::new(
        "tiocsti",
        "typing into the caller's terminal",
        Witness::Secret,
    )
    .cve("CVE-2017-5226")
    .prefix(PTY)
    .lacks(NO_TIOCSTI),
    Technique::new(
        "tiocsti-high-bits",
        "the same with a request that a filter takes for another",
        Witness::Secret,
    )
    .cve("CVE-2019-10063")
    .prefix(PTY)
    .lacks(NO_TIOCSTI),
    Technique::new("tiocsti-dev-tty", "the same by /dev/tty", Witness::Secret)
        .prefix(PTY)
        .lacks(NO_TIOCSTI),
    Technique::new(
        "tiocsctty",
        "taking the caller's terminal for a session of its own, to type into it",
        Witness::Secret,
    )
    .prefix(PTY)
    .user(Control::Not(ROOT_ONLY))
    .lacks(NO_TIOCSTI),
    Technique::new(
        "tioclinux",
        "having a virtual console paste into itself: asked for the shift keys, through that door",
        Witness::Told,
    )
    .prefix(&["{attack}", "outside", "stdin", "/dev/tty63", "--"])
    .user(Control::Not(ROOT_ONLY))
    .lacks("this host has no virtual console that answers"),
    Technique::new(
        "ptrace",
        "tracing a process of the same user",
        Witness::Secret,
    )
    .outside(VICTIM),
    Technique::new(
        "process-vm-readv",
        "the memory of a process of the same user",
        Witness::Secret,
    )
    .outside(VICTIM),
    Technique::new("proc-mem", "the same by /proc/PID/mem", Witness::Secret).outside(VICTIM),
    Technique::new(
        "proc-environ",
        "the environment of the caller and of processes in sight",
        Witness::Secret,
    )
    .prefix(&["env", "CALLERS_SECRET={secret}"])
    .outside(VICTIM),
    Technique::new(
        "proc-cmdline",
        "the arguments of processes in sight",
        Witness::Secret,
    )
    .outside(VICTIM),
    Technique::new(
        "proc-fd",
        "the open files of a process of the same user",
        Witness::Secret,
    )
    .outside(VICTIM),
    Technique::new("pidfd-getfd", "the same by pidfd_getfd", Witness::Secret)
        .outside(VICTIM)
        .lacks("this kernel has no pidfd_getfd"),
    Technique::new(
        "kill-all",
        "a signal to everybody (kill -1)",
        Witness::Signalled,
    )
    .outside(VICTIM),
    Technique::new(
        "kill-victim",
        "a signal by kill, tgkill and a pidfd",
        Witness::Signalled,
    )
    .outside(VICTIM),
    Technique::new(
        "sigio",
        "a signal that the kernel sends for it (F_SETOWN)",
        Witness::Signalled,
    )
    .outside(VICTIM),
    Technique::new(
        "pidfd-handle",
        "a signal by the file handle of a pidfd",
        Witness::Signalled,
    )
    .outside(VICTIM)
    .lacks("this kernel has no file handles of processes"),
    Technique::new(
        "prlimit",
        "the limits of a process outside",
        Witness::Limited,
    )
    .outside(VICTIM),
    Technique::new(
        "setpriority",
        "the priority of a process outside",
        Witness::Limited,
    )
    .outside(VICTIM),
    Technique::new(
        "daemon",
        "a process that outlives the run: double fork and a session of its own",
        Witness::Survives,
    ),
    Technique::new(
        "daemon-killed",
        "the same, when the supervisor is killed with SIGKILL",
        Witness::Survives,
    )
    .ready(Ready::KillSupervisor),
    Technique::new("init-trace", "tracing the first process", Witness::Told).outside(&[&["idle"]]),
    Technique::new(
        "init-memory",
        "/proc/1/maps and mem, process_vm_readv",
        Witness::Told,
    )
    .outside(&[&["idle"]]),
    Technique::new(
        "init-environ",
        "/proc/1/environ, auxv, cwd, root and exe",
        Witness::Told,
    )
    .outside(&[&["idle"]]),
    Technique::new(
        "init-stop",
        "every signal to the first process",
        Witness::Told,
    )
    .outside(&[&["idle"]]),
    Technique::new(
        "nested-unshare",
        "a new user namespace by unshare, with every capability in it",
        Witness::Process(witness::nested_user_namespace),
    ),
    Technique::new(
        "nested-clone",
        "the same by clone",
        Witness::Process(witness::nested_user_namespace),
    ),
    Technique::new(
        "nested-clone3",
        "the same by clone3",
        Witness::Process(witness::nested_user_namespace),
    ),
    Technique::new(
        "nested-i386",
        "the same by a 32-bit system call",
        Witness::Process(witness::nested_user_namespace),
    )
    .lacks("this kernel has no 32-bit system calls"),
    Technique::new(
        "other-namespaces",
        "mount and network namespaces without a user namespace",
        Witness::Told,
    )
    .control(Control::Host(&["{unshare}"])),
    Technique::new(
        "setns-host",
        "joining the mount namespace of a process outside",
        Witness::Secret,
    )
    .outside(VICTIM)
    .control(Control::Host(&[
        "{unshare}",
        "sh",
        "-c",
        "mount -t tmpfs none {outside} && exec \"$@\"",
        "sh",
    ]))
    .user(Control::Not(ROOT_ONLY)),
    Technique::new(
        "namespace-handle",
        "the host's network namespace by its file handle",
        Witness::Process(witness::host_namespace),
    )
    .outside(&[&["handles", "{outside}/secret"]])
    .lacks("this kernel has no file handles of namespaces"),
];
