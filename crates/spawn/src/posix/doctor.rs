//! Trying what other POSIX systems have.

use sandboxlib_core::doctor::Check;
use sandboxlib_core::{ChildScript, HostFacts, SpawnError, Step};

use super::Script;
use crate::rehearsal::verdict;

/// Tries each mechanism apart: here that is chroot(2) alone.
#[must_use]
pub fn doctor(facts: &HostFacts) -> Vec<Check> {
    let (verdict, detail) = verdict(facts, chroot());
    vec![Check::new("chroot", verdict, detail).needed(true)]
}

fn chroot() -> Result<(), SpawnError> {
    let steps = vec![Step::ChrootTo("/".into())];
    Script::new(&ChildScript { steps })?.rehearse()
}
