//! The host's root as a command sees it: without what is somebody's own. Secrets are put where
//! people and programs have them, and looked for from inside.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a surprise ends the test"
)]

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestRunner;
use sandboxlib::{HiddenBy, HiddenPlace, Root, Sandbox, SandboxPath};
use sandboxlib_tests::{Done, RunSandbox, host_can, skip};
use tempfile::TempDir;

const SECRET: &str = "canary of host_root";

fn am_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// The ways to run with the host's root, as options.
fn ways() -> Vec<&'static str> {
    if !host_can() {
        return Vec::new();
    }
    let mut ways = vec!["-e userns"];
    if Path::new("/usr/bin/bwrap").exists() {
        ways.push("-e bubblewrap");
    } else {
        skip("no bwrap (package bubblewrap)");
    }
    if am_root() {
        ways.push("-e chroot --prefer read-only,network,ipc,uts,cgroup");
    }
    ways
}

/// The ordinary user of `cargo xtask test` has a home in /var/tmp, and a home is always there.
const HOME_OF_TESTS: &str = "sandboxlib-test-";

fn is_home_of_tests(name: &str) -> bool {
    name.starts_with(HOME_OF_TESTS)
}

fn host(options: &str) -> RunSandbox {
    RunSandbox::new("/").options(options)
}

/// A directory below `parent`, with a secret in it that everybody may read.
fn secret_in(parent: &Path) -> Option<(TempDir, PathBuf)> {
    let dir = tempfile::Builder::new()
        .prefix("host-root-")
        .tempdir_in(parent)
        .ok()?;
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let secret = dir.path().join("secret");
    fs::write(&secret, SECRET).unwrap();
    Some((dir, secret))
}

/// A directory that the test makes for another user, as logind does, and takes away again.
struct RuntimeDir(PathBuf);

impl RuntimeDir {
    fn new() -> Option<Self> {
        let dir = PathBuf::from(format!("/run/user/{}", 3_900_000_000 + std::process::id()));
        fs::DirBuilder::new()
            .recursive(false)
            .mode(0o755)
            .create(&dir)
            .ok()?;
        Some(Self(dir))
    }
}

impl Drop for RuntimeDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[track_caller]
fn cannot_read(done: &Done, what: &Path) {
    assert!(
        !done.status.success() && !done.out.contains(SECRET),
        "{what:?}: {done:#?}"
    );
}

#[test]
fn what_is_somebodys_own_is_not_there() {
    let homes = sandboxlib::spawn::caller_homes();
    let places = ["/tmp", "/var/tmp", "/dev/shm", "/run", "/var/log", "/home"];
    let places = places.iter().map(PathBuf::from).chain(homes);
    let mut secrets: Vec<_> = places.filter_map(|place| secret_in(&place)).collect();
    assert!(secrets.len() >= 4, "{secrets:?}");
    let runtime = RuntimeDir::new();
    if let Some((inner, secret)) = runtime.as_ref().and_then(|dir| secret_in(&dir.0)) {
        secrets.push((inner, secret));
    } else if am_root() {
        panic!("root makes runtime directories");
    }
    for way in ways() {
        for (dir, secret) in &secrets {
            cannot_read(&host(way).command(&[&"cat", secret]).run(), secret);
            // Nor is it told that it is there.
            let parent = dir.path().parent().unwrap();
            let listed = host(way).command(&[&"ls", &"-A", &parent]).run();
            assert!(!listed.out.contains("host-root-"), "{way}: {listed:#?}");

            let read = host(way).option("--readable", &[secret]);
            assert_eq!(
                read.command(&[&"cat", secret]).run().good(),
                SECRET,
                "{way}"
            );

            // The private /tmp and /dev are there in any case.
            let usual = ["/tmp", "/dev/shm"].map(Path::new);
            let shown = host(way).options("--host-secrets shown");
            if !usual.contains(&parent) {
                assert_eq!(
                    shown.command(&[&"cat", secret]).run().good(),
                    SECRET,
                    "{way}"
                );
            }
        }
    }
}

#[test]
fn a_home_is_hidden_wherever_it_is() {
    if !am_root() {
        // Only root can make a home outside of the usual places. What is no home of anybody's is
        // shown all the same, whatever HOME says.
        for home in ["/", "", "/usr", "relative", "/srv/../etc"] {
            let mut line = host("").command(&[&"ls", &"/usr/bin/env"]).line();
            let output = line.env("HOME", home).output().unwrap();
            assert_eq!(output.stdout, b"/usr/bin/env\n", "{home}");
        }
        return;
    }
    let (dir, secret) = secret_in(Path::new("/srv")).unwrap();
    for way in ways() {
        let cat = |home: &Path| {
            let mut line = host(way).command(&[&"cat", &secret]).line();
            let output = line.env("HOME", home).output().unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        assert_eq!(cat(dir.path()), "", "{way}");
        for other in [
            "/",
            "",
            "/root",
            "/usr",
            "relative",
            "/srv/../etc",
            "/etc/passwd",
        ] {
            assert_eq!(cat(Path::new(other)), SECRET, "{way} {other}");
        }
    }
}

#[test]
fn what_is_named_is_shown_and_written_to_with_nothing_beside_it() {
    for place in ["/var/tmp", "/tmp"].map(Path::new) {
        let (dir, secret) = secret_in(place).unwrap();
        let source = dir.path().join("src");
        fs::create_dir(&source).unwrap();
        for way in ways() {
            let run = || host(way).option("--writable", &[&source]);
            let script = format!(
                "cd {0} && echo made >made && ls -A {1} {1}/..; ! cat {2}",
                source.display(),
                dir.path().display(),
                secret.display(),
            );
            let done = run().sh(&script);
            let names = done.good().split_whitespace();
            let names: Vec<_> = names.filter(|name| !is_home_of_tests(name)).collect();
            let listed = |path: &Path| format!("{}:", path.display());
            let base = dir.path().file_name().unwrap().to_str().unwrap();
            let parent = format!("{}/..:", dir.path().display());
            let expected = [&listed(dir.path()), "src", &parent, base];
            assert_eq!(names, expected, "{way}: {done:#?}");
            assert_eq!(fs::read_to_string(source.join("made")).unwrap(), "made\n");
            fs::remove_file(source.join("made")).unwrap();

            // One may be told apart from the other: what is only to be read is not written to.
            let done = host(way)
                .option("--readable", &[&source])
                .sh(&format!("touch {}/x", source.display()));
            let chroot = way.contains("chroot");
            assert!(chroot || done.err.contains("Read-only"), "{way}: {done:#?}");
            assert_eq!(fs::read_dir(&source).unwrap().count(), 0);
        }
    }
}

#[test]
fn the_hidden_places_can_be_used_and_leave_nothing() {
    for way in ways() {
        let name = format!("host-root-left-{}", std::process::id());
        let mut script = String::from("set -e; ");
        let places = ["/tmp", "/var/tmp", "/run", "/home", "/var/log"];
        for place in places {
            script += &format!(
                "test -z \"$(ls -A {place} | grep -v -e ^$(id -un)$ -e {HOME_OF_TESTS})\" || ls {place}; "
            );
            script += &format!("echo x >{place}/{name}; ");
        }
        script += "stat -c %a /tmp /var/tmp /run";
        let done = host(way).sh(&script);
        assert_eq!(done.good(), "1777\n1777\n755", "{way}");
        for place in places {
            assert!(!Path::new(place).join(&name).exists(), "{place}");
        }
    }
}

/// What is renamed or linked from one of them to another is on another mount, also where they share
/// a file system.
#[test]
fn the_private_places_are_mounts_apart() {
    if !Path::new("/usr/bin/perl").exists() {
        return skip("no perl on this host");
    }
    let places = "/home /run /tmp /var/log /var/tmp /dev/shm";
    // The caller's home has its name there in any case.
    let homes = sandboxlib::spawn::caller_homes();
    let with_home = |place: &&str| homes.iter().any(|home| home.starts_with(place));
    let known: Vec<&str> = places.split(' ').filter(with_home).collect();
    let known = known.join(" ");
    let script = "use Errno; my @p = split / /, $ARGV[0]; my %home = map { $_, 1 } split / /, $ARGV[1]; \
                  for my $p (@p) { \
                      opendir(my $d, $p) or die \"$p: $!\"; \
                      my @in = grep { !/^\\.\\.?$/ } readdir $d; \
                      @in and !$home{$p} and die \"$p has @in\"; \
                      my ($up, $way) = map { join \":\", (stat $_)[0, 1] } \"$p/..\", $p =~ s|/[^/]*$|/|r; \
                      $up eq $way or die \"$p/.. is $up and not $way\"; \
                  } \
                  for my $p (@p) { for my $q (@p) { \
                      next if $p eq $q; \
                      open(my $f, \">\", \"$p/a\") or die \"$p: $!\"; \
                      -e \"$q/a\" and die \"what is in $p is in $q\"; \
                      rename(\"$p/a\", \"$q/a\") and die \"renamed from $p to $q\"; \
                      $!{EXDEV} or die \"rename: $!\"; \
                      link(\"$p/a\", \"$q/a\") and die \"linked from $p to $q\"; \
                      $!{EXDEV} or die \"link: $!\"; \
                      unlink \"$p/a\" or die; \
                  } } \
                  print \"apart\";";
    for way in ways() {
        let done = host(way)
            .command(&[&"perl", &"-e", &script, &places, &known])
            .run();
        assert_eq!(done.good(), "apart", "{way}");
    }
}

/// What lies below the first of them has directories for all, and nobody gets there.
#[test]
fn what_the_private_places_share_is_out_of_sight() {
    let Some(way) = ways().first().copied() else {
        return;
    };
    // Both are directories of one file system, or there is nothing to look for.
    let script = "stat -c %d /tmp /var/log /dev/shm | uniq | wc -l; \
                  umount -n /tmp 2>/dev/null && echo gone; umount -nl /var/log 2>/dev/null && echo gone; \
                  touch /tmp/mark; ls -A /run /tmp /var/log";
    let listed = "1\n/run:\n\n/tmp:\nmark\n\n/var/log:";
    assert_eq!(host(way).sh(script).good(), listed);
    // Not as root of a user namespace further in either, where all that is mounted is locked.
    let inner = format!(
        "unshare --user --map-root-user --mount sh -c '{script}; \
         mkdir /tmp/at && mount -n --bind /tmp /tmp/at && ls -A /tmp/at; \
         mount -n --rbind / /tmp/at && ls -A /tmp/at/var/log; \
         mount -n --bind / /tmp/at 2>/dev/null && echo bound; true'"
    );
    let done = host(way)
        .options("--allow-nested --seccomp none --uid 1000 --gid 1000")
        .sh(&inner);
    assert_eq!(done.good(), format!("{listed}\nat\nmark"));
}

/// A stream socket that says a word to whoever comes.
fn talk_to(listener: &UnixListener, sandbox: RunSandbox, socket: &Path) -> (bool, Done) {
    let connect = "use Socket; socket(my $s, PF_UNIX, SOCK_STREAM, 0) or die; \
                   connect($s, pack_sockaddr_un($ARGV[0])) or die \"connect: $!\"; \
                   syswrite($s, \"hello\");";
    let done = sandbox.command(&[&"perl", &"-e", &connect, &socket]).run();
    listener.set_nonblocking(true).unwrap();
    let came = listener.accept().is_ok_and(|(mut stream, _)| {
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        said == "hello"
    });
    (came, done)
}

#[test]
fn a_socket_can_be_connected_to_where_it_is_allowed() {
    if !Path::new("/usr/bin/perl").exists() {
        return skip("no perl on this host");
    }
    let (dir, _) = secret_in(Path::new("/var/tmp")).unwrap();
    let socket = dir.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let other = dir.path().join("other");
    let _other = UnixListener::bind(&other).unwrap();
    for way in ways() {
        let (came, done) = talk_to(&listener, host(way), &socket);
        assert!(
            !came && done.err.contains("connect: No such"),
            "{way}: {done:#?}"
        );

        let allowed = || host(way).option("--allow-socket", &[&socket]);
        let (came, done) = talk_to(&listener, allowed(), &socket);
        assert!(came, "{way}: {done:#?}");
        let listed = allowed().command(&[&"ls", &"-A", &dir.path()]).run();
        assert_eq!(listed.good(), "socket", "{way}");
    }
    let missing = dir.path().join("missing");
    let done = host("").option("--allow-socket", &[&missing]).sh("true");
    done.refused(&["socket", "missing", "does not exist"]);
}

#[test]
fn other_processes_and_the_kernels_inside_are_not_seen() {
    // Without the usual mounts too, and then the procfs of the host is covered.
    let mut sleeper = std::process::Command::new("sleep")
        .arg("600")
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    for way in ways() {
        for options in ["", "--bare"] {
            let script = format!(
                "cat /proc/self/comm; [ \"$(cat /proc/{0}/comm 2>/dev/null)\" = sleep ] && echo seen; \
                 ls /proc | grep -c '^[0-9]'; \
                 for f in /proc/kcore /proc/kmsg /dev/kmsg /dev/mem /sys/firmware/* \
                     /sys/kernel/debug/* /sys/kernel/tracing/* /sys/fs/bpf/* /sys/fs/pstore/*; do \
                     [ -e $f ] && (: <$f) 2>/dev/null && echo $f; done; \
                 mkdir /sys/firmware/x /sys/kernel/debug/x 2>/dev/null && echo filled; true",
                sleeper.id()
            );
            let done = host(way).options(options).sh(&script);
            let lines: Vec<_> = done.good().lines().collect();
            assert_eq!(lines.len(), 2, "{way} {options}: {done:#?}");
            assert_eq!(lines[0], "cat");
            assert!(lines[1].parse::<u32>().unwrap() < 10, "{done:#?}");
        }
    }
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
}

#[test]
fn a_program_or_directory_that_is_hidden_has_a_hint() {
    let (dir, _) = secret_in(Path::new("/var/tmp")).unwrap();
    let program = dir.path().join("program");
    fs::write(&program, "#!/bin/sh\necho ran\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    if ways().is_empty() {
        return;
    }
    let done = host("").command(&[&program]).run();
    assert_eq!(done.status.code(), Some(127), "{done:#?}");
    assert!(
        done.err.contains("hint: \"/var/tmp\" is hidden"),
        "{done:#?}"
    );
    let done = host("").option("--cwd", &[&dir.path()]).sh("true");
    done.refused(&["hint: \"/var/tmp\" is hidden"]);
    let shown = host("").option("--readable", &[&program]);
    assert_eq!(shown.command(&[&program]).run().good(), "ran");
}

#[test]
fn what_is_hidden_is_told() {
    if ways().is_empty() {
        return;
    }
    let told = host("--explain").sh("true");
    let line = told
        .good()
        .lines()
        .find(|line| line.starts_with("hidden: "));
    let line = line.unwrap_or_else(|| panic!("{told:#?}"));
    for place in ["/home", "/root", "/run", "/tmp", "/var/tmp"] {
        assert!(line.contains(place), "{line}");
    }
    let shown = host("--explain --host-secrets shown").sh("true");
    assert!(!shown.good().contains("hidden"), "{shown:#?}");
}

#[test]
fn the_library_hides_without_being_asked() {
    if !host_can() {
        return;
    }
    let (_dir, secret) = secret_in(Path::new("/var/tmp")).unwrap();
    let cat = |sandbox: Sandbox| {
        let prepared = sandbox.backends(["userns"]).prepare().unwrap();
        let output = prepared.command("cat").arg(&secret).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let host = || Sandbox::new(Root::Host);
    let path = SandboxPath::new(&secret).unwrap();
    assert_eq!(cat(host()), "");
    assert_eq!(cat(host().usual_mounts()), "");
    assert_eq!(cat(host().readable([path.clone()])), SECRET);
    assert_eq!(cat(host().writable([path])), SECRET);
    assert_eq!(cat(host().hidden([])), SECRET);
}

/// A tree, and what is said about it. The paths are below a directory of the test's own.
#[derive(Debug, Clone)]
struct Tree {
    items: Vec<(PathBuf, u8, &'static str)>,
    hidden: Vec<PathBuf>,
    readable: Vec<PathBuf>,
    writable: Vec<PathBuf>,
}

fn trees() -> impl Strategy<Value = Tree> {
    let path = || {
        prop::collection::vec(select(vec!["a", "b", "c"]), 1..4)
            .prop_map(|names| names.iter().collect::<PathBuf>())
    };
    let links = vec!["a", "b", "..", "../b", "c/a"];
    let paths = |most| prop::collection::vec(path(), 0..most);
    (
        prop::collection::vec((path(), 0..4_u8, select(links)), 4..20),
        prop::collection::vec(path(), 1..4),
        paths(3),
        paths(3),
    )
        .prop_map(|(items, hidden, readable, writable)| Tree {
            items,
            hidden,
            readable,
            writable,
        })
}

/// Whatever is hidden, and shown in it, by whatever names: inside, a file can be read if the
/// innermost thing that was said about it is not that it is hidden, and written to if that was
/// said last.
fn check_tree(tree: &Tree) -> Result<(), TestCaseError> {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let base = fs::canonicalize(dir.path()).unwrap();
    let mut files = Vec::new();
    for (path, kind, to) in &tree.items {
        let path = base.join(path);
        // Nothing is made by a link that leads out of the directory of the test.
        let parent = path.parent().unwrap();
        let inside = parent.ancestors().all(|above| {
            fs::canonicalize(above).map_or(true, |real| {
                real.starts_with(&base) || base.starts_with(above)
            })
        });
        if !inside || fs::create_dir_all(parent).is_err() {
            continue;
        }
        // What is in the way of it stays.
        let _ = match kind {
            0 => fs::create_dir(&path),
            1 | 2 => fs::File::create_new(&path).map(|_| files.push(path.clone())),
            _ => std::os::unix::fs::symlink(to, &path),
        };
    }
    // By their places alone, since links may be above them.
    let mut files: Vec<_> = files.iter().map(|f| fs::canonicalize(f).unwrap()).collect();
    files.sort();
    files.dedup();
    for file in &files {
        fs::write(file, file.to_str().unwrap()).unwrap();
    }
    let existing = |paths: &[PathBuf]| -> Vec<(PathBuf, PathBuf)> {
        let named = paths.iter().map(|path| base.join(path));
        named
            .filter_map(|path| Some((path.clone(), fs::canonicalize(path).ok()?)))
            .filter(|(_, real)| real.starts_with(&base))
            .collect()
    };
    let readable = existing(&tree.readable);
    let writable = existing(&tree.writable);
    let sandbox_paths = |paths: &[(PathBuf, PathBuf)]| -> Vec<SandboxPath> {
        let paths = paths
            .iter()
            .map(|(path, _)| SandboxPath::new(path).unwrap());
        paths.collect()
    };
    // What is missing can be named too, and nothing that leads out of the directory of the test.
    let harmless = |path: &PathBuf| {
        let real = fs::canonicalize(base.join(path));
        real.map_or(true, |real| real != base && real.starts_with(&base))
    };
    let hidden = tree
        .hidden
        .iter()
        .filter(|path| harmless(path))
        .map(|path| {
            let path = SandboxPath::new(base.join(path)).unwrap();
            HiddenPlace::new(path, HiddenBy::Empty { mode: 0o755 })
        });
    let sandbox = Sandbox::new(Root::Host)
        .backends(["userns"])
        .hidden(hidden)
        .readable(sandbox_paths(&readable))
        .writable(sandbox_paths(&writable));
    let prepared = sandbox.prepare();
    let prepared = prepared.map_err(|e| TestCaseError::fail(e.to_string()))?;
    // Each file, what it holds, and whether it could be opened for writing.
    let script = "find \"$0\" -type f | while read -r f; do \
                  read -r text <\"$f\"; (: >>\"$f\") 2>&- && w=w || w=r; \
                  [ -z \"$text\" ] || echo \"$w $text\"; done";
    let mut command = prepared.command("sh");
    let output = command.args(["-c", script]).arg(&base).output().unwrap();
    let seen: BTreeSet<String> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();

    let reals = |paths: &[(PathBuf, PathBuf)]| -> BTreeSet<PathBuf> {
        paths.iter().map(|(_, real)| real.clone()).collect()
    };
    let (readable, writable) = (reals(&readable), reals(&writable));
    let hidden: BTreeSet<PathBuf> = existing(&tree.hidden)
        .into_iter()
        .map(|(_, real)| real)
        .filter(|real| real.is_dir() && *real != base)
        .collect();
    let expected: BTreeSet<String> = files
        .iter()
        .filter_map(|file| {
            let said = file.ancestors().find_map(|at| {
                let said = [
                    (&writable, Some('w')),
                    (&readable, Some('r')),
                    (&hidden, None),
                ];
                said.iter().find(|(set, _)| set.contains(at)).map(|s| s.1)
            });
            let how = said.unwrap_or(Some('r'))?;
            Some(format!("{how} {}", file.display()))
        })
        .collect();
    prop_assert_eq!(
        seen,
        expected,
        "{:?}\n{:?}",
        prepared.launch(),
        output.stderr
    );
    Ok(())
}

#[test]
fn the_kernel_hides_and_shows_what_was_said() {
    if !host_can() {
        return;
    }
    let config = ProptestConfig {
        cases: std::env::var("PROPTEST_CASES")
            .ok()
            .and_then(|n| n.parse().ok())
            .unwrap_or(60),
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let result = TestRunner::new(config).run(&trees(), |tree| check_tree(&tree));
    if let Err(error) = result {
        panic!("{error}");
    }
}
