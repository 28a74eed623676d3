//! Which files a command sees, which it can change, and that the host's stay as they are.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a surprise ends the test"
)]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use sandboxlib_tests::snapshot::Snapshot;
use sandboxlib_tests::{RunSandbox, TinyRoot};

fn read_only(root: &TinyRoot) -> RunSandbox {
    RunSandbox::new(root.path()).options("--read-only")
}

fn canary() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(dir.path().join("file"), "canary").unwrap();
    fs::create_dir(dir.path().join("dir")).unwrap();
    dir
}

#[test]
fn a_directory_is_writable_unless_it_is_read_only() {
    let Some(root) = TinyRoot::new() else { return };
    assert!(
        RunSandbox::new(root.path())
            .sh("echo x > /etc/new")
            .status
            .success()
    );
    assert_eq!(fs::read_to_string(root.join("etc/new")).unwrap(), "x\n");
    let before = Snapshot::of(&[root.path()]);
    for options in ["", "--root"] {
        let done = read_only(&root)
            .options(options)
            .sh("echo y > /etc/new; rm /etc/new; mkdir /a");
        assert!(!done.status.success(), "{done:#?}");
        assert_eq!(
            done.err.matches("Read-only file system").count(),
            3,
            "{done:#?}"
        );
    }
    assert_eq!(before.differences(&Snapshot::of(&[root.path()])), [""; 0]);
}

#[test]
fn temporary_places_are_writable_and_private() {
    let Some(root) = TinyRoot::new() else { return };
    fs::write(root.join("tmp/hosts"), "").unwrap();
    let before = Snapshot::of(&[root.path()]);
    let done = read_only(&root)
        .sh("set -e; ls -A /tmp; echo x > /tmp/x; echo y > /dev/shm/y; cat /tmp/x /dev/shm/y");
    assert_eq!(done.good(), "x\ny");
    assert_eq!(before.differences(&Snapshot::of(&[root.path()])), [""; 0]);
}

#[test]
fn writable_paths_are_writable_and_nothing_else_is() {
    let Some(root) = TinyRoot::new() else { return };
    fs::create_dir_all(root.join("work/sub")).unwrap();
    let done = read_only(&root)
        .options("--writable /work")
        .sh("echo x > /work/sub/new; touch /etc/new; touch /worknot");
    assert!(!done.status.success());
    assert_eq!(done.err.matches("Read-only").count(), 2, "{done:#?}");
    assert_eq!(
        fs::read_to_string(root.join("work/sub/new")).unwrap(),
        "x\n"
    );
    assert!(!root.join("etc/new").exists());
}

#[test]
fn binds_are_writable_or_read_only_as_said() {
    let Some(root) = TinyRoot::new() else { return };
    let (one, two) = (canary(), canary());
    let done = read_only(&root)
        .option("--bind", &[&one.path(), &"/home"])
        .option("--ro-bind", &[&two.path(), &"/run"])
        .sh("cat /home/file /run/file; echo new > /home/new; echo new > /run/new");
    assert!(!done.status.success());
    assert_eq!(done.out, "canarycanary");
    assert_eq!(done.err.matches("Read-only").count(), 1, "{done:#?}");
    assert!(one.path().join("new").exists() && !two.path().join("new").exists());

    let file = one.path().join("file");
    let done = read_only(&root)
        .option("--ro-bind", &[&file, &"/etc/file"])
        .sh("cat /etc/file");
    assert_eq!(done.good(), "canary");
}

#[test]
fn a_relative_source_is_relative_to_the_caller() {
    let Some(root) = TinyRoot::new() else { return };
    let dir = canary();
    let mut line = read_only(&root)
        .option("--bind", &[&"dir/../file", &"/etc/file"])
        .command(&[&"cat", &"/etc/file"])
        .line();
    let output = line.current_dir(dir.path()).output().unwrap();
    assert_eq!(output.stdout, b"canary", "{output:?}");
}

#[test]
fn masked_paths_refuse_even_root() {
    let Some(root) = TinyRoot::new() else { return };
    fs::write(root.join("etc/secret"), "secret").unwrap();
    fs::create_dir(root.join("home/dir")).unwrap();
    fs::write(root.join("home/dir/secret"), "secret").unwrap();
    let before = Snapshot::of(&[root.path()]);
    for options in ["", "--root"] {
        let masked = || {
            read_only(&root)
                .options(options)
                .options("--mask /etc/secret --mask /home/dir --mask /etc/absent")
        };
        for attempt in [
            "cat /etc/secret",
            "cat /home/dir/secret",
            "ls /home/dir",
            "cat /etc/absent",
            "echo x > /etc/absent",
            "cd /home/dir",
        ] {
            let done = masked().sh(attempt);
            assert!(!done.status.success(), "{options} {attempt}: {done:#?}");
            assert!(
                done.err.contains("Permission denied"),
                "{options} {attempt}: {done:#?}"
            );
        }
        let done = masked().sh(
            "chmod 777 /etc/secret /home/dir; umount /etc/secret; umount /home/dir; \
             cat /etc/secret /home/dir/secret",
        );
        assert!(
            !done.out.contains("secret") && !done.status.success(),
            "{options} {done:#?}"
        );
    }
    assert_eq!(before.differences(&Snapshot::of(&[root.path()])), [""; 0]);
}

#[test]
fn a_missing_mount_point_appears_inside_alone() {
    let Some(root) = TinyRoot::new() else { return };
    let source = canary();
    fs::write(root.join("etc/sibling"), "sibling").unwrap();
    let before = Snapshot::of(&[root.path()]);
    let done = read_only(&root)
        .option("--bind", &[&source.path(), &"/a/b/c"])
        .option("--ro-bind", &[&source.path().join("file"), &"/etc/new"])
        .options("--dir /d --symlink a/b /link --tmpfs /t/t")
        .sh(
            "set -e; cat /a/b/c/file /etc/new /etc/sibling /link/c/file; test -d /d; \
             echo x > /t/t/x; readlink /link; readlink /var/run; test -x /bin/sh",
        );
    assert_eq!(done.good(), "canarycanarysiblingcanarya/b\n/run");
    for attempt in [
        "echo x > /a/x",
        "echo x > /etc/x",
        "echo x > /x",
        "rm /etc/sibling",
    ] {
        let done = read_only(&root)
            .option("--bind", &[&source.path(), &"/a/b/c"])
            .option("--ro-bind", &[&source.path().join("file"), &"/etc/new"])
            .sh(attempt);
        assert!(
            !done.status.success(),
            "what was made for a mount is read-only: {attempt}"
        );
    }
    assert_eq!(before.differences(&Snapshot::of(&[root.path()])), [""; 0]);
}

#[test]
fn a_mount_point_below_a_writable_parent_is_made_and_reported() {
    let Some(root) = TinyRoot::new() else { return };
    let source = canary();
    let report = source.path().join("report");
    let done = RunSandbox::new(root.path())
        .option("--ro-bind", &[&source.path(), &"/made/here"])
        .option("--report", &[&report])
        .sh("cat /made/here/file");
    assert_eq!(done.good(), "canary");
    assert!(root.join("made/here").is_dir());
    let report = fs::read_to_string(report).unwrap();
    assert!(report.contains("/made"), "{report}");
}

#[test]
fn symbolic_links_of_the_root_stay_in_the_root() {
    let Some(root) = TinyRoot::new() else { return };
    let (outside, source) = (canary(), canary());
    symlink(outside.path(), root.join("escape")).unwrap();
    symlink("../../../../../../../../run", root.join("home/up")).unwrap();
    // The same path exists in the root, and is what the link means there.
    let twin = root.join(outside.path().to_str().unwrap());
    fs::create_dir_all(&twin).unwrap();
    let before = Snapshot::of(&[outside.path()]);
    let done = read_only(&root)
        .option("--bind", &[&source.path(), &"/var/run"])
        .sh("cat /run/file /var/run/file");
    assert_eq!(done.good(), "canarycanary");
    let done = read_only(&root)
        .options("--bare")
        .option("--bind", &[&source.path(), &"/escape"])
        .option("--tmpfs", &[&"/home/up"])
        .sh("ls /escape/; echo x > /run/x; echo x > /escape/new");
    assert_eq!(words(done.good()), ["dir", "file"]);
    assert!(source.path().join("new").exists());
    let done = RunSandbox::new(root.path())
        .options("--bare")
        .option("--bind", &[&source.path(), &"/escape/made"])
        .sh("cat /escape/made/file");
    assert_eq!(done.good(), "canary");
    assert_eq!(
        before.differences(&Snapshot::of(&[outside.path()])),
        [""; 0]
    );
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

#[test]
fn files_links_and_directories_of_the_sandboxs_own() {
    let Some(root) = TinyRoot::new() else { return };
    let data = canary();
    let done = read_only(&root)
        .option("--file", &[&data.path().join("file"), &"/etc/data"])
        .options("--symlink ../etc/data /home/link --dir /home/new")
        .sh("cat /etc/data /home/link; test -d /home/new; echo x > /etc/data");
    assert_eq!(done.out, "canarycanary", "{done:#?}");
    assert!(!done.status.success(), "a file from data is read-only");
    assert_eq!(
        fs::read_to_string(data.path().join("file")).unwrap(),
        "canary"
    );
    assert!(fs::symlink_metadata(root.join("home/link")).is_err());
}

#[test]
fn mounts_apply_in_the_order_given() {
    let Some(root) = TinyRoot::new() else { return };
    let source = canary();
    let later = read_only(&root)
        .options("--tmpfs /home")
        .option("--bind", &[&source.path(), &"/home/inner"])
        .sh("cat /home/inner/file; echo x > /home/x");
    assert_eq!(later.good(), "canary");
    let hides = |cover: &str| {
        read_only(&root)
            .option("--bind", &[&source.path(), &"/home/inner"])
            .options(cover)
            .options("--tmpfs /home")
            .sh("echo ran; ls /home")
    };
    let refused = hides("");
    refused.refused(&["/home"]);
    assert_eq!(refused.out, "", "nothing was run");
    assert_eq!(hides("--cover").good(), "ran");
}

#[test]
fn any_name_works_everywhere() {
    let Some(root) = TinyRoot::new() else { return };
    let odd = OsStr::from_bytes(b"a b\nc'd\"e:f\\g,h=\xff\xfe$x*");
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join(odd);
    fs::rename(root.path(), &place).unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let source = dir.path().join("source").join(odd);
    fs::create_dir_all(&source).unwrap();
    fs::write(source.join("file"), "odd").unwrap();
    let inside = Path::new("/m").join(odd);
    let mut assignment = OsStr::new("ODD=").to_owned();
    assignment.push(odd);
    let done = RunSandbox::new(&place)
        .options("--read-only")
        .option("--bind", &[&source, &inside])
        .option("--tmpfs", &[&Path::new("/t").join(odd)])
        .option("--mask", &[&Path::new("/k").join(odd)])
        .option(
            "--file",
            &[&source.join("file"), &Path::new("/f").join(odd)],
        )
        .option("--symlink", &[&odd, &Path::new("/s").join(odd)])
        .option("--dir", &[&Path::new("/d").join(odd)])
        .option("--cwd", &[&inside])
        .option("--env", &[&assignment])
        .command(&[
            &"sh",
            &"-c",
            &"set -e; cat file \"/f/$ODD\"; test \"$ODD\" = \"$1\"; test -d \"/d/$1\"; \
              test -d \"/t/$1\"; ! cat \"/k/$1\" 2>/dev/null; readlink \"/s/$1\"; pwd",
            &"sh",
            &odd,
        ])
        .run();
    assert!(done.status.success(), "{done:#?}");
    let mut wanted = b"oddodd".to_vec();
    for line in [odd, inside.as_os_str()] {
        wanted.extend(line.as_bytes());
        wanted.push(b'\n');
    }
    assert_eq!(OsStr::from_bytes(&done.bytes), OsStr::from_bytes(&wanted));
}

#[test]
fn explaining_changes_and_runs_nothing() {
    let Some(root) = TinyRoot::new() else { return };
    let source = canary();
    let before = Snapshot::of(&[root.path(), source.path()]);
    for format in ["--explain", "--explain=json"] {
        let done = RunSandbox::new(root.path())
            .options(format)
            .option("--bind", &[&source.path(), &"/made/here"])
            .options("--mask /bin/absent --tmpfs /also/made")
            .options("--prefer mask")
            .sh("echo ran > /etc/ran");
        let plan = done.good();
        assert!(
            plan.contains("/made/here") && plan.contains("/also/made"),
            "{plan}"
        );
        if format.ends_with("json") {
            serde_json::from_str::<serde_json::Value>(plan).unwrap();
        }
    }
    assert_eq!(
        before.differences(&Snapshot::of(&[root.path(), source.path()])),
        [""; 0]
    );
}

/// Ends the other thread, also when this one panics.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn swapping_a_directory_for_a_link_never_leads_out() {
    let Some(root) = TinyRoot::new() else { return };
    let (outside, source) = (canary(), canary());
    let before = Snapshot::of(&[outside.path()]);
    let (place, aside) = (root.join("home/swap"), root.join("home/aside"));
    fs::create_dir_all(place.join("point")).unwrap();
    fs::create_dir(outside.path().join("point")).unwrap();
    let before_point = Snapshot::of(&[outside.path()]);
    assert_ne!(before, before_point);
    let (stop, swaps) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (mut ran, mut refused, mut bound) = (0, 0, 0);
    std::thread::scope(|scope| {
        let _stop = StopOnDrop(&stop);
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                fs::rename(&place, &aside).unwrap();
                // A sandbox may make the directory in between, as its root is writable.
                while symlink(outside.path(), &place).is_err() {
                    let _ = fs::remove_dir_all(&place);
                }
                std::thread::yield_now();
                fs::remove_file(&place).unwrap();
                while fs::rename(&aside, &place).is_err() {
                    let _ = fs::remove_dir_all(&place);
                }
                swaps.fetch_add(1, Ordering::Relaxed);
            }
        });
        for n in 0..300 {
            // An existing mount point, and one that has to be made on the host.
            let target = if n % 2 == 0 {
                "/home/swap/point"
            } else {
                "/home/swap/new"
            };
            let access = if n % 3 == 0 { "--read-only" } else { "" };
            let done = RunSandbox::new(root.path())
                .options(access)
                .option("--bind", &[&source.path(), &target])
                .options("--tmpfs /home/swap/tmpfs")
                .sh("cat /proc/self/mountinfo");
            match done.status.code() {
                Some(0) => ran += 1,
                Some(125) => refused += 1,
                _ => panic!("{done:#?}"),
            }
            // The fourth field is the directory that is shown, as its file system names it.
            let out = outside.path().to_str().unwrap();
            let shown: Vec<_> = done
                .out
                .lines()
                .filter_map(|l| l.split(' ').nth(3))
                .collect();
            assert!(!shown.iter().any(|dir| dir.starts_with(out)), "{done:#?}");
            // Not in every run: removing a mount point takes the mount away everywhere.
            bound += usize::from(shown.contains(&source.path().to_str().unwrap()));
        }
    });
    assert_eq!(
        before_point.differences(&Snapshot::of(&[outside.path()])),
        [""; 0]
    );
    assert!(swaps.into_inner() > 300, "there was a race");
    assert!(
        ran > 0 && bound > 0,
        "{ran} ran, {refused} were refused, {bound} saw the bind"
    );
}

#[test]
fn a_file_system_mounted_below_something_read_only_is_read_only_too() {
    let Some(root) = TinyRoot::new() else { return };
    fs::create_dir(root.join("home/sub")).unwrap();
    let script = "mount -t tmpfs t $ROOT/home/sub && exec $R --read-only \
                  --ro-bind $ROOT/home /etc --bind $ROOT/home /var $ROOT sh -c \
                  'for d in home etc var; do echo x 2>/dev/null >/$d/sub/x && echo $d; done'";
    // In a mount namespace of the test's own, so nothing of it reaches the host.
    let output = std::process::Command::new("unshare")
        .args(["-Urm", "sh", "-c", script])
        .env("R", sandboxlib_tests::run_sandbox())
        .env("ROOT", root.path())
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "var\n",
        "{complaints}"
    );
}
