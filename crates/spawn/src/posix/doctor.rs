//! Trying what other POSIX systems have.

use std::path::Path;

use sandboxlib_core::doctor::{Check, Verdict};
use sandboxlib_core::{ChildScript, Hint, HostFacts, Knob, Os, SpawnError, Step};

use super::Script;
use crate::rehearsal::verdict;

/// The helper program of macOS.
const SANDBOX_EXEC: &str = "/usr/bin/sandbox-exec";

/// Tries each mechanism apart: chroot(2), and on macOS looks for sandbox-exec(1).
#[must_use]
pub fn doctor(facts: &HostFacts) -> Vec<Check> {
    let (verdict, detail) = verdict(facts, chroot());
    let seatbelt = facts.os == Os::MacOs;
    let mut checks = vec![Check::new("chroot", verdict, detail).needed(!seatbelt)];
    if seatbelt {
        let there = Path::new(SANDBOX_EXEC).is_file();
        checks.push(sandbox_exec(facts, there).needed(true));
    }
    checks
}

/// Whether Seatbelt can be used, as far as that can be known without using it.
fn sandbox_exec(facts: &HostFacts, there: bool) -> Check {
    const NAME: &str = "sandbox-exec";
    let fails = |cause: &str, knob, advice: &'static str| {
        let hints = vec![Hint::new(knob, advice)];
        let (errno, cause) = (None, cause.to_owned());
        Verdict::Fails {
            errno,
            cause,
            hints,
        }
    };
    if !there {
        let knob = Knob::Path(SANDBOX_EXEC.into());
        let advice = "it is a part of macOS: use a system that still has it";
        return Check::new(NAME, fails("it is not there", knob, advice), "");
    }
    match facts.seatbelt {
        Some(true) => {
            let cause = "this process is in a Seatbelt sandbox, and there is none within another";
            let advice = "run it outside of the other sandbox";
            Check::new(NAME, fails(cause, Knob::Lsm("Seatbelt"), advice), "")
        }
        Some(false) => Check::new(NAME, Verdict::Works, SANDBOX_EXEC),
        None => Check::new(NAME, Verdict::Unknown, "not tried"),
    }
}

fn chroot() -> Result<(), SpawnError> {
    let steps = vec![Step::ChrootTo("/".into())];
    Script::new(&ChildScript { steps })?.rehearse()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sandbox_exec_is_a_matter_of_macs() {
        let other = HostFacts::other(Os::FreeBsd, 0, 0);
        let names = |facts| doctor(facts).iter().map(|c| c.name).collect::<Vec<_>>();
        assert_eq!(names(&other), ["chroot"]);
        let mut mac = HostFacts::other(Os::MacOs, 501, 20);
        assert_eq!(names(&mac), ["chroot", "sandbox-exec"]);

        assert_eq!(sandbox_exec(&mac, true).verdict, Verdict::Unknown);
        mac.seatbelt = Some(false);
        assert!(sandbox_exec(&mac, true).verdict.works());
        assert_eq!(sandbox_exec(&mac, false).verdict.hints().len(), 1);
        mac.seatbelt = Some(true);
        assert_eq!(sandbox_exec(&mac, true).verdict.hints().len(), 1);
    }
}
