//! `cargo xtask lab`: real input for the tests, a Debian 12 root with a compiler and the source
//! of a package to build in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Result, apt, repo};

/// Names the directory of the lab: for us where to make it, for the tests where it is.
pub(crate) const DIR: &str = "SANDBOXLIB_LAB";
/// Tells the tests why there is none.
pub(crate) const MISSING: &str = "SANDBOXLIB_LAB_MISSING";

const SUITE: &str = "bookworm";
const PACKAGES: &str = "gcc,make,libc6-dev";
/// Small, configured, compiled and tested in some seconds, with a test suite of its own.
const SOURCE: &str = "zlib";

pub(crate) fn main(mut args: lexopt::Parser) -> Result {
    let mut dir = None;
    while let Some(arg) = args.next()? {
        match arg {
            lexopt::Arg::Value(value) if dir.is_none() => dir = Some(PathBuf::from(value)),
            other => return Err(other.unexpected().into()),
        }
    }
    println!("{}", make(dir)?.display());
    Ok(())
}

/// Makes what is missing of the lab and returns its directory, which holds `root` and `src`.
pub(crate) fn make(dir: Option<PathBuf>) -> Result<PathBuf> {
    let dir = match dir.or_else(|| std::env::var_os(DIR).map(PathBuf::from)) {
        Some(dir) => {
            fs::create_dir_all(&dir)?;
            fs::canonicalize(dir)?
        }
        None => repo::shared_dir("lab")?,
    };
    if dir.join("root").exists() && dir.join("src").exists() {
        return Ok(dir);
    }
    for (tool, package) in [("mmdebstrap", "mmdebstrap"), ("dpkg-source", "dpkg-dev")] {
        if !repo::have(tool) {
            return Err(format!("there is no {tool} (package {package})").into());
        }
    }
    let apt = apt::Private::new(&dir, SUITE)?;
    if !dir.join("src").exists() {
        make_source(&apt, &dir.join("src"))?;
    }
    if !dir.join("root").exists() {
        make_root(apt.sources(), &dir)?;
    }
    Ok(dir)
}

fn make_root(sources: &Path, dir: &Path) -> Result {
    eprintln!("making a Debian root in {} (once)", dir.display());
    // Beside its final place: what mmdebstrap makes in a user namespace belongs to another id,
    // and may be given another name by us, but not another parent.
    let part = dir.join(format!("root.part-{}", std::process::id()));
    let mode = if repo::is_root() { "root" } else { "unshare" };
    let mut command = Command::new("mmdebstrap");
    command
        .args(["--quiet", "--variant=essential", "--format=directory"])
        .arg(format!("--mode={mode}"))
        .arg(format!("--include={PACKAGES}"))
        .arg(SUITE)
        .arg(&part)
        .arg(sources)
        .current_dir(dir);
    repo::run(&mut command)?;
    fs::rename(part, dir.join("root"))?;
    Ok(())
}

fn make_source(apt: &apt::Private, to: &Path) -> Result {
    eprintln!("fetching the source of {SOURCE} to {} (once)", to.display());
    apt.source(SOURCE, to)
}
