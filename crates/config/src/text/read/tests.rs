use super::*;
use crate::{Capabilities, Feature, Ids, RootAccess};

fn read(text: &str) -> Settings {
    toml::from_str(text).unwrap_or_else(|e| panic!("{e}"))
}

/// The message, and the text that it points at.
fn error(text: &str) -> (String, &str) {
    let error = toml::from_str::<Settings>(text).unwrap_err();
    (
        error.message().to_owned(),
        error.span().map_or("", |span| &text[span]),
    )
}

#[test]
fn every_key() {
    let settings = read(
        r#"
        sandbox = "root"
        backend = ["userns", "chroot"]
        writable = "/var/cache"
        network = "shared"
        share = "ipc"
        isolate = ["time"]
        uid = 1000
        gid = 100
        cap-add = []
        hostname = "box"
        prefer = ["network", "mask"]
        cwd = "/build"
        inherit-env = false
        timeout = "1.5m"
        cpu-time = 10
        memory = "512M"
        processes = 64
        file-size = "1G"
        open-files = 256
        stack = "8M"
        core = 0
        output = "1M"
        kill-after = "5s"
        cgroup = "/sys/fs/cgroup/mine"
        command = ["make", "check"]
        [env]
        LANG = "C.UTF-8"
        HOME = true
        [[mount]]
        type = "ro-bind"
        source = "src"
        target = "/build"
        [[mount]]
        type = "tmpfs"
        target = "/var/tmp"
        size = "1M"
        perms = "755"
        cover = true
        [[mount]]
        type = "file"
        source = "passwd"
        target = "/etc/passwd"
        [[mount]]
        type = "file"
        text = "hello"
        target = "/etc/motd"
        "#,
    );
    let config = settings
        .config(|path| Ok(path.to_str().unwrap().into()))
        .unwrap();
    assert_eq!(config.root, crate::Root::Dir("root".into()));
    assert_eq!(
        config.root_access,
        Some(RootAccess::ReadOnlyExcept(vec![
            SandboxPath::new("/var/cache").unwrap()
        ]))
    );
    assert_eq!(
        config.ids,
        Ids::Pair {
            uid: 1000,
            gid: 100
        }
    );
    assert_eq!(config.capabilities, Capabilities::Only(vec![]));
    assert!(config.prefer.contains(Feature::Mask) && config.prefer.contains(Feature::Pid));
    let limits = Limits {
        wall: Some(Duration::from_secs(90)),
        cpu_time: Some(Duration::from_secs(10)),
        memory: Some(512 << 20),
        processes: Some(64),
        file_size: Some(1 << 30),
        open_files: Some(256),
        stack: Some(8 << 20),
        core: Some(0),
        output: Some(1 << 20),
        kill_after: Some(Duration::from_secs(5)),
    };
    assert_eq!(config.limits, limits);
    let below = ControlGroups::Below("/sys/fs/cgroup/mine".into());
    assert_eq!(config.control_groups, below);
    assert_eq!(settings.env[&OsString::from("HOME")], None);
    assert_eq!(
        config.mounts[3].kind,
        MountKind::Bind {
            source: "src".into(),
            access: Access::ReadOnly
        }
    );
    assert_eq!(
        config.mounts[4].kind,
        MountKind::Tmpfs {
            size: Some(1 << 20),
            mode: 0o755
        }
    );
    assert!(config.mounts[4].covers);
    assert_eq!(
        config.mounts[5].kind,
        MountKind::File {
            data: b"passwd"[..].into(),
            mode: 0o644
        }
    );
    assert_eq!(
        config.mounts[6].kind,
        MountKind::File {
            data: b"hello"[..].into(),
            mode: 0o644
        }
    );
    assert_eq!(
        read("timeout = 2").limits.wall,
        Some(Duration::from_secs(2))
    );
    assert_eq!(
        read("timeout = 0.5").limits.wall,
        Some(Duration::from_millis(500))
    );
    assert_eq!(read("root = true").gid, Some(0));
}

#[test]
fn an_error_points_at_what_is_wrong() {
    for (text, message, place) in [
        (
            "bare = true\nred-only = true",
            "unknown field `red-only`",
            "red-only",
        ),
        ("network = \"none\"", "neither \"isolated\" nor", "\"none\""),
        ("processes = 0", "not a number from 1 up", "0"),
        ("memory = \"all\"", "not a size", "\"all\""),
        ("timeout = \"soon\"", "not a span of time", "\"soon\""),
        ("timeout = 0", "no time at all", "0"),
        ("timeout = -1.5", "not a span of time", "-1.5"),
        ("timeout = nan", "not a span of time", "nan"),
        (
            "prefer = [\"network\",\n\"net\"]",
            "unknown feature \"net\"",
            "\"net\"",
        ),
        ("share = [\"network\"]", "unknown namespace", "\"network\""),
        ("uid = -1", "expected an id", "-1"),
        ("uid = 4294967295", "expected an id", "4294967295"),
        ("writable = [\"/a\", \"b\"]", "is relative", "\"b\""),
        ("cwd = \"/a/../b\"", "'..'", "\"/a/../b\""),
        ("cwd = \"/a\\u0000b\"", "NUL", "\"/a\\u0000b\""),
        ("command = [\"a\\u0000b\"]", "NUL", "\"a\\u0000b\""),
        ("hostname = \"\"", "empty", "\"\""),
        ("bare = true\ncommand = []", "empty", "[]"),
        ("command = [\"a\", 1]", "expected a string", "1"),
        ("[env]\nA = 1", "or true for the caller's", "1"),
        ("[env]\nA = false", "or true for the caller's", "false"),
        ("[env]\n\"A=B\" = \"1\"", "name of a variable", "\"A=B\""),
        ("sandbox = [1]", "expected a path", "[1]"),
        (
            "[[mount]]\ntype = \"zfs\"\ntarget = \"/a\"",
            "known are: bind",
            "\"zfs\"",
        ),
        (
            "[[mount]]\ntype = \"dir\"\ntarget = \"/a\"\nperms = 755",
            "string",
            "755",
        ),
        (
            "[[mount]]\ntype = \"dir\"\ntarget = \"/a\"\nsise = 1",
            "unknown field",
            "sise",
        ),
    ] {
        let (said, pointed) = error(text);
        assert!(said.contains(message), "{text}: {said}");
        assert_eq!(pointed, place, "{text}: {said}");
    }
}

#[test]
fn what_of_the_host_is_seen() {
    let settings = read(
        "sandbox = \"/\"\nhost-secrets = \"hidden\"\nreadable = \"/home/me/.cargo\"\n\
         allow-socket = [\"/run/a\", \"/run/b\"]",
    );
    let config = settings.config(|_| Ok(Vec::new())).unwrap();
    let at = |path| SandboxPath::new(path).unwrap();
    assert_eq!(config.readable, [at("/home/me/.cargo")]);
    assert_eq!(config.sockets, [at("/run/a"), at("/run/b")]);
    assert!(config.hides_secrets());
    let (said, place) = error("host-secrets = true");
    assert!(said.contains("\"hidden\" or \"shown\""), "{said}");
    assert_eq!(place, "true");
}

#[test]
fn an_error_about_a_mount_points_at_that_mount() {
    let good = "[[mount]]\ntype = \"proc\"\ntarget = \"/proc\"\n";
    for (bad, message) in [
        (
            "[[mount]]\ntype = \"bind\"\ntarget = \"/a\"\n",
            "needs `source`",
        ),
        ("[[mount]]\ntype = \"mask\"\n", "missing field `target`"),
        (
            "[[mount]]\ntype = \"proc\"\ntarget = \"/a\"\nsize = 1\n",
            "means nothing",
        ),
        (
            "[[mount]]\ntype = \"symlink\"\ntarget = \"/a\"\n",
            "needs `to`",
        ),
    ] {
        let text = format!("{good}{bad}{good}");
        let error = toml::from_str::<Settings>(&text).unwrap_err();
        assert!(error.message().contains(message), "{}", error.message());
        let at = error.span().unwrap().start;
        assert!(
            (good.len()..good.len() + bad.len()).contains(&at),
            "{bad}: {at}"
        );
    }
}

#[test]
fn contradictions() {
    for (text, message) in [
        ("root = true\nuid = 5", "leave `uid` and `gid` out"),
        ("map-subordinate = true\nuid = 5", "excludes"),
        ("share = \"pid\"\nisolate = \"pid\"", "both name pid"),
    ] {
        assert!(error(text).0.contains(message), "{text}");
    }
}
