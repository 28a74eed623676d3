//! What all programs of a host share: the network, IPC, keys.

use crate::technique::{Control, Technique, Witness};
use crate::witness;

const LISTEN: &[&[&str]] = &[&["listen", "{outside}/secret", "{token}", "{ro}", "{work}"]];
const IPC: &[&[&str]] = &[&["ipc", "{outside}/secret", "{token}"]];

pub(super) const LIST: &[Technique] = &[
    Technique::new(
        "tcp-host",
        "a TCP server on the host's loopback",
        Witness::Secret,
    )
    .outside(LISTEN),
    Technique::new(
        "abstract-socket",
        "an abstract unix socket of the host",
        Witness::Secret,
    )
    .outside(LISTEN),
    Technique::new(
        "pathname-socket",
        "a unix socket below a read-only bind",
        Witness::Secret,
    )
    .outside(LISTEN),
    Technique::new(
        "scm-rights",
        "a directory by SCM_RIGHTS, from who listens below a read-only bind",
        Witness::Secret,
    )
    .outside(LISTEN),
    Technique::new(
        "unix-proc",
        "the names of the host's unix sockets in /proc/net/unix",
        Witness::Secret,
    )
    .outside(&[&["listen", "{outside}/secret", "{secret}", "{ro}", "{work}"]]),
    Technique::new(
        "vsock",
        "a socket to the hypervisor (AF_VSOCK), which no namespace holds",
        Witness::Process(witness::socket),
    )
    .lacks("this kernel has no AF_VSOCK"),
    Technique::new(
        "alg-socket",
        "a socket to the kernel's ciphers (AF_ALG)",
        Witness::Process(witness::socket),
    )
    .lacks("this kernel has no AF_ALG"),
    Technique::new(
        "netlink-uevent",
        "listening to the kernel's events about devices",
        Witness::Process(witness::socket),
    ),
    Technique::new(
        "packet-socket",
        "a packet socket, in a new user namespace too",
        Witness::Process(witness::socket),
    )
    .control(Control::Host(&["{unshare}", "--net"])),
    Technique::new(
        "raw-socket",
        "a raw IP socket",
        Witness::Process(witness::socket),
    )
    .control(Control::Host(&["{unshare}", "--net"])),
    Technique::new(
        "sysv-shm",
        "a System V shared memory segment",
        Witness::Secret,
    )
    .outside(IPC),
    Technique::new("posix-mq", "a POSIX message queue", Witness::Secret).outside(IPC),
    Technique::new(
        "posix-shm",
        "POSIX shared memory in /dev/shm",
        Witness::Secret,
    )
    .outside(IPC),
    Technique::new(
        "keyring",
        "a key in the caller's session keyring",
        Witness::Secret,
    )
    .prefix(&[
        "{attack}",
        "outside",
        "session-key",
        "{outside}/secret",
        "{token}",
        "--",
    ])
    .lacks("this kernel has no keyrings"),
    Technique::new(
        "user-keyring",
        "a key in the user's keyring",
        Witness::Secret,
    )
    .outside(&[&["key", "{outside}/secret", "{token}"]])
    .lacks("this kernel has no keyrings"),
];
