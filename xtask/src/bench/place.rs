//! Where everything lies that a measurement needs, open to any account.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Result, repo};

/// As many directories to bind as the longest row wants.
pub(super) const MOST_BINDS: usize = 5000;

/// The directory with the root, the programs, and what is bound.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Place(PathBuf);

impl Place {
    /// Builds the programs and lays everything out.
    pub(super) fn make() -> Result<Self> {
        let place = Self(repo::shared_dir("bench")?);
        replace(&crate::dist::build()?, &place.run_sandbox())?;
        let examples = crate::dist::build_examples(&[
            ("sandboxlib", "bench_driver"),
            ("sandboxlib-spawn", "floor"),
            ("sandboxlib-image", "unpack"),
        ])?;
        replace(&examples.join("bench_driver"), &place.driver())?;
        replace(&examples.join("floor"), &place.floor())?;
        replace(&examples.join("unpack"), &place.unpack())?;
        // A child that runs under another account measures, so that it is not setpriv that is
        // timed.
        replace(&std::env::current_exe()?, &place.xtask())?;
        place.lay_out()?;
        Ok(place)
    }

    #[cfg(test)]
    pub(super) fn at(dir: &str) -> Self {
        Self(dir.into())
    }

    /// Makes a root of its own for all candidates, whose /usr is the host's, and directories to
    /// bind.
    fn lay_out(&self) -> Result {
        let root = self.root();
        for dir in ["dev", "proc", "tmp", "usr", "m"] {
            fs::create_dir_all(root.join(dir))?;
        }
        link_merged(&root)?;
        for n in 0..MOST_BINDS {
            fs::create_dir_all(self.sources().join(n.to_string()))?;
            fs::create_dir_all(root.join(format!("m/{n}")))?;
        }
        Ok(())
    }

    pub(super) fn dir(&self) -> &Path {
        &self.0
    }

    pub(super) fn root(&self) -> PathBuf {
        self.0.join("root")
    }

    /// The directories to bind, by number.
    pub(super) fn sources(&self) -> PathBuf {
        self.0.join("src")
    }

    pub(super) fn run_sandbox(&self) -> PathBuf {
        self.0.join("run-sandbox")
    }

    pub(super) fn driver(&self) -> PathBuf {
        self.0.join("bench_driver")
    }

    pub(super) fn floor(&self) -> PathBuf {
        self.0.join("floor")
    }

    /// The example of the image crate.
    pub(super) fn unpack(&self) -> PathBuf {
        self.0.join("unpack")
    }

    /// Where images are made and unpacked by an account.
    pub(super) fn images(&self, account: &str) -> PathBuf {
        self.0.join("images").join(account)
    }

    pub(super) fn xtask(&self) -> PathBuf {
        self.0.join("xtask")
    }
}

/// Makes the links of a root with a merged /usr, as far as the host's is.
pub(super) fn link_merged(root: &Path) -> Result {
    for dir in ["bin", "lib", "lib64", "sbin"] {
        let link = root.join(dir);
        let merged = Path::new("/usr").join(dir).exists();
        if merged && fs::symlink_metadata(&link).is_err() {
            std::os::unix::fs::symlink(format!("usr/{dir}"), link)?;
        }
    }
    Ok(())
}

/// Copies a program; one that is being executed keeps its old file.
fn replace(from: &Path, to: &Path) -> Result {
    let _ = fs::remove_file(to);
    fs::copy(from, to)?;
    Ok(())
}

/// The user and group id of this process.
pub(super) fn ids() -> Result<(u32, u32)> {
    let process = fs::metadata("/proc/self")?;
    Ok((process.uid(), process.gid()))
}
