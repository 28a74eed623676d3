//! Files that the sandbox does not show, hides, or shows read-only.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use super::namespaces::{NEWNS, enter_new_user};
use super::{Args, Attack, Attempt, Named as _, any_of, c, in_child, show, spoil, steal, sys};

pub(crate) const ATTACKS: &[(&str, Attack)] = &[
    ("path", path),
    ("proc-root", proc_root),
    ("double-chroot", double_chroot),
    ("open-by-handle", open_by_handle),
    ("read-only-write", read_only_write),
    ("read-only-reopen", read_only_reopen),
    ("hard-link", hard_link),
    ("rename-masked", rename_masked),
    ("masked", masked),
    ("mask-write", mask_write),
    ("fake-proc", |args| spoil(args.get("hidden"))),
    ("mknod-memory", |_| {
        // The memory, and the kernel's messages.
        any_of([1, 11].map(|minor| make_device(0o020_600, 1 << 8 | minor)))
    }),
    ("mknod-disk", make_disk),
    ("setuid", setuid),
    ("host-tmp", host_file),
    ("host-var-tmp", host_file),
    ("host-home", host_file),
    ("host-run", host_file),
];

/// The plain way, and some that name the same file otherwise.
fn path(args: &Args) -> Attempt {
    let secret = args.outside("secret");
    let up = "../".repeat(64);
    let link = args.work("link");
    let _ = symlink(&secret, &link);
    any_of([
        steal(&secret),
        steal(format!("{up}{secret}")),
        steal(format!("/proc/self/root{secret}")),
        steal(format!("/proc/self/root/..{secret}")),
        steal(link),
        steal(format!("{}/{up}{secret}", args.get("work"))),
        steal(format!("{}/{up}{secret}", args.get("ro"))),
    ])
}

/// Through the root and working directories of every process that can be seen.
fn proc_root(args: &Args) -> Attempt {
    let secret = args.outside("secret");
    let entries = fs::read_dir("/proc").named("/proc")?;
    let pids = entries.flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        name.parse::<u32>().ok()?;
        Some(name)
    });
    let mine = std::process::id().to_string();
    any_of(pids.filter(|pid| *pid != mine).map(|pid| {
        any_of([
            steal(format!("/proc/{pid}/root{secret}")),
            steal(format!("/proc/{pid}/cwd/secret")),
            steal(format!("/proc/{pid}/task/{pid}/root{secret}")),
        ])
    }))
}

/// A chroot below a directory that is held open leaves the holder outside it.
fn double_chroot(args: &Args) -> Attempt {
    let secret = args.outside("secret");
    let jail = args.work("jail");
    let _ = fs::create_dir(&jail);
    let break_out = || {
        let root = sys::openat(sys::CWD, c"/", 0o200_000, 0).named("open /")? as sys::Fd;
        sys::chroot(&c(&jail)).named("chroot")?;
        sys::fchdir(root).named("fchdir")?;
        for _ in 0..64 {
            std::env::set_current_dir("..").named("..")?;
        }
        sys::chroot(c".").named("chroot .")?;
        steal(&secret)
    };
    any_of([
        in_child(break_out),
        in_child(|| {
            enter_new_user(0)?;
            break_out()
        }),
    ])
}

/// A file by its number on the file system, which its neighbours share.
fn open_by_handle(args: &Args) -> Attempt {
    let (file, dir) = (args.handle("filehandle")?, args.handle("dirhandle")?);
    let work = args.get("work");
    let by = |flags| {
        let mount = sys::openat(sys::CWD, &c(work), 0, 0).named(work)? as sys::Fd;
        let handle = if flags == 0 { &file } else { &dir };
        let fd = sys::open_by_handle(mount, handle, flags).named("open_by_handle_at")?;
        if flags == 0 {
            return steal(format!("/proc/self/fd/{fd}"));
        }
        steal(format!("/proc/self/fd/{fd}/secret"))
    };
    const O_DIRECTORY: usize = 0o200_000;
    any_of([
        by(0),
        by(O_DIRECTORY),
        in_child(|| {
            enter_new_user(NEWNS)?;
            any_of([by(0), by(O_DIRECTORY)])
        }),
    ])
}

/// Every way to change a file on a read-only mount.
fn read_only_write(args: &Args) -> Attempt {
    let canary = args.ro("canary");
    let path = Path::new(&canary);
    any_of([
        spoil(path),
        fs::write(args.ro("new"), "spoilt")
            .named("create")
            .map(|()| "made a file".to_owned()),
        fs::rename(path, args.ro("renamed"))
            .named("rename")
            .map(|()| "renamed it".to_owned()),
        fs::remove_file(path)
            .named("unlink")
            .map(|()| "removed it".to_owned()),
        fs::set_permissions(path, fs::Permissions::from_mode(0o777))
            .named("chmod")
            .map(|()| "changed its mode".to_owned()),
        sys::set_xattr(&c(path), c"user.spoilt", b"1")
            .named("setxattr")
            .map(|_| "gave it an attribute".to_owned()),
    ])
}

/// A descriptor for reading, opened again for writing.
fn read_only_reopen(args: &Args) -> Attempt {
    const O_PATH: usize = 0o10_000_000;
    let canary = c(args.ro("canary"));
    any_of([0, O_PATH].map(|flags| {
        let fd = sys::openat(sys::CWD, &canary, flags, 0).named("open")?;
        any_of([
            spoil(format!("/proc/self/fd/{fd}")),
            spoil(format!("/dev/fd/{fd}")),
        ])
    }))
}

/// A second name for a read-only file, in a directory that is writable.
fn hard_link(args: &Args) -> Attempt {
    let (canary, link) = (args.ro("canary"), args.work("second"));
    fs::hard_link(&canary, &link).named("link")?;
    spoil(link)
}

/// A parent of the hidden file gets another name.
fn rename_masked(args: &Args) -> Attempt {
    let (dir, moved) = (args.work("private"), args.work("moved"));
    any_of([
        fs::rename(&dir, &moved)
            .named("rename")
            .and_then(|()| steal(format!("{moved}/secret"))),
        fs::rename(format!("{dir}/secret"), args.work("taken"))
            .named("rename the file")
            .and_then(|()| steal(args.work("taken"))),
        fs::hard_link(format!("{dir}/secret"), args.work("linked"))
            .named("link")
            .and_then(|()| steal(args.work("linked"))),
        steal(format!("{dir}/secret")),
    ])
}

/// The hidden file, by what may undo the hiding.
fn masked(args: &Args) -> Attempt {
    let path = args.get("masked").to_owned();
    let from_below = || {
        any_of([
            sys::umount(&c(&path), 2)
                .named("umount")
                .and_then(|_| steal(&path)),
            // What is mounted on the root shows what lies below its mounts, if it is not taken along.
            sys::mount(c"/", &c(args.work("")), c"none", 0x1000)
                .named("bind /")
                .and_then(|_| steal(format!("{}{path}", args.get("work")))),
            sys::open_tree(c"/", 1)
                .named("open_tree")
                .and_then(|fd| steal(format!("/proc/self/fd/{fd}{path}"))),
            sys::move_mount(sys::CWD, &c(&path), &c(args.work("")), 0)
                .named("move_mount")
                .and_then(|_| steal(&path)),
        ])
    };
    any_of([
        steal(&path),
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777))
            .named("chmod")
            .and_then(|()| steal(&path)),
        in_child(from_below),
        in_child(|| {
            enter_new_user(NEWNS)?;
            from_below()
        }),
    ])
}

/// What hides a file may lead to another.
fn mask_write(args: &Args) -> Attempt {
    let path = args.get("masked").to_owned();
    any_of([spoil(&path), steal(&path)])
}

/// A device node of its own making.
fn make_device(mode: u32, device: usize) -> Attempt {
    let dirs = ["/tmp", "/work", "/dev/shm", "/dev"];
    any_of(dirs.map(|dir| {
        let path = format!("{dir}/node-{}", std::process::id());
        sys::mknod(&c(&path), mode, device).named(format_args!("mknod in {dir}"))?;
        let opened = sys::openat(sys::CWD, &c(&path), 0, 0).named(format_args!("open in {dir}"));
        let result = opened.map(|_| {
            super::hold();
            format!("opened a device node in {dir}")
        });
        let _ = fs::remove_file(&path);
        result
    }))
}

fn make_disk(args: &Args) -> Attempt {
    make_device(0o060_600, args.number("disk"))
}

/// A set-user-id program in the root.
fn setuid(args: &Args) -> Attempt {
    use std::os::unix::process::CommandExt as _;
    let program = args.get("setuid").to_owned();
    let words = args.0.iter();
    let error = std::process::Command::new(&program)
        .arg("became")
        .args(words)
        .exec();
    Err(format!("{program}: {error}"))
}

/// A file of the host by its full name, where the root is the host's.
fn host_file(args: &Args) -> Attempt {
    let path = args.get("file");
    let bytes = fs::read(path).named(path)?;
    show(&bytes);
    Ok(format!("read {path}"))
}
