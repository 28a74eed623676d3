//! Processes, mounts and temporary files of the host.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// The name of the variable that marks the processes of one sandbox.
pub const MARK: &str = "SANDBOX_TEST_MARK";

/// A mark that no other test has.
#[must_use]
pub fn new_mark() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!(
        "{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

/// A process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id on the host.
    pub pid: u32,
    /// Its command line, for messages.
    pub line: String,
}

fn processes(wanted: impl Fn(&Path) -> bool) -> Vec<Process> {
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let path = entry.path();
            wanted(&path).then(|| Process {
                pid,
                line: String::from_utf8_lossy(&fs::read(path.join("cmdline")).unwrap_or_default())
                    .replace('\0', " "),
            })
        })
        .collect()
}

/// The processes that have this mark in their environment or on their command line, which
/// run-sandbox itself has. A zombie has neither.
#[must_use]
pub fn marked(mark: &str) -> Vec<Process> {
    let text = format!("{MARK}={mark}\0").into_bytes();
    let has = |file: PathBuf| {
        fs::read(file).is_ok_and(|bytes| bytes.windows(text.len()).any(|w| w == text))
    };
    processes(|dir| has(dir.join("environ")) || has(dir.join("cmdline")))
}

/// The processes in this pid namespace, named as `/proc/PID/ns/pid` names it.
#[must_use]
pub fn in_pid_namespace(name: &str) -> Vec<Process> {
    processes(|dir| fs::read_link(dir.join("ns/pid")).is_ok_and(|link| link.as_os_str() == name))
}

/// The pid namespace that the processes with this mark are in, if it is not ours.
#[must_use]
pub fn pid_namespace_of(mark: &str) -> Option<String> {
    let ours = fs::read_link("/proc/self/ns/pid").ok()?;
    marked(mark).iter().find_map(|process| {
        let link = fs::read_link(format!("/proc/{}/ns/pid", process.pid)).ok()?;
        (link != ours).then(|| link.to_string_lossy().into_owned())
    })
}

/// Asks again and again until `f` gives something, for as long as `most`.
pub fn within<T>(most: Duration, mut f: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = f() {
            return Some(found);
        }
        if start.elapsed() > most {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sends a signal, by kill(1). A process that has ended meanwhile needs none.
///
/// # Panics
/// If there is no kill(1), or the process is there and may not be signalled.
pub fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill")
        .args(["-s", name, &pid.to_string()])
        .status()
        .unwrap();
    let gone = || !Path::new("/proc").join(pid.to_string()).exists();
    assert!(sent.success() || gone(), "kill -s {name} {pid}");
}

/// The mounts of this process's namespace that say anything about `path`.
#[must_use]
pub fn mounts_about(path: &Path) -> Vec<String> {
    let path = path.to_string_lossy();
    fs::read_to_string("/proc/self/mountinfo")
        .unwrap()
        .lines()
        .filter(|line| line.contains(path.as_ref()))
        .map(str::to_owned)
        .collect()
}

/// What lies in the directories for temporary files and may be ours: everything of this account,
/// and for root, who shares them with the whole machine, what has our name.
#[must_use]
pub fn temporary_files() -> BTreeSet<PathBuf> {
    let uid = fs::metadata("/proc/self").unwrap().uid();
    let mut dirs: Vec<PathBuf> = ["/tmp", "/var/tmp", "/dev/shm", "/run"]
        .map(PathBuf::from)
        .to_vec();
    dirs.push(std::env::temp_dir());
    dirs.iter()
        .flat_map(|dir| fs::read_dir(dir).into_iter().flatten().flatten())
        .filter(|entry| {
            let ours = fs::symlink_metadata(entry.path()).is_ok_and(|m| m.uid() == uid);
            let named = entry.file_name().to_string_lossy().contains("sandbox");
            ours && (uid != 0 || named)
        })
        .map(|entry| entry.path())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_seen_and_dead_processes_are_not() {
        let mark = new_mark();
        assert_eq!(marked(&mark), []);
        let mut child = Command::new("sleep")
            .arg("100")
            .env(MARK, &mark)
            .spawn()
            .unwrap();
        let found = within(Duration::from_secs(5), || marked(&mark).first().cloned()).unwrap();
        assert_eq!(found.pid, child.id());
        assert_eq!(pid_namespace_of(&mark), None, "it is ours");
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(marked(&mark), []);
    }

    #[test]
    fn this_process_is_in_its_namespace() {
        let ours = fs::read_link("/proc/self/ns/pid").unwrap();
        let found = in_pid_namespace(&ours.to_string_lossy());
        assert!(found.iter().any(|p| p.pid == std::process::id()));
    }
}
