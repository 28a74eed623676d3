//! What runs leave behind, those included whose supervisor was killed with SIGKILL: nothing.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sandboxlib_tests::snapshot::Snapshot;
use sandboxlib_tests::watch::within;

use crate::run::Broken;
use crate::{Scene, Stage, Who};

/// How long what was killed may take to be gone.
const GRACE: Duration = Duration::from_secs(5);

/// What a run of many runs was like.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    /// Runs started.
    pub runs: usize,
    /// Of those, how many supervisors were killed, and were still alive then.
    pub killed: usize,
    /// How many came to their own end, with a good status.
    pub ended: usize,
}

/// Numbers without a rhythm, the same for the same seed (a 64-bit linear congruence).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit.max(1)
    }
}

/// What a host has that a run could have left there.
#[derive(Debug, PartialEq, Eq)]
struct Traces {
    mounts: String,
    files: Snapshot,
    groups: BTreeSet<PathBuf>,
}

impl Traces {
    fn of(stage: &Stage, scene: &Scene<'_>) -> Self {
        let root = stage.root();
        let work = scene.dir();
        Self {
            mounts: fs::read_to_string("/proc/self/mountinfo").unwrap_or_default(),
            files: Snapshot::of(&[&root, work]),
            groups: groups(Path::new("/sys/fs/cgroup"), 6),
        }
    }

    fn new_in(&self, after: &Self) -> Vec<String> {
        let mut found = self.files.differences(&after.files);
        let mounts: BTreeSet<_> = self.mounts.lines().collect();
        let more = after.mounts.lines().filter(|line| !mounts.contains(line));
        found.extend(more.map(|line| format!("mounted: {line}")));
        found.extend(
            after
                .groups
                .difference(&self.groups)
                .map(|dir| format!("made: {dir:?}")),
        );
        found
    }
}

/// The control groups that may be ours. Others on the machine make some too.
fn groups(dir: &Path, depth: usize) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    if depth == 0 {
        return found;
    }
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let path = entry.path();
            if entry.file_name().to_string_lossy().contains("sandbox") {
                found.insert(path.clone());
            }
            found.extend(groups(&path, depth - 1));
        }
    }
    found
}

/// The processes that belong to these runs: they have the token among their words, or the root for
/// their root, or a mount of the scene.
fn processes(token: &str, root: &Path, scene: &Path) -> Vec<String> {
    let me = std::process::id().to_string();
    let root = fs::metadata(root).map(|m| (m.dev(), m.ino())).ok();
    let scene = scene.display().to_string();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            name.parse::<u32>().ok().filter(|_| name != me)?;
            let dir = entry.path();
            let line = fs::read(dir.join("cmdline")).unwrap_or_default();
            let named = line.windows(token.len()).any(|w| w == token.as_bytes());
            let rooted = fs::metadata(dir.join("root"))
                .map(|m| (m.dev(), m.ino()))
                .ok();
            let mounts = || fs::read_to_string(dir.join("mountinfo")).unwrap_or_default();
            let ours = named || (rooted.is_some() && rooted == root) || mounts().contains(&scene);
            ours.then(|| {
                let line = String::from_utf8_lossy(&line).replace('\0', " ");
                format!("process {name}: {line}")
            })
        })
        .collect()
}

/// Shows that the search finds something: a process of a sandbox whose supervisor was killed and
/// that was not bound to it.
fn control(scene: &Scene<'_>, stage: &Stage) -> Result<(), Broken> {
    let user: &[&str] = match stage.who {
        Who::Root => &[],
        Who::User => &["--map-root-user"],
    };
    let mut child = Command::new("unshare")
        .args(user)
        .args([
            "--mount",
            "--pid",
            "--fork",
            "sh",
            "-c",
            "echo on; sleep 30; :",
            "sh",
        ])
        .arg(&scene.token)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut on = [0; 3];
    if let Some(out) = &mut child.stdout {
        std::io::Read::read_exact(out, &mut on)?;
    }
    child.kill()?;
    child.wait()?;
    let left = processes(&scene.token, &stage.root(), scene.dir());
    for line in &left {
        let pid = line
            .split([' ', ':'])
            .nth(1)
            .and_then(|pid| pid.parse().ok());
        if let Some(pid) = pid {
            sandboxlib_tests::watch::signal(pid, "KILL");
        }
    }
    if left.is_empty() {
        return Err(Broken(
            "what is left of a careless sandbox is not found".to_owned(),
        ));
    }
    Ok(())
}

/// Runs as many sandboxes, kills every third's supervisor at a random moment, and looks.
///
/// # Errors
/// What was left, as lines, or why it could not be tried.
pub fn check(program: &Path, stage: &Stage, runs: usize) -> Result<Tally, Broken> {
    let scene = stage.scene()?;
    control(&scene, stage)?;
    within(GRACE, || {
        processes(&scene.token, &stage.root(), scene.dir())
            .is_empty()
            .then_some(())
    });
    // What a helper program leaves in the directory for temporary files is seen there.
    fs::create_dir(scene.path("tmp"))?;
    let before = Traces::of(stage, &scene);
    let seed = u64::from(std::process::id()) ^ 0x5eed;
    println!("seed {seed}");
    let mut random = Random(seed);
    let mut tally = Tally::default();
    // How long a run takes is how long there is something to kill.
    let mut usual = Duration::from_millis(10);
    for turn in 0..runs {
        let killed = turn % 3 == 0;
        let lasting = killed && random.below(2) == 0;
        let mut child = line(program, stage, &scene, turn, lasting)
            .env("TMPDIR", scene.path("tmp"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let began = Instant::now();
        if killed {
            let most = u64::try_from(usual.as_micros()).unwrap_or(10_000) * 3 / 2;
            std::thread::sleep(Duration::from_micros(random.below(most)));
            tally.killed += usize::from(child.try_wait()?.is_none());
            child.kill()?;
            child.wait()?;
        } else {
            let status = child.wait()?;
            tally.ended += usize::from(status.success());
            usual = (usual * 7 + began.elapsed()) / 8;
        }
        tally.runs += 1;
    }
    let gone = within(GRACE, || {
        processes(&scene.token, &stage.root(), scene.dir())
            .is_empty()
            .then_some(())
    });
    let mut left = Vec::new();
    if gone.is_none() {
        left.extend(processes(&scene.token, &stage.root(), scene.dir()));
    }
    left.extend(before.new_in(&Traces::of(stage, &scene)));
    if !left.is_empty() {
        return Err(Broken(left.join("\n")));
    }
    let good = runs - runs.div_ceil(3);
    if tally.ended != good || tally.killed * 12 < runs {
        return Err(Broken(format!(
            "it was not what it should have been: {tally:?}"
        )));
    }
    Ok(tally)
}

/// A run with something of everything, so that set-up has many moments.
fn line(program: &Path, stage: &Stage, scene: &Scene<'_>, turn: usize, lasting: bool) -> Command {
    let mut line = Command::new(program);
    line.args(["-e", "userns", "--read-only"]);
    let path = |name: &str| scene.path(name).into_os_string();
    match turn % 4 {
        0 => line.arg("--bind").arg(path("work")).arg("/work"),
        1 => line
            .arg("--ro-bind")
            .arg(path("ro"))
            .arg("/made/here")
            .args(["--tmpfs", "/var"]),
        2 => line.args(["--mask", "/etc/masked", "--symlink", "a", "/etc/link"]),
        _ => line
            .arg("--file")
            .arg(path("ro/canary"))
            .arg("/etc/file")
            .args(["--dir", "/a/b"]),
    };
    let script = if lasting {
        "(setsid sleep 1000 &); trap '' TERM HUP; sleep 1000 & sleep 1000; :"
    } else {
        "(setsid sleep 1000 >/dev/null 2>&1 &); :"
    };
    line.arg(stage.root())
        .args(["--", "/bin/busybox", "sh", "-c", script, "sh"])
        .arg(&scene.token);
    line
}
