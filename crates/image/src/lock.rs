//! Locks between processes: files of which flock(2) is taken, which the kernel gives up when the
//! process ends.
//!
//! Each entry of the cache has two. Whoever makes it holds *make* alone; whoever uses it holds
//! *use* together with others. Whoever removes it needs both alone. One lock could not do for
//! both: a maker that goes on to use its work would keep everybody waiting who wanted to make it
//! too.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::error::Error;

/// A lock, held until this is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Notes that what it is for was used now.
    pub(crate) fn touch(&self) {
        // Whether it works decides only when it is removed.
        let _ = self.file.set_modified(SystemTime::now());
    }

    /// Removes the file. Those who wait for it start anew with another.
    pub(crate) fn remove(self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

pub(crate) fn shared(path: &Path) -> Result<Lock, Error> {
    lock(path, FlockOperation::LockShared)?
        .ok_or_else(|| Error::io("lock", path, Errno::WOULDBLOCK))
}

pub(crate) fn exclusive(path: &Path) -> Result<Lock, Error> {
    lock(path, FlockOperation::LockExclusive)?
        .ok_or_else(|| Error::io("lock", path, Errno::WOULDBLOCK))
}

/// `None` if somebody else has it.
pub(crate) fn try_exclusive(path: &Path) -> Result<Option<Lock>, Error> {
    lock(path, FlockOperation::NonBlockingLockExclusive)
}

fn lock(path: &Path, operation: FlockOperation) -> Result<Option<Lock>, Error> {
    let failed = |error| Error::io("lock", path, error);
    loop {
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .map_err(failed)?;
        match flock(&file, operation) {
            Ok(()) => {}
            Err(Errno::INTR) => continue,
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(errno) => return Err(failed(errno.into())),
        }
        // While we waited, the file may have been removed, and be another by now.
        let ours = file.metadata().map_err(failed)?;
        let there = std::fs::metadata(path);
        if there.is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())) {
            let path = path.to_owned();
            return Ok(Some(Lock { file, path }));
        }
    }
}
