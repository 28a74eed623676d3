//! What the kernel says of a process that has ended.

use std::io;
use std::time::Duration;

use sandboxlib_config::{Limit, Limits};
use sandboxlib_core::{End, Outcome};

/// How a process ended, from its wait status (wait(2)).
pub(crate) fn decode(status: i32) -> End {
    if libc::WIFSIGNALED(status) {
        End::Signalled(libc::WTERMSIG(status))
    } else {
        End::Exited(libc::WEXITSTATUS(status))
    }
}

/// A time that the kernel counted.
pub(crate) fn duration(time: libc::timeval) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let micros = u32::try_from(time.tv_usec).unwrap_or(0);
    Duration::new(seconds, micros.saturating_mul(1000))
}

/// Completes how a command ended: with `limit`, if it came to one, or the one that the kernel
/// told it about by a signal.
pub(crate) fn judge(outcome: &mut Outcome, limit: Option<Limit>, limits: &Limits) {
    // As shells tell that a signal ended what they ran (POSIX, 2.8.2).
    const BY_SIGNAL: i32 = 128;
    match outcome.end {
        End::Exited(status) => outcome.exit_code = Some(status),
        End::Signalled(signal) => outcome.signal = Some(signal),
        _ => {}
    }
    let told = |signal: i32| {
        outcome.signal == Some(signal) || outcome.exit_code == Some(BY_SIGNAL + signal)
    };
    let by_kernel = if limits.file_size.is_some() && told(libc::SIGXFSZ) {
        Some(Limit::FileSize)
    } else if limits.cpu_time.is_some() && told(libc::SIGXCPU) {
        Some(Limit::CpuTime)
    } else {
        None
    };
    // What the caller did is no matter of limits.
    if outcome.end != End::Killed
        && let Some(limit) = limit.or(by_kernel)
    {
        outcome.end = End::Limit(limit);
    }
}

/// Of a wait for as long as it takes that has come back without the end, which none does.
pub(crate) fn endless() -> io::Error {
    io::ErrorKind::TimedOut.into()
}

#[cfg(test)]
mod tests {
    use sandboxlib_core::Started;

    use super::*;

    #[test]
    fn a_verdict_keeps_what_the_command_did() {
        let mut limits = Limits::default();
        limits.file_size = Some(1);
        let judged = |end, limit, limits: &Limits| {
            let mut outcome = Outcome::new(end, Started::Yes, 1);
            judge(&mut outcome, limit, limits);
            (outcome.end, outcome.exit_code, outcome.signal)
        };
        let big = libc::SIGXFSZ;
        let limit = End::Limit(Limit::FileSize);
        assert_eq!(
            judged(End::Exited(3), None, &limits),
            (End::Exited(3), Some(3), None)
        );
        assert_eq!(
            judged(End::Signalled(big), None, &limits),
            (limit, None, Some(big))
        );
        assert_eq!(
            judged(End::Exited(128 + big), None, &limits),
            (limit, Some(128 + big), None)
        );
        let none = Limits::default();
        assert_eq!(
            judged(End::Signalled(big), None, &none).0,
            End::Signalled(big)
        );
        let wall = Some(Limit::Wall);
        assert_eq!(
            judged(End::Exited(0), wall, &none),
            (End::Limit(Limit::Wall), Some(0), None)
        );
        assert_eq!(judged(End::Killed, wall, &none).0, End::Killed);
    }
}
