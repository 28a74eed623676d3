use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::{host_can, skip};

/// A root with busybox and next to nothing else.
#[derive(Debug)]
pub struct TinyRoot {
    dir: TempDir,
}

const BUSYBOX: &str = "/bin/busybox";

impl TinyRoot {
    /// A new one; `None`, and a skip, where there is no busybox-static or no namespace.
    ///
    /// # Panics
    /// If it cannot be written.
    #[must_use]
    pub fn new() -> Option<Self> {
        let is_static = fs::read(BUSYBOX)
            .is_ok_and(|b| !b.windows(9).take(4096).any(|w| w.starts_with(b"/lib64/ld")));
        if !is_static {
            skip("no /bin/busybox that is static (package busybox-static)");
            return None;
        }
        if !host_can() {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["bin", "dev", "etc", "home", "proc", "run", "tmp", "var"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        install(
            &fs::read(BUSYBOX).unwrap(),
            &dir.path().join("bin/busybox"),
            0o755,
        );
        for name in APPLETS.split_whitespace() {
            symlink("busybox", dir.path().join("bin").join(name)).unwrap();
        }
        symlink("/run", dir.path().join("var/run")).unwrap();
        Some(Self { dir })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A path inside, as the host sees it.
    #[must_use]
    pub fn join(&self, path: &str) -> PathBuf {
        self.dir.path().join(path.trim_start_matches('/'))
    }
}

/// Puts a program there, by another process. What this one has open for writing, a child that
/// another test starts at this moment has open too until it executes something, and until then
/// the program is busy.
///
/// # Panics
/// If it cannot be written.
pub fn install(content: &[u8], path: &Path, mode: u32) {
    let mut cat = Command::new("sh")
        .args(["-c", "cat >\"$0\""])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    cat.stdin.take().unwrap().write_all(content).unwrap();
    assert!(cat.wait().unwrap().success());
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

const APPLETS: &str = "cat chmod dd echo env false head hostname id kill ln ls md5sum mkdir mv nc \
                       printf ps pwd readlink rm rmdir setsid sh sleep sort stat test touch true tty \
                       umount uname wc";

/// What `cargo xtask lab` makes.
#[derive(Debug)]
pub struct Lab {
    /// A Debian root.
    pub root: PathBuf,
    /// The same with the owners of all files, whoever made it.
    pub tar: PathBuf,
    /// An unpacked source package.
    pub source: PathBuf,
    /// A copy of the Rust toolchain in use. It is missing if that is the system's.
    pub rust: PathBuf,
}

impl Lab {
    /// Where it is; `None`, and a skip, if there is none.
    #[must_use]
    pub fn find() -> Option<Self> {
        match std::env::var_os("SANDBOXLIB_LAB") {
            Some(dir) => {
                let dir = PathBuf::from(dir);
                host_can().then(|| Self {
                    root: dir.join("root"),
                    tar: dir.join("root.tar"),
                    source: dir.join("src"),
                    rust: dir.join("rust"),
                })
            }
            None => {
                let why = std::env::var("SANDBOXLIB_LAB_MISSING")
                    .unwrap_or_else(|_| "not started by `cargo xtask test`".to_owned());
                skip(&format!("no Debian root: {why}"));
                None
            }
        }
    }

    /// A fresh copy of the source, that belongs to whoever runs this.
    ///
    /// # Panics
    /// If it cannot be written.
    #[must_use]
    pub fn copy_source(&self) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        copy(&self.source, dir.path());
        dir
    }
}

/// With the times, so that make sees what it would see after unpacking.
fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (source, dest) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            fs::create_dir(&dest).unwrap();
            copy(&source, &dest);
        } else if kind.is_symlink() {
            symlink(fs::read_link(&source).unwrap(), &dest).unwrap();
        } else {
            fs::copy(&source, &dest).unwrap();
            let modified = entry.metadata().unwrap().modified().unwrap();
            fs::File::options()
                .append(true)
                .open(&dest)
                .unwrap()
                .set_modified(modified)
                .unwrap();
        }
    }
}
