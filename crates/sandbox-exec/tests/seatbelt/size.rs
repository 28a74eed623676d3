//! Profiles that would be too large.

use sandboxlib_config::{Config, Feature, Mount, MountKind, RootAccess};
use sandboxlib_core::{Backend, negotiate};
use sandboxlib_mount::MemoryFs;
use sandboxlib_sandbox_exec::{Prepared, Profile, SandboxExec};

use crate::host::{at, facts, launch, mac, read_only};
use crate::sbpl::{On, Sbpl};

/// Twenty directories with so many writable paths altogether, and one elsewhere.
fn many(count: usize) -> (Config, MemoryFs) {
    let mut fs = mac();
    let mut writable = vec!["/Users/me/src/build".to_owned()];
    for group in 10..30 {
        for n in 0..count / 20 {
            writable.push(format!("/Users/me/store/g{group}/{:09}-output", n * 7919));
        }
    }
    for path in &writable {
        fs = fs.dir(path);
    }
    let mut config = read_only();
    config.root_access = Some(RootAccess::ReadOnlyExcept(
        writable.iter().map(|path| at(path)).collect(),
    ));
    (config, fs)
}

fn prepared(config: &Config, fs: &MemoryFs) -> Prepared {
    let backend = SandboxExec;
    let effective = negotiate(config, &backend.support(&facts())).unwrap();
    let plan = sandboxlib_mount::plan(effective.config(), fs).unwrap();
    backend.profile(&effective, &plan).unwrap()
}

#[test]
fn what_fits_is_not_folded() {
    let (config, fs) = many(400);
    let prepared = prepared(&config, &fs);
    assert_eq!(prepared.folds, []);
    assert_eq!(prepared.degradation(), None);
    assert_eq!(prepared.profile.params.len(), 401 + 6);
    assert_eq!(launch(&config, &fs).unwrap().1.degradations, []);
}

#[test]
fn what_does_not_fit_is_refused_with_what_would() {
    let (config, fs) = many(4000);
    let error = launch(&config, &fs).unwrap_err();
    assert!(
        error.contains("macOS takes 65535; it would fit with all of"),
        "{error}"
    );
    assert!(
        error.contains("\"/Users/me/store/g10\" for 200 paths in it"),
        "{error}"
    );
}

#[test]
fn less_will_do_folds_no_more_than_needed_and_says_so() {
    let (mut config, fs) = many(1000);
    config.prefer.insert(Feature::ReadOnly);
    let Prepared { profile, folds, .. } = prepared(&config, &fs);
    assert!(profile.compiled_size <= Profile::LIMIT);
    assert!(
        profile.compiled_size > Profile::LIMIT / 2,
        "{}",
        profile.compiled_size
    );
    assert!((1..20).contains(&folds.len()), "{folds:?}");
    for (fold, group) in folds.iter().zip(10..) {
        assert_eq!(fold.into.as_str(), format!("/Users/me/store/g{group}"));
        assert_eq!(fold.paths, 50);
    }
    let (sbpl, _) = Sbpl::from_arguments(&profile.arguments().collect::<Vec<_>>());
    let writes = |path: &str| sbpl.allows("file-write-data", On::File(path));
    assert!(writes("/Users/me/store/g10/anything"));
    assert!(!writes("/Users/me/store/g29/anything"));
    assert!(writes("/Users/me/store/g29/000000000-output"));
    assert!(!writes("/Users/me/store/x") && !writes("/Users/me/src/x"));
    assert!(writes("/Users/me/src/build/x"));

    // The launch says so, and the outcome of a run lists it.
    let (_, call) = launch(&config, &fs).unwrap();
    let [degradation] = &call.degradations[..] else {
        panic!("{:?}", call.degradations);
    };
    assert_eq!(degradation.feature, Feature::ReadOnly);
    let text = &degradation.reason.text;
    assert!(
        text.contains("more is writable than was asked for: all of"),
        "{text}"
    );
}

#[test]
fn nothing_that_was_said_by_name_is_folded_away() {
    let (mut config, mut fs) = many(4000);
    config.prefer.insert(Feature::ReadOnly);
    for path in ["/Users/me/store/g10/read", "/Users/me/store/g10/none"] {
        fs = fs.dir(path);
    }
    config.mounts = vec![
        Mount::bind_read_only("/Users/me/store/g10/read", at("/Users/me/store/g10/read")),
        Mount::new(at("/Users/me/store/g10/none"), MountKind::Mask),
    ];
    let Prepared { profile, folds, .. } = prepared(&config, &fs);
    assert_eq!(folds[0].into.as_str(), "/Users/me/store/g10");
    let (sbpl, _) = Sbpl::from_arguments(&profile.arguments().collect::<Vec<_>>());
    let says = |operation, path| sbpl.allows(operation, On::File(path));
    assert!(says("file-write-data", "/Users/me/store/g10/x"));
    assert!(says("file-read-data", "/Users/me/store/g10/read/x"));
    assert!(!says("file-write-data", "/Users/me/store/g10/read/x"));
    assert!(!says("file-write-unlink", "/Users/me/store/g10/read"));
    assert!(!says("file-read-data", "/Users/me/store/g10/none/x"));
    // What it was folded into keeps its place.
    assert!(!says("file-write-unlink", "/Users/me/store/g10"));
}

#[test]
fn masks_are_never_folded() {
    let mut config = read_only();
    config.prefer.insert(Feature::ReadOnly);
    let mut fs = mac();
    for n in 0..4000 {
        let path = format!("/Users/me/secrets/{:09}", n * 7919);
        fs = fs.dir(&path);
        config.mounts.push(Mount::new(at(&path), MountKind::Mask));
    }
    let error = launch(&config, &fs).unwrap_err();
    assert!(error.ends_with("bytes, and macOS takes 65535"), "{error}");
}
