//! Looking at processes from outside, by the host's /proc.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// A process of the attack program, as the host sees it.
#[derive(Debug)]
pub struct View<'a> {
    dir: PathBuf,
    /// The directory of the scene: what lies below belongs to the experiment.
    scene: &'a Path,
}

impl<'a> View<'a> {
    /// The processes of the attack program that were told this token.
    pub(crate) fn all(token: &str, scene: &'a Path) -> Vec<Self> {
        pids_with(token)
            .into_iter()
            .map(|pid| Self {
                dir: PathBuf::from(format!("/proc/{pid}")),
                scene,
            })
            .collect()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.dir.join(name)).unwrap_or_default()
    }

    /// Its open files: what they lead to, and whether they can be written.
    fn open(&self) -> Vec<(PathBuf, String, bool)> {
        let entries = fs::read_dir(self.dir.join("fd")).into_iter().flatten();
        entries
            .flatten()
            .filter_map(|entry| {
                let target = fs::read_link(entry.path()).ok()?;
                let info = self.dir.join("fdinfo").join(entry.file_name());
                let info = fs::read_to_string(info).unwrap_or_default();
                let flags = info.lines().find_map(|l| l.strip_prefix("flags:"))?.trim();
                let flags = u32::from_str_radix(flags, 8).ok()?;
                let writable = flags & 0o10_000_000 == 0 && flags & 3 != 0;
                Some((entry.path(), target.display().to_string(), writable))
            })
            .collect()
    }
}

/// The process ids of the attack program that have this token among their words.
pub(crate) fn pids_with(token: &str) -> Vec<u32> {
    let word = format!("token={token}");
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            let mut words = line.split(|byte| *byte == 0);
            // The sandbox's own processes have the attack's words behind their own.
            let program = words.next()?;
            let ours = [&b"attack"[..], b"setuid"]
                .iter()
                .any(|name| program.ends_with(name));
            (ours && words.any(|w| w == word.as_bytes())).then_some(pid)
        })
        .collect()
}

/// A process in a user namespace that is not that of its parent.
pub(crate) fn nested_user_namespace(view: &View<'_>) -> Option<String> {
    let status = view.read("status");
    let parent = status.lines().find_map(|l| l.strip_prefix("PPid:"))?.trim();
    let mine = fs::read_link(view.dir.join("ns/user")).ok()?;
    let parents = fs::read_link(format!("/proc/{parent}/ns/user")).ok()?;
    let effective = status.lines().find_map(|l| l.strip_prefix("CapEff:"))?;
    (mine != parents).then(|| {
        format!(
            "a process is in {}, its parent in {}, with capabilities {}",
            mine.display(),
            parents.display(),
            effective.trim()
        )
    })
}

/// A mount that the attack has made, in a namespace of its own or not.
pub(crate) fn own_mount(view: &View<'_>) -> Option<String> {
    let mounts = view.read("mountinfo");
    // Detached ones are not listed, but they have a descriptor.
    let listed = mounts
        .lines()
        .find(|line| line.contains(" - tmpfs escape ") || line.contains(" - tmpfs none "))
        .map(|line| format!("its mounts have: {line}"));
    listed.or_else(|| nested_user_namespace(view))
}

pub(crate) fn overlay_mount(view: &View<'_>) -> Option<String> {
    let mounts = view.read("mountinfo");
    let line = mounts
        .lines()
        .find(|line| line.contains(" - overlay overlay "));
    line.map(|line| format!("its mounts have: {line}"))
}

/// A file of the kernel open for writing.
pub(crate) fn writes_kernel_file(view: &View<'_>) -> Option<String> {
    const NAMES: [&str; 7] = [
        "core_pattern",
        "modprobe",
        "sysrq-trigger",
        "uevent_helper",
        "hotplug",
        "release_agent",
        "profiling",
    ];
    view.open().into_iter().find_map(|(_, target, writable)| {
        let named = NAMES.iter().any(|name| target.ends_with(name));
        (named && writable).then(|| format!("{target} is open for writing"))
    })
}

/// A program that is no file of the root, or of what the sandbox may write, open for writing.
pub(crate) fn writes_program(view: &View<'_>) -> Option<String> {
    view.open()
        .into_iter()
        .find_map(|(path, target, writable)| {
            let metadata = fs::metadata(&path).ok()?;
            let below_root = fs::read_dir(view.scene.join("work"))
                .into_iter()
                .flatten()
                .flatten()
                .any(|e| e.metadata().is_ok_and(|m| m.ino() == metadata.ino()));
            let executable = metadata.is_file() && metadata.mode() & 0o111 != 0;
            (writable && executable && !below_root).then(|| format!("{target} is open for writing"))
        })
}

/// A device that is not for everybody.
pub(crate) fn device(view: &View<'_>) -> Option<String> {
    view.open().into_iter().find_map(|(path, target, _)| {
        let metadata = fs::metadata(path).ok()?;
        let kind = metadata.file_type();
        let (major, minor) = (metadata.rdev() >> 8 & 0xfff, metadata.rdev() & 0xff);
        let plain = major == 1 && [3, 5, 7, 8, 9].contains(&minor);
        let terminal = (major == 5 && [0, 2].contains(&minor)) || (136..=143).contains(&major);
        let found = kind.is_block_device() || (kind.is_char_device() && !plain && !terminal);
        found.then(|| format!("{target} is open: device {major}:{minor}"))
    })
}

fn open_as(view: &View<'_>, what: &str) -> Option<String> {
    let mut open = view.open().into_iter();
    open.find_map(|(_, target, _)| target.contains(what).then(|| format!("{target} is open")))
}

pub(crate) fn ring(view: &View<'_>) -> Option<String> {
    open_as(view, "anon_inode:[io_uring]")
}

pub(crate) fn userfaultfd(view: &View<'_>) -> Option<String> {
    open_as(view, "anon_inode:[userfaultfd]")
}

pub(crate) fn bpf_map(view: &View<'_>) -> Option<String> {
    open_as(view, "anon_inode:bpf-map")
}

pub(crate) fn perf_event(view: &View<'_>) -> Option<String> {
    open_as(view, "anon_inode:[perf_event]")
}

pub(crate) fn fanotify(view: &View<'_>) -> Option<String> {
    open_as(view, "anon_inode:[fanotify]")
}

/// A socket beside the standard streams.
pub(crate) fn socket(view: &View<'_>) -> Option<String> {
    view.open().into_iter().find_map(|(path, target, _)| {
        let standard = path.ends_with("0") || path.ends_with("1") || path.ends_with("2");
        (target.starts_with("socket:") && !standard).then(|| format!("{target} is open"))
    })
}

/// A namespace, held by descriptor, that is the one of whoever looks.
pub(crate) fn host_namespace(view: &View<'_>) -> Option<String> {
    let ours: Vec<String> = ["user", "pid", "net", "mnt"]
        .iter()
        .filter_map(|kind| fs::read_link(format!("/proc/self/ns/{kind}")).ok())
        .map(|link| link.display().to_string())
        .collect();
    let mut open = view.open().into_iter();
    open.find_map(|(_, target, _)| ours.contains(&target).then(|| format!("{target} is open")))
}

/// An effective user id that is not the real one.
pub(crate) fn other_user(view: &View<'_>) -> Option<String> {
    let status = view.read("status");
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    let mut ids = line.split_whitespace();
    let (real, effective) = (ids.next()?, ids.next()?);
    (real != effective).then(|| format!("user {real} has become {effective}"))
}
