//! Layers that take what a command changes of its root: what the command sees, what the host
//! sees, and what is told and applied afterwards, held against the same commands in a root that
//! they may write to.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a surprise ends the test"
)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use sandboxlib::{Error, Feature, Ids, Overlay, Prepared, Root, Sandbox};
use sandboxlib_tests::{Done, RunSandbox, TinyRoot, run_sandbox, skip};
use serde_json::Value;
use tempfile::TempDir;

/// What is in a tree: what it is, its permissions, its owner, its content.
fn listing(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut seen = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let m = fs::symlink_metadata(&path).unwrap();
            let about = format!("{:o} {}:{}", m.mode(), m.uid(), m.gid());
            let text = if m.is_dir() {
                todo.push(path.clone());
                about
            } else if m.is_symlink() {
                format!("-> {}", fs::read_link(&path).unwrap().display())
            } else if path.ends_with("bin/busybox") {
                about
            } else {
                format!(
                    "{about} {:?}",
                    String::from_utf8_lossy(&fs::read(&path).unwrap())
                )
            };
            seen.insert(path.strip_prefix(root).unwrap().to_owned(), text);
        }
    }
    seen
}

/// A root with a few files that can be changed.
fn root() -> Option<TinyRoot> {
    let root = TinyRoot::new()?;
    for (name, content) in [
        ("etc/one", "one\n"),
        ("etc/two", "two\n"),
        ("var/d/a", "a\n"),
        ("var/d/e/b", "b\n"),
        ("home/c", "c\n"),
    ] {
        fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
        fs::write(root.join(name), content).unwrap();
    }
    symlink("one", root.join("etc/link")).unwrap();
    Some(root)
}

/// Whether overlays are to be had here without privilege; otherwise says that the test is skipped.
fn kernel(major: u32, minor: u32) -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map_while(|n| n.parse().ok());
    let found: (u32, u32) = (numbers.next().unwrap(), numbers.next().unwrap());
    if found < (major, minor) {
        skip(&format!("Linux {release} is older than {major}.{minor}"));
    }
    found >= (major, minor)
}

#[track_caller]
fn ok(done: &Done) -> &Done {
    assert!(
        done.status.success(),
        "{}\n{}{}",
        done.status,
        done.out,
        done.err
    );
    done
}

/// As root inside, who may change everything, whoever runs the test.
fn shell(options: &str, root: &Path, script: &str) -> RunSandbox {
    RunSandbox::new(root)
        .options("--root")
        .options(options)
        .command(&[&"sh", &"-euc", &script])
}

#[test]
fn changes_are_seen_inside_and_gone_afterwards() {
    let Some(root) = root() else { return };
    if !kernel(6, 6) {
        return;
    }
    let before = listing(root.path());
    let script = "echo new >/etc/new; rm /etc/one; echo more >>/etc/two; rm -r /var/d; mkdir /var/d; \
                  echo x >/var/d/x; chmod 700 /home; mkdir /top; mv /home/c /top/c; \
                  cat /etc/new /etc/two /top/c; ls /etc; ls /var/d; stat -c %a /home";
    let done = shell("--overlay", root.path(), script).run();
    assert_eq!(ok(&done).out, "new\ntwo\nmore\nc\nlink\nnew\ntwo\nx\n700\n");
    assert_eq!(listing(root.path()), before);
    // Each run has a layer of its own.
    let done = shell("--overlay", root.path(), "cat /etc/one; test ! -e /top").run();
    assert_eq!(ok(&done).out, "one\n");
}

fn report(dir: &Path) -> Value {
    serde_json::from_slice(&fs::read(dir.join("report")).unwrap()).unwrap()
}

/// The changes of a report, each as its word and path.
fn told(report: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let list = report["changes"].as_array().unwrap();
    list.iter()
        .map(|c| (text(&c["change"]), text(&c["path"])))
        .collect()
}

#[test]
fn changes_are_listed() {
    let Some(root) = root() else { return };
    if !kernel(5, 11) {
        return;
    }
    let dir = TempDir::new().unwrap();
    let before = listing(root.path());
    let script = "echo new >/etc/new; rm /etc/one; echo more >>/etc/two; chmod 600 /home/c; \
                  mkdir -p /var/n/m; echo x >/var/n/m/x; rm -r /var/d/e; : >>/var/d/a";
    let done = run_keeping(dir.path(), root.path(), "", script);
    let expected = [
        ("added", "/etc/new"),
        ("deleted", "/etc/one"),
        ("modified", "/etc/two"),
        ("modified", "/home/c"),
        ("deleted", "/var/d/e"),
        ("added", "/var/n"),
        ("added", "/var/n/m"),
        ("added", "/var/n/m/x"),
    ];
    let owned = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
    let expected: Vec<_> = expected.iter().map(owned).collect();
    assert_eq!(told(&report(dir.path())), expected);
    let signs = |kind: &str| match kind {
        "added" => "+",
        "modified" => "~",
        _ => "-",
    };
    for (kind, path) in &expected {
        let line = format!("run-sandbox: {} {path}\n", signs(kind));
        assert!(done.err.contains(&line), "{line}{}", done.err);
    }
    assert_eq!(done.err.lines().count(), expected.len(), "{}", done.err);
    assert_eq!(listing(root.path()), before);

    // The next run goes on from there.
    run_keeping(
        dir.path(),
        root.path(),
        "",
        "cat /etc/new; test ! -e /etc/one; rm -r /var/n",
    );
    assert_eq!(told(&report(dir.path())), expected[..5]);
}

/// Runs `script` with the changes kept below `dir`.
#[track_caller]
fn run_keeping(dir: &Path, root: &Path, options: &str, script: &str) -> Done {
    let done = RunSandbox::new(root)
        .options("--root")
        .option("--overlay-changes", &[&dir.join("changes")])
        .option("--report", &[&dir.join("report")])
        .options(options)
        .command(&[&"sh", &"-euc", &script])
        .run();
    ok(&done);
    done
}

#[test]
fn mount_points_are_no_changes() {
    let Some(root) = root() else { return };
    if !kernel(5, 11) {
        return;
    }
    let dir = TempDir::new().unwrap();
    let options = "--tmpfs /new/deep --dir /made --dir /filled --ro-bind /etc/passwd /etc/sub/file";
    run_keeping(
        dir.path(),
        root.path(),
        options,
        "echo x >/new/deep/x; echo x >/filled/x",
    );
    let expected = [("added", "/filled"), ("added", "/filled/x")];
    let found = told(&report(dir.path()));
    assert_eq!(found, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    assert!(!dir.path().join("changes/upper/new").exists());
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp")
        .arg("-a")
        .arg(from)
        .arg(to)
        .status()
        .unwrap();
    assert!(status.success());
}

fn apply(changes: &Path, target: &Path) -> std::process::Output {
    Command::new(run_sandbox())
        .arg("--apply")
        .arg(changes)
        .arg(target)
        .output()
        .unwrap()
}

#[test]
fn what_is_applied_is_what_a_writable_root_would_be() {
    let Some(root) = root() else { return };
    if !kernel(5, 11) {
        return;
    }
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |most: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % 1_000_003).unwrap() % most
    };
    let places = [
        "/etc/one",
        "/etc/two",
        "/etc/link",
        "/var/d",
        "/var/d/a",
        "/var/d/e",
        "/var/d/e/b",
        "/home",
        "/home/c",
        "/n",
        "/n/m",
        "/etc/new",
        "/var/d/new",
    ];
    let mut changed = 0;
    let rounds = std::env::var("SANDBOXLIB_ROUNDS").map_or(12, |text| text.parse().unwrap());
    for round in 0..rounds {
        let mut script = String::new();
        for _ in 0..1 + random(12) {
            let (a, b) = (places[random(places.len())], places[random(places.len())]);
            script += "{ ";
            script += &match random(9) {
                0 => format!("echo {round} >>{a}"),
                1 => format!("rm -rf {a}"),
                2 => format!("rm -rf {a}; mkdir {a}"),
                3 => format!("mkdir -p {a}"),
                4 => format!("rm -rf {a}; ln -s {b} {a}"),
                5 => format!("chmod 71{} {a}", random(8)),
                6 => format!("test -L {a} || mv {a} {b}"),
                7 => format!("rm -rf {a}; echo file >{a}"),
                _ => format!("mkdir -p {a}; echo in >{a}/in{round}"),
            };
            script += "; } 2>/dev/null || :\n";
        }
        let dir = TempDir::new().unwrap();
        let (plain, target) = (dir.path().join("plain"), dir.path().join("target"));
        copy(root.path(), &plain);
        copy(root.path(), &target);
        ok(&shell("", &plain, &script).run());
        run_keeping(dir.path(), &target, "", &script);
        assert_eq!(listing(&target), listing(root.path()), "{script}");
        let list = told(&report(dir.path()));
        changed += list.len();
        let changes = dir.path().join("changes");
        let output = apply(&changes, &target);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(listing(&target), listing(&plain), "{script}\n{list:?}");
        let lines = String::from_utf8_lossy(&output.stdout).lines().count();
        assert_eq!(lines, list.len(), "{list:?}\n{output:?}");
        // It can be done again, and then there is nothing to do.
        assert!(apply(&changes, &target).status.success());
        assert_eq!(listing(&target), listing(&plain), "{script}");
    }
    assert!(changed > 20, "the scripts changed next to nothing");
}

#[test]
fn links_in_the_target_are_not_followed() {
    let Some(root) = root() else { return };
    if !kernel(5, 11) {
        return;
    }
    let dir = TempDir::new().unwrap();
    let outside = dir.path().join("outside");
    fs::create_dir_all(outside.join("e")).unwrap();
    fs::write(outside.join("a"), "canary").unwrap();
    let before = listing(&outside);
    let script = "echo new >/var/d/a; echo new >/var/d/e/new; rm /etc/one; echo new >/etc/two";
    run_keeping(dir.path(), root.path(), "", script);
    let target = dir.path().join("target");
    copy(root.path(), &target);
    fs::remove_dir_all(target.join("var/d")).unwrap();
    symlink(&outside, target.join("var/d")).unwrap();
    fs::remove_file(target.join("etc/two")).unwrap();
    symlink(outside.join("a"), target.join("etc/two")).unwrap();
    let output = apply(&dir.path().join("changes"), &target);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(listing(&outside), before);
    assert!(fs::symlink_metadata(target.join("var/d")).unwrap().is_dir());
    assert_eq!(fs::read_to_string(target.join("var/d/a")).unwrap(), "new\n");
    assert_eq!(fs::read_to_string(target.join("etc/two")).unwrap(), "new\n");
}

#[test]
fn what_the_command_leaves_closed_is_looked_through() {
    let Some(root) = root() else { return };
    if !kernel(5, 11) {
        return;
    }
    let dir = TempDir::new().unwrap();
    let script = "mkdir /etc/shut; echo x >/etc/shut/f; chmod 0 /etc/shut/f /etc/shut";
    run_keeping(dir.path(), root.path(), "", script);
    let list = told(&report(dir.path()));
    assert_eq!(list.len(), 2, "{list:?}");
    let shut = dir.path().join("changes/upper/etc/shut");
    assert_eq!(fs::metadata(&shut).unwrap().mode() & 0o7777, 0);
    let target = dir.path().join("target");
    copy(root.path(), &target);
    assert!(apply(&dir.path().join("changes"), &target).status.success());
    let made = target.join("etc/shut");
    assert_eq!(fs::metadata(&made).unwrap().mode() & 0o7777, 0);
    fs::set_permissions(&made, fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(fs::metadata(made.join("f")).unwrap().mode() & 0o7777, 0);
    // So that they can be removed.
    fs::set_permissions(&shut, fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn what_is_writable_is_changed_itself() {
    let Some(root) = root() else { return };
    if !kernel(6, 6) {
        return;
    }
    let script = "echo w >/var/d/w; echo o >/etc/o; cat /var/d/w /etc/o";
    let done = shell("--overlay --writable /var/d", root.path(), script).run();
    assert_eq!(ok(&done).out, "w\no\n");
    assert_eq!(fs::read_to_string(root.join("var/d/w")).unwrap(), "w\n");
    assert!(!root.join("etc/o").exists());
    for options in ["--overlay --writable /", "--overlay --read-only"] {
        let done = shell(options, root.path(), "true").run();
        assert_eq!(done.status.code(), Some(125), "{options}: {}", done.err);
    }
}

#[test]
fn nobody_is_reached_through_a_socket_below_a_layer() {
    let Some(root) = root() else { return };
    if !kernel(6, 6) {
        return;
    }
    if !Path::new("/usr/bin/perl").exists() || !Path::new("/lib").is_symlink() {
        skip("no perl on this host, or no merged /usr");
        return;
    }
    // Perl has its libraries through the links that the host has.
    for name in ["lib", "lib64"] {
        if let Ok(target) = fs::read_link(Path::new("/").join(name)) {
            symlink(target, root.join(name)).unwrap();
        }
    }
    let listener = UnixListener::bind(root.join("run/s")).unwrap();
    fs::set_permissions(root.join("run/s"), fs::Permissions::from_mode(0o777)).unwrap();
    let perl = "use Socket; socket(my $s, AF_UNIX, SOCK_STREAM, 0) or die; \
                print connect($s, pack_sockaddr_un('/run/s')) ? 'open' : \"$!\"";
    let connect = |options: &str| {
        RunSandbox::new(root.path())
            .options("--ro-bind /usr /usr")
            .options(options)
            .command(&[&"/usr/bin/perl", &"-e", &perl])
            .run()
    };
    assert_eq!(ok(&connect("--overlay")).out, "Connection refused");
    // It is the layer: nobody else is in the way.
    assert_eq!(ok(&connect("")).out, "open");
    assert_eq!(ok(&connect("--overlay --allow-socket /run/s")).out, "open");
    assert_eq!(ok(&connect("--overlay --allow-socket /run")).out, "open");
    drop(listener);
}

#[test]
fn landlock_stands_behind_it() {
    let Some(root) = root() else { return };
    if !kernel(6, 6) {
        return;
    }
    let dir = TempDir::new().unwrap();
    run_keeping(
        dir.path(),
        root.path(),
        "",
        "echo x >/etc/x; mkdir /y; mv /etc/x /y/x",
    );
    let report = report(dir.path());
    let covers = report["landlock"]["covers"].as_array().unwrap();
    assert!(covers.contains(&"files".into()), "{report}");
    let enforced = report["enforced"].as_array().unwrap();
    assert!(enforced.contains(&"overlay".into()), "{report}");
}

#[test]
fn the_hosts_root_has_layers_beside_what_is_mounted_in_it() {
    let Some(_) = root() else { return };
    if !kernel(6, 6) {
        return;
    }
    let name = format!("sandboxlib-test-{}", std::process::id());
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    // Whoever is not root on the host may change nothing of /usr, in a layer either.
    let script = match is_root {
        true => format!("touch /usr/{name} /etc/{name}; ls /usr/{name} /etc/{name}"),
        false => "cat /etc/hostname >/dev/null; ls -d /usr".to_owned(),
    };
    let done = shell("--overlay", Path::new("/"), &script).run();
    let expected = match is_root {
        true => format!("/etc/{name}\n/usr/{name}\n"),
        false => "/usr\n".to_owned(),
    };
    let mut lines: Vec<&str> = ok(&done).out.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines.join("\n") + "\n", expected);
    for dir in ["/usr", "/etc"] {
        assert!(!Path::new(dir).join(&name).exists());
    }
}

#[test]
fn every_backend_has_it_or_says_why_not() {
    let Some(root) = root() else { return };
    if !kernel(6, 6) {
        return;
    }
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    if is_root {
        let less = "--overlay --backend chroot --prefer all";
        let done = shell(less, root.path(), "echo x >/etc/x; cat /etc/x").run();
        assert_eq!(ok(&done).out, "x\n");
        assert!(!root.join("etc/x").exists());
    }
    let done = shell("--overlay --backend bubblewrap", root.path(), "true").run();
    assert_eq!(done.status.code(), Some(125));
    assert!(
        done.err.contains("overlay cannot be enforced"),
        "{}",
        done.err
    );
    // Where less will do, nothing is changed: there is no layer, and the root is not meant.
    let done = shell(
        "--overlay --backend bubblewrap --prefer overlay",
        root.path(),
        "touch /etc/x || echo refused",
    );
    let done = done.run();
    if done.err.contains("is not installed") {
        skip("no bwrap (package bubblewrap)");
        return;
    }
    assert_eq!(ok(&done).out, "refused\n");
    assert!(!root.join("etc/x").exists());
}

#[test]
fn a_layer_in_memory_counts_as_memory() {
    let Some(root) = root() else { return };
    if !kernel(6, 6) {
        return;
    }
    let dir = TempDir::new().unwrap();
    let done = shell(
        "--overlay --memory 64M",
        root.path(),
        "dd if=/dev/zero of=/big bs=1048576 count=400; sleep 5",
    );
    let done = done.option("--report", &[&dir.path().join("report")]).run();
    assert!(!done.status.success());
    assert_eq!(report(dir.path())["limit"], "memory", "{}", done.err);
}

#[test]
fn the_library_has_the_same() {
    let Some(root) = root() else { return };
    if !kernel(6, 6) {
        return;
    }
    let dir = TempDir::new().unwrap();
    let sandbox = |overlay: Overlay| {
        Sandbox::new(Root::Dir(root.path().into()))
            .usual_mounts()
            .ids(Ids::ROOT)
            .backends(["userns"])
            .overlay(overlay)
            .prepare()
            .unwrap()
    };
    let change = |prepared: &Prepared| {
        let script = "echo new >/etc/new; rm /etc/one; cat /etc/new";
        let output = prepared
            .command("sh")
            .args(["-c", script])
            .output()
            .unwrap();
        assert_eq!(output.stdout, b"new\n");
    };
    let discarding = sandbox(Overlay::Discard);
    for _ in 0..2 {
        change(&discarding);
    }
    assert!(matches!(discarding.changes(), Err(Error::Config { .. })));
    let keeping = sandbox(Overlay::Keep(dir.path().into()));
    assert!(keeping.enforcement().enforced.contains(Feature::Overlay));
    change(&keeping);
    let changes = keeping.changes().unwrap();
    let list: Vec<String> = changes
        .list()
        .iter()
        .map(|change| format!("{} {}", change.kind.name(), change.path.display()))
        .collect();
    assert_eq!(list, ["added etc/new", "deleted etc/one"]);
    assert!(root.join("etc/one").exists());
    changes.apply(root.path()).unwrap();
    assert!(!root.join("etc/one").exists() && root.join("etc/new").exists());
    assert!(keeping.changes().unwrap().list().is_empty());
    let missing = Overlay::Keep(dir.path().join("missing"));
    let refused = Sandbox::new(Root::Dir(root.path().into()))
        .overlay(missing)
        .prepare();
    assert!(matches!(refused, Err(Error::Plan { .. })), "{refused:?}");
}
