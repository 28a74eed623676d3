//! What holds a limit, what is refused, and what a limit does not do.

use std::fs;
use std::path::Path;
use std::time::Duration;

use sandboxlib_tests::watch::{self, MARK};
use sandboxlib_tests::{RunSandbox, skip};
use serde_json::{Value, json};

use super::{groups, held_by, is_root, root, run};

/// Whether root has a hierarchy of version 1 or a control group of version 2 to make groups in.
fn has_groups() -> bool {
    let v1 = Path::new("/sys/fs/cgroup/memory/memory.limit_in_bytes").exists();
    let v2 = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers");
    v1 || v2.is_ok_and(|controllers| controllers.contains("memory"))
}

#[test]
fn the_report_says_what_held_each_limit() {
    let Some(root) = root() else { return };
    let options = "--memory 64M --processes 20 --cpu-time 20s --open-files 30 --output 1M";
    let (done, report) = run(&root, options, "echo out; echo err >&2");
    assert_eq!((done.good(), done.err.as_str()), ("out", "err\n"));
    assert_eq!(report["limit"], Value::Null);
    assert_eq!(held_by(&report, "open-files"), "rlimit");
    assert_eq!(held_by(&report, "wall"), "supervisor");
    assert_eq!(held_by(&report, "output"), "supervisor");
    for limit in ["memory", "processes", "cpu-time"] {
        let by = held_by(&report, limit);
        if is_root() && has_groups() {
            assert!(by.starts_with("cgroup-v"), "{limit}: {by}");
        } else if !is_root() {
            assert!(by == "accounting" || by == "cgroup-v2", "{limit}: {by}");
        }
        let (_, report) = run(&root, &format!("{options} --cgroup none"), "true");
        assert_eq!(held_by(&report, limit), "accounting");
    }
}

#[test]
fn each_process_has_the_limits_that_were_asked_for() {
    let Some(root) = root() else { return };
    let options = "--open-files 30 --file-size 1M --stack 4M --core 0 --cpu-time 20s";
    let (done, _) = run(&root, options, "cat /proc/self/limits");
    let text = done.good();
    let line = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("{name} in {text}"))
            .split_whitespace()
            .take(2)
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(line("Max open files"), "30 30");
    assert_eq!(line("Max file size"), "1048576 1048576");
    assert_eq!(line("Max stack size"), "4194304 4194304");
    assert_eq!(line("Max core file size"), "0 0");
    assert_eq!(line("Max cpu time"), "22 22");
    // The init program is not bound by them.
    let (done, _) = run(&root, options, "cat /proc/1/limits");
    assert!(!done.good().contains("1048576"), "{done:#?}");
}

#[test]
fn a_file_that_is_too_large_is_told_by_the_signal() {
    let Some(root) = root() else { return };
    let write = "dd if=/dev/zero of=/tmp/x bs=64k count=32";
    for script in [format!("exec {write}"), format!("{write}; exit $?")] {
        let (done, report) = run(&root, "--file-size 1M", &script);
        assert_eq!(report["limit"], "file-size", "{report:#}");
        assert_eq!(done.status.code(), Some(128 + 25), "{done:#?}");
    }
    let (done, report) = run(&root, "--file-size 2M", &format!("{write}; exit 0"));
    assert_eq!(
        (report["limit"].clone(), done.status.code()),
        (Value::Null, Some(0))
    );
}

#[test]
fn time_to_clean_up() {
    let Some(root) = root() else { return };
    let options = "--timeout 300ms --kill-after 10s";
    let cleans = "trap 'echo cleaned; exit 7' TERM; while :; do sleep 0.05; done";
    let (done, report) = run(&root, options, cleans);
    assert_eq!(
        (done.out.as_str(), done.status.code()),
        ("cleaned\n", Some(124))
    );
    assert_eq!(
        (&report["limit"], &report["exit_code"]),
        (&json!("wall"), &json!(7))
    );
    let options = "--timeout 300ms --kill-after 300ms";
    let (_, report) = run(&root, options, "exec bomb sleep");
    assert_eq!(
        (&report["limit"], &report["exit_code"]),
        (&json!("wall"), &Value::Null)
    );
    let wall = report["wall_seconds"].as_f64().unwrap();
    assert!((0.6..2.6).contains(&wall), "{wall}");
    let (done, report) = run(
        &root,
        "--cpu-time 200ms --kill-after 10s",
        "trap 'echo cleaned; exit 0' TERM; while :; do :; done",
    );
    assert_eq!(
        (done.out.as_str(), done.status.code()),
        ("cleaned\n", Some(137))
    );
    assert_eq!(report["limit"], "cpu-time");
}

#[test]
fn what_processes_share_is_counted_once() {
    let Some(root) = root() else { return };
    for way in ["auto", "none"] {
        let options = format!("--memory 64M --cgroup {way}");
        let (done, report) = run(&root, &options, "exec bomb cow");
        assert_eq!(report["limit"], Value::Null, "{way}: {report:#}");
        assert_eq!(done.status.code(), Some(0), "{way}: {done:#?}");
        let peak = report["peak_memory_bytes"].as_u64().unwrap();
        assert!((24 << 20..64 << 20).contains(&peak), "{way}: {report:#}");
    }
}

#[test]
fn as_many_processes_as_were_allowed_do_run() {
    let Some(root) = root() else { return };
    // The shell, and those that it starts.
    let script = |n: u32| {
        format!("i=0; while [ $i -lt {n} ]; do sleep 0.5 & i=$((i+1)); done; wait; echo done")
    };
    for way in ["auto", "none"] {
        let options = format!("--processes 20 --cgroup {way}");
        let (done, report) = run(&root, &options, &script(19));
        assert_eq!(done.out, "done\n", "{way}: {report:#}");
        assert_eq!(report["limit"], Value::Null, "{way}");
        let (_, report) = run(&root, &options, &script(20));
        assert_eq!(report["limit"], "processes", "{way}");
    }
}

#[test]
fn the_figures_are_those_of_all_processes() {
    let Some(root) = root() else { return };
    let script = "i=0; while [ $i -lt 3 ]; do bomb cpu & i=$((i+1)); done; wait";
    for way in ["auto", "none"] {
        let (_, report) = run(&root, &format!("--cpu-time 600ms --cgroup {way}"), script);
        assert_eq!(report["limit"], "cpu-time", "{way}");
        assert_ne!(report["measured_by"]["cpu"], "waited-for");
        let used = report["user_seconds"].as_f64().unwrap();
        let used = used + report["system_seconds"].as_f64().unwrap();
        assert!((0.6..2.6).contains(&used), "{way}: {report:#}");
    }
}

#[test]
fn what_cannot_be_held_is_refused_or_told() {
    let Some(root) = root() else { return };
    let sandbox = |options: &str| RunSandbox::new(root.path()).options(options);
    let options = "--memory 64M --cgroup /tmp";
    sandbox(options)
        .sh("true")
        .refused(&["memory", "is no directory of cgroup v2"]);
    let (done, report) = run(&root, &format!("{options} --prefer memory"), "echo ran");
    assert_eq!(done.good(), "ran");
    assert_eq!(report["not_enforced"][0]["feature"], "memory", "{report:#}");
    let held: Vec<&Value> = report["limits"].as_array().unwrap().iter().collect();
    assert_eq!(held, [&json!({"limit": "wall", "by": "supervisor"})]);
    // Without a limit that needs one, nobody looks at what was named.
    assert_eq!(sandbox("--cgroup /tmp").sh("echo ran").good(), "ran");
}

#[test]
fn output_within_its_limit_comes_through_whole() {
    let Some(root) = root() else { return };
    let script = "i=0; while [ $i -lt 20000 ]; do echo $i; echo $i >&2; i=$((i+1)); done";
    let (done, report) = run(&root, "--output 1M", script);
    assert_eq!(report["limit"], Value::Null);
    let lines: String = (0..20000).map(|i| format!("{i}\n")).collect();
    assert!(done.out == lines && done.err == lines);
    let (done, report) = run(&root, "--output 1000", "bomb output >&2");
    assert_eq!(report["limit"], "output");
    let printed = done.err.bytes().filter(|b| *b == b'x').count();
    // Some are of the message about it.
    assert!((1000..1010).contains(&printed), "{printed}");
}

#[test]
fn nothing_of_a_group_is_seen_inside_nor_left() {
    let Some(root) = root() else { return };
    let options = "--memory 64M --processes 20";
    if !is_root() {
        // Nor where there is none.
        let before = groups();
        assert_eq!(run(&root, options, "echo ran").0.good(), "ran");
        return assert_eq!(groups(), before);
    }
    if !has_groups() {
        return skip("no control groups with a controller for memory");
    }
    let (done, _) = run(&root, options, "cat /proc/self/cgroup");
    let inside = done.good();
    let memory = inside.lines().find(|line| line.contains(":memory:"));
    assert!(memory.is_none_or(|line| line.ends_with(":/")), "{inside}");
    // Killed together with its supervisor, the next run finds what is left.
    let mark = watch::new_mark();
    let mut child = RunSandbox::new(root.path())
        .options(options)
        .options(&format!("--env {MARK}={mark}"))
        .start_sh("sleep 60");
    let own = format!("sandboxlib-{}-", child.id());
    let left = || {
        let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
        groups()
            .into_iter()
            .any(|path| name(&path).starts_with(&own))
    };
    let soon = Duration::from_secs(10);
    assert!(watch::within(soon, || (watch::marked(&mark).len() > 1).then_some(())).is_some());
    assert!(left());
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(left(), "nobody has had the time to remove it");
    assert!(watch::within(soon, || watch::marked(&mark).is_empty().then_some(())).is_some());
    let (done, _) = run(&root, options, "echo next");
    assert_eq!(done.good(), "next");
    assert!(!left());
}

#[test]
fn the_meta_file_of_isolate() {
    let Some(root) = root() else { return };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("meta");
    let meta = |options: &str, script: &str| {
        let _ = RunSandbox::new(root.path())
            .options("--timeout 20s --report-format isolate")
            .options(options)
            .option("--report", &[&file])
            .sh(script);
        fs::read_to_string(&file).unwrap()
    };
    let has = |text: &str, line: &str| text.lines().any(|l| l == line);
    let fine = meta("", "true");
    assert!(
        has(&fine, "exitcode:0") && !fine.contains("status:"),
        "{fine}"
    );
    for key in ["time:", "time-wall:", "max-rss:"] {
        assert!(fine.lines().any(|line| line.starts_with(key)), "{fine}");
    }
    assert!(has(&meta("", "exit 3"), "status:RE"));
    let killed = meta("", "kill -11 $$");
    assert!(
        has(&killed, "status:SG") && has(&killed, "exitsig:11"),
        "{killed}"
    );
    let late = meta("--cpu-time 100ms", "while :; do :; done");
    assert!(has(&late, "status:TO") && has(&late, "killed:1"), "{late}");
    let large = meta("--memory 32M", "bomb memory");
    assert!(
        has(&large, "killed:1") && large.contains("cg-mem:"),
        "{large}"
    );
    let failed = meta("--bind /no/such/source /home", "true");
    assert!(
        has(&failed, "status:XX") && !failed.contains("exitcode"),
        "{failed}"
    );
}
