//! Getting a turn among many processes that want a processor (sched(7)).
//!
//! Being nice is not enough: where sessions have a group of their own (autogroup), each of a
//! thousand processes that began one has the same share as the whole session of the caller. So it
//! is the real-time class, for whoever may, which is root. The kernel keeps the processes of an
//! ordinary user from being so many, and from Linux 6.12 on lets anybody ask for a short slice: who
//! wants little at a time gets it sooner (sched_setattr(2)). Otherwise it would be every time as if
//! one had to wait for a slice of each of the others. Nothing that is started meanwhile inherits
//! any of it.

use std::mem::size_of;

/// The shortest slice that can be asked for, in nanoseconds.
const SHORT: u64 = 100_000;

/// The calling thread goes before others, as far as it may, for as long as this lives.
#[derive(Debug)]
pub(in super::super) struct Urgent(Attributes);

impl Urgent {
    /// `None` where that may not be, or somebody has chosen a class for the thread already.
    pub(in super::super) fn new() -> Option<Self> {
        let before = Attributes::of(0)?;
        (before.policy == OTHER && first(0, &before)).then_some(Self(before))
    }
}

impl Drop for Urgent {
    fn drop(&mut self) {
        // Who may enter the real-time class may leave it.
        self.0.give(0);
    }
}

/// Has a child go before others, as far as the caller may: the init program has to get its turn to
/// end everything. The child itself cannot do it, having given up its capabilities outside.
pub(in super::super) fn go_first(pid: u32) {
    // A nice value below 0 could not be given to the command, which cannot inherit it then.
    if let Ok(pid) = libc::pid_t::try_from(pid)
        && nice() <= 20
        && let Some(before) = Attributes::of(pid)
    {
        first(pid, &before);
    }
}

fn first(pid: libc::pid_t, before: &Attributes) -> bool {
    let real_time = Attributes {
        policy: libc::SCHED_RR.cast_unsigned(),
        flags: RESET_ON_FORK,
        priority: 1,
        runtime: 0,
        ..*before
    };
    // The thread goes on after this, and an ordinary user could not take the flag back.
    let flags = if pid == 0 {
        before.flags
    } else {
        RESET_ON_FORK
    };
    let short = Attributes {
        flags,
        runtime: SHORT,
        ..*before
    };
    real_time.give(pid) || short.give(pid)
}

const OTHER: u32 = libc::SCHED_OTHER.cast_unsigned();

/// `SCHED_FLAG_RESET_ON_FORK`.
const RESET_ON_FORK: u64 = 1;

/// `struct sched_attr`, as it was from the beginning (sched_setattr(2)).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    /// In the usual class, the slice.
    runtime: u64,
    deadline: u64,
    period: u64,
}

impl Attributes {
    fn size() -> u32 {
        u32::try_from(size_of::<Self>()).unwrap_or(0)
    }

    /// Those of a thread, 0 for the calling one.
    fn of(pid: libc::pid_t) -> Option<Self> {
        let mut found = Self::default();
        // SAFETY: the structure is live for the call, of the size that is given, and any bits are
        // a valid value of it.
        let done = unsafe {
            libc::syscall(
                libc::SYS_sched_getattr,
                pid,
                &raw mut found,
                Self::size(),
                0,
            )
        };
        found.size = Self::size();
        (done == 0).then_some(found)
    }

    fn give(&self, pid: libc::pid_t) -> bool {
        // SAFETY: the structure is live for the call, which only reads it. The process is the
        // calling thread, or a child that has not been waited for, so the number is its own.
        unsafe { libc::syscall(libc::SYS_sched_setattr, pid, self, 0) == 0 }
    }
}

/// 20 less the nice value of the calling thread, which the command has too: a number from 1 to 40.
pub(in super::super) fn nice() -> libc::c_int {
    // SAFETY: getpriority takes numbers, and with 0 it means the calling thread, which exists.
    20 - unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lasts_as_long_as_it_is_held_and_is_not_inherited() {
        let before = Attributes::of(0).unwrap();
        assert_eq!(before.policy, OTHER);
        if let Some(urgent) = Urgent::new() {
            let now = Attributes::of(0).unwrap();
            if now.policy == libc::SCHED_RR.cast_unsigned() {
                let other = std::thread::spawn(|| Attributes::of(0).unwrap());
                assert_eq!(other.join().unwrap().policy, OTHER);
            } else {
                // Before Linux 6.12 it is not told, nor kept.
                assert!(now.runtime == SHORT || now.runtime == 0, "{now:?}");
            }
            drop(urgent);
        }
        let after = Attributes::of(0).unwrap();
        assert_eq!((after.policy, after.runtime), (OTHER, before.runtime));
        assert_eq!((after.nice, after.flags), (before.nice, before.flags));
        assert!((1..=40).contains(&nice()));
    }

    /// The init program has it for good, and what it starts has nothing of it.
    #[test]
    fn a_child_goes_first_but_not_its_children() {
        let mut child = std::process::Command::new("sh")
            .args([
                "-c",
                "sleep 1000 & echo $!; read x; sleep 1000 & echo $!; wait",
            ])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
        let mut pid = || {
            let mut line = String::new();
            std::io::BufRead::read_line(&mut out, &mut line).unwrap();
            line.trim().parse::<libc::pid_t>().unwrap()
        };
        let before = pid();
        go_first(child.id());
        std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"x\n").unwrap();
        let after = pid();
        let [first, second] = [before, after].map(|pid| Attributes::of(pid).unwrap());
        assert_eq!((first.policy, second.policy), (OTHER, OTHER));
        assert_eq!(first.runtime, second.runtime);
        let itself = Attributes::of(child.id().cast_signed()).unwrap();
        assert!(itself.policy != OTHER || itself.runtime == SHORT || itself.runtime == 0);
        for pid in [before, after] {
            // SAFETY: both are processes of this test's own, which live until then.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
        child.wait().unwrap();
    }
}
