//! What the sources may contain, and where.

use std::fs;
use std::path::{Path, PathBuf};

use super::text::{code_lines, has_word};
use super::{CONFORMANCE, ESCAPES, Fault, Package, SPAWN};
use crate::Result;

const LONGEST: usize = 800;
/// The packages that carry a program for the inside of a sandbox, and where its sources are. Such
/// a program makes system calls that no safe library has, and no library links it: what makes them
/// is unsafe there, and argued for as in spawn.
const PROGRAMS: [(&str, &str); 2] = [(CONFORMANCE, "probe"), (ESCAPES, "attack")];
/// The files of such a program that hold unsafe code.
const PROGRAM_CALLS: [&str; 3] = ["sys.rs", "x86_64.rs", "aarch64.rs"];
const FORBID: &str = "#![forbid(unsafe_code)]";
/// What decides by platform. A feature or `test` is no platform.
const PLATFORM: [&str; 5] = [
    "target_os",
    "target_family",
    "target_arch",
    "unix",
    "windows",
];
/// Crates whose types may not be in a public signature: their releases must not break ours.
const FOREIGN: [&str; 4] = ["nix::", "caps::", "rustix::", "libc::"];

pub(super) fn check(root: &Path, packages: &[Package]) -> Result<Vec<Fault>> {
    let mut faults = Vec::new();
    for package in packages {
        let spawn = package.name == SPAWN;
        if !spawn {
            faults.extend(package.roots.iter().filter_map(|root| forbids_unsafe(root)));
        }
        for file in rust_files(&package.dir)? {
            let source = fs::read_to_string(&file)?;
            let place = file
                .strip_prefix(root)
                .unwrap_or(&file)
                .display()
                .to_string();
            let in_src = file.starts_with(package.dir.join("src"));
            let is_crate = package.dir.starts_with(root.join("crates"));
            let lines = code_lines(&source);
            if spawn || makes_system_calls(package, &file) {
                faults.extend(unsafe_without_reason(&place, &source, &lines));
            } else {
                faults.extend(lines_with(
                    &place,
                    &lines,
                    |l| has_word(l, "unsafe"),
                    "unsafe code",
                ));
                if is_crate && in_src {
                    faults.extend(lines_with(
                        &place,
                        &lines,
                        decides_by_platform,
                        "a platform cfg",
                    ));
                }
            }
            if is_crate && in_src {
                faults.extend(foreign_in_public(&place, &lines));
                let length = source.lines().count();
                if length > LONGEST {
                    let what = format!("{length} lines, and {LONGEST} are enough");
                    faults.push(Fault::new(&place, what));
                }
            }
        }
    }
    Ok(faults)
}

/// Whether this is one of the files in which a program for the inside makes its system calls.
fn makes_system_calls(package: &Package, file: &Path) -> bool {
    PROGRAMS
        .iter()
        .filter(|(name, _)| package.name == *name)
        .flat_map(|(_, dir)| PROGRAM_CALLS.map(|name| package.dir.join(dir).join(name)))
        .any(|allowed| file == allowed)
}

/// The Rust files of a package, without those of packages below it.
fn rust_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        let another = || path.join("Cargo.toml").exists();
        if kind.is_dir() && entry.file_name() != "target" && !another() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn forbids_unsafe(root: &Path) -> Option<Fault> {
    let source = fs::read_to_string(root).unwrap_or_default();
    let said = source.lines().any(|line| line.trim() == FORBID);
    (!said).then(|| Fault::new(root.display(), format!("does not say {FORBID}")))
}

fn lines_with(
    place: &str,
    lines: &[String],
    is_fault: impl Fn(&str) -> bool,
    what: &str,
) -> Vec<Fault> {
    (1..)
        .zip(lines)
        .filter(|(_, line)| is_fault(line))
        .map(|(n, _)| {
            Fault::new(
                format_args!("{place}:{n}"),
                format!("{what} outside {SPAWN}"),
            )
        })
        .collect()
}

fn decides_by_platform(line: &str) -> bool {
    let cfg = ["cfg(", "cfg!(", "cfg_attr("]
        .iter()
        .filter_map(|c| line.find(c))
        .min();
    cfg.is_some_and(|at| PLATFORM.iter().any(|p| has_word(&line[at..], p)))
}

/// Every `unsafe` has a SAFETY comment above the statement that it stands in, an `unsafe fn` a
/// `# Safety` section.
fn unsafe_without_reason(place: &str, source: &str, code: &[String]) -> Vec<Fault> {
    let source: Vec<&str> = source.lines().collect();
    (0..code.len())
        .filter(|n| has_word(&code[*n], "unsafe") && !only_names_it(&code[*n]))
        .filter(|n| !has_reason(&source, code, *n))
        .map(|n| {
            Fault::new(
                format_args!("{place}:{}", n + 1),
                "unsafe without a SAFETY comment above it",
            )
        })
        .collect()
}

/// `unsafe extern "C" fn` as a type, and attributes such as `#[unsafe(no_mangle)]`.
fn only_names_it(line: &str) -> bool {
    if line.trim_start().starts_with("#[unsafe(") {
        return true;
    }
    let Some(at) = line.find("unsafe") else {
        return false;
    };
    let before = line[..at].trim_end();
    before.ends_with([':', '<', '(', '=', '>']) && line[at..].contains("fn(")
}

fn has_reason(source: &[&str], code: &[String], at: usize) -> bool {
    for n in (0..at).rev() {
        let (line, code) = (source[n].trim(), code[n].trim());
        let comment = code.is_empty() && line.starts_with("//");
        if comment {
            if line.contains("SAFETY:") || line.contains("# Safety") {
                return true;
            }
        } else if code.is_empty() || (code.ends_with([';', '}', '{']) && !code.starts_with('#')) {
            // The statement begins after this line.
            return false;
        }
    }
    false
}

fn foreign_in_public(place: &str, lines: &[String]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (n, line) in lines.iter().enumerate() {
        let item = line.trim_start();
        if !item.starts_with("pub ") {
            continue;
        }
        let mut signature = String::new();
        for line in &lines[n..] {
            let end = line.find(['{', ';']);
            signature.push_str(&line[..end.unwrap_or(line.len())]);
            if end.is_some() {
                break;
            }
        }
        for name in FOREIGN.iter().filter(|name| signature.contains(**name)) {
            let what = format!("a type of {} in a public item", name.trim_end_matches(':'));
            faults.push(Fault::new(format_args!("{place}:{}", n + 1), what));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults_of(name: &str, file: &str, source: &str) -> Vec<String> {
        let tree = tempfile::tempdir().unwrap();
        let dir = tree.path().join("crates/x");
        let path = dir.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, source).unwrap();
        let package = Package {
            name: name.to_owned(),
            roots: if file == "src/lib.rs" {
                vec![path]
            } else {
                vec![]
            },
            dir,
            dependencies: vec![],
            dev_dependencies: vec![],
            has_license: true,
        };
        check(tree.path(), &[package])
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn good_sources_pass() {
        let plain = "#![forbid(unsafe_code)]\n// unsafe, cfg(unix)\n#[cfg(test)]\npub fn f() {}\n";
        assert_eq!(faults_of("sandboxlib-core", "src/lib.rs", plain), [""; 0]);
        let spawn = "#[cfg(target_os = \"linux\")]\nfn f() {\n    // SAFETY: proved\n    // at length.\n    \
                     let x =\n        unsafe { g() };\n}\n/// # Safety\n/// Hold it.\nunsafe fn h() {}\n\
                     type F = unsafe extern \"C\" fn(u8);\n";
        assert_eq!(faults_of(SPAWN, "src/lib.rs", spawn), [""; 0]);
    }

    #[test]
    fn each_violation_is_found() {
        for (name, file, source, wanted) in [
            (
                "sandboxlib-core",
                "src/lib.rs",
                "pub fn f() {}\n",
                "does not say",
            ),
            (
                "sandboxlib-core",
                "src/a.rs",
                "fn f() { unsafe { g() } }\n",
                "a.rs:1: unsafe code",
            ),
            (
                "sandboxlib-core",
                "tests/a.rs",
                "\nunsafe fn f() {}\n",
                "a.rs:2: unsafe code",
            ),
            (
                "sandboxlib-core",
                "src/a.rs",
                "#[cfg(unix)]\nfn f() {}\n",
                "a.rs:1: a platform cfg",
            ),
            (
                "sandboxlib-core",
                "src/a.rs",
                "if cfg!(target_os = \"macos\") {}\n",
                "a platform cfg",
            ),
            (
                SPAWN,
                "src/a.rs",
                "// SAFETY: other\nlet x = 1;\nunsafe { g() };\n",
                "a.rs:3: unsafe without",
            ),
            (
                SPAWN,
                "src/a.rs",
                "fn f() {\n    unsafe { g() }\n}\n",
                "a.rs:2: unsafe without",
            ),
            (
                SPAWN,
                "src/a.rs",
                "pub fn f(\n    x: nix::Pid,\n) {\n}\n",
                "a.rs:1: a type of nix",
            ),
            (
                SPAWN,
                "src/a.rs",
                "pub fn f() -> caps::Set {\n}\n",
                "a type of caps",
            ),
        ] {
            let faults = faults_of(name, file, source);
            assert_eq!(faults.len(), 1, "{source:?}: {faults:?}");
            assert!(faults[0].contains(wanted), "{source:?}: {faults:?}");
        }
        let long = "//\n".repeat(LONGEST + 1);
        assert_eq!(faults_of("sandboxlib-core", "src/a.rs", &long).len(), 1);
    }

    #[test]
    fn programs_for_the_inside_have_one_place_for_unsafe_code() {
        let proved = "// SAFETY: a number.\nlet x = unsafe { g() };\n";
        let bare = "unsafe { g() }\n";
        assert_eq!(faults_of(CONFORMANCE, "probe/sys.rs", proved), [""; 0]);
        assert_eq!(faults_of(ESCAPES, "attack/sys.rs", proved), [""; 0]);
        for (name, file, source) in [
            (CONFORMANCE, "probe/sys.rs", bare),
            (CONFORMANCE, "probe/main.rs", proved),
            (CONFORMANCE, "src/sys.rs", proved),
            (ESCAPES, "attack/sys.rs", bare),
            (ESCAPES, "attack/main.rs", proved),
            (ESCAPES, "probe/sys.rs", proved),
            ("sandboxlib-core", "probe/sys.rs", proved),
        ] {
            assert_eq!(faults_of(name, file, source).len(), 1, "{name} {file}");
        }
    }

    #[test]
    fn what_is_not_public_may_name_anything() {
        let source = "pub(crate) fn f(x: nix::Pid) {}\nfn g(x: libc::c_int) {}\n\
                      pub fn h() {\n    nix::sync();\n}\n";
        assert_eq!(faults_of(SPAWN, "src/a.rs", source), [""; 0]);
    }
}
