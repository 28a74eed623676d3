//! Undoing what a change of ids in the child does to the caller.
//!
//! A process that changes its ids becomes undumpable (prctl(2), `PR_SET_DUMPABLE`), which keeps
//! others from tracing it. The kernel notes that in the memory of the process, and the child's
//! memory is the caller's: the caller could not be traced, nor dump core, from then on.

use std::sync::{Mutex, PoisonError};

/// How many children may be changing their ids now, and what the caller was before the first.
static UNDER_WAY: Mutex<(usize, i32)> = Mutex::new((0, 1));

/// While one of these lives the caller's dumpability may change; afterwards it is as before.
pub(super) struct Dumpable(());

impl Dumpable {
    pub(super) fn keep() -> Self {
        let mut state = UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner);
        if state.0 == 0 {
            // SAFETY: prctl with numbers alone.
            state.1 = unsafe { libc::prctl(libc::PR_GET_DUMPABLE) };
        }
        state.0 += 1;
        Self(())
    }
}

impl Drop for Dumpable {
    fn drop(&mut self) {
        let mut state = UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 -= 1;
        // 2 is what the kernel sets on its own; it cannot be asked for.
        if let 0 | 1 = state.1 {
            // SAFETY: prctl with numbers alone. It fails for no value of these two.
            unsafe { libc::prctl(libc::PR_SET_DUMPABLE, state.1) };
        }
    }
}

#[cfg(test)]
mod tests {
    use sandboxlib_core::{ChildScript, Step};

    use crate::linux::Script;
    use crate::run::Run;

    #[test]
    fn a_child_that_changes_its_ids_leaves_the_caller_dumpable() {
        let (uid, gid) = crate::caller_ids();
        // Others can only become what they are, which changes nothing anyway.
        let (uid, gid) = if uid == 0 { (4321, 4321) } else { (uid, gid) };
        let script = ChildScript {
            steps: vec![Step::Ids { uid, gid }],
        };
        // SAFETY: prctl with numbers alone.
        let dumpable = || unsafe { libc::prctl(libc::PR_GET_DUMPABLE) };
        let before = dumpable();
        let mut child = Script::new(&script)
            .unwrap()
            .start(&Run::new("/bin/true"))
            .unwrap();
        assert_eq!(dumpable(), before);
        assert!(child.wait().unwrap().success());
        assert_eq!(dumpable(), before);
    }
}
