//! What `--doctor` says in environments of which something is missing, held against what a real
//! run does there.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a surprise ends the test"
)]

use std::fs;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use sandboxlib_tests::{Filter, host_can, run_sandbox};
use serde_json::Value;

/// Runs a shell script in which `$R` is run-sandbox.
fn sh(script: &str) -> Output {
    Command::new("sh")
        .args(["-c", script])
        .env("R", run_sandbox())
        // The checkout may be in a place of the host that is hidden.
        .current_dir("/")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// What the doctor and a plain run say in an environment.
struct Visit {
    findings: Value,
    status: Option<i32>,
    ran: bool,
    told: String,
}

impl Visit {
    /// `environment` is a script in which `$RUN` stands where a command is to be started.
    fn to(environment: &str) -> Self {
        let doctor = sh(&environment.replace("$RUN", "$R --doctor=json"));
        let told = String::from_utf8_lossy(&doctor.stderr).into_owned();
        let findings = serde_json::from_slice(&doctor.stdout)
            .unwrap_or_else(|e| panic!("{environment}: {e}: {told}"));
        let run = sh(&environment.replace("$RUN", "$R / true"));
        Self {
            findings,
            status: doctor.status.code(),
            ran: run.status.success(),
            told: String::from_utf8_lossy(&run.stderr).into_owned(),
        }
    }

    fn checks(&self) -> &[Value] {
        self.findings["checks"].as_array().unwrap()
    }

    #[track_caller]
    fn check(&self, name: &str) -> &Value {
        let found = self.checks().iter().find(|check| check["name"] == name);
        found.unwrap_or_else(|| panic!("no check {name} in {:#}", self.findings))
    }

    /// The doctor's status, its verdict on the backend that a run takes, and the run agree.
    #[track_caller]
    fn agrees(&self) {
        let can = &self.findings["can_isolate"];
        assert_eq!(self.status, Some(i32::from(can != true)), "{}", self.told);
        let name = &self.findings["chosen"];
        let backends = self.findings["backends"].as_array().unwrap();
        let chosen = backends.iter().find(|backend| backend["name"] == *name);
        let works = chosen.is_some_and(|b| b["plain_run"]["verdict"] == "works");
        assert_eq!(works, self.ran, "{}{:#}", self.told, self.findings);
    }

    /// The run fails, the doctor says that `name` does with a cause that has `word`, and the run
    /// gives the same hints as the doctor.
    #[track_caller]
    fn fails(&self, name: &str, word: &str) {
        self.agrees();
        assert!(!self.ran, "{:#}", self.findings);
        let check = self.check(name);
        assert_eq!(check["verdict"], "fails", "{check:#}");
        let cause = check["cause"].as_str().unwrap();
        assert!(cause.contains(word), "no {word:?} in {check:#}");
        for hint in check["hints"].as_array().unwrap() {
            let hint = hint.as_str().unwrap();
            assert!(self.told.contains(hint), "no {hint:?} in {}", self.told);
        }
        assert!(!check["hints"].as_array().unwrap().is_empty(), "{check:#}");
    }

    /// Of the mechanisms that a plain run needs, these fail and no others.
    #[track_caller]
    fn nothing_else_fails(&self, names: &[&str]) {
        let failed: Vec<&str> = self
            .checks()
            .iter()
            .filter(|check| check["needed"] == true && check["verdict"] == "fails")
            .map(|check| check["name"].as_str().unwrap())
            .collect();
        assert_eq!(failed, names, "{:#}", self.findings);
    }
}

/// The caller without the privileges that would let it do without a user namespace.
const PLAIN: &str = "setpriv --bounding-set=-all --inh-caps=-all";

#[test]
fn where_nothing_is_in_the_way_everything_needed_works() {
    if !host_can() {
        return;
    }
    let visit = Visit::to("$RUN");
    visit.agrees();
    assert!(visit.ran, "{}", visit.told);
    for check in visit.checks().iter().filter(|c| c["needed"] == true) {
        assert_eq!(check["verdict"], "works", "{check:#}");
    }
    let userns = &visit.findings["backends"][0];
    assert_eq!(userns["name"], "userns");
    for feature in ["root", "read-only", "network", "proc", "dev", "pid"] {
        let features = userns["features"].as_array().unwrap();
        let found = features.iter().find(|f| f["feature"] == feature).unwrap();
        assert_eq!(found["verdict"], "works", "{found:#}");
    }
}

#[test]
fn a_kernel_without_mount_setattr() {
    if !host_can() {
        return;
    }
    let Some(filter) = Filter::build() else {
        return;
    };
    let visit = Visit::to(&format!(
        "{} --no-mount-setattr $RUN",
        filter.path().display()
    ));
    visit.agrees();
    assert!(visit.ran, "{}", visit.told);
    visit.nothing_else_fails(&[]);
    let detail = visit.check("mount-api")["detail"].as_str().unwrap();
    assert!(detail.contains("no mount_setattr"), "{detail}");
}

#[test]
fn user_namespaces_switched_off() {
    if !host_can() {
        return;
    }
    let visit = Visit::to(&format!(
        "unshare -Ur sh -c 'echo 0 >/proc/sys/user/max_user_namespaces && exec {PLAIN} $RUN'"
    ));
    visit.fails("user-namespace", "user.max_user_namespaces is 0");
    visit.nothing_else_fails(&["user-namespace"]);
    // What needs one was not tried, and is not blamed.
    assert_eq!(visit.check("id-map")["verdict"], "unknown");
    assert_eq!(visit.check("procfs")["verdict"], "unknown");
}

#[test]
fn one_kind_of_namespace_switched_off() {
    if !host_can() {
        return;
    }
    for (kind, name) in [
        ("net", "network-namespace"),
        ("pid", "pid-namespace"),
        ("ipc", "ipc-namespace"),
        ("uts", "uts-namespace"),
        ("cgroup", "cgroup-namespace"),
        ("mnt", "mount-namespace"),
    ] {
        let visit = Visit::to(&format!(
            "unshare -Ur sh -c 'echo 0 >/proc/sys/user/max_{kind}_namespaces && exec $RUN'"
        ));
        visit.fails(name, &format!("user.max_{kind}_namespaces is 0"));
        visit.nothing_else_fails(&[name]);
    }
}

#[test]
fn a_filter_as_container_engines_have_it() {
    if !host_can() {
        return;
    }
    let Some(filter) = Filter::build() else {
        return;
    };
    let filter = filter.path();
    let visit = Visit::to(&format!("{} $RUN", filter.display()));
    visit.fails("user-namespace", "seccomp");
}

#[test]
fn a_procfs_that_is_covered() {
    if !host_can() {
        return;
    }
    let visit =
        Visit::to("unshare -Urmpf --mount-proc sh -c 'mount -t tmpfs t /proc/sys && exec $RUN'");
    visit.fails("procfs", "/proc is partly covered");
    visit.nothing_else_fails(&["procfs"]);
}

#[test]
fn programs_in_memory_that_may_not_be_executed() {
    if !host_can() {
        return;
    }
    if fs::metadata("/proc/sys/vm/memfd_noexec").is_err() {
        // Before Linux 6.3 nobody could forbid it.
        let visit = Visit::to("$RUN");
        assert_eq!(visit.check("executable-memfd")["verdict"], "works");
        return;
    }
    // The setting belongs to the pid namespace, and its file to root.
    let set = "unshare -Urmpf --mount-proc sh -c 'echo 2 >/proc/sys/vm/memfd_noexec && exec $RUN'";
    if !sh(&set.replace("$RUN", "true")).status.success() {
        // The other half of `cargo xtask test` runs this as root.
        assert_ne!(sandboxlib::spawn::caller_ids().0, 0, "root may not set it");
        return;
    }
    // A file without a name does instead, so a plain run works all the same.
    let visit = Visit::to(set);
    visit.agrees();
    assert!(visit.ran, "{}", visit.told);
    let check = visit.check("executable-memfd");
    assert_eq!(check["verdict"], "fails", "{check:#}");
    assert_eq!(check["cause"], "vm.memfd_noexec is 2", "{check:#}");
    assert_eq!(check["needed"], false, "{check:#}");
}

#[test]
fn no_processes_left_to_have() {
    if !host_can() {
        return;
    }
    let as_nobody = "setpriv --reuid 65534 --regid 65534 --clear-groups";
    let somebody = if sandboxlib::spawn::caller_ids().0 != 0 {
        ""
    } else if sh(&format!("{as_nobody} test -x $R")).status.success() {
        as_nobody
    } else {
        // The other half of `cargo xtask test` runs this as an ordinary user.
        return;
    };
    let visit = Visit::to(&format!("{somebody} prlimit --nproc=1 $RUN"));
    visit.fails("user-namespace", "RLIMIT_NPROC");
}

#[test]
fn the_doctor_is_quick_and_leaves_nothing() {
    if !host_can() {
        return;
    }
    let seen = || {
        let text = |path: &str| fs::read_to_string(path).unwrap();
        // The temporary files of other tests come and go; those of a doctor would stay.
        (
            text("/proc/self/mountinfo"),
            text("/proc/sys/kernel/hostname"),
        )
    };
    let before = seen();
    let quickest = (0..3)
        .map(|_| {
            let began = Instant::now();
            let output = sh("cd / && exec $R --doctor");
            assert_eq!(output.status.code(), Some(0), "{output:?}");
            began.elapsed()
        })
        .min()
        .unwrap();
    assert!(quickest < Duration::from_secs(1), "{quickest:?}");
    assert_eq!(seen(), before);
}

#[test]
fn the_text_has_what_the_json_has() {
    if !host_can() {
        return;
    }
    let visit = Visit::to("$RUN");
    let output = sh("$R --doctor");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), visit.status);
    for check in visit.checks() {
        let name = check["name"].as_str().unwrap();
        let verdict = check["verdict"].as_str().unwrap();
        let line = format!("\n  {name:22}{verdict}");
        assert!(text.contains(&line), "no {line:?} in {text}");
    }
    assert!(text.lines().all(|line| line == line.trim_end()), "{text}");
}
