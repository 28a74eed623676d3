use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use sandboxlib_config::{
    Config, Feature, FeatureSet, Ids, Isolation, Mount, MountKind, Network, Root, RootAccess,
    SandboxPath, UserNamespace,
};
use sandboxlib_core::{HelperFact, IdRange, KernelVersion, Os, Step, negotiate};
use sandboxlib_mount::{MemoryFs, PlanStep, plan};

use super::*;

fn at(path: impl AsRef<Path>) -> SandboxPath {
    SandboxPath::new(path).unwrap()
}

fn facts(uid: u32, version: &str) -> HostFacts {
    let mut facts = HostFacts::linux(uid, uid);
    facts.helpers = vec![HelperFact {
        wanted: "bwrap".into(),
        path: "/usr/bin/bwrap".into(),
        version: version.into(),
        setuid_root: false,
    }];
    facts
}

fn user() -> HostFacts {
    facts(1000, "bubblewrap 0.8.0")
}

fn root() -> HostFacts {
    facts(0, "bubblewrap 0.11.1")
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
        .file("/one")
        .socket("/daemon/socket")
}

/// A configuration that shares everything, so that options stand out.
fn plain() -> Config {
    let mut config = Config::new(Root::Dir("/r".into()));
    config.network = Network::Shared;
    config.namespaces.pid = Isolation::Shared;
    config.namespaces.ipc = Isolation::Shared;
    config.namespaces.uts = Isolation::Shared;
    config.namespaces.cgroup = Isolation::Shared;
    config.seccomp = Seccomp::None;
    config.allow_nested = true;
    config
}

fn call(config: &Config, facts: &HostFacts) -> Result<HelperCall, String> {
    let backend = Bubblewrap::default();
    let effective = negotiate(config, &backend.support(facts)).map_err(|e| e.to_string())?;
    let plan = plan(effective.config(), &files()).map_err(|e| e.to_string())?;
    match backend.prepare(&effective, plan, facts) {
        Ok(Launch::Helper(call)) => Ok(call),
        Ok(other) => panic!("{other:?}"),
        Err(e) => Err(e.to_string()),
    }
}

/// The words, with an option and its values on one line.
fn lines(config: &Config, facts: &HostFacts) -> Vec<String> {
    let call = call(config, facts).unwrap();
    let mut lines: Vec<String> = Vec::new();
    for word in call.arguments(&at("/work")) {
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

/// What differs from a configuration that asks for nothing.
fn mounts(config: &Config) -> Vec<String> {
    let lines = lines(config, &user());
    let from = lines.iter().position(|l| l == "--cap-drop ALL").unwrap() + 1;
    lines[from..lines.len() - 2].to_vec()
}

#[test]
fn the_whole_line() {
    let mut config = Config::new(Root::Dir("/r".into()));
    config.hostname = Some("box".into());
    let wanted = "--json-status-fd <report>
--die-with-parent
--new-session
--unshare-user
--unshare-pid
--unshare-ipc
--unshare-uts
--unshare-net
--unshare-cgroup
--hostname box
--cap-drop ALL
--seccomp <filter: build, no further namespaces>
--bind /r /
--chdir /work
--";
    assert_eq!(lines(&config, &user()).join("\n"), wanted);
    let call = call(&config, &user()).unwrap();
    assert_eq!(call.program, Path::new("/usr/bin/bwrap"));
    assert_eq!(
        (call.on_failure, call.reports),
        (Started::Unknown, Some("\"exit-code\""))
    );
    assert_eq!(call.before, []);
}

#[test]
fn nothing_is_isolated_that_was_not_asked_for() {
    let wanted = ["--unshare-user", "--cap-drop ALL", "--bind /r /"];
    assert_eq!(lines(&plain(), &user())[3..6], wanted);
}

#[test]
fn mounts_in_the_order_given() {
    let mut config = plain();
    config.mounts = vec![
        Mount::new(at("/proc"), MountKind::Proc),
        Mount::new(at("/dev"), MountKind::Dev),
        Mount::new(
            at("/tmp"),
            MountKind::Tmpfs {
                size: Some(4096),
                mode: 0o1777,
            },
        ),
        Mount::new(at("/tmp/d"), MountKind::Dir { mode: 0o750 }),
        Mount::new(at("/tmp/l"), MountKind::Symlink { to: "to".into() }),
        Mount::bind_read_only("/src", at("/home")),
        Mount::bind("/one", at("/tmp/one")),
        Mount::new(at("/etc/secret"), MountKind::Mask),
        Mount::new(at("/usr"), MountKind::Mask),
        Mount::new(
            at("/tmp/f"),
            MountKind::File {
                data: b"data"[..].into(),
                mode: 0o640,
            },
        ),
    ];
    let wanted = "--bind /r /
--proc /proc
--dev /dev
--perms 1777
--tmpfs /dev/shm
--size 4096
--perms 1777
--tmpfs /tmp
--perms 0750
--dir /tmp/d
--symlink to /tmp/l
--ro-bind /src /home
--bind /one /tmp/one
--ro-bind /dev/null /etc/secret
--perms 0000
--tmpfs /usr
--remount-ro /usr
--perms 0640
--ro-bind-data <4 bytes> /tmp/f
--remount-ro /dev";
    assert_eq!(mounts(&config).join("\n"), wanted);
}

#[test]
fn a_read_only_root_has_shadows() {
    let mut config = plain();
    config.root_access = Some(RootAccess::ReadOnlyExcept(vec![at("/home/a")]));
    assert_eq!(
        mounts(&config),
        ["--ro-bind /r /", "--bind /r/home/a /home/a"]
    );

    config.mounts = vec![
        Mount::bind("/src", at("/build")),
        Mount::bind_read_only("/one", at("/etc/one")),
    ];
    let wanted = "--perms 0755
--tmpfs /
--symlink usr/bin /bin
--ro-bind-try /r/dev /dev
--ro-bind-try /r/etc /etc
--ro-bind-try /r/home /home
--ro-bind-try /r/proc /proc
--ro-bind-try /r/tmp /tmp
--ro-bind-try /r/usr /usr
--perms 0755
--dir /build
--remount-ro /
--perms 0755
--tmpfs /etc
--ro-bind-try /r/etc/secret /etc/secret
--perms 0644
--file <0 bytes> /etc/one
--remount-ro /etc
--bind /r/home/a /home/a
--bind /src /build
--ro-bind /one /etc/one";
    assert_eq!(mounts(&config).join("\n"), wanted);
}

#[test]
fn a_shadow_in_a_bind_has_the_entries_of_its_source() {
    let mut config = plain();
    config.mounts = vec![
        Mount::bind_read_only("/src", at("/home")),
        Mount::bind("/one", at("/home/one")),
    ];
    let wanted = "--bind /r /
--ro-bind /src /home
--perms 0755
--tmpfs /home
--ro-bind-try /src/sub /home/sub
--perms 0644
--file <0 bytes> /home/one
--remount-ro /home
--bind /one /home/one";
    assert_eq!(mounts(&config).join("\n"), wanted);
}

#[test]
fn the_hosts_root() {
    let mut config = plain();
    config.root = Root::Host;
    config.hidden = Some(Vec::new());
    let closed = "--ro-bind /dev/null /daemon/socket";
    assert_eq!(mounts(&config), ["--ro-bind / /", closed]);
}

#[test]
fn a_devpts_that_bwrap_does_not_make_is_refused() {
    let backend = Bubblewrap::default();
    let effective = negotiate(&plain(), &backend.support(&user())).unwrap();
    let mut plan = plan(effective.config(), &files()).unwrap();
    plan.steps.push(PlanStep::Devpts { to: at("/home") });
    let said = backend.prepare(&effective, plan, &user()).unwrap_err();
    assert!(said.to_string().contains("devpts"), "{said}");
}

#[test]
fn ids_of_an_ordinary_user_are_mapped() {
    let mut config = plain();
    config.ids = Ids::ROOT;
    let found = lines(&config, &user());
    assert_eq!(found[3..6], ["--unshare-user", "--uid 0", "--gid 0"]);
    let added: Vec<_> = found
        .iter()
        .filter(|l| l.starts_with("--cap-add"))
        .collect();
    assert_eq!(added.len(), 7, "{added:?}");
    config.mounts.push(Mount::new(at("/usr"), MountKind::Mask));
    let masked = lines(&config, &user());
    assert!(!masked.contains(&"--cap-add CAP_DAC_OVERRIDE".to_owned()));
    config.capabilities = Capabilities::Only(vec!["dac_override".into()]);
    assert!(call(&config, &user()).unwrap_err().contains("masked"));
}

#[test]
fn a_socket_is_closed_by_something_that_is_none() {
    let mut config = plain();
    config.ids = Ids::ROOT;
    config.mounts = vec![Mount::bind_read_only("/daemon", at("/tmp"))];
    let closed = "--ro-bind /dev/null /tmp/socket".to_owned();
    let closing = lines(&config, &user());
    assert!(closing.contains(&closed), "{closing:?}");
    // Unlike a mask it takes no capability.
    assert!(closing.contains(&"--cap-add CAP_DAC_OVERRIDE".to_owned()));
    config.sockets = vec![at("/tmp/socket")];
    assert!(!lines(&config, &user()).contains(&closed));
}

#[test]
fn root_keeps_its_ids_and_becomes_another_before_bwrap_runs() {
    let mut config = plain();
    let own = call(&config, &root()).unwrap();
    assert_eq!(own.before, [Step::ClearGroups, Step::Keyring]);
    assert!(!lines(&config, &root()).contains(&"--unshare-user".to_owned()));
    config.ids = Ids::Pair { uid: 5, gid: 6 };
    let other = call(&config, &root()).unwrap();
    assert_eq!(
        other.before,
        [
            Step::ClearGroups,
            Step::Ids { uid: 5, gid: 6 },
            Step::Keyring
        ]
    );
    let words = lines(&config, &root());
    assert!(words.contains(&"--unshare-user".to_owned()));
    assert!(
        !words
            .iter()
            .any(|l| l.starts_with("--uid") || l.starts_with("--cap-add"))
    );
    config.namespaces.user = UserNamespace::Shared;
    assert!(call(&config, &root()).is_err());
}

#[test]
fn words_are_bytes_and_their_number_is_limited() {
    let odd = std::ffi::OsString::from_vec(b"/a\xff b".to_vec());
    let mut config = plain();
    config.mounts = vec![
        Mount::tmpfs(at("/tmp")),
        Mount::new(
            at(Path::new("/tmp/\u{e4}")),
            MountKind::Symlink { to: odd.clone() },
        ),
    ];
    let found = call(&config, &user()).unwrap();
    assert!(found.args.contains(&HelperArg::Text(odd.clone())));
    assert_eq!(odd.as_bytes(), OsStr::from_bytes(b"/a\xff b").as_bytes());
    for n in 0..5000 {
        let dir = MountKind::Dir { mode: 0o755 };
        config.mounts.push(Mount::new(at(format!("/tmp/{n}")), dir));
    }
    let said = call(&config, &user()).unwrap_err();
    assert!(said.contains("9000") && said.contains("200"), "{said}");
}

#[test]
fn whether_it_can_be_used() {
    let usable = |facts: &HostFacts| Bubblewrap::default().support(facts).usable().is_ok();
    for (version, good) in [
        ("bubblewrap 0.8.0", true),
        ("bubblewrap 0.11.1", true),
        ("bubblewrap 1.0", true),
        ("bubblewrap 0.7.0", false),
        ("", false),
        ("something", false),
    ] {
        assert_eq!(usable(&facts(1000, version)), good, "{version}");
    }
    let mut other = user();
    other.os = Os::FreeBsd;
    assert!(!usable(&other));
    other = user();
    other.helpers.clear();
    assert!(!usable(&other));
    // Switched off for us, and not for root or a set-user-id program.
    let mut off = user();
    off.unprivileged_userns_clone = Some(false);
    assert!(!usable(&off));
    off.helpers[0].setuid_root = true;
    assert!(usable(&off));
    let mut off = root();
    off.max_user_namespaces = Some(0);
    assert!(usable(&off));
    // What AppArmor keeps from us it may let bwrap have, which has a profile of its own.
    let mut ubuntu = user();
    ubuntu.apparmor_restricts_userns = Some(true);
    ubuntu.apparmor_unconfined = Some(true);
    assert!(usable(&ubuntu));
    ubuntu.kernel = Some(KernelVersion(4, 18));
    assert!(!usable(&ubuntu), "it is started as everything is");
    let support = Bubblewrap::default().support(&off);
    assert!(support.feature(Feature::User).is_err() && support.feature(Feature::Root).is_ok());
    // Root of a user namespace that has nobody else in it.
    let subordinate = |facts: &HostFacts| {
        let support = Bubblewrap::default().support(facts);
        support.feature(Feature::Subordinate).is_ok()
    };
    let mut alone = root();
    assert!(subordinate(&alone));
    alone.uid_map = vec![IdRange {
        inside: 0,
        outside: 1000,
        count: 1,
    }];
    assert!(!subordinate(&alone));
    let mut capable = user();
    capable.capabilities = CapSet::SYS_CHROOT;
    assert!(!usable(&capable));
}

#[test]
fn a_set_user_id_bwrap_has_its_own_limits() {
    let mut facts = user();
    facts.helpers[0].setuid_root = true;
    let words = lines(&plain(), &facts);
    assert!(
        !words
            .iter()
            .any(|l| l.starts_with("--cap") || l == "--unshare-user"),
        "{words:?}"
    );
    let mut config = plain();
    config.mounts = vec![Mount::new(
        at("/tmp"),
        MountKind::Tmpfs {
            size: Some(1),
            mode: 0o755,
        },
    )];
    assert!(call(&config, &facts).unwrap_err().contains("set-user-id"));
    let mut config = plain();
    config.capabilities = Capabilities::Only(vec!["chown".into()]);
    assert!(call(&config, &facts).unwrap_err().contains("set-user-id"));
}

#[test]
fn what_it_lacks_is_refused_or_reported() {
    let mut config = plain();
    config.namespaces.time = Isolation::Isolated;
    config.ids = Ids::SUBORDINATE;
    let said = call(&config, &user()).unwrap_err();
    assert!(
        said.contains("time") && said.contains("subordinate"),
        "{said}"
    );
    config.prefer = FeatureSet::all();
    assert!(call(&config, &user()).is_ok());
}

#[test]
fn a_filter_is_passed_on() {
    let mut config = plain();
    let filter = |config: &Config| -> Vec<String> {
        let lines = lines(config, &user());
        lines
            .into_iter()
            .filter(|line| line.starts_with("--seccomp"))
            .collect()
    };
    assert!(filter(&config).is_empty());
    config.allow_nested = false;
    assert_eq!(
        filter(&config),
        ["--seccomp <filter: no further namespaces>"]
    );
    config.seccomp = Seccomp::Build;
    let build = "--seccomp <filter: build, no further namespaces>";
    assert_eq!(filter(&config), [build]);
    config.seccomp = Seccomp::StrictIo;
    assert_eq!(filter(&config).len(), 1);
    // Its init program would be bound too, and has to wait for others.
    config.namespaces.pid = Isolation::Isolated;
    let said = call(&config, &user()).unwrap_err();
    assert!(said.contains("binds the first process"), "{said}");
    config.seccomp = Seccomp::Build;
    assert_eq!(filter(&config), [build]);
    let mut facts = user();
    facts.seccomp = Some(false);
    config.prefer = FeatureSet::EMPTY;
    let said = call(&config, &facts).unwrap_err();
    assert!(
        said.contains("the kernel has no system call filters"),
        "{said}"
    );
}
