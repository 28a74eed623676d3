//! Control groups (cgroups(7)): one for each run below each directory that there is, made before
//! the child is born and removed after its end.
//!
//! Whoever made a group holds a lock on its directory (flock(2)) for as long as it lives. So a
//! group that somebody left behind, because it was killed, is told from one in use, and the next
//! run removes it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::id;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use sandboxlib_core::{Bound, CgroupDir, CgroupVersion, Counter, TreeLimits};

use super::super::facts::{number, whole};

/// What the names of groups begin with.
const PREFIX: &str = "sandboxlib-";

/// What the name of the leaf begins with into which the caller moves, where its own group is to
/// have children with controllers: only leaves hold processes then.
pub(super) const LEAF: &str = "caller-";

/// The groups of one run. Dropping them kills what is in them, and removes them.
#[derive(Debug, Default)]
pub(in super::super) struct Groups(Vec<Group>);

#[derive(Debug)]
struct Group {
    below: CgroupDir,
    path: PathBuf,
    procs: File,
    _lock: Flock<File>,
}

/// What control groups have counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counted {
    /// In user mode, and in the kernel.
    pub(super) cpu: Option<(Duration, Duration)>,
    pub(super) peak_memory: Option<u64>,
    /// Something was killed because there was no more memory.
    pub(super) out_of_memory: bool,
    /// A process was not made because there were as many as may be.
    pub(super) out_of_processes: bool,
}

impl Groups {
    /// Makes what `tree` asks for.
    pub(in super::super) fn make(tree: &TreeLimits) -> io::Result<Self> {
        let mut groups = Self::default();
        for dir in tree.directories() {
            sweep(&dir.path);
            let controllers = controllers(tree, dir);
            if dir.version == CgroupVersion::V2 && !controllers.is_empty() {
                enable(&dir.path, &controllers)?;
            }
            let group = Group::make(dir)?;
            groups.0.push(group);
        }
        if let Some((most, group)) = groups.of(tree.memory.as_ref()) {
            group.limit_memory(*most)?;
        }
        if let Some((most, group)) = groups.of(tree.processes.as_ref()) {
            // The init program is one of them.
            group.write("pids.max", most.saturating_add(1))?;
        }
        Ok(groups)
    }

    /// Where the child writes `0` to enter.
    pub(in super::super) fn entrances(&self) -> impl Iterator<Item = RawFd> {
        self.0.iter().map(|group| group.procs.as_raw_fd())
    }

    fn of<'a, T>(&'a self, bound: Option<&'a Bound<T>>) -> Option<(&'a T, &'a Group)> {
        let Bound { most, by } = bound?;
        let Counter::Cgroup(dir) = by else {
            return None;
        };
        let group = self.0.iter().find(|group| group.below == *dir)?;
        Some((most, group))
    }

    pub(super) fn read(&self, tree: &TreeLimits) -> Counted {
        let mut counted = Counted::default();
        if let Some((_, group)) = self.of(tree.cpu_time.as_ref()) {
            counted.cpu = group.cpu();
        }
        if let Some((_, group)) = self.of(tree.memory.as_ref()) {
            counted.peak_memory = group.peak_memory();
            counted.out_of_memory = group.ran_out_of_memory();
        }
        if let Some((_, group)) = self.of(tree.processes.as_ref()) {
            let denied = group.value("pids.events", "max");
            counted.out_of_processes = denied.is_some_and(|n| n > 0);
        }
        counted
    }

    /// Kills every process in the groups.
    pub(super) fn kill(&self) {
        for group in &self.0 {
            kill_all(&group.path);
        }
    }
}

impl Group {
    fn make(below: &CgroupDir) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        for _ in 0..1000 {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = below.path.join(format!("{PREFIX}{}-{number}", id()));
            match fs::create_dir(&path) {
                Ok(()) => {}
                // Of a process of the same number in another namespace.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(e) => return Err(named(&path, e)),
            }
            let Some(lock) = lock(&path) else {
                // Somebody has taken it for one that was left behind, and removes it.
                let _ = fs::remove_dir(&path);
                continue;
            };
            let procs = match OpenOptions::new()
                .write(true)
                .open(path.join("cgroup.procs"))
            {
                Ok(file) => file,
                Err(e) => {
                    let _ = fs::remove_dir(&path);
                    return Err(named(&path, e));
                }
            };
            return Ok(Self {
                below: below.clone(),
                path,
                procs,
                _lock: lock,
            });
        }
        Err(named(&below.path, io::ErrorKind::AlreadyExists.into()))
    }

    fn is_v2(&self) -> bool {
        self.below.version == CgroupVersion::V2
    }

    fn write(&self, name: &str, value: u64) -> io::Result<()> {
        write(&self.path.join(name), &value.to_string())
    }

    /// Memory and swap together, where swap can be limited.
    fn limit_memory(&self, most: u64) -> io::Result<()> {
        if self.is_v2() {
            self.write("memory.max", most)?;
            // A kernel without swap has no such file.
            let _ = self.write("memory.swap.max", 0);
        } else {
            self.write("memory.limit_in_bytes", most)?;
            let _ = self.write("memory.memsw.limit_in_bytes", most);
        }
        Ok(())
    }

    /// The number in a file that has nothing else.
    fn number(&self, name: &str) -> Option<u64> {
        number(whole(self.path.join(name))?.trim_ascii())
    }

    /// The number behind `key` in a file of such pairs.
    fn value(&self, name: &str, key: &str) -> Option<u64> {
        pair(&whole(self.path.join(name))?, key)
    }

    fn cpu(&self) -> Option<(Duration, Duration)> {
        if self.is_v2() {
            let stat = whole(self.path.join("cpu.stat"))?;
            let micros = |key| Some(Duration::from_micros(pair(&stat, key)?));
            return Some((micros("user_usec")?, micros("system_usec")?));
        }
        let nanos = |name| Some(Duration::from_nanos(self.number(name)?));
        Some((nanos("cpuacct.usage_user")?, nanos("cpuacct.usage_sys")?))
    }

    fn peak_memory(&self) -> Option<u64> {
        if self.is_v2() {
            // Before Linux 5.19 nobody keeps the peak.
            let peak = self.number("memory.peak");
            return peak.or_else(|| self.number("memory.current"));
        }
        self.number("memory.max_usage_in_bytes")
    }

    fn ran_out_of_memory(&self) -> bool {
        let file = if self.is_v2() {
            "memory.events"
        } else {
            "memory.oom_control"
        };
        self.value(file, "oom_kill").is_some_and(|n| n > 0)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// What of `tree` is counted below `dir` by a controller that has to be switched on there.
fn controllers(tree: &TreeLimits, dir: &CgroupDir) -> Vec<&'static str> {
    let here = |by: Option<&Counter>| matches!(by, Some(Counter::Cgroup(d)) if d == dir);
    [
        ("memory", here(tree.memory.as_ref().map(|b| &b.by))),
        ("pids", here(tree.processes.as_ref().map(|b| &b.by))),
    ]
    .into_iter()
    .filter_map(|(name, here)| here.then_some(name))
    .collect()
}

/// Has the groups below `dir` be given these controllers.
fn enable(dir: &Path, wanted: &[&str]) -> io::Result<()> {
    let control = dir.join("cgroup.subtree_control");
    let there = whole(&control).unwrap_or_default();
    let missing: Vec<String> = wanted
        .iter()
        .filter(|name| !has_word(&there, name))
        .map(|name| format!("+{name}"))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let missing = missing.join(" ");
    match write(&control, &missing) {
        Err(e) if e.raw_os_error() == Some(libc::EBUSY) => {
            // There are processes in it, and facts has seen that it is this one alone.
            let leaf = dir.join(format!("{LEAF}{}", id()));
            match fs::create_dir(&leaf) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(named(&leaf, e)),
                _ => {}
            }
            write(&leaf.join("cgroup.procs"), "0")?;
            write(&control, &missing)
        }
        done => done,
    }
}

/// Whether one of the words of a file is `word`.
pub(super) fn has_word(text: &[u8], word: &str) -> bool {
    text.split(u8::is_ascii_whitespace)
        .any(|w| w == word.as_bytes())
}

/// The number in the line `key NUMBER`.
fn pair(text: &[u8], key: &str) -> Option<u64> {
    text.split(|b| *b == b'\n').find_map(|line| {
        let rest = line.strip_prefix(key.as_bytes())?.strip_prefix(b" ")?;
        number(rest.trim_ascii())
    })
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|e| named(path, e))
}

/// The error with the path; the number of the error is kept.
fn named(path: &Path, error: io::Error) -> io::Error {
    tracing::debug!(?path, %error, "control group");
    error
}

/// The lock of a group; nothing if somebody holds it, or the group is gone.
fn lock(path: &Path) -> Option<Flock<File>> {
    let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
    let dir = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .ok()?;
    Flock::lock(dir, FlockArg::LockExclusiveNonblock).ok()
}

/// Removes the groups below `dir` that were left behind.
fn sweep(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if !entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(PREFIX.as_bytes())
        {
            continue;
        }
        let path = entry.path();
        if let Some(_lock) = lock(&path) {
            remove(&path);
        }
    }
}

/// Kills what is in a group, and removes it.
fn remove(path: &Path) {
    for pause in 0..12 {
        match fs::remove_dir(path) {
            Err(e) if e.raw_os_error() == Some(libc::EBUSY) => {}
            _ => return,
        }
        kill_all(path);
        sleep(Duration::from_micros(250 << pause.min(8)));
    }
}

/// Kills every process in a group, once.
fn kill_all(path: &Path) {
    // Since Linux 5.14, and version 2 alone.
    if write(&path.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    let procs = path.join("cgroup.procs");
    let members = |text: &[u8]| -> Vec<libc::pid_t> {
        text.split(|b| *b == b'\n').filter_map(number).collect()
    };
    for pid in members(&whole(&procs).unwrap_or_default()) {
        let Some(pidfd) = pidfd(pid) else { continue };
        // It is the process that was in the group only if it is still there, now that its number
        // cannot become another's.
        if members(&whole(&procs).unwrap_or_default()).contains(&pid) {
            let _ = super::super::control::send_signal(&pidfd, libc::SIGKILL);
        }
    }
}

pub(super) fn pidfd(pid: libc::pid_t) -> Option<OwnedFd> {
    // SAFETY: pidfd_open(2) takes numbers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = RawFd::try_from(fd).ok().filter(|fd| *fd >= 0)?;
    // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_and_words() {
        let text = b"low 0\noom 3\noom_kill 12\nbad x\n";
        assert_eq!(pair(text, "oom_kill"), Some(12));
        assert_eq!(pair(text, "oom"), Some(3));
        for key in ["kill", "bad", "none", ""] {
            assert_eq!(pair(text, key), None, "{key}");
        }
        assert!(has_word(b"cpu memory pids\n", "pids"));
        assert!(!has_word(b"cpuset memory\n", "cpu"));
    }

    /// What is left behind is removed, and what somebody holds is not: with plain directories,
    /// which is what groups are to whoever makes and removes them.
    #[test]
    fn what_nobody_holds_is_swept() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        for name in ["sandboxlib-1-1", "sandboxlib-2-2", "other-1"] {
            fs::create_dir(at(name)).unwrap();
        }
        let held = lock(&at("sandboxlib-2-2")).unwrap();
        assert!(lock(&at("sandboxlib-2-2")).is_none());
        sweep(place.path());
        assert!(!at("sandboxlib-1-1").exists());
        assert!(at("sandboxlib-2-2").exists() && at("other-1").exists());
        drop(held);
        sweep(place.path());
        assert!(!at("sandboxlib-2-2").exists() && at("other-1").exists());
    }
}
