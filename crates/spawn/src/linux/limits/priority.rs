//! Getting a turn among thousands of processes that want a processor (sched(7)).
//!
//! Being nice is not enough: where sessions have a group of their own (autogroup), each of a
//! thousand processes that began one has the same share as the whole session of the caller. So it
//! is the real-time class, for whoever may, which is root; the kernel keeps the processes of an
//! ordinary user from being so many. Nothing that is started meanwhile inherits it.

use std::mem::MaybeUninit;

/// The calling thread goes before others, where it may, for as long as this lives.
#[derive(Debug)]
pub(in super::super) struct Urgent {
    policy: libc::c_int,
    param: libc::sched_param,
}

impl Urgent {
    /// `None` where that may not be, or somebody has chosen a class for the thread already.
    pub(in super::super) fn new() -> Option<Self> {
        let mut param = MaybeUninit::<libc::sched_param>::zeroed();
        // SAFETY: 0 is the calling thread; the structure is live for the call, and all zero is a
        // valid value of it.
        let (policy, param) = unsafe {
            let policy = libc::sched_getscheduler(0);
            libc::sched_getparam(0, param.as_mut_ptr());
            (policy, param.assume_init())
        };
        (policy == libc::SCHED_OTHER && first(0)).then_some(Self { policy, param })
    }
}

impl Drop for Urgent {
    fn drop(&mut self) {
        // SAFETY: as above. Who may enter the real-time class may leave it.
        unsafe { libc::sched_setscheduler(0, self.policy, &raw const self.param) };
    }
}

/// Has a child go before others, where the caller may: the init program has to get its turn to end
/// everything. The child itself cannot do it, having given up its capabilities outside.
pub(in super::super) fn go_first(pid: u32) {
    // A nice value below 0 could not be given to the command, which cannot inherit it then.
    if let Ok(pid) = libc::pid_t::try_from(pid)
        && nice() <= 20
    {
        first(pid);
    }
}

fn first(pid: libc::pid_t) -> bool {
    // SAFETY: all zero is a valid value.
    let mut param: libc::sched_param = unsafe { std::mem::zeroed() };
    param.sched_priority = 1;
    let policy = libc::SCHED_RR | libc::SCHED_RESET_ON_FORK;
    // SAFETY: the structure is live for the call. The process is the calling thread, or a child
    // that has not been waited for, so the number is its own.
    unsafe { libc::sched_setscheduler(pid, policy, &raw const param) == 0 }
}

/// 20 less the nice value of the calling thread, which the command has too: a number from 1 to 40.
pub(in super::super) fn nice() -> libc::c_int {
    // SAFETY: getpriority takes numbers, and with 0 it means the calling thread, which exists.
    20 - unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> libc::c_int {
        // SAFETY: 0 is the calling thread.
        unsafe { libc::sched_getscheduler(0) }
    }

    #[test]
    fn it_lasts_as_long_as_it_is_held_and_is_not_inherited() {
        assert_eq!(policy(), libc::SCHED_OTHER);
        if let Some(urgent) = Urgent::new() {
            assert_eq!(policy(), libc::SCHED_RR | libc::SCHED_RESET_ON_FORK);
            let other = std::thread::spawn(policy).join().unwrap();
            assert_eq!(other, libc::SCHED_OTHER);
            drop(urgent);
        }
        assert_eq!(policy(), libc::SCHED_OTHER);
        assert!((1..=40).contains(&nice()));
    }
}
