//! The escape suite: techniques, tried from inside against sandboxes, each with a canary outside.
//!
//! An attack that never works proves nothing, so each is shown to work first: without a sandbox,
//! or in one that is weakened. Whether it worked is seen from outside. [`run`] holds
//! the techniques against our backends; `cargo xtask escapes` does so against other programs too.
#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "part of a test program, whose output says what it did"
)]

pub mod expected;
mod list;
pub mod races;
pub mod report;
pub mod residue;
pub mod run;
mod scene;
pub mod target;
mod technique;
mod witness;

pub use list::{LEFT_OUT, techniques};
pub use scene::{Scene, Stage};
pub use technique::{Control, Ready, Technique, Witness};
pub use witness::View;

/// Who tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Root on the host.
    Root,
    /// An ordinary user.
    User,
}

impl Who {
    /// Whoever runs this.
    #[must_use]
    pub fn me() -> Self {
        use std::os::unix::fs::MetadataExt as _;
        match std::fs::metadata("/proc/self") {
            Ok(m) if m.uid() == 0 => Self::Root,
            _ => Self::User,
        }
    }

    /// For tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::User => "user",
        }
    }
}

/// What became of a technique.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It did not work.
    Blocked,
    /// It reached something that belongs to the kernel or to the sandbox's keeper, and nothing
    /// outside yet.
    Partial,
    /// It reached something outside.
    Escaped,
    /// It could not be tried; there is a reason.
    NotApplicable,
}

impl Verdict {
    /// For tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::Partial => "partial",
            Self::Escaped => "escaped",
            Self::NotApplicable => "not applicable",
        }
    }
}
