//! Strings for the kernel.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use sandboxlib_core::{FailedStep, SpawnError};

use crate::run::Run;

/// A string for the kernel.
pub(crate) fn text(bytes: impl AsRef<OsStr>) -> Result<CString, SpawnError> {
    let bytes = bytes.as_ref();
    CString::new(bytes.as_bytes()).map_err(|_| {
        SpawnError::new(
            FailedStep::Lower {
                what: format!("{bytes:?}"),
            },
            io::Error::new(io::ErrorKind::InvalidInput, "it contains a NUL byte"),
        )
    })
}

/// The paths at which the command may be, in the order in which they are tried.
pub(crate) fn candidates(run: &Run) -> Result<Vec<CString>, SpawnError> {
    if run.program.as_bytes().contains(&b'/') {
        return Ok(vec![text(&run.program)?]);
    }
    let path = run.env.iter().rev().find(|(name, _)| name == "PATH");
    let path = path.map_or(OsStr::new(Run::DEFAULT_PATH), |(_, value)| value);
    path.as_bytes()
        .split(|b| *b == b':')
        // An empty entry means the working directory; nobody means that in a sandbox.
        .filter(|dir| !dir.is_empty() && !run.program.is_empty())
        .map(|dir| text(Path::new(OsStr::from_bytes(dir)).join(&run.program)))
        .collect()
}
