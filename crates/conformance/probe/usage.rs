//! Questions that use much of something. None uses more than it is told to, nor for longer, so a
//! limit that does not hold costs little.

use core::fmt::Write as _;
use core::hint::black_box;
use core::sync::atomic::{AtomicU8, Ordering};

use crate::sys::{self, Errno, Fd};
use crate::value::Value;
use crate::{Answer, Args, EINVAL};

const PAGE: usize = 4096;
const MEBIBYTE: usize = 1 << 20;

/// Memory that takes no room until it is written to, and then some of each process's own.
static ROOM: [AtomicU8; 32 * MEBIBYTE] = [const { AtomicU8::new(0) }; 32 * MEBIBYTE];

/// `burn PROCESSES MILLISECONDS`: that many processes side by side, each of which uses a processor
/// for that long.
pub(crate) fn burn(args: &Args<'_>, value: &mut Value) -> Answer {
    let most = u64::from(args.number(1)?) * 1_000_000;
    side_by_side(args.number(0)?, value, || {
        while processor_time() < most {
            for round in 0..100_000 {
                black_box(round);
            }
        }
    })
}

/// `crowd PROCESSES MILLISECONDS`: that many processes besides this one, for so long.
pub(crate) fn crowd(args: &Args<'_>, value: &mut Value) -> Answer {
    let time = milliseconds(args.number(1)?);
    side_by_side(args.number(0)?, value, || {
        let _ = sys::nanosleep(&time);
    })
}

/// `hoard PROCESSES MEBIBYTES MILLISECONDS`: that many processes, each of which fills memory and
/// keeps it for so long.
pub(crate) fn hoard(args: &Args<'_>, value: &mut Value) -> Answer {
    let room = ROOM.get(..args.number(1)? as usize * MEBIBYTE);
    let room = room.ok_or(EINVAL)?;
    let time = milliseconds(args.number(2)?);
    side_by_side(args.number(0)?, value, || {
        for byte in room.iter().step_by(PAGE) {
            byte.store(1, Ordering::Relaxed);
        }
        let _ = sys::nanosleep(&time);
    })
}

/// `deep KIBIBYTES`: a process that uses that much of its stack.
pub(crate) fn deep(args: &Args<'_>, value: &mut Value) -> Answer {
    let depth = args.number(0)?;
    side_by_side(1, value, || descend(depth))
}

#[inline(never)]
fn descend(left: u32) {
    let piece = [0u8; 1024];
    black_box(&piece);
    if left > 0 {
        descend(left - 1);
    }
    // What comes last would take the place of this piece.
    black_box(&piece);
}

/// `duplicate MOST`: opens the standard input again until there are that many descriptors or no
/// more may be had. How many there are then.
pub(crate) fn duplicate(args: &Args<'_>, value: &mut Value) -> Answer {
    const F_DUPFD: usize = 0;
    const EMFILE: Errno = 24;
    let most = args.number(0)? as usize;
    let mut count = 3;
    while count < most {
        match sys::fcntl(0, F_DUPFD) {
            Ok(fd) => count = fd + 1,
            Err(EMFILE) => break,
            Err(errno) => return Err(errno),
        }
    }
    for fd in 3..count {
        let _ = sys::close(Fd::try_from(fd).map_err(|_| EINVAL)?);
    }
    let _ = write!(value, "{count}");
    Ok(())
}

/// `raise RESOURCE`: tries to be rid of a limit.
pub(crate) fn raise(args: &Args<'_>, _: &mut Value) -> Answer {
    sys::set_limit(args.number(0)? as usize, &[u64::MAX; 2]).map(drop)
}

/// Has that many children do something, waits for all, and tells how many could be made and, if
/// one did not end by itself, by which signal it ended.
fn side_by_side(count: u32, value: &mut Value, work: impl Fn()) -> Answer {
    let mut made = 0;
    let mut signal = 0;
    for _ in 0..count {
        match sys::fork() {
            Ok(0) => {
                work();
                sys::exit(0);
            }
            Ok(_) => made += 1,
            // There may be no more of them.
            Err(_) => break,
        }
    }
    let mut status = 0;
    while sys::wait_any(&mut status).is_ok() {
        signal = signal.max(status & 0x7f);
    }
    let _ = write!(value, "{made}");
    if signal != 0 {
        let _ = write!(value, " signal {signal}");
    }
    Ok(())
}

/// The processor time of the calling process in nanoseconds.
fn processor_time() -> u64 {
    const CLOCK_PROCESS_CPUTIME_ID: usize = 2;
    let mut time = [0; 2];
    let _ = sys::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &mut time);
    let [seconds, nanoseconds] = time;
    seconds * 1_000_000_000 + nanoseconds
}

fn milliseconds(number: u32) -> [u64; 2] {
    let number = u64::from(number);
    [number / 1000, number % 1000 * 1_000_000]
}
