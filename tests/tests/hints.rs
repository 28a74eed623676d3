//! Causes of refusal that can be made to happen here, and what run-sandbox says to each.
//!
//! Each cause is set up around run-sandbox by util-linux's unshare, prlimit and setpriv, in
//! namespaces of its own, so nothing of the machine is changed.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a surprise ends the test"
)]

use std::fs;
use std::process::{Command, Stdio};

use sandboxlib_tests::{Filter, RunSandbox, TinyRoot, install, run_sandbox};

/// What a shell script prints, in which `$R` is run-sandbox and `$ROOT` a tiny root, and its
/// exit status.
fn told(root: &TinyRoot, script: &str) -> (Option<i32>, String) {
    let output = Command::new("sh")
        .args(["-c", script])
        .env("R", run_sandbox())
        .env("ROOT", root.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.stdout.windows(3).any(|w| w == b"ran"),
        "it ran: {text}"
    );
    (output.status.code(), text)
}

#[track_caller]
fn says(root: &TinyRoot, script: &str, status: i32, words: &[&str]) {
    let (code, text) = told(root, script);
    assert_eq!(code, Some(status), "{script}: {text}");
    for word in words {
        assert!(text.contains(word), "{script}: no {word:?} in: {text}");
    }
    assert!(text.contains("hint: "), "{script}: no hint in: {text}");
}

fn is_root() -> bool {
    sandboxlib::spawn::caller_ids().0 == 0
}

#[test]
fn namespaces_switched_off_name_their_sysctl() {
    let Some(root) = TinyRoot::new() else { return };
    says(
        &root,
        "unshare -Ur sh -c 'echo 0 >/proc/sys/user/max_user_namespaces; \
         exec setpriv --bounding-set=-all --inh-caps=-all $R --uid 7 $ROOT echo ran'",
        125,
        &["user.max_user_namespaces"],
    );
    for kind in ["pid", "net", "ipc", "uts", "cgroup", "mnt"] {
        let script = format!(
            "unshare -Ur sh -c 'echo 0 >/proc/sys/user/max_{kind}_namespaces; \
             exec $R $ROOT echo ran'"
        );
        says(
            &root,
            &script,
            125,
            &[&format!("user.max_{kind}_namespaces")],
        );
    }
}

#[test]
fn namespaces_nested_too_deep_are_told() {
    let Some(root) = TinyRoot::new() else { return };
    // The kernel allows 33 levels; the innermost has no more to give.
    let script = "nest() { if [ $1 = 0 ]; then exec $R $ROOT echo ran; fi; \
                  exec unshare -Ur sh -c \"$(cat $ROOT/nest)\" sh $(($1 - 1)); }; nest $1";
    fs::write(root.join("nest"), script).unwrap();
    let (code, text) = told(&root, "sh -c \"$(cat $ROOT/nest)\" sh 33");
    assert_eq!(code, Some(125), "{text}");
    assert!(text.contains("nest"), "{text}");
}

#[test]
fn a_procfs_that_is_covered_is_too_revealing() {
    let Some(root) = TinyRoot::new() else { return };
    says(
        &root,
        "unshare -Urmpf --mount-proc sh -c 'mount -t tmpfs t /proc/sys; \
         exec $R $ROOT echo ran'",
        125,
        &["/proc"],
    );
}

#[test]
fn no_processes_left_to_have_is_told() {
    let Some(root) = TinyRoot::new() else { return };
    if is_root() {
        // The limit does not hold for root, so it becomes somebody else.
        let (code, _) = told(&root, "setpriv --reuid 65534 --clear-groups test -x $R");
        if code != Some(0) {
            // The other half of `cargo xtask test` runs this as an ordinary user.
            return;
        }
        says(
            &root,
            "setpriv --reuid 65534 --regid 65534 --clear-groups prlimit --nproc=1 $R $ROOT echo ran",
            125,
            &["ulimit -u"],
        );
    } else {
        says(
            &root,
            "prlimit --nproc=1 $R $ROOT echo ran",
            125,
            &["ulimit -u"],
        );
    }
}

#[test]
fn what_is_wrong_with_a_command_is_told_apart() {
    let Some(root) = TinyRoot::new() else { return };
    let program = |name: &str, content: &[u8], mode: u32| {
        install(content, &root.join("bin").join(name), mode);
    };
    program("script", b"#!/no/such/perl -w\n", 0o755);
    program("windows", b"#!/bin/sh\r\necho ran\r\n", 0o755);
    program("plain", b"echo ran\n", 0o644);
    program("text", b"hello", 0o755);
    let mut foreign = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xb7\0\x01\0\0\0".to_vec();
    foreign.resize(224, 0);
    if cfg!(target_arch = "x86_64") {
        program("foreign", &foreign, 0o755);
        says(&root, "$R $ROOT foreign", 126, &["aarch64"]);
    }
    let dynamic = fs::read("/bin/true").unwrap();
    program("dynamic", &dynamic, 0o755);
    let loader = if cfg!(target_arch = "x86_64") {
        "/lib64/ld-linux"
    } else {
        "/lib/ld-"
    };
    says(
        &root,
        "$R $ROOT dynamic",
        126,
        &["loader", loader, "missing"],
    );
    says(
        &root,
        "$R $ROOT script",
        126,
        &["interpreter", "/no/such/perl", "missing"],
    );
    says(&root, "$R $ROOT windows", 126, &["interpreter", "/bin/sh"]);
    says(&root, "$R $ROOT /bin/plain", 126, &["Permission denied"]);
    says(
        &root,
        "$R $ROOT text",
        126,
        &["no program for this machine"],
    );
    says(&root, "$R $ROOT no-such-command", 127, &["no-such-command"]);
    says(
        &root,
        "$R --cwd /no/such/place $ROOT echo ran",
        125,
        &["/no/such/place"],
    );
}

#[test]
fn a_root_on_a_noexec_mount_is_told() {
    let Some(root) = TinyRoot::new() else { return };
    says(
        &root,
        "unshare -Urm sh -c 'mount -t tmpfs -o noexec t /mnt && cp -r $ROOT/. /mnt/ && \
         exec $R --read-only /mnt echo ran'",
        126,
        &["noexec"],
    );
}

#[test]
fn subordinate_ids_that_nobody_granted_are_told() {
    let Some(root) = TinyRoot::new() else { return };
    if is_root() {
        // Root needs no grant, whoever it is on this host.
        let done = RunSandbox::new(root.path()).options("--map-subordinate --read-only");
        assert_eq!(done.sh("id -u").good(), "0");
        return;
    }
    says(
        &root,
        "unshare -cm --keep-caps sh -c 'mount --bind /dev/null /etc/subuid && \
         exec setpriv --inh-caps=-all --ambient-caps=-all $R --map-subordinate $ROOT echo ran'",
        125,
        &["subordinate"],
    );
}

#[test]
fn a_filter_as_container_engines_have_it_is_told() {
    let Some(root) = TinyRoot::new() else { return };
    let Some(filter) = Filter::build() else {
        return;
    };
    let line = format!("{} $R $ROOT echo ran", filter.path().display());
    says(&root, &line, 125, &["seccomp"]);
    // Without this call nothing can be started at all, and it is known before.
    let line = format!(
        "{} --no-close-range $R $ROOT echo ran",
        filter.path().display()
    );
    says(&root, &line, 125, &["seccomp", "close_range"]);
}
