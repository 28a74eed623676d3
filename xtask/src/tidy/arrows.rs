//! Who may depend on whom.

use super::{CONFORMANCE, Fault, Package, SPAWN};

const CONFIG: &str = "sandboxlib-config";
const MOUNT: &str = "sandboxlib-mount";
const CORE: &str = "sandboxlib-core";
const SECCOMP: &str = "sandboxlib-seccomp";
const FACADE: &str = "sandboxlib";
const IMAGE: &str = "sandboxlib-image";
const BACKENDS: [&str; 5] = [
    "sandboxlib-bubblewrap",
    "sandboxlib-chroot",
    "sandboxlib-linux-user-chroot",
    "sandboxlib-sandbox-exec",
    "sandboxlib-userns",
];

/// What only the crate that makes system calls may depend on: bindings to the system.
const BINDINGS: [&str; 4] = ["caps", "libc", "nix", "rustix"];
/// The one that another crate may have: images are unpacked by descriptor, which the standard
/// library cannot do, and these calls are safe functions.
const IMAGE_BINDING: &str = "rustix";
/// Errors that a caller cannot take apart have no place in a library.
const NOT_IN_LIBRARIES: [&str; 3] = ["anyhow", "color-eyre", "eyre"];

/// The packages of the workspace that `name` may depend on; `None` for a package that is not in
/// the design.
fn allowed(name: &str) -> Option<Vec<&'static str>> {
    let contract = || vec![CONFIG, MOUNT, CORE];
    Some(match name {
        "xtask" | CONFIG => vec![],
        MOUNT | SECCOMP | IMAGE => vec![CONFIG],
        CORE => vec![CONFIG, MOUNT],
        SPAWN => [contract(), vec![SECCOMP]].concat(),
        CONFORMANCE => [contract(), vec![SPAWN]].concat(),
        FACADE => [contract(), vec![SPAWN, IMAGE], BACKENDS.to_vec()].concat(),
        "run-sandbox" | "linux-user-chroot" => vec![FACADE],
        "sandboxlib-python" => vec![FACADE, IMAGE],
        "sandboxlib-tests" => [
            contract(),
            vec![
                SPAWN,
                FACADE,
                CONFORMANCE,
                IMAGE,
                "run-sandbox",
                "linux-user-chroot",
            ],
            BACKENDS.to_vec(),
        ]
        .concat(),
        // Sandboxes are black boxes to it, ours too.
        "sandboxlib-escapes" => vec!["sandboxlib-tests"],
        backend if BACKENDS.contains(&backend) => contract(),
        _ => return None,
    })
}

/// What the tests of `name` may depend on besides.
fn allowed_in_tests(name: &str) -> &'static [&'static str] {
    if BACKENDS.contains(&name) {
        &[CONFORMANCE]
    } else {
        &[]
    }
}

pub(super) fn check(packages: &[Package]) -> Vec<Fault> {
    let mut faults = Vec::new();
    let ours = |name: &str| packages.iter().any(|p| p.name == name);
    for package in packages {
        let name = package.name.as_str();
        let Some(allowed) = allowed(name) else {
            faults.push(Fault::new(
                name,
                "is in no place of the design: see xtask tidy/arrows.rs",
            ));
            continue;
        };
        let in_tests = allowed_in_tests(name);
        let normal = package.dependencies.iter().map(|d| (d.as_str(), false));
        let dev = package.dev_dependencies.iter().map(|d| (d.as_str(), true));
        for (dependency, dev) in normal.chain(dev) {
            let fine = allowed.contains(&dependency) || (dev && in_tests.contains(&dependency));
            if ours(dependency) && !fine {
                faults.push(Fault::new(name, format!("may not depend on {dependency}")));
            }
            let images = name == IMAGE && dependency == IMAGE_BINDING;
            if BINDINGS.contains(&dependency) && name != SPAWN && !images {
                let what = format!("depends on {dependency}, which is for {SPAWN} alone");
                faults.push(Fault::new(name, what));
            }
            if NOT_IN_LIBRARIES.contains(&dependency) {
                faults.push(Fault::new(
                    name,
                    format!("depends on {dependency}: errors are typed"),
                ));
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &[&str], dev: &[&str]) -> Package {
        let owned = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        Package {
            name: name.to_owned(),
            dir: "/w".into(),
            dependencies: owned(dependencies),
            dev_dependencies: owned(dev),
            roots: vec![],
            has_license: true,
        }
    }

    fn faults_with(package_under_test: Package) -> Vec<Fault> {
        let mut packages: Vec<_> = [
            CONFIG,
            MOUNT,
            CORE,
            SECCOMP,
            SPAWN,
            FACADE,
            CONFORMANCE,
            "xtask",
        ]
        .iter()
        .chain(&BACKENDS)
        .filter(|name| **name != package_under_test.name)
        .map(|name| package(name, &[], &[]))
        .collect();
        packages.push(package_under_test);
        check(&packages)
    }

    #[test]
    fn the_design_passes() {
        let chroot = package(BACKENDS[0], &[CORE, MOUNT, "thiserror"], &[CONFORMANCE]);
        assert_eq!(faults_with(chroot), []);
        assert_eq!(
            faults_with(package(FACADE, &[SPAWN, BACKENDS[0], BACKENDS[3]], &[])),
            []
        );
        assert_eq!(
            faults_with(package(SPAWN, &[CORE, SECCOMP, "nix", "libc"], &[])),
            []
        );
        assert_eq!(faults_with(package(IMAGE, &[CONFIG, "rustix"], &[])), []);
        let suite = package(CONFORMANCE, &[CONFIG, MOUNT, CORE, SPAWN, "tempfile"], &[]);
        assert_eq!(faults_with(suite), []);
    }

    #[test]
    fn each_wrong_arrow_is_found() {
        for (name, dependency) in [
            (BACKENDS[0], BACKENDS[1]),
            (BACKENDS[0], SPAWN),
            (BACKENDS[0], CONFORMANCE),
            (BACKENDS[3], "nix"),
            (SPAWN, BACKENDS[0]),
            (SPAWN, FACADE),
            (CONFIG, MOUNT),
            (CORE, SPAWN),
            (CORE, SECCOMP),
            (SECCOMP, CORE),
            (BACKENDS[0], SECCOMP),
            (FACADE, CONFORMANCE),
            (CONFORMANCE, FACADE),
            (CONFORMANCE, BACKENDS[0]),
            (CONFORMANCE, "nix"),
            (IMAGE, "nix"),
            (IMAGE, CORE),
            (IMAGE, FACADE),
            ("run-sandbox", SPAWN),
            ("xtask", CONFIG),
            (CONFIG, "libc"),
            (MOUNT, "anyhow"),
        ] {
            let faults = faults_with(package(name, &[dependency], &[]));
            assert_eq!(faults.len(), 1, "{name} -> {dependency}: {faults:?}");
        }
        assert_eq!(
            faults_with(package(BACKENDS[0], &[], &[SPAWN])).len(),
            1,
            "for tests neither"
        );
    }

    #[test]
    fn a_package_that_nobody_thought_of_is_found() {
        assert_eq!(faults_with(package("sandboxlib-new", &[], &[])).len(), 1);
    }
}
