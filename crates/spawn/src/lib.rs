#![doc = include_str!("../README.md")]

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as system;

#[cfg(any(not(target_os = "linux"), test))]
#[cfg_attr(
    target_os = "linux",
    allow(
        dead_code,
        unreachable_pub,
        unused_imports,
        reason = "for its tests alone"
    )
)]
mod posix;
#[cfg(not(target_os = "linux"))]
use posix as system;

mod ask;
mod caller;
mod descriptor;
mod ending;
mod helper;
mod limits;
mod lock;
mod prepared;
mod rehearsal;
mod run;
mod signals;
mod streams;
mod tty;
mod words;

pub use caller::{caller_homes, caller_ids};
pub use descriptor::duplicate;
pub use helper::find_helper;
pub use lock::try_lock;
pub use prepared::Prepared;
pub use rehearsal::{Rehearsal, hints};
pub use run::{Run, Stdio};
pub use signals::block_signals;
pub use streams::{Gathered, Quota, RelayEvent, Stream};
pub use system::{
    Child, HostView, OS, Relay, Session, Signaller, diagnose, diagnose_command, doctor, facts,
    is_system_call, peer_uid, receive_with_fds, send_with_fds, shed_program_pages_after,
    system_calls_but,
};
pub use tty::{Tty, WindowSize, restore_terminal};

/// The signals that a program which stands for a sandboxed command passes on to it when it gets
/// them: hangup, interrupt, quit, user 1 and 2, terminate.
pub const SIGNALS_TO_FORWARD: &[i32] = &FORWARDED;

const FORWARDED: [i32; 6] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGTERM,
];
