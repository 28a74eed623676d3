//! `cargo xtask lab`: real input for the tests: a Debian 12 root with compilers, debuggers and
//! interpreters, the source of a package to build in it, and the Rust toolchain that is in use.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Result, apt, repo};

/// Names the directory of the lab: for us where to make it, for the tests where it is.
pub(crate) const DIR: &str = "SANDBOXLIB_LAB";
/// Tells the tests why there is none.
pub(crate) const MISSING: &str = "SANDBOXLIB_LAB_MISSING";

const SUITE: &str = "bookworm";
/// gdb without Python, which would be a second one of half the size of all the rest.
const PACKAGES: &str = "gcc,make,libc6-dev,apt,gdb-minimal,git,nodejs,python3,strace";
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

/// Makes what is missing of the lab and returns its directory, which holds `root`, the same as
/// `root.tar`, whoever is to own it, `src`, and `rust` if there is a toolchain of rustup's.
pub(crate) fn make(dir: Option<PathBuf>) -> Result<PathBuf> {
    let dir = match dir.or_else(|| std::env::var_os(DIR).map(PathBuf::from)) {
        Some(dir) => {
            fs::create_dir_all(&dir)?;
            fs::canonicalize(dir)?
        }
        None => repo::shared_dir("lab")?,
    };
    if !dir.join("rust").exists() {
        make_rust(&dir)?;
    }
    let (root, tar) = (dir.join("root"), dir.join("root.tar"));
    if root.exists() && !tar.exists() {
        return Err(format!(
            "the root in {} is of an older version: remove it (`unshare --map-auto \
             --map-root-user rm -r`, if an ordinary user has made it)",
            dir.display()
        )
        .into());
    }
    if root.exists() && dir.join("src").exists() {
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
    if !root.exists() {
        make_root(apt.sources(), &dir)?;
    }
    Ok(dir)
}

fn make_root(sources: &Path, dir: &Path) -> Result {
    eprintln!("making a Debian root in {} (once)", dir.display());
    let tar = dir.join(format!("root.tar.part-{}", std::process::id()));
    let mode = if repo::is_root() { "root" } else { "unshare" };
    let mut command = Command::new("mmdebstrap");
    command
        .args(["--quiet", "--variant=essential", "--format=tar"])
        .arg(format!("--mode={mode}"))
        .arg("--dpkgopt=force-unsafe-io")
        .arg(format!("--include={PACKAGES}"))
        .arg(SUITE)
        .arg(&tar)
        .arg(sources)
        .current_dir(dir);
    repo::run(&mut command)?;
    let part = dir.join(format!("root.part-{}", std::process::id()));
    fs::create_dir(&part)?;
    // An ordinary user has nothing but subordinate ids for the owners, and no device nodes, which
    // nobody opens in the tests' sandboxes anyway.
    let mut unpack = if repo::is_root() {
        Command::new("tar")
    } else {
        let mut unshare = Command::new("unshare");
        unshare.args(["--map-root-user", "--map-auto", "tar"]);
        unshare
    };
    unpack
        .args(["--numeric-owner", "--exclude=./dev/*", "-xpf"])
        .arg(&tar)
        .arg("-C")
        .arg(&part);
    repo::run(&mut unpack)?;
    fs::rename(tar, dir.join("root.tar"))?;
    fs::rename(part, dir.join("root"))?;
    Ok(())
}

/// A copy, since an ordinary user may not get at the one that root has.
fn make_rust(dir: &Path) -> Result {
    let sysroot = repo::output(Command::new("rustc").args(["--print", "sysroot"]))?;
    let sysroot = PathBuf::from(sysroot.trim());
    let target = repo::output(Command::new("rustc").args(["--print", "host-tuple"]))?;
    let target = Path::new("lib/rustlib").join(target.trim());
    if sysroot == Path::new("/usr") || !sysroot.join("bin/cargo").exists() {
        eprintln!("the Rust toolchain is the system's, and is not copied");
        return Ok(());
    }
    let part = dir.join(format!("rust.part-{}", std::process::id()));
    repo::copy_tree(&sysroot.join(&target), &part.join(&target), &[])?;
    fs::create_dir(part.join("bin"))?;
    for program in ["bin/cargo", "bin/rustc", "bin/rustdoc"] {
        fs::copy(sysroot.join(program), part.join(program))?;
    }
    for entry in fs::read_dir(sysroot.join("lib"))? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), part.join("lib").join(entry.file_name()))?;
        }
    }
    fs::rename(part, dir.join("rust"))?;
    Ok(())
}

fn make_source(apt: &apt::Private, to: &Path) -> Result {
    eprintln!("fetching the source of {SOURCE} to {} (once)", to.display());
    apt.source(SOURCE, to)
}
