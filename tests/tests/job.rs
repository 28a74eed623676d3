//! The job on real input: a source package is built in a Debian root, and in the host's, with no
//! network, and nothing outside the build directory changes, whatever happens to run-sandbox.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a surprise ends the test"
)]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sandboxlib_tests::snapshot::Snapshot;
use sandboxlib_tests::{Lab, RunSandbox, skip, watch};

const BUILD: &str = "./configure && make && make check";
/// How soon everything must be dead after run-sandbox was killed.
const GRACE: Duration = Duration::from_secs(2);

/// One build at a time: they look at directories that they share.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A run as the issue has it, with a mark in its environment.
fn job(root: &Path, source: &Path, mark: &str) -> RunSandbox {
    RunSandbox::new(root)
        .option("--read-only", &[])
        .option("--bind", &[&source, &"/build"])
        .option("--cwd", &[&"/build"])
        .option("--env", &[&format!("{}={mark}", watch::MARK)])
}

/// What is left of a sandbox where nothing may be.
struct Before {
    root: Snapshot,
    temporary: std::collections::BTreeSet<PathBuf>,
    mounts: Vec<String>,
    dirs: Vec<PathBuf>,
    source: PathBuf,
}

impl Before {
    fn look(dirs: &[PathBuf], source: &Path) -> Self {
        let paths: Vec<&Path> = dirs.iter().map(PathBuf::as_path).collect();
        let root = Snapshot::of(&paths);
        assert!(
            root.len() > 500,
            "there is something to compare: {}",
            root.len()
        );
        Self {
            root,
            temporary: watch::temporary_files(),
            mounts: Self::mounts(dirs, source),
            dirs: dirs.to_vec(),
            source: source.to_owned(),
        }
    }

    fn mounts(dirs: &[PathBuf], source: &Path) -> Vec<String> {
        let places = dirs
            .iter()
            .map(PathBuf::as_path)
            .filter(|d| *d != Path::new("/"));
        places
            .chain([source])
            .flat_map(watch::mounts_about)
            .collect()
    }

    #[track_caller]
    fn nothing_differs(&self) {
        let paths: Vec<&Path> = self.dirs.iter().map(PathBuf::as_path).collect();
        let differences = self.root.differences(&Snapshot::of(&paths));
        assert!(differences.is_empty(), "{differences:#?}");
        assert_eq!(
            Self::mounts(&self.dirs, &self.source),
            self.mounts,
            "a mount is left"
        );
        assert_eq!(
            watch::temporary_files(),
            self.temporary,
            "a temporary file is left"
        );
    }
}

/// The parts of the host's root that no other program is expected to change meanwhile.
fn quiet_parts_of_the_host() -> Vec<PathBuf> {
    ["/usr", "/etc", "/opt", "/srv", "/boot", "/build"]
        .map(PathBuf::from)
        .to_vec()
}

fn names_at_the_top() -> Vec<std::ffi::OsString> {
    let mut names: Vec<_> = fs::read_dir("/")
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    names.sort();
    names
}

/// gcc and make on the host, which the build in its own root needs.
fn host_has_compiler() -> bool {
    let has = ["gcc", "make"]
        .iter()
        .all(|p| Path::new("/usr/bin").join(p).exists());
    if !has {
        skip("no gcc or no make on this host");
    }
    has
}

#[track_caller]
fn builds(root: &Path, dirs: &[PathBuf], lab: &Lab) {
    let source = lab.copy_source();
    let before = Before::look(dirs, source.path());
    let mark = watch::new_mark();
    let script = format!(
        "set -e; readlink /proc/self/ns/pid; tail -n +3 /proc/net/dev; \
         grep -q 127.0.0.1 /proc/net/fib_trie && echo loopback up; {BUILD}"
    );
    let done = job(root, source.path(), &mark).sh(&script);
    assert!(done.status.success(), "{done:#?}");

    let mut lines = done.out.lines();
    let namespace = lines.next().unwrap();
    assert!(namespace.starts_with("pid:["), "{namespace}");
    let interfaces: Vec<_> = lines.by_ref().take_while(|l| l.contains(':')).collect();
    assert_eq!(interfaces.len(), 1, "lo and nothing else: {interfaces:?}");
    assert!(
        interfaces[0].trim_start().starts_with("lo:"),
        "{interfaces:?}"
    );
    assert!(done.out.contains("loopback up"), "{}", done.out);
    // zlib's own words, and a library that is there.
    assert!(done.out.contains("zlib test OK"), "{}", done.out);
    let library = fs::metadata(source.path().join("libz.a")).unwrap();
    assert!(library.len() > 10_000);
    assert_eq!(
        library.uid(),
        fs::metadata("/proc/self").unwrap().uid(),
        "it is the caller's"
    );

    assert_eq!(watch::marked(&mark), []);
    assert_eq!(watch::in_pid_namespace(namespace), []);
    before.nothing_differs();
}

/// Kills run-sandbox in the middle of the build, at several moments.
#[track_caller]
fn survives_being_killed(root: &Path, dirs: &[PathBuf], lab: &Lab) {
    let seed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .subsec_nanos();
    // From the first steps of the set-up to the compiler.
    let moments = [
        u64::from(seed % 3_000),
        5_000,
        100_000 + u64::from(seed % 300_000),
        2_000_000,
    ];
    for moment in moments.map(Duration::from_micros) {
        let source = lab.copy_source();
        let before = Before::look(dirs, source.path());
        let mark = watch::new_mark();
        let mut child = job(root, source.path(), &mark).start_sh(BUILD);
        std::thread::sleep(moment);
        let namespace = watch::pid_namespace_of(&mark);
        child.kill().unwrap();
        let status = child.wait().unwrap();
        assert!(
            status.code().is_none(),
            "it was over before it was killed, at {moment:?}"
        );
        let gone = watch::within(GRACE, || watch::marked(&mark).is_empty().then_some(()));
        assert!(
            gone.is_some(),
            "killed at {moment:?}: {:#?}",
            watch::marked(&mark)
        );
        if let Some(namespace) = namespace {
            let left = || watch::in_pid_namespace(&namespace);
            let gone = watch::within(GRACE, || left().is_empty().then_some(()));
            assert!(gone.is_some(), "killed at {moment:?}: {:#?}", left());
        } else {
            assert!(
                moment < Duration::from_secs(1),
                "after {moment:?} there is a sandbox"
            );
        }
        before.nothing_differs();
    }
}

#[test]
fn a_package_is_built_in_a_debian_root() {
    let _alone = alone();
    let Some(lab) = Lab::find() else { return };
    builds(&lab.root, std::slice::from_ref(&lab.root), &lab);
}

#[test]
fn a_package_is_built_in_the_hosts_root() {
    let _alone = alone();
    let Some(lab) = Lab::find() else { return };
    if !host_has_compiler() {
        return;
    }
    let top = names_at_the_top();
    builds(Path::new("/"), &quiet_parts_of_the_host(), &lab);
    assert_eq!(names_at_the_top(), top);
}

#[test]
fn nothing_is_left_in_a_debian_root_after_a_kill() {
    let _alone = alone();
    let Some(lab) = Lab::find() else { return };
    survives_being_killed(&lab.root, std::slice::from_ref(&lab.root), &lab);
}

#[test]
fn nothing_is_left_in_the_hosts_root_after_a_kill() {
    let _alone = alone();
    let Some(lab) = Lab::find() else { return };
    if !host_has_compiler() {
        return;
    }
    let top = names_at_the_top();
    // /usr is compared in the test above; a walk through it at every kill takes long.
    let dirs = ["/etc", "/opt", "/srv", "/boot", "/build"].map(PathBuf::from);
    survives_being_killed(Path::new("/"), &dirs, &lab);
    assert_eq!(names_at_the_top(), top);
}

#[test]
fn chroot_refuses_what_it_cannot_do_and_builds_where_less_will_do() {
    let _alone = alone();
    let Some(lab) = Lab::find() else { return };
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        // Not a skip: the other half of `cargo xtask test` is root's, and an ordinary user is
        // refused, which is what is to be seen here.
        let done = RunSandbox::new(&lab.root)
            .options("--backend chroot")
            .sh("echo ran");
        done.refused(&["chroot"]);
        assert!(!done.out.contains("ran"));
        return;
    }
    let source = lab.copy_source();
    let before = Before::look(std::slice::from_ref(&lab.root), source.path());
    let mark = watch::new_mark();
    let chroot = || job(&lab.root, source.path(), &mark).options("--backend chroot");

    let done = chroot().sh("echo ran; touch /build/canary");
    done.refused(&["network", "read-only"]);
    assert!(!done.out.contains("ran"));
    assert!(!source.path().join("canary").exists(), "something was run");
    before.nothing_differs();

    let done = chroot().options("--prefer network,read-only").sh(BUILD);
    assert!(done.status.success(), "{done:#?}");
    assert!(done.out.contains("zlib test OK"), "{}", done.out);
    assert!(fs::metadata(source.path().join("libz.a")).unwrap().len() > 10_000);
    assert_eq!(watch::marked(&mark), []);
    assert_eq!(Before::mounts(&before.dirs, &before.source), before.mounts);
}
