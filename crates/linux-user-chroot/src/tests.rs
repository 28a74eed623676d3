use sandboxlib_config::{
    Config, Feature, Ids, Isolation, Mount, MountKind, Network, Root, RootAccess, SandboxPath,
};
use sandboxlib_core::{KernelVersion, Os, ScratchKind, negotiate};
use sandboxlib_mount::{MemoryFs, plan};

use super::*;

const OURS: &str = "linux-user-chroot 2015.1 (sandboxlib 0.1.0)";
const CLASSIC: &str = "linux-user-chroot 2015.1";

fn at(path: impl AsRef<Path>) -> SandboxPath {
    SandboxPath::new(path).unwrap()
}

fn facts(uid: u32, version: &str) -> HostFacts {
    let mut facts = HostFacts::linux(uid, uid);
    facts.helpers = vec![HelperFact {
        wanted: "linux-user-chroot".into(),
        path: "/usr/bin/linux-user-chroot".into(),
        version: version.into(),
        setuid_root: version == CLASSIC,
    }];
    facts
}

fn files() -> MemoryFs {
    MemoryFs::new()
        .dir("/r/usr/bin")
        .dir("/r/proc")
        .dir("/r/dev")
        .dir("/r/tmp")
        .dir("/r/home/a")
        .file("/r/etc/secret")
        .symlink("/r/bin", "usr/bin")
        .dir("/src/sub")
        .dir("/sys/src")
        .file("/one")
        .socket("/daemon/socket")
}

fn plain() -> Config {
    let mut config = Config::new(Root::Dir("/r".into()));
    config.network = Network::Shared;
    config.namespaces.pid = Isolation::Shared;
    config.namespaces.ipc = Isolation::Shared;
    config.namespaces.uts = Isolation::Shared;
    config.namespaces.cgroup = Isolation::Shared;
    config
}

fn call(config: &Config, facts: &HostFacts) -> Result<HelperCall, String> {
    let backend = LinuxUserChroot::default();
    let effective = negotiate(config, &backend.support(facts)).map_err(|e| e.to_string())?;
    let plan = plan(effective.config(), &files()).map_err(|e| e.to_string())?;
    match backend.prepare(&effective, plan, facts) {
        Ok(Launch::Helper(call)) => Ok(call),
        Ok(other) => panic!("{other:?}"),
        Err(e) => Err(e.to_string()),
    }
}

/// The options after `--chdir` and the root, each with its values on one line.
fn mounts(config: &Config) -> Vec<String> {
    let call = call(config, &facts(1000, CLASSIC)).unwrap();
    let mut lines: Vec<String> = Vec::new();
    for word in call.arguments(&at("/")) {
        let word = word.to_str().unwrap();
        match lines.last_mut() {
            Some(line) if !word.starts_with("--") => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[test]
fn a_socket_is_closed_by_an_empty_file() {
    let mut config = plain();
    config.mounts = vec![Mount::bind_read_only("/daemon", at("/tmp"))];
    let wanted = "--mount-bind /daemon /tmp
--mount-readonly /tmp
--mount-bind <scratch>/0 /tmp/socket
--mount-readonly /tmp/socket /r";
    let found = mounts(&config).join("\n");
    assert!(found.ends_with(wanted), "{found}");
    let scratch = call(&config, &facts(1000, OURS)).unwrap().scratch;
    let [file] = scratch.as_slice() else {
        panic!("{scratch:?}")
    };
    assert_eq!(file.kind, ScratchKind::File([].into(), 0));
    config.sockets = vec![at("/tmp/socket")];
    assert!(!mounts(&config).join("\n").contains("socket"));
}

#[test]
fn the_whole_line() {
    let config = Config::new(Root::Dir("/r".into()));
    let wanted = "--unshare-ipc\n--unshare-pid\n--unshare-net\n--chdir / /r";
    assert_eq!(mounts(&config).join("\n"), wanted);
    let root = call(&plain(), &facts(0, OURS)).unwrap();
    assert_eq!(root.before, [Step::ClearGroups, Step::Keyring]);
    assert_eq!((root.on_failure, root.reports), (Started::Unknown, None));
    assert_eq!(
        call(&plain(), &facts(1000, OURS)).unwrap().before,
        [Step::Keyring]
    );
}

#[test]
fn a_read_only_root_is_put_together_elsewhere() {
    let mut config = plain();
    config.root_access = Some(RootAccess::ReadOnlyExcept(vec![
        at("/home/a"),
        at("/etc/secret"),
    ]));
    let wanted = "--chdir /
--mount-bind /r /
--mount-readonly /
--mount-bind /r/etc/secret /etc/secret
--mount-bind /r/home/a /home/a /sys";
    assert_eq!(mounts(&config).join("\n"), wanted);
    // Not where something is bound from.
    config.mounts.push(Mount::bind("/sys/src", at("/tmp")));
    assert!(
        mounts(&config)
            .join("\n")
            .ends_with("--mount-bind /sys/src /tmp /mnt")
    );
    // A root that can be written to may stay where it is, unless something is bound from it.
    let mut config = plain();
    config.mounts = vec![Mount::bind("/src", at("/home"))];
    assert_eq!(
        mounts(&config).join("\n"),
        "--chdir /\n--mount-bind /src /home /r"
    );
    config.mounts = vec![Mount::bind("/r/etc", at("/home"))];
    let wanted = "--chdir /\n--mount-bind /r /\n--mount-bind /r/etc /home /sys";
    assert_eq!(mounts(&config).join("\n"), wanted);
}

#[test]
fn own_files_are_in_a_private_directory() {
    let mut config = plain();
    config.mounts = vec![
        Mount::new(at("/proc"), MountKind::Proc),
        Mount::new(at("/dev"), MountKind::Dev),
        Mount::tmpfs(at("/tmp")),
        Mount::new(at("/tmp/d"), MountKind::Dir { mode: 0o750 }),
        Mount::new(at("/tmp/l"), MountKind::Symlink { to: "to".into() }),
        Mount::new(
            at("/tmp/f"),
            MountKind::File {
                data: b"x"[..].into(),
                mode: 0o640,
            },
        ),
        Mount::bind_read_only("/one", at("/etc/secret")),
    ];
    let wanted = "--chdir /
--mount-proc /proc
--mount-devapi /dev
--mount-bind <scratch>/0 /tmp
--mount-bind <scratch>/1 /tmp/f
--mount-readonly /tmp/f
--mount-bind /one /etc/secret
--mount-readonly /etc/secret /r";
    assert_eq!(mounts(&config).join("\n"), wanted);
    let scratch = call(&config, &facts(1000, CLASSIC)).unwrap().scratch;
    let shown: Vec<_> = scratch
        .iter()
        .map(|e| format!("{} {:?}", e.path.display(), e.kind))
        .collect();
    let wanted = [
        "0 Dir(1023)",
        "0/d Dir(488)",
        "0/l Symlink(\"to\")",
        "0/f File([], 420)",
        "1 File([120], 416)",
    ];
    assert_eq!(shown, wanted);
}

#[test]
fn shadows_are_too() {
    let mut config = plain();
    config.root_access = Some(RootAccess::ReadOnly);
    config.mounts = vec![Mount::bind("/src", at("/build"))];
    let wanted = "--chdir /
--mount-bind <scratch>/0 /
--mount-readonly /
--mount-bind /r/dev /dev
--mount-readonly /dev
--mount-bind /r/etc /etc
--mount-readonly /etc
--mount-bind /r/home /home
--mount-readonly /home
--mount-bind /r/proc /proc
--mount-readonly /proc
--mount-bind /r/tmp /tmp
--mount-readonly /tmp
--mount-bind /r/usr /usr
--mount-readonly /usr
--mount-bind /src /build /sys";
    assert_eq!(mounts(&config).join("\n"), wanted);
    let scratch = call(&config, &facts(1000, CLASSIC)).unwrap().scratch;
    assert!(scratch.iter().any(|e| e.path == Path::new("0/build")));
    let link = ScratchKind::Symlink("usr/bin".into());
    assert!(
        scratch
            .iter()
            .any(|e| e.path == Path::new("0/bin") && e.kind == link)
    );
}

#[test]
fn the_limit_of_options_is_told_before_the_run() {
    let with = |binds: usize| {
        let mut config = plain();
        for _ in 0..binds {
            config
                .mounts
                .push(Mount::bind("/src", at("/home")).covering());
        }
        config
    };
    // One is --chdir.
    assert!(call(&with(1022), &facts(1000, CLASSIC)).is_ok());
    let said = call(&with(1023), &facts(1000, CLASSIC)).unwrap_err();
    assert!(
        said.contains("1023 options at most") && said.contains("needs 1024"),
        "{said}"
    );
    assert!(
        call(&with(3000), &facts(1000, OURS)).is_ok(),
        "ours has no limit"
    );
}

#[test]
fn whether_it_can_be_used() {
    let usable = |facts: &HostFacts| LinuxUserChroot::default().support(facts).usable().is_ok();
    assert!(usable(&facts(1000, OURS)) && usable(&facts(1000, CLASSIC)));
    assert!(usable(&facts(0, OURS)) && usable(&facts(0, CLASSIC)));
    let mut bare = facts(1000, CLASSIC);
    bare.helpers[0].setuid_root = false;
    assert!(!usable(&bare));
    let mut off = facts(1000, OURS);
    off.max_user_namespaces = Some(0);
    assert!(!usable(&off));
    off.helpers = facts(1000, CLASSIC).helpers;
    assert!(usable(&off), "it needs no user namespace");
    off.helpers.clear();
    assert!(!usable(&off));
    let mut other = facts(0, OURS);
    other.os = Os::MacOs;
    assert!(!usable(&other));
    let mut old = facts(0, CLASSIC);
    old.kernel = Some(KernelVersion(4, 18));
    assert!(!usable(&old));
    old.kernel = Some(KernelVersion(5, 10));
    assert!(usable(&old));
}

#[test]
fn what_it_lacks_is_refused() {
    let classic = facts(1000, CLASSIC);
    let refused = |change: &dyn Fn(&mut Config), facts: &HostFacts, word: &str| {
        let mut config = plain();
        change(&mut config);
        let said = call(&config, facts).unwrap_err();
        assert!(said.contains(word), "{word}: {said}");
    };
    refused(&|c| c.ids = Ids::ROOT, &classic, "ids");
    refused(
        &|c| c.namespaces.ipc = Isolation::Isolated,
        &classic,
        "together",
    );
    refused(
        &|c| {
            c.hostname = Some("box".into());
            c.namespaces.ipc = Isolation::Isolated;
            c.namespaces.uts = Isolation::Isolated;
        },
        &classic,
        "host name",
    );
    let mask = |c: &mut Config| c.mounts = vec![Mount::new(at("/usr"), MountKind::Mask)];
    refused(&mask, &classic, "mask");
    let sized = MountKind::Tmpfs {
        size: Some(1),
        mode: 0o755,
    };
    refused(
        &|c| c.mounts = vec![Mount::new(at("/tmp"), sized.clone())],
        &classic,
        "size",
    );
    let missing = |c: &mut Config| c.mounts = vec![Mount::bind("/src", at("/new"))];
    refused(&missing, &classic, "missing");
    let caps = |c: &mut Config| c.capabilities = Capabilities::Only(vec!["chown".into()]);
    refused(&caps, &classic, "capabilities");
    // Root with all capabilities could make the root writable again.
    let read_only = |c: &mut Config| c.root_access = Some(RootAccess::ReadOnly);
    refused(&read_only, &facts(0, CLASSIC), "capability");
    let support = LinuxUserChroot::default().support(&facts(0, OURS));
    assert!(support.feature(Feature::ReadOnly).is_ok());
}
