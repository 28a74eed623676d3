//! The host's root without its private places.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::sample::select;
use sandboxlib_config::{
    Config, HiddenBy, HiddenPlace, Isolation, Mount, MountKind, Network, Root, RootAccess,
    SandboxPath,
};
use sandboxlib_mount::{EntryKind, FsView as _, MemoryFs, MountPlan, plan};

use crate::model::{Model, Shown, real};
use crate::rules::at;

/// A host with what a distribution has.
fn host() -> MemoryFs {
    MemoryFs::new()
        .dir("/usr/bin")
        .file("/home/me/src/main.c")
        .file("/home/me/.ssh/id")
        .file("/home/you/secret")
        .file("/root/.ssh/id")
        .file("/run/secret")
        .file("/run/db/socket")
        .file("/tmp/secret")
        .file("/var/tmp/secret")
        .symlink("/var/run", "/run")
        .file("/etc/resolv.conf")
        .file("/proc/cpuinfo")
}

fn config() -> Config {
    let mut config = Config::new(Root::Host);
    config.hidden = Some(HiddenPlace::usual(["/home/me"], false));
    config
}

fn writable(paths: &[&str]) -> Option<RootAccess> {
    let paths = paths.iter().map(|path| at(path)).collect();
    Some(RootAccess::ReadOnlyExcept(paths))
}

fn planned(config: &Config, fs: &MemoryFs) -> (MountPlan, Model) {
    let plan = plan(config, fs).unwrap_or_else(|e| panic!("{e}"));
    let model = Model::run(fs, &plan).unwrap_or_else(|e| panic!("{e}"));
    (plan, model)
}

#[track_caller]
fn assert_steps(config: &Config, fs: &MemoryFs, expected: &[&str]) {
    let (plan, _) = planned(config, fs);
    let text = plan.to_string();
    assert_eq!(text.lines().skip(1).collect::<Vec<_>>(), expected);
}

#[test]
fn what_there_is_of_the_places_is_hidden_once() {
    assert_steps(
        &config(),
        &host(),
        &[
            r#"tmpfs on "/home" mode 0755"#,
            r#"make dir "/home/me" mode 0755"#,
            r#"proc on "/proc""#,
            r#"tmpfs on "/root" mode 0755"#,
            r#"tmpfs on "/run" mode 0755"#,
            r#"tmpfs on "/tmp" mode 1777"#,
            r#"tmpfs on "/var/tmp" mode 1777"#,
        ],
    );
    let (plan, _) = planned(&config(), &host());
    let hidden: Vec<_> = plan.hidden.iter().map(ToString::to_string).collect();
    assert_eq!(hidden, ["/home", "/root", "/run", "/tmp", "/var/tmp"]);
    assert_steps(&config(), &MemoryFs::new().dir("/usr"), &[]);
}

/// In sysfs nobody finds room of their own.
#[test]
fn what_is_hidden_of_sysfs_cannot_be_filled() {
    let fs = MemoryFs::new()
        .file("/sys/firmware/acpi/tables/FACP")
        .file("/sys/kernel/debug/secret")
        .dir("/tmp");
    let mut config = Config::new(Root::Host);
    config.hidden = Some(HiddenPlace::usual(["/home/me"], true));
    config.readable.push(at("/sys/firmware/acpi"));
    assert_steps(
        &config,
        &fs,
        &[
            r#"tmpfs on "/sys/firmware" mode 0755"#,
            r#"make dir "/sys/firmware/acpi" mode 0755"#,
            r#"bind dir "/sys/firmware/acpi" of the root on "/sys/firmware/acpi" read-only"#,
            r#"tmpfs on "/sys/kernel/debug" mode 0755"#,
            r#"tmpfs on "/tmp" mode 1777"#,
            r#"seal "/sys/firmware""#,
            r#"seal "/sys/kernel/debug""#,
        ],
    );
}

#[test]
fn it_can_be_turned_off_and_is_about_the_host_alone() {
    let mut shown = config();
    shown.hidden = Some(Vec::new());
    assert_steps(&shown, &host(), &[]);
    let mut other = config();
    other.root = Root::Dir("/".into());
    other.readable.push(at("/not/there"));
    assert_steps(&other, &host(), &[]);
}

#[test]
fn without_process_ids_of_ones_own_procfs_is_the_hosts() {
    let mut shared = config();
    shared.namespaces.pid = Isolation::Shared;
    let (plan, _) = planned(&shared, &host());
    assert!(!plan.to_string().contains("proc"), "{plan}");
}

#[test]
fn links_on_the_way_are_followed() {
    let fs = MemoryFs::new()
        .file("/sysroot/home/me/secret")
        .symlink("/home", "sysroot/home")
        .symlink("/tmp", "/var/tmp")
        .dir("/var/tmp")
        .symlink("/root", "/")
        .symlink("/run", "run")
        .file("/var/log");
    assert_steps(
        &config(),
        &fs,
        &[
            r#"tmpfs on "/sysroot/home" mode 0755"#,
            r#"make dir "/sysroot/home/me" mode 0755"#,
            r#"tmpfs on "/var/tmp" mode 1777"#,
        ],
    );
}

#[test]
fn a_home_elsewhere_is_hidden_with_all_that_is_in_it() {
    let fs = host()
        .file("/data/me/secret")
        .symlink("/home/me2", "/data/me");
    for home in ["/data/me", "/home/me2"] {
        let mut config = config();
        config.hidden = Some(HiddenPlace::usual([home], false));
        let (_, model) = planned(&config, &fs);
        assert_eq!(model.show("/data/me/secret".as_ref()), Shown::Missing);
    }
}

#[test]
fn what_is_named_is_shown_with_empty_parents() {
    let mut config = config();
    config.root_access = writable(&["/home/me/src"]);
    config.readable = vec![at("/home/you/secret")];
    config.sockets = vec![at("/var/run/db/socket")];
    assert_steps(
        &config,
        &host(),
        &[
            r#"tmpfs on "/home" mode 0755"#,
            r#"make dir "/home/me" mode 0755"#,
            r#"make dir "/home/me/src" mode 0755"#,
            r#"bind dir "/home/me/src" of the root on "/home/me/src" read-write"#,
            r#"make dir "/home/you" mode 0755"#,
            r#"make file "/home/you/secret""#,
            r#"bind file "/home/you/secret" of the root on "/home/you/secret" read-only"#,
            r#"proc on "/proc""#,
            r#"tmpfs on "/root" mode 0755"#,
            r#"tmpfs on "/run" mode 0755"#,
            r#"make dir "/run/db" mode 0755"#,
            r#"make file "/run/db/socket""#,
            r#"bind file "/run/db/socket" of the root on "/run/db/socket" read-only"#,
            r#"tmpfs on "/tmp" mode 1777"#,
            r#"tmpfs on "/var/tmp" mode 1777"#,
        ],
    );
    let (_, model) = planned(&config, &host());
    for hidden in ["/home/me/.ssh", "/run/secret", "/root/.ssh"] {
        assert_eq!(model.show(hidden.as_ref()), Shown::Missing, "{hidden}");
    }
}

#[test]
fn what_is_named_exactly_is_shown_and_what_is_merely_inside_is_not() {
    let mut config = config();
    config.root_access = writable(&["/var", "/home"]);
    config.readable = vec![at("/root"), at("/run/secret")];
    let (_, model) = planned(&config, &host());
    let shows = |path: &str| match model.show(path.as_ref()) {
        Shown::Host { writable, .. } => Some(writable),
        _ => None,
    };
    assert_eq!(shows("/home/you/secret"), Some(true));
    assert_eq!(shows("/root/.ssh/id"), Some(false));
    assert_eq!(shows("/run/secret"), Some(false));
    assert_eq!(shows("/var/run"), Some(true));
    assert_eq!(shows("/var/tmp/secret"), None);

    config.root_access = writable(&["/"]);
    let (_, model) = planned(&config, &host());
    assert!(matches!(model.show("/home/you".as_ref()), Shown::Missing));
    assert!(matches!(
        model.show("/root/.ssh/id".as_ref()),
        Shown::Host {
            writable: false,
            ..
        }
    ));
}

#[test]
fn one_that_is_read_only_stays_so_in_what_is_writable_and_the_other_way_round() {
    let mut config = config();
    config.root_access = writable(&["/home/me/src", "/home/you/secret"]);
    config.readable = vec![at("/home/me/src/main.c"), at("/home/you")];
    let (_, model) = planned(&config, &host());
    let writable = |path: &str| match model.show(path.as_ref()) {
        Shown::Host { writable, .. } => writable,
        other => panic!("{path}: {other:?}"),
    };
    assert!(writable("/home/me/src") && !writable("/home/me/src/main.c"));
    assert!(writable("/home/you/secret") && !writable("/home/you"));
}

#[test]
fn a_name_that_leads_through_links_leads_there_inside_too() {
    let fs = host()
        .file("/data/me/src/a.c")
        .symlink("/home/me2", "/data/me")
        .symlink("/home/me/now", "src");
    let mut config = config();
    config.root_access = writable(&["/home/me2/src", "/home/me/now"]);
    let (plan, model) = planned(&config, &fs);
    for (link, to) in [("/home/me2", "/data/me"), ("/home/me/now", "src")] {
        let shown = model.show(link.as_ref());
        assert!(
            matches!(&shown, Shown::Private { kind: EntryKind::Symlink(t), .. } if t == to),
            "{link}: {shown:?}\n{plan}"
        );
    }
    for path in ["/data/me/src/a.c", "/home/me/src/main.c"] {
        let shown = model.show(path.as_ref());
        assert!(
            matches!(shown, Shown::Host { writable: true, .. }),
            "{path}: {shown:?}"
        );
    }
}

#[test]
fn what_is_named_and_missing_is_an_error() {
    for (change, message) in [
        (
            (|c| c.readable.push(at("/run/none"))) as fn(&mut Config),
            r#"the readable path "/run/none" does not exist in the root"#,
        ),
        (
            |c| c.sockets.push(at("/run/none")),
            r#"the socket "/run/none" does not exist in the root"#,
        ),
        (
            |c| c.root_access = writable(&["/run/none"]),
            r#"the writable path "/run/none" does not exist in the root"#,
        ),
    ] {
        let mut config = config();
        change(&mut config);
        assert_eq!(plan(&config, &host()).unwrap_err().to_string(), message);
    }
}

#[test]
fn name_resolution_works_with_the_callers_network() {
    let fs = MemoryFs::new()
        .file("/run/systemd/resolve/stub.conf")
        .file("/run/secret")
        .symlink("/etc/resolv.conf", "../run/systemd/resolve/stub.conf");
    let mut config = config();
    let (_, model) = planned(&config, &fs);
    assert_eq!(model.follow("/etc/resolv.conf".as_ref(), true), None);
    config.network = Network::Shared;
    assert_steps(
        &config,
        &fs,
        &[
            r#"tmpfs on "/run" mode 0755"#,
            r#"make dir "/run/systemd" mode 0755"#,
            r#"make dir "/run/systemd/resolve" mode 0755"#,
            r#"make file "/run/systemd/resolve/stub.conf""#,
            r#"bind file "/run/systemd/resolve/stub.conf" of the root on "/run/systemd/resolve/stub.conf" read-only"#,
        ],
    );
    // A link that leads nowhere, or to what is seen anyway, needs nothing.
    for to in ["/run/none", "/etc/hosts"] {
        let fs = MemoryFs::new()
            .dir("/run")
            .file("/etc/hosts")
            .symlink("/etc/resolv.conf", to);
        assert_steps(&config, &fs, &[r#"tmpfs on "/run" mode 0755"#]);
    }
}

#[test]
fn where_programs_are_found_is_kept() {
    let fs = MemoryFs::new()
        .file("/nix/store/x/bin/sh")
        .symlink("/run/current-system", "/nix/store/x");
    assert_steps(
        &config(),
        &fs,
        &[
            r#"tmpfs on "/run" mode 0755"#,
            r#"make symlink "/run/current-system" -> "/nix/store/x""#,
        ],
    );
}

#[test]
fn a_mount_takes_the_place_of_what_would_be_hidden() {
    let mut config = config();
    config.mounts = vec![
        Mount::tmpfs(at("/tmp")),
        Mount::bind("/usr", at("/home")),
        Mount::bind("/home/you", at("/run/you")),
        Mount::new(at("/root/x"), MountKind::Dir { mode: 0o700 }),
        Mount::new(at("/proc"), MountKind::Proc),
    ];
    assert_steps(
        &config,
        &host(),
        &[
            r#"tmpfs on "/root" mode 0755"#,
            r#"tmpfs on "/run" mode 0755"#,
            r#"tmpfs on "/var/tmp" mode 1777"#,
            r#"tmpfs on "/tmp" mode 1777"#,
            r#"bind dir "/usr" on "/home" read-write"#,
            r#"make dir "/run/you" mode 0755"#,
            r#"bind dir "/home/you" on "/run/you" read-write"#,
            r#"make dir "/root/x" mode 0700"#,
            r#"proc on "/proc""#,
        ],
    );
    let (plan, _) = planned(&config, &host());
    assert!(plan.hidden.contains(&at("/tmp")) && !plan.hidden.contains(&at("/home")));
}

#[test]
fn a_mount_does_not_hide_by_mistake_what_is_shown() {
    let mut config = config();
    config.readable = vec![at("/home/you")];
    config.mounts = vec![Mount::tmpfs(at("/home"))];
    assert_eq!(
        plan(&config, &host()).unwrap_err().to_string(),
        r#"the tmpfs at "/home" hides the readable path at "/home/you""#
    );
}

const NAMES: [&str; 4] = ["a", "b", "home", "l"];
const LINKS: [&str; 8] = ["a", "b", "..", "/a", "/home/b", "/b/home", "../home/a", "/"];

fn paths(least: usize) -> impl Strategy<Value = PathBuf> {
    prop::collection::vec(select(NAMES.to_vec()), least..4)
        .prop_map(|names| Path::new("/").join(names.iter().collect::<PathBuf>()))
}

fn trees() -> impl Strategy<Value = MemoryFs> {
    let item = (paths(1), 0..4_u8, select(LINKS.to_vec()));
    prop::collection::vec(item, 0..20).prop_map(|items| {
        let mut fs = MemoryFs::new();
        for (path, kind, to) in items {
            let is_dir = |path: &Path| {
                let found = fs.entry(path).unwrap();
                found.is_none_or(|entry| entry.kind == EntryKind::Dir)
            };
            if path.ancestors().skip(1).all(is_dir) && fs.entry(&path).unwrap().is_none() {
                fs = match kind {
                    0 => fs.dir(path),
                    1 | 2 => fs.file(path),
                    _ => fs.symlink(path, to),
                };
            }
        }
        fs
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

    /// Nothing in a hidden place is seen, under whatever name, unless it was named itself or is
    /// below what was; and what was named is seen, and written to if that was asked.
    #[test]
    fn nothing_hidden_is_seen(
        fs in trees(),
        places in prop::collection::vec(paths(1), 1..4),
        readable in prop::collection::vec(paths(1), 0..3),
        writable in prop::collection::vec(paths(0), 0..3),
        sealed in any::<bool>(),
    ) {
        let there = |path: &PathBuf| fs.entry_following(path).unwrap().is_some();
        let sandbox_paths = |paths: &[PathBuf]| -> Vec<SandboxPath> {
            paths.iter().filter(|p| there(p)).map(|p| SandboxPath::new(p).unwrap()).collect()
        };
        let mut config = Config::new(Root::Host);
        config.hidden = Some(places.iter().map(|path| HiddenPlace::new(
            SandboxPath::new(path).unwrap(),
            if sealed { HiddenBy::Nothing { mode: 0o755 } } else { HiddenBy::Empty { mode: 0o755 } },
        )).collect());
        config.readable = sandbox_paths(&readable);
        let writable = sandbox_paths(&writable);
        config.root_access = Some(RootAccess::ReadOnlyExcept(writable.clone()));
        let (plan, model) = planned(&config, &fs);

        let reals = |paths: &[SandboxPath]| -> BTreeSet<PathBuf> {
            paths.iter().map(|path| real(&fs, path.as_path())).collect()
        };
        let (can_write, mut named) = (reals(&writable), reals(&config.readable));
        named.extend(can_write.iter().cloned());
        let is_dir = |path: &Path| {
            fs.entry(path).unwrap().is_some_and(|entry| entry.kind == EntryKind::Dir)
        };
        let hidden: BTreeSet<PathBuf> = places
            .iter()
            .filter(|path| there(path))
            .map(|path| real(&fs, path))
            .filter(|path| is_dir(path) && path != Path::new("/") && !named.contains(path))
            .collect();
        // The innermost thing that was said about a path counts.
        let is_hidden = |path: &Path| {
            let said = path.ancestors().find(|p| hidden.contains(*p) || named.contains(*p));
            said.is_some_and(|place| hidden.contains(place))
        };
        for (path, shown) in model.everything(6) {
            if let Shown::Host { path: source, .. } = &shown {
                // What a link leads to is seen where it is, or not.
                let source = match (source.parent(), source.file_name()) {
                    (Some(parent), Some(name)) => real(&fs, parent).join(name),
                    _ => source.clone(),
                };
                prop_assert!(!is_hidden(&source), "{path:?} shows {source:?}\n{plan}");
            }
        }
        for path in &writable {
            let end = model.follow(path.as_path(), true);
            prop_assert!(end.is_some(), "{path:?} is not there\n{plan}");
            let shown = model.show(&end.unwrap());
            prop_assert!(matches!(shown, Shown::Host { writable: true, .. }), "{path:?}: {shown:?}\n{plan}");
        }
        for path in &config.readable {
            let end = model.follow(path.as_path(), true);
            prop_assert!(end.is_some(), "{path:?} is not there\n{plan}");
            let (end, origin) = (end.unwrap(), real(&fs, path.as_path()));
            let shown = model.show(&end);
            let Shown::Host { writable, .. } = shown else {
                return Err(TestCaseError::fail(format!("{path:?}: {shown:?}\n{plan}")));
            };
            prop_assert_eq!(writable, can_write.contains(&origin), "{:?}\n{}", path, plan);
        }
    }
}
