//! What is expected of our backends: everything is blocked, but for what is listed here.
//!
//! A change either way fails the suite: what is closed is taken off the list in the same commit.

use crate::Verdict::{self, Escaped, Partial};
use crate::{Who, run::Row};

/// Techniques that are open in some backends, and why.
struct Open {
    backends: &'static [&'static str],
    /// `None` for everybody.
    who: Option<Who>,
    verdict: Verdict,
    why: &'static str,
    techniques: &'static [&'static str],
}

const ALL: &[&str] = &["userns", "bubblewrap", "linux-user-chroot", "chroot"];
const CHROOT: &[&str] = &["chroot"];
const BWRAP: &[&str] = &["bubblewrap"];

const NESTED: &str = "further user namespaces can be made inside";
const UNFILTERED: &str = "system calls are not filtered yet";
const ON_PURPOSE: &str = "what is passed on purpose leads wherever it leads";
const SOCKETS: &str = "a socket that can be seen can be connected to";
const NO_BOUNDARY: &str = "the chroot backend is no boundary: it shares network, IPC and user \
                           namespace with the host";

const OPEN: &[Open] = &[
    // By design.
    open(
        ALL,
        Escaped,
        ON_PURPOSE,
        &["stdin-directory", "stdout-reopen"],
    ),
    open(
        ALL,
        Escaped,
        "a socket below a writable directory is shown on purpose",
        &["writable-socket"],
    ),
    open(
        CHROOT,
        Escaped,
        NO_BOUNDARY,
        &[
            "tcp-host",
            "abstract-socket",
            "unix-proc",
            "sysv-shm",
            "posix-mq",
        ],
    ),
    open(CHROOT, Partial, NO_BOUNDARY, &["namespace-handle"]),
    open(
        BWRAP,
        Escaped,
        "bwrap lets later mounts of the caller's in",
        &["mount-inward"],
    ),
    open(
        BWRAP,
        Partial,
        "bwrap's first process can be traced by the command",
        &["init-fds", "init-trace", "init-memory", "init-environ"],
    ),
    // To be closed by a filter of system calls, and by refusing further user namespaces.
    open(
        ALL,
        Partial,
        NESTED,
        &[
            "nested-unshare",
            "nested-clone",
            "nested-clone3",
            "nested-i386",
            "nested-mount",
            "packet-socket",
        ],
    ),
    Open {
        who: Some(Who::User),
        ..open(ALL, Partial, NESTED, &["overlay"])
    },
    open(CHROOT, Escaped, NESTED, &["fresh-proc", "fresh-sysfs"]),
    open(
        ALL,
        Partial,
        UNFILTERED,
        &[
            "vsock",
            "alg-socket",
            "netlink-uevent",
            "io-uring",
            "userfaultfd",
            "bpf",
            "perf-event",
            "kernel-log",
            "i386",
        ],
    ),
    open(ALL, Escaped, UNFILTERED, &["keyring"]),
    Open {
        who: Some(Who::Root),
        ..open(
            &["bubblewrap", "chroot"],
            Escaped,
            "there is no user namespace with a keyring of its own",
            &["user-keyring"],
        )
    },
    // To be closed by hiding what the host shows.
    open(ALL, Escaped, SOCKETS, &["pathname-socket", "scm-rights"]),
    open(
        ALL,
        Partial,
        "the kernel's tables in /proc are shown",
        &["kernel-files"],
    ),
    open(
        &["userns on /"],
        Escaped,
        "the host's / shows what the caller can read",
        &["host-var-tmp", "host-home", "host-run"],
    ),
];

const fn open(
    backends: &'static [&'static str],
    verdict: Verdict,
    why: &'static str,
    techniques: &'static [&'static str],
) -> Open {
    Open {
        backends,
        who: None,
        verdict,
        why,
        techniques,
    }
}

/// What is expected of a technique, and why it is not that it is blocked.
#[must_use]
pub fn expected(row: &Row) -> (Verdict, &'static str) {
    let matching = |open: &&Open| {
        open.backends.contains(&row.target.as_str())
            && open.who.is_none_or(|who| who == row.who)
            && open.techniques.contains(&row.technique.name)
    };
    match OPEN.iter().find(matching) {
        Some(open) => (open.verdict, open.why),
        None => (Verdict::Blocked, ""),
    }
}

/// The rows that are not as expected, as lines. What could not be tried cannot be wrong.
#[must_use]
pub fn surprises(rows: &[Row]) -> Vec<String> {
    rows.iter()
        .filter(|row| row.verdict != Verdict::NotApplicable)
        .filter_map(|row| {
            let (wanted, _) = expected(row);
            (wanted != row.verdict).then(|| {
                format!(
                    "{} against {} as {}: {} and not {}: {}",
                    row.technique.name,
                    row.target,
                    row.who.name(),
                    row.verdict.name(),
                    wanted.name(),
                    row.detail
                )
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_listed_exists() {
        let names: Vec<_> = crate::techniques().map(|t| t.name).collect();
        let listed = super::OPEN.iter().flat_map(|open| open.techniques);
        for name in listed {
            assert!(names.contains(name), "{name} is no technique");
        }
    }
}
