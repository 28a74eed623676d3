//! `cargo xtask dist`: run-sandbox as it is meant to be shipped.
//!
//! Linked statically: the dynamic loader costs every start 0.3 ms, a tenth of what a sandboxed
//! /bin/true takes in all. A program that is started once per build step feels that.

use std::fs;
use std::path::PathBuf;

use crate::{Result, repo};

pub(crate) fn main() -> Result {
    let program = build()?;
    println!("{}", program.display());
    Ok(())
}

/// Builds the program and returns where it is.
pub(crate) fn build() -> Result<PathBuf> {
    let built = build_static(&["--package", "run-sandbox"])?.join("run-sandbox");
    let dist = repo::target().join("dist");
    fs::create_dir_all(&dist)?;
    let program = dist.join("run-sandbox");
    fs::copy(&built, &program)?;
    Ok(program)
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
