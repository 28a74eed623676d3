//! `cargo xtask dist`: run-sandbox as it is meant to be shipped.
//!
//! Linked statically: the dynamic loader costs every start 0.3 ms, a tenth of what a sandboxed
//! /bin/true takes in all. A program that is started once per build step feels that. And with
//! musl, where its standard library is to be had: before `main`, glibc asks the processor what it
//! can do some eighty times, and on a virtual machine that is a trap each (0.7 ms on that of
//! docs/benchmarks.md).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Result, repo, targets};

pub(crate) fn main() -> Result {
    let program = build()?;
    println!("{}", program.display());
    Ok(())
}

/// Builds the program and returns where it is.
pub(crate) fn build() -> Result<PathBuf> {
    let wanted = ["--package", "run-sandbox"];
    let built = match with_musl(&wanted)? {
        Some(dir) => dir,
        None => build_static(&wanted)?,
    };
    let dist = repo::target().join("dist");
    fs::create_dir_all(&dist)?;
    let program = dist.join("run-sandbox");
    fs::copy(built.join("run-sandbox"), &program)?;
    Ok(program)
}

/// Builds what `arguments` name with musl, and returns cargo's directory for it; `None` if there
/// is no standard library for that.
fn with_musl(arguments: &[&str]) -> Result<Option<PathBuf>> {
    let target = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    let mut cargo = repo::cargo();
    cargo.args(["build", "--release", "--target", &target]);
    // Not loaded anywhere: nothing to relocate, and no pages of its own for what would be.
    let mut flags = format!("{} -Crelocation-model=static", static_flags());
    if !targets::installed().contains(&target) {
        let library = repo::have("musl-gcc").then(targets::library_source);
        let Some(Ok(library)) = library else {
            eprintln!(
                "dist: with glibc, because there is no standard library for {target}; it is \
                 installed by `rustup target add {target}`, or made from source where there is \
                 musl-gcc (package musl-tools)"
            );
            return Ok(None);
        };
        let unwinder = unwinder()?;
        flags = format!("{flags} -Clink-self-contained=no -L{}", unwinder.display());
        let linker = target.to_uppercase().replace('-', "_");
        targets::from_source(&mut cargo, &library)
            .env(format!("CARGO_TARGET_{linker}_LINKER"), "musl-gcc");
    }
    repo::run(cargo.args(arguments).env("RUSTFLAGS", flags))?;
    Ok(Some(repo::target().join(target).join("release")))
}

/// A directory with the library that walks the stack for a panic: gcc's, less what that asks of
/// glibc.
fn unwinder() -> Result<PathBuf> {
    let dir = repo::target().join("musl");
    fs::create_dir_all(&dir)?;
    let stub = dir.join("find_object.o");
    let source = dir.join("find_object.c");
    fs::write(
        &source,
        "int _dl_find_object(void *address, void *found) { return -1; }\n",
    )?;
    repo::run(
        Command::new("musl-gcc")
            .args(["-c", "-O2", "-o"])
            .args([&stub, &source]),
    )?;
    let find = |name: &str| -> Result<String> {
        let path = repo::output(Command::new("gcc").arg(format!("-print-file-name={name}")))?;
        Ok(path.trim().to_owned())
    };
    let parts = [
        find("libgcc_eh.a")?,
        find("libgcc.a")?,
        text(&stub)?.to_owned(),
    ];
    let script = format!("INPUT({})\n", parts.join(" "));
    fs::write(dir.join("libunwind.a"), script)?;
    Ok(dir)
}

fn text(path: &Path) -> Result<&str> {
    Ok(path
        .to_str()
        .ok_or_else(|| format!("{path:?} is not UTF-8"))?)
}

/// Builds examples, each of a package, in the same way, and returns the directory they are in.
pub(crate) fn build_examples(examples: &[(&str, &str)]) -> Result<PathBuf> {
    let mut arguments = Vec::new();
    for (package, example) in examples {
        arguments.extend(["--package", package, "--example", example]);
    }
    Ok(build_static(&arguments)?.join("examples"))
}

/// Builds what `arguments` name, linked statically, and returns cargo's directory for it.
fn build_static(arguments: &[&str]) -> Result<PathBuf> {
    let host = host_triple()?;
    repo::run(
        repo::cargo()
            .args(["build", "--release", "--target", &host])
            .args(arguments)
            .env("RUSTFLAGS", static_flags()),
    )?;
    Ok(repo::target().join(&host).join("release"))
}

/// RUSTFLAGS for a static program, to be used with --target: then they are for the program alone,
/// not for build scripts and macros, which cannot be static. Flags that somebody has set stay.
pub(crate) fn static_flags() -> String {
    let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    format!("{flags} -Ctarget-feature=+crt-static")
}

/// The target that the compiler itself runs on.
pub(crate) fn host_triple() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = repo::output(std::process::Command::new(rustc).arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.ok_or("rustc does not tell its host")?.to_owned())
}
