//! The kernel: its files, its devices, and calls that give much of it to whoever may make them.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};

use super::mounts::write_open;
use super::{Args, Attack, Attempt, Named as _, any_of, c, hold, sys};

pub(crate) const ATTACKS: &[(&str, Attack)] = &[
    ("core-pattern", |_| {
        write_open("/proc/sys/kernel/core_pattern")
    }),
    ("modprobe", |_| write_open("/proc/sys/kernel/modprobe")),
    ("sysrq-trigger", |_| write_open("/proc/sysrq-trigger")),
    ("uevent-helper", |_| {
        any_of(["/sys/kernel/uevent_helper", "/proc/sys/kernel/hotplug"].map(write_open))
    }),
    ("kernel-files", kernel_files),
    ("dev-nodes", dev_nodes),
    ("kernel-log", kernel_log),
    ("io-uring", io_uring),
    ("userfaultfd", userfaultfd),
    ("bpf", bpf),
    ("perf-event", perf_event),
    ("fanotify", fanotify),
    ("i386", i386),
    ("became", became),
];

/// What tells about the kernel and everybody's doings.
fn kernel_files(_: &Args) -> Attempt {
    any_of(
        [
            "/proc/kcore",
            "/proc/kmsg",
            "/proc/keys",
            "/proc/timer_list",
            "/proc/slabinfo",
            "/proc/kpagecount",
            "/proc/vmallocinfo",
            "/sys/kernel/debug/sched/debug",
            "/sys/firmware/acpi/tables/FACP",
        ]
        .map(|path| {
            let fd = sys::openat(sys::CWD, &c(path), 0o4000, 0).named(path)? as sys::Fd;
            let mut bytes = [0; 64];
            let got = sys::read(fd, &mut bytes).named(path)?;
            let _ = sys::close(fd);
            // Masked files are empty.
            if got == 0 {
                return Err(format!("{path} is empty"));
            }
            Ok(format!("read {path}"))
        }),
    )
}

/// Every device in /dev that can be opened and is none of those that everybody may have.
fn dev_nodes(_: &Args) -> Attempt {
    // Memory (null, zero, full, random, urandom, kmsg is 11), the terminal, ptmx.
    let harmless = |major: u64, minor: u64| match major {
        1 => [3, 5, 7, 8, 9].contains(&minor),
        5 => [0, 2].contains(&minor),
        136..=143 => true,
        _ => false,
    };
    let entries = fs::read_dir("/dev").named("/dev")?;
    let mut opened = Vec::new();
    for entry in entries.flatten() {
        let path = entry.path();
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            continue;
        };
        let kind = metadata.file_type();
        let (major, minor) = (metadata.rdev() >> 8 & 0xfff, metadata.rdev() & 0xff);
        // Consoles and serial lines may hang, tapes rewind, and watchdogs bite when they are opened.
        let risky = [4, 5, 7, 9, 10].contains(&major) && minor != 237;
        let device = kind.is_char_device() || kind.is_block_device();
        if !device || harmless(major, minor) || risky {
            continue;
        }
        if sys::openat(sys::CWD, &c(&path), 0o4000, 0).is_ok() {
            opened.push(path.display().to_string());
        }
    }
    if opened.is_empty() {
        return Err("no device that matters can be opened".to_owned());
    }
    hold();
    opened.truncate(5);
    Ok(format!("opened {}", opened.join(" ")))
}

fn kernel_log(_: &Args) -> Attempt {
    let mut bytes = vec![0; 4096];
    let got = sys::syslog(3, &mut bytes).named("syslog")?;
    match got {
        0 => Err("the log is empty".to_owned()),
        _ => Ok(format!("read {got} bytes of the kernel's log")),
    }
}

fn io_uring(_: &Args) -> Attempt {
    sys::io_uring_setup(2, &mut [0; 120]).named("io_uring_setup")?;
    hold();
    Ok("has a ring".to_owned())
}

fn userfaultfd(_: &Args) -> Attempt {
    const UFFD_USER_MODE_ONLY: usize = 1;
    any_of([0, UFFD_USER_MODE_ONLY].map(|flags| {
        sys::userfaultfd(flags)
            .named(format_args!("userfaultfd {flags}"))
            .map(|_| "has a userfaultfd".to_owned())
    }))
    .inspect(|_| hold())
}

fn bpf(_: &Args) -> Attempt {
    // BPF_MAP_CREATE of an array with one value of four bytes.
    let mut attributes = [0; 72];
    for (at, value) in [(0, 2), (4, 4), (8, 4), (12, 1)] {
        attributes[at] = value;
    }
    sys::bpf(0, &attributes).named("bpf")?;
    hold();
    Ok("has a map".to_owned())
}

fn perf_event(_: &Args) -> Attempt {
    // A software counter (1), size 64, context switches (3), of user code alone.
    let mut attributes = [0; 64];
    attributes[0] = 1;
    attributes[4] = 64;
    attributes[8] = 3;
    attributes[40] = 1 << 5 | 1 << 6;
    sys::perf_event_open(&attributes).named("perf_event_open")?;
    hold();
    Ok("has a counter".to_owned())
}

/// Is told about every file of a file system, not of a mount.
fn fanotify(args: &Args) -> Attempt {
    const FAN_REPORT_FID: usize = 0x200;
    const FAN_MARK_ADD_FILESYSTEM: usize = 0x1 | 0x100;
    const FAN_OPEN: usize = 0x20;
    let fd = sys::fanotify_init(FAN_REPORT_FID, 0).named("fanotify_init")? as sys::Fd;
    sys::fanotify_mark(fd, FAN_MARK_ADD_FILESYSTEM, FAN_OPEN, &c(args.get("work")))
        .named("fanotify_mark")?;
    hold();
    Ok("is told of every file".to_owned())
}

/// The door of 32-bit programs, past a filter that knows the other one.
fn i386(_: &Args) -> Attempt {
    const UFFD_USER_MODE_ONLY: usize = 1;
    match sys::int80(374, UFFD_USER_MODE_ONLY) {
        None => Err("there is no such door on this architecture".to_owned()),
        Some(errno) if errno < 0 => Err(format!("userfaultfd by int 0x80: errno {}", -errno)),
        Some(_) => {
            hold();
            Ok("has a userfaultfd".to_owned())
        }
    }
}

/// What a program of the root became by being executed is for others to see.
fn became(_: &Args) -> Attempt {
    hold();
    Ok("was executed".to_owned())
}
