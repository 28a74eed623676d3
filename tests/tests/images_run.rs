//! Images that other programs made, run by one command.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a surprise ends the test"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use sandboxlib_tests::{Done, RunSandbox, TinyRoot, have, run_sandbox, sh};
use serde_json::Value;
use tempfile::TempDir;

/// A place to make images in, with a root to make them of, and a cache.
struct Workshop {
    dir: TempDir,
}

impl Workshop {
    fn new() -> Option<Self> {
        let root = TinyRoot::new()?;
        fs::create_dir(root.join("work")).unwrap();
        let passwd = "root:x:0:0::/:/bin/sh\nworker:x:1234:2345::/work:/bin/sh\n";
        fs::write(root.join("etc/passwd"), passwd).unwrap();
        fs::write(root.join("etc/group"), "root:x:0:\nworker:x:2345:\n").unwrap();
        fs::write(root.join("etc/gone"), "gone\n").unwrap();
        let dir = TempDir::new().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let rootfs = dir.path().join("rootfs");
        let copied = Command::new("cp")
            .arg("-a")
            .arg(root.path())
            .arg(rootfs)
            .status();
        assert!(copied.unwrap().success());
        Some(Self { dir })
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn run(&self, image: &str) -> RunSandbox {
        let cache = self.path().join("cache");
        RunSandbox::new(self.path().join(image)).option("--image-cache", &[&cache])
    }

    fn actool(&self, app: &str) -> bool {
        if !have("actool", "appc-spec") {
            return false;
        }
        let manifest = format!(
            r#"{{"acKind": "ImageManifest", "acVersion": "0.8.4", "name": "example.com/worker",
            "labels": [{{"name": "os", "value": "linux"}}, {{"name": "arch", "value": "amd64"}},
                       {{"name": "version", "value": "1.2"}}], "app": {app} }}"#
        );
        sh(
            self.path(),
            "rm -rf image; mkdir image; cp -a rootfs image/",
        );
        fs::write(self.path().join("image/manifest"), manifest).unwrap();
        sh(self.path(), "actool build --overwrite image gz.aci");
        true
    }

    /// An OCI layout of two layers, the second of which takes a file away.
    fn umoci(&self) -> bool {
        if !have("umoci", "umoci") {
            return false;
        }
        sh(
            self.path(),
            "umoci init --layout oci; umoci new --image oci:bb; \
             umoci unpack --rootless --image oci:bb bundle; \
             cp -a rootfs/. bundle/rootfs/; \
             umoci repack --image oci:bb bundle; rm -r bundle; \
             umoci unpack --rootless --image oci:bb bundle; \
             rm bundle/rootfs/etc/gone; echo two >bundle/rootfs/etc/two; \
             umoci repack --image oci:bb bundle; \
             umoci config --image oci:bb --config.entrypoint sh --config.entrypoint -c \
               --config.cmd 'id -u; pwd; cat /etc/two; echo $A; test ! -e /etc/gone; exit 3' \
               --config.user worker --config.workingdir /not/there --config.env A=b \
               --config.volume /data --config.label k=v",
        );
        true
    }

    fn skopeo(&self, options: &str, to: &str) {
        let policy = r#"{"default":[{"type":"insecureAcceptAnything"}]}"#;
        fs::write(self.path().join("policy.json"), policy).unwrap();
        let copy = format!("skopeo --policy policy.json copy -q {options} oci:oci:bb {to}");
        sh(self.path(), &copy);
    }
}

#[track_caller]
fn ended(done: &Done, status: i32) -> &Done {
    let text = format!("{}\n{}{}", done.status, done.out, done.err);
    assert_eq!(done.status.code(), Some(status), "{text}");
    done
}

/// What is in a tree, and when it was made.
fn listing(root: &Path) -> BTreeMap<PathBuf, (u32, u64, i64, i64)> {
    let mut seen = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let m = fs::symlink_metadata(&path).unwrap();
            if m.is_dir() {
                todo.push(path.clone());
            }
            let about = (m.mode(), m.len(), m.mtime(), m.mtime_nsec());
            seen.insert(path, about);
        }
    }
    seen
}

const APP: &str = r#"{"exec": ["/bin/sh", "-c", "id -u; id -g; pwd; env | sort; exit 7"],
    "user": "worker", "group": "worker", "workingDirectory": "/work",
    "environment": [{"name": "A", "value": "b=c"}]}"#;

const APP_SAYS: &str = "1234\n2345\n/work\nA=b=c\nAC_APP_NAME=example.com/worker\nHOME=/work\n\
     PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nPWD=/work\n";

#[test]
fn app_container_images_made_by_actool() {
    let Some(shop) = Workshop::new() else { return };
    if !shop.actool(APP) {
        return;
    }
    sh(
        shop.path(),
        "actool build --overwrite --no-compression image plain.aci; xz -c plain.aci >xz.aci; \
         bzip2 -c plain.aci >bzip2.aci; zstd -q -c plain.aci >zstd.aci; cp zstd.aci misnamed.gz",
    );
    for image in [
        "gz.aci",
        "plain.aci",
        "xz.aci",
        "bzip2.aci",
        "zstd.aci",
        "misnamed.gz",
    ] {
        for _ in 0..2 {
            let done = shop.run(image).run();
            let lines = ended(&done, 7).out.lines();
            let lines: Vec<&str> = lines
                .filter(|l| !l.starts_with("SHLVL=") && !l.starts_with("container="))
                .collect();
            assert_eq!(lines.join("\n") + "\n", APP_SAYS, "{image}");
            assert_eq!(done.err, "", "{image}");
        }
    }
}

#[test]
fn oci_images_made_by_umoci_and_skopeo() {
    let Some(shop) = Workshop::new() else { return };
    if !shop.umoci() || !have("skopeo", "skopeo") {
        return;
    }
    shop.skopeo("", "docker-archive:docker.tar:name:tag");
    shop.skopeo("", "oci-archive:oci.tar");
    shop.skopeo("--dest-compress-format zstd", "oci:zstd:bb");
    sh(shop.path(), "gzip -k docker.tar");
    for image in ["oci", "docker.tar", "oci.tar", "zstd", "docker.tar.gz"] {
        let done = shop.run(image).run();
        assert_eq!(ended(&done, 3).out, "1234\n/not/there\ntwo\nb\n", "{image}");
        assert_eq!(done.err, "", "{image}");
    }
    let done = shop.run("docker.tar").options("--image name:tag").run();
    ended(&done, 3);
    let done = shop.run("docker.tar").options("--image other").run();
    assert!(ended(&done, 125).err.contains("other"), "{}", done.err);
    let done = shop.run("oci").options("--platform linux/s390x").run();
    assert!(ended(&done, 125).err.contains("s390x"), "{}", done.err);
}

#[test]
fn root_tarballs() {
    let Some(shop) = Workshop::new() else { return };
    sh(
        shop.path(),
        "tar -C rootfs -cf root.tar .; gzip -k root.tar; xz -k root.tar; zstd -q root.tar",
    );
    for image in ["root.tar", "root.tar.gz", "root.tar.xz", "root.tar.zst"] {
        let done = shop
            .run(image)
            .command(&[&"sh", &"-c", &"id -u; cat /etc/gone; exit 9"]);
        assert_eq!(ended(&done.run(), 9).out, "0\ngone\n", "{image}");
    }
    // Without a command, a shell.
    let done = shop
        .run("root.tar")
        .input(b"echo from the shell; exit 4\n".to_vec())
        .run();
    assert_eq!(ended(&done, 4).out, "from the shell\n");
    let done = RunSandbox::new(shop.path().join("root.tar"))
        .options("--cwd /work")
        .run();
    // The user's own cache is used, or cannot be had.
    assert!(matches!(done.status.code(), Some(0 | 125)), "{}", done.err);
}

#[test]
fn a_debian_root_made_by_mmdebstrap() {
    let Some(lab) = sandboxlib_tests::Lab::find() else {
        return;
    };
    let dir = TempDir::new().unwrap();
    let run = |command: &str| {
        RunSandbox::new(&lab.tar)
            .option("--image-cache", &[&dir.path().join("cache")])
            .command(&[&"sh", &"-euc", &command])
            .run()
    };
    let done = run("id -u; dpkg --version | head -n 1; touch /usr/bin/x; echo done");
    let out = &ended(&done, 0).out;
    assert!(out.starts_with("0\n") && out.ends_with("\ndone\n"), "{out}");
    ended(&run("test ! -e /usr/bin/x"), 0);
}

#[test]
fn options_win_and_a_command_replaces_that_of_the_image() {
    let Some(shop) = Workshop::new() else { return };
    if !shop.umoci() {
        return;
    }
    let script = "id -u; pwd; echo $A";
    let done = shop.run("oci").command(&[&"sh", &"-c", &script]).run();
    assert_eq!(ended(&done, 0).out, "1234\n/not/there\nb\n");
    let done = shop
        .run("oci")
        .options("--uid 5 --cwd /etc --env A=mine")
        .command(&[&"sh", &"-c", &script])
        .run();
    assert_eq!(ended(&done, 0).out, "5\n/etc\nmine\n");
    let file = shop.path().join("box.toml");
    let text = "sandbox = \"oci\"\nimage-cache = \"cache\"\nimage = \"bb\"\n\
                platform = \"linux/amd64\"\ncwd = \"/work\"\nread-only = true\n[volume]\n\"/data\" = \"vol\"\n\
                [env]\nA = \"file\"\n";
    fs::write(&file, text).unwrap();
    fs::create_dir(shop.path().join("vol")).unwrap();
    fs::set_permissions(shop.path().join("vol"), fs::Permissions::from_mode(0o777)).unwrap();
    let script = "pwd; echo $A; touch /data/x; touch /work/x || echo read-only";
    let output = Command::new(run_sandbox())
        .arg("--config")
        .arg(&file)
        .args(["--", "sh", "-c", script])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text, "/work\nfile\nread-only\n", "{output:?}");
    assert!(shop.path().join("vol/x").exists());
}

#[test]
fn volumes_are_given_or_empty_or_missing() {
    let Some(shop) = Workshop::new() else { return };
    let app = r#"{"exec": ["/bin/sh", "-c", "cat /data/f; echo y >/data/y; ls /data; echo z >/ro/z || echo closed"],
        "user": "0", "group": "0", "mountPoints": [
            {"name": "data", "path": "/data"}, {"name": "ro", "path": "/ro", "readOnly": true}]}"#;
    if !shop.actool(app) {
        return;
    }
    let volume = shop.path().join("volume");
    fs::create_dir(&volume).unwrap();
    fs::write(volume.join("f"), "given\n").unwrap();
    let done = shop.run("gz.aci").run();
    assert!(
        ended(&done, 125).err.contains("needs the volume data"),
        "{}",
        done.err
    );
    let named = |name: &str| {
        let mut value = std::ffi::OsString::from(format!("{name}="));
        value.push(&volume);
        value
    };
    let done = shop
        .run("gz.aci")
        .option("--volume", &[&named("data")])
        .option("--volume", &[&named("ro")])
        .run();
    assert_eq!(ended(&done, 0).out, "given\nf\ny\nclosed\n");
    assert!(volume.join("y").exists() && !volume.join("z").exists());
    let done = shop
        .run("gz.aci")
        .option("--volume", &[&named("other")])
        .run();
    assert!(
        ended(&done, 125).err.contains("no such volume"),
        "{}",
        done.err
    );

    let report = shop.path().join("report");
    let done = shop
        .run("gz.aci")
        .options("--prefer volumes")
        .option("--report", &[&report])
        .run();
    assert_eq!(ended(&done, 0).out, "y\n");
    let report: Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
    let not_enforced = report["not_enforced"].as_array().unwrap();
    let volumes: Vec<&Value> = not_enforced
        .iter()
        .filter(|d| d["feature"] == "volumes")
        .collect();
    assert_eq!(volumes.len(), 2, "{report}");
    assert_eq!(report["image"]["format"], "app-container");
}

#[test]
fn isolators_and_handlers() {
    let Some(shop) = Workshop::new() else { return };
    let app = r#"{"exec": ["/bin/sh", "-c", "cat /pre; echo run; echo main >/main; hostname x || echo no"],
        "user": "0", "group": "0",
        "eventHandlers": [{"name": "pre-start", "exec": ["/bin/sh", "-c", "echo first >/pre"]},
                          {"name": "post-stop", "exec": ["/bin/cat", "/main"]}],
        "isolators": [
            {"name": "resource/memory", "value": {"limit": "100M"}},
            {"name": "resource/cpu", "value": {"limit": "500m"}},
            {"name": "os/linux/no-new-privileges", "value": true},
            {"name": "os/linux/capabilities-remove-set", "value": {"set": ["CAP_KILL"]}},
            {"name": "os/linux/seccomp-remove-set",
             "value": {"set": ["chmod", "fchmod", "fchmodat"], "errno": "EACCES"}},
            {"name": "resource/network-bandwidth", "value": {"default": true, "limit": "1G"}}]}"#;
    if !shop.actool(app) {
        return;
    }
    let report = shop.path().join("report");
    let done = shop.run("gz.aci").option("--report", &[&report]).run();
    assert_eq!(ended(&done, 0).out, "first\nrun\nno\nmain\n");
    for named in ["resource/cpu", "resource/network-bandwidth"] {
        assert!(done.err.contains(named), "{named}: {}", done.err);
    }
    let report: Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
    assert_eq!(report["limits"][0]["limit"], "memory", "{report}");
    assert_eq!(report["seccomp"], "rules");
    assert!(report.get("changes").is_none(), "{report}");

    let script = "grep CapPrm /proc/self/status; chmod 700 /etc || echo refused";
    let done = shop.run("gz.aci").command(&[&"sh", &"-c", &script]).run();
    let without_kill = 0xfb_u64 & !(1 << 5) & !(1 << 2);
    let bits = format!("{without_kill:016x}");
    assert!(done.out.contains("refused"), "{}{}", done.out, done.err);
    // chown, dac_override, fowner, fsetid, setgid, setuid; not kill.
    assert!(
        done.out.contains("00000000000000db"),
        "{bits}: {}",
        done.out
    );

    let done = shop.run("gz.aci").options("--explain").run();
    for line in [
        "label: version = 1.2",
        "pre-start: /bin/sh",
        "not supported: ",
    ] {
        assert!(done.out.contains(line), "{line}: {}", done.out);
    }
    let done = shop.run("gz.aci").options("--explain=json").run();
    let plan: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!(plan["image"]["labels"]["version"], "1.2");

    // Only these calls, and then by number of the error.
    let app = r#"{"exec": ["/bin/sh", "-c", "mkdir /d || echo refused; echo x >/x; cat /x"],
        "user": "0", "group": "0", "isolators": [
            {"name": "os/linux/seccomp-retain-set", "value": {"errno": "EACCES", "set": ["read",
             "write", "open", "openat", "close", "execve", "exit", "exit_group", "brk", "mmap",
             "munmap", "fork", "vfork", "clone", "wait4", "dup2", "fcntl", "rt_sigaction",
             "rt_sigprocmask", "rt_sigreturn", "stat", "newfstatat", "fstat", "lstat", "getpid",
             "getppid", "getuid", "geteuid", "getgid", "getegid", "arch_prctl", "set_tid_address",
             "set_robust_list", "prlimit64", "readlink", "getrandom", "mprotect", "ioctl", "uname",
             "getcwd", "rseq", "sendfile", "sendfile64", "lseek", "poll", "prctl", "pipe2"]}}]}"#;
    assert!(shop.actool(app));
    let done = shop.run("gz.aci").run();
    assert_eq!(ended(&done, 0).out, "refused\nx\n", "{}", done.err);
}

#[test]
fn promised_paths_are_there() {
    let Some(shop) = Workshop::new() else { return };
    sh(shop.path(), "tar -C rootfs -cf root.tar .");
    let script = "test -e /proc/1/status && test -c /dev/null && test -d /dev/shm && \
                  test -d /sys/kernel && ls /sys/firmware && touch /sys/x || echo read-only";
    let done = shop.run("root.tar").command(&[&"sh", &"-c", &script]).run();
    assert_eq!(ended(&done, 0).out, "read-only\n", "{}", done.err);
}

#[test]
fn what_runs_change_stays_out_of_the_cache() {
    let Some(shop) = Workshop::new() else { return };
    sh(shop.path(), "tar -C rootfs -cf root.tar .");
    let change = "echo more >>/etc/passwd; rm /etc/gone; rm -rf /var; echo x >/new; chmod 700 /bin; \
                  mkdir /made; ls / | sort | head -n 3; exit 5";
    let roots = shop.path().join("cache/roots");
    // One with its owners and one with one id are two roots.
    let first = |options: &str| {
        let done = shop.run("root.tar").options(options).command(&[&"true"]);
        ended(&done.run(), 0);
        let before = listing(&roots);
        assert!(before.len() > 10);
        before
    };
    let mut ways = vec!["", "--read-only", "--map-subordinate"];
    if have("bwrap", "bubblewrap") {
        // It has no overlay, so the run gets a copy.
        ways.push("--backend bubblewrap");
    }
    for options in ways {
        let done = shop.run("root.tar").options(options);
        if options == "--map-subordinate" {
            let done = done.clone().command(&[&"true"]).run();
            if done.status.code() == Some(125) {
                // Not every user has subordinate ids.
                assert!(done.err.contains("subordinate"), "{}", done.err);
                continue;
            }
        }
        let before = first(options);
        let done = done.command(&[&"sh", &"-c", &change]).run();
        ended(&done, 5);
        if options != "--read-only" {
            assert_eq!(done.err, "", "{options}");
        }
        assert_eq!(listing(&roots), before, "{options}");
        let left = fs::read_dir(shop.path().join("cache/work"))
            .unwrap()
            .count();
        assert_eq!(left, 0, "{options}");
    }
    let done = shop.run("root.tar").options("--writable /etc").run();
    assert!(ended(&done, 125).err.contains("--writable"), "{}", done.err);

    // What is kept, is kept elsewhere, and listed.
    let changes = shop.path().join("changes");
    let elsewhere = shop.path().join("elsewhere");
    let before = first(&format!("--overlay-changes {}", elsewhere.display()));
    let done = shop
        .run("root.tar")
        .option("--overlay-changes", &[&changes])
        .command(&[&"sh", &"-c", &change])
        .run();
    assert!(ended(&done, 5).err.contains("- /etc/gone"), "{}", done.err);
    assert_eq!(listing(&roots), before);
}

fn cache(shop: &Workshop, action: &str) -> String {
    let output = Command::new(run_sandbox())
        .args(["--cache", action, "--image-cache"])
        .arg(shop.path().join("cache"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_cache_is_listed_and_pruned() {
    let Some(shop) = Workshop::new() else { return };
    sh(shop.path(), "tar -C rootfs -cf root.tar .");
    ended(&shop.run("root.tar").command(&[&"true"]).run(), 0);
    let list = cache(&shop, "list");
    assert!(
        list.contains("root.tar") && list.lines().count() == 1,
        "{list}"
    );
    // What is in use stays.
    let mut line = shop
        .run("root.tar")
        .command(&[&"sh", &"-c", &"echo up; sleep 60"])
        .line();
    let mut running = line
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 3];
    running
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut first)
        .unwrap();
    assert_eq!(cache(&shop, "prune"), "");
    running.kill().unwrap();
    running.wait().unwrap();
    assert!(cache(&shop, "prune").starts_with("removed root"));
    assert_eq!(cache(&shop, "list"), "");
}

#[test]
fn what_is_no_image_is_told() {
    let Some(shop) = Workshop::new() else { return };
    fs::write(shop.path().join("text"), "some text\n").unwrap();
    fs::write(shop.path().join("empty"), "").unwrap();
    for name in ["text", "empty"] {
        let done = shop.run(name).run();
        assert!(
            ended(&done, 125).err.contains("is no image"),
            "{}",
            done.err
        );
        assert_eq!(done.err.lines().count(), 1, "{}", done.err);
    }
    let done = RunSandbox::new(shop.path().join("rootfs"))
        .options("--image x")
        .run();
    assert!(
        ended(&done, 125).err.contains("is no image"),
        "{}",
        done.err
    );
}

/// How many rounds, as in tests/limits.
fn rounds() -> usize {
    let said = std::env::var("SANDBOXLIB_ROUNDS").ok();
    said.map_or(20, |text| text.parse().unwrap())
}

#[test]
fn fifty_at_once_and_a_third_of_them_killed() {
    const MANY: usize = 50;
    let Some(shop) = Workshop::new() else { return };
    if !shop.umoci() {
        return;
    }
    let start = |cache: &Path| -> Child {
        RunSandbox::new(shop.path().join("oci"))
            .option("--image-cache", &[&cache])
            .line()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let begin = Instant::now();
    let alone = shop.path().join("alone");
    assert_eq!(start(&alone).wait().unwrap().code(), Some(3));
    let whole = listing(&alone.join("roots")).len();
    let span = begin.elapsed() * 8;
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut died = 0;
    for round in 0..rounds() {
        let dir = shop.path().join(format!("cache{round}"));
        let mut running: Vec<(Child, Option<Instant>)> = (0..MANY)
            .map(|n| {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                let wait = span.mul_f64(f64::from((seed % 1000) as u16) / 1000.0);
                (start(&dir), (n % 3 == 0).then(|| Instant::now() + wait))
            })
            .collect();
        while let Some(next) = running.iter().filter_map(|(_, at)| *at).min() {
            thread::sleep(next.saturating_duration_since(Instant::now()));
            for (child, at) in &mut running {
                if at.is_some_and(|at| at <= next) {
                    child.kill().unwrap();
                    *at = None;
                }
            }
        }
        for (n, (mut child, _)) in running.into_iter().enumerate() {
            let status = child.wait().unwrap();
            assert!(
                status.code() == Some(3) || n % 3 == 0,
                "round {round}: {status}"
            );
            died += usize::from(status.code().is_none());
        }
        // Whole, and whoever comes next finds it.
        assert_eq!(start(&dir).wait().unwrap().code(), Some(3));
        assert_eq!(listing(&dir.join("roots")).len(), whole);
        let output = Command::new(run_sandbox())
            .args(["--cache", "prune", "--image-cache"])
            .arg(&dir)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        for name in ["work", "roots", "layers"] {
            let left = fs::read_dir(dir.join(name)).unwrap().count();
            assert_eq!(left, 0, "{name}");
        }
    }
    assert!(
        died > 0,
        "nobody was killed in time: the test shows nothing"
    );
}
