//! What macOS cannot do is refused, or reported where less will do; never left out silently.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use sandboxlib_config::{
    Capabilities, Config, Feature, FeatureSet, Ids, Isolation, Mount, MountKind, Root, RootAccess,
    SandboxPath, Seccomp, UserNamespace,
};
use sandboxlib_core::{Backend, HostFacts, Os, Started, negotiate, requests};
use sandboxlib_mount::MemoryFs;
use sandboxlib_sandbox_exec::SandboxExec;

use crate::host::{arguments, at, facts, helper, launch, mac, plain, read_only, refusal, sbpl};
use crate::sbpl::On;

fn with(change: impl FnOnce(&mut Config)) -> Config {
    let mut config = plain();
    config.prefer = FeatureSet::EMPTY;
    config.namespaces.pid = Isolation::Shared;
    config.namespaces.uts = Isolation::Shared;
    config.namespaces.cgroup = Isolation::Shared;
    config.seccomp = Seccomp::None;
    config.allow_nested = true;
    change(&mut config);
    config
}

fn mounted(mount: Mount) -> Config {
    with(|c| c.mounts = vec![mount])
}

#[test]
fn it_is_for_macs_outside_of_sandboxes() {
    for os in [Os::Linux, Os::FreeBsd, Os::Posix] {
        let support = SandboxExec.support(&HostFacts::other(os, 0, 0));
        let reason = support.usable().unwrap_err();
        assert_eq!(reason.to_string(), "Seatbelt exists on macOS alone");
    }
    let mut facts = facts();
    for known in [None, Some(false)] {
        facts.seatbelt = known;
        assert!(SandboxExec.support(&facts).usable().is_ok());
    }
    facts.seatbelt = Some(true);
    let support = SandboxExec.support(&facts);
    let reason = support.usable().unwrap_err();
    assert_eq!(
        reason.to_string(),
        "a Seatbelt sandbox cannot be made inside another"
    );
    assert!(!reason.hints.is_empty());

    facts.helpers.clear();
    let support = SandboxExec.support(&facts);
    let reason = support.usable().unwrap_err();
    assert_eq!(reason.to_string(), "there is no /usr/bin/sandbox-exec");
}

#[test]
fn a_helper_that_failed_is_told_from_a_command_that_did() {
    let mut facts = facts();
    let nested = b"sandbox-exec: sandbox_apply: Operation not permitted\n";
    let reason = SandboxExec.helper_failure(&facts, 71, nested).unwrap();
    assert!(reason.text.contains("inside another") && !reason.hints.is_empty());
    assert_eq!(SandboxExec.helper_failure(&facts, 1, nested), None);
    assert_eq!(
        SandboxExec.helper_failure(&facts, 71, b"make: error\n"),
        None
    );
    assert_eq!(SandboxExec.helper_failure(&facts, 71, b""), None);
    // Where the caller is known to be in none, the command has tried to make one in ours.
    facts.seatbelt = Some(false);
    assert_eq!(SandboxExec.helper_failure(&facts, 71, nested), None);
    let profile = b"sandbox-exec: unbound variable: file-link\n";
    let reason = SandboxExec.helper_failure(&facts, 65, profile).unwrap();
    assert!(
        reason.text.contains("unbound variable: file-link"),
        "{reason}"
    );
}

#[test]
fn each_feature_is_enforced_or_has_its_reason() {
    let support = SandboxExec.support(&facts());
    for feature in Feature::ALL {
        let wanted = match feature {
            Feature::ReadOnly | Feature::Bind | Feature::Mask | Feature::Network | Feature::Ipc => {
                None
            }
            Feature::Root => Some("macOS has no root of a process's own"),
            Feature::Pid => Some("macOS has no process id namespaces"),
            Feature::Uts => Some("macOS gives a process no host name"),
            Feature::HostSecrets => Some("the backend knows no private places"),
            f if Feature::MOUNTS.contains(f) => Some("macOS gives a process no mounts"),
            _ => Some("Seatbelt denies operations and gives"),
        };
        match (support.feature(*feature), wanted) {
            (Ok(()), None) => {}
            (Err(reason), Some(start)) => assert!(reason.text.starts_with(start), "{reason}"),
            (found, _) => panic!("{feature}: {found:?}"),
        }
    }
    // The report says what a Mac user has to know.
    for feature in [Feature::Root, Feature::Tmpfs] {
        let reason = support.feature(feature).unwrap_err();
        assert!(
            reason.text.contains("hide") || reason.text.contains("hidden"),
            "{reason}"
        );
    }
}

#[test]
fn what_is_not_there_is_refused_unless_less_will_do() {
    let isolated = Isolation::Isolated;
    let at_tmp = |kind| mounted(Mount::new(at("/private/tmp"), kind));
    let cases = [
        (
            Feature::Tmpfs,
            at_tmp(MountKind::Tmpfs {
                size: None,
                mode: 0o1777,
            }),
        ),
        (Feature::Proc, at_tmp(MountKind::Proc)),
        (
            Feature::Dev,
            mounted(Mount::new(at("/dev"), MountKind::Dev)),
        ),
        (
            Feature::File,
            mounted(Mount::new(
                at("/etc/x"),
                MountKind::File {
                    data: b"x"[..].into(),
                    mode: 0o644,
                },
            )),
        ),
        (Feature::Entries, at_tmp(MountKind::Dir { mode: 0o755 })),
        (Feature::Pid, with(|c| c.namespaces.pid = isolated)),
        (Feature::Uts, with(|c| c.namespaces.uts = isolated)),
        (Feature::Cgroup, with(|c| c.namespaces.cgroup = isolated)),
        (Feature::Time, with(|c| c.namespaces.time = isolated)),
        (
            Feature::User,
            with(|c| c.namespaces.user = UserNamespace::Isolated),
        ),
        (Feature::Ids, with(|c| c.ids = Ids::ROOT)),
        (Feature::Subordinate, with(|c| c.ids = Ids::SUBORDINATE)),
        (Feature::HostSecrets, with(|c| c.hidden = None)),
        (Feature::Seccomp, with(|c| c.seccomp = Seccomp::Build)),
        (Feature::Nested, with(|c| c.allow_nested = false)),
    ];
    let without = launch(&with(|_| ()), &mac()).unwrap().1;
    for (feature, mut config) in cases {
        assert!(refusal(&config).starts_with(&format!("{feature} cannot be enforced: ")));
        config.prefer.insert(feature);
        let (effective, call) = launch(&config, &mac()).unwrap();
        let lost: Vec<_> = effective.degradations().iter().map(|d| d.feature).collect();
        assert_eq!(lost, [feature]);
        assert_eq!(call, without);
    }
    // A root is no matter of degree.
    let mut config = with(|c| c.root = Root::Dir("/Users/me".into()));
    config.root_access = Some(RootAccess::ReadWrite);
    assert!(refusal(&config).starts_with("root cannot be enforced: macOS has no root"));
    config.prefer = FeatureSet::all();
    assert!(refusal(&config).starts_with("root cannot be enforced: macOS has no root"));
}

#[test]
fn the_defaults_run_and_tell_what_is_missing() {
    let (effective, call) = launch(&read_only(), &mac()).unwrap();
    let lost: Vec<_> = effective.degradations().iter().map(|d| d.feature).collect();
    let missing = [
        Feature::Pid,
        Feature::Uts,
        Feature::Cgroup,
        Feature::Seccomp,
        Feature::Nested,
    ];
    assert_eq!(lost, missing);
    for request in requests(effective.config()) {
        assert!(effective.enforced().contains(request.feature));
    }
    assert_eq!(call.program, Path::new("/usr/bin/sandbox-exec"));
    assert_eq!(call.on_failure, Started::Unknown);
    let args = arguments(&call);
    assert_eq!(args[0], "-p");
    assert_eq!(args.last().unwrap(), "--");
}

#[test]
fn binds_stay_where_they_are() {
    let bind = |source: &str, target: &str| mounted(Mount::bind_read_only(source, at(target)));
    for (source, target) in [
        ("/Users/me/src", "/Users/me/src"),
        ("/Users/me/./src/", "/Users/me//src"),
        ("/tmp", "/tmp"),
        ("/tmp", "/private/tmp"),
        ("/private/tmp", "/tmp"),
    ] {
        assert!(
            launch(&bind(source, target), &mac()).is_ok(),
            "{source} {target}"
        );
    }
    let error = refusal(&bind("/Users/me/src", "/Users/me/.ssh"));
    assert_eq!(
        error,
        "macOS has no bind mounts: \"/Users/me/src\" can be had where it is, and not at \
         \"/Users/me/.ssh\""
    );
    assert!(refusal(&bind("/Users/me/src", "/build")).starts_with("macOS has no bind mounts"));
    assert!(refusal(&bind("/Users/me/../me/src", "/Users/me/src")).contains("'..'"));
    // By another name of a link it is the same place, and the rules are about the place.
    let fs = mac().symlink("/work", "Users/me/src");
    let mut config = read_only();
    config.mounts = vec![Mount::bind("/work", at("/work"))];
    let sbpl = sbpl(&launch(&config, &fs).unwrap().1);
    assert!(sbpl.allows("file-write-data", On::File("/Users/me/src/x")));
    assert!(!sbpl.allows("file-write-data", On::File("/work/x")));
}

#[test]
fn a_mask_holds_before_there_is_anything_to_mask() {
    let mut config = read_only();
    config.mounts = vec![
        Mount::new(at("/etc/later/file"), MountKind::Mask),
        Mount::new(at("/Users/me/.netrc"), MountKind::Mask),
    ];
    let sbpl = sbpl(&launch(&config, &mac()).unwrap().1);
    for path in [
        "/private/etc/later/file",
        "/private/etc/later/file/x",
        "/Users/me/.netrc",
    ] {
        for operation in ["file-read-data", "file-read-metadata", "file-write-create"] {
            assert!(
                !sbpl.allows(operation, On::File(path)),
                "{operation} {path}"
            );
        }
    }
    assert!(sbpl.allows("file-read-data", On::File("/private/etc/later")));
}

#[test]
fn rules_are_about_names_as_the_disk_has_them() {
    let fs = mac()
        .dir("/Users/me/Secret/Inner")
        .file("/Users/me/src/Makefile")
        .symlink("/Users/me/Link", "SECRET")
        .ignoring_case();
    let mask = |path: &str| Mount::new(at(path), MountKind::Mask);
    let mut config = read_only();
    config.root_access = Some(RootAccess::ReadOnlyExcept(vec![at("/users/ME/SRC")]));
    config.mounts = vec![
        // What is missing makes a directory look otherwise, and its names are looked up still.
        mask("/Users/me/absent"),
        mask("/Users/me/secret"),
        mask("/Users/me/src/makefile"),
    ];
    let rules = sbpl(&launch(&config, &fs).unwrap().1);
    for path in [
        "/Users/me/Secret",
        "/Users/me/Secret/Inner",
        "/Users/me/absent",
    ] {
        assert!(!rules.allows("file-read-data", On::File(path)), "{path}");
    }
    assert!(!rules.allows("file-read-data", On::File("/Users/me/src/Makefile")));
    assert!(rules.allows("file-write-data", On::File("/Users/me/src/x")));

    // By a link that spells its goal otherwise; and the way on from there.
    let mut config = read_only();
    config.mounts = vec![mask("/users/me/link/inner")];
    let rules = sbpl(&launch(&config, &fs).unwrap().1);
    assert!(!rules.allows("file-read-data", On::File("/Users/me/Secret/Inner")));
    assert!(rules.allows("file-read-data", On::File("/Users/me/Secret")));

    // A later rule for the same place in other letters is for the same place.
    let mut config = read_only();
    config.mounts = vec![mask("/Users/me/Secret"), mask("/Users/me/SECRET/inner")];
    let error = launch(&config, &fs).unwrap_err();
    assert!(error.contains("/Users/me/Secret"), "{error}");
}

#[test]
fn names_that_no_profile_can_be_given_are_refused() {
    let strange: [&[u8]; 4] = [
        b"/s/new\nline",
        b"/s/tab\t",
        b"/s/\x7f",
        b"/s/not-\xff-utf8",
    ];
    for bytes in strange {
        let path = PathBuf::from(OsStr::from_bytes(bytes));
        let fs = mac().dir(&path);
        let target = SandboxPath::new(&path).unwrap();
        let mut writable = read_only();
        writable.root_access = Some(RootAccess::ReadOnlyExcept(vec![target.clone()]));
        let mut bound = read_only();
        bound.mounts = vec![Mount::bind(&path, target.clone())];
        let mut masked = read_only();
        masked.mounts = vec![Mount::new(target, MountKind::Mask)];
        for config in [writable, bound, masked] {
            let error = launch(&config, &fs).unwrap_err();
            assert!(error.contains("Seatbelt profile"), "{error}");
        }
    }
    // A NUL does not even become a path of a sandbox.
    assert!(SandboxPath::new("/s/\0").is_err());
    let volume = "/System/Volumes/Data/Users/me";
    let mut config = read_only();
    config.mounts = vec![Mount::new(at(volume), MountKind::Mask)];
    let error = launch(&config, &MemoryFs::new().dir(volume)).unwrap_err();
    assert!(
        error.contains("where Seatbelt rules match nothing"),
        "{error}"
    );
}

#[test]
fn capabilities_are_not_there() {
    let only = |names: &[&str]| {
        let names = names.iter().map(|n| (*n).to_owned()).collect();
        with(|c| c.capabilities = Capabilities::Only(names))
    };
    assert!(launch(&only(&[]), &mac()).is_ok());
    assert_eq!(
        refusal(&only(&["chown"])),
        "capabilities exist on Linux alone"
    );
    let mut root = HostFacts::other(Os::MacOs, 0, 0);
    root.helpers.push(helper());
    let backend = SandboxExec;
    let effective = negotiate(&only(&[]), &backend.support(&root)).unwrap();
    let plan = sandboxlib_mount::plan(effective.config(), &mac()).unwrap();
    let error = backend.prepare(&effective, plan, &root).unwrap_err();
    assert_eq!(error.to_string(), "capabilities exist on Linux alone");
}
