use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

/// Whether everything must be tested here, so that a skip is a failure.
#[must_use]
pub fn must_work() -> bool {
    std::env::var_os("SANDBOXLIB_MUST_WORK").is_some()
}

/// Says why something is not tested. `cargo xtask test` counts these lines.
///
/// # Panics
/// Where everything must be tested.
pub fn skip(reason: &str) {
    println!("SKIP: {}", reason.trim().replace('\n', " "));
    assert!(!must_work(), "nothing may be skipped here: {reason}");
}

/// Whether a program is installed; otherwise says that the test is skipped.
#[must_use]
pub fn have(program: &str, package: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|dir| dir.join(program).exists());
    if !found {
        skip(&format!("no {program} (package {package})"));
    }
    found
}

/// Whether this host lets us have namespaces at all, asked of another program than ours.
/// Otherwise says that the test is skipped.
#[must_use]
pub fn host_can() -> bool {
    let root = fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0);
    let options: &[&str] = if root {
        &["--mount", "--pid", "--net"]
    } else {
        &["--user", "--mount", "--net"]
    };
    let output = Command::new("unshare")
        .args(options)
        .args(["--fork", "true"])
        .stdin(Stdio::null())
        .output()
        .expect("util-linux has unshare");
    if !output.status.success() {
        skip(&format!(
            "no namespaces here: {}",
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    output.status.success()
}
