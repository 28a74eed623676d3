//! For any configuration and any path, the profile says what the configuration says.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::sample::select;
use sandboxlib_config::{
    Access, Config, Feature, Isolation, Mount, MountKind, Network, RootAccess,
};
use sandboxlib_mount::MemoryFs;
use sandboxlib_sandbox_exec::{MacPath, Policy, Profile, Reach, Region};

use crate::host::{at, launch, read_only, sbpl};
use crate::model::{self, Means};
use crate::sbpl::{On, Sbpl};

/// Names that would be something else in a profile if they were spliced into its text, and some
/// that are the beginning of others.
const NAMES: &[&str] = &[
    "a",
    "ab",
    "b",
    "q\"uote",
    "\")(allow default)(deny file-read* (literal \"",
    "back\\slash\\",
    "pa(ren",
    "the)sis",
    "; comment",
    "#\"regex\"",
    "a=b",
    " ",
    "'",
    "${P0}",
    "(param \"P0\")",
    "größe",
    "*",
];

const PLACES: &[&str] = &[
    "/",
    "/dev",
    "/dev/null",
    "/dev/zero",
    "/dev/fd",
    "/dev/fd/1",
    "/dev/random",
    "/dev/tty",
    "/private",
    "/private/var",
    "/private/var/run",
    "/private/var/run/mDNSResponder",
    "/private/var/runner",
    "/private/tmp",
    "/private/etc/hosts",
    "/tmp",
    "/var",
    "/etc",
    "/usr",
    "/usr/lib",
    "/usr/lib/dyld",
    "/usr/bin/true",
    "/System/Library/x",
];

fn any_path() -> impl Strategy<Value = String> {
    let start = select(vec!["", "", "", "/tmp", "/private/tmp", "/private/var/run"]);
    let names = proptest::collection::vec(select(&NAMES[..6]), 1..4);
    let hostile = proptest::collection::vec(select(NAMES), 1..3);
    (start, prop_oneof![names, hostile])
        .prop_map(|(start, names)| format!("{start}/{}", names.join("/")))
}

fn any_mount() -> impl Strategy<Value = Mount> {
    (any_path(), 0..4, any::<bool>()).prop_map(|(path, kind, resolved)| {
        let source = if resolved {
            path.replacen("/tmp", "/private/tmp", 1)
        } else {
            path.clone()
        };
        let source = source.replacen("/private/private", "/private", 1);
        let access = if kind == 0 {
            Access::ReadOnly
        } else {
            Access::ReadWrite
        };
        let kind = match kind {
            0 | 1 => MountKind::Bind {
                source: source.into(),
                access,
            },
            _ => MountKind::Mask,
        };
        Mount::new(at(&path), kind).covering()
    })
}

prop_compose! {
    fn any_config()(
        access in 0..4,
        writable in proptest::collection::vec(any_path(), 1..5),
        mut mounts in proptest::collection::vec(any_mount(), 0..6),
        masks_last in any::<bool>(),
        shared in any::<[bool; 2]>(),
    ) -> Config {
        let mut config = read_only();
        config.root_access = Some(match access {
            0 => RootAccess::ReadOnly,
            1 => RootAccess::ReadWrite,
            _ => RootAccess::ReadOnlyExcept(writable.iter().map(|w| at(w)).collect()),
        });
        if masks_last {
            // So that fewer mounts are below a mask, where the planner refuses them.
            mounts.sort_by_key(|m| m.kind == MountKind::Mask);
        }
        config.mounts = mounts;
        if shared[0] {
            config.network = Network::Shared;
        }
        if shared[1] {
            config.namespaces.ipc = Isolation::Shared;
        }
        config
    }
}

/// A Mac on which all that `config` names exists.
fn files(config: &Config) -> MemoryFs {
    let mut fs = crate::host::mac();
    for path in config.named() {
        fs = fs.dir(path);
    }
    fs
}

/// The paths to ask about: those named, what is above, below and beside them, and some that
/// mean something on a Mac.
fn asked(means: &dyn Means, more: &[String]) -> BTreeSet<PathBuf> {
    let mut paths: BTreeSet<PathBuf> = PLACES.iter().map(PathBuf::from).collect();
    let more = more
        .iter()
        .map(|path| MacPath::new(path).unwrap().as_path().to_owned());
    for path in means.named().into_iter().chain(more) {
        paths.extend(path.ancestors().map(Path::to_owned));
        for name in ["x", "q\"uote"] {
            paths.insert(path.join(name));
            paths.insert(path.with_file_name(name));
        }
        let mut longer = path.into_os_string();
        longer.push("x");
        paths.insert(longer.into());
    }
    paths
}

fn agree(means: &dyn Means, sbpl: &Sbpl, more: &[String]) -> Result<(), TestCaseError> {
    let paths = asked(means, more);
    let text = |path: &PathBuf| path.to_str().unwrap().to_owned();
    let says = |operation: &str, path: &PathBuf| sbpl.allows(operation, On::File(&text(path)));
    for path in &paths {
        let read = model::reads(means, path);
        let is_root = path == Path::new("/");
        for operation in ["file-read-data", "file-read-xattr"] {
            // It takes / itself to start anything.
            prop_assert_eq!(
                says(operation, path),
                read || is_root,
                "{} {:?}",
                operation,
                path
            );
        }
        prop_assert_eq!(says("file-map-executable", path), read, "map {:?}", path);
        prop_assert_eq!(says("process-exec", path), read, "exec {:?}", path);
        let write = model::writes(means, path);
        prop_assert_eq!(says("file-write-data", path), write, "write {:?}", path);
        let mode = means.reach(path) == Reach::Write;
        prop_assert_eq!(says("file-write-mode", path), mode, "chmod {:?}", path);
        let create = model::creates(means, path) || (is_root && mode);
        prop_assert_eq!(says("file-write-create", path), create, "create {:?}", path);
        let remove = model::removes(means, path);
        prop_assert_eq!(says("file-write-unlink", path), remove, "remove {:?}", path);
        prop_assert!(!says("file-write-setugid", path));
        prop_assert!(!says("file-link", path));
        let connect = sbpl.allows("network-outbound", On::RemoteSocket(&text(path)));
        prop_assert_eq!(connect, model::connects(means, path), "connect {:?}", path);
    }
    // A rename takes an entry away and makes one.
    for (from, to) in paths.iter().zip(paths.iter().rev()) {
        let verdict = says("file-write-unlink", from) && says("file-write-create", to);
        let wanted = model::removes(means, from)
            && (model::creates(means, to)
                || (to == Path::new("/") && means.reach(to) == Reach::Write));
        prop_assert_eq!(verdict, wanted, "rename {:?} {:?}", from, to);
    }
    let shared = means.network() == Network::Shared;
    prop_assert_eq!(sbpl.allows("network-outbound", On::RemoteIp), shared);
    for operation in ["network-bind", "network-inbound"] {
        prop_assert_eq!(sbpl.allows(operation, On::LocalIp), shared);
        // The file that a socket is bound to is one that has to be made.
        prop_assert!(sbpl.allows(operation, On::LocalSocket));
    }
    prop_assert_eq!(sbpl.allows("system-socket", On::SocketOfIp), shared);
    prop_assert!(sbpl.allows("system-socket", On::SocketOfUnix));
    let names = On::Service("com.apple.SystemConfiguration.DNSConfiguration");
    prop_assert_eq!(sbpl.allows("mach-lookup", names), shared);
    Ok(())
}

/// What no configuration changes.
fn always(sbpl: &Sbpl, ipc: Isolation) -> Result<(), TestCaseError> {
    for operation in [
        "ipc-posix-shm",
        "ipc-posix-sem",
        "ipc-sysv-shm",
        "ipc-sysv-msg",
    ] {
        prop_assert_eq!(
            sbpl.allows(operation, On::Nothing),
            ipc == Isolation::Shared
        );
    }
    for operation in ["signal", "process-info-pidinfo"] {
        prop_assert!(sbpl.allows(operation, On::SameSandbox));
        prop_assert!(!sbpl.allows(operation, On::OtherProcess));
    }
    prop_assert!(sbpl.allows("process-fork", On::Nothing));
    prop_assert!(sbpl.allows("sysctl-read", On::Sysctl("kern.osrelease")));
    prop_assert!(!sbpl.allows("sysctl-read", On::Sysctl("kern.procargs2")));
    prop_assert!(!sbpl.allows("sysctl-write", On::Sysctl("kern.hostname")));
    let users = On::Service("com.apple.system.opendirectoryd.libinfo");
    prop_assert!(sbpl.allows("mach-lookup", users));
    prop_assert!(!sbpl.allows("mach-lookup", On::Service("com.apple.pasteboard.1")));
    prop_assert!(!sbpl.allows("file-ioctl", On::File("/dev/ttys001")));
    Ok(())
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let reach = || select(vec![Reach::Denied, Reach::Read, Reach::Write]);
    let place = prop_oneof![
        any_path(),
        any_path(),
        select(vec![
            "/usr",
            "/usr/lib/x",
            "/private",
            "/dev",
            "/dev/null",
            "/dev/fd",
            "/dev/fd/1",
            "/private/var"
        ])
        .prop_map(str::to_owned),
    ];
    let region = (place, reach()).prop_map(|(path, reach)| Region {
        path: MacPath::new(path).unwrap(),
        reach,
    });
    let regions = proptest::collection::vec(region, 0..8);
    (reach(), regions, any::<[bool; 2]>()).prop_map(|(base, regions, shared)| {
        let mut policy = Policy::new(base);
        policy.regions = regions;
        if shared[0] {
            policy.network = Network::Shared;
        }
        if shared[1] {
            policy.ipc = Isolation::Shared;
        }
        policy
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn the_profile_says_what_the_config_says(
        config in any_config(),
        more in proptest::collection::vec(any_path(), 0..3),
    ) {
        let (effective, call) = match launch(&config, &files(&config)) {
            Ok(launch) => launch,
            // What is below a mask cannot be mounted, here as elsewhere.
            Err(e) => {
                prop_assert!(e.starts_with("plan: nothing can be made at"), "{}", e);
                return Ok(());
            }
        };
        let wants = effective.config();
        for feature in effective.enforced().iter() {
            let claimed = [Feature::ReadOnly, Feature::Bind, Feature::Mask, Feature::Network,
                Feature::Ipc];
            prop_assert!(claimed.contains(&feature), "{feature}");
        }
        let sbpl = sbpl(&call);
        agree(wants, &sbpl, &more)?;
        always(&sbpl, wants.namespaces.ipc)?;
    }

    #[test]
    fn the_profile_says_what_the_policy_says(
        policy in any_policy(),
        more in proptest::collection::vec(any_path(), 0..3),
    ) {
        let profile = Profile::new(&policy);
        let args: Vec<String> = profile.arguments().collect();
        let (sbpl, rest) = Sbpl::from_arguments(&args);
        prop_assert!(rest.is_empty());
        agree(&policy, &sbpl, &more)?;
        always(&sbpl, policy.ipc)?;
        for path in asked(&policy, &more) {
            let looks = sbpl.allows("file-read-metadata", On::File(path.to_str().unwrap()));
            prop_assert_eq!(looks, model::looks_at(&policy, &path), "stat {:?}", path);
        }
    }

    /// Nothing of a path gets into the text, whatever it says: other names of the same order
    /// give the same text.
    #[test]
    fn paths_are_parameters(
        mut policy in any_policy(),
        paths in proptest::collection::vec(
            proptest::collection::vec(0..NAMES.len(), 1..4), 0..8),
    ) {
        let mut names = NAMES.to_vec();
        names.sort_unstable();
        let path = |name: &dyn Fn(usize) -> String, path: &[usize]| {
            let path: String = path.iter().map(|n| format!("/{}", name(*n))).collect();
            MacPath::new(format!("/private/tmp{path}")).unwrap()
        };
        policy.regions.truncate(paths.len());
        let mut tame = policy.clone();
        for (n, region) in policy.regions.iter_mut().enumerate() {
            region.path = path(&|n| names[n].to_owned(), &paths[n]);
            tame.regions[n].path = path(&|n| format!("{n:02}"), &paths[n]);
        }
        prop_assert_eq!(Profile::new(&tame).text, Profile::new(&policy).text);
    }
}
