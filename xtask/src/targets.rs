//! `cargo xtask check-targets`: the whole workspace, tests included, type-checked for other
//! systems than this one.
//!
//! It needs the standard library of each target. Where rustup has it installed, that is taken.
//! Where not, the library is checked from its source, which is a Debian package for each version
//! of the compiler that Debian has, so that a machine without rustup's archive can do it too.
//! Then the programs without libc that build scripts compile for Linux, the init program and
//! conformance's probe, are left out: cargo checks the libraries, and compiles none to link with.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Result, apt, repo};

/// Systems that are no Linux, and the Linux whose processor differs most from what CI has.
const TARGETS: &[&str] = &[
    "aarch64-apple-darwin",
    "x86_64-apple-darwin",
    "x86_64-unknown-freebsd",
    "aarch64-unknown-linux-gnu",
];

/// Where Debian's newest compilers are.
const SUITE: &str = "trixie-backports";

/// The parts of the standard library that programs, and tests, are linked with.
const PARTS: &str = "-Zbuild-std=std,panic_abort,test";

pub(crate) fn main(mut args: lexopt::Parser) -> Result {
    let mut named = Vec::new();
    while let Some(arg) = args.next()? {
        match arg {
            lexopt::Arg::Value(target) => named.push(target.to_string_lossy().into_owned()),
            other => return Err(other.unexpected().into()),
        }
    }
    if named.is_empty() {
        named.extend(TARGETS.iter().map(|target| (*target).to_owned()));
    }
    let installed = installed();
    let mut source = None;
    for target in &named {
        eprintln!("checking for {target}");
        let mut check = repo::cargo();
        check.args(["clippy", "--workspace", "--all-targets", "--all-features"]);
        check.args(["--target", target]);
        if !target.contains("linux") {
            for package in OF_LINUX {
                check.args(["--exclude", package]);
            }
        }
        if !installed.contains(target) {
            let library = match &source {
                Some(library) => library,
                None => source.insert(library_source().map_err(|error| {
                    format!(
                        "no standard library to check {target} with: {error}; \
                         `rustup target add {target}` installs one"
                    )
                })?),
            };
            from_source(&mut check, library);
        }
        repo::run(check.args(["--", "-Dwarnings"]))?;
    }
    Ok(())
}

/// What the others depend on where there is a Linux, and nowhere else: system call filters, which
/// are assembled by a crate of Linux's own, and the attacks on Linux sandboxes.
const OF_LINUX: [&str; 2] = ["sandboxlib-seccomp", "sandboxlib-escapes"];

/// Has cargo make the standard library from its source.
pub(crate) fn from_source<'c>(cargo: &'c mut Command, library: &Path) -> &'c mut Command {
    cargo
        .arg(PARTS)
        .env("__CARGO_TESTS_ONLY_SRC_ROOT", library)
        .env("RUSTC_BOOTSTRAP", "1")
}

/// The targets whose standard library rustup has put beside the compiler.
pub(crate) fn installed() -> Vec<String> {
    if !repo::have("rustup") {
        return Vec::new();
    }
    let list = repo::output(Command::new("rustup").args(["target", "list", "--installed"]));
    let list = list.unwrap_or_default();
    list.lines().map(str::to_owned).collect()
}

/// The source of the standard library of this very compiler: another's does not compile.
pub(crate) fn library_source() -> Result<PathBuf> {
    let version = version()?;
    let beside = repo::output(Command::new(rustc()).args(["--print", "sysroot"]))?;
    let beside = Path::new(beside.trim()).join("lib/rustlib/src/rust/library");
    if beside.is_dir() {
        return Ok(beside);
    }
    let dir = repo::target().join(format!("rust-src-{version}"));
    let library = dir.join(format!("usr/src/rustc-{version}/library"));
    if library.is_dir() {
        return Ok(library);
    }
    eprintln!("fetching the source of the standard library {version} (once)");
    let cache = repo::target().join("debs");
    let deb =
        apt::Private::new(&cache, SUITE)?.download("rust-src", Some(&format!("{version}+*")))?;
    // Whoever finds the directory finds all of it.
    let part = dir.with_file_name(format!("rust-src-{version}.part-{}", std::process::id()));
    std::fs::create_dir_all(&part)?;
    apt::unpack_only(&deb, "./usr/src/rustc-*/library/*", &part)?;
    std::fs::rename(&part, &dir)?;
    if !library.is_dir() {
        return Err(format!("{} has no {}", deb.display(), library.display()).into());
    }
    std::fs::remove_file(&deb)?;
    Ok(library)
}

/// The compiler that cargo takes.
fn rustc() -> std::ffi::OsString {
    std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())
}

/// The version of the compiler, such as `1.95.0`.
fn version() -> Result<String> {
    let text = repo::output(Command::new(rustc()).arg("-vV"))?;
    let release = text.lines().find_map(|line| line.strip_prefix("release: "));
    Ok(release.ok_or("rustc -vV says no release")?.to_owned())
}
