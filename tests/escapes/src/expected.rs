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

const CHROOT: &[&str] = &["chroot"];
const BWRAP: &[&str] = &["bubblewrap"];
const CLASSIC: &[&str] = &["linux-user-chroot"];
/// Those that start a program which mounts: no second wall can be put around that.
const HELPERS: &[&str] = &["bubblewrap", "linux-user-chroot"];

const UNFILTERED: &str = "the classic command line filters no system calls";
const ON_PURPOSE: &str = "what is passed on purpose leads wherever it leads";
const NO_BOUNDARY: &str = "the chroot backend is no boundary: it shares network, IPC and user \
                           namespace with the host";

const OPEN: &[Open] = &[
    open(
        HELPERS,
        Escaped,
        ON_PURPOSE,
        &["stdin-directory", "stdout-reopen"],
    ),
    open(CHROOT, Escaped, NO_BOUNDARY, &["unix-proc", "sysv-shm"]),
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
    open(
        BWRAP,
        Partial,
        "bwrap cannot cover what may be missing",
        &["kernel-files"],
    ),
    open(
        CLASSIC,
        Partial,
        UNFILTERED,
        &[
            "nested-unshare",
            "nested-clone",
            "nested-clone3",
            "nested-i386",
            "nested-mount",
            "packet-socket",
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
    Open {
        who: Some(Who::User),
        ..open(CLASSIC, Partial, UNFILTERED, &["overlay", "kernel-files"])
    },
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
