#![doc = include_str!("../README.md")]

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as system;

#[cfg(any(not(target_os = "linux"), test))]
#[cfg_attr(
    target_os = "linux",
    allow(dead_code, unreachable_pub, unused_imports, reason = "for its tests alone")
)]
mod posix;
#[cfg(not(target_os = "linux"))]
use posix as system;

mod helper;
mod prepared;
mod run;

pub use helper::find_helper;
pub use prepared::Prepared;
pub use run::{Run, Stdio};
pub use system::{Child, Signaller, block_signals, diagnose, diagnose_command, facts};

/// The effective user and group id of the caller.
#[must_use]
pub fn caller_ids() -> (u32, u32) {
    (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw())
}
