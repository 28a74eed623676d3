//! What the child does between its birth and the init program.
//!
//! Architecture invariant: nothing here allocates, locks, logs, formats or touches thread-local
//! storage, because the child shares all memory with a caller whose threads go on running. It
//! reads what [`super::lower`] prepared, makes system calls, and ends in exec or exit.

use core::cell::Cell;
use core::ffi::CStr;

use super::first::First;
use super::landlock;
use super::mounting::Tree;
use super::ops::{Action, Call, Failed, Op};
use super::raw::{self, Errno, Fd, arg, nr};
use super::sys::{self, Named, Result};
use super::wire::{Message, kind};

/// What the child is given. It lives in the frame of the thread that started it, which waits
/// until the child has executed the init program or ended.
pub(super) struct Birth<'a> {
    pub(super) ops: &'a [Op],
    /// Room for the sources of binds.
    pub(super) sources: &'a [Cell<Fd>],
    /// The child's end of the control socket.
    pub(super) control: Fd,
    /// The init program.
    pub(super) init: Fd,
    /// The files by which the control groups of this run are entered.
    pub(super) groups: &'a [Fd],
    /// The program of the system call filter, for the init program to load.
    pub(super) filter: Option<Fd>,
    /// On old kernels the caller's procfs, by which the init program is executed by a name,
    /// `init_name` in it: one of their security modules (TOMOYO, in Debian 11) looks the name of
    /// what is executed by its descriptor up in /dev/fd, which a root need not have.
    pub(super) procfs: Option<Fd>,
    pub(super) init_name: &'a CStr,
    /// The arguments and the environment of the init program.
    pub(super) argv: *const *const u8,
    pub(super) envp: *const *const u8,
    /// The descriptors that the child needs, all above 2, in ascending order.
    pub(super) keep: &'a [Fd],
    /// A descriptor that only keeps its number free, for what the init program closes when the
    /// command runs.
    pub(super) later: Fd,
    /// Another one, for Landlock's rules, where the command restricts itself by them.
    pub(super) wall: Option<Fd>,
    /// Which descriptors go where, sources all above the targets.
    pub(super) streams: &'a [(Fd, Fd)],
    /// The caller's procfs, where that of the sandbox stands already.
    pub(super) host_proc: Option<Fd>,
    /// What this process becomes instead of the init program, if it becomes the command itself.
    pub(super) first: Option<&'a First>,
    /// Whether nothing is to be executed, because it is the mounts that are wanted.
    pub(super) stops: bool,
    /// The steps that come after the script, by their numbers.
    pub(super) tail: Tail,
}

/// The step numbers with which the child reports what belongs to the single run.
#[derive(Clone, Copy)]
pub(super) struct Tail {
    pub(super) streams: u32,
    pub(super) cwd: u32,
    pub(super) init: u32,
}

impl Tail {
    /// Behind the last step of a script with `steps` steps.
    pub(super) fn after(steps: u32) -> Self {
        Self {
            streams: steps,
            cwd: steps + 1,
            init: steps + 2,
        }
    }
}

/// What a start from a template asks of the process that enters it.
pub(super) struct Entry<'a> {
    /// The namespaces to enter: of users, negative where it is the caller's own, and of mounts.
    pub(super) namespaces: (Fd, Fd),
    /// Those of the child (clone(2)), which becomes a child of the caller.
    pub(super) flags: usize,
    pub(super) stack: *mut u8,
    pub(super) birth: &'a Birth<'a>,
    /// What came of it: the child and its descriptor, or what failed.
    pub(super) done: Cell<core::result::Result<(usize, Fd), (Call, Errno)>>,
}

/// Enters the namespaces of a template and has the child born there. The caller waits until this
/// process has ended, and shares its descriptors with it.
pub(super) extern "C" fn enter(entry: *mut u8) -> ! {
    // SAFETY: the caller passes an Entry that it keeps until this process has ended, and touches
    // nothing of it meanwhile.
    let entry = unsafe { &*entry.cast::<Entry<'_>>() };
    entry.done.set(born_inside(entry));
    raw::exit(0)
}

fn born_inside(entry: &Entry<'_>) -> core::result::Result<(usize, Fd), (Call, Errno)> {
    #[allow(clippy::cast_sign_loss, reason = "flags of clone(2) are bits")]
    const NEW: (usize, usize) = (libc::CLONE_NEWUSER as usize, libc::CLONE_NEWNS as usize);
    let (user, mounts) = entry.namespaces;
    if user >= 0 {
        number(nr::SETNS, [arg(user), NEW.0, 0]).map_err(|errno| (Call::Enter, errno))?;
    }
    number(nr::SETNS, [arg(mounts), NEW.1, 0]).map_err(|errno| (Call::Enter, errno))?;
    let mut pidfd: Fd = -1;
    let birth = core::ptr::from_ref(entry.birth).cast_mut().cast();
    // SAFETY: the stack is this start's own, and `birth` with all that it refers
    // to lives as long as the child needs it, see `start`. `run` does not return.
    let child = unsafe { raw::clone(entry.flags, entry.stack, &raw mut pidfd, run, birth) };
    // SAFETY: written by the kernel, behind the compiler's back.
    let pidfd = unsafe { core::ptr::read_volatile(&raw const pidfd) };
    child
        .map(|pid| (pid, pidfd))
        .map_err(|errno| (Call::Clone, errno))
}

/// The child.
pub(super) extern "C" fn run(birth: *mut u8) -> ! {
    // SAFETY: `start` passes a Birth that it keeps, unchanged, until this process has executed a
    // program or ended.
    let birth = unsafe { &*birth.cast::<Birth<'_>>() };
    let (step, failed) = match carry_out(birth) {
        Ok(never) => match never {},
        Err(failure) => failure,
    };
    let mut message = Message::new(kind::STEP_FAILED);
    message.a = step;
    message.b = failed.call as u32;
    message.errno = failed.errno;
    let _ = raw::send(birth.control, message.bytes());
    raw::exit(125)
}

enum Never {}

type Stopped = (u32, Failed);

fn carry_out(birth: &Birth<'_>) -> core::result::Result<Never, Stopped> {
    close_all_but(birth.keep).map_err(|failed| (birth.tail.streams, failed))?;
    // Modes of what is made during set-up are meant as they are.
    let umask = swap_umask(0);
    let limit = room_for(birth.sources).map_err(|failed| (birth.tail.streams, failed))?;
    let mut tree = Tree::new(birth.sources);
    for op in birth.ops {
        act(birth, &mut tree, &op.action).map_err(|failed| (op.step, failed))?;
    }
    if let Some(limit) = limit {
        sys::set_file_limit(limit)
            .named(Call::FileLimit)
            .map_err(|failed| (birth.tail.streams, failed))?;
    }
    swap_umask(umask | SHARED_WITH_NOBODY);
    if birth.stops {
        stop(birth.control);
    }
    hand_over(birth).map_err(|failed| (birth.tail.streams, failed))?;
    if let Some(first) = birth.first {
        first.become_command(birth.control, birth.later);
    }
    Err((
        birth.tail.init,
        Failed {
            call: Call::Init,
            errno: exec_init(birth),
        },
    ))
}

/// Says that it is done, and ends when it was heard.
fn stop(control: Fd) -> ! {
    let mut message = Message::new(kind::READY);
    let _ = raw::send(control, message.bytes());
    let _ = raw::recv(control, message.bytes_mut());
    raw::exit(0)
}

/// Opens a file of procfs to write to it, by its path from /proc.
fn open_proc(birth: &Birth<'_>, path: &CStr) -> core::result::Result<sys::Held, Errno> {
    match (
        birth.host_proc,
        path.to_bytes_with_nul().strip_prefix(b"/proc/"),
    ) {
        (Some(procfs), Some(rest)) => {
            // What is left of it ends as it did.
            let rest = CStr::from_bytes_with_nul(rest).unwrap_or(path);
            sys::open_at(procfs, rest, libc::O_WRONLY)
        }
        _ => sys::open(path, libc::O_WRONLY),
    }
}

/// Every source is held open until its bind's turn comes. Few need no more than what every
/// process has; for many this process takes what it may have, and gives it back.
fn room_for(sources: &[Cell<Fd>]) -> Result<Option<sys::FileLimit>> {
    const FEW: usize = 200;
    if sources.len() <= FEW {
        return Ok(None);
    }
    sys::raise_file_limit().named(Call::FileLimit).map(Some)
}

/// Whatever the caller's umask is, what the command makes can be written by its owner alone.
const SHARED_WITH_NOBODY: usize = 0o022;

fn swap_umask(mask: usize) -> usize {
    // SAFETY: umask(2) takes a number and never fails.
    unsafe { raw::call(nr::UMASK, [mask, 0, 0, 0, 0, 0]) }.unwrap_or(0o022)
}

fn act(birth: &Birth<'_>, tree: &mut Tree<'_>, action: &Action) -> Result<()> {
    if let Some(result) = tree.carry_out(action) {
        return result;
    }
    match action {
        Action::WriteMap { path, text } => {
            let file = open_proc(birth, path).named(Call::Open)?;
            sys::write(file.fd(), text).named(Call::Write)
        }
        Action::AwaitMaps => await_word(birth.control),
        Action::BoundPids { most } => {
            // Whoever counts the processes does so also without this.
            let _ = open_proc(birth, c"/proc/sys/kernel/pid_max")
                .and_then(|file| sys::write(file.fd(), most));
            Ok(())
        }
        Action::EnterGroups => {
            for group in birth.groups {
                // The process that writes it.
                sys::write(*group, b"0").named(Call::Write)?;
                raw::close(*group);
            }
            Ok(())
        }
        Action::CgroupNamespace => {
            number(nr::UNSHARE, [CLONE_NEWCGROUP, 0, 0]).named(Call::Unshare)
        }
        Action::LimitNamespaces { required } => match limit_namespaces(birth) {
            Err(failed) if *required => Err(failed),
            _ => Ok(()),
        },
        Action::TimeNamespace => number(nr::UNSHARE, [CLONE_NEWTIME, 0, 0]).named(Call::Unshare),
        Action::PrivateMounts => sys::make_all_private().named(Call::Mount),
        Action::ChrootTo(path) => {
            sys::chroot(path).named(Call::Chroot)?;
            sys::chdir(c"/").named(Call::ChDir)
        }
        Action::Loopback => sys::loopback_up(),
        Action::Hostname(name) => sys::set_host_name(name).named(Call::SetHostName),
        Action::Session => number(nr::SETSID, [0; 3]).named(Call::SetSid),
        Action::Keyring => join_new_keyring(),
        Action::ClearGroups => number(nr::SETGROUPS, [0; 3]).named(Call::SetGroups),
        Action::Ids { uid, gid } => become_ids(*uid as usize, *gid as usize),
        Action::Capabilities(keep) => keep_capabilities(*keep),
        Action::NoNewPrivs => sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).named(Call::Prctl),
        Action::Landlock(wall) => match birth.wall {
            Some(kept) => landlock::leave(wall, birth.init, birth.later, kept),
            None => landlock::restrict(wall, birth.init, birth.streams, birth.later),
        },
        // The others are mount operations, dealt with above.
        _ => Ok(()),
    }
}

const CLONE_NEWTIME: usize = 0x80;
const CLONE_NEWCGROUP: usize = 0x0200_0000;

fn number(nr: usize, args: [usize; 3]) -> core::result::Result<(), Errno> {
    sys::numbers(nr, args)
}

/// The limit is that of the user namespace of whoever writes it. This is the host's procfs; the
/// sandbox may have none.
fn limit_namespaces(birth: &Birth<'_>) -> Result<()> {
    let path = c"/proc/sys/user/max_user_namespaces";
    let file = open_proc(birth, path).named(Call::Open)?;
    sys::write(file.fd(), b"0").named(Call::Write)
}

/// A new session keyring without a name, so that nobody else can join it.
fn join_new_keyring() -> Result<()> {
    const JOIN_SESSION_KEYRING: usize = 1;
    // A user has 200 keys (keyrings(7)), and the kernel takes its time to collect those of
    // processes that have ended: with many starts in a second there are none left for a moment.
    const PATIENCE: usize = 100;
    for _ in 0..PATIENCE {
        match number(nr::KEYCTL, [JOIN_SESSION_KEYRING, 0, 0]) {
            // There are no keys in this kernel.
            Err(libc::ENOSYS) => return Ok(()),
            Err(libc::EDQUOT) => sys::pause_for_a_moment(),
            done => return done.named(Call::KeyCtl),
        }
    }
    Err(Failed {
        call: Call::KeyCtl,
        errno: libc::EDQUOT,
    })
}

/// Waits until the parent has written the id maps.
fn await_word(control: Fd) -> Result<()> {
    let mut message = Message::new(0);
    match raw::recv(control, message.bytes_mut()).named(Call::Receive)? {
        Message::SIZE if message.kind == kind::GO => Ok(()),
        // The parent gave up, and has its own error to tell.
        _ => raw::exit(125),
    }
}

/// The capabilities survive the change of ids, so that the step after this one can choose which
/// of them stay.
fn become_ids(uid: usize, gid: usize) -> Result<()> {
    sys::prctl(libc::PR_SET_KEEPCAPS, 1, 0).named(Call::Prctl)?;
    number(nr::SETRESGID, [gid; 3]).named(Call::SetGid)?;
    number(nr::SETRESUID, [uid; 3]).named(Call::SetUid)?;
    sys::raise_permitted().named(Call::CapSet)
}

/// Gives up all capabilities but `keep`: the bounding set first, while there is the right to.
/// What is kept is made ambient, or a command that is not uid 0 would lose it at exec. Then none
/// can be had for being uid 0, nor be made ambient any more.
fn keep_capabilities(keep: u64) -> Result<()> {
    for capability in 0..64usize {
        if keep >> capability & 1 != 0 {
            continue;
        }
        match sys::prctl(libc::PR_CAPBSET_DROP, capability, 0) {
            Ok(()) => {}
            // Beyond the last capability that this kernel knows.
            Err(sys::EINVAL) => break,
            Err(errno) => {
                return Err(Failed {
                    call: Call::BoundingSet,
                    errno,
                });
            }
        }
    }
    #[allow(
        clippy::cast_sign_loss,
        reason = "the constant is a small positive number"
    )]
    const CLEAR_ALL: usize = libc::PR_CAP_AMBIENT_CLEAR_ALL as usize;
    sys::prctl(libc::PR_CAP_AMBIENT, CLEAR_ALL, 0).named(Call::Prctl)?;
    // It has to be effective a moment longer, for what comes last.
    sys::set_capabilities(keep, SETPCAP).named(Call::CapSet)?;
    #[allow(
        clippy::cast_sign_loss,
        reason = "the constant is a small positive number"
    )]
    const RAISE: usize = libc::PR_CAP_AMBIENT_RAISE as usize;
    for capability in 0..64usize {
        if keep >> capability & 1 != 0 {
            sys::prctl(libc::PR_CAP_AMBIENT, RAISE, capability).named(Call::Prctl)?;
        }
    }
    sys::prctl(libc::PR_SET_SECUREBITS, SECURE, 0).named(Call::SecureBits)?;
    sys::set_capabilities(keep, 0).named(Call::CapSet)
}

const SETPCAP: u64 = 1 << 8;

/// `SECBIT_NOROOT`, `SECBIT_NO_CAP_AMBIENT_RAISE`, and what there is locked as it is then
/// (capabilities(7)). Changing ids still takes capabilities away, as programs expect.
///
/// `SECBIT_KEEP_CAPS` stays free. Programs that change ids ask for it (setpriv, daemons), and take
/// a refusal for a failure; it gives nothing that the process had not, and ends at the next exec.
const SECURE: usize = 0b1100_1011;

/// Closes everything above 2 but the descriptors in `keep`.
///
/// Exec would close them too, but set-up takes a while, and until then a pipe of the caller would
/// not end, nor could a program be executed that another thread has just written.
fn close_all_but(keep: &[Fd]) -> Result<()> {
    let mut first = 3;
    for fd in keep.iter().copied().chain([Fd::MAX]) {
        if fd > first {
            let args = [arg(first), arg(fd - 1), 0];
            number(nr::CLOSE_RANGE, args).named(Call::CloseRange)?;
        }
        first = fd.saturating_add(1);
    }
    Ok(())
}

/// Puts the streams in their places and leaves the control socket and the filter open for the
/// init program.
/// Everything else is close-on-exec.
fn hand_over(birth: &Birth<'_>) -> Result<()> {
    for (from, to) in birth.streams {
        number(nr::DUP3, [arg(*from), arg(*to), 0]).named(Call::Duplicate)?;
    }
    if birth.first.is_some() {
        return Ok(());
    }
    // The init program makes the one close-on-exec again before it starts the command, and closes
    // the other.
    for fd in [Some(birth.control), birth.filter].into_iter().flatten() {
        number(nr::FCNTL, [arg(fd), libc::F_SETFD as usize, 0]).named(Call::Duplicate)?;
    }
    Ok(())
}

fn exec_init(birth: &Birth<'_>) -> Errno {
    let done = match birth.procfs {
        Some(procfs) => exec_init_by_name(birth, procfs),
        None => {
            let args = [
                arg(birth.init),
                c"".as_ptr() as usize,
                birth.argv as usize,
                birth.envp as usize,
                libc::AT_EMPTY_PATH as usize,
                0,
            ];
            // SAFETY: argv and envp are null-terminated arrays of NUL-terminated strings, which
            // the parent keeps until this process has executed the program.
            unsafe { raw::call(nr::EXECVEAT, args) }.map(drop)
        }
    };
    done.err().unwrap_or(0)
}

/// The name counts from the working directory, so that is procfs for a moment. The init program
/// finds the one that is meant in the place of `procfs`, and returns to it before all else.
fn exec_init_by_name(birth: &Birth<'_>, procfs: Fd) -> core::result::Result<(), Errno> {
    let here = sys::open(c".", libc::O_PATH | libc::O_DIRECTORY)?;
    sys::fchdir(procfs)?;
    number(nr::DUP3, [arg(here.fd()), arg(procfs), 0])?;
    let name = birth.init_name.as_ptr() as usize;
    let args = [name, birth.argv as usize, birth.envp as usize, 0, 0, 0];
    // SAFETY: as in `exec_init`; the name is NUL-terminated and kept as long.
    unsafe { raw::call(nr::EXECVE, args) }.map(drop)
}
