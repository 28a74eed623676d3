use std::path::Path;
use std::process::{Command, Stdio};

/// Has sh(1) carry `command` out in the directory `dir`, which is its home too.
///
/// # Panics
/// If it fails.
#[track_caller]
pub fn sh(dir: &Path, command: &str) {
    let output = Command::new("sh")
        .args(["-euc", command])
        .current_dir(dir)
        .env("HOME", dir)
        .env("TMPDIR", dir)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{command}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
