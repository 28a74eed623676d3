//! Mounts: new ones, other attributes, and what comes in or goes out.

use std::fs;

use super::namespaces::{NEWNET, NEWNS, NEWPID, enter_new_user};
use super::{Args, Attack, Attempt, Named as _, any_of, c, hold, in_child, spoil, sys};

pub(crate) const ATTACKS: &[(&str, Attack)] = &[
    ("remount", remount),
    ("submount", submount),
    ("nested-mount", nested_mount),
    ("mount-outward", outward),
    ("mount-inward", inward),
    ("fresh-proc", fresh_proc),
    ("fresh-sysfs", fresh_sysfs),
    ("release-agent", release_agent),
    ("overlay", overlay),
];

const MS_REMOUNT_BIND: usize = 32 | 4096;
const MS_SHARED: usize = 1 << 20 | 1 << 14;
const AT_RECURSIVE: usize = 0x8000;

/// Both with the capabilities that there are, and with those of a new user namespace.
fn either_way(attack: impl Fn() -> Attempt) -> Attempt {
    any_of([
        in_child(|| {
            // So that nothing is changed but for this process, if it may.
            let _ = sys::unshare(NEWNS);
            attack()
        }),
        in_child(|| {
            enter_new_user(NEWNS)?;
            attack()
        }),
    ])
}

/// Takes the read-only attribute off a mount.
fn remount(args: &Args) -> Attempt {
    let ro = args.get("ro").to_owned();
    let canary = args.ro("canary");
    either_way(|| {
        any_of([
            sys::mount(c"none", &c(&ro), c"none", MS_REMOUNT_BIND)
                .named("remount")
                .and_then(|_| spoil(&canary)),
            sys::mount_setattr(&c(&ro), 0, &[0, 1, 0, 0])
                .named("mount_setattr")
                .and_then(|_| spoil(&canary)),
            sys::mount_setattr(c"/", AT_RECURSIVE, &[0, 1, 0, 0])
                .named("mount_setattr of /")
                .and_then(|_| spoil(&canary)),
            sys::mount(c"none", c"/", c"none", 32)
                .named("remount of the file system")
                .and_then(|_| spoil(&canary)),
        ])
    })
}

/// Writes to what is mounted below the read-only directory.
fn submount(args: &Args) -> Attempt {
    spoil(args.ro("sub/canary"))
}

/// Mounts anything at all in a new user namespace.
fn nested_mount(args: &Args) -> Attempt {
    let work = c(args.get("work"));
    either_way(|| {
        any_of(
            [
                sys::mount(c"escape", &work, c"tmpfs", 0).named("mount"),
                sys::fsopen(c"tmpfs").named("fsopen").and_then(|fs| {
                    sys::fs_create(fs as sys::Fd).named("fsconfig")?;
                    let mount = sys::fsmount(fs as sys::Fd).named("fsmount")?;
                    sys::move_mount(mount as sys::Fd, c"", &work, 4).named("move_mount")
                }),
                sys::open_tree(c"/", 1).named("open_tree"),
            ]
            .map(|made| made.map(|_| "made a mount".to_owned())),
        )?;
        hold();
        Ok("mounted in a namespace of its own".to_owned())
    })
}

/// Mounts something where whoever is outside would see it, if events went out.
fn outward(args: &Args) -> Attempt {
    let work = c(args.get("work"));
    let name = c(args.get("token"));
    any_of([
        sys::mount(&name, &work, c"tmpfs", 0)
            .named("mount")
            .map(|_| "mounted".to_owned()),
        in_child(|| {
            enter_new_user(0)?;
            sys::unshare(NEWNS).named("unshare mounts")?;
            let _ = sys::mount(c"none", c"/", c"none", MS_SHARED);
            sys::mount(&name, &work, c"tmpfs", 0).named("mount")?;
            Ok("mounted in a namespace of its own".to_owned())
        }),
    ])
}

/// Waits for what somebody outside mounts below a directory that is shown inside. Only now: what
/// was there before the start is there by right.
fn inward(args: &Args) -> Attempt {
    let (go, secret) = (args.work("go"), args.ro("sub/secret"));
    fs::write(&go, "").named(&go)?;
    for _ in 0..60 {
        // It may be there and not have been written yet.
        if fs::read(&secret).is_ok_and(|bytes| !bytes.is_empty()) {
            return super::steal(&secret);
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    Err(format!("{secret} does not appear"))
}

/// A procfs of one's own has nothing covered.
fn fresh_proc(args: &Args) -> Attempt {
    let work = c(args.get("work"));
    let file = args.work("sys/kernel/core_pattern");
    let mount = || {
        sys::mount(c"proc", &work, c"proc", 0).named("mount proc")?;
        write_open(&file)
    };
    any_of([
        either_way(mount),
        // The kernel gives it only to who owns the process ids that it shows.
        in_child(|| {
            enter_new_user(NEWNS | NEWPID)?;
            in_child(mount)
        }),
    ])
}

fn fresh_sysfs(args: &Args) -> Attempt {
    let work = c(args.get("work"));
    let file = args.work("kernel/uevent_helper");
    let other = args.work("kernel/profiling");
    let mount = || {
        sys::mount(c"sysfs", &work, c"sysfs", 0).named("mount sysfs")?;
        any_of([&file, &other].map(|path| write_open(path)))
    };
    any_of([
        either_way(mount),
        // The kernel gives it only to who owns the network that it shows.
        in_child(|| {
            enter_new_user(NEWNS | NEWNET)?;
            mount()
        }),
    ])
}

/// Opened for writing, and nothing written: that would change the machine.
pub(crate) fn write_open(path: &str) -> Attempt {
    sys::openat(sys::CWD, &c(path), 1, 0).named(path)?;
    hold();
    Ok(format!("holds {path} open for writing"))
}

/// A hierarchy of control groups, mounted to name the program that the kernel starts as root when
/// a group becomes empty (CVE-2022-0492).
fn release_agent(args: &Args) -> Attempt {
    let work = c(args.get("work"));
    let file = args.work("release_agent");
    either_way(|| {
        let mut attempts = Vec::new();
        for controllers in [
            c"memory",
            c"cpuset",
            c"freezer",
            c"pids",
            c"none,name=systemd",
        ] {
            let mounted = sys::mount_with(c"cgroup", &work, c"cgroup", 0, controllers)
                .named(format_args!("mount cgroup {controllers:?}"));
            let found = mounted.and_then(|_| write_open(&file));
            let done = found.is_ok();
            attempts.push(found);
            if done {
                break;
            }
            let _ = sys::umount(&work, 2);
        }
        any_of(attempts)
    })
}

/// An overlay over the read-only directory whose upper layer is elsewhere: reading it is fine, but
/// files with more rights than meant have come out of such (CVE-2023-0386).
fn overlay(args: &Args) -> Attempt {
    let (ro, work) = (args.get("ro").to_owned(), args.get("work").to_owned());
    either_way(|| {
        sys::mount(c"scratch", &c(&work), c"tmpfs", 0).named("mount tmpfs")?;
        let [upper, scratch, merged] = ["upper", "work", "merged"].map(|d| format!("{work}/{d}"));
        for dir in [&upper, &scratch, &merged] {
            fs::create_dir(dir).named(dir)?;
        }
        let options = format!("lowerdir={ro},upperdir={upper},workdir={scratch}");
        sys::mount_with(c"overlay", &c(merged), c"overlay", 0, &c(options))
            .named("mount overlay")?;
        hold();
        Ok("mounted an overlay".to_owned())
    })
}
