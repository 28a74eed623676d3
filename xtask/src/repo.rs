//! Where things are, and starting programs.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Result;

/// The top of the checkout.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Cargo's target directory.
pub(crate) fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// The cargo that runs us.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Runs `command` with nothing to read; an exit status other than 0 is an error.
pub(crate) fn run(command: &mut Command) -> Result {
    run_on(command, Stdio::null())
}

/// Like [`run`], with this to read.
pub(crate) fn run_on(command: &mut Command, input: impl Into<Stdio>) -> Result {
    let status = command
        .stdin(input)
        .status()
        .map_err(|e| cannot_start(command, &e))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{command:?}: {status}").into())
    }
}

/// Like [`run`], and returns what it wrote to its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| cannot_start(command, &e))?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}", output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn cannot_start(command: &Command, error: &std::io::Error) -> String {
    format!("cannot start {}: {error}", command.get_program().display())
}

/// Whether there is a program of this name in PATH.
pub(crate) fn have(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// Whether this process is root.
pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
}

/// A directory for caches that every account can reach: in the target directory, or if that is
/// closed to others (a checkout below /root) in /var/tmp.
pub(crate) fn shared_dir(name: &str) -> Result<PathBuf> {
    let target = target();
    fs::create_dir_all(&target)?;
    let dir = if !is_root() || open_to_others(&target) {
        target.join(name)
    } else {
        Path::new("/var/tmp").join(format!("sandboxlib-{name}"))
    };
    fs::create_dir_all(&dir)?;
    Ok(dir)
}

fn open_to_others(dir: &Path) -> bool {
    dir.ancestors()
        .all(|d| fs::metadata(d).is_ok_and(|m| m.mode() & 0o001 != 0))
}

/// Copies a directory, symbolic links as links, leaving out entries of these names.
pub(crate) fn copy_tree(from: &Path, to: &Path, without: &[&str]) -> Result {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if without.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        let (source, dest) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_tree(&source, &dest, without)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&source)?, &dest)?;
        } else {
            fs::copy(&source, &dest)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_directory_on_the_way_closes_what_is_below() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("below");
        fs::create_dir(&below).unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        assert!(!open_to_others(&below));
        assert!(open_to_others(Path::new("/usr/bin")));
    }

    #[test]
    fn copies_leave_out_what_was_named() {
        let dir = tempfile::tempdir().unwrap();
        let from = dir.path().join("from");
        fs::create_dir_all(from.join("a/skip")).unwrap();
        fs::write(from.join("a/file"), "x").unwrap();
        std::os::unix::fs::symlink("a/file", from.join("link")).unwrap();
        let to = dir.path().join("to");
        copy_tree(&from, &to, &["skip"]).unwrap();
        assert_eq!(fs::read_to_string(to.join("link")).unwrap(), "x");
        assert!(fs::symlink_metadata(to.join("link")).unwrap().is_symlink());
        assert!(!to.join("a/skip").exists());
    }
}
