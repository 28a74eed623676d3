use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::skip;

/// A launcher that answers EPERM to unshare, mount and clone with namespaces, and ENOSYS to
/// clone3, as the default profile of container engines does.
#[derive(Debug)]
pub struct Filter(TempDir);

impl Filter {
    /// Builds it; `None`, and a skip, where there is no compiler.
    ///
    /// # Panics
    /// If it does not compile.
    #[must_use]
    pub fn build() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("filter.c");
        fs::write(&source, include_str!("../tests/hints/filter.c")).unwrap();
        let built = Command::new("cc")
            .arg("-o")
            .arg(dir.path().join("filter"))
            .arg(&source)
            .stdin(Stdio::null())
            .output();
        match built {
            Ok(output) if output.status.success() => Some(Self(dir)),
            Ok(output) => panic!("{}", String::from_utf8_lossy(&output.stderr)),
            Err(_) => {
                skip("no C compiler for the filter of a container engine (package gcc)");
                None
            }
        }
    }

    /// The program: `filter COMMAND [ARG...]`.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.0.path().join("filter")
    }
}
