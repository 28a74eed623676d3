use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::skip;

/// A program made of C, for as long as this lives.
#[derive(Debug)]
pub struct Compiled(TempDir);

impl Compiled {
    /// Compiles `source` with these options; `None`, and a skip, where there is no compiler.
    ///
    /// # Panics
    /// If it does not compile.
    #[must_use]
    pub fn new(source: &str, options: &[&str]) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("program.c");
        fs::write(&file, source).unwrap();
        let built = Command::new("cc")
            .args(options)
            .arg("-o")
            .arg(dir.path().join("program"))
            .arg(&file)
            .stdin(Stdio::null())
            .output();
        match built {
            Ok(output) if output.status.success() => Some(Self(dir)),
            Ok(output) => panic!("{}", String::from_utf8_lossy(&output.stderr)),
            Err(_) => {
                skip("no C compiler (package gcc)");
                None
            }
        }
    }

    /// The program.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.0.path().join("program")
    }
}
