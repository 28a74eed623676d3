//! Whose the files of an image are: with subordinate ids those that the image says, else one id's.
//!
//! By root these are run as a user of a passwd file of their own, to whom a subuid file grants
//! ids, in a mount namespace that has these; by an ordinary user as that one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a surprise ends the test"
)]

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use sandboxlib_tests::{TinyRoot, have, run_sandbox, sh, skip};
use serde_json::Value;
use tempfile::TempDir;

/// The user for tests by root.
const USER: u32 = 54_321;

/// What a command says about the files of the image below.
const LOOK: &str = "stat -c '%n %u:%g' f0 f42 f1000 f70000 private; id -u; id -g";

/// A place with images, a copy of the program, and a user who can have other ids.
struct Shop {
    dir: TempDir,
    is_root: bool,
    /// The first subordinate user and group id.
    first: (u32, u32),
}

impl Shop {
    fn new() -> Option<Self> {
        let root = TinyRoot::new()?;
        let dir = TempDir::new().unwrap();
        let is_root = dir.path().metadata().unwrap().uid() == 0;
        if !have("newuidmap", "uidmap") {
            return None;
        }
        let first = if is_root {
            (300_000, 400_000)
        } else {
            match (granted("/etc/subuid"), granted("/etc/subgid")) {
                (Some(uid), Some(gid)) => (uid, gid),
                _ => {
                    skip("the host grants this user no subordinate ids");
                    return None;
                }
            }
        };
        let shop = Self {
            dir,
            is_root,
            first,
        };
        open(shop.path());
        fs::copy(run_sandbox(), shop.path().join("run-sandbox")).unwrap();
        sh(
            shop.path(),
            &format!(
                "cp -a {} rootfs; cd rootfs; mkdir -p home/worker private; \
                 for f in f0 f42 f1000 f70000 private/f; do echo text >$f; done; \
                 chmod 700 private; chmod 600 private/f; rm -f etc/passwd etc/group; \
                 echo root:x:0:0::/:/bin/sh >etc/passwd; \
                 echo worker:x:1000:8::/home/worker:/bin/sh >>etc/passwd",
                root.path().display()
            ),
        );
        shop.pack("rootfs", "own.tar", "");
        fs::create_dir(shop.path().join("user")).unwrap();
        if is_root {
            let user = shop.path().join("user");
            std::os::unix::fs::chown(user, Some(USER), Some(USER)).unwrap();
            shop.grant(first);
        }
        Some(shop)
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Packs what is in `from` with owners, each below `prefix`.
    fn pack(&self, from: &str, to: &str, prefix: &str) {
        let others = ["f42", "f1000", "f70000", "private", "home/worker"];
        let leave = others.map(|name| format!("--exclude=./{prefix}{name}"));
        let add = |uid: u32, gid: u32, names: &str| {
            let names: Vec<String> = names.split(' ').map(|n| format!("./{prefix}{n}")).collect();
            let names = names.join(" ");
            format!("tar -C {from} --numeric-owner --owner={uid} --group={gid} -rf {to} {names}; ")
        };
        let script = format!(
            "tar -C {from} --numeric-owner --owner=0 --group=0 {} -cf {to} .; {}{}{}chmod 644 {to}",
            leave.join(" "),
            add(42, 42, "f42 private"),
            add(1000, 8, "f1000 home/worker"),
            add(70_000, 70_001, "f70000"),
        );
        sh(self.path(), &script);
    }

    /// An App Container image of the same files, whose command is that of `user`.
    fn app(&self, user: &str, more: &str) {
        let manifest = format!(
            r#"{{"acKind": "ImageManifest", "acVersion": "0.8.4", "name": "example.com/owners",
            "app": {{"exec": ["/bin/sh", "-c", "{LOOK}"], "user": "{user}", "group": "8",
            "workingDirectory": "/" {more} }} }}"#
        );
        sh(
            self.path(),
            "rm -rf app; mkdir app; cp -a rootfs app/rootfs",
        );
        fs::write(self.path().join("app/manifest"), manifest).unwrap();
        self.pack("app", "app.aci", "rootfs/");
    }

    /// By root: what the host grants the user.
    fn grant(&self, (uid, gid): (u32, u32)) {
        let passwd = fs::read_to_string("/etc/passwd").unwrap();
        let line = format!("owners:x:{USER}:{USER}::/:/bin/sh\n");
        fs::write(self.path().join("passwd"), passwd + &line).unwrap();
        fs::write(self.path().join("subuid"), format!("owners:{uid}:65536\n")).unwrap();
        fs::write(self.path().join("subgid"), format!("owners:{gid}:65536\n")).unwrap();
    }

    /// A command line of the program by the user, in a directory that is the user's.
    fn line(&self, words: &[&str]) -> Command {
        let program = self.path().join("run-sandbox");
        let mut line = if self.is_root {
            let mut line = Command::new("unshare");
            let script = format!(
                "cd {}; for f in passwd subuid subgid; do mount --bind $f /etc/$f; done; cd user; \
                 exec setpriv --reuid {USER} --regid {USER} --clear-groups \"$@\"",
                self.path().display()
            );
            line.args(["-m", "sh", "-euc", &script, "sh"]).arg(program);
            line
        } else {
            Command::new(program)
        };
        line.args(words)
            .current_dir(self.path().join("user"))
            .env("HOME", self.path().join("user"))
            .stdin(Stdio::null());
        line
    }

    #[track_caller]
    fn told(&self, words: &[&str], status: i32) -> String {
        let output = self.line(words).output().unwrap();
        ended(&output, status);
        String::from_utf8(output.stdout).unwrap()
    }

    fn cache(&self) -> PathBuf {
        self.path().join("user/cache")
    }

    fn report(&self) -> Value {
        let text = fs::read(self.path().join("user/report")).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    /// What is in a directory of the cache.
    fn count(&self, name: &str) -> usize {
        fs::read_dir(self.cache().join(name)).unwrap().count()
    }

    fn prune(&self) {
        self.told(&["--image-cache", "cache", "--cache", "prune"], 0);
        for name in ["work", "roots", "layers"] {
            assert_eq!(self.count(name), 0, "{name}");
        }
    }
}

/// The first id that the file grants this user, by name or by number.
fn granted(file: &str) -> Option<u32> {
    let said = |option: &str| {
        let output = Command::new("id").arg(option).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let names = [said("-un"), said("-u")];
    let text = fs::read_to_string(file).ok()?;
    let mut lines = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let mine = lines.find(|line| names.iter().any(|name| name == line[0]))?;
    mine.get(1)?.parse().ok()
}

fn open(dir: &Path) {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
}

#[track_caller]
fn ended(output: &Output, status: i32) {
    assert_eq!(output.status.code(), Some(status), "{output:?}");
}

const OWNED: &str = "f0 0:0\nf42 42:42\nf1000 1000:8\nf70000 0:0\nprivate 42:42\n0\n0\n";
const ONE: &str = "f0 0:0\nf42 0:0\nf1000 0:0\nf70000 0:0\nprivate 0:0\n0\n0\n";
const RUN: [&str; 5] = ["--image-cache", "cache", "--report", "report", "-v"];

/// A run of the tarball, with these options.
fn own<'a>(options: &[&'a str], script: &'a str) -> Vec<&'a str> {
    let mut words = RUN.to_vec();
    words.extend(options);
    words.extend(["../own.tar", "sh", "-euc", script]);
    words
}

#[test]
fn subordinate_ids_are_the_owners_that_the_image_says() {
    let Some(shop) = Shop::new() else { return };
    let output = shop.line(&own(&[], LOOK)).output().unwrap();
    ended(&output, 0);
    assert_eq!(String::from_utf8_lossy(&output.stdout), OWNED);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("owners: those of the image"), "{said}");
    assert!(said.contains("70000:70001"), "{said}");
    let report = shop.report();
    let ownership = &report["image"]["ownership"];
    assert_eq!(ownership["files"], "image", "{report}");
    assert_eq!(ownership["not_mapped"]["files"], 1, "{report}");
    assert_eq!(ownership["not_mapped"]["ids"][0], "70000:70001", "{report}");

    // What the host sees.
    let root = PathBuf::from(report["image"]["root"].as_str().unwrap());
    let owner = |name: &str| {
        let found = fs::symlink_metadata(root.join(name)).unwrap();
        (found.uid(), found.gid())
    };
    let (uid, gid) = shop.first;
    let user = fs::metadata(shop.path().join("user")).unwrap();
    let user = (user.uid(), user.gid());
    assert_eq!(owner("f0"), user);
    assert_eq!(owner("f42"), (uid + 41, gid + 41));
    assert_eq!(owner("f1000"), (uid + 999, gid + 7));
    assert_eq!(owner("f70000"), user);

    // Root inside does with it what root does, and nothing of that stays.
    let script = "chown 7:9 f0; stat -c %u:%g f0; cat private/f; rm -r private; touch f42";
    assert_eq!(shop.told(&own(&[], script), 0), "7:9\ntext\n");
    assert_eq!(shop.told(&own(&[], LOOK), 0), OWNED);
    assert_eq!(shop.told(&own(&["--map-subordinate"], LOOK), 0), OWNED);
    let list = shop.told(&["--image-cache", "cache", "--cache", "list"], 0);
    assert!(
        list.contains("own.tar") && list.lines().count() == 1,
        "{list}"
    );
    assert_eq!(shop.count("work"), 0);
    shop.prune();
}

#[test]
fn a_root_of_one_id_and_one_with_owners_are_two() {
    let Some(shop) = Shop::new() else { return };
    for _ in 0..2 {
        assert_eq!(shop.told(&own(&["--root"], LOOK), 0), ONE);
        let reason = &shop.report()["image"]["ownership"];
        assert_eq!(reason["files"], "one-id", "{reason}");
        assert_eq!(reason["reason"], "the ids of the command were chosen");
        assert_eq!(shop.told(&own(&[], LOOK), 0), OWNED);
        // What stays on the host is the caller's.
        assert_eq!(
            shop.told(&own(&["--overlay-changes", "kept"], LOOK), 0),
            ONE
        );
        // The kernel's part of it is closed.
        sh(shop.path(), "chmod -R u+rwx user/kept; rm -r user/kept");
    }
    assert_eq!(shop.count("roots"), 2);
    if shop.is_root {
        // The host grants other ids: those of the root are somebody else's by now.
        let (uid, gid) = shop.first;
        shop.grant((uid + 100_000, gid + 100_000));
        assert_eq!(shop.told(&own(&[], LOOK), 0), OWNED);
        assert_eq!(shop.count("roots"), 3);
        // They cannot be removed any more, which is told, and the others are.
        let prune = ["--image-cache", "cache", "--cache", "prune"];
        let output = shop.line(&prune).output().unwrap();
        ended(&output, 125);
        assert_eq!(shop.count("roots"), 0);
        shop.grant((uid, gid));
    }
    shop.prune();
}

#[test]
fn an_image_of_root_alone_needs_no_map() {
    let Some(shop) = Shop::new() else { return };
    let pack = "tar -C rootfs --numeric-owner --owner=0 --group=0 -cf own.tar .";
    sh(shop.path(), pack);
    assert_eq!(shop.told(&own(&[], LOOK), 0), ONE);
    let report = shop.report();
    assert_eq!(report["image"]["ownership"]["files"], "image", "{report}");
    let enforced = report["enforced"].to_string();
    assert!(!enforced.contains("subordinate"), "{enforced}");
    shop.prune();
}

#[test]
fn a_user_of_the_image_owns_its_files_but_not_those_of_the_caller() {
    let Some(shop) = Shop::new() else { return };
    let files = "f0 0:0\nf42 42:42\nf1000 1000:8\nf70000 0:0\nprivate 42:42\n";
    // By name, and as the owner of a file.
    for user in ["worker", "/f1000"] {
        shop.app(user, "");
        let words = [&RUN[..], &["../app.aci"]].concat();
        assert_eq!(shop.told(&words, 0), format!("{files}1000\n8\n"), "{user}");
    }
    let script =
        "cat /private/f || echo closed; touch /home/worker/x && stat -c %u:%g /home/worker/x";
    let run = |options: &[&str], script: &str| {
        let words = [&RUN[..], options, &["../app.aci", "sh", "-uc", script]].concat();
        shop.told(&words, 0)
    };
    assert_eq!(run(&[], script), "closed\n1000:8\n");
    // What it writes to is the caller's: so is it.
    sh(shop.path(), "mkdir user/out; chmod 755 user/out");
    if shop.is_root {
        let out = shop.path().join("user/out");
        std::os::unix::fs::chown(out, Some(USER), Some(USER)).unwrap();
    }
    let out = run(
        &["--bind", "out", "/out"],
        "touch /out/f; stat -c %u:%g f42 /out/f",
    );
    assert_eq!(out, "1000:8\n1000:8\n");
    let user = fs::metadata(shop.path().join("user")).unwrap().uid();
    let file = shop.path().join("user/out/f");
    assert_eq!(fs::metadata(file).unwrap().uid(), user);
    let reason = shop.report()["image"]["ownership"]["reason"].to_string();
    assert!(reason.contains("1000:8"), "{reason}");
    // A user whom the map does not have.
    shop.app("70000", "");
    run(&[], "true");
    let reason = shop.report()["image"]["ownership"]["reason"].to_string();
    assert!(reason.contains("70000:8"), "{reason}");
    shop.prune();
}

#[test]
fn what_is_of_one_run_goes_with_it() {
    let Some(shop) = Shop::new() else { return };
    let handlers = r#", "eventHandlers": [{"name": "pre-start", "exec": ["/bin/sh", "-c",
        "echo first >/new; chown 42:42 /new; chmod 600 /new; mkdir /deep; touch /deep/f; chown 5:5 /deep; chmod 700 /deep"]}]"#;
    shop.app("0", handlers);
    let words = [
        &RUN[..],
        &["../app.aci", "sh", "-c", "stat -c %u:%g /new /deep"],
    ]
    .concat();
    assert_eq!(shop.told(&words, 0), "42:42\n5:5\n");
    assert_eq!(shop.count("work"), 0);
    // What a killed one leaves, the next one takes away.
    let long = [&RUN[..], &["../app.aci", "sh", "-c", "echo up; sleep 60"]].concat();
    let mut line = shop.line(&long);
    line.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut running = line.spawn().unwrap();
    let mut first = [0; 3];
    running
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut first)
        .unwrap();
    running.kill().unwrap();
    running.wait().unwrap();
    assert_eq!(shop.count("work"), 1);
    assert_eq!(shop.told(&words, 0), "42:42\n5:5\n");
    assert_eq!(shop.count("work"), 0);
    // Where there is no layer to be had, a copy; and no map by bwrap, so one id.
    if have("bwrap", "bubblewrap") {
        let script = "stat -c %u:%g f42; touch f42";
        let out = shop.told(&own(&["--backend", "bubblewrap"], script), 0);
        assert_eq!(out, "0:0\n");
        let ownership = shop.report()["image"]["ownership"].clone();
        assert_eq!(ownership["files"], "one-id");
        let reason = ownership["reason"].as_str().unwrap();
        assert!(reason.contains("bwrap"), "{reason}");
        assert_eq!(shop.count("work"), 0);
    }
    shop.prune();
}

#[test]
fn an_image_that_a_group_alone_may_read() {
    let Some(shop) = Shop::new() else { return };
    if !shop.is_root {
        // Nobody else can have groups. This much is so with those that the user has.
        assert_eq!(shop.told(&own(&[], LOOK), 0), OWNED);
        return;
    }
    let image = shop.path().join("own.tar");
    std::os::unix::fs::chown(&image, Some(0), Some(77)).unwrap();
    fs::set_permissions(&image, fs::Permissions::from_mode(0o640)).unwrap();
    let line = shop.line(&own(&[], LOOK));
    let mut grouped = Command::new("unshare");
    for word in line.get_args() {
        let word = word.to_str().unwrap();
        grouped.arg(word.replace("--clear-groups", "--groups 77"));
    }
    let output = grouped
        .current_dir(shop.path())
        .stdin(Stdio::null())
        .output();
    let output = output.unwrap();
    ended(&output, 0);
    assert_eq!(String::from_utf8_lossy(&output.stdout), ONE);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("cannot be opened by a worker"), "{said}");
}

#[test]
fn an_image_that_is_closed_to_the_caller() {
    let Some(shop) = Shop::new() else { return };
    // As somebody packs it who made a directory for it by mktemp.
    sh(
        shop.path(),
        "chmod 700 rootfs; tar -C rootfs --numeric-owner --owner=42 --group=42 -cf own.tar .",
    );
    assert_eq!(shop.told(&own(&[], LOOK), 0), ONE);
    let reason = shop.report()["image"]["ownership"]["reason"].to_string();
    assert!(reason.contains("cannot be looked into"), "{reason}");
    shop.prune();
}

#[test]
fn a_layout_whose_index_was_seen_before_is_not_read() {
    let Some(shop) = Shop::new() else { return };
    if !have("umoci", "umoci") {
        return;
    }
    sh(
        shop.path(),
        "umoci init --layout oci; umoci new --image oci:a; \
         umoci raw add-layer --image oci:a own.tar; chmod -R a+rX oci",
    );
    // Until its times tell.
    thread::sleep(Duration::from_secs(4));
    let words = [&RUN[..], &["../oci", "sh", "-euc", LOOK]].concat();
    assert_eq!(shop.told(&words, 0), OWNED);
    sh(shop.path(), "mv oci/blobs oci/away");
    assert_eq!(shop.told(&words, 0), OWNED);
    // Another index is another image, whatever was seen.
    sh(shop.path(), "cp oci/index.json new; mv new oci/index.json");
    let output = shop.line(&words).output().unwrap();
    ended(&output, 125);
    shop.prune();
}

#[test]
fn what_is_wrong_with_an_image_is_told_as_without_a_worker() {
    let Some(shop) = Shop::new() else { return };
    sh(
        shop.path(),
        "echo some text >user/text; head -c 5000 own.tar >user/cut.tar; chmod 644 user/*; \
         echo x >user/closed.tar; chmod 0 user/closed.tar",
    );
    for image in ["text", "cut.tar", "closed.tar", "./text", "../user/text"] {
        let message = |options: &[&str]| {
            let words = [&RUN[..4], options, &[image, "true"]].concat();
            let output = shop.line(&words).output().unwrap();
            ended(&output, 125);
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(said.lines().count(), 1, "{said}");
            (said, shop.report()["error"]["message"].clone())
        };
        // With ids of its own the command needs no others, and this program unpacks by itself.
        assert_eq!(message(&[]), message(&["--root"]), "{image}");
        assert_eq!(shop.count("work") + shop.count("roots"), 0, "{image}");
    }
}

/// The processes that have both words in their command line.
fn processes_with(one: &Path, other: &Path) -> Vec<PathBuf> {
    let processes = fs::read_dir("/proc").unwrap();
    let paths = processes.map(|process| process.unwrap().path());
    paths
        .filter(|path| {
            let line = fs::read(path.join("cmdline")).unwrap_or_default();
            let has = |word: &Path| {
                let word = word.as_os_str().as_encoded_bytes();
                line.split(|b| *b == 0).any(|said| said == word)
            };
            has(one) && has(other)
        })
        .collect()
}

#[test]
fn a_worker_is_in_a_sandbox() {
    let Some(shop) = Shop::new() else { return };
    // Large enough to be looked at.
    sh(
        shop.path(),
        "for n in $(seq 800); do head -c 60000 /dev/zero >rootfs/private/$n; done",
    );
    shop.pack("rootfs", "own.tar", "");
    let words = own(&[], "true");
    let mut line = shop.line(&words);
    line.stdout(Stdio::null()).stderr(Stdio::null());
    let mut running = line.spawn().unwrap();
    let late = Instant::now() + Duration::from_secs(20);
    let worker = loop {
        if let [process] = &*processes_with("--image-worker".as_ref(), &shop.cache()) {
            break process.clone();
        }
        assert!(Instant::now() < late, "there is no worker");
    };
    let status = fs::read_to_string(worker.join("status")).unwrap();
    let mounts = fs::read_to_string(worker.join("mountinfo")).unwrap();
    let namespace =
        |process: &Path, name: &str| fs::read_link(process.join("ns").join(name)).unwrap();
    for name in ["user", "net", "pid", "ipc", "mnt"] {
        let own = namespace(Path::new("/proc/self"), name);
        assert_ne!(namespace(&worker, name), own, "{name}");
    }
    assert!(running.wait().unwrap().success());
    for held in [
        "Seccomp:\t2",
        "NoNewPrivs:\t1",
        "CapEff:\t00000000000000fb",
        "CapBnd:\t00000000000000fb",
    ] {
        assert!(status.contains(held), "{held}: {status}");
    }
    let access = |place: &Path| {
        let lines = mounts
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>());
        let mut of = lines.filter(|fields| Path::new(fields[4]) == place);
        of.next_back()
            .map(|fields| fields[5].split(',').next().unwrap().to_owned())
    };
    assert_eq!(access(Path::new("/")).as_deref(), Some("ro"), "{mounts}");
    assert_eq!(access(&shop.cache()).as_deref(), Some("rw"), "{mounts}");
    assert_eq!(
        access(&shop.path().join("own.tar")).as_deref(),
        Some("ro"),
        "{mounts}"
    );
    // Nothing beside the image and the cache.
    assert_eq!(access(&shop.path().join("user")), None, "{mounts}");
    assert_eq!(access(Path::new("/tmp")).as_deref(), Some("rw"), "{mounts}");
    shop.prune();
}

#[test]
fn eight_at_once_and_some_of_them_killed() {
    const MANY: usize = 8;
    let Some(shop) = Shop::new() else { return };
    // Large enough to be killed in.
    sh(
        shop.path(),
        "for n in $(seq 400); do head -c 60000 /dev/zero >rootfs/private/$n; done",
    );
    shop.pack("rootfs", "own.tar", "");
    let words = own(&[], LOOK);
    let start = || -> Child {
        let mut line = shop.line(&words);
        let line = line.stdout(Stdio::piped()).stderr(Stdio::piped());
        line.spawn().unwrap()
    };
    let begin = Instant::now();
    ended(&start().wait_with_output().unwrap(), 0);
    let span = begin.elapsed() * 2;
    shop.prune();
    let workers_have_gone = || {
        let late = Instant::now() + Duration::from_secs(20);
        while !processes_with("--image-worker".as_ref(), &shop.cache()).is_empty() {
            assert!(Instant::now() < late, "a worker lives on");
            thread::sleep(Duration::from_millis(10));
        }
    };
    // Alone, at ever later times, until it comes through.
    let (mut wait, mut left) = (Duration::from_millis(5), 0);
    loop {
        let mut child = start();
        thread::sleep(wait);
        child.kill().unwrap();
        let through = child.wait().unwrap().success();
        workers_have_gone();
        left += usize::from(shop.cache().exists() && shop.count("work") > 0);
        if through {
            break;
        }
        wait = wait * 5 / 4;
    }
    assert!(left > 0, "it was never killed in the middle");
    let files = own(&[], "ls private | wc -l; cat private/* | wc -c");
    assert_eq!(shop.told(&files, 0), "401\n24000005\n");
    shop.prune();
    let (mut seed, mut died) = (0x2545_f491_4f6c_dd1d_u64, 0);
    for _ in 0..4 {
        let mut running: Vec<(Child, Option<Duration>)> = (0..MANY)
            .map(|n| {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                let wait = span.mul_f64(f64::from((seed % 1000) as u16) / 1000.0);
                (start(), (n % 2 == 0).then_some(wait))
            })
            .collect();
        running.sort_by_key(|(_, wait)| *wait);
        let begin = Instant::now();
        for (child, wait) in &mut running {
            if let Some(wait) = wait {
                thread::sleep(wait.saturating_sub(begin.elapsed()));
                child.kill().unwrap();
            }
        }
        for (child, wait) in running {
            let output = child.wait_with_output().unwrap();
            died += usize::from(output.status.code().is_none());
            if wait.is_none() {
                ended(&output, 0);
                assert_eq!(String::from_utf8_lossy(&output.stdout), OWNED);
            }
        }
        workers_have_gone();
        // Whoever comes next has a whole root.
        assert_eq!(shop.told(&own(&[], LOOK), 0), OWNED);
        assert_eq!(shop.told(&files, 0), "401\n24000005\n");
        shop.prune();
    }
    assert!(
        died > 0,
        "nobody was killed in time: the test shows nothing"
    );
}

#[test]
fn without_a_grant_there_is_one_id_and_the_report_says_so() {
    let Some(shop) = Shop::new() else { return };
    // In a sandbox nobody is granted ids: by a file that is empty, and by newuidmap, which is not
    // set-user-id there.
    let dir = shop.path().to_str().unwrap();
    let program = format!("{dir}/run-sandbox");
    let inner = format!(
        "{program} --image-cache /tmp/cache --report /tmp/report -v {dir}/own.tar sh -c \"{LOOK}\"; \
         {program} --image-cache /tmp/cache --explain {dir}/own.tar | grep owners; cat /tmp/report"
    );
    let common = ["--allow-nested", "--readable", dir, "--cwd", "/tmp"];
    let empty = ["--ro-bind", "/dev/null", "/etc/subuid"];
    for (more, why) in [(&empty[..], "grants the caller no"), (&[], "newuidmap")] {
        let words = [&common[..], more, &["/", "sh", "-euc", &inner]].concat();
        let output = shop.line(&words).output().unwrap();
        ended(&output, 0);
        let text = String::from_utf8(output.stdout).unwrap();
        let (told, report) = text.split_at(text.find("{\n").unwrap());
        let explained = told.strip_prefix(ONE).expect("all files are root's");
        let said = String::from_utf8_lossy(&output.stderr);
        for text in [explained, &said] {
            assert!(text.contains("owners: one id for all files: "), "{text}");
            assert!(text.contains(why), "{text}");
        }
        let report: Value = serde_json::from_str(report).unwrap();
        let ownership = &report["image"]["ownership"];
        assert_eq!(ownership["files"], "one-id", "{report}");
        assert!(
            ownership["reason"].as_str().unwrap().contains(why),
            "{report}"
        );
    }
}

#[test]
fn who_is_root_needs_no_map() {
    let Some(shop) = Shop::new() else { return };
    let line = |words: &[&str]| {
        let mut line = Command::new(shop.path().join("run-sandbox"));
        line.args(words).current_dir(shop.path().join("user"));
        line.stdin(Stdio::null()).output().unwrap()
    };
    if !shop.is_root {
        // Root of a sandbox has some ids, and does without the others. What it can run depends on
        // its capabilities; that is not what this is about.
        let dir = shop.path().to_str().unwrap();
        let inner = format!(
            "{dir}/run-sandbox --image-cache /tmp/c --explain {dir}/own.tar | grep -c 70000:70001; \
             cd /tmp/c/roots/*/tree; stat -c '%n %u:%g' f0 f42 f1000 f70000 private; id -u; id -g"
        );
        for (option, looks) in [("--map-subordinate", OWNED), ("--root", ONE)] {
            let words = [option, "--allow-nested", "--readable", dir, "/"];
            let output = line(&[&words[..], &["sh", "-euc", &inner]].concat());
            ended(&output, 0);
            assert_eq!(
                String::from_utf8_lossy(&output.stdout),
                format!("1\n{looks}")
            );
        }
        return;
    }
    let output = line(&own(&[], LOOK));
    ended(&output, 0);
    let out = String::from_utf8_lossy(&output.stdout);
    assert_eq!(out, OWNED.replace("f70000 0:0", "f70000 70000:70001"));
    let report = shop.report();
    assert_eq!(report["image"]["ownership"]["files"], "image", "{report}");
    assert_eq!(report["image"]["ownership"]["not_mapped"]["files"], 0);
    let root = PathBuf::from(report["image"]["root"].as_str().unwrap());
    let file = fs::metadata(root.join("f42")).unwrap();
    assert_eq!((file.uid(), file.gid()), (42, 42));
}
