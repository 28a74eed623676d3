//! How much is in the tmpfs mounts of a sandbox, where no control group counts it.

use std::collections::HashSet;
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

/// The tmpfs mounts of a sandbox, held open so that they can be looked at also after its end.
#[derive(Debug)]
pub(super) struct Mounts {
    /// Relative to the root of the sandbox.
    paths: Vec<CString>,
    open: Option<Vec<File>>,
}

impl Mounts {
    pub(super) fn new(paths: &[CString]) -> Self {
        Self {
            paths: paths.to_vec(),
            open: None,
        }
    }

    /// What all files in them use together, in bytes. The sandbox of the init program `init` is
    /// complete when this is asked for the first time.
    pub(super) fn used(&mut self, init: libc::pid_t) -> u64 {
        let paths = &self.paths;
        let open = self.open.get_or_insert_with(|| open(init, paths));
        open.iter()
            .fold(0, |sum: u64, mount| sum.saturating_add(used(mount)))
    }
}

/// One that cannot be opened, because something has been moved already, is left out: it has a
/// size of its own. Those that share a file system are one.
fn open(init: libc::pid_t, paths: &[CString]) -> Vec<File> {
    let root = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_DIRECTORY)
        .open(format!("/proc/{init}/root"));
    let Ok(root) = root else {
        return Vec::new();
    };
    let mut devices = HashSet::new();
    paths
        .iter()
        .filter_map(|path| open_below(&root, path))
        .filter(|mount| {
            let device = mount.metadata().map(|found| found.dev());
            device.is_ok_and(|device| devices.insert(device))
        })
        .collect()
}

fn open_below(root: &File, path: &CString) -> Option<File> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC | OFlag::O_DIRECTORY)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    openat2(root, path.as_c_str(), how).ok().map(File::from)
}

fn used(mount: &File) -> u64 {
    let mut stat = MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: the descriptor is open, and the structure is live for the call.
    if unsafe { libc::fstatfs(mount.as_raw_fd(), stat.as_mut_ptr()) } != 0 {
        return 0;
    }
    // SAFETY: fstatfs succeeded, so it has filled the structure in.
    let stat = unsafe { stat.assume_init() };
    #[allow(
        clippy::unnecessary_cast,
        clippy::cast_sign_loss,
        reason = "the types differ between C libraries; the size of a block has no sign"
    )]
    let block = stat.f_bsize as u64;
    (stat.f_blocks - stat.f_bfree).saturating_mul(block)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_counts_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut paths = Vec::new();
        for name in ["a", "b"] {
            let path = dir.path().join(name);
            std::fs::create_dir(&path).unwrap();
            let path = path.into_os_string().into_encoded_bytes();
            paths.push(CString::new(path.get(1..).unwrap()).unwrap());
        }
        paths.push(c"proc".into());
        let init = libc::pid_t::try_from(std::process::id()).unwrap();
        let found = open(init, &paths);
        let devices = [dir.path(), "/proc".as_ref()]
            .map(|path: &std::path::Path| std::fs::metadata(path).unwrap().dev());
        let found: Vec<u64> = found
            .iter()
            .map(|mount| mount.metadata().unwrap().dev())
            .collect();
        assert_eq!(found, devices);
    }
}
