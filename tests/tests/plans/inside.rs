//! Puts the probe into sandboxes and reads what it reports.
//!
//! The probe is this test program, which needs its loader and libraries in a root that has
//! nothing. They are copied into one directory, that each sandbox gets as `/.probe`, and the
//! loader is told to look there. Which they are is what this process has mapped, so any C library
//! will do, and one linked in too.

use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use sandboxlib::{Error, Mount, Prepared, SandboxPath, UserNamespace};
use sandboxlib_tests::{host_can, skip};
use tempfile::TempDir;

use crate::probe::{self, Report};

/// Where the probe is inside, and what the directory is called in each root.
pub(crate) const PLACE: &str = ".probe";

pub(crate) struct Inside {
    dir: TempDir,
    /// The name of the loader, if there is one.
    loader: Option<OsString>,
    program: OsString,
}

/// One run: what the probe reported, and the mount table of its namespace.
pub(crate) struct Looked {
    pub(crate) report: Report,
    pub(crate) mountinfo: Vec<u8>,
}

impl Inside {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let program = std::env::current_exe().unwrap();
        let name = |path: &Path| path.file_name().unwrap().to_owned();
        let mut loader = None;
        for file in mapped_files() {
            if !is_elf(&file) {
                continue;
            }
            fs::copy(&file, dir.path().join(name(&file))).unwrap();
            let text = name(&file).to_string_lossy().into_owned();
            if text.starts_with("ld-") || text.starts_with("ld.") {
                loader = Some(name(&file));
            }
        }
        Self {
            dir,
            loader,
            program: name(&program),
        }
    }

    /// The directory on the host.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The mount that every sandbox needs for the probe. Its mount point must exist in the root,
    /// so that it changes nothing else of the plan.
    pub(crate) fn mount(&self) -> Mount {
        let place = SandboxPath::root().join(PLACE).unwrap();
        Mount::bind_read_only(self.dir.path(), place)
    }

    /// Runs the probe, which does not look into `leave_out`.
    pub(crate) fn look(&self, sandbox: &Prepared, leave_out: &[PathBuf]) -> Result<Looked, Error> {
        let inside = |name: &OsString| Path::new("/").join(PLACE).join(name);
        let mut command = match &self.loader {
            Some(loader) => {
                let mut command = sandbox.command(inside(loader));
                let library_path = Path::new("/").join(PLACE);
                command.arg("--library-path").arg(library_path);
                command.arg(inside(&self.program));
                command
            }
            None => sandbox.command(inside(&self.program)),
        };
        let own = Path::new("/").join(PLACE);
        let list: Vec<String> = leave_out
            .iter()
            .chain([&own])
            .map(|p| probe::to_hex(p.as_os_str().as_bytes()))
            .collect();
        let mut child = command
            .args(["--exact", "probe_inside", "--nocapture", "--test-threads=1"])
            .env(probe::LEAVE_OUT, list.join(":"))
            .stdin(sandboxlib::Stdio::Piped)
            .stdout(sandboxlib::Stdio::Null)
            .stderr(sandboxlib::Stdio::Piped)
            .spawn()?;
        let mut stderr = child.stderr.take().unwrap();
        let mut bytes = Vec::new();
        let mut buffer = vec![0; 1 << 16];
        while !probe::is_complete(&bytes) {
            let n = stderr.read(&mut buffer).unwrap();
            if n == 0 {
                break;
            }
            bytes.extend(&buffer[..n]);
        }
        let mountinfo = fs::read(format!("/proc/{}/mountinfo", child.id()));
        let outcome = child.wait()?;
        let report = probe::parse(&bytes)
            .unwrap_or_else(|| panic!("{outcome:?} {}", String::from_utf8_lossy(&bytes)));
        Ok(Looked {
            report,
            mountinfo: mountinfo.unwrap(),
        })
    }
}

/// The files that this process has mapped: the program, its loader and its libraries.
fn mapped_files() -> Vec<PathBuf> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let mut files: Vec<PathBuf> = maps
        .lines()
        // Five fields, and then perhaps a path.
        .filter_map(|line| Some(&line[line.find('/')?..]))
        .map(PathBuf::from)
        .collect();
    files.sort();
    files.dedup();
    files
}

fn is_elf(file: &Path) -> bool {
    let mut magic = [0; 4];
    fs::File::open(file).is_ok_and(|mut f| f.read_exact(&mut magic).is_ok()) && magic == *b"\x7fELF"
}

/// The ways to have a sandbox here: in a user namespace and, for root, in the caller's. `None`,
/// and a skip, if there are none.
pub(crate) fn user_namespaces() -> Option<Vec<UserNamespace>> {
    if !host_can() {
        return None;
    }
    if !is_root() {
        return Some(vec![UserNamespace::Isolated]);
    }
    let output = Command::new("unshare").args(["--user", "true"]).output();
    let output = output.expect("util-linux has unshare");
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        skip(&format!("root has no user namespaces here: {why}"));
        return Some(vec![UserNamespace::Shared]);
    }
    Some(vec![UserNamespace::Isolated, UserNamespace::Shared])
}

pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}
