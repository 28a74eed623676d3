//! How long to wait between two looks at the processes of a sandbox.

use std::mem::MaybeUninit;
use std::time::{Duration, Instant};

/// How often nothing that changes slowly is looked at. A page fault takes a quarter of a
/// microsecond at best, so what a processor can fill in this time is less than 200 MiB.
pub(super) const OFTEN: Duration = Duration::from_millis(10);

/// How often in the beginning, when nothing is known of a command yet: a shell that meets
/// `RLIMIT_NPROC` has ended some milliseconds after its first fork, and with it all that was to be
/// counted.
const EARLY: Duration = Duration::from_millis(3);

/// How long the beginning is.
const BEGINNING: Duration = Duration::from_millis(100);

/// How often at most.
const AT_MOST: Duration = Duration::from_millis(2);

/// Looks sooner again the sooner something that grows would come to its limit.
#[derive(Debug)]
pub(super) struct Pace {
    began: Instant,
    last: Instant,
    shares: [f64; 2],
}

impl Pace {
    pub(super) fn new(began: Instant) -> Self {
        Self {
            began,
            last: began,
            shares: [0.0; 2],
        }
    }

    /// How long to wait after a look at `now` that has found `shares` of what may be used at most,
    /// and has taken `cost` of a processor.
    pub(super) fn pause(&mut self, now: Instant, shares: [f64; 2], cost: Duration) -> Duration {
        let since = now.saturating_duration_since(self.last).as_secs_f64();
        let left = |(now, before): (&f64, &f64)| {
            let growth = now - before;
            (growth > 0.0).then(|| (1.0 - now).max(0.0) * since / growth)
        };
        let soonest = shares.iter().zip(&self.shares).filter_map(left);
        let soonest = soonest.fold(f64::INFINITY, f64::min);
        self.last = now;
        self.shares = shares;
        // It may not cost more than a few hundredths of a processor, but for the moments in which
        // half of one may be what keeps the machine usable.
        let is_early = now.saturating_duration_since(self.began) < BEGINNING;
        let usual = if is_early { EARLY } else { OFTEN };
        let usual = usual.max(cost * 20);
        let half = Duration::try_from_secs_f64(soonest / 2.0).unwrap_or(Duration::MAX);
        half.clamp(AT_MOST.max(cost), usual)
    }
}

/// What the calling thread has used of a processor. What it has waited for one is no cost.
pub(super) fn used() -> Duration {
    let mut time = MaybeUninit::<libc::timespec>::zeroed();
    // SAFETY: the structure is live for the call, and all zero is a valid value of it.
    let time = unsafe {
        libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, time.as_mut_ptr());
        time.assume_init()
    };
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn what_grows_fast_is_looked_at_soon() {
        let began = Instant::now();
        let pauses = |shares: [f64; 2]| {
            let mut pace = Pace::new(began);
            pace.pause(began + 990 * MS, [0.0; 2], MS / 10);
            let first = pace.pause(began + 1000 * MS, shares, MS / 10);
            // Nothing more than before.
            let second = pace.pause(began + 1010 * MS, shares, MS / 10);
            (first, second)
        };
        // There would be 30 ms left, 2.5 ms, and 0.5 ms.
        assert_eq!(pauses([0.25, 0.0]), (10 * MS, 10 * MS));
        assert_eq!(pauses([0.0, 0.8]), (2 * MS, 10 * MS));
        assert_eq!(pauses([0.6, 0.5]).0.as_micros(), 3333);
        assert_eq!(pauses([1.5, 0.0]), (2 * MS, 10 * MS));
        assert_eq!(pauses([0.0, 0.0]), (10 * MS, 10 * MS));
    }

    #[test]
    fn in_the_beginning_everything_is() {
        let began = Instant::now();
        let mut pace = Pace::new(began);
        for at in [0, 50, 99] {
            assert_eq!(pace.pause(began + at * MS, [0.0; 2], MS / 10), 3 * MS);
        }
        assert_eq!(pace.pause(began + 100 * MS, [0.0; 2], MS / 10), 10 * MS);
    }

    #[test]
    fn what_is_expensive_is_done_seldom_but_for_what_grows() {
        let began = Instant::now();
        let mut pace = Pace::new(began);
        assert_eq!(pace.pause(began + MS, [0.0, 0.0], 3 * MS), 60 * MS);
        assert_eq!(pace.pause(began + 2 * MS, [0.9, 0.0], 3 * MS), 3 * MS);
        assert_eq!(pace.pause(began + 3 * MS, [0.1, 0.0], 3 * MS), 60 * MS);
    }

    #[test]
    fn waiting_is_no_cost() {
        let before = used();
        std::thread::sleep(50 * MS);
        assert!(used() - before < 40 * MS);
        let busy = Instant::now();
        while used() - before < 10 * MS {
            assert!(busy.elapsed() < Duration::from_secs(20));
        }
    }
}
