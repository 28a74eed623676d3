#![doc = include_str!("../README.md")]

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as system;

#[cfg(not(target_os = "linux"))]
mod posix;
#[cfg(not(target_os = "linux"))]
use posix as system;

mod prepared;
mod run;

pub use prepared::Prepared;
pub use run::{Run, Stdio};
pub use system::{Child, Signaller, block_signals, diagnose, diagnose_command, facts};

/// The effective user and group id of the caller.
#[must_use]
pub fn caller_ids() -> (u32, u32) {
    (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw())
}
